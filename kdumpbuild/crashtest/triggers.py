"""What crashes the machine under test, and what each leaves behind in the dump."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.errors import Fault, UserError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

_LKDTM = "/sys/kernel/debug/provoke-crash/DIRECT"


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
    """Functions of the kernel of which one is on the crashed thread's stack."""
    cause: re.Pattern[str]
    """The line of the kernel log that tells of the crash."""
    config: str
    """The option of the production kernel that it needs."""
    outlives_watchdog: bool = False
    """Whether the capture is held until an unfed watchdog would have reset the machine."""


TRIGGERS: dict[str, Trigger] = {
    trigger.name: trigger
    for trigger in (
        Trigger(
            "sysrq", "panic through SysRq",
            "/proc/sysrq-trigger", "c", ("sysrq_handle_crash",),
            re.compile(r"Kernel panic - not syncing: sysrq triggered crash"), "MAGIC_SYSRQ",
        ),
        Trigger(
            "lkdtm-panic", "panic called by LKDTM",
            _LKDTM, "PANIC", ("lkdtm_PANIC",),
            re.compile(r"Kernel panic - not syncing: dumptest"), "LKDTM",
        ),
        Trigger(
            "lkdtm-null", "read through a NULL pointer by LKDTM",
            _LKDTM, "ACCESS_NULL", ("lkdtm_ACCESS_NULL",),
            re.compile(r"Unable to handle kernel NULL pointer dereference"), "LKDTM",
        ),
        Trigger(
            "lkdtm-exception", "write through a NULL pointer by LKDTM",
            _LKDTM, "EXCEPTION", ("lkdtm_EXCEPTION",),
            re.compile(r"Unable to handle kernel NULL pointer dereference"), "LKDTM",
        ),
        Trigger(
            "lkdtm-bug", "BUG() by LKDTM",
            _LKDTM, "BUG", ("lkdtm_BUG",),
            re.compile(r"kernel BUG at|Internal error: Oops - BUG"), "LKDTM",
        ),
        Trigger(
            "watchdog", "panic through SysRq, and a capture that takes longer than the watchdog's timeout",
            "/proc/sysrq-trigger", "c", ("sysrq_handle_crash",),
            re.compile(r"Kernel panic - not syncing: sysrq triggered crash"), "MAGIC_SYSRQ", outlives_watchdog=True,
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
