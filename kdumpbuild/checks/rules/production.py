"""The kernel that crashes: what its configuration and command line must have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.checks.facts import Cmdline, show
from kdumpbuild.checks.model import Hit, Input, Severity, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.checks.facts import Case

_SPLIT = (6, 9)
"""Since Linux kernel commit 75bc255a7444 ("crash: clean up kdump related config items") (in v6.9)."""


@rule(
    "KD001", Severity.ERROR, "The production kernel reserves no memory",
    needs=(Input.PRODUCTION, Input.KERNEL),
    advice="Set CONFIG_CRASH_DUMP=y in the production kernel (before 6.9: CONFIG_KEXEC=y, on arm64 also KEXEC_FILE).",
    source='Linux kernel commit 75bc255a7444 ("crash: clean up kdump related config items") (in v6.9)',
)  # fmt: skip
def reserves_nothing(case: Case) -> Iterator[Hit]:
    """Since 6.9 the code behind crashkernel= belongs to CRASH_RESERVE, and only CRASH_DUMP selects it. A production
    kernel without CRASH_DUMP ignores crashkernel= without a word, and every kexec -p ends in "memory is not reserved".
    The option's help still says that it is for special crash kernels."""
    config, kernel = case.production, case.kernel
    if kernel >= _SPLIT:
        if not config.on("CRASH_RESERVE", "CRASH_DUMP"):
            where = config.where("CRASH_DUMP", "CRASH_RESERVE", "KEXEC")
            yield Hit(f"CRASH_DUMP is not set, and Linux {show(kernel)} reserves nothing without it", where)
    elif case.arch.name == "arm" and not config.on("KEXEC"):
        yield Hit(f"KEXEC is not set, and Linux {show(kernel)} reserves nothing without it", config.where("KEXEC"))
    elif not config.on("KEXEC", "KEXEC_FILE", "KEXEC_CORE"):
        yield Hit("neither KEXEC nor KEXEC_FILE is set", config.where("KEXEC", "KEXEC_FILE"))


@rule(
    "KD002", Severity.ERROR, "The production kernel cannot load a capture kernel",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_KEXEC=y; an SMP kernel drops it unless SUSPEND (or HIBERNATION) is set as well. On arm64 "
    "CONFIG_KEXEC_FILE=y alone is enough with kexec -s.",
    source="Linux, kernel/Kconfig.kexec and arch/arm/Kconfig: ARCH_SUPPORTS_KEXEC is (!SMP || PM_SLEEP_SMP) && MMU",
)  # fmt: skip
def cannot_load(case: Case) -> Iterator[Hit]:
    """KEXEC depends on PM_SLEEP_SMP, which takes SUSPEND or HIBERNATION. A config that asks for KEXEC and SMP but
    turns SUSPEND off loses KEXEC in olddefconfig without a message. bcm2835_defconfig keeps it because it is not SMP;
    who turns SMP on for a Raspberry Pi 2 or 3 loses it."""
    config, arch = case.production, case.arch
    if config.on("KEXEC") or (arch.kexec_file_load and config.on("KEXEC_FILE")):
        return
    dropped = config.on("SMP") and not config.on("SUSPEND", "HIBERNATION", "PM_SLEEP_SMP")
    why = "SMP is set, SUSPEND and HIBERNATION are not: KEXEC cannot be on" if dropped else ""
    yield Hit("KEXEC is not set", config.where("KEXEC", "SUSPEND"), why)


@rule(
    "KD003", Severity.WARNING, "An oops ends a task, not the machine",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_PANIC_ON_OOPS=y, or oops=panic on the command line.",
    source="Linux, kernel/kexec_core.c, kexec_should_crash()",
)  # fmt: skip
def oops_survives(case: Case) -> Iterator[Hit]:
    """Without panic_on_oops an oops in process context kills the task that met it, and the machine goes on, often
    with locks held. No dump is taken of the most common kind of crash."""
    config, cmdline = case.production, case.facts.cmdline
    if "panic" in case.on_either("oops", config, cmdline):
        return
    if config.value("PANIC_ON_OOPS") != "y" and not _sysctl(case, "kernel.panic_on_oops", "1"):
        yield Hit("PANIC_ON_OOPS is not set", config.where("PANIC_ON_OOPS"))


