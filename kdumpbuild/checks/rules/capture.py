"""The capture kernel: its configuration and its command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdumpbuild.checks import tables
from kdumpbuild.checks.facts import Cmdline
from kdumpbuild.checks.model import Hit, Input, Severity, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.checks.facts import Case, Config

_ADDED_BY_KEXEC = 48
"""Room for ``elfcorehdr=0x… mem=…K``, which kexec puts behind the arguments."""

_PASSED_ON = {
    "crashkernel": "it would reserve memory once more",
    "mem": "kexec gives mem= itself",
    "hugepages": "huge pages take the region's memory",
    "hugepagesz": "huge pages take the region's memory",
    "default_hugepagesz": "huge pages take the region's memory",
    "log_buf_len": "a large log buffer takes the region's memory",
    "slub_debug": "it makes every allocation larger",
    "quiet": "the console is often the only trace of a capture that failed",
}

_PLACEHOLDER = re.compile(r"@[A-Z][A-Z0-9_]*@|%[A-Z][A-Z0-9_]*%|__[A-Z][A-Z0-9_]*__|\$\{?\w+\}?|\{\{.*?\}\}")
"""What templates, recipes and shell scripts put values in place of."""

_HEAVY = ("KASAN", "DEBUG_KMEMLEAK", "PROVE_LOCKING", "KCOV", "DEBUG_PAGEALLOC", "PAGE_OWNER")


@rule(
    "KD050", Severity.ERROR, "The capture kernel has no /proc/vmcore",
    needs=(Input.CAPTURE,),
    advice="Set CONFIG_CRASH_DUMP=y, CONFIG_PROC_FS=y and CONFIG_PROC_VMCORE=y; since 6.9 CRASH_DUMP needs KEXEC_CORE, "
    "that is CONFIG_KEXEC=y (arm) or CONFIG_KEXEC_FILE=y (arm64).",
    source="Linux, kernel/Kconfig.kexec and fs/proc/Kconfig; asked for CRASH_DUMP without KEXEC, 6.12 drops it",
)  # fmt: skip
def no_vmcore(case: Case) -> Iterator[Hit]:
    """The crashed kernel's memory appears as /proc/vmcore, and only with CRASH_DUMP and PROC_VMCORE. A capture kernel
    that was made small by turning KEXEC off has lost both since 6.9, without a message."""
    config = case.capture
    for symbol in ("CRASH_DUMP", "PROC_VMCORE"):
        if not config.builtin(symbol):
            why = "" if config.on("KEXEC_CORE", "KEXEC", "KEXEC_FILE") else "neither KEXEC nor KEXEC_FILE is set"
            yield Hit(f"{symbol} is not set", config.where(symbol, "KEXEC"), why)
            return


@rule(
    "KD051", Severity.ERROR, "A capture that fails hangs for ever",
    needs=(Input.CAPTURE_CMDLINE, Input.CAPTURE),
    advice="Put panic=5 on the capture kernel's command line, or set CONFIG_PANIC_TIMEOUT=5.",
    source="Linux, kernel/panic.c; experiment: an initramfs that did not unpack hung the machine",
)  # fmt: skip
def capture_hangs(case: Case) -> Iterator[Hit]:
    """Whatever goes wrong in the capture kernel ends in a panic, and a panic waits for ever unless panic= says
    otherwise. The device is then off until somebody comes, which is worse than a crash without a dump."""
    config, cmdline = case.facts.capture, case.facts.capture_cmdline
    if config is not None:
        values = [*case.on_either("panic", config, cmdline)]
        timeout = values[0] if values else config.value("PANIC_TIMEOUT")
        if timeout in ("0", "n", ""):
            if cmdline is None:
                case.capture_cmdline  # noqa: B018  # raises Missing: panic= may be there
            yield Hit("panic= is not set and PANIC_TIMEOUT is 0", config.where("PANIC_TIMEOUT"))
    else:
        timeout = case.capture_cmdline.value("panic") or ""
        if timeout == "0":
            yield Hit("panic=0", case.capture_cmdline.name)
        elif not timeout:
            case.capture  # noqa: B018  # raises Missing: PANIC_TIMEOUT may be set


@rule(
    "KD052", Severity.WARNING, "An oops in the capture kernel may hang it",
    needs=(Input.CAPTURE,),
    advice="Set CONFIG_PANIC_ON_OOPS=y in the capture kernel, or oops=panic on its command line.",
    source="truenas/middleware issue 6809: a capture kernel out of memory did not reboot",
)  # fmt: skip
def capture_oops(case: Case) -> Iterator[Hit]:
    """An oops there kills init or makedumpfile, or leaves a lock held. Nothing is left to reboot the machine but a
    panic, so an oops has to become one."""
    config = case.capture
    if config.on("PANIC_ON_OOPS") or "panic" in case.on_either("oops", config, case.facts.capture_cmdline):
        return
    yield Hit("PANIC_ON_OOPS is not set", config.where("PANIC_ON_OOPS"))


@rule(
    "KD053", Severity.WARNING, "The capture kernel starts more than one CPU",
    needs=(Input.CAPTURE_CMDLINE, Input.CAPTURE),
    advice="Put nr_cpus=1 on the capture kernel's command line, or build it with SMP off (arm).",
    source="Linux, Documentation/admin-guide/kdump/kdump.rst; raspberrypi/linux issue 7291: CPU_ON fails after kexec",
)  # fmt: skip
def many_cpus(case: Case) -> Iterator[Hit]:
    """The other CPUs were stopped somewhere in the crashed kernel. Starting them again fails on many boards and costs
    memory for each on all."""
    config = case.capture
    if not config.on("SMP"):
        return
    cmdline = case.capture_cmdline
    if not any(cmdline.value(name) == "1" for name in ("nr_cpus", "maxcpus")) and "nosmp" not in cmdline:
        yield Hit("SMP is set, and nr_cpus=1 is not", cmdline.name)


@rule(
    "KD054", Severity.WARNING, "Arguments of the production kernel are passed on",
    needs=(Input.CAPTURE_CMDLINE,),
    advice="Leave them out of the capture kernel's command line.",
    source="kdump-utils removes the same ones; Linux, Documentation/admin-guide/kernel-parameters.txt",
)  # fmt: skip
def passed_on(case: Case) -> Iterator[Hit]:
    """A capture command line made from /proc/cmdline holds what was meant for a machine with all its memory."""
    cmdline = case.capture_cmdline
    for name, effect in _PASSED_ON.items():
        if name in cmdline:
            value = cmdline.value(name)
            yield Hit(f"{name}{'=' + value if value else ''}: {effect}", cmdline.name)
    for name, owner in tables.FOREIGN_ARGUMENTS.items():
        if name in cmdline:
            yield Hit(f"{name} is for {owner}" if name != "elfcorehdr" else f"{name}= is {owner}", cmdline.name)


@rule(
    "KD088", Severity.WARNING, "A placeholder on a command line was not filled in",
    needs=(Input.CAPTURE_CMDLINE,),
    advice="Write the value; fix the command line when the product is built, not at its first boot.",
    source="sonic-buildimage issue 29344: the capture kernel was loaded before the platform's name was filled in",
)  # fmt: skip
def placeholder(case: Case) -> Iterator[Hit]:
    """A command line that is made from a template at the first boot is sometimes loaded before it is finished. The
    capture kernel then gets @CONSOLE@ or ${platform} as it stands, and ignores it."""
    if case.facts.capture_cmdline is None and case.facts.cmdline is None:
        case.capture_cmdline  # noqa: B018  # raises Missing
    for cmdline in filter(None, (case.facts.capture_cmdline, case.facts.cmdline)):
        for found in _PLACEHOLDER.findall(cmdline.text):
            yield Hit(f"{found} stands there as it is", cmdline.name)


@rule(
    "KD055", Severity.ERROR, "The command line is too long",
    needs=(Input.CMDLINE,),
    advice="Shorten it; drop what the capture kernel does not need.",
    source="Linux, arch/arm/include/uapi/asm/setup.h (1024) and arch/arm64/include/uapi/asm/setup.h (2048)",
)  # fmt: skip
def too_long(case: Case) -> Iterator[Hit]:
    """kexec puts elfcorehdr= and mem= at the end of the capture kernel's command line, and cuts it at the kernel's
    limit. What is cut is what tells the capture kernel where the dump is."""
    limit = case.arch.command_line_size - 1
    if case.facts.cmdline is None and case.facts.capture_cmdline is None:
        case.cmdline  # noqa: B018  # raises Missing
    if case.facts.cmdline is not None and len(case.cmdline.text) > limit:
        yield Hit(f"{len(case.cmdline.text)} of at most {limit} bytes", case.cmdline.name)
    if case.facts.capture_cmdline is not None:
        size = len(case.capture_cmdline.text) + _ADDED_BY_KEXEC
        if size > limit:
            yield Hit(f"{size} of at most {limit} bytes, with what kexec adds", case.capture_cmdline.name)


@rule(
    "KD056", Severity.WARNING, "The capture kernel writes over ramoops",
    needs=(Input.CAPTURE,),
    advice="Turn PSTORE_RAM off in the capture kernel, or put initcall_blacklist=ramoops_init on its command line: "
    "this takes KALLSYMS there.",
    source="Linux, fs/pstore/ram_core.c: a record found at boot is handed out once, and its place used anew; "
    "init/main.c: initcall_blacklist requires KALLSYMS",
)  # fmt: skip
def ramoops_in_capture(case: Case) -> Iterator[Hit]:
    """The capture kernel sees the same ramoops node. It takes the crashed kernel's console log for that of the boot
    before, and logs its own over it: when the dump fails, the second source is gone as well."""
    config = case.capture
    if not config.on("PSTORE_RAM"):
        return
    if case.facts.dtb is not None and not case.facts.dtb_from_build and not case.dtb.ramoops:
        return
    cmdline = case.facts.capture_cmdline
    if cmdline is None or "ramoops_init" not in (cmdline.value("initcall_blacklist") or ""):
        yield Hit("PSTORE_RAM is set", config.where("PSTORE_RAM"))
    elif not config.on("KALLSYMS"):
        what = "PSTORE_RAM is set, and initcall_blacklist= does nothing without KALLSYMS"
        yield Hit(what, config.where("PSTORE_RAM", "KALLSYMS"))


@rule(
    "KD057", Severity.WARNING, "The capture kernel is built for debugging",
    needs=(Input.CAPTURE,),
    advice="Turn it off in the capture kernel.",
    source="Linux, lib/Kconfig.debug, lib/Kconfig.kasan, mm/Kconfig.debug",
)  # fmt: skip
def heavy_debugging(case: Case) -> Iterator[Hit]:
    """Sanitizers, lock and leak checkers multiply the memory that a kernel takes. A region that was measured without
    them is too small with them."""
    config = case.capture
    for symbol in _HEAVY:
        if config.on(symbol):
            yield Hit(f"{symbol} is set", config.where(symbol))


_DRIVERS = {"ext4": "EXT4_FS", "f2fs": "F2FS_FS", "squashfs": "SQUASHFS", "vfat": "VFAT_FS"}
_UBIFS = ("MTD_UBI", "UBIFS_FS")
_UBI_FROM_TREE = (6, 2)
"""A kernel before it attaches no UBI device by the device tree: ubi_notify_add() is not in 6.1."""


def _symbols_of(filesystem: str, config: Config) -> tuple[str, ...]:
    """Return what a kernel has to have to mount a file system; for FAT with the tables that it opens by default."""
    if filesystem == "ubifs":
        return _UBIFS
    if filesystem != "vfat":
        return (_DRIVERS[filesystem],)
    page, charset = config.value("FAT_DEFAULT_CODEPAGE"), config.value("FAT_DEFAULT_IOCHARSET")
    # Linux, fs/fat/inode.c: load_nls() of both; fs/nls/Makefile has the names of the tables.
    tables = [f"NLS_CODEPAGE_{page}"] if page.isdecimal() else []
    if charset not in ("n", ""):
        tables.append(f"NLS_{charset.upper().replace('ISO8859-', 'ISO8859_').replace('-', '_')}")
    return (_DRIVERS[filesystem], *tables)


@rule(
    "KD058", Severity.ERROR, "The capture kernel cannot mount a file system that it needs",
    needs=(Input.CAPTURE, Input.BOARD),
    advice="Build the file system and the block layer, or for a server the network, into the capture kernel (=y).",
    source="Linux, fs/Kconfig and net/Kconfig",
)  # fmt: skip
def dump_filesystem(case: Case) -> Iterator[Hit]:
    """The board file names the file system that dumps go to, and perhaps one that the capture system runs from. A
    capture kernel has them built in, or has nowhere to write and nothing to run: modules of the production kernel do
    not load into another kernel."""
    config, dump = case.capture, case.board.dump
    target: tuple[str, ...] = {"nfs": ("INET", "NFS_V4"), "ssh": ("INET",)}.get(dump.target, ("BLOCK",))
    if dump.target == "filesystem":
        own = _symbols_of(dump.filesystem, config)
        target = own if dump.filesystem == "ubifs" else (*target, *own)
    root = _DRIVERS[case.board.capture.root_filesystem] if case.board.capture.root else ""
    for wanted in dict.fromkeys(filter(None, (*target, root))):
        if not config.builtin(wanted):
            what = "a module" if config.value(wanted) == "m" else "not set"
            use = f"; the capture system runs from {case.board.capture.root}" if wanted == root else ""
            yield Hit(f"{wanted} is {what}{use}", config.where(wanted))


@rule(
    "KD106", Severity.ERROR, "Nothing attaches the UBI volume that dumps go to",
    needs=(Input.BOARD,),
    advice='Write ubi.mtd= with the name of its flash partition into [capture] cmdline: "ubi.mtd=dumps".',
    source="Linux, drivers/mtd/ubi/build.c: ubi_init_attach(), and ubi_notify_add(), which is in 6.12 and not in 6.1",
)  # fmt: skip
def unattached_ubi(case: Case) -> Iterator[Hit]:
    """A UBI volume is there once its flash partition was attached: by an argument, by ubiattach of a running system,
    or by the kernel where the partition's node says linux,ubi. The capture system runs no ubiattach. Without one of the
    others it waits for a volume that never comes. UBI devices are counted in the order in which they are attached: what
    is ubi1 in the product is ubi0 in a capture kernel that attaches nothing else."""
    board, tree = case.board, case.facts.dtb
    kernel = case.facts.capture_kernel or case.facts.kernel
    if board.dump.filesystem != "ubifs" or (tree and tree.ubi and not (kernel and kernel < _UBI_FROM_TREE)):
        return
    cmdline = case.facts.capture_cmdline or Cmdline(board.capture.cmdline)
    words = [word for line in case.effective(case.facts.capture, cmdline) for word in line.values("ubi.mtd")]
    where = board.where("capture", "cmdline") if board.capture.cmdline else board.where("dump", "device")
    if not words:
        yield Hit(f"{board.dump.device}, and no ubi.mtd= for the capture kernel", where)
        return
    # Behind the name, the offset of the header and the reserved blocks comes the number that the device gets.
    numbers = {word.split(",")[3] if word.count(",") > 2 else str(count) for count, word in enumerate(words)}
    wanted = re.match(r"ubi(\d+)", board.dump.device)
    if wanted and wanted[1] not in numbers:
        attached = ", ".join(f"ubi{number}" for number in sorted(numbers))
        what = f"{board.dump.device}, and ubi.mtd= of the capture kernel attaches {attached}"
        advice = f"Give the device its number, ubi.mtd=NAME,0,0,{wanted[1]}, or write ubi0 into [dump] device."
        yield Hit(what, where, advice=advice)


@rule(
    "KD107", Severity.WARNING, "The product cannot take the dumps away",
    needs=(Input.PRODUCTION, Input.BOARD),
    advice="Build the dump target's file system into the production kernel, or as a module that is loaded at boot.",
    source="templates/target/kdump-collect; Linux, fs/Kconfig",
)  # fmt: skip
def unmounted_target(case: Case) -> Iterator[Hit]:
    """kdump-collect mounts the dump target after the reboot to file what is there. Where the product's kernel does not
    know the file system, dumps are written and nobody sees them, until the target is full."""
    dump, config = case.board.dump, case.production
    if dump.target == "filesystem" and dump.device:
        for symbol in _symbols_of(dump.filesystem, config):
            if not config.on(symbol):
                yield Hit(f"{symbol} is not set in the production kernel", config.where(symbol))


@rule(
    "KD087", Severity.WARNING, "The capture kernel can be deafened by an interrupt of the crashed one",
    needs=(Input.CAPTURE, Input.PRODUCTION), arches=("arm",),
    advice="Set CONFIG_SMP=y and CONFIG_SUSPEND=y in the capture kernel (SMP keeps KEXEC only with PM_SLEEP_SMP), and "
    "put nr_cpus=1 on its command line.",
    source="Linux, drivers/irqchip/irq-gic.c, gic_handle_irq; experiment: some captures on QEMU's virt hung at their "
    "first disk access",
)  # fmt: skip
def unknown_interrupt(case: Case) -> Iterator[Hit]:
    """CPUs call each other by software interrupts, and one may be pending when a kernel crashes. A uniprocessor capture
    kernel acknowledges it, has no handler for it and never ends it; the GICv2 then holds back every other interrupt.
    Where the GIC cannot disable these interrupts, the capture hangs now and then, and nothing says why."""
    if case.production.on("SMP") and case.capture.on("ARM_GIC") and not case.capture.on("SMP"):
        yield Hit("the production kernel is SMP, the capture kernel is not", case.capture.where("SMP", "ARM_GIC"))


@rule(
    "KD059", Severity.ERROR, "The capture kernel is for another architecture",
    needs=(Input.CAPTURE, Input.PRODUCTION),
    advice="Build both kernels for the same architecture.",
    source="kexec-tools, kexec/arch/arm/kexec-zImage-arm.c, zImage_arm_probe(); crashed in QEMU",
)  # fmt: skip
def other_arch(case: Case) -> Iterator[Hit]:
    """kexec on an arm64 kernel loads arm64 images, on an arm kernel arm images, whatever the CPU could run. kexec
    for arm takes any file for a zImage: it loads, and after the crash nothing more is heard."""
    capture, production = case.capture.on("ARM64"), case.production.on("ARM64")
    known = all(config.on("ARM64", "ARM") for config in (case.capture, case.production))
    if known and capture != production:
        name = "arm64" if capture else "arm"
        yield Hit(f"the capture kernel is for {name}, the production kernel is not", case.capture.where("ARM64", "ARM"))


@rule(
    "KD042", Severity.ERROR, "The capture kernel ignores the command line that kexec gives it",
    needs=(Input.CAPTURE,),
    advice="Turn CONFIG_CMDLINE_FORCE off in the capture kernel.",
    source="Linux, drivers/of/fdt.c, early_init_dt_scan_chosen(); kexec-tools adds elfcorehdr= on the command line",
)  # fmt: skip
def forced_cmdline(case: Case) -> Iterator[Hit]:
    """With CMDLINE_FORCE the capture kernel runs with its built-in arguments: without elfcorehdr= it may not find the
    dump, and without nr_cpus=, panic= and rdinit= it is the production system once more, in a few MiB."""
    config = case.capture
    if config.on("CMDLINE_FORCE"):
        yield Hit("CMDLINE_FORCE is set", config.where("CMDLINE_FORCE", "CMDLINE"))
