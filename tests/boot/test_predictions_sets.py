"""What a rule predicts for an image set happens, and the rule is silent on the set as it was built.

The set is the built one with one thing changed, judged by the preflight and then crashed in QEMU. That sets pass as
they are built is shown by test_crashtest.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.crashtest import render
from kdumpbuild.run import run
from tests.boot.changed import changed
from tests.boot.test_crashtest import Bench, bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot

MIB = 1 << 20


@pytest.fixture
def arm(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm-virt", built, tmp_path)


def machine_tree(bench: Bench, folder: Path) -> Path:
    """Return the device tree that QEMU gives the board's kernel."""
    machine = bench.board.machine
    assert machine is not None
    path = folder / "machine.dtb"
    argv = [
        bench.board.arch.qemu, "-M", f"{machine.machine},dumpdtb={path}", "-cpu", machine.cpu, "-smp", str(machine.smp),
        "-m", f"{bench.board.memory.total // MIB}M", "-nic", "none", "-display", "none",
    ]  # fmt: skip
    run(argv, what="ask QEMU for its device tree")
    return path


def test_kexec_s_is_not_there_on_arm(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, conf={"KDUMP_KEXEC_ARGS": "-s {}"})
    assert bad.finds("KD041")
    verdict = bad.crash()
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert re.search("not implemented|not supported|not available", bad.console + verdict.failure.why, re.IGNORECASE)
    assert not changed(arm, tmp_path / "good").finds("KD041")
