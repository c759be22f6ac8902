"""Why a crash test failed: the console, read as a witness once the verdict stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.board.size import format_size, human
from kdumpbuild.crashtest.protocol import SAY_NO_DISK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdumpbuild.crashtest.console import Console
    from kdumpbuild.crashtest.protocol import BootRecord

TAIL_LINES = 20


@dataclass(frozen=True)
class Diagnosis:
    """What went wrong, for people and for programs."""

    code: str
    """One of the codes that docs/crashtest.md lists."""
    what: str
    why: str = ""
    hint: str = ""
    boot: int = 0
    """The kernel whose last words tell most: 1 production, 2 capture; 0 for whoever spoke last."""


@dataclass(frozen=True)
class Witness:
    """What is known of a run apart from the dump."""

    console: Console
    first: BootRecord | None
    second: BootRecord | None
    load_log: str
    attempt: Mapping[str, str]
    """What the capture system left about its work: ``stage`` and ``reason``."""
    crashkernel: int
    """Bytes that were asked for."""
    in_time: bool
    """Whether QEMU ended by itself."""
    seconds: float
    """How long it ran."""
    status: int
    """QEMU's exit status."""
    root: str = ""
    """The product's partition that the capture system runs from; empty for an initramfs."""

    @property
    def timed_out(self) -> str:
        """That the deadline ended the test, in words; empty when something else did."""
        return "" if self.in_time or self.console.stopped else f"the test was ended after {self.seconds:.0f} s"


_NO_MEMORY = tuple(
    re.compile(pattern)
    for pattern in (
        r"Initramfs unpacking failed: write error",
        r"decompressor ran out of memory",
        r"Initramfs unpacking failed: .*(out of|no) memory",
        r"System is deadlocked on memory",
        r"Out of memory( and no killable processes|: Killed process)?",
        r"invoked oom-killer",
        r"Failed to allocate .* for",
        r"page allocation failure",
        r"Cannot allocate memory",
        r"memblock_alloc.*: Failed to allocate",
    )
)
# These follow from a lack of memory and, without one of the above before them, from other faults.
_NO_USERLAND = re.compile(r"No working init found|Unable to mount root fs|Requested init .* failed")
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
_NO_DUMP_TARGET = re.compile(r"kdump: failed: dump target ")
_CAPTURE_SAID = re.compile(r"\bkdump: (.*)")
_FAILED = re.compile(r"kdump: failed: ")
_STUCK_CPU = re.compile(r"kernel BUG at arch/arm/kernel/machine_kexec\.c")
_JUMPED = re.compile(r"Starting crashdump kernel|Loading crashdump kernel|Bye!")
_RESERVATION = re.compile(r"crashkernel.*(reserv|fail|No suitable|invalid)|[Rr]eserv.*crash kernel", re.IGNORECASE)
_CAPTURE = 2


def diagnose(witness: Witness) -> Diagnosis:
    """Return why no dump came of a run, the earliest reason first."""
    return (
        _before_the_crash(witness)
        or _at_the_crash(witness)
        or _in_the_capture_kernel(witness)
        or _after_the_capture(witness)
        or Diagnosis(
            "no-dump", "no dump was committed, and the capture system did not say why",
            why=_said(witness.console), hint="read the whole console log", boot=_CAPTURE,
        )
    )  # fmt: skip


