"""A ring of slots for the test machine: made with one dump in it, of a crash that was before."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from kdumpbuild.crashtest.disk import check_space
from kdumpbuild.files import writing
from kdumpbuild.formats.slots import DMESG, MAGIC, OPEN, PAGE, UNIT, VMCORE

if TYPE_CHECKING:
    from pathlib import Path

_NOR_BLANK = b"\xff" * UNIT


def make_ring(image: Path, *, slots: int, size: int, erase: int, marker: str, flash: bool = False) -> None:
    """Make an image of ``size`` bytes with a whole dump in its first slot; ``erase``: bytes of an erase block."""
    head = max(1, erase // UNIT)
    units = size // UNIT // slots // head * head
    log = f"[    0.000000] an earlier crash, before {marker}\n".encode().ljust(UNIT, b"\0")
    # Whole units, however long the marker is: the checksum is of all of them.
    memory = (f"an earlier dump, before {marker}\n".encode() * 4096)[: 2 * UNIT].ljust(2 * UNIT, b"\0")
    facts = {"sequence": 1, "slot": 0, "slots": slots, "slot_units": units, "board": "earlier"}
    with writing(image):
        check_space(image.parent, 64 << 20)
        with image.open("wb") as stream:
            if flash:
                for _ in range(size // UNIT):
                    stream.write(_NOR_BLANK)
            else:
                stream.truncate(size)
            places = {OPEN: None, DMESG: (head, log), VMCORE: (2 * head, memory)}
            for number, place in places.items():
                extra: dict[str, object] = {}
                if place is not None:
                    at, data = place
                    extra = {"form": "raw", "encoding": "plain", "at": at, "units": len(data) // UNIT,
                             "bytes": len(data), "sum": f"crc32:{zlib.crc32(data):08x}"}  # fmt: skip
                    stream.seek(at * UNIT)
                    stream.write(data)
                stream.seek(number * PAGE)
                stream.write(_record({**facts, **extra}))


def slot_digest(image: Path, slots: int, erase: int) -> dict[str, str]:
    """Return the SHA-256 of the first slot, whole."""
    head = max(1, erase // UNIT)
    length = image.stat().st_size // UNIT // slots // head * head * UNIT
    digest = hashlib.sha256()
    with image.open("rb") as stream:
        while length > 0:
            data = stream.read(min(length, 1 << 20))
            digest.update(data)
            length -= len(data)
    return {"slot 0": digest.hexdigest()}


def _record(facts: dict[str, object]) -> bytes:
    text = "".join(f"{line}\n" for line in (MAGIC, *(f"{key}={value}" for key, value in facts.items())))
    return f"{text}check=crc32:{zlib.crc32(text.encode()):08x}\n".encode().ljust(PAGE, b"\0")
