"""Every rule has an example on which it fires and one on which it is silent."""

from __future__ import annotations

import gzip
import lzma
import random
import shutil
import tempfile
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.logs import Logs
from kdumpbuild.board.model import Bank, Watchdog
from kdumpbuild.board.panic import CONDITIONS, boot_arguments
from kdumpbuild.checks.engine import all_rules, check_facts
from kdumpbuild.checks.facts import Case, Cmdline, Config, Facts, Program, Rootfs
from kdumpbuild.checks.model import Input, Missing, Severity
from kdumpbuild.formats.arm64_image import read_arm64_image
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.formats.elf import ConfigNeed, Elf, UserlandNeeds, Vmlinux
from kdumpbuild.formats.initramfs import Entry, read_initramfs
from kdumpbuild.formats.zimage import read_zimage
from kdumpbuild.resources import BOARDS, STUCK_CPU_PATCH
from kdumpbuild.run import run
from tests.fuzz.readers import cpio, image, uboot, zimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdumpbuild.formats.devicetree import DeviceTree
    from kdumpbuild.formats.initramfs import Initramfs

pytestmark = pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc")

MIB = 1 << 20
ARM, ARM64 = ARCHES["arm"], ARCHES["arm64"]
RAM_512M = (Bank(0x40000000, 512 * MIB),)
INIT = ("init", 0o100755, b"#!/bin/sh\n")
SHELL = ("bin/sh", 0o100755, b"shell")
FILTER = ("usr/bin/makedumpfile", 0o100755, b"")


@cache
def tree(source: str) -> DeviceTree:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "t.dts").write_text(f"/dts-v1/; / {{ {source} }};")
        run(["dtc", "-q", "-O", "dtb", "-o", folder / "t.dtb", folder / "t.dts"], what="make a device tree")
        return replace(read_devicetree(folder / "t.dtb"), name="board.dtb")


def cpus(method: str, count: int = 2, rest: str = "") -> DeviceTree:
    prop = f'enable-method = "{method}";' if method else ""
    nodes = "".join(f'cpu@{i} {{ device_type = "cpu"; reg = <{i}>; {prop} }};' for i in range(count))
    return tree(f"{rest} cpus {{ #address-cells = <1>; #size-cells = <0>; {nodes} }};")


def config(**values: str) -> Config:
    return Config(values, "config", {symbol: number for number, symbol in enumerate(values, 1)})


def initramfs(*files: tuple[str, int, bytes], pack: Callable[[bytes], bytes] = bytes) -> Initramfs:
    return read_initramfs(pack(cpio(list(files) or [INIT, SHELL, FILTER])), where="initramfs")


def program(path: str = "bin/sh", **values: Any) -> Program:
    needs: dict[str, Any] = {
        "name": path, "machine": "EM_ARM", "thumb": True, "vfp": True, "neon": False, "hard_float": True, "eabi": 5,
        "cpu_arch": "v7", "time_bits": None, "page_size": 65536,
        "config": (ConfigNeed("ARM_THUMB", "its entry point is Thumb code", certain=True),),
    }  # fmt: skip
    rest = {name: values.pop(name) for name in ("interpreter", "needed") if name in values}
    return Program(path, UserlandNeeds(**needs | values), rest.get("interpreter"), rest.get("needed", ()))


def vmlinux(*, debug: bool) -> Vmlinux:
    elf = Elf(
        name="vmlinux", machine="EM_ARM", elf_class=32, little_endian=True, type="ET_EXEC", entry=0, flags=0,
        interpreter=None, needed=(), soname=None, build_id="00", sections=frozenset(), load_alignment=4096,
        symbols=None, thumb_symbols=False, arm=None,
    )  # fmt: skip
    return Vmlinux(elf, {}, debug_info=debug, has_symbols=True)


def line(text: str) -> Cmdline:
    return Cmdline(text, "cmdline")


def xz(check: int = lzma.CHECK_CRC32, dictionary: int = 1 << 18) -> Callable[[bytes], bytes]:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": dictionary}]
    return lambda data: lzma.compress(data, check=check, filters=filters)


def arm(**given: Any) -> Facts:
    return Facts(arch=ARM, **given)


def arm64(**given: Any) -> Facts:
    return Facts(arch=ARM64, **given)


def region(cmdline: str, ram: tuple[Bank, ...] = RAM_512M, **given: Any) -> Facts:
    """An arm machine with a command line."""
    given.setdefault("production", config(PAGE_OFFSET="0xC0000000"))
    return arm(cmdline=line(cmdline), ram=ram, **given)


BOARD = load_board(BOARDS / "arm-virt.toml")
UBIFS = replace(BOARD, dump=replace(BOARD.dump, filesystem="ubifs", device="ubi0:dumps"))
DETECTORS = {c.symbol: "y" for c in CONDITIONS if c.symbol}
ARGUMENTS = " ".join(boot_arguments(BOARD.panic, (6, 12), {f"CONFIG_{name}": "y" for name in DETECTORS}))
MEMORY = 'memory@40000000 { device_type = "memory"; reg = <0x40000000 0x20000000>; };'
SMALL = zimage(edata=4 * MIB, bss=MIB, size=MIB)
SP805 = 'watchdog@9010000 { compatible = "arm,sp805-wdt", "arm,primecell"; };'
CADENCE = 'watchdog@f8005000 { compatible = "cdns,wdt-r1p2"; };'
PL011 = 'chosen { stdout-path = "/serial@9000000"; }; serial@9000000 { compatible = "arm,pl011"; };'
PL011_ON = config(SERIAL_AMBA_PL011="y", SERIAL_AMBA_PL011_CONSOLE="y")

