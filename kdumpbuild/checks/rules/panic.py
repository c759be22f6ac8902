"""What ends in a panic, and the other ways to keep a log: the board file against the product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.board import logs
from kdumpbuild.board.panic import CONDITIONS, missing
from kdumpbuild.checks.model import Hit, Input, Severity, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.board.panic import Condition
    from kdumpbuild.checks.facts import Case

# Arguments that turn a detector off, by the condition: kernel/watchdog.c.
_OFF = {
    "soft_lockup": (("nowatchdog", None), ("nosoftlockup", None)),
    "hard_lockup": (("nowatchdog", None), ("nmi_watchdog", "0"), ("nmi_watchdog", "nopanic")),
}


@rule(
    "KD100", Severity.WARNING, "The board file asks for a panic that this kernel cannot have",
    needs=(Input.BOARD, Input.PRODUCTION, Input.KERNEL),
    advice="Take the condition out of [panic], use a later kernel, or let a hardware watchdog stand in for it.",
    source="Linux 5.10, 6.1, 6.12 and 7.2: lib/Kconfig.debug, kernel/watchdog.c, workqueue.c, rcu/Kconfig",
)  # fmt: skip
def impossible(case: Case) -> Iterator[Hit]:
    """Detectors came to ARM one after the other: hard lockups with 6.5, a panic on workqueue stalls with 6.12. A
    kernel for one CPU has neither a neighbour that notices a hard lockup nor an RCU that notices stalls. Arguments and
    sysctls for what a kernel has not got are ignored without a word."""
    config, board = case.production, case.board
    values = {f"CONFIG_{symbol}": value for symbol, value in config.values.items()}
    for one in missing(board.panic, case.kernel, values):
        yield Hit(one.what, f"{board.path}:{one.line}")


@rule(
    "KD101", Severity.WARNING, "The hardware watchdog is faster than the detectors",
    needs=(Input.BOARD,),
    advice="Give the watchdog a timeout longer than the detectors need, with time for the capture kernel to start, or "
    "shorten panic.lockup_seconds.",
    source="Linux, kernel/watchdog.c: a soft lockup is found after two periods, looked for five times in each",
)  # fmt: skip
def fast_watchdog(case: Case) -> Iterator[Hit]:
    """A CPU that loops may be the one that feeds the hardware watchdog. If that runs out before the lockup detector
    has acted, the board resets: no panic, no dump, and a log that ends in silence."""
    board = case.board
    need = board.panic.slowest
    if board.watchdog is not None and need and board.watchdog.timeout <= need:
        yield Hit(
            f"watchdog.timeout is {board.watchdog.timeout} s, the lockup detectors may need {need} s",
            f"{board.path}:{board.panic.line('lockup_seconds')}",
        )


@rule(
    "KD102", Severity.WARNING, "The product does not do what [panic] asks for",
    needs=(Input.BOARD, Input.PRODUCTION),
    advice="Install 60-kdump.conf of the image set as /etc/sysctl.d/60-kdump.conf, give the kernel the arguments of "
    "boot/arguments.txt, and take contradicting lines out of the product.",
    source="Linux, kernel/sysctl.c, kernel/panic.c, kernel/watchdog.c, kernel/hung_task.c",
)  # fmt: skip
def contradicted(case: Case) -> Iterator[Hit]:
    """Whether a condition panics is said in three places: the config has the default, the command line overrides it,
    and the last word has a sysctl that user space sets at boot. A distribution's own sysctl.d file, or an old
    nowatchdog on the command line, undoes what the board file asks for, and nobody notices before the first hang."""
    config, board = case.production, case.board
    for condition in CONDITIONS:
        # What the kernel cannot do at all is KD100's.
        if board.panic.asks_for(condition) and (not condition.symbol or config.on(condition.symbol)):
            yield from _judge(case, condition)


def _judge(case: Case, condition: Condition) -> Iterator[Hit]:
    """Yield what is wrong with one condition: the last word that is against it, or that nobody speaks for it."""
    config, key = case.production, f"panic.{condition.key}"
    for name, wanted in condition.sysctls[:1]:
        if case.facts.rootfs is not None and name in case.facts.rootfs.sysctls:
            value, where = case.facts.rootfs.sysctls[name]
            if value == "0":
                yield Hit(f"{key}: {name} = {value}, and {wanted} is asked for", where)
            return
    if case.facts.cmdline is not None:
        for off, off_value in _OFF.get(condition.key, ()):
            values = [*case.on_either(off, config, case.facts.cmdline)]
            if values and (off_value is None or off_value in values[0].split(",")):
                yield Hit(f"{key}: {off}{f'={values[0]}' if values[0] else ''} turns it off", case.cmdline.name)
                return
    words = [argument.partition("=")[::2] for argument in condition.arguments]
    for name, wanted in words:
        for value in case.on_either(name, config, case.facts.cmdline):
            if "{" not in wanted:
                if value == "0" or (not wanted.isdecimal() and wanted not in value.split(",")):
                    what = f"{key}: {name}={value} on the command line, and {name}={wanted} is asked for"
                    yield Hit(what, case.facts.cmdline.name if case.facts.cmdline is not None else config.name)
                return
    if config.value(condition.default) in ("n", "0", ""):
        argument = next(f"{name}={wanted}" for name, wanted in words if "{" not in wanted)
        yield Hit(f"{key}: nothing makes {condition.title} panic; {argument} would", config.where(condition.default))


@rule(
    "KD103", Severity.INFO, "What the other ways to keep a log trade",
    needs=(Input.BOARD,),
    advice="Choose with logs.before_dump which of the two comes first; prove the choice by doit crashtest.",
    source="Linux, kernel/panic.c (crash_kexec_post_notifiers), fs/pstore/blk.c, drivers/mtd/mtdoops.c",
)  # fmt: skip
def trades(case: Case) -> Iterator[Hit]:
    """kdump and the writers of crash records want the same moment. Without crash_kexec_post_notifiers the capture
    kernel is started before any record is written; with it, records come first, and a writer that hangs in the crashed
    kernel costs the dump."""
    for note in logs.notes(case.board.logs):
        yield Hit(note, str(case.board.path))


@rule(
    "KD104", Severity.ERROR, "The memory of ramoops is not set aside",
    needs=(Input.BOARD, Input.DTB),
    advice="Apply boot/ramoops.dtso of the image set to the device tree, or give U-Boot the compiled overlay.",
    source="Linux, Documentation/admin-guide/ramoops.rst",
)  # fmt: skip
def ramoops_memory(case: Case) -> Iterator[Hit]:
    """ramoops gets its memory from a node below /reserved-memory. Without one the driver never starts; with one at
    another place the board file and the product disagree, and the log is not where it is looked for."""
    ramoops, tree = case.board.logs.ramoops, case.booted_dtb
    if ramoops is None:
        return
    end = ramoops.base + ramoops.size
    if not any(r.base <= ramoops.base and end <= r.base + r.size for r in tree.reserved):
        yield Hit(f"no reserved memory covers {ramoops.base:#x} to {end - 1:#x}", tree.name)


@rule(
    "KD105", Severity.ERROR, "The capture kernel wipes what ramoops kept",
    needs=(Input.BOARD, Input.CAPTURE),
    advice="Turn PSTORE_RAM off in the capture kernel, or give it initcall_blacklist=ramoops_init and KALLSYMS.",
    source="Linux, fs/pstore/ram.c, ramoops_init_prz(): PRZ_FLAG_ZAP_OLD; init/main.c: initcall_blacklist requires "
    "KALLSYMS",
)  # fmt: skip
def wiped_ramoops(case: Case) -> Iterator[Hit]:
    """A capture kernel with ramoops finds the node of the production kernel's device tree, takes the same memory for
    its own console, and empties it first. The crashed kernel's last words are gone before anybody has read them."""
    if case.board.logs.ramoops is None or not case.capture.on("PSTORE_RAM"):
        return
    cmdline = case.facts.capture_cmdline
    blocked = [] if cmdline is None else [n for v in cmdline.values("initcall_blacklist") for n in v.split(",")]
    if "ramoops_init" not in blocked:
        yield Hit("PSTORE_RAM is set in the capture kernel", case.capture.where("PSTORE_RAM"))
    elif not case.capture.on("KALLSYMS"):
        what = "PSTORE_RAM is set in the capture kernel, and initcall_blacklist= does nothing without KALLSYMS"
        yield Hit(what, case.capture.where("PSTORE_RAM", "KALLSYMS"))
