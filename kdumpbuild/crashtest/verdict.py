"""The verdict: what was expected of the crash, checked on the disk and in the dump."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kdumpbuild.analysis import Crash, open_dump
from kdumpbuild.board.size import format_size
from kdumpbuild.crashtest.diagnose import Diagnosis, diagnose, no_return
from kdumpbuild.errors import UserError
from kdumpbuild.formats.elf import build_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdumpbuild.analysis import Dump, Frame
    from kdumpbuild.crashtest.console import Times
    from kdumpbuild.crashtest.diagnose import Witness
    from kdumpbuild.crashtest.dumps import SavedDump
    from kdumpbuild.crashtest.standin import StandIn
    from kdumpbuild.crashtest.triggers import Trigger

RESULT_FORMAT = 1
"""Version of result.json."""


_INSIDE = ("dump opens", "crashed task is the test's", "stack holds the trigger", "dmesg in the dump tells the cause")


@dataclass(frozen=True)
class Check:
    """One thing that was expected."""

    name: str
    ok: bool | None
    """None when it could not be looked at, because something before it failed."""
    detail: str


@dataclass(frozen=True)
class Evidence:
    """What the machine left behind."""

    witness: Witness
    dumps: tuple[SavedDump, ...]
    """New dumps on the target; one is expected."""
    earlier: tuple[Mapping[str, str], Mapping[str, str]]
    """SHA-256 of each file of earlier dumps, before and after the crash."""
    vmlinux: Path
    trigger: Trigger
    marker: str
    watchdog: int = 0
    """Seconds after which the machine's watchdog resets it, when nobody feeds it; 0 for none."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one crash test."""

    board: str
    trigger: str
    marker: str
    passed: bool
    checks: tuple[Check, ...]
    failure: Diagnosis | None
    crash: Crash | None
    times: Times
    reserved: int
    """Bytes that the production kernel reserved."""
    ram: int
    dmesg_size: int | None
    vmcore_size: int | None
    form: str
    """What the vmcore is, in the capture system's words."""
    places: Mapping[str, str]
    """Where things are: ``dump``, ``console``, ``result``, …"""
    command: tuple[str, ...]
    """QEMU's program and arguments."""
    qemu: str
    """QEMU's version."""
    console_tail: str
    stand_in: StandIn | None = None
    """What the test proves of a board that QEMU does not have; None when the machine is the board's."""
    records: Mapping[str, str] = field(default_factory=dict)
    """What other ways kept of the log over the reset: name of the record, and the file."""
    by_watchdog: bool = False
    """Whether the hardware watchdog brought the machine back."""

    def to_json(self) -> dict[str, Any]:
        """Return what result.json holds."""
        found = asdict(self)
        stand_in = found.pop("stand_in")
        return {"format": RESULT_FORMAT, **found, "stand-in": stand_in}


def judge(evidence: Evidence) -> tuple[tuple[Check, ...], Diagnosis | None, Crash | None]:
    """Return every check, the reason for the first that failed, and the facts of the crash as far as known."""
    court = _Court(evidence)
    court.before_the_crash()
    court.dump_on_disk()
    court.inside_the_dump()
    court.afterwards()
    return tuple(court.checks), court.failure, court.crash


