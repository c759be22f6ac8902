"""The hardware: CPUs, watchdogs, the console."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdumpbuild.checks import tables
from kdumpbuild.checks.model import Hit, Input, Severity, rule
from kdumpbuild.resources import STUCK_CPU_PATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.checks.facts import Case
    from kdumpbuild.checks.tables import WatchdogDriver

_ONE_CPU_INTERRUPTED = ("brcm,bcm2836", "brcm,bcm2837")


@rule(
    "KD080", Severity.ERROR, "This board's CPUs cannot be switched off, so kexec refuses to load",
    needs=(Input.DTB, Input.PRODUCTION), arches=("arm",),
    advice="Boot the production kernel with nr_cpus=1, or use firmware with PSCI.",
    source="Linux, arch/arm/kernel/machine_kexec.c, machine_kexec_prepare(); smp_operations without cpu_kill in "
    "arch/arm/mach-*/platsmp*.c; experiments on QEMU vexpress-a9, raspi2b and ast2600-evb",
)  # fmt: skip
def no_cpu_kill(case: Case) -> Iterator[Hit]:
    """An arm kernel with more than one possible CPU loads a kexec image only if the platform can stop a CPU for good.
    Thirty platforms cannot, among them the 32-bit Raspberry Pi 2 and 3, Exynos 4, LS1021A, AST2600 and Allwinner A31:
    kexec -p says "Invalid argument", and nothing more."""
    config, tree = case.production, case.dtb
    if not config.on("SMP") or len(tree.cpus) < 2 or _one_cpu(case):
        return
    where = config.where("HOTPLUG_CPU", "SMP")
    if not config.on("HOTPLUG_CPU"):
        yield Hit(f"HOTPLUG_CPU is not set, and the tree has {len(tree.cpus)} CPUs", where,
                  advice="Set CONFIG_HOTPLUG_CPU=y, or boot the production kernel with nr_cpus=1.")  # fmt: skip
        return
    methods = {method for method in tree.cpus if method}
    if "psci" in methods and tree.psci:
        return
    bad = sorted(methods & tables.NO_CPU_KILL_METHODS)
    machines = [c for c in tree.compatible if c in tables.NO_CPU_KILL_MACHINES]
    if bad:
        yield Hit(f"its CPUs are started by {bad[0]}, which cannot stop them", tree.name)
    elif machines and not methods:
        yield Hit(f"{machines[0]} cannot stop its CPUs", tree.name)


@rule(
    "KD081", Severity.INFO, "A CPU that hangs with interrupts off costs the dump",
    needs=(Input.PRODUCTION,), arches=("arm",),
    advice="Let a hardware watchdog reset the board, and ramoops keep the log of such a crash; or build the production "
    f'kernel with the patch that ships for this: production.patches = ["{STUCK_CPU_PATCH}"].',
    source="Linux, arch/arm/kernel/machine_kexec.c: BUG_ON(num_online_cpus() > 1), 5.10 to 7.2; experiment with a "
    "buddy hard-lockup detector",
)  # fmt: skip
def hard_lockup(case: Case) -> Iterator[Hit]:
    """On 32-bit ARM the other CPUs must answer an interrupt before the capture kernel is started. One that hangs with
    interrupts off does not, and machine_kexec() ends in a BUG: the board reboots without a dump. arm64 only warns."""
    config, board = case.production, case.facts.board
    if board is not None and STUCK_CPU_PATCH in board.production.patches:
        return
    if config.on("SMP") and not _one_cpu(case) and not (case.facts.dtb is not None and len(case.dtb.cpus) == 1):
        yield Hit("SMP is set", config.where("SMP"))


@rule(
    "KD082", Severity.WARNING, "CPUs that wait in a spin-table cannot be stopped",
    needs=(Input.DTB,), arches=("arm64",),
    advice="Use firmware with PSCI, or prove the board by a real crash; if that hangs, run production with nr_cpus=1.",
    source="raspberrypi/linux issue 6428 (RPi 3, capture kernel does not start); kexec list 2019-12-03 (RPi 4, "
    '"CPUs are stuck in the kernel")',
)  # fmt: skip
def spin_table(case: Case) -> Iterator[Hit]:
    """arm64 stops the other CPUs through PSCI's CPU_OFF. With enable-method spin-table there is no way back into the
    firmware: the CPUs go on spinning in the crashed kernel's memory, "Some CPUs may be stale", and capture kernels
    were seen not to start."""
    count = sum(method == "spin-table" for method in case.dtb.cpus)
    if count and len(case.dtb.cpus) > 1 and not _one_cpu(case):
        yield Hit(f"{count} CPUs have enable-method spin-table", case.dtb.name)


@rule(
    "KD089", Severity.ERROR, "A capture kernel on another CPU than the first gets no interrupts",
    needs=(Input.DTB, Input.PRODUCTION),
    advice="Boot the production kernel with nr_cpus=1; or let a hardware watchdog end the captures that hang, and have "
    "the dumps of the first CPU alone.",
    source="Linux, drivers/irqchip/irq-bcm2836.c never writes LOCAL_GPU_ROUTING; experiment on QEMU raspi3b: a crash "
    "on CPU 1 hangs the capture kernel, one on CPU 0 is captured",
)  # fmt: skip
def first_cpu_only(case: Case) -> Iterator[Hit]:
    """A capture kernel starts on the CPU that crashed. On the BCM2836 and BCM2837 of the Raspberry Pi 2 and 3 all
    peripherals interrupt one CPU, the first: on any other one the SD card's controller waits for ever."""
    machines = [name for name in case.dtb.compatible if name in _ONE_CPU_INTERRUPTED]
    if machines and case.production.on("SMP") and len(case.dtb.cpus) > 1 and not _one_cpu(case):
        yield Hit(f"{machines[0]} has {len(case.dtb.cpus)} CPUs, and its peripherals interrupt one", case.dtb.name)