def _before_the_crash(w: Witness) -> Diagnosis | None:
    console = w.console
    if w.first is None:
        target = next((line.text for line in console.lines if SAY_NO_DISK in line.text), None)
        if target is not None:
            return Diagnosis(
                "no-dump-target", "the production system does not find the dump target",
                why=target.strip(),
                hint="the [dump] device and filesystem of the board file, what the production kernel has built in,\n"
                     "and [machine] disk have to speak of the same disk",
            )  # fmt: skip
        panic = console.first(_PANIC, boot=1)
        if panic is not None:
            return Diagnosis(
                "no-boot", "the production kernel ended before its first process was up", why=panic.text.strip(),
                hint="the crash test needs BLK_DEV_INITRD, RD_GZIP, DEVTMPFS, PROC_FS, SYSFS and the disk's driver",
            )  # fmt: skip
        if _lost(w):
            return _lost_machine(w)
        return Diagnosis(
            "no-boot",
            "the production kernel did not bring up its first process"
            if console.boots else "the production kernel printed nothing",
            why=w.timed_out,
            hint="" if console.boots else "is [capture] console the machine's serial port, and its driver built in?",
        )  # fmt: skip
    if w.first.reserved == 0:
        line = console.first(_RESERVATION, boot=1)
        return Diagnosis(
            "no-reservation", f"the production kernel has not reserved {format_size(w.crashkernel)}",
            why=line.text.strip() if line else "it printed nothing about crashkernel=",
            hint="the kernel needs CRASH_RESERVE (with CRASH_DUMP=y since 6.9); on 32-bit ARM the region has to fit,\n"
                 "aligned to 128 MiB, below the end of lowmem, beside the kernel and its initramfs",
        )  # fmt: skip
    if not w.first.loaded or w.first.load_status not in (0, None):
        status = "" if w.first.load_status is None else f", exit code {w.first.load_status}"
        return Diagnosis(
            "load-failed", f"the capture kernel was not loaded: kdump-load failed{status}",
            why=_indent(w.load_log.strip().splitlines()[-TAIL_LINES:]) or "it printed nothing",
            hint="what it printed names the cause; docs/capture-system.md lists its exit codes",
        )  # fmt: skip
    if w.first.no_trigger:
        return Diagnosis(
            "no-trigger", "the production kernel has not got the trigger's file",
            hint="build it with MAGIC_SYSRQ, and with DEBUG_FS and LKDTM for the lkdtm triggers",
        )  # fmt: skip
    if w.first.returned:
        return Diagnosis(
            "trigger-returned", "the trigger came back without a crash",
            hint="does the kernel's config have the trigger, and does it panic on an oops?",
        )  # fmt: skip
    return None


def _at_the_crash(w: Witness) -> Diagnosis | None:
    console = w.console
    stuck = console.first(_STUCK_CPU)
    if stuck is not None:
        return Diagnosis(
            "stuck-cpu", "the crashed kernel could not start the capture kernel: another processor did not stop",
            why=stuck.text.strip(), boot=1,
            hint="32-bit ARM starts a capture kernel only when every other processor has stopped\n"
                 "(Linux, machine_kexec() in arch/arm/kernel/machine_kexec.c)",
        )  # fmt: skip
    if console.boots >= _CAPTURE and not _is_production(w, _CAPTURE):
        return None
    if _lost(w):
        return _lost_machine(w)
    if console.crash is None:
        return Diagnosis(
            "no-crash", "the machine did not crash when it was told to",
            why=w.timed_out,
        )  # fmt: skip
    reached = console.first(_JUMPED, boot=1) is not None
    hint = (
        f"perhaps {format_size(w.crashkernel)} is too little for it to get that far, or its console= is wrong:\n"
        f"try a larger crashkernel= in the board file"
        if reached
        else "the production kernel crashed without using the loaded capture kernel"
    )
    return Diagnosis(
        "no-capture-kernel",
        "the capture kernel was started and printed nothing" if reached else "the capture kernel was never started",
        why=w.timed_out, hint=hint, boot=1,
    )  # fmt: skip


