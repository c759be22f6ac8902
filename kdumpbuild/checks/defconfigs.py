"""A table: what the preflight finds in the configurations that kernels come with, version by version.

    python -m kdumpbuild.checks.defconfigs TREE… CONFIG… > docs/rules/defconfigs.md

Each TREE is an unpacked kernel source, each CONFIG a distribution's .config. Only rules that can be judged by a
configuration alone show up, each config taken both as production and as capture kernel, as with `capture = "same"`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.checks.engine import all_rules, check_facts
from kdumpbuild.checks.facts import Config, Facts, parse_version
from kdumpbuild.errors import user_error
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.kconfig.adapter import KernelKconfig
from kdumpbuild.kconfig.fragment import parse_fragment
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.kconfig.toolchain import Toolchain
from kdumpbuild.kconfig.tree import KernelTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LPAE = "# CONFIG_ARCH_MULTI_V6 is not set\nCONFIG_ARM_LPAE=y\n"
WITH_LPAE = "multi_v7_defconfig + LPAE"
"""Kernels have a target for this one, but no file of that name before 6.12."""


_MARKS = {"error": "E", "warning": "W", "info": "i"}


@dataclass(frozen=True)
class Row:
    """What was found in one configuration of one kernel."""

    kernel: str
    """Its version."""
    arch: str
    name: str
    found: tuple[tuple[str, str], ...]
    """Rule id and severity."""


def judge(values: Mapping[str, str], arch: str, version: tuple[int, ...], name: str) -> tuple[tuple[str, str], ...]:
    """Return the rules that fire on a resolved configuration, used for both kernels."""
    config = Config(values, name)
    facts = Facts(
        arch=ARCHES[arch], production=config, capture=config, kernel=version, capture_kernel=version
    )
    return tuple(sorted({(f.id, f.severity.value) for f in check_facts(facts).findings}))


def rows_of(folder: Path) -> Iterable[Row]:
    """Resolve and judge every defconfig of the tree."""
    tree = KernelTree.open(folder)
    for arch, record in ARCHES.items():
        kconfig = KernelKconfig(tree, Toolchain(arch, record.cross_compile))
        names = [path.name for path in (folder / "arch" / arch / "configs").glob("*defconfig")]
        for name in sorted([*names, *([WITH_LPAE] if arch == "arm" else [])]):
            base, _, extra = name.partition(" + ")
            fragments = [parse_fragment(LPAE, Path("lpae.config"))] if extra else []
            values = resolve(kconfig, base, fragments).values
            yield Row(tree.release, arch, name, judge(values, arch, tree.version, name))


def row_of(path: Path) -> Row:
    """Judge a whole .config. Raises UserError when it does not say architecture and version in its first lines."""
    found = read_dotconfig(path)
    if found.arch not in ARCHES or not found.version:
        why = "its first lines do not say so"
        raise user_error("not a whole .config of an arm or arm64 kernel", where=str(path), why=why)
    version = parse_version(found.version)
    # One row for all versions of a distribution's config: /boot/config-6.12.1-armmp is armmp.
    name = re.sub(r"\d+\.\d+[\w.+~]*", "", path.name.removeprefix("config-")).strip("-_ ")
    return Row(found.version, found.arch, name, judge(found.values, found.arch, version, name))


def table(rows: Sequence[Row]) -> str:
    """Return the page: a line for each configuration, all versions of it in one."""
    titles = {rule.id: rule for rule in all_rules()}
    ids = sorted({name for row in rows for name, _ in row.found})
    kernels = sorted({row.kernel for row in rows}, key=parse_version)
    lines = [
        "<!-- Made by `python -m kdumpbuild.checks.defconfigs TREE… CONFIG…`. -->",
        "# What the preflight finds in the configurations that kernels come with",
        "",
        "Every defconfig of the kernels named below, and some of distributions. Each is judged as production and as",
        "capture kernel, by its values alone. E: error, W: warning, i: a limit to know of; with versions behind it",
        "when it is not found in all that are listed for the configuration.",
        "",
        f"Kernels: {', '.join(kernels)}.",
        "",
        "| Configuration | Kernels | "
        + " | ".join(f"[{i}]({titles[i].subject}.md#{i.lower()})" for i in ids) + " |",
        "|---|---|" + "---|" * len(ids),
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: parse_version(row.kernel)):
        groups.setdefault((row.arch, row.name), []).append(row)
    for (arch, name), versions in sorted(groups.items()):
        cells = " | ".join(_cell(i, versions) for i in ids)
        lines.append(f"| {arch} {name} | {' '.join(_short(row) for row in versions)} | {cells} |")
    lines += ["", *(f"- {i}: {titles[i].title}" for i in ids)]
    return "\n".join(lines) + "\n"


def _cell(rule: str, versions: Sequence[Row]) -> str:
    """Return what a rule says of the versions of a configuration."""
    by_mark: dict[str, list[str]] = {}
    for row in versions:
        if (severity := dict(row.found).get(rule)) is not None:
            by_mark.setdefault(_MARKS[severity], []).append(_short(row))
    return ", ".join(
        mark if len(found) == len(versions) else f"{mark} {' '.join(found)}" for mark, found in sorted(by_mark.items())
    )


def _short(row: Row) -> str:
    return ".".join(map(str, parse_version(row.kernel)[:2]))


def main(arguments: Sequence[str]) -> str:
    """Return the page for the trees named. Raises UserError when none is."""
    if not arguments:
        raise user_error("no kernel source given", hint="python -m kdumpbuild.checks.defconfigs TREE… CONFIG…")
    paths = [Path(argument) for argument in arguments]
    rows = [row for path in paths if path.is_dir() for row in rows_of(path)]
    return table([*rows, *(row_of(path) for path in paths if not path.is_dir())])


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
