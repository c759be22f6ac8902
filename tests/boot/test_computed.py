"""The computed crashkernel=, held against real crashes: it is enough, and not much more than that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.need import STEP
from kdumpbuild.build.imageset import read_manifest, reserved
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.userland import Userland, default_root
from kdumpbuild.crashtest import render
from kdumpbuild.crashtest.calibrate import attempt, crash_with

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board

pytestmark = pytest.mark.boot

MIB = 1 << 20
SPARE = 3
"""Steps below the computed size at which a set must not capture any more: the margin and what is rounded up."""


@dataclass(frozen=True)
class Bench:
    """A board that leaves the size to the computation, and its set."""

    board: Board
    files: SetFiles
    userland: Userland

    @property
    def size(self) -> int:
        return reserved(self.files).size


@pytest.fixture(params=["arm-virt", "arm64-virt"])
def bench(request: pytest.FixtureRequest, built: Path) -> Bench:
    board = load_board(resources.BOARDS / f"{request.param}.toml")
    assert board.memory.crashkernel is None
    image_set = SetFiles(built / board.name, board.arch.image)
    assert read_manifest(image_set)["crashkernel"]["from"].startswith("computed: kernel ")
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    return Bench(board, image_set, Userland(default_root(cache, board.arch), board.arch))


def test_what_is_computed_captures_and_little_less_does_not(bench: Bench, tmp_path: Path) -> None:
    given = bench.board, bench.files, bench.userland
    assert attempt(*given, tmp_path / "enough", None, bench.size) == ""
    assert attempt(*given, tmp_path / "less", None, bench.size - SPARE * STEP) != ""


@pytest.mark.slow
def test_at_each_mebibyte_below_the_machine_is_back_and_nothing_torn_is_shown(bench: Bench, tmp_path: Path) -> None:
    captured = []
    for size in range(MIB, bench.size, MIB):
        verdict = crash_with(bench.board, bench.files, bench.userland, tmp_path / str(size), None, size)
        said = f"{size // MIB} MiB\n{render(verdict)}"
        checks = {check.name: check.ok for check in verdict.checks}
        captured.append(verdict.passed)
        print(f"{size // MIB} MiB: {verdict.failure.what if verdict.failure else 'captures'}", flush=True)
        assert verdict.passed or verdict.failure, said
        assert checks["earlier dumps unharmed"] is True, said
        # Either it never crashed, because nothing was loaded, or it came back from that by itself.
        assert checks["machine back in production"] is (True if checks["capture kernel loaded"] else None), said
        # What is shown as a dump is whole: drgn opened it.
        assert not verdict.vmcore_size or verdict.passed, said
    # More memory is never worse, and the smallest sizes are too small.
    assert captured == sorted(captured)
    assert captured[0] is False
