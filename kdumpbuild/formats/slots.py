"""A raw partition as a ring of slots, read on the host: which dumps there are, and what is in them.

The capture system writes it (templates/initramfs/lib/slots.sh); docs/slots.md describes the format. A slot is
told by the records at its beginning, each a page of text with a checksum. What no whole record speaks of is not there.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeAlias

from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAGIC = "KDUMPSLOT 1"
PAGE = 4096
UNIT = 65536
OPEN, DMESG, VMCORE, END = range(4)
_CHUNK = 16 * UNIT
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FILLING = re.compile(rb"\0*\Z")


@dataclass(frozen=True)
class Part:
    """What a record says of the data behind it."""

    offset: int
    """From the start of the image."""
    length: int
    """Whole units, the last one filled with zeros."""
    size: int | None
    """The exact size, where the writer knew it."""
    checksum: str
    """``program:value``."""
    encoding: str
    """``plain``, or ``flattened`` as makedumpfile writes to a pipe."""


@dataclass(frozen=True)
class Slot:
    """One slot that was ever begun."""

    number: int
    sequence: int
    """Numbers go up with each crash."""
    state: str
    """``torn``: cut off before the log was durable; ``log``; ``memory``."""
    status: dict[str, str]
    """What the records say, under the names that ``status`` has on a file system."""
    dmesg: Part | None
    vmcore: Part | None


def read_slots(image: Path) -> list[Slot]:
    """Return the slots of a partition's image, the oldest first. Raises UserError when it holds none."""
    with image.open("rb") as stream:
        found = [slot for at in _starts(stream) if (slot := _read_slot(stream, at)) is not None]
    if not found:
        raise user_error(
            "holds no slot with a dump", where=str(image),
            why=f"no page at a multiple of {UNIT // 1024} KiB is a whole record",
            hint="is it the partition of [dump] device, from its first byte?",
        )  # fmt: skip
    return sorted(found, key=lambda slot: slot.sequence)


def extract(image: Path, part: Part, target: IO[bytes]) -> None:
    """Write a part's data, after a look at its checksum. Raises UserError when that is another one."""
    program, _, wanted = part.checksum.partition(":")
    add, value = _CHECKSUMS[program]()
    with image.open("rb") as stream:
        for data in _chunks(stream, part):
            add(data)
        if value() != wanted:
            raise user_error(
                "a dump is damaged: its data is not what its record speaks of", where=str(image),
                why=f"{program} {wanted} expected, {value()} found",
                hint="the storage lost or changed it; nothing of it can be trusted",
            )  # fmt: skip
        left = part.length if part.size is None else part.size
        for data in _chunks(stream, part):
            target.write(data[:left])
            left -= len(data)
            if left <= 0:
                break


def extract_text(image: Path, part: Part, target: IO[bytes]) -> None:
    """Write a log's text, without the zeros at its end."""
    with _Trimmed(target) as trimmed:
        extract(image, part, trimmed)


class _Trimmed:
    """A file that leaves out the zeros at the end of what is written to it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target, self._held = target, 0

    def write(self, data: bytes) -> int:
        match = _FILLING.search(data)
        text = data[: match.start()] if match else data
        if text:
            self._target.write(b"\0" * self._held + text)
            self._held = 0
        self._held += len(data) - len(text)
        return len(data)

    def __enter__(self) -> IO[bytes]:
        return self  # type: ignore[return-value]  # all that extract() does with it is to write

    def __exit__(self, *_: object) -> None:
        pass


def _chunks(stream: IO[bytes], part: Part) -> Iterator[bytes]:
    stream.seek(part.offset)
    left = part.length
    while left > 0 and (data := stream.read(min(left, _CHUNK))):
        yield data
        left -= len(data)


def _starts(stream: IO[bytes]) -> Iterator[int]:
    """Yield where slots begin. The first whole record tells how large they are."""
    size = stream.seek(0, 2)
    for at in range(0, size - PAGE + 1, UNIT):
        record = _read_record(stream, at)
        step = _number(record, "slot_units") * UNIT
        if record and step > 0 and at == _number(record, "slot") * step:
            yield from range(0, min(size, _number(record, "slots") * step), step)
            return


def _read_record(stream: IO[bytes], at: int) -> dict[str, str]:
    """Return a record's pairs; empty when it is not there or not whole."""
    stream.seek(at)
    page = stream.read(PAGE).replace(b"\0", b"")
    head, mark, tail = page.partition(b"\ncheck=")
    if not mark or not page.startswith(MAGIC.encode() + b"\n"):
        return {}
    program, _, wanted = tail.split(b"\n", 1)[0].decode("ascii", "replace").partition(":")
    if program not in _CHECKSUMS:
        return {}
    add, value = _CHECKSUMS[program]()
    add(head + b"\n")
    if value() != wanted:
        return {}
    lines = head.decode("utf-8", "replace").split("\n")[1:]
    return {key: text for key, equals, text in (line.partition("=") for line in lines) if equals}


