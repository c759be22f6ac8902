"""The memory that crashkernel= sets aside: whether it can be had, and whether it is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.board import memory, need
from kdumpbuild.board.size import format_size, human
from kdumpbuild.checks.facts import show
from kdumpbuild.checks.model import Hit, Input, Missing, Severity, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.checks.facts import Case

_MIB = 1 << 20
_DT_RANGE = (5, 15)
"""First version whose decompressor is taken to honour linux,usable-memory-range: 5.10 does not, 6.1 does."""


@rule(
    "KD020", Severity.ERROR, "crashkernel= reserves nothing",
    needs=(Input.CMDLINE,),
    advice="Put crashkernel=SIZE on the production kernel's command line; no offset, no suffix.",
    source="Linux, kernel/crash_reserve.c (before 6.9 kernel/crash_core.c), parse_crashkernel()",
)  # fmt: skip
def asks_for_nothing(case: Case) -> Iterator[Hit]:
    """Neither arm nor arm64 has a default. Without crashkernel=, with one that the kernel cannot read, or with ranges
    none of which holds this machine's RAM, nothing is reserved, and the only sign is a line in the kernel log."""
    cmdline = case.cmdline
    values = cmdline.values("crashkernel")
    if not values:
        yield Hit("crashkernel= is missing", cmdline.name)
        return
    try:
        ram = memory.total_ram(case.ram)
    except Missing:
        if any(":" in value for value in values):
            raise
        ram = 0
    try:
        found = memory.parse_crashkernel(cmdline.arguments, ram)
    except ValueError as error:
        yield Hit(str(error), cmdline.name)
        return
    if found is None or not found.size:
        yield Hit(f"crashkernel={values[-1]} comes to nothing with {human(ram)} of RAM", cmdline.name)


@rule(
    "KD021", Severity.ERROR, "crashkernel= has a suffix that this kernel does not know",
    needs=(Input.CMDLINE,),
    advice="Use crashkernel=SIZE.",
    source="Linux, arch/arm/kernel/setup.c and arch/arm64/mm/init.c, reserve_crashkernel(); arm64 has had ,high and "
    ",low since 6.0",
)  # fmt: skip
def unknown_suffix(case: Case) -> Iterator[Hit]:
    """32-bit ARM knows no ,high and ,low: it hands parse_crashkernel() no place to put them, and reserves nothing.
    ,cma works on x86 and powerpc only. arm64 learned ,high and ,low after 5.10."""
    arch, kernel = case.arch.name, case.facts.kernel
    values = case.cmdline.values("crashkernel")
    plain = any(not v.endswith((",high", ",low", ",cma")) for v in values)
    for value in values:
        suffix = value.rpartition(",")[2]
        if suffix == "cma":
            yield Hit(f"crashkernel={value}: ,cma does not exist on {arch}", case.cmdline.name)
        elif suffix in ("high", "low") and not plain:
            if arch == "arm":
                yield Hit(f"crashkernel={value}: ,{suffix} does not exist on arm", case.cmdline.name)
            elif kernel is not None and kernel < (6, 0):
                yield Hit(f"crashkernel={value}: Linux {show(kernel)} does not know ,{suffix}", case.cmdline.name)


@rule(
    "KD022", Severity.ERROR, "The kernel finds no place for the crash region",
    needs=(Input.CMDLINE, Input.RAM, Input.PRODUCTION), arches=("arm",),
    advice="Make the region smaller, or place it by hand with crashkernel=SIZE@ADDRESS in lowmem that is free.",
    source="Linux, arch/arm/kernel/setup.c: CRASH_ALIGN is 128 MiB, for the base and for the lowest address",
)  # fmt: skip
def no_place(case: Case) -> Iterator[Hit]:
    """An arm kernel that chooses the place itself takes only bases that are multiples of 128 MiB and not 0, inside of
    lowmem. A board with 128 MiB of RAM has none that the kernel itself does not cover; one with 256 MiB has one."""
    crash = case.crashkernel
    if crash.base is not None or crash.high:
        return
    free = memory.free_ranges(case.ram, case.taken)
    if not memory.arm_candidates(crash.size, free, case.lowmem_end):
        why = f"lowmem ends at {case.lowmem_end:#x}; the base must be a multiple of 128 MiB"
        first = min(bank.base for bank in case.ram)
        base = memory.place(crash.size, free, low=first, high=case.lowmem_end - 8 * _MIB, alignment=8 * _MIB)
        size = format_size(crash.size)
        advice = f"Place it by hand: crashkernel={size}@{base:#x}." if base else "Make the region smaller."
        yield Hit(f"no free {size} at a multiple of 128 MiB in lowmem", case.crashkernel_where, why, advice)


