"""Kdump-compressed dumps of 32-bit ARM as ELF: every compression, both layouts of the header, damage of every kind."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile
from lzallright import LZOCompressor

from kdumpbuild.analysis import kdumpfile
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096
PHYS_BASE = 0x40000000
INFO = b"OSRELEASE=6.12.117\nSYMBOL(_stext)=c0100000\n"
FRAMES = {0: b"zero", 1: b"one", 2: b"two", 7: b"seven", 40: b"forty"}


def page(text: bytes) -> bytes:
    return (text * PAGE)[:PAGE]


def dump(*, flags: int = 0, wide_time: bool = False, frames: int = 64, info: bytes = INFO) -> bytes:
    """A dump as makedumpfile writes it."""
    notes = struct.pack("<3I", 11, len(info), 0) + b"VMCOREINFO\0\0" + info + b"\0" * (-len(info) % 4)
    head = bytearray(PAGE)
    head[: 12] = b"KDUMP   " + struct.pack("<I", 6)
    head[12 + 4 * 65 : 12 + 4 * 65 + 6] = b"armv7l"
    struct.pack_into("<IiiII", head, 424 if wide_time else 412, flags, PAGE, 1, 2, frames)
    sub = bytearray(PAGE)
    struct.pack_into("<Ii", sub, 0, PHYS_BASE, 31)
    struct.pack_into("<Q", sub, 40, PAGE + 256)
    struct.pack_into("<I", sub, 48, len(notes))
    struct.pack_into("<Q", sub, 88, frames)
    sub[256 : 256 + len(notes)] = notes
    bitmap = bytearray(PAGE)
    for frame in FRAMES:
        bitmap[frame // 8] |= 1 << frame % 8
    at = 4 * PAGE + 24 * len(FRAMES)
    table, data = b"", b""
    for text in FRAMES.values():
        body = page(text)
        if flags == 1:
            body = zlib.compress(body)
        elif flags == 2:
            body = LZOCompressor().compress(body)
        table += struct.pack("<QIIQ", at + len(data), len(body), flags, 0)
        data += body
    return bytes(head) + bytes(sub) + bytes(PAGE) + bytes(bitmap) + table + data


def converted(tmp_path: Path, content: bytes) -> ELFFile:
    path = tmp_path / "vmcore"
    path.write_bytes(content)
    assert kdumpfile.is_arm(content[:PAGE])
    target = io.BytesIO()
    kdumpfile.to_elf(path, target)
    return ELFFile(target)


@pytest.mark.parametrize("flags", [0, 1, 2], ids=["plain", "zlib", "lzo"])
@pytest.mark.parametrize("time_bits", [32, 64])
def test_each_run_of_pages_is_a_segment_at_its_addresses(tmp_path: Path, flags: int, time_bits: int) -> None:
    elf = converted(tmp_path, dump(flags=flags, wide_time=time_bits == 64))
    assert (elf["e_type"], elf["e_machine"], elf.elfclass) == ("ET_CORE", "EM_ARM", 32)
    note, *loads = elf.iter_segments()
    assert INFO in note.data()
    assert [(s["p_paddr"], s["p_vaddr"], s["p_filesz"]) for s in loads] == [
        (0x40000000, 0xC0000000, 3 * PAGE), (0x40007000, 0xC0007000, PAGE), (0x40028000, 0xC0028000, PAGE),
    ]  # fmt: skip
    assert b"".join(s.data() for s in loads) == b"".join(page(text) for text in FRAMES.values())


def test_other_dumps_are_left_to_drgn() -> None:
    content = bytearray(dump())
    content[12 + 4 * 65 : 12 + 4 * 65 + 7] = b"aarch64"
    assert not kdumpfile.is_arm(bytes(content[:PAGE]))
    assert not kdumpfile.is_arm(b"\x7fELF")
    assert not kdumpfile.is_arm(b"")


def test_wherever_it_is_cut_off_it_is_refused(tmp_path: Path) -> None:
    whole = dump(flags=2)
    path = tmp_path / "vmcore"
    for size in (300, 420, PAGE, PAGE + 50, 2 * PAGE, 4 * PAGE, 4 * PAGE + 30, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="damaged or cut off") as caught:
            kdumpfile.to_elf(path, io.BytesIO())
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (416, struct.pack("<i", 512), "block size"),
        (420, struct.pack("<i", 0), "do not go together"),
        (420, struct.pack("<i", -1), "do not go together"),
        (424, struct.pack("<I", 1 << 30), "do not go together"),
        (PAGE + 88, struct.pack("<Q", 1 << 40), "do not go together"),
        (PAGE + 40, struct.pack("<Q", 1 << 62), "notes are not inside"),
        (PAGE + 48, struct.pack("<I", 0xFFFFFFFF), "notes are not inside"),
        (PAGE + 256 + 24, b"X" * len(INFO), "where the kernel is"),
        (3 * PAGE, bytes(PAGE), "0 runs"),
        (4 * PAGE, struct.pack("<Q", 1 << 62), "a page is at"),
        (4 * PAGE + 8, struct.pack("<I", 1 << 30), "a page is at"),
        (4 * PAGE + 8, struct.pack("<I", 100), "a page of 100 bytes"),
        (4 * PAGE + 12, struct.pack("<I", 4), "not known"),
        (PAGE, struct.pack("<I", 0xFFFFF000), "above 4 GiB"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, at: int, value: bytes, why: str) -> None:
    content = bytearray(dump())
    content[at : at + len(value)] = value
    path = tmp_path / "vmcore"
    path.write_bytes(content)
    with pytest.raises(UserError, match=why):
        kdumpfile.to_elf(path, io.BytesIO())


@pytest.mark.parametrize("flags", [1, 2])
def test_damaged_files_are_refused_or_read_and_nothing_else(tmp_path: Path, flags: int) -> None:
    whole = dump(flags=flags)
    chance = random.Random(flags)  # noqa: S311  # the same damage each time
    path = tmp_path / "vmcore"
    refused = 0
    for _ in range(1500):
        content = bytearray(whole)
        # Blocks of zeros take most of the file: aim at what has a meaning.
        spans = ((400, 440), (PAGE, PAGE + 400), (3 * PAGE, 3 * PAGE + 10), (4 * PAGE, len(whole)))
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(*chance.choice(spans))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        path.write_bytes(content)
        target = io.BytesIO()
        try:
            kdumpfile.to_elf(path, target)
        except UserError:
            refused += 1
        assert target.tell() < 1 << 20
    assert refused > 100