@rule(
    "KD083", Severity.ERROR, "The watchdog resets the board before the dump is saved",
    needs=(Input.DTB, Input.CAPTURE),
    advice="Build the watchdog's driver into the capture kernel (=y).",
    source="Linux, drivers/watchdog: a panic does not stop a watchdog; openSUSE/kdump issue 23, ClusterLabs/sbd 86",
)  # fmt: skip
def no_watchdog_driver(case: Case) -> Iterator[Hit]:
    """A hardware watchdog that the boot loader or the production kernel started goes on counting through the panic.
    A capture kernel without its driver cannot feed it, and the board resets in the middle of the dump."""
    config = case.capture
    board = case.facts.board
    severity = None if board is not None and board.watchdog is not None else Severity.WARNING
    for path, driver in _watchdogs(case):
        if not config.builtin(driver.symbol) or not config.builtin("WATCHDOG"):
            value = "a module" if config.value(driver.symbol) == "m" else "not set"
            what = f"{driver.symbol} is {value}, and the tree has {path}"
            yield Hit(what, config.where(driver.symbol, "WATCHDOG"), severity=severity)


@rule(
    "KD084", Severity.WARNING, "The kernel does not know that this watchdog is running",
    needs=(Input.DTB, Input.CAPTURE),
    advice="Open /dev/watchdog first thing in the capture system's init.",
    source="Linux 6.12, drivers/watchdog: drivers that never set WDOG_HW_RUNNING",
)  # fmt: skip
def silent_watchdog(case: Case) -> Iterator[Hit]:
    """The kernel feeds a watchdog that was running at boot until user space does, if the driver says that it runs.
    Those of Zynq, Tegra, AT91SAM9, Meson 8 and some others never do: until init opens it, nobody feeds it."""
    for path, driver in _watchdogs(case):
        if not driver.reports_running and case.capture.builtin(driver.symbol):
            yield Hit(f"{driver.symbol} never says so ({path})", case.capture.where(driver.symbol))


