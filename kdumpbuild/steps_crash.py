"""The steps that crash machines: the crash test, the matrix, other ways to keep a log, calibration.

Each takes an image set that the steps of :mod:`kdumpbuild.steps` have made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from kdumpbuild import files, steps
from kdumpbuild.board import logs
from kdumpbuild.board.size import format_size
from kdumpbuild.crashtest import Options, find_triggers, run_crashtest, standin, to_junit, too_old
from kdumpbuild.crashtest import logtest as log_test
from kdumpbuild.crashtest import matrix as crash_matrix
from kdumpbuild.crashtest import render as render_verdict
from kdumpbuild.crashtest.calibrate import calibrate as calibrate_set
from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from kdumpbuild.build.layout import Layout
    from kdumpbuild.settings import Settings


def crashtest(settings: Settings, layout: Layout) -> None:
    """Crash the board's machine once for each trigger and tell what was found. Raises UserError when a test fails."""
    board, image_set, options = layout.board, layout.set, Options(qemu=settings.qemu)
    if board.machine is None:
        standing = steps.stand_in_layout(settings, layout)
        options = Options(
            qemu=settings.qemu,
            dtb=standin.device_tree(standing.board, settings.qemu, standing.work / "virt.dtb"),
            stand_in=standin.story(board, layout.set, standing.board, standing.set),
        )
        board, image_set = standing.board, standing.set
    triggers = find_triggers(settings.triggers or ("sysrq",))
    target = steps.open_userland(settings, board.arch)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    old = too_old(board, settings.qemu)
    if old:
        console.print(f"SKIP  {old}: nothing was proved. docs/crashtest.md says where to get one.\n")
        return
    failed = []
    verdicts = []
    for trigger in triggers:
        _say(f"{board.name}: boots, crashes by {trigger.name}, captures, comes back")
        verdict = run_crashtest(board, image_set, target, trigger, layout.crashtest / trigger.name, options)
        console.print(render_verdict(verdict))
        verdicts.append(verdict)
        files.write_text(layout.junit, to_junit(verdicts))
        if not verdict.passed:
            failed.append(trigger.name)
    if failed:
        raise user_error(
            f"the crash test of {board.name} failed: {', '.join(failed)}",
            hint="what was found, and what to do, is in the report above",
        )


def matrix(settings: Settings, layout: Layout) -> None:
    """Crash the board's machine in every way of the matrix. Raises UserError when less is left than is possible."""
    board = layout.board
    chosen = crash_matrix.rows(settings.triggers)
    target = steps.open_userland(settings, board.arch)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{board.name}: {len(chosen)} ways to crash, each with {' and '.join(crash_matrix.CPUS)}")

    def tell(cell: crash_matrix.Cell) -> None:
        by = " by the watchdog" if cell.by_watchdog else ""
        mark = "ok  " if cell.ok else f"FAIL, expected {cell.expected}:"
        console.print(f"  {mark} {cell.trigger:26} {cell.cpus:3}  {cell.outcome}{by}  {cell.said}")

    cells = crash_matrix.run_matrix(board, layout.set, target, layout.matrix, chosen, tell)
    found = crash_matrix.read_cells(sorted(layout.matrix.parent.iterdir()))
    files.write_text(layout.matrix_page, crash_matrix.page(found))
    console.print(f"the matrix of all boards that were run: {layout.matrix_page}\n")
    failed = [f"{cell.trigger} {cell.cpus}" for cell in cells if not cell.ok]
    if failed:
        raise user_error(
            f"{board.name}: less is left of a crash than is possible: {', '.join(failed)}",
            hint=f"report and console log of each are in {layout.matrix}",
        )


def logtest(settings: Settings, layout: Layout) -> None:
    """Crash the board's machine for each other way to keep a log. Raises UserError when one of them kept nothing."""
    board = layout.board
    chosen = log_test.cases(board)
    target = steps.open_userland(settings, board.arch)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{board.name}: crashes, and looks for what {', '.join(board.logs.picked)} kept")
    failed = []
    for case in chosen:
        proof = log_test.prove(board, layout.set, target, layout.logtest / case.name, case)
        console.print(f"  {'ok  ' if proof.ok else 'FAIL'} {case.title}: {proof.record or 'no record'}  {proof.said}")
        if not proof.ok:
            failed.append(case.title)
    for note in logs.notes(board.logs):
        console.print(f"  note: {note}")
    if failed:
        raise user_error(
            f"{board.name}: nothing was kept: {'; '.join(failed)}",
            hint=f"report and console log of each are in {layout.logtest}",
        )


def calibrate(settings: Settings, layout: Layout) -> None:
    """Find the smallest crashkernel= by real crashes and tell what to write into the board file."""
    board = layout.board
    target = steps.open_userland(settings, board.arch)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{board.name}: how little memory is enough, of {format_size(board.memory.total)} RAM")
    found = calibrate_set(
        board, layout.set, target, layout.crashtest / "calibrate", settings.qemu,
        lambda size, what: console.print(f"  crashkernel={format_size(size):5} {what}"),
    )  # fmt: skip
    console.print(
        f'smallest that captures: {format_size(found.smallest)}; with a margin: crashkernel = '
        f'"{format_size(found.recommended)}" in {board.path}\n'
    )


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)