def _in_the_capture_kernel(w: Witness) -> Diagnosis | None:
    said = w.console.of_boot(_CAPTURE)
    memory = out_of_memory(said)
    if memory is not None:
        return Diagnosis(
            "out-of-memory", "the capture kernel ran out of memory",
            why=f"{memory}\n{human(w.crashkernel)} were reserved for it",
            hint=f"raise crashkernel= in the board file (now {format_size(w.crashkernel)}), "
                 "or make the capture system smaller",
            boot=_CAPTURE,
        )  # fmt: skip
    target = _match(said, _NO_DUMP_TARGET)
    if target is not None:
        there = "cannot mount" in target or "cannot write" in target
        return Diagnosis(
            "no-dump-target", f"the capture system {'cannot use' if there else 'does not find'} the dump target",
            why=target, boot=_CAPTURE,
            hint="its file system has to be whole, the one that the board file names, and built into the capture kernel"
            if there
            else "the capture kernel needs the driver of the disk, of its bus and of its file system built in",
        )  # fmt: skip
    panic = _match(said, _PANIC)
    if panic is not None:
        if not _NO_USERLAND.search(panic):
            hint = "the capture kernel crashed itself: read the console log above this line"
        elif w.root:
            hint = (
                f"it runs from {w.root} (capture.root): the kernel needs the drivers of that disk and its file system\n"
                "built in, and there have to be /bin/sh, chroot and usr/lib/kdumpbuild/capture-root on it"
            )
        else:
            hint = (
                "its initramfs was not unpacked or cannot run: does the kernel have RD_XZ, and what the userland\n"
                "needs (32-bit ARM: ARM_THUMB, VFP, AEABI)?"
            )
        return Diagnosis("capture-panic", "the capture kernel panicked", why=panic, hint=hint, boot=_CAPTURE)
    reason = w.attempt.get("reason") or _match(said, _FAILED)
    if reason:
        return Diagnosis(
            "capture-failed", "the capture system could not save the dump",
            why=f"it says: {reason.removeprefix('kdump: failed: ')}", hint="read what it printed, in the console log",
            boot=_CAPTURE,
        )  # fmt: skip
    return None


def _after_the_capture(w: Witness) -> Diagnosis | None:
    if _lost(w):
        return _lost_machine(w)
    if w.timed_out:
        return Diagnosis(
            "deadline", f"the test was not over after {w.seconds:.0f} s", why=_said(w.console),
            hint="a slow host needs a longer deadline; a machine that hangs needs a look at the console log",
        )  # fmt: skip
    return None


def no_return(w: Witness) -> Diagnosis:
    """Return why the machine did not come back to production after its dump was committed."""
    if _lost(w):
        return _lost_machine(w)
    if w.console.boots < _CAPTURE + 1:
        why = _said(w.console)
        return Diagnosis(
            "no-reboot", "the machine did not reboot after the dump was saved", why=why, boot=_CAPTURE,
            hint="the capture kernel needs the machine's reset driver (POWER_RESET_*, PSCI), and panic= on its\n"
                 "command line",
        )  # fmt: skip
    return Diagnosis(
        "no-production", "the machine rebooted and the production system did not come up again",
        why=w.timed_out,
        hint="is something left in a state that only a power cycle clears?",
    )  # fmt: skip


def out_of_memory(lines: Sequence[str]) -> str | None:
    """Return the line in which a kernel says that it ran out of memory."""
    return next((line.strip() for line in lines for pattern in _NO_MEMORY if pattern.search(line)), None)


def tail(console: Console, boot: int = 0) -> str:
    """Return the end of what one kernel printed, or of everything, each line behind a bar."""
    return _indent([line.text for line in console.lines if boot in (0, line.boot)][-TAIL_LINES:])


def _is_production(w: Witness, boot: int) -> bool:
    """Whether a boot is the production kernel's again: the capture kernel never says our init's words."""
    return any("crashtest: " in text for text in w.console.of_boot(boot))


def _lost(w: Witness) -> bool:
    return w.in_time and w.status != 0


def _lost_machine(w: Witness) -> Diagnosis:
    how = f"signal {-w.status}" if w.status < 0 else f"exit code {w.status}"
    return Diagnosis(
        "machine-lost", f"QEMU ended in the middle of the test, with {how}",
        hint="this says nothing about the board: look at what QEMU printed, at free memory and disk space, and repeat",
    )  # fmt: skip


def _said(console: Console) -> str:
    """Return the last words of the capture system."""
    lines = [m[0] for text in console.of_boot(_CAPTURE) if (m := _CAPTURE_SAID.search(text))]
    return _indent(lines[-5:])


def _match(lines: Sequence[str], pattern: re.Pattern[str]) -> str | None:
    return next((line.strip() for line in lines if pattern.search(line)), None)


def _indent(lines: Sequence[str]) -> str:
    return "\n".join(f"| {line}" for line in lines)
