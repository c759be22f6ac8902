"""makedumpfile's flattened form, in which it writes to a pipe, and its way back into a file.

A header block names the form; then each piece says where in the file it belongs (makedumpfile,
``struct makedumpfile_header`` and ``struct makedumpfile_data_header``: big-endian).
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING

from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"makedumpfile\0\0\0\0"
_HEADER = struct.Struct(">16sqq")
_HEADER_SIZE = 4096
_PIECE = struct.Struct(">qq")
_END = -1
_LARGEST = 1 << 40
_COPY = 1 << 20


def is_flattened(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a flattened one."""
    return head.startswith(MAGIC)


def unflatten(source: Path, target: IO[bytes]) -> None:
    """Write the file that a flattened one stands for. Raises UserError when it is damaged or cut off."""
    with source.open("rb") as stream:
        header = stream.read(_HEADER_SIZE)
        if len(header) < _HEADER_SIZE or _HEADER.unpack_from(header) != (MAGIC, 1, 1):
            raise user_error("is no flattened dump of a version that is known", where=str(source),
                             why="version 1 of type 1 is")  # fmt: skip
        while True:
            head = stream.read(_PIECE.size)
            if len(head) < _PIECE.size:
                raise _damaged(source, f"it has {stream.tell()} bytes, and no end")
            at, size = _PIECE.unpack(head)
            if at == _END:
                return
            if not 0 <= at < _LARGEST or not 0 <= size < _LARGEST:
                raise _damaged(source, f"a piece of {size} bytes at {at}")
            target.seek(at)
            while size > 0:
                data = stream.read(min(size, _COPY))
                if not data:
                    raise _damaged(source, f"it ends inside a piece at {at}")
                target.write(data)
                size -= len(data)


def _damaged(source: Path, why: str) -> Exception:
    return user_error(
        "is a damaged or cut off flattened dump", where=str(source), why=why,
        hint="copy the dump from the board again, and compare the sizes",
    )  # fmt: skip
