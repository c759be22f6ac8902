"""A table: what the preflight finds in the configurations that kernels come with, version by version.

    python -m kdumpbuild.checks.defconfigs TREE… CONFIG… > docs/rules/defconfigs.md

Each TREE is an unpacked kernel source, each CONFIG a distribution's .config. Only rules that can be judged by a
configuration alone show up, each config taken both as production and as capture kernel, as with `capture = "same"`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.checks.engine import all_rules, check_facts
from kdumpbuild.checks.facts import Config, Facts, parse_version
from kdumpbuild.errors import UserError, user_error
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.kconfig.adapter import KernelKconfig, Toolchain
from kdumpbuild.kconfig.fragment import parse_fragment
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.kconfig.tree import KernelTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LPAE = "# CONFIG_ARCH_MULTI_V6 is not set\nCONFIG_ARM_LPAE=y\n"

DEFCONFIGS: tuple[tuple[str, str], ...] = (
    ("arm", "multi_v7_defconfig"),
    ("arm", "multi_v7_defconfig + LPAE"),
    ("arm", "bcm2835_defconfig"),
    ("arm", "imx_v6_v7_defconfig"),
    ("arm", "sunxi_defconfig"),
    ("arm", "omap2plus_defconfig"),
    ("arm", "exynos_defconfig"),
    ("arm", "socfpga_defconfig"),
    ("arm", "aspeed_g5_defconfig"),
    ("arm64", "defconfig"),
)


@dataclass(frozen=True)
class Row:
    """What was found in one configuration of one kernel."""

    kernel: str
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
    """Resolve and judge every configuration of :data:`DEFCONFIGS` that the tree has."""
    tree = KernelTree.open(folder)
    for arch, record in ARCHES.items():
        kconfig = KernelKconfig(tree, Toolchain(arch, record.cross_compile))
        for wanted, name in DEFCONFIGS:
            if wanted != arch:
                continue
            base, _, extra = name.partition(" + ")
            fragments = [parse_fragment(LPAE, Path("lpae.config"))] if extra else []
            try:
                values = resolve(kconfig, base, fragments).values
            except UserError:
                continue  # this kernel does not have it
            yield Row(tree.name, arch, name, judge(values, arch, tree.version, name))


def row_of(path: Path) -> Row:
    """Judge a whole .config. Raises UserError when it does not say architecture and version in its first lines."""
    found = read_dotconfig(path)
    if found.arch not in ARCHES or not found.version:
        why = "its first lines do not say so"
        raise user_error("not a whole .config of an arm or arm64 kernel", where=str(path), why=why)
    name = path.name.removeprefix("config-")
    judged = judge(found.values, found.arch, parse_version(found.version), name)
    return Row(f"Linux {found.version}", found.arch, name, judged)


def table(rows: Sequence[Row]) -> str:
    """Return the page."""
    titles = {rule.id: rule for rule in all_rules()}
    ids = sorted({name for row in rows for name, _ in row.found})
    lines = [
        "<!-- Made by `python -m kdumpbuild.checks.defconfigs TREE… CONFIG…`. -->",
        "# What the preflight finds in the configurations that kernels come with",
        "",
        "Each configuration is judged as production and as capture kernel, by its values alone. E: error, W: warning,",
        "i: a limit to know of.",
        "",
        "| Kernel | Configuration | " + " | ".join(f"[{i}]({titles[i].subject}.md#{i.lower()})" for i in ids) + " |",
        "|---|---|" + "---|" * len(ids),
    ]
    marks = {"error": "E", "warning": "W", "info": "i"}
    for row in rows:
        found = dict(row.found)
        cells = " | ".join(marks[found[i]] if i in found else "" for i in ids)
        lines.append(f"| {row.kernel} | {row.arch} {row.name} | {cells} |")
    lines += ["", *(f"- {i}: {titles[i].title}" for i in ids)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> str:
    """Return the page for the trees named. Raises UserError when none is."""
    if not arguments:
        raise user_error("no kernel source given", hint="python -m kdumpbuild.checks.defconfigs TREE… CONFIG…")
    paths = [Path(argument) for argument in arguments]
    rows = [row for path in paths if path.is_dir() for row in rows_of(path)]
    return table([*rows, *(row_of(path) for path in paths if not path.is_dir())])


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