@rule(
    "KD004", Severity.WARNING, "A panic without a loaded capture kernel hangs",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_PANIC_TIMEOUT=10, or panic=10 on the command line.",
    source="Linux, kernel/panic.c: PANIC_TIMEOUT is 0, which waits for ever",
)  # fmt: skip
def production_hangs(case: Case) -> Iterator[Hit]:
    """Before the capture kernel is loaded, and whenever loading failed, a panic is only a panic. With a timeout of 0,
    the default, the device then hangs until somebody takes its power."""
    config = case.production
    values = [*case.on_either("panic", config, case.facts.cmdline)]
    timeout = values[0] if values else config.value("PANIC_TIMEOUT")
    if timeout in ("0", "n", "") and not _sysctl(case, "kernel.panic"):
        yield Hit("panic= is not set and PANIC_TIMEOUT is 0", config.where("PANIC_TIMEOUT"))


@rule(
    "KD005", Severity.WARNING, "The production kernel has no full debug information",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y (before 5.18: CONFIG_DEBUG_INFO=y), turn off "
    "DEBUG_INFO_REDUCED and DEBUG_INFO_SPLIT, and keep vmlinux on the build host.",
    source="Linux, lib/Kconfig.debug; arm64's defconfig sets DEBUG_INFO_REDUCED",
)  # fmt: skip
def no_debug_info(case: Case) -> Iterator[Hit]:
    """drgn and crash read the kernel's types from the DWARF of the vmlinux that crashed. Without it, or with the
    reduced kind that leaves types out, a dump gives the kernel log and little more. It cannot be added later: another
    build has other addresses."""
    config = case.production
    if not config.on("DEBUG_INFO"):
        yield Hit("DEBUG_INFO is not set", config.where("DEBUG_INFO_NONE", "DEBUG_INFO"))
    elif config.on("DEBUG_INFO_REDUCED"):
        yield Hit("DEBUG_INFO_REDUCED is set: types are left out", config.where("DEBUG_INFO_REDUCED"))
    elif config.on("DEBUG_INFO_SPLIT"):
        yield Hit("DEBUG_INFO_SPLIT is set: types are not in vmlinux", config.where("DEBUG_INFO_SPLIT"))


@rule(
    "KD006", Severity.WARNING, "The given vmlinux cannot open a dump",
    needs=(Input.VMLINUX,),
    advice="Keep the vmlinux from the top of the kernel's build folder, before anything strips it.",
    source="drgn, docs/user_guide.rst; crash needs the same",
)  # fmt: skip
def stripped_vmlinux(case: Case) -> Iterator[Hit]:
    """The vmlinux that is archived must be the unstripped one, with symbols, DWARF and a build-id by which a dump
    finds it. Packaging often strips it."""
    kernel = case.vmlinux
    if not kernel.debug_info:
        yield Hit("it has no debug information", kernel.elf.name)
    elif kernel.reduced:
        yield Hit("its debug information is the reduced kind", kernel.elf.name,
                  advice="Turn DEBUG_INFO_REDUCED off and build the kernel again.")  # fmt: skip
    if not kernel.has_symbols:
        yield Hit("it has no symbols", kernel.elf.name)
    if kernel.elf.build_id is None:
        yield Hit("it has no build-id", kernel.elf.name)


@rule(
    "KD007", Severity.WARNING, "kexec_load does not find the kernel's addresses: no PROC_KCORE",
    needs=(Input.PRODUCTION,), arches=("arm64",),
    advice="Set CONFIG_KEXEC_FILE=y and load with kexec -s, or set CONFIG_PROC_KCORE=y.",
    source="kexec-tools, kexec/arch/arm64/kexec-arm64.c, get_phys_base_from_pt_load() and get_va_bits()",
)  # fmt: skip
def no_kcore(case: Case) -> Iterator[Hit]:
    """On arm64 kexec takes PHYS_OFFSET and VA_BITS from the notes of /proc/kcore. Without it, it guesses from
    /proc/iomem, and the dump's headers can name wrong addresses. kexec_file_load does not need it."""
    config = case.production
    if not config.on("PROC_KCORE") and not case.file_load:
        yield Hit("PROC_KCORE is not set and the kernel is loaded with kexec_load", config.where("PROC_KCORE"))


