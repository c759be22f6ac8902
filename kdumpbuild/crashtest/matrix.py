"""The crash matrix: every cause of a crash, on several CPUs and on one, and what is left of it.

Each row and number of CPUs is a crash test on a machine with a hardware watchdog. What it came to is kept in
``cell.json``; the page is made of all that is there.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import files
from kdumpbuild.analysis.dump import find_cause
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.crashtest.protocol import Means
from kdumpbuild.crashtest.runner import Options, run_crashtest
from kdumpbuild.crashtest.triggers import TRIGGERS
from kdumpbuild.errors import user_error
from kdumpbuild.resources import STUCK_CPU_PATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.layout import SetFiles
    from kdumpbuild.build.userland import Userland
    from kdumpbuild.crashtest.verdict import Verdict

CPUS = {"SMP": 2, "UP": 1}
"""The columns of a board: QEMU's ``-smp``."""
WATCHDOG = 90
"""Seconds without feeding after which the hardware watchdog resets, where it is what ends the crash."""
_PATIENT = 300
"""The same where a dump is expected: the capture kernel does not feed it, and a busy host takes its time."""
_DEADLINE = 600.0

CAUSES = {
    1: "Data abort in interrupt context",
    2: "Panic, BUG, oops",
    3: "Hung tasks and other trouble with scheduling and memory",
    4: "Soft and hard lockups, spinlock deadlock",
    5: "Endless loop with interrupts off, on all CPUs",
}

VMCORE, RECORD, RETURNED = "vmcore", "record", "returned"
"""What can be left: a dump that names the cause; the log in ramoops; nothing, because nothing happened."""

# Shorter times than a product's, so that the matrix takes minutes. panic= is for the crash that kdump cannot have.
_QUICK = "watchdog_thresh=5 sysctl.kernel.hung_task_timeout_secs=10 panic=3"


@dataclass(frozen=True)
class Row:
    """One way to crash."""

    cause: int
    trigger: str
    cmdline: str = ""
    """Arguments of the production kernel for this row: which detector acts."""
    expected: Mapping[str, str] = field(default_factory=dict)
    """What is left where it is not a vmcore, by ``<arch> <CPUs>``."""
    why: str = ""
    """Why that is so."""
    patch: str = ""
    """The shipped kernel patch that makes a vmcore of it on several CPUs of 32-bit ARM."""

    def left(self, board: Board, cpus: str) -> str:
        """Return what has to be left on a board's machine."""
        place = f"{board.arch.name} {cpus}"
        if place == "arm SMP" and self.patch in board.production.patches:
            return VMCORE
        return self.expected.get(place, VMCORE)


_NO_NEIGHBOUR = {"arm UP": RECORD, "arm64 UP": RECORD}
_LOCKED = {"arm64 SMP": RECORD, "arm64 UP": RECORD}
_LOCKED_WHY = (
    "LKDTM crashes where handle_irq_event() begins, with the lock of the interrupt's descriptor held. arm64 takes that "
    "lock once more before it starts the capture kernel (machine_kexec_mask_interrupts(), irq_set_irqchip_state()) and "
    "waits for ever; the hardware watchdog ends that. A driver's handler and a tasklet run without the lock."
)

