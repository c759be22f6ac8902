"""What the derived symbols need: lines that make each of them y on top of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.kconfig import solve
from kdumpbuild.kconfig.fragment import Fragment, Line
from kdumpbuild.kconfig.resolve import apply, assign_lines, unmet, winners

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdumpbuild.kconfig.adapter import KernelKconfig

AVOIDED = frozenset({"COMPILE_TEST", "BROKEN", "STAGING", "MODULES"})
"""Never a way to a driver that has to work."""
WHERE = Path("device-tree")
"""Stands for the file of derived lines."""


def fragment(
    kconfig: KernelKconfig, base: str | Path, below: Sequence[Fragment], wanted: Mapping[str, str],
    spare: frozenset[str] = frozenset(),
) -> Fragment:  # fmt: skip
    """Return the lines for symbols, each with its reason, and those that they depend on.

    ``below`` are the fragments that are applied before; what they ask for stays. Symbols to ``spare`` are left out
    where they cannot be reached: drivers for this SoC that its kernel cannot have.
    """
    requested, _ = winners(kconfig, below)
    asked = {line.symbol: line.value for line in requested}
    lines: list[Line] = []
    apply(kconfig, base, requested)
    for symbol, reason in wanted.items():
        if asked.get(symbol) == "y":
            continue
        number = len(lines) + 1
        line = Line(symbol, "y", False, WHERE, number, reason)
        assign_lines(kconfig, [line])
        if unmet(kconfig, line) is not None:
            found = solve.reach(kconfig, symbol, "y", avoid=AVOIDED)
            if found is None and symbol in spare:
                kconfig.assign(kconfig.syms[symbol], "n")
                continue
            for name, value in sorted((found or {}).items()):
                if name == symbol or name in asked:
                    continue
                own = wanted.get(name) if value == "y" else None
                before = Line(name, value, False, WHERE, number, own or f"Needed for {symbol}.", means=own is None)
                asked[name] = value
                lines.append(before)
                assign_lines(kconfig, [before])
        lines.append(line)
        asked[symbol] = "y"
    return Fragment(WHERE, tuple(lines))
