"""The readers of initramfs archives, compressed streams and .config files."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.formats.compressed import identify
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.formats.initramfs import read_initramfs
from tests.fuzz.readers import cpio, uboot

FILES = [
    ("init", 0o100755, b"#!/bin/sh\nexec /bin/busybox sh\n"),
    ("bin", 0o120777, b"usr/bin"),
    ("usr", 0o040755, b""),
    ("usr/bin", 0o040755, b""),
    ("usr/bin/busybox", 0o100755, b"x" * 5000),
    ("usr/bin/sh", 0o120777, b"busybox"),
    ("etc/loop", 0o120777, b"loop"),
]
ARCHIVE = cpio(FILES)


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (ARCHIVE, []),
        (gzip.compress(ARCHIVE), ["gzip"]),
        (bz2.compress(ARCHIVE), ["bzip2"]),
        (lzma.compress(ARCHIVE), ["xz"]),
        (lzma.compress(ARCHIVE, format=lzma.FORMAT_ALONE), ["lzma"]),
        (cpio([("early", 0o100644, b"")]) + bytes(512) + gzip.compress(ARCHIVE), ["gzip"]),
        (gzip.compress(ARCHIVE) + lzma.compress(cpio([("late", 0o100644, b"")])), ["gzip", "xz"]),
    ],
)
def test_archives_in_all_wrappings(data: bytes, kinds: list[str]) -> None:
    initramfs = read_initramfs(data)
    assert initramfs.complete
    assert [stream.kind for stream in initramfs.streams] == kinds
    assert initramfs.unpacked == 4096 + 8192
    found = initramfs.entry("/init")
    assert found is not None
    assert found.executable


def test_links_are_followed() -> None:
    initramfs = read_initramfs(ARCHIVE)
    shell = initramfs.entry("/bin/sh")
    assert shell is not None
    assert shell.name == "usr/bin/busybox"
    assert initramfs.entry("etc/loop") is None
    assert initramfs.entry("bin/absent") is None


def test_a_later_file_replaces_an_earlier_one() -> None:
    initramfs = read_initramfs(ARCHIVE + cpio([("init", 0o100644, b"new")]))
    found = initramfs.entry("init")
    assert found is not None
    assert found.data == b"new"


def test_what_only_the_kernel_unpacks_is_said_so() -> None:
    initramfs = read_initramfs(b"\x28\xb5\x2f\xfd\x04\x58" + bytes(100))
    assert not initramfs.complete
    assert initramfs.unpacked is None
    assert "zstd" in initramfs.unread


def test_wrapped_for_uboot() -> None:
    initramfs = read_initramfs(uboot(ARCHIVE))
    assert initramfs.uboot_header
    assert initramfs.uboot_name == "ramdisk"
    assert initramfs.complete


def test_damage_behind_the_first_archive() -> None:
    assert "no archive" in read_initramfs(ARCHIVE + b"rubbish").unread
    assert "cut short" in read_initramfs(gzip.compress(ARCHIVE)[:-40]).unread
    assert "damaged" in read_initramfs(gzip.compress(ARCHIVE)[:60] + b"\xff" * 200).unread


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ELF", "neither a cpio"),
        (ARCHIVE[:140], "are left"),
        (b"070707" + bytes(200), "newc"),
        (ARCHIVE[:50] + b"zzzz" + ARCHIVE[54:], "byte 0"),
    ],
)
def test_what_is_no_initramfs_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_initramfs(data)


def test_what_an_xz_decompressor_must_be_able_to() -> None:
    arm = [{"id": lzma.FILTER_ARM}, {"id": lzma.FILTER_LZMA2, "dict_size": 1 << 18}]
    stream = identify(lzma.compress(ARCHIVE, check=lzma.CHECK_CRC32, filters=arm))
    assert stream is not None
    assert (stream.xz_check, stream.xz_filters, stream.dictionary) == ("crc32", ("arm", "lzma2"), 1 << 18)
    default = identify(lzma.compress(ARCHIVE, preset=9))
    assert default is not None
    assert (default.xz_check, default.dictionary) == ("crc64", 64 << 20)


def test_other_streams() -> None:
    assert identify(b"\x04\x22\x4d\x18" + bytes(20)).kind == "lz4-frame"  # type: ignore[union-attr]
    assert identify(b"\x28\xb5\x2f\xfd\x04\x88" + bytes(20)).dictionary == 1 << 27  # type: ignore[union-attr]
    assert identify(lzma.compress(b"", format=lzma.FORMAT_ALONE, preset=6)).dictionary == 8 << 20  # type: ignore[union-attr]
    assert identify(b"MZ") is None


def test_dotconfig() -> None:
    text = b'# Linux/arm64 6.12.1 Kernel Configuration\n\nCONFIG_A=y\n# CONFIG_B is not set\n'
    text += b'CONFIG_C="a\\"b"\nCONFIG_D=-1\n'
    config = read_dotconfig(text, where="c")
    assert config.values == {"A": "y", "B": "n", "C": 'a"b', "D": "-1"}
    assert config.lines["B"] == 4
    assert (config.arch, config.version) == ("arm64", "6.12.1")


def test_another_file_in_place_of_a_dotconfig_is_told_once() -> None:
    with pytest.raises(UserError) as raised:
        read_dotconfig(b"root:x:0:0::/root:/bin/bash\n" * 100, where="c")
    (fault,) = raised.value.faults
    assert fault.what == "not a kernel configuration"
    assert fault.why == "it begins with: root:x:0:0::/root:/bin/bash"
    assert ".config of a kernel build" in fault.hint


def test_each_wrong_line_of_a_dotconfig_is_told_and_what_to_do_once() -> None:
    with pytest.raises(UserError) as raised:
        read_dotconfig(b"CONFIG_A=y\n<<<<<<< HEAD\nCONFIG_B=maybe\n", where="c")
    assert [fault.where for fault in raised.value.faults] == ["c:2", "c:3"]
    assert [bool(fault.hint) for fault in raised.value.faults] == [False, True]


@pytest.mark.parametrize("text", [b"", b"hello\n", b"CONFIG_A=maybe\n", b"CONFIG_A=y\nCONFIG_B\n", b"\0"])
def test_what_is_no_dotconfig_is_refused(text: bytes) -> None:
    with pytest.raises(UserError, match=r"kernel configuration|not a value"):
        read_dotconfig(text, where="c")
