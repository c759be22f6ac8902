"""From makedumpfile's kdump-compressed form to ELF, for 32-bit ARM.

libkdumpfile, through which drgn reads that form, takes page frame numbers for absolute ones. On 32-bit ARM makedumpfile
counts them from the start of RAM (makedumpfile, ARCH_PFN_OFFSET in makedumpfile.h), and its header has a 16-byte time
where user space has a 64-bit time_t, which is then taken for the layout of a 64-bit machine. The form is worth having
all the same: writing it takes the capture system a third of the time that ELF takes, and a third of the space.

The layout is that of makedumpfile's diskdump_mod.h: a header block, a sub-header with the ELF notes, two bitmaps (pages
that exist, pages that are in the dump), a descriptor for each dumped page, the pages.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAGIC = b"KDUMP   "
_PAGE = 4096
HEADERS = 2 * _PAGE
"""What a dump has at least: a block with the header and one with the sub-header."""
_MACHINE = 8 + 4 + 4 * 65
"""Offset of utsname's machine: behind signature, version and four names."""
_STATUS = (412, 424)
"""Where the header goes on behind its time stamp: with a 32-bit and with a 64-bit time_t."""
_SUB_HEADER = struct.Struct("<I4x4x4x4x4xQI4xQI4x8x4x4x8x8xQ")
"""phys_base, then offset and size of VMCOREINFO, offset and size of the notes, max_mapnr."""
_DESCRIPTOR = struct.Struct("<QIIQ")
_NOTES_LIMIT = 1 << 20
_FRAMES_LIMIT = 1 << 20
"""Pages of a 32-bit machine's 4 GiB; with LPAE there may be more, which an ELF32 file cannot hold."""
_RUNS_LIMIT = 60_000
_ZLIB, _LZO = 1, 2
_STEXT = re.compile(rb"^SYMBOL\(_stext\)=([0-9a-f]{8})$", re.MULTILINE)


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a dump are."""

    phys_base: int
    frames: int
    """Page frames that the bitmaps speak of, from phys_base on."""
    notes: bytes
    bitmap: int
    """Offset of the bitmap of dumped pages."""
    descriptors: int
    page_offset: int
    """Virtual address of the start of RAM."""


def is_arm(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (4 KiB) is a kdump-compressed dump of a 32-bit ARM machine."""
    return head.startswith(MAGIC) and head[_MACHINE : _MACHINE + 3] == b"arm"


def to_elf(vmcore: Path, target: IO[bytes]) -> None:
    """Write the dump as an ELF core file. Raises UserError when it is damaged, cut off, or of an unknown kind."""
    try:
        size = vmcore.stat().st_size
        with vmcore.open("rb") as stream:
            layout = _read_layout(stream, size)
            runs = _runs(stream, layout)
            _write(stream, size, layout, runs, target)
    except OSError as error:
        raise user_error(f"cannot be read: {error.strerror}", where=str(vmcore)) from error
    except (_DamagedError, struct.error, zlib.error) as error:
        raise user_error(
            "is a damaged or cut off kdump file", where=str(vmcore), why=str(error),
            hint="copy the dump from the board again, and compare the sizes",
        ) from error  # fmt: skip


class _DamagedError(Exception):
    """The file contradicts itself."""


def _read_layout(stream: IO[bytes], size: int) -> _Layout:
    head = stream.read(_PAGE)
    for at in _STATUS:
        block, sub_blocks, bitmap_blocks = struct.unpack_from("<iiI", head, at + 4)
        if block == _PAGE:
            break
    else:
        raise _DamagedError("its header has no block size of 4096 bytes")
    stream.seek(_PAGE)
    phys_base, _, _, notes_at, notes_size, frames = _SUB_HEADER.unpack(stream.read(_SUB_HEADER.size))
    bitmap = (1 + sub_blocks) * _PAGE
    descriptors = bitmap + bitmap_blocks * _PAGE
    half = bitmap_blocks * _PAGE // 2
    if not (0 < sub_blocks <= 1024 and 0 < frames <= min(half * 8, _FRAMES_LIMIT) and descriptors <= size):
        raise _DamagedError(f"{frames} page frames and {bitmap_blocks} blocks of bitmaps do not go together")
    if not 0 < notes_size <= _NOTES_LIMIT or notes_at + notes_size > size:
        raise _DamagedError("its notes are not inside the file")
    stream.seek(notes_at)
    notes = stream.read(notes_size)
    stext = _STEXT.search(notes)
    if stext is None:
        raise _DamagedError("its VMCOREINFO does not tell where the kernel is")
    # The kernel's text is in the first 32 MiB of the linear mapping (kexec-tools, kexec/arch/arm/crashdump-arm.c).
    return _Layout(phys_base, frames, notes, bitmap + half, descriptors, int(stext[1], 16) & ~0x1FFFFFF)


