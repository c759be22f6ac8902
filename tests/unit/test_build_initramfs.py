"""The crash initramfs: what goes in, that it is the same bytes each time, and what its programs need of a kernel."""

from __future__ import annotations

import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.build import cpio, initramfs
from kdumpbuild.build.userland import Userland, open_userland
from kdumpbuild.errors import UserError
from kdumpbuild.formats.initramfs import read_initramfs

if TYPE_CHECKING:
    from pathlib import Path

GCC = "arm-linux-gnueabihf-gcc"
LOADER = "/lib/ld-linux-armhf.so.3"


def compile_arm(target: Path, *arguments: str, code: str = "void _start(void) {}") -> None:
    """Compile real ARM code; no C library is needed for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [GCC, "-nostdlib", "-o", str(target), "-xc", "-", "-xnone", *arguments]
    subprocess.run(command, input=code, text=True, check=True)


@pytest.fixture
def userland(tmp_path: Path) -> Userland:
    """Return a root with a static BusyBox, and a makedumpfile that needs two libraries and a loader."""
    root = tmp_path / "root"
    compile_arm(root / "bin/busybox", "-static")
    shared = ["-shared", "-fPIC"]
    compile_arm(root / "usr/lib/arm-linux-gnueabihf/libz.so.1", *shared, "-Wl,-soname,libz.so.1", code="int z;")
    lib = root / "lib/arm-linux-gnueabihf"
    compile_arm(
        lib / "libelf.so.1", *shared, "-Wl,-soname,libelf.so.1", "-Wl,--no-as-needed",
        str(root / "usr/lib/arm-linux-gnueabihf/libz.so.1"), code="int e;",
    )  # fmt: skip
    compile_arm(lib / "ld-linux-armhf.so.3", *shared, code="int l;")
    compile_arm(
        root / "usr/bin/makedumpfile", f"-Wl,--dynamic-linker={LOADER}", "-Wl,--no-as-needed", str(lib / "libelf.so.1"),
        "-Wl,-rpath-link", str(root / "usr/lib/arm-linux-gnueabihf"),
    )  # fmt: skip
    return Userland(root, ARCHES["arm"])


def test_programs_come_with_exactly_the_libraries_they_need(userland: Userland) -> None:
    compile_arm(userland.root / "lib/libunused.so.1", "-shared", "-fPIC", code="int u;")
    found = initramfs.closure(userland, ("busybox", "makedumpfile"))
    assert set(found) == {
        "bin/busybox", "bin/makedumpfile", "lib/libelf.so.1", "lib/libz.so.1", "lib/ld-linux-armhf.so.3",
    }  # fmt: skip


def test_a_missing_library_is_told_with_who_needs_it(userland: Userland) -> None:
    (userland.root / "usr/lib/arm-linux-gnueabihf/libz.so.1").unlink()
    with pytest.raises(UserError, match=r"libelf.so.1 needs libz.so.1"):
        initramfs.closure(userland, ("makedumpfile",))


def test_all_missing_programs_are_told(userland: Userland) -> None:
    with pytest.raises(UserError) as caught:
        open_userland(userland.root, userland.arch, ("busybox", "kexec", "vmcore-dmesg"))
    assert [fault.what for fault in caught.value.faults] == ["has no kexec", "has no vmcore-dmesg"]


def test_what_the_binaries_need_is_held_against_the_config(userland: Userland) -> None:
    binaries = initramfs.closure(userland, ("busybox",)).values()
    config = {"CONFIG_BINFMT_ELF": "y", "CONFIG_AEABI": "y", "CONFIG_VFP": "y", "CONFIG_CPU_V7": "y"}
    initramfs.check_needs(binaries, {**config, "CONFIG_ARM_THUMB": "y", "CONFIG_NEON": "y"})
    with pytest.raises(UserError, match="no CONFIG_ARM_THUMB, and busybox") as caught:
        initramfs.check_needs(binaries, config)
    assert "CONFIG_ARM_THUMB=y" in str(caught.value)


def test_the_archive_is_the_same_bytes_whatever_the_order() -> None:
    entries = [cpio.file("a/b", b"1"), cpio.link("sh", "busybox"), cpio.node("dev/console", 5, 1)]
    assert initramfs.compress(entries) == initramfs.compress(entries[::-1])


def test_the_archive_reads_back(tmp_path: Path) -> None:
    entries = [
        cpio.file("bin/x", b"12345", executable=True), cpio.link("bin/sh", "busybox"), cpio.node("dev/console", 5, 1),
        cpio.file("etc/conf", b""),
    ]  # fmt: skip
    read = read_initramfs(initramfs.compress(entries))
    assert read.complete
    members = {member.name: member for member in read.entries}
    assert set(members) == {"bin", "bin/x", "bin/sh", "dev", "dev/console", "etc", "etc/conf"}
    assert members["bin/x"].size == 5
    assert stat.S_ISCHR(members["dev/console"].mode)
    assert members["bin/x"].mode & 0o777 == 0o755