@rule(
    "KD023", Severity.WARNING, "There is only one place for the crash region, and the boot loader may use it",
    needs=(Input.CMDLINE, Input.RAM, Input.PRODUCTION), arches=("arm",),
    advice="Keep U-Boot's initrd_high and fdt_high below that place, or give the address: crashkernel=SIZE@ADDRESS.",
    source="Experiment: QEMU virt with 256 MiB puts its own initrd there, and there was \"No suitable area found\"",
)  # fmt: skip
def one_place(case: Case) -> Iterator[Hit]:
    """Boot loaders put the initramfs and the device tree high in RAM, or in the middle of it. Where only one multiple
    of 128 MiB is left for the region, that can be the one, and the reservation fails on some boots."""
    crash = case.crashkernel
    if crash.base is not None or crash.high:
        return
    free = memory.free_ranges(case.ram, case.taken)
    candidates = memory.arm_candidates(crash.size, free, case.lowmem_end)
    if len(candidates) == 1:
        yield Hit(f"only {candidates[0]:#x} will do for {format_size(crash.size)}", case.crashkernel_where)


@rule(
    "KD024", Severity.ERROR, "The crash region does not lie in usable memory",
    needs=(Input.CMDLINE, Input.RAM),
    advice="Leave the address out and let the kernel choose, or choose one in RAM that nothing else has.",
    source="Linux, arch/arm/kernel/setup.c and kernel/crash_reserve.c: memory in use is refused; "
    "arch/arm/kernel/machine_kexec.c needs lowmem",
)  # fmt: skip
def bad_offset(case: Case) -> Iterator[Hit]:
    """An address given with crashkernel=SIZE@ADDRESS is taken as it is: outside of RAM, across a reserved-memory node,
    or above arm's lowmem, the reservation fails with "memory is in use", or the panic ends in an oops of its own."""
    crash = case.crashkernel
    if crash.base is None:
        return
    end = crash.base + crash.size
    where = case.crashkernel_where
    span = f"{crash.base:#x}-{end:#x}"
    if not any(bank.base <= crash.base and end <= bank.end for bank in case.ram):
        yield Hit(f"{span} is not in RAM", where)
        return
    first = min(bank.base for bank in case.ram)
    if crash.base < first + 16 * _MIB:
        yield Hit(f"{span} is where the running kernel lies", where)
    for reserved in case.facts.dtb.reserved if case.facts.dtb is not None else ():
        if reserved.overlaps(crash.base, end):
            yield Hit(f"{span} overlaps {reserved.name} at {reserved.base:#x}-{reserved.end:#x}", where)
    if case.arch.name == "arm" and case.facts.production is not None and end > case.lowmem_end:
        yield Hit(f"{span} is above lowmem, which ends at {case.lowmem_end:#x}", where)


