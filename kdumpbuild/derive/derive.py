"""Deriving: start nodes, the walk, the match, and what comes out of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.derive import companions, sources
from kdumpbuild.derive.match import Chosen, Match, Matcher
from kdumpbuild.derive.walk import Need, Skipped, walk
from kdumpbuild.errors import Fault, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kdumpbuild.derive.index import TreeIndex
    from kdumpbuild.derive.nodes import DeviceNodes
    from kdumpbuild.formats.fdt import Node

ESSENTIAL = frozenset({"storage", "console", "interrupts"})
"""Roles whose chains must be mapped whole: without them nothing is saved, or nobody sees why."""
_ARCH_TIMER = re.compile(r"arm,armv[78]-timer")
_RESETS = ("drivers/power/reset/", "drivers/firmware/psci/")
_WATCHDOGS = ("drivers/watchdog/",)


@dataclass(frozen=True)
class Wishes:
    """What the board file says about drivers."""

    storage: str = ""
    console: str = ""
    watchdogs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """A symbol and the node that it is for."""

    symbol: str
    need: Need | None
    reason: str
    source: str = ""


@dataclass(frozen=True)
class Unmapped:
    """A node that is needed and for which nothing, or more than one thing, was found."""

    need: Need
    match: Match

    @property
    def essential(self) -> bool:
        """Whether the build has to stop."""
        return self.need.start.role in ESSENTIAL

    def fault(self, where: str) -> Fault:
        """Return it as a fault or a note."""
        node, names = self.need.node, self.need.node.strings("compatible")
        candidates = [f"{c.source} ({', '.join(c.symbols)})" for c in self.match.candidates]
        what = "more than one driver" if candidates else "no driver in this kernel tree"
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

    def check(self, where: str) -> None:
        """Raise UserError for nodes that must be mapped and are not."""
        if faults := [unmapped.fault(where) for unmapped in self.unmapped if unmapped.essential]:
            raise UserError(*faults)

    def spare(self) -> frozenset[str]:
        """Return the symbols that nothing essential needs."""
        needed = {w.symbol for w in self.wanted if w.need is None or w.need.start.role in ESSENTIAL}
        return frozenset(w.symbol for w in self.wanted) - needed

    def reasons(self) -> dict[str, str]:
        """Return each symbol once, with its first reason."""
        first: dict[str, str] = {}
        for wanted in self.wanted:
            first.setdefault(wanted.symbol, wanted.reason)
        return first


def derive(
    nodes: DeviceNodes, index: TreeIndex, wishes: Wishes, *, board_symbol: str, possible: Callable[[str], bool],
    where: str,
) -> Derived:  # fmt: skip
    """Return the symbols that a device tree asks for. Raises UserError for nodes that are named and are not there."""
    matcher = Matcher(index, possible, wishes.answers)
    left_out = _named(nodes, wishes.without, where)
    starts = list(_starts(nodes, matcher, wishes, where))
    paths = {node.path for node in left_out}
    needs, skipped = walk(nodes, starts, lambda node: node.path in paths)
    wanted = list(_machine(nodes, matcher, board_symbol))
    unmapped: list[Unmapped] = []
    notes: list[str] = []
    for need in sorted(needs, key=_order):
        match = matcher.match(need.node)
        wanted += [
            Wanted(symbol, need, f"{need.path}: {chosen.source}", chosen.source)
            for chosen in match.drivers
            for symbol in chosen.symbols
        ]
        wanted += _companions(need, match, possible)
        if match.candidates or not (match.found or match.seen_in or not need.node.strings("compatible")):
            unmapped.append(Unmapped(need, match))
        elif match.seen_in and not match.found:
            notes.append(f"{need.path}: no driver of its own; {match.seen_in[0]} looks for it")
    return Derived(tuple(wanted), tuple(unmapped), tuple(needs), tuple(skipped), tuple(notes))


def _named(nodes: DeviceNodes, names: tuple[str, ...], where: str) -> list[Node]:
    faults: list[Fault] = []
    found = []
    for name in names:
        try:
            found.append(nodes.find(name, where))
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(*faults)
    return found


_ROLES = ("cpu", "interrupts", "timer", "console", "storage", "reset", "watchdog", "asked for")


def _order(need: Need) -> int:
    return _ROLES.index(need.start.role)


def _starts(nodes: DeviceNodes, matcher: Matcher, wishes: Wishes, where: str) -> Iterator[Need]:
    """Yield the nodes from which everything is found."""
    faults: list[Fault] = []
    given: list[tuple[str, str]] = [("storage", wishes.storage)] if wishes.storage else []
    console = wishes.console or _stdout(nodes)
    given += [("console", console)] if console else []
    given += [("watchdog", name) for name in wishes.watchdogs]
    given += [("asked for", name) for name in wishes.nodes]
    for role, name in given:
        try:
            node = nodes.find(name, where)
        except UserError as error:
            faults += error.faults
            continue
        if not nodes.available(node):
            off = node if not node.enabled else next(n for n in nodes.ancestors(node) if not n.enabled)
            faults.append(
                Fault(
                    f"{role}: {node.path} is switched off in the device tree", where=where,
                    why=f'{off.path} has status = "{off.string("status")}"',
                    hint="name the controller that the board uses, or switch the node on in the board's device tree",
                )
            )
        yield Need(node, role)
    if faults:
        raise UserError(*faults)
    root_controller = nodes.interrupt_parent(nodes.root)
    if root_controller is not None:
        yield Need(root_controller, "interrupts")
    available = [node for node in nodes.root.walk() if node.strings("compatible") and nodes.available(node)]
    arch_timer = any(_ARCH_TIMER.fullmatch(name) for node in available for name in node.strings("compatible"))
    for node in available:
        role = _role(node, matcher, named_watchdog=bool(wishes.watchdogs))
        if role == "timer" and arch_timer and not any(map(_ARCH_TIMER.fullmatch, node.strings("compatible"))):
            continue  # with the CPUs' own timer, no other one is needed
        if role:
            yield Need(node, role)


def _role(node: Node, matcher: Matcher, *, named_watchdog: bool) -> str:
    """Return what a node is by its driver, if a capture kernel wants all of these."""
    kinds = matcher.kinds(node)
    if "timer" in kinds:
        return "timer"
    if kinds <= {sources.LOOKUP} and not any(n.startswith("arm,psci") or "-cache" in n for n in
                                             node.strings("compatible")):  # fmt: skip
        return ""
    files = [driver.source for driver in matcher.match(node).drivers]
    if any(file.startswith(_RESETS) and file in matcher.index.restarts for file in files):
        return "reset"
    if any(file == "arch/arm/mm/cache-l2x0.c" for file in files):
        return "cpu"
    if any(file.startswith(_WATCHDOGS) for file in files) and not named_watchdog:
        return "watchdog"
    return ""


def _stdout(nodes: DeviceNodes) -> str:
    chosen = nodes.root.child("chosen")
    if chosen is None:
        return ""
    return (chosen.string("stdout-path") or chosen.string("linux,stdout-path")).partition(":")[0]


def _machine(nodes: DeviceNodes, matcher: Matcher, board_symbol: str) -> Iterator[Wanted]:
    """Yield the symbols of the SoC and of the way in which its CPUs are started."""
    names = nodes.root.strings("compatible")
    symbols = [board_symbol] if board_symbol else []
    if not symbols:
        for name in reversed(names):
            if found := matcher.index.machines.get(name):
                symbols = found[:1]
                break
    for symbol in symbols:
        if matcher.possible(symbol):
            yield Wanted(symbol, None, f"/ ({', '.join(names)}): the kernel builds this board's device tree under it")
    for chosen in matcher.machine(nodes.root):
        for symbol in chosen.symbols:
            yield Wanted(symbol, None, f"/ ({chosen.compatible}): {chosen.source}", chosen.source)
    cpus = nodes.root.child("cpus")
    methods = {n.string("enable-method") for n in (cpus, *cpus.children)} if cpus else set()
    for method in sorted(methods - {""}):
        for chosen in matcher.cpu_method(method):
            for symbol in chosen.symbols:
                yield Wanted(symbol, None, f"/cpus (enable-method {method}): {chosen.source}", chosen.source)


def _companions(need: Need, match: Match, possible: Callable[[str], bool]) -> Iterator[Wanted]:
    """Yield what comes with a driver: its console half, the layers between a controller and a block device."""
    if need.by is not None:
        return
    if need.role == "console":
        for symbol in match.symbols:
            if possible(f"{symbol}_CONSOLE"):
                yield Wanted(f"{symbol}_CONSOLE", need, f"{need.path}: what the kernel says goes there")
    if need.role == "storage":
        for companion in companions.STORAGE:
            if any(driver.source.startswith(companion.folder) for driver in match.drivers):
                for symbol in companion.symbols:
                    yield Wanted(symbol, need, f"{need.path}: {companion.why}")


__all__ = ["Chosen", "Derived", "Unmapped", "Wanted", "Wishes", "derive"]
