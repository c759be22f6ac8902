"""The serial console of the test machine: a clock for the report, and a witness when the test has failed.

Whether the test passed is never decided here: that is read from the disk and from the dump.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from kdumpbuild.crashtest.protocol import SAY_BACK, SAY_DONE, SAY_TRIGGER

_BOOT = re.compile(r"Booting Linux on physical CPU")
_CRASH = re.compile(
    r"Kernel panic - not syncing|Unable to handle kernel|Internal error: |kernel BUG at|Unhandled (prefetch|fault)"
)
_DMESG = re.compile(r"kdump: dmesg committed")
_VMCORE = re.compile(r"kdump: vmcore committed")

MAX_LINES = 50_000
MAX_BOOTS = 3
"""Production, capture, production. One more and the machine is in a loop."""
_GRACE = 3.0
"""Seconds that the machine has to power off once it said that it is done. Many boards cannot: their kernel panics
instead, and would start once more."""
_JUMP = 180.0
"""Seconds from the crash to the first line of the next kernel: about one second where kdump works, and longer than
panic= and a hardware watchdog take where it does not."""


@dataclass(frozen=True)
class Line:
    """One line of the console."""

    at: float
    """Seconds since QEMU was started, on the host's clock."""
    text: str
    boot: int
    """0 before any kernel has said a word, then the kernel's number: 1 production, 2 capture, 3 production."""


@dataclass
class Console:
    """Collects lines as they come, and knows when there is nothing left to wait for."""

    lines: list[Line] = field(default_factory=list)
    boots: int = 0
    stopped: str = ""
    """Why the machine was told to end before its time: ``done``, ``loop`` (of boots) or ``flood`` (of output)."""
    _triggered: bool = False
    _crashed: bool = False

    def __call__(self, at: float, text: str) -> float | None:
        """Take a line. Return the seconds that the machine may still run, when that is known now."""
        if len(self.lines) >= MAX_LINES:
            self.stopped = "flood"
            return 0.0
        booting = _BOOT.search(text) is not None
        self.boots += booting
        self.lines.append(Line(at, text[:1000], self.boots))
        if self.boots > MAX_BOOTS:
            self.stopped = "loop"
            return 0.0
        if SAY_DONE in text:
            self.stopped = "done"
            return _GRACE
        if self.boots == 1 and SAY_TRIGGER in text:
            self._triggered = True
        elif self._triggered and not self._crashed and _CRASH.search(text):
            self._crashed = True
            return _JUMP
        return math.inf if booting else None

    def of_boot(self, boot: int) -> list[str]:
        """Return what one kernel printed."""
        return [line.text for line in self.lines if line.boot == boot]

    def first(self, pattern: re.Pattern[str], *, boot: int | None = None, after: float = 0.0) -> Line | None:
        """Return the first line with a match, of one kernel if asked for, not before a time."""
        return next(
            (
                line
                for line in self.lines
                if line.at >= after and boot in (None, line.boot) and pattern.search(line.text)
            ),
            None,
        )

    @property
    def crash(self) -> Line | None:
        """The first line of the crash, after the trigger."""
        trigger = self.first(re.compile(re.escape(SAY_TRIGGER)), boot=1)
        return self.first(_CRASH, boot=1, after=trigger.at if trigger else 0.0)


@dataclass(frozen=True)
class Times:
    """Seconds from the first line of the crash, on the host's clock; None for what never happened."""

    capture: float | None
    """To the first line of the capture kernel."""
    dmesg: float | None
    """To the committed dmesg."""
    vmcore: float | None
    """To the committed vmcore."""
    back: float | None
    """To the production system's being up again."""
    total: float
    """From the start of QEMU to its end."""


def times(console: Console, total: float) -> Times:
    """Return when each step of the crash was reached."""
    crash = console.crash

    def since(pattern: re.Pattern[str], boot: int) -> float | None:
        line = console.first(pattern, boot=boot, after=crash.at) if crash else None
        return line.at - crash.at if line and crash else None

    return Times(
        capture=since(_BOOT, 2),
        dmesg=since(_DMESG, 2),
        vmcore=since(_VMCORE, 2),
        back=since(re.compile(re.escape(SAY_BACK)), 3),
        total=total,
    )