@rule(
    "KD025", Severity.ERROR, "The crash region's address has the wrong alignment",
    needs=(Input.CMDLINE,),
    advice="Use a multiple of 8 MiB (before 5.15 on arm: of 128 MiB).",
    source="Linux, arch/arm/kernel/setup.c (SECTION_SIZE) and arch/arm/boot/compressed/head.S; arm64: CRASH_ALIGN",
)  # fmt: skip
def misaligned(case: Case) -> Iterator[Hit]:
    """The address must be aligned to 1 MiB (LPAE and arm64: 2 MiB), or nothing is reserved. Decompressors of old arm
    kernels take the start of RAM to be the next lower multiple of 128 MiB, and overwrite whatever lies there."""
    crash, where = case.crashkernel, case.crashkernel_where
    if crash.base is None:
        return
    lpae = case.facts.production is not None and case.production.on("ARM_LPAE")
    step = _MIB if case.arch.name == "arm" and not lpae else 2 * _MIB
    if crash.base % step:
        yield Hit(f"{crash.base:#x} is not a multiple of {step // _MIB} MiB", where)
    elif case.arch.name == "arm" and crash.base % memory.ARM_CRASH_ALIGN and case.capture_kernel < _DT_RANGE:
        kernel = show(case.capture_kernel)
        yield Hit(f"{crash.base:#x} is not a multiple of 128 MiB, and the capture kernel is Linux {kernel}", where)


@rule(
    "KD026", Severity.WARNING, "The crash region ends inside of a page block",
    needs=(Input.CMDLINE, Input.CAPTURE), arches=("arm",),
    advice="Make its size and address multiples of 8 MiB, or give makedumpfile --non-mmap.",
    source="Experiment: 60 times \"BUG: Bad page map\" with a 42 MiB region; Linux, arch/arm/mm/init.c, pfn_valid()",
)  # fmt: skip
def page_block(case: Case) -> Iterator[Hit]:
    """In the capture kernel pfn_valid() is true up to the end of the last page block. When makedumpfile maps
    /proc/vmcore, pages of the old kernel that fall into it are taken for pages of the new one, and the kernel reports
    bad page maps."""
    options = case.facts.makedumpfile_options
    if options is not None and "--non-mmap" in options:
        return
    order = case.capture.number("ARCH_FORCE_MAX_ORDER", 10)
    if case.capture_kernel < (6, 4):
        order -= 1 if "ARCH_FORCE_MAX_ORDER" in case.capture.values else 0  # it was exclusive before
    block = memory.PAGE << order
    crash = case.crashkernel
    end = crash.size + (crash.base or 0)
    if end % block:
        yield Hit(f"its end is not a multiple of {block // _MIB} MiB", case.crashkernel_where)


@rule(
    "KD027", Severity.WARNING, "The crash region does not fit below the DMA limit",
    needs=(Input.CMDLINE, Input.RAM), arches=("arm64",),
    advice="Make it smaller, or ask for SIZE,high and SIZE,low knowingly.",
    source="Linux, kernel/crash_reserve.c, reserve_crashkernel_generic(); Documentation/arch/arm64/kdump.rst",
)  # fmt: skip
def above_dma(case: Case) -> Iterator[Hit]:
    """A region that does not fit below 4 GiB (1 GiB on the Raspberry Pi 4) is put above it, and 128 MiB more are
    taken in low memory. 6.1 and older do not fall back, and nothing was reserved."""
    crash = case.crashkernel
    if crash.base is not None or crash.high:
        return
    limit = case.dma_limit
    free = memory.free_ranges(case.ram, case.taken)
    if memory.place(crash.size, free, low=0, high=limit, alignment=memory.ARM64_CRASH_ALIGN) is None:
        old = case.facts.kernel is not None and case.facts.kernel < (6, 2)
        yield Hit(
            f"no free {format_size(crash.size)} below {limit:#x}",
            case.crashkernel_where,
            severity=Severity.ERROR if old else None,
        )


