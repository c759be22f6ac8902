"""The crash initramfs: whether the capture kernel can unpack it and run what is in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdumpbuild.board.size import human
from kdumpbuild.checks.model import Hit, Input, Missing, Severity, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.checks.facts import Case, Program

_MIB = 1 << 20

_BY_VMLINUX = re.compile(r"\bmakedumpfile\b[^|;&#]*\s-x\b")
_OOM_KNOWN = ("oom_score_adj", "panic_on_oom")
"""A script with one of these has an answer to memory that ends."""


@rule(
    "KD060", Severity.ERROR, "The initramfs is wrapped for U-Boot",
    needs=(Input.INITRAMFS,),
    advice="Give kexec the archive itself: dumpimage, or tail -c +65.",
    source="Russell King on the kexec list, 2020-04-08: the ramdisk is loaded exactly as it is",
)  # fmt: skip
def wrapped(case: Case) -> Iterator[Hit]:
    """U-Boot takes its 64-byte header off before it starts the kernel; kexec does not. The capture kernel then finds
    no archive, and panics for want of a root file system."""
    if case.initramfs.uboot_header:
        yield Hit(f"it begins with a U-Boot header ({case.initramfs.uboot_name or 'no name'})", case.initramfs.name)


@rule(
    "KD061", Severity.ERROR, "The capture kernel cannot unpack the initramfs",
    needs=(Input.INITRAMFS, Input.CAPTURE),
    advice="Set CONFIG_BLK_DEV_INITRD=y and the RD_ option of the compressor, or pack the initramfs otherwise.",
    source="Linux, usr/Kconfig and lib/decompress.c",
)  # fmt: skip
def cannot_unpack(case: Case) -> Iterator[Hit]:
    """Each compressor has its RD_ option. Without the right one the kernel says "compression method … not configured",
    goes on without an initramfs, and panics."""
    config = case.capture
    if not config.builtin("BLK_DEV_INITRD"):
        yield Hit("BLK_DEV_INITRD is not set", config.where("BLK_DEV_INITRD"))
        return
    for stream in case.initramfs.streams:
        if not config.builtin(stream.symbol):
            yield Hit(f"{stream.symbol} is not set, and the initramfs is packed with {stream.kind}",
                      config.where(stream.symbol))  # fmt: skip


@rule(
    "KD062", Severity.ERROR, "The initramfs is packed in a way that the kernel cannot read",
    needs=(Input.INITRAMFS,),
    advice="xz: --check=crc32 and no filter but the architecture's own. lz4: -l. cpio: -H newc.",
    source="Linux, lib/xz/xz_dec_stream.c (CRC32 or none), lib/decompress_unxz.c (filters), lib/decompress_unlz4.c "
    "(the legacy form)",
)  # fmt: skip
def unreadable(case: Case) -> Iterator[Hit]:
    """The kernel's decompressors know less than the programs. xz writes CRC64 unless told otherwise, lz4 a frame, and
    both are refused: "settings that are not supported by this XZ decoder", "invalid header"."""
    initramfs = case.initramfs
    own = {"arm": ("arm", "armthumb"), "arm64": ("arm64",)}[case.arch.name] if case.facts.arch is not None else ()
    for stream in initramfs.streams:
        if stream.kind == "xz" and stream.xz_check not in ("crc32", "none"):
            yield Hit(f"its xz part has {stream.xz_check} sums; the kernel reads crc32", initramfs.name)
        if stream.kind == "lz4-frame":
            yield Hit("its lz4 part is a frame; the kernel reads the legacy form", initramfs.name)
        for name in stream.xz_filters:
            if own and name not in ("lzma2", *own):
                yield Hit(f"its xz part uses the filter {name}", initramfs.name)
    if initramfs.unread and not initramfs.unread.startswith("its files are packed as"):
        yield Hit(initramfs.unread, initramfs.name)


@rule(
    "KD063", Severity.ERROR, "Unpacking the initramfs takes more memory than the region has",
    needs=(Input.INITRAMFS, Input.CMDLINE),
    advice="Pack it with a small dictionary: xz --check=crc32 --lzma2=dict=256KiB.",
    source="Linux, lib/decompress_unxz.c: the dictionary is allocated; experiment with xz -9",
)  # fmt: skip
def dictionary(case: Case) -> Iterator[Hit]:
    """The decompressor allocates the dictionary that the archive was packed with: 64 MiB for xz -9, 8 MiB by default,
    whatever the archive's size. "XZ decompressor ran out of memory", and the machine hangs."""
    initramfs, region = case.initramfs, case.crashkernel.size
    for stream in initramfs.streams:
        if stream.dictionary > region // 2:
            severity = Severity.ERROR
        elif stream.dictionary > region // 8:
            severity = Severity.WARNING
        else:
            continue
        what = f"its {stream.kind} part needs {human(stream.dictionary)}; the region has {human(region)}"
        yield Hit(what, initramfs.name, severity=severity)


