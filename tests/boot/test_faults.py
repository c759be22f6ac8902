"""Dump targets that have no room for what comes: what is left, and that the machine is back. Table: docs/faults.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.crashtest import Options, Verdict, render
from tests.boot.support import variant
from tests.boot.test_crashtest import Bench, bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot


@pytest.fixture
def arm(built: Path, tmp_path: Path) -> Bench:
    """The board with a capture system of this checkout, and a dump target that is one of the two kinds."""
    return bench_of("arm-virt", built, tmp_path)


def with_target(bench: Bench, tmp_path: Path, **dump: object) -> Bench:
    board = replace(bench.board, dump=replace(bench.board.dump, **dump))  # type: ignore[arg-type]
    return replace(bench, board=board, image_set=variant(bench.image_set, board, bench.userland, tmp_path / "set"))


def checks(verdict: Verdict) -> dict[str, bool | None]:
    return {check.name: check.ok for check in verdict.checks}


def test_a_ring_of_slots_takes_a_dump(arm: Bench, tmp_path: Path) -> None:
    verdict = with_target(arm, tmp_path, target="slots", filesystem="").crash()
    assert verdict.passed, render(verdict)
    assert verdict.form == "filtered"


def test_a_slot_that_is_too_small_for_memory_keeps_the_log_the_earlier_dump_and_the_machine(
    arm: Bench, tmp_path: Path
) -> None:
    bench = with_target(arm, tmp_path, target="slots", filesystem="")
    verdict = bench.crash(options=Options(disk_size=8 << 20))
    assert verdict.failure is not None
    assert "does not fit into a slot of 2048 KiB" in verdict.failure.why, render(verdict)
    assert verdict.dmesg_size
    assert checks(verdict)["earlier dumps unharmed"] is True
    assert checks(verdict)["machine back in production"] is True
