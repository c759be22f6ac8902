"""arm's zImage: its header, its table, and the room that it needs while it unpacks itself.

Layout: Linux, arch/arm/boot/compressed/{head.S,vmlinux.lds.S}. The table came with Linux kernel commit
c772568788b5 ("ARM: add additional table to compressed kernel") (in v4.15); TEXT_OFFSET joined it later.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kdumpbuild.formats.reading import MIB, Source, load, malformed, name_of

MAGIC = 0x016F2818
TABLE_MAGIC = 0x45454545
KRNL_SIZE = 0x5A534C4B
"""The tag that holds the size of the unpacked kernel."""

KEXEC_TEXT_OFFSET = 0x8000
"""Where kexec-tools puts the zImage in the crash region, whatever the kernel's own offset is
(kexec/arch/arm/kexec-zImage-arm.c, ``extra_size``)."""

_PAGE = 0x1000
_STACK_AND_MALLOC = 0x11000
"""4 KiB stack and 64 KiB heap of the decompressor (head.S, ``MALLOC_SIZE``), which kexec-tools knows of."""
_MOVED_CODE = 0x4000
"""What kexec-tools leaves out: the gap that the decompressor keeps when it moves itself behind the unpacked
kernel (head.S, ``reloc_code_end - restart``, below 4 KiB), and its own .bss."""

_LIMIT = 128 * MIB
_HEADER = 0x40
_MAX_TAGS = 64
_MAX_TABLE_WORDS = 1024
_FDT_MAGIC = b"\xd0\x0d\xfe\xed"


@dataclass(frozen=True)
class ZImage:
    """What a zImage says about itself. Sizes in bytes."""

    size: int
    """Length by the header, without what was appended."""
    file_size: int
    big_endian: bool
    edata: int | None
    """Unpacked size from text to the end of data; None when the image has no table (kernels before 4.15)."""
    bss: int | None
    textofs: int | None
    """TEXT_OFFSET: where the unpacked kernel lies, from the start of its RAM. None in tables that lack it."""
    appended_dtb: bool
    """Whether a device tree follows the image."""

    @property
    def unpacked(self) -> int | None:
        """Size of the unpacked kernel with its .bss, or None when the image does not say."""
        return None if self.edata is None or self.bss is None else self.edata + self.bss

    def image_size_for_kexec(self, textofs: int | None = None) -> int:
        """Return the value for kexec's ``--image-size``: room from crash region + 0x8000 that nothing else may use.

        The unpacked kernel with its .bss, or the unpacked kernel and behind it the moved decompressor, whichever is
        more, plus what the kernel's text offset exceeds the one that kexec-tools assumes. ``textofs`` stands in when
        the image does not say; the image's own value wins.
        """
        moved = self.size + _STACK_AND_MALLOC + _MOVED_CODE
        if self.edata is None or self.bss is None:
            room = 5 * (self.size + _STACK_AND_MALLOC)  # kexec-tools' guess for images without a table
        else:
            room = max(self.edata + self.bss, self.edata + moved)
        offset = self.textofs if self.textofs is not None else textofs
        room += max(0, (KEXEC_TEXT_OFFSET if offset is None else offset) - KEXEC_TEXT_OFFSET)
        return (room + _PAGE - 1) & ~(_PAGE - 1)


def read_zimage(source: Source, *, where: str = "") -> ZImage:
    """Read a zImage. Raises UserError when it is none, is cut short or contradicts itself."""
    name = name_of(source, where)
    data = load(source, where=where, limit=_LIMIT)
    if len(data) < _HEADER:
        raise malformed("not an ARM zImage", where=name, why=f"{len(data)} bytes; its header alone has {_HEADER}")
    order = next((o for o in "<>" if struct.unpack_from(f"{o}I", data, 0x24)[0] == MAGIC), None)
    if order is None:
        raise malformed(
            "not an ARM zImage",
            where=name,
            why=f"expected the magic number {MAGIC:#010x} at offset 0x24, found {_what_it_is(data)}",
            hint="give arch/arm/boot/zImage, not uImage, Image or vmlinux",
        )
    start, end, _, table_magic, table = struct.unpack_from(f"{order}5I", data, 0x28)
    size = end - start
    if size < _HEADER or size > len(data):
        raise malformed(
            "damaged ARM zImage", where=name, why=f"its header says {size} bytes, the file has {len(data)}"
        )
    edata = bss = textofs = None
    if table_magic == TABLE_MAGIC:
        edata, bss, textofs = _kernel_size(data[:size], order, table, name)
    return ZImage(
        size=size,
        file_size=len(data),
        big_endian=order == ">",
        edata=edata,
        bss=bss,
        textofs=textofs,
        appended_dtb=data[size : size + 4] == _FDT_MAGIC,
    )


def _kernel_size(data: bytes, order: str, table: int, name: str) -> tuple[int | None, int | None, int | None]:
    """Walk the table of tags, each led by its size in words, up to a size of 0."""
    offset = table
    for _ in range(_MAX_TAGS):
        if offset + 4 > len(data):
            break
        (words,) = struct.unpack_from(f"{order}I", data, offset)
        if words == 0:
            return None, None, None
        if words < 2 or words > _MAX_TABLE_WORDS or offset + 4 * words > len(data):
            break
        (tag,) = struct.unpack_from(f"{order}I", data, offset + 4)
        if tag == KRNL_SIZE and words >= 4:
            size_at, bss = struct.unpack_from(f"{order}2I", data, offset + 8)
            if size_at + 4 > len(data):
                break
            (edata,) = struct.unpack_from("<I", data, size_at)  # always little-endian, as gzip's own trailer
            textofs = struct.unpack_from(f"{order}I", data, offset + 16)[0] if words >= 5 else None
            if edata + bss > 1 << 30 or (textofs or 0) > 1 << 28:
                why = f"its table says {edata:#x} + {bss:#x} bytes at offset {textofs or 0:#x}"
                raise malformed("damaged ARM zImage", where=name, why=why)
            return edata, bss, textofs
        offset += 4 * words
    raise malformed("damaged ARM zImage", where=name, why=f"its table at {table:#x} does not end")


def _what_it_is(data: bytes) -> str:
    """Name the files that are most often given instead."""
    if data.startswith(b"\x7fELF"):
        return "an ELF file"
    if data.startswith(b"\x27\x05\x19\x56"):
        return "a U-Boot legacy image (uImage)"
    if data[0x38:0x3C] == b"ARM\x64":
        return "an arm64 Image"
    if data.startswith(_FDT_MAGIC):
        return "a device tree or FIT image"
    return f"0x{data[0x24:0x28][::-1].hex()}"