@rule(
    "KD064", Severity.ERROR, "The initramfs has nothing to run",
    needs=(Input.INITRAMFS,),
    advice="Put an executable /init in it, with the interpreter that its first line names.",
    source="Linux, init/main.c: without /init the kernel looks for a root file system instead",
)  # fmt: skip
def no_init(case: Case) -> Iterator[Hit]:
    """The kernel runs /init, or what rdinit= names. When that is missing, not executable, or begins with an
    interpreter that is not there, the kernel panics, with a message about the root file system or "No working init"."""
    initramfs = case.initramfs
    if not initramfs.entries and not initramfs.complete:
        return  # packed in a way that is not unpacked here
    cmdline = case.facts.capture_cmdline
    path = (cmdline.value("rdinit") if cmdline is not None else None) or "/init"
    entry = initramfs.entry(path)
    if entry is None:
        yield Hit(f"there is no {path}", initramfs.name)
        return
    if not entry.executable:
        yield Hit(f"{path} is not executable", initramfs.name)
    if entry.data[:2] == b"#!":
        line = entry.data[2:258].split(b"\n")[0].split()
        interpreter = line[0].decode("utf-8", errors="replace") if line else ""
        if initramfs.entry(interpreter) is None:
            yield Hit(f"{path} is a script for {interpreter or 'nothing'}, which is not there", initramfs.name)
        if case.facts.capture is not None and not case.capture.builtin("BINFMT_SCRIPT"):
            what = f"BINFMT_SCRIPT is not set, and {path} is a script"
            yield Hit(what, case.capture.where("BINFMT_SCRIPT"), advice="Set CONFIG_BINFMT_SCRIPT=y.")


@rule(
    "KD065", Severity.ERROR, "A program in the initramfs lacks its libraries",
    needs=(Input.INITRAMFS,),
    advice="Copy the loader and libraries that it names, or use static programs.",
    source="ELF: PT_INTERP and DT_NEEDED",
)  # fmt: skip
def no_libraries(case: Case) -> Iterator[Hit]:
    """A dynamic program whose loader or library is missing ends with "not found" although it is there. makedumpfile
    takes libdw, libelf, libz and a compressor's library along, which are easily forgotten."""
    present = {entry.name.rpartition("/")[2] for entry in case.initramfs.entries}
    for program in case.programs:
        missing = [name for name in program.needed if name not in present]
        if program.interpreter and case.initramfs.entry(program.interpreter) is None:
            missing.insert(0, program.interpreter)
        if missing:
            yield Hit(f"/{program.path} needs {', '.join(missing)}", case.initramfs.name)


@rule(
    "KD066", Severity.ERROR, "The capture kernel cannot run the user space",
    needs=(Input.INITRAMFS, Input.CAPTURE),
    advice="Set the option in the capture kernel; its name is above.",
    source="Linux, arch/arm/Kconfig; experiment: Debian's armhf is Thumb-2, and allnoconfig turns ARM_THUMB off",
)  # fmt: skip
def userland(case: Case) -> Iterator[Hit]:
    """Small capture kernels begin at allnoconfig, which has no Thumb, no VFP and no EABI. The first program then dies
    of an illegal instruction or is not recognised at all: "No working init found"."""
    config = case.capture
    wanted: dict[str, tuple[bool, str, Program]] = {}
    for program in case.programs:
        for need in program.needs.config:
            if config.builtin(need.symbol):
                continue
            if need.symbol not in wanted or (need.certain and not wanted[need.symbol][0]):
                wanted[need.symbol] = (need.certain, need.why, program)
    for symbol, (certain, why, program) in wanted.items():
        yield Hit(
            f"{symbol} is not set, and /{program.path} needs it" + ("" if certain else ", perhaps"),
            config.where(symbol),
            why,
            severity=None if certain else Severity.WARNING,
        )
    yield from _page_size(case)
    yield from _old_time(case)


def _page_size(case: Case) -> Iterator[Hit]:
    sizes = {"ARM64_64K_PAGES": 65536, "ARM64_16K_PAGES": 16384}
    symbol = next((s for s in sizes if case.capture.on(s)), "")
    if not symbol:
        return
    for program in case.programs:
        if 0 < program.needs.page_size < sizes[symbol]:
            what = f"{symbol} is set, and /{program.path} is laid out for pages of {program.needs.page_size} bytes"
            yield Hit(what, case.capture.where(symbol), advice="Build the user space for 64 KiB pages.")


def _old_time(case: Case) -> Iterator[Hit]:
    if case.capture.on("COMPAT_32BIT_TIME") or case.arch.elf_class == 64:
        return
    program = next((p for p in case.programs if p.needs.time_bits == 32), None)
    if program is not None:
        what = f"COMPAT_32BIT_TIME is not set, and /{program.path} was built with a 32-bit time_t"
        yield Hit(what, case.capture.where("COMPAT_32BIT_TIME"), severity=Severity.WARNING)