# Rule: facts on which it fires, facts on which it is silent.
EXAMPLES: dict[str, tuple[Facts, Facts]] = {
    "KD001": (
        arm(production=config(KEXEC="y"), kernel=(6, 12)),
        arm(production=config(CRASH_DUMP="y", CRASH_RESERVE="y"), kernel=(6, 12)),
    ),
    "KD002": (
        arm(production=config(SMP="y", SUSPEND="n", KEXEC="n")),
        arm64(production=config(SMP="y", KEXEC="n", KEXEC_FILE="y")),
    ),
    "KD003": (
        arm(production=config(PANIC_ON_OOPS="n")),
        arm(production=config(PANIC_ON_OOPS="n"), cmdline=line("oops=panic")),
    ),
    "KD004": (
        arm(production=config(PANIC_TIMEOUT="0")),
        arm(production=config(PANIC_TIMEOUT="0", CMDLINE="panic=10")),
    ),
    "KD005": (
        arm64(production=config(DEBUG_INFO="y", DEBUG_INFO_REDUCED="y")),
        arm64(production=config(DEBUG_INFO="y", DEBUG_INFO_REDUCED="n")),
    ),
    "KD006": (arm(vmlinux=vmlinux(debug=False)), arm(vmlinux=vmlinux(debug=True))),
    "KD007": (
        arm64(production=config(KEXEC="y", PROC_KCORE="n")),
        arm64(production=config(KEXEC_FILE="y", PROC_KCORE="n")),
    ),
    "KD008": (
        arm(production=config(KALLSYMS="n", PAGE_OFFSET="0x80000000")),
        arm(production=config(KALLSYMS="y", PAGE_OFFSET="0x80000000")),
    ),
    "KD009": (
        arm(rootfs=Rootfs("root", sysctls={"kernel.kptr_restrict": ("2", "root/etc/sysctl.conf:3")})),
        arm(rootfs=Rootfs("root", sysctls={"kernel.kptr_restrict": ("1", "root/etc/sysctl.conf:3")})),
    ),
    "KD010": (
        arm(production=config(), cmdline=line("lockdown=integrity")),
        arm64(production=config(KEXEC_SIG="y"), cmdline=line("lockdown=integrity")),
    ),
    "KD011": (
        arm(rootfs=Rootfs("root", sysctls={"kernel.kexec_load_disabled": ("1", "root/etc/sysctl.conf:1")})),
        arm(rootfs=Rootfs("root")),
    ),
    "KD012": (
        arm(production=config(SOFTLOCKUP_DETECTOR="y", DETECT_HUNG_TASK="n")),
        arm(
            production=config(SOFTLOCKUP_DETECTOR="y", DETECT_HUNG_TASK="y", BOOTPARAM_SOFTLOCKUP_PANIC="1"),
            cmdline=line("hung_task_panic=1"),
        ),
    ),
    "KD013": (
        arm(production=config(PSTORE_RAM="y", PSTORE_CONSOLE="n")),
        arm(production=config(PSTORE_RAM="y", PSTORE_CONSOLE="y")),
    ),
    "KD014": (
        arm(production=config(CMDLINE_FORCE="y", CMDLINE="console=ttyS0")),
        arm(production=config(CMDLINE_FORCE="y", CMDLINE="console=ttyS0 crashkernel=64M")),
    ),
    "KD020": (region("console=ttyS0"), region("crashkernel=16M")),
    "KD021": (region("crashkernel=64M,high"), arm64(cmdline=line("crashkernel=64M,high"), kernel=(6, 1))),
    "KD022": (region("crashkernel=16M", (Bank(0x40000000, 128 * MIB),)), region("crashkernel=16M")),
    "KD023": (region("crashkernel=64M", (Bank(0x40000000, 256 * MIB),)), region("crashkernel=64M")),
    "KD024": (region("crashkernel=64M@0x5f000000"), region("crashkernel=64M@0x50000000")),
    "KD025": (
        region("crashkernel=64M@0x45000000", kernel=(5, 10)),
        region("crashkernel=64M@0x45000000", kernel=(6, 1)),
    ),
    "KD026": (
        region("crashkernel=42M", capture=config(ARCH_FORCE_MAX_ORDER="10"), kernel=(6, 12)),
        region("crashkernel=40M", capture=config(ARCH_FORCE_MAX_ORDER="10"), kernel=(6, 12)),
    ),
    "KD027": (
        arm64(
            cmdline=line("crashkernel=1G"),
            dtb=tree('compatible = "raspberrypi,4-model-b", "brcm,bcm2711";'),
            ram=(Bank(0, 2048 * MIB),),
        ),
        arm64(cmdline=line("crashkernel=256M"), ram=(Bank(0, 2048 * MIB),)),
    ),
    "KD028": (
        arm(production=config(ARM_LPAE="y", HIGHMEM="y"), ram=(Bank(0x80000000, 4096 * MIB),)),
        arm(production=config(ARM_LPAE="y", HIGHMEM="y"), ram=(Bank(0x80000000, 2048 * MIB),)),
    ),
    "KD029": (
        region("crashkernel=6M", zimage=read_zimage(SMALL), initramfs=initramfs()),
        region("crashkernel=16M", zimage=read_zimage(SMALL), initramfs=initramfs()),
    ),
    "KD030": (
        region("crashkernel=48M", capture=config(CMA="y", DMA_CMA="y", CMA_SIZE_MBYTES="16"), capture_cmdline=line("")),
        region(
            "crashkernel=64M", capture=config(CMA="y", DMA_CMA="y", CMA_SIZE_MBYTES="16"), capture_cmdline=line("cma=0")
        ),
    ),
    "KD031": (
        arm(zimage=read_zimage(zimage(textofs=0x208000))),
        arm(zimage=read_zimage(zimage(textofs=0x208000)), image_size=8 * MIB),
    ),
    "KD032": (
        arm(capture=config(AUTO_ZRELADDR="n", ARM_PATCH_PHYS_VIRT="y", PHYS_OFFSET="0x20000000")),
        arm(capture=config(AUTO_ZRELADDR="y", ARM_PATCH_PHYS_VIRT="y")),
    ),
    "KD033": (
        arm(zimage=read_zimage(zimage(tail=b"\xd0\x0d\xfe\xed")), kexec_tools=(2, 0, 21)),
        arm(zimage=read_zimage(zimage(tail=b"\xd0\x0d\xfe\xed")), kexec_tools=(2, 0, 22)),
    ),
    "KD034": (
        arm(production=config(ARM_LPAE="y"), kexec_tools=(2, 0, 28)),
        arm(production=config(ARM_LPAE="y"), kexec_tools=(2, 0, 29)),
    ),
    "KD035": (
        arm64(image=read_arm64_image(b"MZ\0\0zimg" + bytes(100)), kexec_tools=(2, 0, 25)),
        arm64(image=read_arm64_image(gzip.compress(image())), kexec_tools=(2, 0, 25), file_load=True),
    ),
    "KD037": (
        arm(kexec_tools=(2, 0, 20), kernel=(5, 10)),
        arm(kexec_tools=(2, 0, 25), kernel=(6, 12)),
    ),
    "KD038": (
        arm64(dtb=tree("chosen { kaslr-seed = <1 2>; };"), production=config(KEXEC="y", RANDOMIZE_BASE="n")),
        arm64(dtb=tree("chosen { kaslr-seed = <1 2>; };"), production=config(KEXEC_FILE="y", RANDOMIZE_BASE="n")),
    ),
    "KD039": (arm64(dtb=tree("memory { device_type = \"memory\"; reg = <0 0>; };")), arm64(dtb=tree(MEMORY))),
    "KD040": (
        arm(dtb=tree("chosen { linux,uefi-system-table = <0 0x40000000>; };")),
        arm(dtb=tree("chosen { };")),
    ),
    "KD041": (
        arm64(production=config(KEXEC="y", KEXEC_FILE="n"), file_load=True),
        arm64(production=config(KEXEC="y", KEXEC_FILE="y"), file_load=True),
    ),
    "KD042": (arm(capture=config(CMDLINE_FORCE="y", CMDLINE="")), arm(capture=config(CMDLINE_FORCE="n"))),
    "KD087": (
        arm(capture=config(SMP="n", ARM_GIC="y"), production=config(SMP="y")),
        arm(capture=config(SMP="y", ARM_GIC="y"), production=config(SMP="y")),
    ),
    "KD050": (
        arm(capture=config(CRASH_DUMP="n", KEXEC="n")),
        arm(capture=config(CRASH_DUMP="y", PROC_VMCORE="y")),
    ),
    "KD051": (
        arm(capture=config(PANIC_TIMEOUT="0"), capture_cmdline=line("console=ttyS0")),
        arm(capture=config(PANIC_TIMEOUT="0"), capture_cmdline=line("panic=5")),
    ),
    "KD052": (arm(capture=config(PANIC_ON_OOPS="n")), arm(capture=config(PANIC_ON_OOPS="y"))),
    "KD053": (
        arm(capture=config(SMP="y"), capture_cmdline=line("panic=5")),
        arm(capture=config(SMP="y"), capture_cmdline=line("nr_cpus=1")),
    ),
    "KD054": (
        arm(capture_cmdline=line("crashkernel=64M console=ttyS0")),
        arm(capture_cmdline=line("console=ttyS0 panic=5")),
    ),
    "KD055": (arm(cmdline=line("x" * 1024)), arm(capture_cmdline=line("x" * 900), cmdline=line("x" * 1023))),
    "KD088": (
        arm(capture_cmdline=line("console=ttyS0 platform=${PLATFORM}")),
        arm(capture_cmdline=line("console=ttyS0,115200n8 root=/dev/mmcblk0p2 mtdparts=spi0.0:1M(a),-(b)")),
    ),
    "KD056": (
        arm(capture=config(PSTORE_RAM="y")),
        arm(
            capture=config(PSTORE_RAM="y", KALLSYMS="y"), capture_cmdline=line("initcall_blacklist=ramoops_init"),
        ),
    ),
    "KD057": (arm(capture=config(KASAN="y")), arm(capture=config(KASAN="n"))),
    "KD058": (
        arm(capture=config(BLOCK="y", EXT4_FS="m"), board=BOARD),
        arm(capture=config(BLOCK="y", EXT4_FS="y"), board=BOARD),
    ),
    "KD059": (
        Facts(arch=ARM64, capture=config(ARM="y"), production=config(ARM64="y")),
        arm(capture=config(ARM="y"), production=config(ARM="y")),
    ),
    "KD060": (
        arm(initramfs=read_initramfs(uboot(cpio([INIT])), where="initramfs")),
        arm(initramfs=initramfs()),
    ),
    "KD061": (
        arm(initramfs=initramfs(pack=gzip.compress), capture=config(BLK_DEV_INITRD="y", RD_XZ="y")),
        arm(initramfs=initramfs(pack=gzip.compress), capture=config(BLK_DEV_INITRD="y", RD_GZIP="y")),
    ),
    "KD062": (
        arm(initramfs=initramfs(pack=lzma.compress)),
        arm(initramfs=initramfs(pack=xz())),
    ),
    "KD063": (
        region("crashkernel=24M", initramfs=initramfs(pack=xz(dictionary=64 * MIB))),
        region("crashkernel=24M", initramfs=initramfs(pack=xz())),
    ),
    "KD064": (arm(initramfs=initramfs(INIT)), arm(initramfs=initramfs(INIT, SHELL))),
    "KD065": (
        arm(initramfs=initramfs(), initramfs_programs=(program(needed=("libc.so.6",)),)),
        arm(
            initramfs=initramfs(INIT, ("lib/libc.so.6", 0o100755, b"")),
            initramfs_programs=(program(needed=("libc.so.6",)),),
        ),
    ),
    "KD066": (
        arm(
            initramfs=initramfs(), initramfs_programs=(program(),),
            capture=config(ARM_THUMB="n", COMPAT_32BIT_TIME="y"),
        ),
        arm(
            initramfs=initramfs(), initramfs_programs=(program(time_bits=32),),
            capture=config(ARM_THUMB="y", COMPAT_32BIT_TIME="y"),
        ),
    ),
    "KD067": (
        arm(initramfs=initramfs(), initramfs_programs=(program(machine="EM_X86_64"),)),
        arm(initramfs=initramfs(), initramfs_programs=(program(),)),
    ),
    "KD068": (arm(initramfs=initramfs(INIT, SHELL)), arm(initramfs=initramfs())),
    "KD069": (
        region("crashkernel=16M", zimage=read_zimage(SMALL), capture=config(TMPFS="y"),
               initramfs=initramfs(INIT, ("x", 0o100644, bytes(6 * MIB)), pack=gzip.compress)),
        region("crashkernel=16M", zimage=read_zimage(SMALL), capture=config(TMPFS="y"),
               initramfs=initramfs(INIT, ("x", 0o100644, bytes(6 * MIB)), pack=gzip.compress),
               capture_cmdline=line("rootfstype=ramfs")),
    ),
    "KD070": (
        arm64(production=config(ARM64_VA_BITS="52", ARM64_4K_PAGES="y"), makedumpfile=(1, 7, 9)),
        arm64(production=config(ARM64_VA_BITS="48", ARM64_4K_PAGES="y"), makedumpfile=(1, 7, 9)),
    ),
    "KD071": (arm(makedumpfile=(1, 7, 6), kernel=(6, 12)), arm(makedumpfile=(1, 7, 7), kernel=(6, 12))),
    "KD072": (
        arm(rootfs=Rootfs("root", (program("usr/bin/makedumpfile", time_bits=64),))),
        arm(
            rootfs=Rootfs("root", (program("usr/bin/makedumpfile", time_bits=64),)),
            makedumpfile_options=("-E", "--non-mmap"),
        ),
    ),
    "KD073": (arm(production=config(RTC_HCTOSYS="n")), arm(production=config(RTC_HCTOSYS="y"))),
    "KD074": (
        arm(initramfs=initramfs(("init", 0o100755, b"#!/bin/sh\nmakedumpfile -d 31 -x /vmlinux /proc/vmcore d\n"))),
        arm(initramfs=initramfs(("init", 0o100755, b"#!/bin/sh\nmakedumpfile -d 31 /proc/vmcore d; set -x\n"))),
    ),
    "KD075": (
        arm(initramfs=initramfs(), capture_cmdline=line("panic=5")),
        arm(initramfs=initramfs(), capture_cmdline=line("panic=5 sysctl.vm.panic_on_oom=2")),
    ),
    "KD080": (
        arm(production=config(SMP="y", HOTPLUG_CPU="y"), dtb=cpus("brcm,bcm2836-smp")),
        arm(
            production=config(SMP="y", HOTPLUG_CPU="y"),
            dtb=cpus("psci", rest='psci { compatible = "arm,psci-1.0"; };'),
        ),
    ),
    "KD081": (arm(production=config(SMP="y")), arm(production=config(SMP="y"), cmdline=line("nr_cpus=1"))),
    "KD082": (arm64(dtb=cpus("spin-table")), arm64(dtb=cpus("psci"))),
    "KD083": (
        arm(dtb=tree(SP805), capture=config(ARM_SP805_WATCHDOG="m", WATCHDOG="y")),
        arm(dtb=tree(SP805), capture=config(ARM_SP805_WATCHDOG="y", WATCHDOG="y")),
    ),
    "KD084": (
        arm(dtb=tree(CADENCE), capture=config(CADENCE_WATCHDOG="y", WATCHDOG="y")),
        arm(dtb=tree(SP805), capture=config(ARM_SP805_WATCHDOG="y", WATCHDOG="y")),
    ),
    "KD085": (
        arm(capture=config(WATCHDOG="y", WATCHDOG_HANDLE_BOOT_ENABLED="n")),
        arm(capture=config(WATCHDOG="y", WATCHDOG_HANDLE_BOOT_ENABLED="y")),
    ),
    "KD086": (
        arm(dtb=tree(PL011), capture_cmdline=line("console=ttyS0"), capture=PL011_ON),
        arm(dtb=tree(PL011), capture_cmdline=line("console=ttyAMA0,115200"), capture=PL011_ON),
    ),
    "KD089": (
        arm64(production=config(SMP="y"), dtb=cpus("spin-table", rest='compatible = "brcm,bcm2837";')),
        arm64(
            production=config(SMP="y"), cmdline=line("nr_cpus=1"),
            dtb=cpus("spin-table", rest='compatible = "brcm,bcm2837";'),
        ),
    ),
    "KD100": (
        arm(board=BOARD, production=config(SOFTLOCKUP_DETECTOR="y", DETECT_HUNG_TASK="y"), kernel=(6, 12)),
        arm(board=BOARD, production=config(**DETECTORS), kernel=(6, 12)),
    ),
    "KD101": (
        arm(board=replace(BOARD, watchdog=Watchdog("/dev/watchdog", 24))),
        arm(board=replace(BOARD, watchdog=Watchdog("/dev/watchdog", 25))),
    ),
    "KD102": (
        arm(board=BOARD, production=config(**DETECTORS)),
        arm(board=BOARD, production=config(**DETECTORS), cmdline=line(ARGUMENTS)),
    ),
    "KD103": (arm(board=BOARD), arm(board=replace(BOARD, logs=Logs()))),
    "KD104": (
        arm(board=BOARD, dtb=tree(MEMORY)),
        arm(board=BOARD, dtb=tree(f"{MEMORY} reserved-memory {{ #address-cells = <2>; #size-cells = <1>; ranges; "
                                  'ramoops@5ff00000 { compatible = "ramoops"; reg = <0 0x5ff00000 0x100000>; }; };')),
    ),
    "KD105": (
        arm(board=BOARD, capture=config(PSTORE_RAM="y")),
        arm(
            board=BOARD, capture=config(PSTORE_RAM="y", KALLSYMS="y"),
            capture_cmdline=line("initcall_blacklist=x,ramoops_init"),
        ),
    ),
    "KD106": (
        arm(board=UBIFS, capture_cmdline=line("mtdparts=0.flash:64M(dumps)")),
        arm(board=UBIFS, capture_cmdline=line("mtdparts=0.flash:64M(dumps) ubi.mtd=dumps")),
    ),
    "KD107": (
        arm(board=BOARD, production=config(BLOCK="y")),
        arm(board=BOARD, production=config(EXT4_FS="m")),
    ),
}  # fmt: skip

