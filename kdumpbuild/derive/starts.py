"""Where the walk begins: what the board file names, and what every capture kernel wants of the tree."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.derive import companions, sources
from kdumpbuild.derive.walk import Need
from kdumpbuild.errors import Fault, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kdumpbuild.derive.match import Matcher
    from kdumpbuild.derive.nodes import DeviceNodes
    from kdumpbuild.formats.fdt import Node

ROLES = ("cpu", "interrupts", "timer", "console", "storage", "reset", "watchdog", "asked for")
"""What a start is for, in the order in which drivers are listed."""
ESSENTIAL = frozenset({"storage", "console", "interrupts"})
"""Roles whose chains must be mapped whole: without them nothing is saved, or nobody sees why."""

_RESETS = ("drivers/power/reset/", "drivers/firmware/psci/", "drivers/reset/", "drivers/soc/")
_WATCHDOGS = ("drivers/watchdog/",)
_CACHES = "arch/arm/mm/cache-l2x0.c"
_ARCH_TIMER = re.compile(r"arm,armv[78]-timer")
_BEHIND_A_WIRE = ("i2c", "spi")


@dataclass(frozen=True)
class Wishes:
    """What the board file says about drivers."""

    storage: str = ""
    console: str = ""
    tty: str = ""
    """``console=`` of the capture kernel: its number tells the alias where the tree has no ``stdout-path``."""
    watchdogs: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    answers: Mapping[str, str] = field(default_factory=dict)


def starts(nodes: DeviceNodes, matcher: Matcher, wishes: Wishes, where: Callable[[str], str]) -> list[Need]:
    """Return the nodes from which everything is found. Raises UserError for every node that is named wrongly."""
    given: list[tuple[str, str]] = [("storage", wishes.storage)] if wishes.storage else []
    console = wishes.console or stdout(nodes) or _alias(nodes, wishes.tty)
    given += [("console", console)] if console else []
    given += [("watchdog", name) for name in wishes.watchdogs]
    given += [("asked for", name) for name in wishes.nodes]
    faults: list[Fault] = []
    found: list[Need] = []
    if not console:
        faults.append(
            Fault(
                "the device tree does not say which node the console is", where=where("console"),
                why=f"/chosen has no stdout-path, and no alias fits console={wishes.tty or '(not given)'}",
                hint='name it: console = "serial0", a path or a &label',
            )
        )  # fmt: skip
    for role, name in given:
        key = role.replace("asked for", "nodes")
        try:
            node = nodes.find(name, where(key))
        except UserError as error:
            faults += error.faults
            continue
        if not nodes.available(node):
            faults.append(_switched_off(nodes, node, where(key)))
        found += [Need(node, role) for node in (_stores(nodes, matcher, node) if role == "storage" else [node])]
    if faults:
        raise UserError(*faults)
    root_controller = nodes.interrupt_parent(nodes.root)
    if root_controller is not None:
        found.append(Need(root_controller, "interrupts"))
    found += _by_driver(nodes, matcher, named_watchdog=bool(wishes.watchdogs))
    return found


def named(nodes: DeviceNodes, names: tuple[str, ...], where: str) -> list[Node]:
    """Return the nodes that a list names. Raises UserError for every one that is not there."""
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


def stdout(nodes: DeviceNodes) -> str:
    """Return the console's path or alias by the tree itself."""
    chosen = nodes.root.child("chosen")
    if chosen is None:
        return ""
    return (chosen.string("stdout-path") or chosen.string("linux,stdout-path")).partition(":")[0]


def port_number(nodes: DeviceNodes, node: Node) -> int:
    """Return the number that the node has as a serial port: that of its alias, or 0."""
    numbers = [
        int(match[1])
        for name, path in nodes.aliases.items()
        if path == node.path and (match := re.fullmatch(r"serial(\d+)", name))
    ]
    return min(numbers, default=0)


def _alias(nodes: DeviceNodes, tty: str) -> str:
    """Return the alias of a console: ``ttyS4,115200`` is ``serial4`` (Linux, of_alias_get_id in serial drivers)."""
    number = re.match(r"tty[A-Za-z]+(\d+)", tty)
    alias = f"serial{number[1]}" if number else ""
    return alias if alias in nodes.aliases else ""


def _stores(nodes: DeviceNodes, matcher: Matcher, node: Node) -> list[Node]:
    """Return what stores on a bus that was named as storage: flash behind an SPI controller; else the node itself."""
    folders = tuple(companion.folder for companion in companions.STORAGE)

    def stores(one: Node) -> bool:
        return any(driver.source.startswith(folders) for driver in matcher.match(one).drivers)

    below = [] if stores(node) else [one for one in node.walk() if nodes.available(one) and stores(one)]
    return below or [node]


def _switched_off(nodes: DeviceNodes, node: Node, where: str) -> Fault:
    off = node if not node.enabled else next(n for n in nodes.ancestors(node) if not n.enabled)
    return Fault(
        f"{node.path} is switched off in the device tree",
        where=where,
        why=f'{off.path} has status = "{off.string("status")}"',
        hint="name the node that the board uses, or switch this one on in the board's device tree",
    )


def _by_driver(nodes: DeviceNodes, matcher: Matcher, *, named_watchdog: bool) -> Iterator[Need]:
    """Yield timers, caches, and what restarts the machine, by the kind of their drivers."""
    available = [node for node in nodes.root.walk() if node.strings("compatible") and nodes.available(node)]
    arch_timer = any(_ARCH_TIMER.fullmatch(name) for node in available for name in node.strings("compatible"))
    for node in available:
        kinds = matcher.kinds(node)
        if "timer" in kinds:
            # With the CPUs' own timer, no other one is needed.
            if not arch_timer or any(map(_ARCH_TIMER.fullmatch, node.strings("compatible"))):
                yield Need(node, "timer")
            continue
        yield from (
            Need(node, role)
            for role in _roles(nodes, node, matcher)
            if not (role == "watchdog" and named_watchdog)
        )  # fmt: skip


def _roles(nodes: DeviceNodes, node: Node, matcher: Matcher) -> list[str]:
    """Return what a node is by its drivers, if a capture kernel wants all of these."""
    roles = []
    for driver in matcher.match(node).drivers:
        if driver.source == _CACHES:
            roles.append("cpu")
        elif driver.source.startswith(_WATCHDOGS):
            roles.append("watchdog")
        elif driver.source.startswith(_RESETS) and driver.source in matcher.index.restarts:
            roles.append("reset")
        elif driver.source in matcher.index.cells and driver.kind == sources.DRIVER:
            parent = nodes.parent(node)
            if (parent is None or parent.base_name not in _BEHIND_A_WIRE) and matcher.cells(driver.source, _WATCHDOGS):
                roles.append("watchdog")
    return list(dict.fromkeys(roles))