@rule(
    "KD067", Severity.ERROR, "The user space is for another machine",
    needs=(Input.INITRAMFS, Input.ARCH),
    advice="Take the programs from a root directory of the board's architecture.",
    source="Linux, fs/binfmt_elf.c, elf_check_arch()",
)  # fmt: skip
def other_machine(case: Case) -> Iterator[Hit]:
    """A program for another architecture is refused with "Exec format error". arm64 kernels run arm programs only with
    CONFIG_COMPAT."""
    arch = case.arch
    programs = case.programs
    for path, fault in case.facts.damaged_programs:
        yield Hit(f"/{path} cannot be run: {fault}", case.initramfs.name, advice="Copy it again.")
    for program in programs:
        machine = program.needs.machine
        if machine == arch.elf_machine:
            continue
        if arch.name == "arm64" and machine == "EM_ARM":
            if case.facts.capture is None:
                raise Missing(Input.CAPTURE)
            if case.capture.on("COMPAT"):
                continue
        yield Hit(f"/{program.path} is for {machine}, not {arch.elf_machine}", case.initramfs.name)
        return


@rule(
    "KD068", Severity.WARNING, "The initramfs cannot filter a dump",
    needs=(Input.INITRAMFS,),
    advice="Put makedumpfile into it.",
    source="Measured: 448 MiB of RAM take 7.6 s as they are, 0.8 s and 13 MB filtered",
)  # fmt: skip
def no_makedumpfile(case: Case) -> Iterator[Hit]:
    """Without makedumpfile all of RAM is written. On flash that takes minutes, which the watchdog may not give, and
    the partition is soon full."""
    initramfs = case.initramfs
    if initramfs.complete and not any(e.name.endswith("bin/makedumpfile") for e in initramfs.entries):
        yield Hit("there is no makedumpfile", initramfs.name)


@rule(
    "KD069", Severity.ERROR, "The unpacked initramfs is larger than half of the capture kernel's memory",
    needs=(Input.INITRAMFS, Input.CAPTURE, Input.CMDLINE, Input.ZIMAGE),
    advice="Put rootfstype=ramfs on the capture kernel's command line, or make the region larger.",
    source="Linux, init/do_mounts.c, init_rootfs(), and mm/shmem.c, shmem_default_max_blocks(); kdump-utils issue 99",
)  # fmt: skip
def half_of_memory(case: Case) -> Iterator[Hit]:
    """With CONFIG_TMPFS the root file system of an initramfs is a tmpfs, and a tmpfs holds half of all RAM at most. The
    initramfs then ends in "write error" with plenty of memory free. ramfs has no such limit."""
    initramfs, config, region = case.initramfs, case.capture, case.crashkernel.size
    cmdline = case.facts.capture_cmdline
    if not config.on("TMPFS") or initramfs.unpacked is None:
        return
    if cmdline is not None and ("root" in cmdline or "initramfs_options" in cmdline):
        return
    if cmdline is not None and "tmpfs" not in (cmdline.value("rootfstype") or "tmpfs"):
        return
    half = case.parts.free(region) // 2
    if initramfs.unpacked > half:
        what = f"unpacked it has {human(initramfs.unpacked)}, and half of the memory is {human(max(half, 0))}"
        yield Hit(what, initramfs.name)


@rule(
    "KD074", Severity.ERROR, "The dump is filtered by the help of a vmlinux on the target",
    needs=(Input.INITRAMFS,),
    advice="Leave makedumpfile's -x away. /proc/vmcore has a note, VMCOREINFO, with all that the filter needs.",
    source="meta-nilrt issue 370: makedumpfile stopped with a DWARF error in the field, and dumps of 3.4 GB were "
    "saved; makedumpfile(8), -x",
)  # fmt: skip
def needs_vmlinux(case: Case) -> Iterator[Hit]:
    """makedumpfile -x reads the kernel's debug information. That file has a hundred MiB and more, so the initramfs
    lacks it, or it is of another build, or its DWARF is newer than this makedumpfile: nothing is filtered then."""
    for script in case.initramfs.scripts:
        found = next((line for line in script.lines if _BY_VMLINUX.search(line)), None)
        if found is not None:
            yield Hit(f"/{script.path}: {found.strip()}", case.initramfs.name)


@rule(
    "KD075", Severity.WARNING, "A capture that runs out of memory may hang",
    needs=(Input.INITRAMFS, Input.CAPTURE_CMDLINE),
    advice="Put sysctl.vm.panic_on_oom=2 on the capture kernel's command line, beside panic=, or let init set "
    "/proc/self/oom_score_adj and reboot at the end of whatever it starts.",
    source="truenas/middleware issue 6809 and harvester issue 1357: out of memory, and the machine did not come back; "
    "Linux, mm/oom_kill.c",
)  # fmt: skip
def out_of_memory(case: Case) -> Iterator[Hit]:
    """When memory ends the kernel kills the process that has most of it. That may be the one that would have rebooted
    the machine, or the one that it waits for. With panic_on_oom the kernel panics instead, and panic= reboots."""
    initramfs, cmdline = case.initramfs, case.capture_cmdline
    asked = cmdline.value("sysctl.vm.panic_on_oom") or cmdline.value("sysctl.vm/panic_on_oom") or "0"
    if not initramfs.complete or asked != "0":
        return
    if not any(word in line for script in initramfs.scripts for line in script.lines for word in _OOM_KNOWN):
        yield Hit("neither the arguments nor a script say what happens then", initramfs.name)
