"""A device tree as a graph: parents, phandles, aliases, labels."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING

from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kdumpbuild.formats.fdt import Fdt, Node

_SHOWN = 5


class DeviceNodes:
    """The nodes of a device tree by path and by phandle, and what leads from one to the other."""

    def __init__(self, tree: Fdt) -> None:
        self.tree = tree
        self.by_path: dict[str, Node] = {}
        self._by_phandle: dict[int, Node] = {}
        for node in tree.root.walk():
            self.by_path[node.path] = node
            for name in ("phandle", "linux,phandle"):
                if cells := node.cells(name):
                    self._by_phandle.setdefault(cells[0], node)

    @property
    def root(self) -> Node:
        """The root node."""
        return self.tree.root

    def parent(self, node: Node) -> Node | None:
        """Return the node above, or None for the root."""
        return None if node.path == "/" else self.by_path[node.path.rpartition("/")[0] or "/"]

    def ancestors(self, node: Node) -> Iterator[Node]:
        """Yield the nodes above, nearest first, the root left out."""
        above = self.parent(node)
        while above is not None and above.path != "/":
            yield above
            above = self.parent(above)

    def target(self, phandle: int) -> Node | None:
        """Return the node that a phandle means."""
        return self._by_phandle.get(phandle)

    def available(self, node: Node) -> bool:
        """Whether the node and all above it are switched on."""
        return node.enabled and all(above.enabled for above in self.ancestors(node))

    def interrupt_parent(self, node: Node) -> Node | None:
        """Return where the interrupts of a node go: its own or an inherited ``interrupt-parent``."""
        at: Node | None = node
        while at is not None:
            if cells := at.cells("interrupt-parent"):
                found = self.target(cells[0])
                return None if found is node else found
            at = self.parent(at)
            if at is not None and ("interrupt-controller" in at.properties or "interrupt-map" in at.properties):
                return at
        return None

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """Name to path of each alias."""
        node = self.root.child("aliases")
        return {name: node.string(name) for name in node.properties} if node else {}

    @functools.cached_property
    def labels(self) -> dict[str, str]:
        """Name to path of each label of the source; only a tree compiled with ``dtc -@`` has them."""
        node = self.root.child("__symbols__")
        return {name: node.string(name) for name in node.properties} if node else {}

    def find(self, name: str, where: str) -> Node:
        """Return the node that a user names by path, alias, ``&label``, or name and address if no other has them.

        Raises UserError with the nearest ones.
        """
        path = name
        if name.startswith("&"):
            path = self.labels.get(name[1:], "")
        elif not name.startswith("/"):
            path = self.aliases.get(name, "") or self._by_name(name)
        node = self.tree.node(path) if path else None
        if node is not None:
            return node
        known: Iterable[str] = self.by_path
        kind = "node at"
        if name.startswith("&"):
            known, kind = (f"&{label}" for label in self.labels), "label"
        elif not name.startswith("/"):
            known, kind = self.aliases, "alias"
        if not name.startswith(("&", "/")) and "@" in name:
            known, kind = (path.rpartition("/")[2] for path in self.by_path), "one node, and no more than one, named"
        raise user_error(
            f"the device tree {self.tree.name} has no {kind} {name}", where=where, why=self._near(name, list(known)),
            hint="a node's path, an alias (mmc0), or a label (&usdhc3) if the tree was compiled with dtc -@",
        )  # fmt: skip

    def _by_name(self, name: str) -> str:
        """Return the path of the only node with that name and unit address; empty when there is none or several."""
        found = [path for path in self.by_path if "@" in name and path.endswith(f"/{name}")]
        return found[0] if len(found) == 1 else ""

    def _near(self, name: str, known: list[str]) -> str:
        if name.startswith("&") and not known:
            return "it was compiled without labels"
        last = name.rpartition("/")[2]
        same = [path for path in known if last and path.rpartition("/")[2].partition("@")[0] == last.partition("@")[0]]
        unit = last.partition("@")[2]
        same += [path for path in known if unit and path.endswith(f"@{unit}") and path not in same]
        close = difflib.get_close_matches(name, known, n=_SHOWN, cutoff=0.5)
        near = list(dict.fromkeys([*difflib.get_close_matches(name, same, n=_SHOWN, cutoff=0.0), *close]))[:_SHOWN]
        return f"nearest: {', '.join(near)}" if near else f"known: {', '.join(sorted(known)[:20]) or 'none'}"