class _Court:
    """Collects checks. The first one that fails decides what is told."""

    def __init__(self, evidence: Evidence) -> None:
        self.e = evidence
        self.checks: list[Check] = []
        self.failure: Diagnosis | None = None
        self.crash: Crash | None = None
        self.saved: SavedDump | None = None

    def check(self, name: str, ok: bool | None, detail: str, failure: Diagnosis | None = None) -> bool:  # noqa: FBT001
        self.checks.append(Check(name, ok, detail))
        if ok is False and self.failure is None:
            self.failure = failure or Diagnosis("wrong-dump", f"{name}: {detail}")
        return ok is True

    def before_the_crash(self) -> None:
        w = self.e.witness
        first = w.first
        if not self.check("production system up", first is not None,
                          first.release if first else "it left no record", diagnose(w)) or first is None:  # fmt: skip
            return
        self.check(
            "memory reserved", first.reserved > 0,
            format_size(first.reserved) if first.reserved else "nothing", diagnose(w),
        )  # fmt: skip
        loaded = first.loaded and first.load_status == 0
        self.check("capture kernel loaded", loaded, f"kdump-load ended with {first.load_status}", diagnose(w))
        if self.e.watchdog:
            self.check(
                "watchdog running", first.watchdog, f"{self.e.watchdog} s" if first.watchdog else "it is not",
                Diagnosis("no-watchdog", "the production system could not start the watchdog", boot=1,
                          hint="does the production kernel have its driver, and is [watchdog] device right?"),
            )  # fmt: skip

    def dump_on_disk(self) -> None:
        dumps = self.e.dumps
        committed = [dump for dump in dumps if dump.vmcore is not None]
        if not dumps:
            detail = "there is no new dump on the target"
        elif not committed:
            detail = f"the new dump has no committed vmcore: {dumps[0].story}"
        elif len(dumps) > 1:
            detail = f"{len(dumps)} new dumps for one crash: {', '.join(dump.name for dump in dumps)}"
        else:
            self.saved = committed[0]
            detail = f"{self.saved.name}: {self.saved.story}"
        self.check("dump committed", self.saved is not None, detail, None if committed else diagnose(self.e.witness))
        if self.saved is None:
            return
        dmesg = self.saved.dmesg
        text = dmesg.read_text(encoding="utf-8", errors="replace") if dmesg else ""
        match = self.e.trigger.cause.search(text)
        if self.e.trigger.outlives_watchdog:
            # The capture kernel's uptime. It starts later than the watchdog was fed the last time.
            seconds = self.saved.seconds
            detail = f"dmesg committed after {seconds:.0f} s"
            self.check(
                "capture outlived the watchdog", seconds > self.e.watchdog, detail,
                Diagnosis("not-held", "the capture was over before the watchdog could have reset the machine",
                          why=detail, hint="kdump.hold= did not reach the capture system, or it is an old one"),
            )  # fmt: skip
        missing = f"no line matches {self.e.trigger.cause.pattern!r}" if dmesg else "no dmesg was saved"
        self.check("saved dmesg tells the cause", match is not None, match[0] if match else missing)

    def inside_the_dump(self) -> None:
        names = _INSIDE
        if self.saved is None or self.saved.vmcore is None:
            self.checks += [Check(name, None, "no dump") for name in ("build-id", *names)]
            return
        try:
            dump = open_dump(self.saved.vmcore, self.e.vmlinux)
            self.check("build-id", bool(dump.build_id), _build_id(dump, self.e.vmlinux))
            self.crash = dump.crash()
            dmesg = dump.dmesg
        except UserError as error:
            fault = error.faults[0]
            failure = Diagnosis("dump-unreadable", f"the dump: {fault.what}", why=fault.why, hint=fault.hint)
            self.check(names[0], False, fault.what, failure)
            self.checks += [Check(name, None, "the dump does not open") for name in names[1:]]
            return
        crash, trigger = self.crash, self.e.trigger
        self.check(names[0], True, f"Linux {crash.release}, {crash.tasks} tasks")
        stack = self.whose_crash(dump, crash)
        if trigger.functions:
            found = next((f.function for f in stack if f.function in trigger.functions), None)
            self.check(
                names[2], found is not None, f"{found}()" if found else f"no {' or '.join(trigger.functions)} in it",
                Diagnosis("wrong-stack", f"the task's stack has no {' or '.join(trigger.functions)}",
                          why="\n".join(f.function for f in stack) or "the stack is empty",
                          hint="does the vmlinux have full debug info (no DEBUG_INFO_REDUCED), and is it this "
                               "kernel's?"),
            )  # fmt: skip
        match = trigger.cause.search(dmesg)
        self.check(names[3], match is not None, match[0] if match else f"no line matches {trigger.cause.pattern!r}")

    def whose_crash(self, dump: Dump, crash: Crash) -> tuple[Frame, ...]:
        """Look for the test's task where the trigger says that it is. Return the stack that has to hold the trigger."""
        marker, seat = self.e.marker, self.e.trigger.seat
        if seat == "crashed":
            self.check(
                _INSIDE[1], crash.comm == marker, f"{crash.comm} (pid {crash.pid}, cpu {crash.cpu})",
                Diagnosis("not-our-crash", "the dump is of another crash: the crashed task has not got the test's name",
                          why=f"expected {marker}, found {crash.comm}"),
            )  # fmt: skip
            return crash.stack
        said = f"by {marker}" in dump.dmesg
        ours = next((task for task in dump.tasks if task.comm == marker), None)
        if seat == "named":
            detail = f"{marker} (pid {ours.pid}), the crashed one is {crash.comm}" if ours else f"no task is {marker}"
            self.check(
                "the test's task is in the dump", ours is not None, detail,
                Diagnosis("not-our-crash", "the dump is of another crash: no task in it has the test's name"),
            )  # fmt: skip
            return dump.stack_of(ours.pid) if ours and self.e.trigger.functions else ()
        self.check(
            "the dump is of this test", said, f"its log names {marker}" if said else f"its log does not name {marker}",
            Diagnosis("not-our-crash", "the dump is of another crash: its log does not have the test's name"),
        )  # fmt: skip
        return crash.stack

    def afterwards(self) -> None:
        before, after = self.e.earlier
        harmed = sorted(name for name, digest in before.items() if after.get(name) != digest)
        self.check(
            "earlier dumps unharmed", not harmed if before else None,
            ", ".join(harmed) if harmed else f"{len(before)} files as before",
            Diagnosis("earlier-dump-harmed", "the capture system harmed an earlier dump", why="\n".join(harmed)),
        )  # fmt: skip
        w = self.e.witness
        first, second = w.first, w.second
        back = first is not None and second is not None and second.boot_id != first.boot_id
        if back and first is not None and second is not None:
            back = second.release == first.release
            detail = "a new boot of the same kernel" if back else f"it is {second.release}, not {first.release}"
        else:
            detail = "it left no second record" if second is None else "the second record is of the same boot"
        reached = self.saved is not None or second is not None
        self.check("machine back in production", back if reached else None, detail, no_return(w))


def _build_id(dump: Dump, vmlinux: Path) -> str:
    if not dump.build_id:
        return "the dump holds none"
    return f"{dump.build_id[:16]}… in both" if dump.build_id == build_id(vmlinux) else "they differ"
