"""Deriving: starts, walk, match, and what comes out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.derive import companions, sources
from kdumpbuild.derive.match import Chosen, Match, Matcher, Symbols
from kdumpbuild.derive.starts import ESSENTIAL, ROLES, Wishes, named, port_number, starts
from kdumpbuild.derive.walk import PARENT, Need, Skipped, Walked, walk
from kdumpbuild.errors import Fault, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kdumpbuild.derive.index import TreeIndex
    from kdumpbuild.derive.nodes import DeviceNodes
    from kdumpbuild.derive.references import Edge
    from kdumpbuild.formats.fdt import Node

_CLOCK = re.compile(r"clocks|assigned-clocks|assigned-clock-parents")


@dataclass(frozen=True)
class Wanted:
    """A symbol and the node that it is for."""

    symbol: str
    need: Need | None
    """None for what the whole board needs."""
    reason: str
    source: str = ""
    value: str = "y"

    @property
    def essential(self) -> bool:
        """Whether the build has to stop when it cannot be had."""
        return self.need is None or (self.need.start.role in ESSENTIAL and not self.need.soft)


@dataclass(frozen=True)
class Unmapped:
    """A node that is needed and for which nothing, or more than one thing, was found."""

    need: Need
    match: Match

    @property
    def essential(self) -> bool:
        """Whether the build has to stop."""
        return self.need.start.role in ESSENTIAL and not self.need.soft

    def fault(self, where: str) -> Fault:
        """Return it as a fault or a note."""
        node, names = self.need.node, self.need.node.strings("compatible")
        candidates = [f"{c.source} ({', '.join(c.symbols)})" for c in self.match.candidates]
        what = "more than one driver, and nothing tells which" if candidates else "no driver in this kernel tree"
        way = f"needed for the {self.need.start.role}: {self.need.trail}"
        return Fault(
            f"{node.path} ({', '.join(names)}): {what}",
            where=where,
            why="\n".join([way, *candidates]),
            hint=f'answer it in [drivers.answers]: "{names[0]}" = "CONFIG_X", or "" when it needs no driver',
        )


@dataclass(frozen=True)
class Derived:
    """What a device tree says about drivers."""

    wanted: tuple[Wanted, ...]
    unmapped: tuple[Unmapped, ...]
    needs: tuple[Need, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    matcher: Matcher
    """What the drivers were found with."""

    def check(self, where: str) -> None:
        """Raise UserError for nodes that must be mapped and are not."""
        if faults := [unmapped.fault(where) for unmapped in self.unmapped if unmapped.essential]:
            raise UserError(*faults)


def derive(
    nodes: DeviceNodes, index: TreeIndex, symbols: Symbols, wishes: Wishes, *, board_symbol: str,
    where: Callable[[str], str],
) -> Derived:  # fmt: skip
    """Return the symbols that a device tree asks for. Raises UserError for nodes that are named and are not there.

    ``board_symbol`` is the symbol under which the kernel builds this device tree, if it does; ``where`` gives the
    place of a key of the board file, for errors.
    """
    matcher = Matcher(index, symbols, wishes.answers)
    wanted = list(_machine(nodes, matcher, board_symbol))
    left_out = {node.path for node in named(nodes, wishes.without, where("without"))}
    walked = walk(
        nodes,
        starts(nodes, matcher, wishes, where),
        without=lambda node: node.path in left_out,
        refuse=lambda node, edge: _refusal(matcher, node, edge),
        early=lambda node: matcher.match(node).early,
    )
    unmapped: list[Unmapped] = []
    notes: list[str] = []
    for need in sorted(walked.needs, key=lambda need: ROLES.index(need.start.role)):
        match = _with_makers(need, matcher.match(need.node))
        wanted += _drivers(need, match, matcher, walked)
        wanted += _companions(nodes, need, match, matcher.symbols)
        if match.candidates or not (match.found or match.seen_in or not need.compatible):
            if need.soft and not match.candidates:
                notes.append(f"{need.path}: no driver, and none needed: what is below is started without it")
            else:
                unmapped.append(Unmapped(need, match))
        elif match.seen_in and not match.found:
            notes.append(f"{need.path}: no driver of its own; {match.seen_in[0].source} looks for it")
    return Derived(tuple(wanted), tuple(unmapped), tuple(walked.needs), tuple(walked.skipped), tuple(notes), matcher)


def _refusal(matcher: Matcher, node: Node, edge: Edge) -> str:
    """Say why a needed reference is not followed in this case; nothing when it is."""
    if _CLOCK.fullmatch(edge.name) and "#clock-cells" in node.properties:
        match = matcher.match(edge.target)
        clocks = any(d.kind == "clk" or d.source.startswith(("drivers/clk/", "drivers/mfd/")) for d in match.drivers)
        if edge.target.strings("compatible") and not clocks and "#clock-cells" in edge.target.properties:
            return "an input of a clock controller from a device: without it, the clocks behind it are orphans"
    return ""


def _with_makers(need: Need, match: Match) -> Match:
    """Return the match; a parent that one driver looks for gets it: that driver makes devices of what is below."""
    if need.via == PARENT and not match.found and not match.candidates and len(match.seen_in) == 1:
        return Match(match.seen_in)
    return match


def _machine(nodes: DeviceNodes, matcher: Matcher, board_symbol: str) -> Iterator[Wanted]:
    """Yield the symbols of the SoC and of the way in which its CPUs are started."""
    names = nodes.root.strings("compatible")
    families = [board_symbol] if board_symbol else []
    if not families:
        known = next((matcher.index.machines[name] for name in reversed(names) if name in matcher.index.machines), [])
        families = known[:1]
    families = [symbol for symbol in families if matcher.symbols.possible(symbol, frozenset())]
    machines = matcher.of_kind(names, sources.MACHINE)
    matcher.set_machine([*families, *(symbol for chosen in machines for symbol in chosen.symbols)])
    reason = f"/ ({', '.join(names)})"
    for symbol in families:
        yield Wanted(symbol, None, f"{reason}: the kernel builds this board's device tree under it")
    cpus = nodes.root.child("cpus")
    methods = {n.string("enable-method") for n in (cpus, *cpus.children)} if cpus else set()
    started = [(m, c) for m in sorted(methods - {""}) for c in matcher.of_kind([m], "cpu")]
    for way, chosen in [*((reason, c) for c in machines), *((f"/cpus (enable-method {m})", c) for m, c in started)]:
        for symbol in chosen.symbols:
            yield Wanted(symbol, None, f"{way}: {chosen.source}", chosen.source)


def _drivers(need: Need, match: Match, matcher: Matcher, walked: Walked) -> Iterator[Wanted]:
    """Yield the symbols of a node's drivers, and of the devices that a multi-function driver makes."""
    chosen = list(match.drivers)
    uses = walked.uses.get(need.node.path, set())
    folders = tuple(f for use in companions.CELLS if any(re.fullmatch(use.property, u) for u in uses)
                    for f in use.folders)  # fmt: skip
    for driver in match.drivers:
        if driver.source.startswith("drivers/mfd/") and folders:
            chosen += matcher.cells(driver.source, folders)
    for driver in chosen:
        for symbol in driver.symbols:
            yield Wanted(symbol, need, f"{need.path}: {driver.source}", driver.source)


def _companions(
    nodes: DeviceNodes, need: Need, match: Match, symbols: Symbols
) -> Iterator[Wanted]:  # fmt: skip
    """Yield what comes with a driver: its console half, the layers between a controller and a block device."""
    if need.by is not None or need.role not in ("console", "storage", "asked for"):
        return
    table = companions.CONSOLE if need.role == "console" else companions.STORAGE
    for companion in table:
        if any(driver.source.startswith(companion.folder) for driver in match.drivers):
            for symbol in companion.symbols:
                yield Wanted(symbol, need, f"{need.path}: {companion.why}")
    if need.role == "console":
        for symbol in match.symbols:
            if symbols.possible(f"{symbol}_CONSOLE", frozenset()):
                yield Wanted(f"{symbol}_CONSOLE", need, f"{need.path}: what the kernel says goes there")
        number = port_number(nodes, need.node)
        if number >= companions.PORTS_DEFAULT and any("/8250/" in driver.source for driver in match.drivers):
            for symbol in companions.PORTS_8250:
                yield Wanted(symbol, need, f"{need.path}: port {number}", value=str(number + 1))


__all__ = ["Chosen", "Derived", "Unmapped", "Wanted", "Wishes", "derive"]