@rule(
    "KD028", Severity.ERROR, "RAM above 4 GiB cannot be dumped on 32-bit ARM",
    needs=(Input.RAM,), arches=("arm",),
    advice="Give the production kernel mem= so that all its RAM ends below 4 GiB, or run without LPAE.",
    source="Linux, arch/arm/include/asm/elf.h: vmcore_elf64_check_arch() is 0; kexec-tools writes ELF64 headers then",
)  # fmt: skip
def ram_above_4g(case: Case) -> Iterator[Hit]:
    """When the last bank of RAM ends above 4 GiB, kexec writes 64-bit ELF headers, and an arm capture kernel refuses
    them: there is no /proc/vmcore. This follows from both sources; it was not seen on hardware."""
    last = max(case.ram, key=lambda bank: bank.end)
    if last.end <= 1 << 32:
        return
    config = case.production
    if not (config.on("ARM_LPAE") and config.on("HIGHMEM")):
        return  # such a kernel does not use that RAM
    limit = case.facts.cmdline.value("mem") if case.facts.cmdline is not None else None
    if limit is not None:
        try:
            first = min(bank.base for bank in case.ram)
            size = memory.memparse(limit)[0]
        except ValueError:
            size, first = 0, 0
        if first + size <= 1 << 32:
            return
    yield Hit(f"RAM ends at {last.end:#x}, and ARM_LPAE and HIGHMEM are set", config.where("ARM_LPAE"))


@rule(
    "KD029", Severity.ERROR, "The capture system does not fit into the crash region",
    needs=(Input.CMDLINE, Input.INITRAMFS, Input.ZIMAGE),
    advice="Make the region larger, or the kernel and the initramfs smaller.",
    source="kexec-tools, kexec/arch/arm/kexec-zImage-arm.c and arm64/kexec-arm64.c for the layout; "
    "experiment: one MiB less and the initramfs ended in \"write error\"",
)  # fmt: skip
def too_small(case: Case) -> Iterator[Hit]:
    """Kernel, packed and unpacked initramfs, device tree and the dump's header share the region. When they do not fit,
    kexec -p fails, or worse, the capture kernel dies while unpacking, with "write error" or "out of memory"."""
    crash, where = case.crashkernel, case.crashkernel_where
    parts = case.parts
    if parts.load_size > crash.size:
        yield Hit(f"loading takes {human(parts.load_size)}, the region has {human(crash.size)}", where)
    if parts.unpacked is None:
        return
    free, left = parts.free(crash.size), parts.left(crash.size)
    why = f"computed: {parts.story()}"
    if free < parts.unpacked:
        what = f"{human(parts.unpacked)} do not unpack into the {human(max(free, 0))} that are left"
        yield Hit(f"{what} of {human(crash.size)}", where, why)
    elif free < parts.unpacked + need.KERNEL:
        what = f"{human(free - parts.unpacked)} are left for the kernel itself of {human(crash.size)}"
        yield Hit(what, where, why, severity=Severity.WARNING)
    elif left < parts.programs:
        what = f"{human(left)} are left for programs of {human(crash.size)}"
        yield Hit(what, where, why, severity=Severity.WARNING)


@rule(
    "KD030", Severity.WARNING, "The capture kernel sets CMA memory aside in its few MiB",
    needs=(Input.CAPTURE, Input.CAPTURE_CMDLINE, Input.CMDLINE),
    advice="Put cma=0 on the capture kernel's command line, or build it without CMA.",
    source="Debian's armmp: 16 MiB by default; linux-5.15.y issue 15 of unifreq: a 256 MiB pool in the capture kernel; "
    "experiment on QEMU virt: 8 of 16 MiB were lent to the initramfs, and 12 could not be set aside",
)  # fmt: skip
def cma(case: Case) -> Iterator[Hit]:
    """A capture kernel with CMA reserves its contiguous pool first: 16 MiB or more by its configuration, or the size
    of the linux,cma node of the device tree. The kernel itself cannot use that memory; files may, so that a small
    system still captures. A pool that does not fit at all is left out."""
    config, cmdline = case.capture, case.capture_cmdline
    if not config.on("CMA", "DMA_CMA") or cmdline.value("cma") == "0":
        return
    size = config.number("CMA_SIZE_MBYTES") * _MIB if config.on("DMA_CMA") else 0
    where, asked = config.where("DMA_CMA", "CMA"), ""
    if case.facts.dtb is not None and (pools := [p for p in case.dtb.pools if p.cma]):
        size, name = max((p.size, p.name) for p in pools)
        where, asked = case.dtb.name, f" ({name})"
    if size:
        yield Hit(f"{human(size)} of {human(case.crashkernel.size)} go to CMA{asked}", where)

