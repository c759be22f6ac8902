"""Every shipped board: its image set passes the checks, is small enough, and captures a crash where QEMU has the board.

They compile a pair of kernels each, so they have a marker and a task of their own: ``doit test:boards``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.userland import Userland, default_root
from kdumpbuild.checks.engine import check_facts
from kdumpbuild.checks.from_set import facts_from_set
from kdumpbuild.checks.model import Severity
from kdumpbuild.crashtest import TRIGGERS, Options, Verdict, has_watchdog, render, run_crashtest, too_old
from kdumpbuild.crashtest.protocol import Means
from kdumpbuild.errors import UserError
from tests.boot.changed import Changed, changed, compiled
from tests.boot.test_crashtest import Bench, bench_of

pytestmark = pytest.mark.boards

MIB = 1 << 20
WATCHDOG = "imx6ul-evk"
"""A board with a watchdog that QEMU models."""
BOARDS = sorted(path.stem for path in resources.BOARDS.glob("*.toml") if not path.stem.endswith("-virt"))
QEMU = Path(os.environ["QEMU"]) if os.environ.get("QEMU") else None

each_board = pytest.mark.parametrize("name", BOARDS)


def crash(name: str, trigger: str, built: Path, tmp_path: Path, options: Options) -> Verdict:
    """Crash a board, or skip the test where this QEMU has no such machine."""
    board = load_board(resources.BOARDS / f"{name}.toml")
    if board.machine is None:
        pytest.skip(f"QEMU has no machine for {name}")
    if old := too_old(board, options.qemu):
        pytest.skip(old)
    if TRIGGERS[trigger].outlives_watchdog and not has_watchdog(board, options.qemu):
        pytest.skip(f"this QEMU has no watchdog on {name}")
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    userland = Userland(default_root(cache, board.arch), board.arch)
    image_set = SetFiles(built / name, board.arch.image)
    return run_crashtest(board, image_set, userland, TRIGGERS[trigger], tmp_path, options)


@each_board
def test_a_crash_is_captured(name: str, built: Path, tmp_path: Path) -> None:
    verdict = crash(name, "sysrq", built, tmp_path, Options(qemu=QEMU))
    assert verdict.passed, render(verdict)
    assert verdict.form == "filtered"


@each_board
def test_a_capture_outlives_the_watchdog(name: str, built: Path, tmp_path: Path) -> None:
    verdict = crash(name, "watchdog", built, tmp_path, Options(qemu=QEMU))
    assert verdict.passed, render(verdict)
    checks = {check.name: check.ok for check in verdict.checks}
    assert checks["watchdog running"] is True
    assert checks["capture outlived the watchdog"] is True


@each_board
def test_the_set_passes_the_checks_and_is_small(name: str, built: Path) -> None:
    board = load_board(resources.BOARDS / f"{name}.toml")
    files = SetFiles(built / name, board.arch.image)
    report = check_facts(facts_from_set(files.folder, board))
    assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []
    is_arm = board.arch.name == "arm"
    assert reserved(files).size <= (24 if is_arm else 32) * MIB
    if is_arm:
        assert files.kernel.stat().st_size <= 1_600_000


def test_a_watchdog_that_nobody_feeds_costs_the_dump(built: Path, tmp_path: Path) -> None:
    """The counter-proof: the machine's watchdog does reset it, and it is the capture kernel that keeps it from that.

    KD085 says so before.
    """
    bench = bench_of(WATCHDOG, built, tmp_path)
    unfed = changed(bench, tmp_path, conf={"KDUMP_CMDLINE": f"{{}} watchdog.handle_boot_enabled=0 {held(bench)}"})
    assert unfed.finds("KD085")
    assert not changed(bench, tmp_path / "good").finds("KD085")
    verdict = unfed.crash(Options(qemu=QEMU))
    checks = {check.name: check.ok for check in verdict.checks}
    assert checks["watchdog running"] is True
    assert checks["dump committed"] is False, render(verdict)
    assert verdict.times.total < held_for(bench)


def test_a_capture_kernel_without_the_watchdogs_driver(built: Path, tmp_path: Path) -> None:
    """KD083. That the same set with the driver outlives the watchdog is shown above."""
    bench = bench_of(WATCHDOG, built, tmp_path)
    (tree,) = bench.image_set.folder.glob("*.dtb")
    lost = compiled(bench, "capture", "no-watchdog", "# CONFIG_IMX2_WDT is not set\n").as_capture(bench)
    bad = changed(bench, tmp_path, files=lost, conf={"KDUMP_CMDLINE": f"{{}} {held(bench)}"})
    assert bad.finds("KD083", dtb=tree)
    assert not changed(bench, tmp_path / "good").finds("KD083", dtb=tree)
    verdict = bad.crash(Options(qemu=QEMU))
    assert not verdict.vmcore_size, render(verdict)
    assert verdict.times.total < held_for(bench)


def held(bench: Bench) -> str:
    """Return the argument that keeps a capture waiting for longer than the board's watchdog does."""
    return f"kdump.hold={held_for(bench)}"


def held_for(bench: Bench) -> int:
    assert bench.board.watchdog is not None
    return bench.board.watchdog.timeout + 60


def test_cpus_that_cannot_be_switched_off(built: Path, tmp_path: Path) -> None:
    """KD080: without its nr_cpus=1 the Raspberry Pi 2 loads no capture kernel."""
    bench = bench_of("raspi2b", built, tmp_path)
    assert not changed(bench, tmp_path / "good").finds("KD080")
    bad = without_one_cpu(changed(bench, tmp_path))
    assert bad.finds("KD080")
    verdict = bad.crash()
    assert verdict.failure is not None, render(verdict)
    assert verdict.failure.code == "load-failed", render(verdict)
    assert "Invalid argument" in bad.console


def without_one_cpu(made: Changed) -> Changed:
    text = made.files.boot_arguments.read_text()
    assert "nr_cpus=1 " in text
    made.files.boot_arguments.write_text(text.replace("nr_cpus=1 ", ""))
    return made


def test_a_crash_on_a_cpu_that_gets_no_interrupts_hangs(built: Path, tmp_path: Path) -> None:
    """KD089: with all its CPUs the Raspberry Pi 3 captures what crashes on the first, and nothing else."""
    bench = bench_of("raspi3b", built, tmp_path)
    assert not changed(bench, tmp_path / "good").finds("KD089")
    bad = without_one_cpu(changed(bench, tmp_path))
    assert bad.finds("KD089")
    for cpu, captured in ((0, True), (1, False)):
        verdict = bad.crash(Options(deadline=120, means=Means(cpu=cpu)))
        assert re.search(rf"CPU: {cpu} .*Comm: kdb-", bad.console), render(verdict)
        assert verdict.passed is captured, render(verdict)


def test_a_board_without_a_watchdog_has_none_to_outlive(built: Path, tmp_path: Path) -> None:
    board = load_board(resources.BOARDS / "arm-virt.toml")
    image_set = SetFiles(built / board.name, board.arch.image)
    with pytest.raises(UserError, match="no watchdog to outlive"):
        run_crashtest(board, image_set, Userland(tmp_path, board.arch), TRIGGERS["watchdog"], tmp_path)
