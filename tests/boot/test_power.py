"""A few power cuts for each kind of storage; `benchmarks/power_cuts.py` makes as many as one likes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.boot.power import Rounds
from tests.boot.support import variant
from tests.boot.test_crashtest import bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot

CUTS = 5
TARGETS: dict[str, dict[str, object]] = {
    "filesystem": {"keep": 3},
    "slots": {"target": "slots", "filesystem": "", "slots": 4},
}


@pytest.mark.parametrize("target", TARGETS)
def test_no_power_cut_harms_a_dump_or_the_machine(built: Path, tmp_path: Path, target: str) -> None:
    bench = bench_of("arm-virt", built, tmp_path)
    dump = replace(bench.board.dump, loop_crashes=0, **TARGETS[target])  # type: ignore[arg-type]
    board = replace(bench.board, dump=dump)
    made = variant(bench.image_set, board, bench.userland, tmp_path / "set")
    Rounds(board, made, bench.userland, tmp_path / "rounds").through(CUTS)
