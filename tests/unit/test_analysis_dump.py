"""Opening dumps: every file that is none, and every pair that does not belong together, is refused in words."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.analysis import open_dump
from kdumpbuild.analysis.dump import check_container, find_cause, last_stamp, parse_vmcoreinfo
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

BUILD_ID = "00112233445566778899aabbccddeeff00112233"
INFO = (
    f"OSRELEASE=6.12.117\nBUILD-ID={BUILD_ID}\nPAGESIZE=4096\nCRASHTIME=1700000000\nSYMBOL(init_uts_ns)=c0a00000\n"
    "SYMBOL(swapper_pg_dir)=c0004000\nKERNELOFFSET=0\n"
)


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    name += b"\0"
    pad = -len(name) % 4
    return struct.pack("<3I", len(name), len(desc), kind) + name + b"\0" * pad + desc + b"\0" * (-len(desc) % 4)


def elf(kind: int, notes: bytes, *, loads: int = 0, machine: int = 40, bits: int = 32, debug: bool = False) -> bytes:
    """An ELF file with one note segment, and one load segment of ``loads`` bytes if asked for."""
    count = 2 if loads else 1
    if bits == 32:
        header, entry = 52, 32
        table = [(4, 0, len(notes)), (1, 0, loads)][:count]
        at = header + entry * count
        body = b"".join(
            struct.pack("<8I", p, at + (len(notes) if p == 1 else 0), 0, 0, size, size, 0, 4) for p, _, size in table
        )
        head = struct.pack("<16s2H5I6H", b"\x7fELF\x01\x01\x01", kind, machine, 1, 0, header, 0, 0,
                           header, entry, count, 0, 0, 0)  # fmt: skip
    else:
        header, entry = 64, 56
        table = [(4, 0, len(notes)), (1, 0, loads)][:count]
        at = header + entry * count
        body = b"".join(
            struct.pack("<2I6Q", p, 0, at + (len(notes) if p == 1 else 0), 0, 0, size, size, 4) for p, _, size in table
        )
        head = struct.pack("<16s2HI3QI6H", b"\x7fELF\x02\x01\x01", kind, machine, 1, 0, header, 0, 0,
                           header, entry, count, 0, 0, 0)  # fmt: skip
    whole = head + body + notes + b"\0" * loads
    if not debug:
        return whole
    # Sections: none, .debug_info (empty), .shstrtab.
    names = b"\0.debug_info\0.shstrtab\0"
    sections = b"".join(
        struct.pack("<10I", *fields)
        for fields in (
            (0,) * 10,
            (1, 1, 0, 0, len(whole), 0, 0, 0, 1, 0),
            (13, 3, 0, 0, len(whole), len(names), 0, 0, 1, 0),
        )
    )
    patched = bytearray(whole + names + sections)
    struct.pack_into("<I", patched, 32, len(patched) - len(sections))
    struct.pack_into("<3H", patched, 46, 40, 3, 2)
    return bytes(patched)


def vmcore(info: str = INFO, *, loads: int = 0, machine: int = 40, bits: int = 32) -> bytes:
    return elf(4, note(b"VMCOREINFO", 0, info.encode()), loads=loads, machine=machine, bits=bits)


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinux"
    path.write_bytes(elf(2, note(b"GNU", 3, bytes.fromhex(BUILD_ID)), debug=True))
    return path


@pytest.mark.parametrize("bits", [32, 64])
def test_a_whole_core_file_is_accepted_and_a_cut_off_one_is_not(tmp_path: Path, bits: int) -> None:
    whole = vmcore(loads=4096, bits=bits, machine=40 if bits == 32 else 183)
    path = tmp_path / "vmcore"
    path.write_bytes(whole)
    check_container(path)
    for size in (len(whole) - 1, len(whole) - 4096, 60, 20, 5):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut off|not a kernel dump") as caught:
            check_container(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a kernel dump"),
        (b"#!/bin/sh\n", "not a kernel dump"),
        (b"makedumpfile\0\0\0\0\0\0\0\1", "flattened dump of a version"),
        (elf(2, b""), "no core file"),
    ],
)
def test_other_files_are_named_as_what_they_are(tmp_path: Path, vmlinux: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_dump(path, vmlinux)


def test_missing_files_are_named(tmp_path: Path, vmlinux: Path) -> None:
    with pytest.raises(UserError, match="there is no such dump"):
        open_dump(tmp_path / "none", vmlinux)
    with pytest.raises(UserError, match="none"):
        open_dump(vmlinux, tmp_path / "none")
    with pytest.raises(UserError, match="cannot be read"):
        check_container(tmp_path)


def test_a_dump_of_another_kernel_is_refused_with_both_build_ids(tmp_path: Path, vmlinux: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(vmcore(INFO.replace(BUILD_ID, "ff" * 20)))
    with pytest.raises(UserError, match="another kernel") as caught:
        open_dump(path, vmlinux)
    assert BUILD_ID in str(caught.value)
    assert "ff" * 20 in str(caught.value)


def test_a_vmlinux_without_debug_info_is_refused(tmp_path: Path, vmlinux: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(vmcore())
    vmlinux.write_bytes(elf(2, note(b"GNU", 3, bytes.fromhex(BUILD_ID))))
    with pytest.raises(UserError, match=r"vmlinux: has no debug info"):
        open_dump(path, vmlinux)
    vmlinux.write_bytes(elf(2, b"", debug=True))
    with pytest.raises(UserError, match=r"vmlinux: has no build-id"):
        open_dump(path, vmlinux)


def test_a_dump_that_lacks_the_kernels_memory_is_refused_when_it_is_read(tmp_path: Path, vmlinux: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(vmcore())
    with pytest.raises(UserError, match=r"(vmlinux|vmcore): .*\n +drgn says"):
        open_dump(path, vmlinux).crash()


@pytest.mark.parametrize("info", ["", "nonsense", "OSRELEASE=6.12\n", "PAGESIZE=0\nBUILD-ID=zz\n"])
def test_odd_vmcoreinfo_is_refused(tmp_path: Path, vmlinux: Path, info: str) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(vmcore(info))
    with pytest.raises(UserError):
        open_dump(path, vmlinux)


def test_a_damaged_compressed_dump_is_refused(tmp_path: Path, vmlinux: Path) -> None:
    path = tmp_path / "vmcore"
    for size, told in ((16, "cut off"), (4096, "cut off"), (65536, "drgn")):
        path.write_bytes(b"KDUMP   " + b"\6\0\0\0" + bytes(range(256)) * (size // 256))
        with pytest.raises(UserError, match=told):
            open_dump(path, vmlinux)


def test_a_missing_drgn_is_named_with_its_package(
    tmp_path: Path, vmlinux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(vmcore())
    monkeypatch.setitem(sys.modules, "drgn", None)
    with pytest.raises(UserError, match=r"drgn, which is not installed(.|\n)*pip install 'kdumpbuild\[analysis\]'"):
        open_dump(path, vmlinux)


def test_vmcoreinfo_is_read_line_by_line() -> None:
    found = parse_vmcoreinfo(INFO + "a line without equals\n=\n")
    assert found["BUILD-ID"] == BUILD_ID
    assert found["SYMBOL(init_uts_ns)"] == "c0a00000"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ("[    1.0] sysrq: Trigger a crash\n[    2.175755] Kernel panic - not syncing: sysrq triggered crash\n",
         "Kernel panic - not syncing: sysrq triggered crash"),
        ("[    2.2] Unable to handle kernel NULL pointer dereference\n[    2.3] Internal error: Oops: 805 [#1]\n",
         "Unable to handle kernel NULL pointer dereference"),
        ("[    2.2][   T83] kernel BUG at drivers/misc/lkdtm/bugs.c:111!\n[    2.3] Internal error: Oops - BUG: 0\n",
         "kernel BUG at drivers/misc/lkdtm/bugs.c:111!"),
        ("[    2.2] all is well\n", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_cause_is_the_line_that_tells_most(log: str, cause: str) -> None:
    assert find_cause(log) == cause


def test_the_last_stamp_is_the_uptime() -> None:
    assert last_stamp("[    0.5] a\n[   12.25][    T1] b\n  continued\n") == 12.25
    assert last_stamp("no stamps") == 0.0