@rule(
    "KD008", Severity.WARNING, "kexec_load does not find the kernel's addresses: symbols",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_KALLSYMS=y (arm64 with kexec_load: CONFIG_KALLSYMS_ALL=y as well).",
    source="kexec-tools, kexec/arch/arm/crashdump-arm.c, get_kernel_page_offset(); arm64: crashdump-arm64.c; "
    "experiment with VMSPLIT_2G and Linux 6.12",
)  # fmt: skip
def no_kallsyms(case: Case) -> Iterator[Hit]:
    """kexec reads _stext (arm) or _text (arm64) from /proc/kallsyms to work out the kernel's page offset. On arm it
    falls back to 0xc0000000, which is wrong for every other VMSPLIT, and the addresses in the headers of /proc/vmcore
    are then off. makedumpfile has its own ways: on QEMU's virt a filtered dump opened all the same."""
    config = case.production
    if case.arch.name == "arm":
        if not config.on("KALLSYMS"):
            wrong = case.page_offset != 0xC0000000
            yield Hit(
                "KALLSYMS is not set" + (f" and PAGE_OFFSET is {case.page_offset:#x}" if wrong else ""),
                config.where("KALLSYMS"),
                advice=f"Set CONFIG_KALLSYMS=y, or give kexec --page-offset={case.page_offset:#x}." if wrong else "",
            )
    elif not case.file_load and not (config.on("KALLSYMS") and config.on("KALLSYMS_ALL")):
        symbol = "KALLSYMS" if not config.on("KALLSYMS") else "KALLSYMS_ALL"
        yield Hit(f"{symbol} is not set and the kernel is loaded with kexec_load", config.where(symbol))


@rule(
    "KD009", Severity.ERROR, "Kernel addresses are hidden from kexec",
    needs=(Input.ROOTFS,),
    advice="Keep kernel.kptr_restrict at 0 or 1 until the capture kernel is loaded, or load with kexec -s.",
    source="Linux, Documentation/admin-guide/sysctl/kernel.rst, kptr_restrict",
)  # fmt: skip
def hidden_pointers(case: Case) -> Iterator[Hit]:
    """With kptr_restrict=2 even root reads zeros in /proc/kallsyms. kexec then takes 0 for the address of _stext, and
    what it writes into the dump's headers is worthless."""
    value, where = _at_boot(case, "kernel.kptr_restrict")
    if value == "2" and not (case.facts.production is not None and case.file_load):
        yield Hit("kernel.kptr_restrict=2", where)


@rule(
    "KD010", Severity.ERROR, "Lockdown forbids loading the capture kernel",
    needs=(Input.CMDLINE, Input.PRODUCTION),
    advice="arm: do without lockdown. arm64: load a signed image with kexec -s.",
    source="Linux, security/lockdown, LOCKDOWN_KEXEC; kernel/kexec.c, kexec_load_check()",
)  # fmt: skip
def lockdown(case: Case) -> Iterator[Hit]:
    """Under lockdown kexec_load is refused, and kexec_file_load takes signed images only. 32-bit ARM has nothing but
    kexec_load, so lockdown and kdump exclude each other there."""
    config = case.production
    symbol = next(
        (s for s in ("LOCK_DOWN_KERNEL_FORCE_INTEGRITY", "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY") if config.on(s)), ""
    )
    asked = case.facts.cmdline.value("lockdown") if case.facts.cmdline is not None else None
    if not symbol and asked not in ("integrity", "confidentiality"):
        if case.facts.cmdline is None:
            case.cmdline  # noqa: B018  # nothing is sure without it
        return
    what, where = (f"{symbol} is set", config.where(symbol)) if symbol else (f"lockdown={asked}", case.cmdline.name)
    if case.arch.name == "arm":
        yield Hit(what, where)
    elif not config.on("KEXEC_SIG"):
        yield Hit(f"{what} and KEXEC_SIG is not", where)


@rule(
    "KD011", Severity.WARNING, "Loading is switched off",
    needs=(Input.ROOTFS,),
    advice="Set kernel.kexec_load_disabled=1 only after the capture kernel is loaded, from the load script.",
    source="Linux, Documentation/admin-guide/sysctl/kernel.rst, kexec_load_disabled",
)  # fmt: skip
def loading_disabled(case: Case) -> Iterator[Hit]:
    """kernel.kexec_load_disabled cannot be taken back before the next boot. Set in sysctl.conf it is usually set
    before anything is loaded, on the kernel's command line always: kexec -p is then refused."""
    found = False
    for name, off in (("kernel.kexec_load_disabled", "1"), ("kernel.kexec_load_limit_panic", "0")):
        certain = case.facts.cmdline is not None and f"sysctl.{name}" in case.facts.cmdline
        if not certain and case.facts.rootfs is None:
            continue
        value, where = _at_boot(case, name)
        if value == off:
            found = True
            # On the command line it is certain; a load script may come before what the root file system sets.
            yield Hit(f"{name}={value} is set at boot", where, severity=Severity.ERROR if certain else None)
    if not found:
        case.rootfs  # noqa: B018  # raises Missing: it may be set there


