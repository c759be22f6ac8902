"""From the nodes that a capture kernel is for to all that they hang on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.derive.references import edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kdumpbuild.derive.nodes import DeviceNodes
    from kdumpbuild.derive.references import Edge
    from kdumpbuild.formats.fdt import Node

PARENT = "parent"


@dataclass(frozen=True)
class Need:
    """A node that is needed, and how the walk came to it."""

    node: Node
    role: str
    """What the walk started for: one of :data:`kdumpbuild.derive.starts.ROLES`."""
    via: str = ""
    """The property, ``parent``, or empty for a start."""
    by: Need | None = None
    """What needs it; None for a start."""
    soft: bool = False
    """Whether it is only a parent of something that is started without its parents."""

    @property
    def compatible(self) -> str:
        """The node's most specific name, or nothing."""
        return next(iter(self.node.strings("compatible")), "")

    @property
    def path(self) -> str:
        """``/soc/mmc@1 -> clocks -> /soc/ccm@2 (fsl,ccm)``."""
        return f"{self.trail} ({self.compatible})" if self.compatible else self.trail

    @property
    def trail(self) -> str:
        """The path without what the nodes are. Nodes that are no device, as a group of pins, are passed over."""
        if self.by is None:
            return self.node.path
        via, by = self.via, self.by
        while via == PARENT and not by.compatible and by.by is not None:
            via, by = by.via, by.by
        return f"{by.trail} -> {via} -> {self.node.path}"

    @property
    def start(self) -> Need:
        """Where the walk began."""
        return self if self.by is None else self.by.start


@dataclass(frozen=True)
class Skipped:
    """A reference that was not followed, and why."""

    by: Need
    edge: Edge
    why: str


@dataclass
class Walked:
    """What the walk found."""

    needs: list[Need] = field(default_factory=list)
    """Each needed node once, with its shortest way."""
    skipped: list[Skipped] = field(default_factory=list)
    uses: dict[str, set[str]] = field(default_factory=dict)
    """For the path of each node with a ``compatible``, the properties that led to it or to a part of it."""


def walk(
    nodes: DeviceNodes,
    starts: Iterable[Need],
    without: Callable[[Node], bool],
    refuse: Callable[[Node, Edge], str],
    early: Callable[[Node], bool],
) -> Walked:
    """Follow parents and references from the starts.

    ``refuse`` says why a reference is not to be followed, or nothing; ``early`` whether a node's driver is one that
    does not wait for the node's parents.
    """
    found: dict[str, Need] = {}
    walked = Walked()
    queue = deque(starts)
    while queue:
        need = queue.popleft()
        if need.node.path == "/" or without(need.node):
            continue
        _note_use(nodes, walked, need)
        known = found.get(need.node.path)
        if known is not None and not (known.soft and not need.soft):
            continue
        found[need.node.path] = need
        parent = nodes.parent(need.node)
        if parent is not None and parent.path != "/":
            queue.append(Need(parent, need.role, PARENT, need, need.soft or early(need.node)))
        for edge in edges(nodes, need.node):
            if edge.target is need.node:
                continue
            why = refuse(need.node, edge) if edge.needed else edge.why
            if why:
                walked.skipped.append(Skipped(need, edge, why))
            else:
                queue.append(Need(edge.target, need.role, edge.name, need, need.soft))
    walked.needs = list(found.values())
    return walked


def _note_use(nodes: DeviceNodes, walked: Walked, need: Need) -> None:
    """Note which property led to the device that the node is, or is a part of."""
    use = need.via or need.role
    if use == PARENT:
        return
    for node in (need.node, *nodes.ancestors(need.node)):
        if node.strings("compatible"):
            walked.uses.setdefault(node.path, set()).add(use)
            return