def _runs(stream: IO[bytes], layout: _Layout) -> list[tuple[int, int]]:
    """Return first frame and number of frames of each run of dumped pages."""
    stream.seek(layout.bitmap)
    bits = stream.read((layout.frames + 7) // 8)
    text = "".join(f"{byte:08b}"[::-1] for byte in bits)[: layout.frames]
    runs = [(match.start(), match.end() - match.start()) for match in re.finditer("1+", text)]
    if not 0 < len(runs) <= _RUNS_LIMIT:
        raise _DamagedError(f"its bitmap has {len(runs)} runs of pages")
    return runs


def _write(
    stream: IO[bytes], size: int, layout: _Layout, runs: list[tuple[int, int]], target: IO[bytes]
) -> None:
    header, entry = 52, 32
    count = len(runs) + 1
    notes_at = header + entry * count
    at = notes_at + len(layout.notes)
    at += -at % _PAGE
    target.write(struct.pack(
        "<16s2H5I6H", b"\x7fELF\x01\x01\x01", 4, 40, 1, 0, header, 0, 0, header, entry, count, 0, 0, 0
    ))  # fmt: skip
    target.write(struct.pack("<8I", 4, notes_at, 0, 0, len(layout.notes), len(layout.notes), 0, 4))
    place = at
    for first, pages in runs:
        physical = layout.phys_base + first * _PAGE
        virtual = layout.page_offset + first * _PAGE
        length = pages * _PAGE
        if physical + length > 1 << 32:
            raise _DamagedError("it has pages above 4 GiB")
        if virtual + length > 1 << 32:
            virtual = 0xFFFFFFFF
        target.write(struct.pack("<8I", 1, place, virtual, physical, length, length, 7, _PAGE))
        place += length
    target.write(layout.notes)
    target.write(b"\0" * (at - notes_at - len(layout.notes)))
    unpackers = _unpackers()
    for page in _pages(stream, size, layout.descriptors, sum(pages for _, pages in runs), unpackers):
        target.write(page)


def _pages(
    stream: IO[bytes], size: int, table: int, count: int, unpackers: dict[int, Callable[[bytes], bytes]]
) -> Iterator[bytes]:
    stream.seek(table)
    raw = stream.read(count * _DESCRIPTOR.size)
    if len(raw) != count * _DESCRIPTOR.size:
        raise _DamagedError(f"it ends inside the descriptors of its {count} pages")
    for at, length, flags, _ in _DESCRIPTOR.iter_unpack(raw):
        if length > 2 * _PAGE or at + length > size:
            raise _DamagedError(f"a page is at {at}, the file has {size} bytes")
        stream.seek(at)
        data = stream.read(length)
        if flags:
            unpack = unpackers.get(flags)
            if unpack is None:
                raise _DamagedError(f"a page is compressed in the way {flags:#x}, which is not known here")
            data = unpack(data)
        if len(data) != _PAGE:
            raise _DamagedError(f"a page of {len(data)} bytes")
        yield data


def _unpackers() -> dict[int, Callable[[bytes], bytes]]:
    """Return what unpacks a page, by the flag of its descriptor."""
    try:
        from lzallright import LZOCompressor, LZOError  # noqa: PLC0415  # part of the extra "analysis", as drgn is
    except ImportError as error:
        raise user_error(
            "opening this dump needs lzallright, which is not installed", why=str(error),
            hint="pip install 'kdumpbuild[analysis]'",
        ) from error  # fmt: skip

    def unpack_lzo(data: bytes) -> bytes:
        try:
            return bytes(LZOCompressor.decompress(data, _PAGE))
        except LZOError as error:
            raise _DamagedError(f"a page does not unpack: {error}") from error

    def unpack_zlib(data: bytes) -> bytes:
        return zlib.decompressobj().decompress(data, _PAGE + 1)

    return {_ZLIB: unpack_zlib, _LZO: unpack_lzo}
