"""The ELF reader, on programs made by the cross compilers."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.formats.arm_attributes import ArmAttributes, parse_attributes
from kdumpbuild.formats.elf import build_id, interpreter, machine, needed, read_elf, read_vmlinux, userland_needs
from kdumpbuild.run import run

if TYPE_CHECKING:
    from pathlib import Path

ARM = "arm-linux-gnueabihf-gcc"
ARM64 = "aarch64-linux-gnu-gcc"

needs_arm = pytest.mark.skipif(shutil.which(ARM) is None, reason=f"no {ARM}")
needs_arm64 = pytest.mark.skipif(shutil.which(ARM64) is None, reason=f"no {ARM64}")

LIBC = "void clock_gettime(void) {} void __clock_gettime64(void) {}"
CLOCK = "extern void clock_gettime(void); void _start(void) { clock_gettime(); }"
CLOCK64 = CLOCK.replace("clock_gettime", "__clock_gettime64")
SPIN = "void _start(void) { for (;;); }"


def compiled(tmp_path: Path, compiler: str, *flags: str, source: str = CLOCK) -> Path:
    """Return a program, linked with a library that calls itself libc.so.6: no C library has to be there."""
    (tmp_path / "p.c").write_text(source)
    (tmp_path / "libc.c").write_text(LIBC)
    loader = "/lib/ld-linux-armhf.so.3" if compiler == ARM else "/lib/ld-linux-aarch64.so.1"
    library = [] if "-static" in flags else [f"-L{tmp_path}", "-lc", f"-Wl,--dynamic-linker={loader}"]
    if library:
        shared = ["-nostdlib", "-shared", "-Wl,-soname,libc.so.6"]
        run([compiler, *shared, "-o", tmp_path / "libc.so", tmp_path / "libc.c"], what="compile a test library")
    run([compiler, "-nostdlib", "-o", tmp_path / "p", tmp_path / "p.c", *library, *flags], what="compile a program")
    return tmp_path / "p"


@needs_arm
def test_dynamic_arm_program(tmp_path: Path) -> None:
    program = compiled(tmp_path, ARM, "-mthumb", "-Wl,--build-id=0x0123456789abcdef")
    assert machine(program) == "EM_ARM"
    assert interpreter(program) == "/lib/ld-linux-armhf.so.3"
    assert needed(program) == ("libc.so.6",)
    assert build_id(program) == "0123456789abcdef"
    needs = userland_needs(program)
    assert needs.thumb
    assert needs.hard_float
    assert needs.time_bits == 32
    assert needs.cpu_arch == "v7"
    certain = {need.symbol for need in needs.config if need.certain}
    assert {"BINFMT_ELF", "AEABI", "ARM_THUMB", "VFP", "CPU_V7"} <= certain


@needs_arm
def test_time_of_64_bits_is_seen(tmp_path: Path) -> None:
    program = compiled(tmp_path, ARM, source=CLOCK64)
    assert userland_needs(program).time_bits == 64


@needs_arm
def test_neon_and_arm_mode_are_only_possible_needs(tmp_path: Path) -> None:
    program = compiled(tmp_path, ARM, "-marm", "-mfloat-abi=softfp", "-mfpu=neon", "-static", source=SPIN)
    needs = userland_needs(program)
    assert not needs.thumb
    assert needs.neon
    assert needs.time_bits is None
    unsure = {need.symbol for need in needs.config if not need.certain}
    assert unsure == {"NEON", "ARM_THUMB", "VFP"}


@needs_arm
def test_a_stripped_program_without_section_headers_still_tells_its_libraries(tmp_path: Path) -> None:
    data = bytearray(compiled(tmp_path, ARM).read_bytes())
    struct.pack_into("<I", data, 0x20, 0)  # e_shoff
    struct.pack_into("<2H", data, 0x30, 0, 0)  # e_shnum, e_shstrndx
    elf = read_elf(bytes(data))
    assert elf.needed == ("libc.so.6",)
    assert elf.build_id is not None
    assert elf.symbols is None


@needs_arm64
def test_arm64_program(tmp_path: Path) -> None:
    needs = userland_needs(compiled(tmp_path, ARM64))
    assert needs.machine == "EM_AARCH64"
    assert needs.time_bits == 64
    assert [need.symbol for need in needs.config] == ["BINFMT_ELF"]
    assert needs.page_size >= 4096


@needs_arm64
def test_symbols_of_a_kernel(tmp_path: Path) -> None:
    source = "int _text_like = 1; void _start(void) { for (;;); }"
    program = compiled(tmp_path, ARM64, "-g", "-static", source=source)
    kernel = read_vmlinux(program, frozenset({"_text_like", "absent"}))
    assert set(kernel.symbols) == {"_text_like"}
    assert kernel.symbols["_text_like"] > 0
    assert kernel.debug_info
    run(["aarch64-linux-gnu-strip", program], what="strip a test program")
    stripped = read_vmlinux(program, frozenset({"_text_like"}))
    assert not stripped.has_symbols
    assert not stripped.debug_info


@needs_arm64
def test_what_a_kernel_says_of_itself(tmp_path: Path) -> None:
    source = 'const char banner[] = "Linux version 6.12.1-rt2 (me@here) x"; struct s { int a; } v;'
    source += " void _start(void) { for (;;); }"
    reduced = read_vmlinux(compiled(tmp_path, ARM64, "-g", "-femit-struct-debug-baseonly", "-static", source=source))
    assert reduced.version == "6.12.1-rt2"
    assert reduced.reduced
    assert not read_vmlinux(compiled(tmp_path, ARM64, "-g", "-static", source=source)).reduced


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF" + bytes(60), b"\x7fELF\x01\x01" * 20])
def test_what_is_no_elf_file_is_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="ELF file"):
        read_elf(data, where="thing")


def test_missing_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_elf(tmp_path / "absent")
    with pytest.raises(UserError, match="not a regular file"):
        read_elf(tmp_path)


@needs_arm64
def test_no_build_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no build-id"):
        build_id(compiled(tmp_path, ARM64, "-Wl,--build-id=none"))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"B", b"A\0\0\0\0", b"A\xff\xff\xff\xff", b"A\x10\0\0\0aeabi\0\x01\0\0\0\0",
        b"A\x0b\0\0\0aeabi\0\x80",
    ],
)  # fmt: skip
def test_damaged_attributes_end(data: bytes) -> None:
    try:
        parse_attributes(data, little=True)
    except ValueError:
        return
    assert parse_attributes(data, little=True) == ArmAttributes()