def _read_slot(stream: IO[bytes], start: int) -> Slot | None:
    opened = _read_record(stream, start + OPEN * PAGE)
    if not opened:
        return None
    sequence = _number(opened, "sequence")
    records = {number: _read_record(stream, start + number * PAGE) for number in (DMESG, VMCORE, END)}
    # A record of an earlier dump in the same slot is not this one's.
    dmesg, vmcore, end = (
        record if _number(record, "sequence") == sequence else {} for record in records.values()
    )
    if not dmesg:
        vmcore = {}
    log = _part(dmesg, start)
    status = {
        "format": "1",
        "board": opened.get("board", ""),
        "release": opened.get("release", ""),
        "build_id": opened.get("build_id", ""),
        "crash_time": opened.get("crash_time", ""),
        "dmesg": "none" if not dmesg else "ok" if log else "failed",
        "vmcore": vmcore.get("form", "none"),
        "dmesg_seconds": dmesg.get("seconds", ""),
        "vmcore_seconds": vmcore.get("seconds", ""),
        "reason": end.get("reason", ""),
        "stage": end.get("stage", ""),
    }
    state = "memory" if vmcore else "log" if dmesg else "torn"
    return Slot(_number(opened, "slot"), sequence, state, status, log, _part(vmcore, start))


def _part(record: dict[str, str], start: int) -> Part | None:
    length = _number(record, "units") * UNIT
    if length <= 0 or record.get("sum", "").partition(":")[0] not in _CHECKSUMS:
        return None
    size = record.get("bytes", "")
    return Part(
        offset=start + _number(record, "at") * UNIT, length=length, size=int(size) if size.isdecimal() else None,
        checksum=record["sum"], encoding=record.get("encoding", "plain"),
    )  # fmt: skip


def _number(record: dict[str, str], key: str) -> int:
    text = record.get(key, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


_Checksum: TypeAlias = "tuple[Callable[[bytes], object], Callable[[], str]]"
"""What adds data, and what tells the checksum of all that was added."""


def _crc32() -> _Checksum:
    state = [0]

    def add(data: bytes) -> None:
        state[0] = zlib.crc32(data, state[0])

    return add, lambda: f"{state[0]:08x}"


def _cksum() -> _Checksum:
    """POSIX's cksum: the polynomial of CRC-32 with the bits the other way round, from zero, the length behind it."""
    state = [0xFFFFFFFF, 0]

    def add(data: bytes) -> None:
        state[0] = zlib.crc32(data.translate(_REVERSED), state[0])
        state[1] += len(data)

    def value() -> str:
        length = state[1]
        tail = length.to_bytes((length.bit_length() + 7) // 8, "little")
        reflected = zlib.crc32(tail.translate(_REVERSED), state[0])
        return str(int(f"{reflected:032b}"[::-1], 2))

    return add, value


def _hash(name: str) -> Callable[[], _Checksum]:
    def make() -> _Checksum:
        digest = hashlib.new(name)
        return digest.update, digest.hexdigest

    return make


_CHECKSUMS: dict[str, Callable[[], _Checksum]] = {
    "crc32": _crc32,
    "cksum": _cksum,
    "md5sum": _hash("md5"),
    "sha256sum": _hash("sha256"),
}
