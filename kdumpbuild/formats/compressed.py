"""Compressed streams as the kernel meets them: which kind, and what its decompressor needs for it.

Kinds and their first bytes: Linux, lib/decompress.c. What the decompressors can and cannot do:
lib/decompress_unxz.c, lib/xz/xz_dec_stream.c, lib/decompress_unlz4.c, lib/decompress_unzstd.c.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from dataclasses import dataclass

from kdumpbuild.formats.reading import MIB

_MEMORY = 192 * MIB  # most that a decompressor of ours may take for its dictionary

# First bytes, kind, and the CONFIG_ symbol that makes an initramfs of it readable.
_KINDS = (
    (b"\x1f\x8b", "gzip", "RD_GZIP"),
    (b"\x1f\x9e", "gzip", "RD_GZIP"),
    (b"BZ", "bzip2", "RD_BZIP2"),
    (b"\x5d\x00", "lzma", "RD_LZMA"),
    (b"\xfd7zXZ\x00", "xz", "RD_XZ"),
    (b"\x89LZO", "lzo", "RD_LZO"),
    (b"\x02\x21\x4c\x18", "lz4", "RD_LZ4"),
    (b"\x04\x22\x4d\x18", "lz4-frame", "RD_LZ4"),
    (b"\x28\xb5\x2f\xfd", "zstd", "RD_ZSTD"),
)

_XZ_CHECKS = {0: "none", 1: "crc32", 4: "crc64", 10: "sha256"}
_XZ_FILTERS = {
    0x03: "delta", 0x04: "x86", 0x05: "powerpc", 0x06: "ia64", 0x07: "arm", 0x08: "armthumb", 0x09: "sparc",
    0x0A: "arm64", 0x0B: "riscv", 0x21: "lzma2",
}  # fmt: skip


@dataclass(frozen=True)
class Stream:
    """What the first bytes of a compressed stream say."""

    kind: str
    symbol: str
    """Configuration symbol, without ``CONFIG_``, that lets the kernel unpack an initramfs of this kind."""
    dictionary: int
    """Bytes the decompressor needs beside its input and output; 0 when that is nothing to speak of."""
    xz_check: str = ""
    xz_filters: tuple[str, ...] = ()


def identify(data: bytes) -> Stream | None:
    """Say what kind of stream ``data`` begins with; None when it is none that the kernel knows by name."""
    for magic, kind, symbol in _KINDS:
        if data.startswith(magic):
            if kind == "xz":
                check, filters, dictionary = _xz_header(data)
                return Stream(kind, symbol, dictionary, check, filters)
            return Stream(kind, symbol, _dictionary(kind, data))
    return None


def _dictionary(kind: str, data: bytes) -> int:
    if kind == "lzma" and len(data) >= 5:
        return int.from_bytes(data[1:5], "little")
    if kind == "bzip2" and data[3:4].isdigit():
        return 400_000 * int(data[3:4])  # 4 bytes for each of 100,000 a level (lib/decompress_bunzip2.c)
    if kind in ("lz4", "lz4-frame"):
        return 8 * MIB  # LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE, for the output of a chunk
    if kind == "zstd":
        return _zstd_window(data)
    return 0


def _zstd_window(data: bytes) -> int:
    """Return the window size of a zstd frame (RFC 8878, section 3.1.1.1)."""
    if len(data) < 18:
        return 0
    descriptor = data[4]
    single = descriptor & 0x20
    if not single:
        exponent, mantissa = data[5] >> 3, data[5] & 7
        base = 1 << (10 + exponent)
        return base + base // 8 * mantissa
    at = 5 + (0, 1, 2, 4)[descriptor & 3]
    width = (1, 2, 4, 8)[descriptor >> 6]
    return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)


def _xz_header(data: bytes) -> tuple[str, tuple[str, ...], int]:
    """Return check, filters and dictionary size of an .xz stream ("The .xz File Format" 1.2, sections 2.1 and 3.1)."""
    check = _XZ_CHECKS.get(data[7] & 0xF, f"check {data[7] & 0xF}") if len(data) > 7 else ""
    if len(data) < 20:
        return check, (), 0
    end = 12 + (data[12] + 1) * 4
    count = (data[13] & 3) + 1
    at = 14
    for bit in (0x40, 0x80):
        if data[13] & bit:
            _, at = _vli(data, at, end)
    filters: list[str] = []
    dictionary = 0
    for _ in range(count):
        kind, at = _vli(data, at, end)
        size, at = _vli(data, at, end)
        filters.append(_XZ_FILTERS.get(kind, f"filter {kind:#x}"))
        if kind == 0x21 and size == 1 and at < min(end, len(data)):
            bits = data[at] & 0x3F
            dictionary = (2 | bits & 1) << (bits // 2 + 11) if bits < 40 else 0xFFFFFFFF
        at += size
    return check, tuple(filters), dictionary


def _vli(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 63, 7):
        if at >= min(end, len(data)):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, at


@dataclass(frozen=True)
class Unpacked:
    """The content of a stream, and what lay behind it."""

    data: bytes
    rest: bytes
    complete: bool
    """False when the stream was longer than the limit or cut short."""


def unpack(kind: str, data: bytes, limit: int) -> Unpacked | None:
    """Unpack at most ``limit`` bytes; None for kinds that Python 3.11 cannot unpack (lzo, lz4, zstd).

    Raises ValueError when the stream is damaged or wants more memory than it may have.
    """
    try:
        if kind == "gzip":
            inflate = zlib.decompressobj(wbits=31)
            out = inflate.decompress(data, limit)
            return Unpacked(out, inflate.unused_data, inflate.eof)
        if kind == "bzip2":
            bunzip = bz2.BZ2Decompressor()
            out = bunzip.decompress(data, limit)
            return Unpacked(out, bunzip.unused_data, bunzip.eof)
        if kind in ("xz", "lzma"):
            form = lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE
            unxz = lzma.LZMADecompressor(format=form, memlimit=_MEMORY)
            out = unxz.decompress(data, limit)
            return Unpacked(out, unxz.unused_data, unxz.eof)
    except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
        raise ValueError(str(error)) from error
    return None
