"""What a rule predicts happens, and does not after its advice is followed: shown by the production kernel in QEMU.

An initramfs with one static program stands for user space. Each case is judged by the preflight from the same inputs
that are then booted.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.checks.engine import check_facts
from kdumpbuild.checks.gather import Given, gather
from kdumpbuild.formats.reading import MIB
from kdumpbuild.run import run, watch
from tests.fuzz.readers import cpio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kdumpbuild.checks.model import Report

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="no qemu-system-arm"),
]

BASE = 0x40000000
ALIVE = "INIT IS RUNNING"
# Says so and powers off: write(1, …), reboot(…, LINUX_REBOOT_CMD_POWER_OFF).
PROGRAM = f"""
__attribute__((naked)) void _start(void) {{
    __asm__ volatile (
        "mov r7, #4; mov r0, #1; ldr r1, =text; mov r2, #{len(ALIVE) + 1}; svc #0;"
        "mov r7, #88; ldr r0, =0xfee1dead; ldr r1, =672274793; ldr r2, =0x4321fedc; svc #0; b .;"
        ".ltorg; .pushsection .rodata; text: .ascii \\"{ALIVE}\\\\n\\"; .popsection");
}}
"""


@dataclass(frozen=True)
class Boot:
    """One start of the machine."""

    cmdline: str
    ram: int
    initramfs: bytes


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if shutil.which("arm-linux-gnueabihf-gcc") is None:
        pytest.skip("no arm-linux-gnueabihf-gcc")
    folder = tmp_path_factory.mktemp("program")
    (folder / "init.c").write_text(PROGRAM)
    flags = ["-nostdlib", "-static", "-marm", "-o"]
    run(["arm-linux-gnueabihf-gcc", *flags, folder / "init", folder / "init.c"], what="compile a program")
    return (folder / "init").read_bytes()


@pytest.fixture
def start(built: Path, tmp_path: Path) -> Callable[[Boot], tuple[str, bool]]:
    """Return what boots: its result is the console's text, and whether the machine ended by itself."""

    def boot(given: Boot) -> tuple[str, bool]:
        (tmp_path / "initramfs").write_bytes(given.initramfs)
        argv = [
            "qemu-system-arm", "-M", "virt,highmem=off", "-cpu", "cortex-a15", "-m", str(given.ram // MIB),
            "-nographic", "-nic", "none", "-no-reboot", "-kernel", str(built / "arm-virt/production/zImage"),
            "-initrd", str(tmp_path / "initramfs"), "-append", f"console=ttyAMA0 {given.cmdline}",
        ]  # fmt: skip
        log = tmp_path / "console"
        ended = watch(argv, what="boot", log=log, deadline=90, on_line=lambda _, __: None)
        return log.read_text(errors="replace"), ended.in_time

    return boot


def judge(built: Path, given: Boot, tmp_path: Path) -> Report:
    (tmp_path / "judged").write_bytes(given.initramfs)
    config = built / "arm-virt/production/config"
    facts = gather(
        Given(
            config=config, capture_config=config, cmdline=given.cmdline, capture_cmdline=given.cmdline,
            initramfs=tmp_path / "judged", ram=f"{given.ram}@{BASE:#x}",
        )
    )  # fmt: skip
    return check_facts(facts)


def linked(folder: Path) -> bytes:
    """Return the program as one that needs the C library's loader."""
    (folder / "dynamic.c").write_text(PROGRAM)
    flags = ["-nostdlib", "-pie", "-marm", "-Wl,--dynamic-linker=/lib/ld-linux-armhf.so.3", "-Wl,-z,notext", "-o"]
    run(["arm-linux-gnueabihf-gcc", *flags, folder / "dynamic", folder / "dynamic.c"], what="compile a program")
    return (folder / "dynamic").read_bytes()


def archive(program: bytes) -> bytes:
    return cpio([("dev", 0o040755, b""), ("dev/console", 0o020600, b""), ("init", 0o100755, program)])


def xz(data: bytes, *, check: int = lzma.CHECK_CRC32, dictionary: int = 1 << 18) -> bytes:
    return lzma.compress(data, check=check, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": dictionary}])


GOOD = "panic=1 crashkernel=16M"


@pytest.mark.parametrize(
    ("rule", "bad", "ram", "symptom", "good"),
    [
        ("KD020", "panic=1", 512, None, GOOD),
        ("KD021", "panic=1 crashkernel=16M,high", 512, None, GOOD),
        ("KD022", "panic=1 crashkernel=16M", 128, "No suitable area found", None),
        ("KD024", "panic=1 crashkernel=64M@0x5f000000", 512, "memory is in use", "panic=1 crashkernel=64M@0x50000000"),
        ("KD025", "panic=1 crashkernel=64M@0x50080000", 512, "memory is in use", "panic=1 crashkernel=64M@0x50000000"),
    ],
)
def test_regions_that_cannot_be_had(  # noqa: PLR0917  # pytest fills them by name
    rule: str, bad: str, ram: int, symptom: str | None, good: str | None,
    built: Path, program: bytes, start: Callable[[Boot], tuple[str, bool]], tmp_path: Path,
) -> None:  # fmt: skip
    boot = Boot(bad, ram * MIB, gzip.compress(archive(program)))
    report = judge(built, boot, tmp_path)
    finding = next(f for f in report.findings if f.id == rule)
    text, _ = start(boot)
    assert "for crashkernel" not in text
    if symptom is not None:
        assert symptom in text
    if good is None:  # the advice has the argument
        good = "panic=1 " + next(word for word in finding.advice.split() if word.startswith("crashkernel=")).rstrip(".")
    mended = Boot(good, boot.ram, boot.initramfs)
    assert rule in judge(built, mended, tmp_path).passed
    assert "for crashkernel" in start(mended)[0]


def test_the_boot_loader_takes_the_only_place(
    built: Path, program: bytes, start: Callable[[Boot], tuple[str, bool]], tmp_path: Path
) -> None:
    """QEMU puts its initramfs at 128 MiB, the one multiple that 256 MiB of RAM leave."""
    boot = Boot("panic=1 crashkernel=64M", 256 * MIB, gzip.compress(archive(program)))
    assert "KD023" in {f.id for f in judge(built, boot, tmp_path).findings}
    assert "No suitable area found" in start(boot)[0]
    assert "for crashkernel" in start(Boot("panic=1 crashkernel=64M@0x4a000000", boot.ram, boot.initramfs))[0]


@pytest.mark.parametrize(
    ("rule", "pack", "symptom"),
    [
        ("KD061", "bzip2", "compression method bzip2 not configured"),
        ("KD062", "crc64", "not supported by this XZ decoder"),
        ("KD063", "dictionary", "XZ decompressor ran out of memory"),
        ("KD064", "empty", "Unable to mount root fs"),
        ("KD064", "mode", "Failed to execute /init"),
        ("KD065", "dynamic", "Failed to execute /init (error -2)"),
        ("KD067", "x86", "Failed to execute /init"),
    ],
)
def test_an_initramfs_that_does_not_start(
    rule: str, pack: str, symptom: str,
    built: Path, program: bytes, start: Callable[[Boot], tuple[str, bool]], tmp_path: Path,
) -> None:  # fmt: skip
    whole = archive(program)
    data = {
        "bzip2": lambda: bz2.compress(whole),
        "crc64": lambda: xz(whole, check=lzma.CHECK_CRC64),
        "dictionary": lambda: xz(whole, dictionary=64 * MIB),
        "empty": lambda: gzip.compress(cpio([("other", 0o100755, program)])),
        "mode": lambda: gzip.compress(cpio([("init", 0o100644, program)])),
        "dynamic": lambda: gzip.compress(archive(linked(tmp_path))),
        "x86": lambda: gzip.compress(cpio([("init", 0o100755, b"\x7fELF\x02\x01" + x86())])),
    }[pack]()
    ram = 48 * MIB if pack == "dictionary" else 512 * MIB
    line = "panic=1 crashkernel=40M" if pack == "dictionary" else GOOD
    boot = Boot(line, ram, data)
    assert rule in {f.id for f in judge(built, boot, tmp_path).findings}
    text, _ = start(boot)
    assert symptom in text
    assert ALIVE not in text
    mended = Boot(line, ram, xz(whole))
    assert rule in judge(built, mended, tmp_path).passed
    assert ALIVE in start(mended)[0]


def test_half_of_the_memory(
    built: Path, program: bytes, start: Callable[[Boot], tuple[str, bool]], tmp_path: Path
) -> None:
    """The machine's RAM stands for the crash region: 48 MiB, of which 28 are asked for."""
    files = [("dev", 0o040755, b""), ("dev/console", 0o020600, b""), ("init", 0o100755, program)]
    data = gzip.compress(cpio([*files, ("large", 0o100644, bytes(28 * MIB))]))
    for argument, works in (("", False), ("rootfstype=ramfs", True)):
        boot = Boot(f"panic=1 crashkernel=48M {argument}", 48 * MIB, data)
        (tmp_path / "judged").write_bytes(data)
        facts = gather(
            Given(
                capture_config=built / "arm-virt/production/config", zimage=built / "arm-virt/production/zImage",
                cmdline="crashkernel=48M", capture_cmdline=boot.cmdline, initramfs=tmp_path / "judged",
            )
        )  # fmt: skip
        report = check_facts(facts)
        assert ("KD069" in report.passed) is works
        text, _ = start(boot)
        assert ("write error" in text) is not works


def x86() -> bytes:
    """Return the rest of a minimal ELF header of an x86-64 program, behind class and byte order."""
    ident = b"\x01" + bytes(9)
    return ident + struct.pack("<2HI3QI6H", 2, 62, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)


@pytest.mark.parametrize(("argument", "ends"), [("panic=0", False), ("panic=1", True)])
def test_a_panic_without_a_timeout_hangs(
    argument: str, ends: bool,  # noqa: FBT001
    built: Path, start: Callable[[Boot], tuple[str, bool]], tmp_path: Path,
) -> None:  # fmt: skip
    boot = Boot(argument, 512 * MIB, gzip.compress(cpio([("other", 0o100644, b"")])))
    report = judge(built, boot, tmp_path)
    assert {"KD004", "KD051"} <= ({f.id for f in report.findings} if not ends else set(report.passed))
    text, ended = start(boot)
    assert "Kernel panic" in text
    assert ended is ends


def test_a_region_that_does_not_fit_below_the_dma_limit(built: Path, tmp_path: Path) -> None:
    """3 GiB of a machine with 8 GiB: the lower 4 GiB of its addresses have less than that of RAM."""
    if shutil.which("qemu-system-aarch64") is None:
        pytest.skip("no qemu-system-aarch64")
    image = built / "arm64-virt/production/Image"
    log = tmp_path / "console"

    def boot(size: str) -> str:
        argv = [
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a57", "-m", "8G", "-nographic", "-nic", "none",
            "-no-reboot", "-kernel", str(image), "-append", f"console=ttyAMA0 panic=-1 crashkernel={size}",
        ]  # fmt: skip
        watch(argv, what="boot", log=log, deadline=90, on_line=lambda _, __: None)
        return log.read_text(errors="replace")

    def found(size: str) -> bool:
        config = built / "arm64-virt/production/config"
        return "KD027" in {f.id for f in check_facts(gather(Given(
            config=config, cmdline=f"crashkernel={size}", ram=f"{8 << 30}@{BASE:#x}",
        ))).findings}  # fmt: skip

    assert found("3G")
    assert "crashkernel low memory reserved" in boot("3G")
    assert not found("64M")
    text = boot("64M")
    assert "crashkernel reserved" in text
    assert "crashkernel low memory reserved" not in text
