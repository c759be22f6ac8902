"""The readers of zImage and arm64 Image, on images made byte by byte."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.formats.arm64_image import read_arm64_image
from kdumpbuild.formats.zimage import KRNL_SIZE, read_zimage
from tests.fuzz.readers import image as image_bytes
from tests.fuzz.readers import zimage

if TYPE_CHECKING:
    from pathlib import Path

# Debian's 6.12 armmp, whose numbers are known from a run: edata, bss, file length, textofs.
EDATA, BSS, LENGTH, TEXTOFS = 0x15B94A8, 0x6ACE8, 0x5C4200, 0x208000


def make_zimage(
    *, edata: int = EDATA, bss: int = BSS, length: int = LENGTH, textofs: int | None = TEXTOFS, tail: bytes = b""
) -> bytes:
    return zimage(edata=edata, bss=bss, size=length, textofs=textofs, tail=tail)


def test_zimage_of_a_kernel_with_a_large_text_offset() -> None:
    image = read_zimage(make_zimage())
    assert (image.edata, image.bss, image.textofs, image.size) == (EDATA, BSS, TEXTOFS, LENGTH)
    assert not image.appended_dtb
    size = image.image_size_for_kexec()
    # Never less than what kexec-tools works out, moved by the larger text offset, and hardly more.
    least = EDATA + LENGTH + 0x11000 + TEXTOFS - 0x8000
    assert least <= size <= least + 0x6000
    assert size % 0x1000 == 0


def test_a_large_bss_counts() -> None:
    image = read_zimage(make_zimage(edata=0x300000, bss=0x900000, length=0x100000, textofs=0x8000))
    assert image.unpacked == 0xC00000
    assert image.image_size_for_kexec() == 0xC00000


def test_zimage_whose_table_lacks_the_text_offset_takes_the_given_one() -> None:
    image = read_zimage(make_zimage(textofs=None))
    assert image.textofs is None
    assert image.image_size_for_kexec(textofs=0x208000) == image.image_size_for_kexec() + 0x200000
    known = read_zimage(make_zimage())
    assert known.image_size_for_kexec(textofs=0x8000) == known.image_size_for_kexec()


def test_zimage_of_before_the_table() -> None:
    data = bytearray(make_zimage(length=0x10000))
    struct.pack_into("<2I", data, 0x34, 0xE1A00000, 0xE1A00000)
    image = read_zimage(bytes(data))
    assert image.edata is None
    assert image.unpacked is None
    assert image.image_size_for_kexec() == 5 * (0x10000 + 0x11000)


def test_appended_device_tree_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "zImage"
    path.write_bytes(make_zimage(length=0x10000, tail=b"\xd0\x0d\xfe\xed" + bytes(60)))
    image = read_zimage(path)
    assert image.appended_dtb
    assert image.file_size == image.size + 64


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "header alone"),
        (bytes(100), "expected the magic"),
        (b"\x7fELF" + bytes(100), "an ELF file"),
        (b"\x27\x05\x19\x56" + bytes(100), "uImage"),
        (image_bytes(), "arm64 Image"),
        (make_zimage(length=0x10000)[:-100], "the file has"),
        (make_zimage(length=0x10000, edata=0xFFFFFFF0), "its table says"),
    ],
)
def test_what_is_no_zimage_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_zimage(data, where="zImage")


def test_a_table_that_loops_or_points_outside_is_refused() -> None:
    for offset, words in ((0x1000, [0] + [2, 1] * 100), (0xFFFFFFF0, []), (0x1000, [0xFFFFFFFF, KRNL_SIZE])):
        data = bytearray(make_zimage(length=0x10000))
        struct.pack_into("<I", data, 0x38, offset)
        body = words[1:] if words and not words[0] else words
        struct.pack_into(f"<{len(body)}I", data, 0x1000, *body)
        with pytest.raises(UserError, match="does not end"):
            read_zimage(bytes(data))


def test_arm64_image() -> None:
    image = read_arm64_image(image_bytes())
    assert image.form == "Image"
    assert image.image_size == 0x600000
    assert image.page_size == 4096
    assert image.anywhere
    assert image.efi
    assert not image.big_endian


def test_arm64_image_in_its_wrappings() -> None:
    packed = read_arm64_image(gzip.compress(image_bytes(start=b"\x01\x02\x03\x04", flags=6)))
    assert packed.form == "gzip"
    assert packed.image_size == 0x600000
    assert packed.page_size == 65536
    assert not packed.efi
    assert read_arm64_image(b"MZ\0\0zimg" + bytes(100)).form == "zboot"


def test_arm64_image_of_before_the_size_field() -> None:
    assert read_arm64_image(image_bytes(image_size=0)).text_offset == 0x80000


@pytest.mark.parametrize(
    "data",
    [b"", bytes(64), b"\x1f\x8b" + bytes(60), image_bytes(image_size=1 << 40), make_zimage(length=65536)],
)
def test_what_is_no_arm64_image_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match=r"arm64 Image|gzip"):
        read_arm64_image(data)
