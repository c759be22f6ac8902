"""arm64's kernel image: the plain Image, and the two wrappings that kexec may or may not take.

Header: Linux, Documentation/arch/arm64/booting.rst. EFI zboot: drivers/firmware/efi/libstub/zboot-header.S.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from kdumpbuild.formats.reading import MIB, Source, head, malformed, name_of

MAGIC = b"ARM\x64"
_LIMIT = 512 * MIB
_HEADER = 64
_HEAD = 4096
_PAGE_SIZES = {0: None, 1: 4096, 2: 16384, 3: 65536}


@dataclass(frozen=True)
class Arm64Image:
    """What the image says about itself. Sizes in bytes."""

    form: str
    """``Image``, ``gzip`` (Image.gz) or ``zboot`` (an EFI program that unpacks the Image: vmlinuz.efi)."""
    file_size: int
    text_offset: int
    image_size: int
    """Memory that the kernel takes from its start, .bss and all; 0 when unknown (kernels before 3.17, zboot)."""
    big_endian: bool
    page_size: int | None
    anywhere: bool
    """Whether it may lie anywhere in RAM, not just near its start (flag bit 3)."""
    efi: bool
    """Whether it is an EFI program as well."""


def read_arm64_image(source: Source, *, where: str = "") -> Arm64Image:
    """Read an arm64 Image, Image.gz or EFI zboot image. Raises UserError when it is none of them."""
    name = name_of(source, where)
    start, total = head(source, _HEAD, where=where, limit=_LIMIT)
    if start.startswith(b"\x1f\x8b"):
        return _header(_first_of_gzip(start, name), total, "gzip", name)
    if start[:2] == b"MZ" and start[4:8] == b"zimg":
        return Arm64Image(
            form="zboot", file_size=total, text_offset=0, image_size=0, big_endian=False, page_size=None,
            anywhere=True, efi=True,
        )  # fmt: skip
    return _header(start, total, "Image", name)


def _header(start: bytes, total: int, form: str, name: str) -> Arm64Image:
    if len(start) < _HEADER or start[0x38:0x3C] != MAGIC:
        found = start[0x38:0x3C].hex() or "end of file"
        raise malformed(
            "not an arm64 Image",
            where=name,
            why=f'expected the magic "ARM\\x64" at offset 0x38, found {found}',
            hint="give arch/arm64/boot/Image",
        )
    text_offset, image_size, flags = struct.unpack_from("<3Q", start, 8)
    if image_size > 1 << 32 or text_offset > 1 << 30:
        raise malformed(
            "damaged arm64 Image", where=name, why=f"its header says {image_size:#x} bytes at offset {text_offset:#x}"
        )
    return Arm64Image(
        form=form,
        file_size=total,
        text_offset=text_offset if image_size else 0x80000,
        image_size=image_size,
        big_endian=bool(flags & 1),
        page_size=_PAGE_SIZES[flags >> 1 & 3],
        anywhere=bool(flags & 8),
        efi=start[:2] == b"MZ",
    )


def _first_of_gzip(start: bytes, name: str) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(start, _HEADER)
    except zlib.error as error:
        raise malformed("damaged gzip file", where=name, why=str(error)) from error