RULES = {rule.id: rule for rule in all_rules()}


def test_every_rule_has_its_examples() -> None:
    assert set(EXAMPLES) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_fires(name: str) -> None:
    findings = [f for f in check_facts(EXAMPLES[name][0]).findings if f.id == name]
    assert findings, f"{name} does not fire on its example"
    for finding in findings:
        assert finding.what
        assert finding.advice
        assert finding.title == RULES[name].title


@pytest.mark.parametrize("name", RULES)
def test_is_silent_and_not_for_lack_of_input(name: str) -> None:
    report = check_facts(EXAMPLES[name][1])
    assert name in report.passed, [f.what for f in report.findings if f.id == name] or "not judged"


@pytest.mark.parametrize("name", RULES)
def test_without_input_it_is_not_judged(name: str) -> None:
    rule = RULES[name]
    with pytest.raises(Missing):
        list(rule.check(Case(Facts(arch=ARCHES[rule.arches[0]]))))


FIELDS = {
    Input.ARCH: "arch", Input.PRODUCTION: "production", Input.CAPTURE: "capture", Input.KERNEL: "kernel",
    Input.DTB: "dtb", Input.CMDLINE: "cmdline", Input.CAPTURE_CMDLINE: "capture_cmdline", Input.ZIMAGE: "zimage",
    Input.IMAGE: "image", Input.VMLINUX: "vmlinux", Input.INITRAMFS: "initramfs", Input.RAM: "ram",
    Input.KEXEC_TOOLS: "kexec_tools", Input.MAKEDUMPFILE: "makedumpfile", Input.ROOTFS: "rootfs", Input.BOARD: "board",
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_rule_needs_what_it_says(name: str) -> None:
    """With the inputs that it names, and those that come with them or are optional, it fires on its example."""
    facts = EXAMPLES[name][0]
    without = replace(Facts(arch=facts.arch), **{FIELDS[i]: getattr(facts, FIELDS[i]) for i in RULES[name].needs})
    still = replace(
        without, capture_kernel=facts.capture_kernel, kernel=facts.kernel, file_load=facts.file_load,
        image_size=facts.image_size, initramfs_programs=facts.initramfs_programs, production=facts.production,
        dtb=facts.dtb,
    )  # fmt: skip
    assert name in {f.id for f in check_facts(still).findings}


@pytest.mark.parametrize("name", RULES)
def test_what_a_rule_says_about_itself(name: str) -> None:
    rule = RULES[name]
    assert rule.needs
    assert rule.arches
    assert len(rule.story) > 60
    assert rule.story.endswith((".", ":"))
    assert rule.advice.endswith(".")
    assert rule.source


def test_a_missing_input_is_named() -> None:
    report = check_facts(Facts())
    assert not report.findings
    assert {rule.id for rule in report.not_judged} == set(RULES)
    assert all(rule.missing for rule in report.not_judged)
    wanted = {i for rule in report.not_judged for i in rule.missing}
    assert Input.PRODUCTION in wanted
    assert Input.INITRAMFS in wanted


def test_places_name_file_and_line() -> None:
    report = check_facts(arm(capture=config(A="y", PANIC_ON_OOPS="n")))
    finding = next(f for f in report.findings if f.id == "KD052")
    assert finding.where == "config:2"
    assert (finding.file, finding.line) == ("config", 2)


def test_a_fragment_line_goes_before_the_config() -> None:
    capture = replace(config(KASAN="y"), places={"KASAN": "my.config:7"})
    finding = next(f for f in check_facts(arm(capture=capture)).findings if f.id == "KD057")
    assert finding.where == "my.config:7"


def test_severity_depends_on_the_case() -> None:
    large = arm64(cmdline=line("crashkernel=3G"), ram=(Bank(0, 3 << 30), Bank(4 << 30, 4 << 30)))
    for version, severity in (((6, 1), Severity.ERROR), ((6, 12), Severity.WARNING)):
        report = check_facts(replace(large, kernel=version))
        assert next(f for f in report.findings if f.id == "KD027").severity is severity


def test_a_built_in_command_line_counts_only_when_it_is_used() -> None:
    built_in = config(PANIC_TIMEOUT="0", CMDLINE="panic=10")
    extended = replace(built_in, values={**built_in.values, "CMDLINE_EXTEND": "y"})
    forced = replace(built_in, values={"PANIC_TIMEOUT": "0", "CMDLINE": "quiet", "CMDLINE_FORCE": "y"})
    given = line("console=ttyS0")
    assert "KD004" in check_facts(arm(production=built_in)).passed
    assert "KD004" not in check_facts(arm(production=built_in, cmdline=given)).passed
    assert "KD004" in check_facts(arm(production=extended, cmdline=given)).passed
    assert "KD004" not in check_facts(arm(production=forced, cmdline=line("panic=10"))).passed


@pytest.mark.parametrize("compatible", ["samsung,exynos5800", "fsl,imx6q"])
def test_platforms_that_can_stop_their_cpus(compatible: str) -> None:
    dtb = cpus("", 4, f'compatible = "{compatible}";')
    assert "KD080" in check_facts(arm(production=config(SMP="y", HOTPLUG_CPU="y"), dtb=dtb)).passed


@pytest.mark.parametrize(
    ("version", "kernel", "severity", "what"),
    [
        ((1, 7, 2), (5, 15), None, ""),
        ((1, 7, 2), (6, 1), "info", "was made for kernels up to 6.0"),
        ((1, 7, 2), (6, 12), "warning", "takes slab pages for user pages"),
        ((1, 7, 5), (6, 10), "warning", "takes slab pages for user pages"),
        ((1, 7, 5), (6, 8), None, ""),
        ((1, 7, 6), (6, 12), "warning", "takes free pages for slab pages"),
        ((1, 7, 6), (6, 13), "warning", "takes free pages for slab pages"),
        ((1, 7, 7), (6, 15), "info", "was made for kernels up to 6.14"),
        ((1, 7, 9), (7, 1), "error", "leaves out the tail pages"),
        ((1, 7, 10), (7, 1), None, ""),
    ],
)
def test_what_an_old_makedumpfile_does(
    version: tuple[int, ...], kernel: tuple[int, ...], severity: str | None, what: str
) -> None:
    found = [f for f in check_facts(arm(makedumpfile=version, kernel=kernel)).findings if f.id == "KD071"]
    assert [f.severity.value for f in found] == ([severity] if severity else [])
    assert all(what in f.what for f in found)


def test_a_dump_with_user_pages_has_the_slab_pages_too() -> None:
    board = replace(BOARD, dump=replace(BOARD.dump, level=23))
    facts = arm(makedumpfile=(1, 7, 2), kernel=(6, 12), board=BOARD)
    (lost,) = [f for f in check_facts(facts).findings if f.id == "KD071"]
    assert "without 8" in lost.advice
    (kept,) = [f for f in check_facts(replace(facts, board=board)).findings if f.id == "KD071"]
    assert kept.severity is Severity.INFO


@pytest.mark.parametrize(("value", "severity"), [("y", Severity.ERROR), ("n", Severity.INFO)])
def test_slab_pages_are_lost_where_the_kernel_counts_partial_slabs(value: str, severity: Severity) -> None:
    facts = arm(makedumpfile=(1, 7, 2), kernel=(6, 12), production=config(SLUB_CPU_PARTIAL=value))
    (found,) = [f for f in check_facts(facts).findings if f.id == "KD071"]
    assert found.severity is severity
    if value == "y":
        # 1.7.3 to 1.7.6 are wrong about 6.12 as well.
        assert "1.7.7 or newer" in found.advice
        assert "SLUB_CPU_PARTIAL" in found.advice


def test_loading_switched_off_on_the_command_line_is_an_error() -> None:
    off = line("sysctl.kernel.kexec_load_disabled=1 sysctl.kernel.kexec_load_limit_panic=1")
    for rootfs in (Rootfs("root"), None):
        found = [f for f in check_facts(arm(cmdline=off, rootfs=rootfs)).findings if f.id == "KD011"]
        assert [(f.severity, f.where) for f in found] == [(Severity.ERROR, "cmdline")]
    assert "KD011" in {skipped.id for skipped in check_facts(arm(cmdline=line("quiet"))).not_judged}


def test_the_cma_pool_can_take_the_only_place() -> None:
    """With 256 MiB one multiple of 128 MiB is left, and a pool of 160 MiB at the top of RAM lies there."""
    ram = (Bank(0x40000000, 256 * MIB),)
    pool = config(PAGE_OFFSET="0xC0000000", DMA_CMA="y", CMA_SIZE_MBYTES="160")
    assert "KD022" in {f.id for f in check_facts(region("crashkernel=64M", ram, production=pool)).findings}
    assert "KD022" in check_facts(region("crashkernel=64M cma=16M", ram, production=pool)).passed


@pytest.mark.parametrize(("size", "expected"), [(8, "error"), (10, "warning"), (12, ""), (14, "")])
def test_regions_that_were_tried(size: int, expected: str) -> None:
    """The arm-virt set with rootfstype=ramfs: out of memory in 8 and 10 MiB, a dump in 12 and 14."""
    packed = replace(initramfs(), size=1_933_296, entries=(Entry("x", 0o100644, 3_846_144, b""),))
    kernel = read_zimage(zimage(edata=1_856_928, bss=73_376, size=936_424))
    facts = region(f"crashkernel={size}M", zimage=kernel, initramfs=packed, dtb=replace(tree(MEMORY), size=MIB))
    found = [f.severity.value for f in check_facts(facts).findings if f.id == "KD029"]
    assert found == ([expected] if expected else [])


def test_ram_may_come_from_the_device_tree() -> None:
    facts = arm(cmdline=line("crashkernel=600M"), dtb=tree(MEMORY), production=config())
    finding = next(f for f in check_facts(facts).findings if f.id == "KD020")
    assert "all RAM" in finding.what


def test_any_mixture_of_inputs_gives_a_report() -> None:
    """Rules get along with inputs that do not belong together: none raises anything, each id is accounted for."""
    rng = random.Random(1)  # noqa: S311  # nothing secret
    pool = [facts for pair in EXAMPLES.values() for facts in pair]
    names = [f.name for f in fields(Facts) if f.name not in ("given", "initramfs_programs", "damaged_programs")]
    for _ in range(400):
        values = {name: getattr(rng.choice(pool), name) for name in names}
        report = check_facts(Facts(**values))
        ids = {f.id for f in report.findings} | {n.id for n in report.not_judged} | set(report.passed)
        arch = values["arch"]
        assert ids == {rule.id for rule in RULES.values() if arch is None or arch.name in rule.arches}


def test_values_that_no_kconfig_writes_do_not_stop_a_rule() -> None:
    for value in ("", "y", "0", "-1", "0xZZ", "999999999999999999999", "\u00e9", "a b"):
        values = dict.fromkeys(("PAGE_OFFSET", "PANIC_TIMEOUT", "ARM64_VA_BITS", "CMDLINE", "CMA_SIZE_MBYTES"), value)
        odd = config(**values, CMA="y", DMA_CMA="y", SMP="y", ARM_LPAE="y")
        check_facts(replace(region(f"crashkernel=64M vmalloc={value} mem={value}"), production=odd, capture=odd))


@pytest.mark.parametrize(
    ("sysctls", "more", "what", "where"),
    [
        ({"kernel.softlockup_panic": ("0", "d.conf:3")}, "", "kernel.softlockup_panic = 0, and 1", "d.conf:3"),
        ({"kernel.panic_on_oops": ("0", "d.conf:1")}, "", "panic.oops: kernel.panic_on_oops = 0", "d.conf:1"),
        ({}, "nowatchdog", "panic.soft_lockup: nowatchdog turns it off", "cmdline"),
        ({}, "nmi_watchdog=0", "panic.hard_lockup: nmi_watchdog=0 turns it off", "cmdline"),
        ({}, "hung_task_panic=0", "panic.hung_task: hung_task_panic=0 on the command line", "cmdline"),
        ({}, "workqueue.panic_on_stall=0", "panic.workqueue_stall: workqueue.panic_on_stall=0", "cmdline"),
    ],
)
def test_whoever_speaks_last_against_the_board_file_is_named(
    sysctls: dict[str, tuple[str, str]], more: str, what: str, where: str
) -> None:
    facts = arm(
        board=BOARD, production=config(**DETECTORS), cmdline=line(f"{ARGUMENTS} {more}"),
        rootfs=Rootfs("root", (), sysctls),
    )  # fmt: skip
    found = [f for f in check_facts(facts).findings if f.id == "KD102"]
    assert any(what in f.what and f.where == where for f in found), [f.what for f in found]


def test_a_sysctl_that_agrees_has_the_last_word() -> None:
    agreed = Rootfs("root", (), {"kernel.softlockup_panic": ("1", "d.conf:3")})
    given = {"board": BOARD, "production": config(**DETECTORS), "cmdline": line(f"{ARGUMENTS} softlockup_panic=0")}
    assert "KD102" in check_facts(arm(**given, rootfs=agreed)).passed
    assert "KD102" not in check_facts(arm(**given)).passed


def test_defaults_of_the_config_are_enough() -> None:
    defaults = {c.default: "y" for c in CONDITIONS if c.default}
    found = [f.what for f in check_facts(arm(board=BOARD, production=config(**DETECTORS, **defaults))).findings
             if f.id == "KD102"]  # fmt: skip
    assert found == [
        "panic.rcu_stall: nothing makes an RCU stall panic; sysctl.kernel.panic_on_rcu_stall=1 would"
    ]


def test_a_blacklist_that_does_nothing() -> None:
    facts = arm(board=BOARD, capture=config(PSTORE_RAM="y"), capture_cmdline=line("initcall_blacklist=ramoops_init"))
    found = {f.id: f.what for f in check_facts(facts).findings if f.id in ("KD056", "KD105")}
    assert len(found) == 2
    assert all("does nothing without KALLSYMS" in what for what in found.values())


def test_the_patch_for_a_cpu_that_does_not_stop() -> None:
    patched = replace(BOARD, production=replace(BOARD.production, patches=(STUCK_CPU_PATCH,)))
    facts = arm(production=config(SMP="y"), board=patched)
    assert "KD081" in {f.id for f in check_facts(replace(facts, board=BOARD)).findings}
    assert "KD081" not in {f.id for f in check_facts(facts).findings}


@pytest.mark.parametrize(("target", "needed"), [("nfs", ["INET", "NFS_V4"]), ("ssh", ["INET"])])
def test_what_a_server_needs_of_the_capture_kernel(target: str, needed: list[str]) -> None:
    board = replace(BOARD, dump=replace(BOARD.dump, target=target, filesystem=""))

    def found(**values: str) -> set[str]:
        return {f.what for f in check_facts(arm(capture=config(**values), board=board)).findings if f.id == "KD058"}

    assert found() == {f"{symbol} is not set" for symbol in needed}
    assert found(INET="y", NFS_V4="m") == ({"NFS_V4 is a module"} if target == "nfs" else set())


def test_what_a_ubi_volume_needs() -> None:
    def found(facts: Facts) -> set[str]:
        return {f"{f.id} {f.what}" for f in check_facts(facts).findings if f.id in ("KD058", "KD106", "KD107")}

    unknown = arm(board=UBIFS, capture=config(BLOCK="y", MTD_UBI="y"), production=config(UBIFS_FS="y"))
    lost = "KD106 ubi0:dumps, and no ubi.mtd= for the capture kernel"
    assert found(unknown) == {
        "KD058 UBIFS_FS is not set", "KD107 MTD_UBI is not set in the production kernel", lost,
    }  # fmt: skip
    argument = replace(UBIFS, capture=replace(UBIFS.capture, cmdline="mtdparts=x:-(dumps) ubi.mtd=dumps"))
    assert lost not in found(replace(unknown, board=argument))
    node = 'flash { partition@0 { label = "dumps"; compatible = "linux,ubi"; }; };'
    assert lost not in found(replace(unknown, dtb=tree(node)))
    assert lost in found(replace(unknown, dtb=tree(node.replace("linux,ubi", "fixed"))))
    assert lost in found(replace(unknown, dtb=tree(node), capture_kernel=(6, 1)))
    built_in = {"CMDLINE": "ubi.mtd=dumps"}
    assert lost not in found(replace(unknown, capture=config(**built_in)))
    # kexec's arguments take the place of those that are built in.
    given = replace(unknown, capture_cmdline=line("panic=5"))
    assert lost in found(replace(given, capture=config(**built_in)))
    assert lost not in found(replace(given, capture=config(CMDLINE_EXTEND="y", **built_in)))


@pytest.mark.parametrize(
    ("device", "arguments", "told"),
    [
        ("ubi0:dumps", "ubi.mtd=dumps", ""),
        ("ubi1:dumps", "ubi.mtd=dumps", "attaches ubi0"),
        ("ubi1:dumps", "ubi.mtd=root ubi.mtd=dumps", ""),
        ("ubi1_0", "ubi.mtd=dumps,0,0,1", ""),
        ("ubi0:dumps", "ubi.mtd=dumps,0,0,1", "attaches ubi1"),
    ],
)
def test_the_number_of_a_ubi_device(device: str, arguments: str, told: str) -> None:
    board = replace(UBIFS, dump=replace(UBIFS.dump, device=device))
    (found,) = [f.what for f in check_facts(arm(board=board, capture_cmdline=line(arguments))).findings
                if f.id == "KD106"] or [""]  # fmt: skip
    assert bool(found) == bool(told)
    assert told in found


def test_fat_needs_its_tables() -> None:
    board = replace(BOARD, dump=replace(BOARD.dump, filesystem="vfat"))
    fat = {"BLOCK": "y", "VFAT_FS": "y", "FAT_DEFAULT_CODEPAGE": "437", "FAT_DEFAULT_IOCHARSET": "iso8859-1"}

    def found(**values: str) -> set[str]:
        facts = arm(board=board, capture=config(**fat, **values), production=config(**fat, **values))
        return {f"{f.id} {f.what}" for f in check_facts(facts).findings if f.id in ("KD058", "KD107")}

    assert found() == {
        "KD058 NLS_CODEPAGE_437 is not set", "KD058 NLS_ISO8859_1 is not set",
        "KD107 NLS_CODEPAGE_437 is not set in the production kernel",
        "KD107 NLS_ISO8859_1 is not set in the production kernel",
    }  # fmt: skip
    modules = {"NLS_CODEPAGE_437": "m", "NLS_ISO8859_1": "m"}
    assert found(**modules) == {"KD058 NLS_CODEPAGE_437 is a module", "KD058 NLS_ISO8859_1 is a module"}
    assert found(NLS_CODEPAGE_437="y", NLS_ISO8859_1="y") == set()
