"""What crashes the machine under test, and what each leaves behind in the dump."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdumpbuild.errors import Fault, UserError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

_LKDTM = "/sys/kernel/debug/provoke-crash"


@dataclass(frozen=True)
class Trigger:
    """One way to crash a kernel."""

    name: str
    title: str
    file: str
    """The file in the target whose writing crashes it."""
    text: str
    """What is written to it."""
    functions: tuple[str, ...]
    """Functions of the kernel of which one is on the stack of the task of ``seat``; empty to ask for none."""
    cause: re.Pattern[str]
    """The line of the kernel log that tells of the crash."""
    config: str
    """The option of the production kernel that it needs."""
    how: str = "write"
    """``write``; ``twice``, from one task; ``every-cpu``, from a task on each; ``fill``: ``file`` until memory ends;
    ``kdump-ctl``: its ``test``."""
    seat: str = "crashed"
    """The task that has the test's name: the ``crashed`` one; one that is ``named`` somewhere in the dump, when a
    detector crashed another; ``any``, when the crash came in an interrupt of whatever ran."""
    poke: str = ""
    """A virtual terminal whose LED is set each second meanwhile: a tasklet does that (drivers/tty/vt/keyboard.c)."""
    wait: int = 0
    """Seconds in which the crash comes after the trigger has returned."""
    outlives_watchdog: bool = False
    """Whether the capture is held until an unfed watchdog would have reset the machine."""


_NULL = re.compile(r"Unable to handle kernel NULL pointer dereference")
_SOFT = re.compile(r"Kernel panic - not syncing: softlockup: hung tasks")
_HARD = re.compile(r"Kernel panic - not syncing: Hard LOCKUP")
_RCU = re.compile(r"Kernel panic - not syncing: RCU Stall")
_WORKQUEUE = re.compile(r"BUG: workqueue lockup|Kernel panic - not syncing: workqueue")


def _lkdtm(name: str, title: str, text: str, cause: re.Pattern[str], **more: Any) -> Trigger:
    return Trigger(f"lkdtm-{name}", title, **{
        "file": f"{_LKDTM}/DIRECT", "text": text, "functions": (f"lkdtm_{text}",), "cause": cause, "config": "LKDTM",
        **more,
    })  # fmt: skip


def _in_interrupt(
    name: str, title: str, point: str, function: str, text: str, cause: re.Pattern[str], **more: Any,
) -> Trigger:  # fmt: skip
    """LKDTM arms a probe, and the tenth call of the function that it is on crashes."""
    return _lkdtm(
        name, title, text, cause, file=f"{_LKDTM}/{point}", functions=(f"lkdtm_{text}", function), config="KPROBES",
        seat="any", wait=30, **more,
    )  # fmt: skip


TRIGGERS: dict[str, Trigger] = {
    trigger.name: trigger
    for trigger in (
        Trigger(
            "sysrq", "panic through SysRq",
            "/proc/sysrq-trigger", "c", ("sysrq_handle_crash",),
            re.compile(r"Kernel panic - not syncing: sysrq triggered crash"), "MAGIC_SYSRQ",
        ),
        Trigger(
            "kdump-ctl", "kdump-ctl test, as an engineer would",
            "/proc/sysrq-trigger", "", ("sysrq_handle_crash",),
            re.compile(r"Kernel panic - not syncing: sysrq triggered crash"), "MAGIC_SYSRQ",
            how="kdump-ctl", seat="any",
        ),
        Trigger(
            "watchdog", "panic through SysRq, and a capture that takes longer than the watchdog's timeout",
            "/proc/sysrq-trigger", "c", ("sysrq_handle_crash",),
            re.compile(r"Kernel panic - not syncing: sysrq triggered crash"), "MAGIC_SYSRQ", outlives_watchdog=True,
        ),
        _lkdtm("panic", "panic called by LKDTM", "PANIC", re.compile(r"Kernel panic - not syncing: dumptest")),
        _lkdtm("null", "read through a NULL pointer by LKDTM", "ACCESS_NULL", _NULL),
        _lkdtm("exception", "write through a NULL pointer by LKDTM", "EXCEPTION", _NULL),
        _lkdtm("bug", "BUG() by LKDTM", "BUG", re.compile(r"kernel BUG at|Internal error: Oops - BUG")),
        _lkdtm(
            "warning", "WARN() where a warning panics", "WARNING",
            re.compile(r"Kernel panic - not syncing: kernel: panic_on_warn set|panic_on_warn set"),
            # It calls warn_slowpath_fmt() as its last act, and a compiler may make a jump of that.
            functions=("lkdtm_WARNING", "lkdtm_do_action"),
        ),
        _lkdtm(
            "stack", "endless recursion", "EXHAUST_STACK",
            re.compile(r"stack overflow|Insufficient stack space|Unable to handle kernel", re.IGNORECASE),
            # arm's memset() is assembler without call frame information: no debugger sees its callers.
            functions=("recursive_loop", "lkdtm_EXHAUST_STACK", "__memset"),
        ),
        _lkdtm(
            "write-text", "write into the kernel's own text", "WRITE_KERN",
            re.compile(r"Unable to handle kernel (write to read-only memory|paging request)"),
            functions=("lkdtm_WRITE_KERN", "__memcpy", "__pi_memcpy"),  # as above
        ),
        _in_interrupt(
            "null-in-interrupt", "write through a NULL pointer in a hardware interrupt",
            "INT_HW_IRQ_EN", "handle_irq_event", "EXCEPTION", _NULL,
        ),
        _in_interrupt(
            "null-in-tasklet", "write through a NULL pointer in a tasklet",
            "INT_TASKLET_ENTRY", "tasklet_action", "EXCEPTION", _NULL, poke="/dev/tty1",
        ),
        _in_interrupt(
            "bug-in-interrupt", "BUG() in a hardware interrupt",
            "INT_HW_IRQ_EN", "handle_irq_event", "BUG", re.compile(r"kernel BUG at|Internal error: Oops - BUG"),
        ),
        _in_interrupt(
            "panic-in-interrupt", "panic called in a hardware interrupt",
            "INT_HW_IRQ_EN", "handle_irq_event", "PANIC", re.compile(r"Kernel panic - not syncing: dumptest"),
        ),
        _lkdtm(
            "hung-task", "a task that sleeps uninterruptibly for ever", "HUNG_TASK",
            re.compile(r"Kernel panic - not syncing: hung_task: blocked tasks"), seat="named",
        ),
        Trigger(
            "oom", "memory used up, where that panics",
            "/fill/memory", "", ("out_of_memory",), re.compile(r"Kernel panic - not syncing: Out of memory"),
            "TMPFS", how="fill", seat="any",
        ),
        _lkdtm(
            "rcu-stall", "a loop that holds up RCU, no other detector set", "SOFTLOCKUP", _RCU,
            seat="named", functions=(),
        ),
        _lkdtm(
            "workqueue-stall", "a loop that holds up a workqueue, no other detector set", "SOFTLOCKUP", _WORKQUEUE,
            seat="named", functions=(),
        ),
        # The panic comes in the timer's interrupt: on 32-bit ARM drgn's stack ends where the interrupt's own begins.
        _lkdtm("softlockup", "a loop in the kernel", "SOFTLOCKUP", _SOFT, functions=()),
        _lkdtm(
            "spinlock", "a spinlock taken twice", "SPINLOCKUP", re.compile(f"{_SOFT.pattern}|{_RCU.pattern}"),
            how="twice", functions=(),
        ),
        _lkdtm("hardlockup", "a loop with interrupts off", "HARDLOCKUP", _HARD, seat="named", functions=()),
        _lkdtm(
            "smp-call-lockup", "a call to another CPU that never returns", "SMP_CALL_LOCKUP",
            re.compile(f"{_HARD.pattern}|{_SOFT.pattern}|{_RCU.pattern}"), seat="named", functions=(),
        ),
        _lkdtm(
            "all-cpus", "a loop with interrupts off on every CPU", "HARDLOCKUP", _HARD,
            how="every-cpu", seat="named", functions=(),
        ),
    )
}  # fmt: skip


def find_triggers(names: Iterable[str]) -> tuple[Trigger, ...]:
    """Return the triggers of these names. Raises UserError for every name that there is none of."""
    wanted = tuple(names)
    faults = [
        Fault(f"there is no trigger {name}", where="TRIGGER", hint=nearest(name, TRIGGERS))
        for name in wanted
        if name not in TRIGGERS
    ]
    if faults:
        raise UserError(*faults)
    return tuple(TRIGGERS[name] for name in wanted)