@rule(
    "KD012", Severity.INFO, "Lockups do not end in a panic",
    needs=(Input.PRODUCTION,),
    advice="Set SOFTLOCKUP_DETECTOR and DETECT_HUNG_TASK, and softlockup_panic=1 hung_task_panic=1 (since 6.5 also "
    "HARDLOCKUP_DETECTOR and nmi_watchdog=panic), and let a hardware watchdog catch the rest.",
    source="Linux, lib/Kconfig.debug; LKDTM's SOFTLOCKUP, HARDLOCKUP and HUNG_TASK ran into nothing without these",
)  # fmt: skip
def lockups(case: Case) -> Iterator[Hit]:
    """A CPU that loops or a task that waits for ever is no crash to the kernel. Unless a detector turns it into a
    panic, the device hangs or the hardware watchdog resets it, and there is no dump either way."""
    config, cmdline = case.production, case.facts.cmdline
    missing = []
    for detector, default, argument in (
        ("SOFTLOCKUP_DETECTOR", "BOOTPARAM_SOFTLOCKUP_PANIC", "softlockup_panic"),
        ("DETECT_HUNG_TASK", "BOOTPARAM_HUNG_TASK_PANIC", "hung_task_panic"),
    ):
        asked = [*case.on_either(argument, config, cmdline), *case.on_either(f"kernel.{argument}", config, cmdline)]
        panics = config.value(default) not in ("n", "0", "") or any(v not in ("0", "") for v in asked)
        if not config.on(detector):
            missing.append(detector)
        elif not panics and not _sysctl(case, f"kernel.{argument}", "1"):
            missing.append(f"{argument}=1")
    if missing:
        yield Hit("not set: " + ", ".join(missing), config.where("SOFTLOCKUP_DETECTOR", "DEBUG_KERNEL"))


@rule(
    "KD013", Severity.INFO, "ramoops has no record of a crash that kdump handles",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_PSTORE_CONSOLE=y: the console's record is written all the time. crash_kexec_post_notifiers "
    "writes the other one too, at the risk that a notifier hangs before the dump.",
    source="Linux, kernel/panic.c: __crash_kexec() comes before kmsg_dump()",
)  # fmt: skip
def ramoops_record(case: Case) -> Iterator[Hit]:
    """With a capture kernel loaded, panic() starts it before anything is written to pstore. A product that relies on
    ramoops as its second source finds no dmesg record after exactly the crashes that mattered."""
    config, cmdline = case.production, case.facts.cmdline
    if not config.on("PSTORE_RAM") or config.on("PSTORE_CONSOLE"):
        return
    if not list(case.on_either("crash_kexec_post_notifiers", config, cmdline)):
        yield Hit("PSTORE_RAM is set, PSTORE_CONSOLE is not", config.where("PSTORE_RAM"))


@rule(
    "KD014", Severity.ERROR, "The production kernel ignores the boot loader's crashkernel=",
    needs=(Input.PRODUCTION,),
    advice="Turn CONFIG_CMDLINE_FORCE off, or put crashkernel= into CONFIG_CMDLINE.",
    source="Linux, drivers/of/fdt.c, early_init_dt_scan_chosen(); arch/arm/Kconfig and arch/arm64/Kconfig",
)  # fmt: skip
def forced_cmdline(case: Case) -> Iterator[Hit]:
    """With CMDLINE_FORCE the kernel takes its built-in command line and nothing else. A crashkernel= that is added in
    the boot loader has no effect, and /proc/cmdline is the only place that shows it."""
    config = case.production
    if config.on("CMDLINE_FORCE") and not Cmdline(config.value("CMDLINE")).values("crashkernel"):
        yield Hit("CMDLINE_FORCE is set, and CMDLINE has no crashkernel=", config.where("CMDLINE_FORCE", "CMDLINE"))


def _at_boot(case: Case, name: str) -> tuple[str, str]:
    """Return a sysctl's value at boot and where it is set: on the command line, else in the root file system."""
    cmdline = case.facts.cmdline
    if cmdline is not None and (value := cmdline.value(f"sysctl.{name}")) is not None:
        return value, cmdline.name
    return case.rootfs.sysctls.get(name, ("", ""))


def _sysctl(case: Case, name: str, *values: str) -> bool:
    """Whether the product's root file system sets a sysctl at boot: to one of ``values``, or to anything but 0."""
    if case.facts.rootfs is None:
        return False
    value = case.facts.rootfs.sysctls.get(name, ("", ""))[0]
    return value in values if values else value not in ("", "0")
