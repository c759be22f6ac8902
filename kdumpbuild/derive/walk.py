"""From the nodes that a capture kernel is for to all that they hang on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.derive.references import Edge, edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kdumpbuild.derive.nodes import DeviceNodes
    from kdumpbuild.formats.fdt import Node


@dataclass(frozen=True)
class Need:
    """A node that is needed, and how the walk came to it."""

    node: Node
    role: str
    """What the walk started for: console, storage, watchdog, reset, interrupts, timer, cpu, board, asked for."""
    via: str = ""
    """The property, ``parent``, or empty for a start."""
    by: Need | None = None
    """What needs it; None for a start."""

    @property
    def path(self) -> str:
        """``/soc/mmc@1 -> clocks -> /soc/ccm@2 (fsl,ccm)``."""
        compatible = next(iter(self.node.strings("compatible")), "")
        own = f"{self.node.path} ({compatible})" if compatible else self.node.path
        return own if self.by is None else f"{self.by.trail} -> {self.via} -> {own}"

    @property
    def trail(self) -> str:
        """The path without what the nodes are."""
        return self.node.path if self.by is None else f"{self.by.trail} -> {self.via} -> {self.node.path}"

    @property
    def start(self) -> Need:
        """Where the walk began."""
        return self if self.by is None else self.by.start


@dataclass(frozen=True)
class Skipped:
    """A reference that was not followed."""

    by: Need
    edge: Edge


def walk(
    nodes: DeviceNodes, starts: Iterable[Need], without: Callable[[Node], bool]
) -> tuple[list[Need], list[Skipped]]:
    """Return every node that the starts hang on, each once with its shortest way, and what was left out."""
    found: dict[str, Need] = {}
    skipped: list[Skipped] = []
    queue = deque(starts)
    while queue:
        need = queue.popleft()
        if need.node.path in found or need.node.path == "/" or without(need.node):
            continue
        found[need.node.path] = need
        parent = nodes.parent(need.node)
        if parent is not None and parent.path != "/":
            queue.append(Need(parent, need.role, "parent", need))
        for edge in _all_edges(nodes, need.node):
            if edge.needed:
                queue.append(Need(edge.target, need.role, edge.name, need))
            else:
                skipped.append(Skipped(need, edge))
    return list(found.values()), skipped


def _all_edges(nodes: DeviceNodes, node: Node) -> list[Edge]:
    """Return the references of a node. One inside of its own device (a clock of the controller itself) leads there."""
    return [edge for edge in edges(nodes, node) if edge.target is not node]
