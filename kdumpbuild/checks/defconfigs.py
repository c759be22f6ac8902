"""A table: what the preflight finds in the configurations that kernels come with, version by version.

    python -m kdumpbuild.checks.defconfigs TREE… > docs/rules/defconfigs.md

Each TREE is an unpacked kernel source. Only rules that can be judged by a configuration alone show up, each config
taken both as production and as capture kernel, as with `capture = "same"`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.checks.engine import all_rules, check_facts
from kdumpbuild.checks.facts import Config, Facts
from kdumpbuild.errors import UserError, user_error
from kdumpbuild.kconfig.adapter import KernelKconfig, Toolchain
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.kconfig.tree import KernelTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFCONFIGS: tuple[tuple[str, str], ...] = (
    ("arm", "multi_v7_defconfig"),
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
            try:
                values = resolve(kconfig, name, ()).values
            except UserError:
                continue  # this kernel does not have it
            yield Row(tree.name, arch, name, judge(values, arch, tree.version, name))


def table(rows: Sequence[Row]) -> str:
    """Return the page."""
    titles = {rule.id: rule for rule in all_rules()}
    ids = sorted({name for row in rows for name, _ in row.found})
    lines = [
        "<!-- Made by `python -m kdumpbuild.checks.defconfigs TREE…`. -->",
        "# What the preflight finds in the kernels' own configurations",
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
        raise user_error("no kernel source given", hint="python -m kdumpbuild.checks.defconfigs TREE…")
    return table([row for folder in arguments for row in rows_of(Path(folder))])


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
