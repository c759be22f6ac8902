"""A flattened device tree, read with a limit on everything.

Form: Devicetree Specification v0.4, chapter 5. A reader of our own because none on PyPI serves: ``fdt`` guesses a
type for every property (a ``reg`` whose bytes happen to be printable becomes text, its zeros lost) and stops at the
NOP tags that boot loaders leave; ``pylibfdt`` is a source package that needs swig and a C compiler.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.formats.reading import MIB, Source, load, malformed, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.errors import UserError

MAGIC = 0xD00DFEED
_LIMIT = 16 * MIB
_HEADER = 40
_BEGIN, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
_MAX_DEPTH = 64
_MAX_NODES = 100_000
_MAX_PROPERTIES = 500_000
_MAX_NAME = 256
_MAX_RESERVATIONS = 1024


@dataclass(frozen=True)
class Node:
    """A node of the tree, its properties as raw bytes."""

    path: str
    """Full path; the root's is ``/``."""
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Last part of the path, with the unit address; empty for the root."""
        return self.path.rpartition("/")[2]

    @property
    def base_name(self) -> str:
        """Name without the unit address."""
        return self.name.partition("@")[0]

    def child(self, name: str) -> Node | None:
        """Return the child of that name, with or without a unit address, or None."""
        return next((c for c in self.children if name in (c.name, c.base_name)), None)

    def cells(self, name: str) -> tuple[int, ...]:
        """Return a property as 32-bit numbers; an incomplete last one is left out, a missing property is empty."""
        data = self.properties.get(name, b"")
        return struct.unpack(f">{len(data) // 4}I", data[: len(data) // 4 * 4])

    def cell(self, name: str, default: int) -> int:
        """Return the first number of a property, or ``default``."""
        cells = self.cells(name)
        return cells[0] if cells else default

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a property as a list of strings."""
        data = self.properties.get(name, b"").rstrip(b"\0")
        return tuple(part.decode("utf-8", errors="replace") for part in data.split(b"\0")) if data else ()

    def string(self, name: str) -> str:
        """Return a property as its first string, or an empty one."""
        return next(iter(self.strings(name)), "")

    def reg(self, name: str, address_cells: int, size_cells: int) -> tuple[tuple[int, int], ...]:
        """Return a property as pairs of address and size, for a parent with these cell counts."""
        if not (1 <= address_cells <= 4 and 1 <= size_cells <= 4):
            return ()
        cells = self.cells(name)
        width = address_cells + size_cells
        return tuple(
            (_number(cells[i : i + address_cells]), _number(cells[i + address_cells : i + width]))
            for i in range(0, len(cells) - width + 1, width)
        )

    @property
    def enabled(self) -> bool:
        """Whether its status does not switch it off."""
        return self.string("status") in ("", "ok", "okay")

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))


@dataclass(frozen=True)
class Fdt:
    """A whole tree."""

    name: str
    size: int
    """Size by the header, in bytes."""
    root: Node
    reservations: tuple[tuple[int, int], ...]
    """Address and size of each entry in the memory reservation block."""

    def node(self, path: str) -> Node | None:
        """Return the node at ``path``, each part with or without its unit address, or None."""
        node: Node | None = self.root
        for part in path.strip("/").split("/"):
            if node is not None and part:
                node = node.child(part)
        return node


def read_fdt(source: Source, *, where: str = "") -> Fdt:
    """Read a device tree blob. Raises UserError when it is none, is damaged or beyond all measure."""
    name = name_of(source, where)
    data = load(source, where=where, limit=_LIMIT)
    if len(data) < _HEADER or struct.unpack_from(">I", data)[0] != MAGIC:
        why = f"expected the magic number {MAGIC:#x} at its start, found {data[:4].hex() or 'nothing'}"
        raise malformed("not a device tree blob", where=name, why=why, hint="give a .dtb, or /sys/firmware/fdt")
    total, structure, strings, reserved, _, compatible, _, strings_size, _ = struct.unpack_from(">9I", data, 4)
    if compatible > 17:
        raise _damaged(name, f"needs a reader of version {compatible}; this one reads 17")
    if not _HEADER <= total <= len(data):
        raise _damaged(name, f"its header says {total} bytes, the file has {len(data)}")
    if structure > total or strings > total or structure % 4:
        raise _damaged(name, f"its blocks at {structure:#x} and {strings:#x} are not inside its {total} bytes")
    blob = data[:total]
    names = blob[strings : strings + strings_size]
    return Fdt(
        name=name,
        size=total,
        root=_read_tree(blob, structure, names, name),
        reservations=_read_reservations(blob, reserved, name),
    )


def _read_tree(blob: bytes, at: int, names: bytes, name: str) -> Node:
    root: Node | None = None
    stack: list[Node] = []
    nodes = properties = 0
    known: dict[int, str] = {}
    while True:
        if at + 4 > len(blob):
            raise _damaged(name, f"it ends in the middle of its structure, at {at:#x}")
        (tag,) = struct.unpack_from(">I", blob, at)
        at += 4
        if tag == _BEGIN:
            end = blob.find(b"\0", at, at + _MAX_NAME)
            if end < 0:
                raise _damaged(name, f"a node's name at {at:#x} does not end")
            text = blob[at:end].decode("utf-8", errors="replace")
            if stack and (not text or "/" in text):  # paths would lead elsewhere
                raise _damaged(name, f"{text!r} at {at:#x} is no name of a node")
            at = (end + 4) & ~3
            nodes += 1
            if nodes > _MAX_NODES or len(stack) >= _MAX_DEPTH:
                raise _damaged(name, f"more than {_MAX_NODES} nodes, or nested deeper than {_MAX_DEPTH}")
            if stack:
                node = Node(f"{stack[-1].path.rstrip('/')}/{text}")
                stack[-1].children.append(node)
            elif root is None:
                node = root = Node("/")
            else:
                raise _damaged(name, "it has a second root")
            stack.append(node)
        elif tag == _END_NODE and stack:
            stack.pop()
        elif tag == _PROP and stack:
            if at + 8 > len(blob):
                raise _damaged(name, f"it ends in the middle of its structure, at {at:#x}")
            size, offset = struct.unpack_from(">2I", blob, at)
            at += 8
            properties += 1
            if at + size > len(blob) or properties > _MAX_PROPERTIES:
                raise _damaged(name, f"a property of {size} bytes at {at:#x}")
            if offset not in known:
                known[offset] = _property_name(names, offset, name)
            stack[-1].properties[known[offset]] = blob[at : at + size]
            at = (at + size + 3) & ~3
        elif tag == _END and root is not None and not stack:
            return root
        elif tag != _NOP:
            raise _damaged(name, f"tag {tag:#x} at {at - 4:#x}")


def _property_name(names: bytes, offset: int, name: str) -> str:
    end = names.find(b"\0", offset, offset + _MAX_NAME)
    if offset >= len(names) or end < 0:
        raise _damaged(name, f"no property's name at {offset:#x} of its strings")
    return names[offset:end].decode("utf-8", errors="replace")


def _read_reservations(blob: bytes, at: int, name: str) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    while len(found) <= _MAX_RESERVATIONS and at + 16 <= len(blob):
        address, size = struct.unpack_from(">2Q", blob, at)
        if not address and not size:
            return tuple(found)
        found.append((address, size))
        at += 16
    raise _damaged(name, "its memory reservations do not end")


def _number(cells: tuple[int, ...]) -> int:
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value


def _damaged(name: str, why: str) -> UserError:
    hint = "copy it again, whole: `dtc -I dtb -O dts` says nothing bad of a good one"
    return malformed("damaged device tree blob", where=name, why=why, hint=hint)