@rule(
    "KD085", Severity.ERROR, "The capture kernel does not feed a running watchdog",
    needs=(Input.CAPTURE,),
    advice="Set CONFIG_WATCHDOG_HANDLE_BOOT_ENABLED=y, and no pretimeout governor that panics.",
    source="Linux, drivers/watchdog/watchdog_dev.c and watchdog_pretimeout.c",
)  # fmt: skip
def boot_enabled(case: Case) -> Iterator[Hit]:
    """WATCHDOG_HANDLE_BOOT_ENABLED makes the kernel feed a watchdog that it found running, until user space opens it.
    A pretimeout governor that panics turns a late feeder into the end of the capture."""
    config, cmdline = case.capture, case.facts.capture_cmdline
    if not config.on("WATCHDOG"):
        return
    if not config.on("WATCHDOG_HANDLE_BOOT_ENABLED"):
        asked = cmdline.value("watchdog.handle_boot_enabled") if cmdline is not None else None
        if asked not in ("1", "y", "Y"):
            where = config.where("WATCHDOG_HANDLE_BOOT_ENABLED", "WATCHDOG")
            yield Hit("WATCHDOG_HANDLE_BOOT_ENABLED is not set", where)
    elif cmdline is not None and cmdline.value("watchdog.handle_boot_enabled") in ("0", "n", "N"):
        yield Hit("watchdog.handle_boot_enabled=0", cmdline.name)
    if config.on("WATCHDOG_PRETIMEOUT_DEFAULT_GOV_PANIC"):
        what = "WATCHDOG_PRETIMEOUT_DEFAULT_GOV_PANIC is set"
        yield Hit(what, config.where("WATCHDOG_PRETIMEOUT_DEFAULT_GOV_PANIC"), severity=Severity.WARNING)


@rule(
    "KD086", Severity.WARNING, "The capture kernel's console is not the board's",
    needs=(Input.DTB, Input.CAPTURE_CMDLINE),
    advice="Take the console from the device tree's stdout-path, and build its driver in.",
    source="Linux, drivers/tty/serial",
)  # fmt: skip
def console(case: Case) -> Iterator[Hit]:
    """What a failed capture says on its console is often the only trace. With the wrong tty, or without the driver,
    it says nothing."""
    tree, cmdline = case.dtb, case.capture_cmdline
    driver = next((tables.consoles()[c] for c in tree.stdout_compatible if c in tables.consoles()), None)
    asked = cmdline.values("console")
    if not asked:
        if not tree.stdout_path:
            yield Hit("there is neither console= nor a stdout-path", cmdline.name)
    elif driver is not None:
        names = {re.split(r"[\d,]", value)[0] for value in asked}
        # Both drivers of OMAP's and ns16550's ports exist under two names; earlycon has its own.
        if driver.tty not in names and not {"ttyO", "ttyS"} >= {driver.tty, *names}:
            yield Hit(f"console={asked[-1]}, but {tree.stdout_path} is a {driver.tty}", cmdline.name)
    config = case.facts.capture
    if driver is not None and config is not None:
        for symbol in (driver.symbol, driver.console_symbol):
            if not config.builtin(symbol):
                yield Hit(f"{symbol} is not set", config.where(symbol))


def _one_cpu(case: Case) -> bool:
    """Whether the production kernel is told to use one CPU. maxcpus= is not enough: the others stay possible."""
    cmdline = case.facts.cmdline
    return cmdline is not None and (cmdline.value("nr_cpus") == "1" or "nosmp" in cmdline)


def _watchdogs(case: Case) -> Iterator[tuple[str, WatchdogDriver]]:
    """Yield path and driver of each watchdog in the tree that has a driver we know; each driver once."""
    known = tables.watchdogs()
    seen: set[str] = set()
    for path, compatible in case.dtb.watchdogs:
        driver = next((known[c] for c in compatible if c in known), None)
        if driver is not None and driver.symbol not in seen:
            seen.add(driver.symbol)
            yield path, driver
