"""Putting into words why a symbol is in a derived fragment, or is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.kconfig import why

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.derive.derive import Derived, Wanted
    from kdumpbuild.kconfig.adapter import KernelKconfig
    from kdumpbuild.kconfig.fragment import Fragment

_SHOWN = 12


def page(kconfig: KernelKconfig, derived: Derived, name: str, fragment: Fragment) -> Iterator[str]:
    """Yield the lines about a symbol."""
    direct = [wanted for wanted in derived.wanted if wanted.symbol == name]
    if direct:
        yield "  the device tree needs it:"
        yield from _reasons(direct)
        return
    before = [line for line in fragment.lines if line.symbol == name and line.means]
    for line in before:
        target = line.reason.removeprefix("Needed for ").rstrip(".")
        yield f"  the device tree needs {target}, which needs it:"
        yield from _reasons([wanted for wanted in derived.wanted if wanted.symbol == target])
    if before:
        return
    chains = _selectors(kconfig, name, {wanted.symbol for wanted in derived.wanted})
    for chain in chains[:3]:
        yield f"  the device tree needs {chain[0]}, which selects {', which selects '.join([*chain[1:], 'it'])}:"
        yield from _reasons([wanted for wanted in derived.wanted if wanted.symbol == chain[0]])
    if chains:
        return
    yield "  no node of the device tree that the capture hangs on needs it"
    yield from _left_out(derived, name)


def _selectors(kconfig: KernelKconfig, name: str, wanted: set[str]) -> list[list[str]]:
    """Return the shortest chains of selecting symbols from wanted ones down to a symbol."""
    level, seen = [[name]], {name}
    while level:
        above = [[sym.name, *chain] for chain in level for sym in why.selected_by(kconfig.syms[chain[0]])]
        if found := [chain[:-1] for chain in above if chain[0] in wanted]:
            return found
        level = [chain for chain in above if chain[0] not in seen]
        seen |= {chain[0] for chain in level}
    return []


def _reasons(found: list[Wanted]) -> Iterator[str]:
    lines = list(dict.fromkeys(wanted.reason for wanted in found))
    yield from (f"    {line}" for line in lines[:_SHOWN])
    if len(lines) > _SHOWN:
        yield f"    and {len(lines) - _SHOWN} more"


def _left_out(derived: Derived, name: str) -> Iterator[str]:
    """Yield the references to the symbol's nodes that were not followed."""
    lines = [
        f"    {skipped.by.trail} -> {skipped.edge.name} -> {skipped.edge.target.path}: {skipped.why}"
        for skipped in derived.skipped
        if name in derived.matcher.match(skipped.edge.target).symbols
    ]
    if lines:
        yield "  left out on purpose:"
        yield from list(dict.fromkeys(lines))[:_SHOWN]
