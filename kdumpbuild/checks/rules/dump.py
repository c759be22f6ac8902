"""makedumpfile, and reading what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.checks import tables
from kdumpbuild.checks.facts import show
from kdumpbuild.checks.model import Hit, Input, Missing, Severity, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.checks.facts import Case, Program

_USER_PAGES = 8
"""makedumpfile's dump level that leaves user pages out."""
_COUNTS = "SLUB_CPU_PARTIAL"
"""With this option the kernel counts slabs where makedumpfile looks for the mark of a user page."""


@rule(
    "KD070", Severity.ERROR, "makedumpfile cannot read a kernel with 52-bit addresses and 4 KiB pages",
    needs=(Input.PRODUCTION, Input.MAKEDUMPFILE), arches=("arm64",),
    advice="Set CONFIG_ARM64_VA_BITS_48=y (or 39), use a makedumpfile newer than 1.7.9, or copy /proc/vmcore as it is.",
    source="makedumpfile commit b7587f1 (after 1.7.9) and issue 18; arm64's defconfig has VA_BITS 52 since 6.9",
)  # fmt: skip
def va_bits(case: Case) -> Iterator[Hit]:
    """makedumpfile up to 1.7.9 stops with "PAGE SIZE 0x1000 and VA Bits 52 not supported", for dumps and for
    --dump-dmesg. It looks at what the kernel was built for, not at what the CPU can do."""
    config, version = case.production, case.makedumpfile
    if config.number("ARM64_VA_BITS") == 52 and config.on("ARM64_4K_PAGES") and version <= (1, 7, 9):
        yield Hit(f"ARM64_VA_BITS is 52, and makedumpfile is {show(version)}",
                  config.where("ARM64_VA_BITS_52", "ARM64_VA_BITS"))  # fmt: skip


@rule(
    "KD071", Severity.WARNING, "makedumpfile is older than the kernel",
    needs=(Input.MAKEDUMPFILE, Input.KERNEL),
    advice="Use a makedumpfile that was made for this kernel.",
    source="makedumpfile.h, LATEST_VERSION; commits 5f17bdd (in 1.7.3), bad2a7c (in 1.7.6), 72c3414 (in 1.7.7) and "
    "f50c015 (after 1.7.9); sonic-buildimage issue 25890; experiment: of 6.12 with SLUB_CPU_PARTIAL 1.7.2 dropped 42 "
    "of 692 slab pages, each with an odd count, and 1.7.6 and 1.7.8 none; without it 1.7.2 dropped none of 404",
)  # fmt: skip
def old_makedumpfile(case: Case) -> Iterator[Hit]:
    """makedumpfile reads the kernel's page descriptors, which change, and one that is too old does not say so. Since
    6.2 versions before 1.7.3 leave out slab pages together with user pages, since 6.10 those before 1.7.6: drgn and
    crash then miss what they look for, down to the list of tasks. It takes those with an odd count of partial slabs,
    which CONFIG_SLUB_CPU_PARTIAL, the default with SMP, keeps where other pages have the mark of user pages; without
    that option none is lost. With 6.12, 1.7.6 keeps all free pages, and a machine with 8 GB gave a dump of 7.6 GB. With
    7.1, versions up to 1.7.9 drop pages that are needed."""
    version, kernel = case.makedumpfile, case.kernel
    where = case.where_of(Input.MAKEDUMPFILE)
    faults = [f for f in tables.MAKEDUMPFILE_FAULTS if kernel >= f.kernel and f.since <= version < f.until]
    board, config = case.facts.board, case.facts.production
    counted = config is None or config.on(_COUNTS)
    if (board is not None and not board.dump.level & _USER_PAGES) or not counted:
        faults = [fault for fault in faults if not fault.user_pages]
    for fault in faults:
        what = f"makedumpfile {show(version)} {fault.effect} of Linux {show(kernel)}"
        if fault.user_pages:
            until = max(f.until for f in tables.MAKEDUMPFILE_FAULTS if kernel >= f.kernel and f.until > version)
            advice = f"Use makedumpfile {show(until)} or newer, or keep user pages: a dump level without 8."
            if config is None:
                yield Hit(f"{what}, and drops them", where, advice=advice)
            else:
                advice = f"{advice} Or set CONFIG_{_COUNTS}=n in the production kernel."
                yield Hit(f"{what}, and drops them", config.where(_COUNTS), severity=Severity.ERROR, advice=advice)
        else:
            severity = Severity.ERROR if fault.loses else None
            yield Hit(what if fault.loses else f"{what}, and keeps them", where, severity=severity)
    newest = max((k for v, k in tables.MAKEDUMPFILE_KERNELS if v <= version), default=(5, 10))
    if not faults and version < tables.MAKEDUMPFILE_KERNELS[-1][0] and kernel[:2] > newest:
        what = f"makedumpfile {show(version)} was made for kernels up to {show(newest)}, not {show(kernel)}"
        yield Hit(what, where, severity=Severity.INFO)


@rule(
    "KD072", Severity.WARNING, "drgn cannot read makedumpfile's compressed dumps of 32-bit ARM",
    needs=(Input.ROOTFS,), arches=("arm",),
    advice="Write ELF, makedumpfile -E -d 31 --non-mmap, or read the dump with kdumpbuild open.",
    source="Experiment with drgn 0.3.0, libkdumpfile 0.5.6 and makedumpfile 1.7.6; makedumpfile.h, ARCH_PFN_OFFSET",
)  # fmt: skip
def compressed_dump(case: Case) -> Iterator[Hit]:
    """The kdump-compressed form counts pages from the start of RAM on arm, which libkdumpfile, and so drgn, does not.
    Where user space has a 64-bit time_t, its header has another size as well, and no reader understands the file."""
    options = case.facts.makedumpfile_options
    # kdumpbuild's own report and open make ELF of pages that lzo or zlib packed.
    if options is not None and {"-E", "-l", "-c"} & set(options):
        return
    programs = _makedumpfiles(case)
    for program in programs:
        wide = program.needs.time_bits == 64
        what = f"/{program.path} was built with a 64-bit time_t" if wide else f"/{program.path} may write that form"
        severity = None if wide or options is not None else Severity.INFO
        yield Hit(what, program.needs.name, severity=severity)


def _makedumpfiles(case: Case) -> list[Program]:
    if case.facts.initramfs is None and case.facts.rootfs is None:
        raise Missing(Input.ROOTFS)
    rootfs = case.facts.rootfs.programs if case.facts.rootfs is not None else ()
    return [p for p in (*case.facts.initramfs_programs, *rootfs) if p.path.endswith("bin/makedumpfile")][:1]


@rule(
    "KD073", Severity.INFO, "A crash in the first second may not be filtered",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_RTC_HCTOSYS and the board's RTC driver (=y), and fall back to a copy of /proc/vmcore.",
    source='Experiment: makedumpfile 1.7.2 says "Invalid data in …: CRASHTIME=0" on QEMU virt, no RTC driver',
)  # fmt: skip
def crash_time(case: Case) -> Iterator[Hit]:
    """makedumpfile refuses a dump whose CRASHTIME is 0: a board that has no clock and crashes within a second of 1970.
    What saves the dump must then try a simpler form."""
    config = case.production
    if not config.builtin("RTC_HCTOSYS"):
        yield Hit("RTC_HCTOSYS is not set", config.where("RTC_HCTOSYS", "RTC_CLASS"))