ROWS: tuple[Row, ...] = (
    Row(1, "lkdtm-null-in-interrupt", expected=_LOCKED, why=_LOCKED_WHY),
    Row(1, "lkdtm-null-in-tasklet"),
    Row(1, "lkdtm-bug-in-interrupt", expected=_LOCKED, why="As above."),
    Row(1, "lkdtm-panic-in-interrupt", expected=_LOCKED, why="As above."),
    Row(2, "sysrq"),
    Row(2, "lkdtm-panic"),
    Row(2, "lkdtm-bug"),
    Row(2, "lkdtm-exception"),
    Row(2, "lkdtm-null"),
    Row(2, "lkdtm-warning", "panic_on_warn=1"),
    Row(2, "lkdtm-stack"),
    Row(2, "lkdtm-write-text"),
    Row(3, "lkdtm-hung-task"),
    Row(
        3, "lkdtm-rcu-stall", "softlockup_panic=0 workqueue.panic_on_stall=0 rcupdate.rcu_cpu_stall_timeout=8",
        expected=_NO_NEIGHBOUR,
        why="One CPU alone notices a stall only when a grace period was under way as the loop began: else nobody can "
        "start one, and the hardware watchdog resets. Leave the soft lockup detector on.",
    ),
    Row(
        3, "lkdtm-workqueue-stall",
        "softlockup_panic=0 sysctl.kernel.panic_on_rcu_stall=0 workqueue.watchdog_thresh=8",
    ),
    Row(3, "oom", "sysctl.vm.panic_on_oom=1"),
    Row(4, "lkdtm-softlockup"),
    Row(4, "lkdtm-spinlock"),
    Row(
        4, "lkdtm-hardlockup", expected={**_NO_NEIGHBOUR, "arm SMP": RECORD},
        why="One CPU alone has no neighbour that could notice: the hardware watchdog resets. With two, the neighbour "
        "panics; 32-bit ARM then refuses to start the capture kernel while a CPU has not stopped (BUG_ON in "
        "arch/arm/kernel/machine_kexec.c) and reboots. The patch arm-kexec-stuck-cpu makes that a vmcore.",
        patch=STUCK_CPU_PATCH,
    ),
    Row(
        4, "lkdtm-smp-call-lockup", expected={"arm SMP": RECORD, "arm UP": RETURNED, "arm64 UP": RETURNED},
        why="The called CPU loops with interrupts off, as above. On one CPU there is nobody to call.",
        patch=STUCK_CPU_PATCH,
    ),
    Row(
        5, "lkdtm-all-cpus", expected={**_NO_NEIGHBOUR, "arm SMP": RECORD, "arm64 SMP": RECORD},
        why="No CPU is left to notice anything: only hardware can end this. ARM has no non-maskable interrupt that "
        "Linux uses by default (arm64 with GICv3 can be given one: ARM64_PSEUDO_NMI).",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What was seen in one run."""

    board: str
    arch: str
    cpus: str
    kernel: str
    trigger: str
    outcome: str
    """vmcore, record or returned; else the failure's code."""
    expected: str
    said: str
    """The line by which what is left names the cause."""
    by_watchdog: bool
    patches: tuple[str, ...] = ()
    """The kernel patches of the board."""

    @property
    def ok(self) -> bool:
        """Whether it was as expected; a dump is always welcome."""
        return self.outcome in (self.expected, VMCORE)


def rows(triggers: Iterable[str]) -> list[Row]:
    """Return the rows of these triggers, all of them for none. Raises UserError for one that is not in the matrix."""
    wanted = set(triggers)
    unknown = wanted - {row.trigger for row in ROWS}
    if unknown:
        names = ", ".join(row.trigger for row in ROWS)
        raise user_error(f"not in the matrix: {', '.join(sorted(unknown))}", where="TRIGGER", hint=f"rows: {names}")
    return [row for row in ROWS if not wanted or row.trigger in wanted]


def run_matrix(
    board: Board, image_set: SetFiles, userland: Userland, work: Path, chosen: Iterable[Row],
    tell: Callable[[Cell], None],
) -> list[Cell]:  # fmt: skip
    """Crash the board's machine once for each row and column. ``tell`` gets each cell as soon as it is known."""
    cells = []
    for row in chosen:
        for cpus in CPUS:
            cell = run_cell(board, image_set, userland, work / f"{row.trigger}-{cpus}", row, cpus)
            tell(cell)
            cells.append(cell)
    return cells


def run_cell(board: Board, image_set: SetFiles, userland: Userland, work: Path, row: Row, cpus: str) -> Cell:
    """Crash once."""
    expected = row.left(board, cpus)
    options = Options(
        cmdline=f"{_QUICK} {row.cmdline}".strip(), qemu_args=("-smp", str(CPUS[cpus])),
        means=Means(watchdog=_PATIENT if expected == VMCORE else WATCHDOG),
        deadline=_DEADLINE,
    )  # fmt: skip
    verdict = run_crashtest(board, image_set, userland, TRIGGERS[row.trigger], work, options)
    outcome, said = _left(verdict)
    cell = Cell(
        board=board.name, arch=board.arch.name, cpus=cpus, kernel=_kernel(image_set), trigger=row.trigger,
        outcome=outcome, expected=expected, said=said,
        by_watchdog=verdict.by_watchdog, patches=board.production.patches,
    )  # fmt: skip
    files.write_text(work / "cell.json", json.dumps(asdict(cell), indent=1) + "\n")
    if cell.ok:
        # A hundred disks and dumps would be tens of gigabytes. Records and results stay.
        (work / "disk.img").unlink(missing_ok=True)
        shutil.rmtree(work / "target" / board.dump.directory, ignore_errors=True)
    return cell


def _left(verdict: Verdict) -> tuple[str, str]:
    """Return what is left of the crash, and the line that names the cause."""
    if verdict.passed and verdict.crash is not None:
        return VMCORE, verdict.crash.cause
    if verdict.failure is not None and verdict.failure.code == "trigger-returned":
        return RETURNED, ""
    for path in verdict.records.values():
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        start = text.find(f"crashtest: trigger {verdict.trigger} by {verdict.marker}")
        if start >= 0:
            return RECORD, find_cause(text[start:]) or _last_line(text)
    return verdict.failure.code if verdict.failure is not None else "failed", ""


def _last_line(text: str) -> str:
    lines = [re.sub(r"^\[\s*\d+\.\d+\](?:\[[^\]]*\])? ?", "", line).strip() for line in text.splitlines()]
    # ramoops adds what its error correction found (fs/pstore/ram.c).
    return next((line for line in reversed(lines) if line and not line.startswith("ECC: ")), "")


def _kernel(image_set: SetFiles) -> str:
    return str(json.loads(image_set.manifest.read_text(encoding="utf-8"))["kernel"]["release"])


# -- the page -----------------------------------------------------------------------------------------------------


_INTRO = """\
<!-- Made by `doit matrix BOARD=arm-virt,arm64-virt`. Run it, not an editor. -->
# The crash matrix

What is left of a crash, for each cause, seen in QEMU. Each cell is one run of one machine: a production system with the
detectors of its board's `[panic]`, a hardware watchdog (i6300esb, {watchdog} s), ramoops in RAM that a reset leaves
alone. SMP is two CPUs, UP is one. The detectors' times are shorter than in the board file, to save time.

{kernels}.

| in a cell | means |
|---|---|
| vmcore | a dump was saved; it opens, names the cause, and is of this very crash |
| log, watchdog | no dump; the hardware watchdog reset the machine, and the log was in ramoops afterwards |
| log, panic | no dump; the panic itself rebooted, and the log was in ramoops afterwards |
| returned | the trigger does nothing here |
| (!) | less than is possible |
"""


def read_cells(folders: Iterable[Path]) -> list[Cell]:
    """Return the cells that earlier runs left in the matrix folders of boards."""
    paths = [path for folder in folders for path in sorted(folder.glob("*/cell.json"))]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [Cell(**cell | {"patches": tuple(cell.get("patches", ()))}) for cell in found]


def page(cells: Iterable[Cell]) -> str:
    """Return the matrix for people: one table a cause, and what the logs said."""
    cells = list(cells)
    by_place = {(cell.trigger, f"{cell.arch} {cell.cpus}"): cell for cell in cells if not cell.patches}
    columns = [f"{arch} {cpus}" for arch in ARCHES for cpus in CPUS]
    kernels = sorted({f"{cell.board}: Linux {cell.kernel}" for cell in by_place.values()}) or ["Not run yet"]
    lines = _INTRO.format(watchdog=WATCHDOG, kernels="; ".join(kernels)).splitlines()
    for number, title in CAUSES.items():
        lines += ["", f"## {number}. {title}", "", f"| trigger | what it does | {' | '.join(columns)} |"]
        lines.append("|---|---|" + "---|" * len(columns))
        of_cause = [row for row in ROWS if row.cause == number]
        for row in of_cause:
            shown = " | ".join(_shown(by_place.get((row.trigger, column))) for column in columns)
            lines.append(f"| `{row.trigger}` | {TRIGGERS[row.trigger].title} | {shown} |")
        for row in of_cause:
            lines += ["", *_told(row, by_place, columns)]
    lines += _patched([cell for cell in cells if cell.patches])
    return "\n".join(lines) + "\n"


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "not run"
    if cell.outcome == RECORD:
        return f"log, {'watchdog' if cell.by_watchdog else 'panic'}" + ("" if cell.ok else " (!)")
    return cell.outcome + ("" if cell.ok else " (!)")


def _patched(cells: Iterable[Cell]) -> list[str]:
    """Return the part about boards whose production kernel is patched."""
    rows = [
        f"| `{cell.trigger}` | {cell.arch} {cell.cpus} | {', '.join(cell.patches)} | {_shown(cell)} | "
        + (f"`{cell.said}` |" if cell.said else "|")
        for cell in sorted(cells, key=lambda cell: (cell.trigger, cell.arch, cell.cpus))
    ]
    if not rows:
        return []
    head = "| trigger | machine | patch | left | |"
    return ["", "## With a patched production kernel", "", head, "|---|---|---|---|---|", *rows]


def _told(row: Row, by_place: Mapping[tuple[str, str], Cell], columns: Iterable[str]) -> Iterator[str]:
    """Yield what the kernels' logs said in a row, equal ones once, and the row's reason."""
    said: dict[str, list[str]] = {}
    for column in columns:
        cell = by_place.get((row.trigger, column))
        if cell is not None and cell.said:
            said.setdefault(re.sub(r"\b[0-9a-f]{8,16}\b", "…", cell.said), []).append(column)
    yield f"`{row.trigger}`" + (f" (`{row.cmdline}`)" if row.cmdline else "") + (f": {row.why}" if row.why else "")
    yield from (f"- {', '.join(places)}: `{text}`" for text, places in said.items())
