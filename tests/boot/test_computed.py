"""The computed crashkernel=, held against real crashes: it is enough, and not much more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.need import STEP
from kdumpbuild.build.imageset import read_manifest, reserved
from kdumpbuild.crashtest import Verdict, render
from kdumpbuild.crashtest.calibrate import attempt, crash_with
from kdumpbuild.crashtest.protocol import Means
from tests.boot.test_crashtest import MIB, Bench, bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot

SPARE = 3
"""Steps below the computed size at which a set must not capture any more: the margin and what is rounded up."""


@pytest.fixture(params=["arm-virt", "arm64-virt"])
def bench(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Bench:
    """A board that leaves the size to the computation, and its set."""
    made = bench_of(request.param, built, tmp_path)
    assert made.board.memory.crashkernel is None
    assert read_manifest(made.image_set)["crashkernel"]["from"].startswith("computed: kernel ")
    return made


def test_what_is_computed_captures_and_little_less_does_not(bench: Bench) -> None:
    given = bench.board, bench.image_set, bench.userland
    size = reserved(bench.image_set).size
    assert attempt(*given, bench.work / "enough", None, size) == ""
    assert attempt(*given, bench.work / "less", None, size - SPARE * STEP) != ""


def checks_of(verdict: Verdict) -> dict[str, bool | None]:
    return {check.name: check.ok for check in verdict.checks}


@pytest.mark.slow
def test_at_each_mebibyte_below_the_machine_is_back_and_nothing_torn_is_shown(bench: Bench) -> None:
    captured, hung = [], []
    for size in range(MIB, reserved(bench.image_set).size, MIB):
        given = bench.board, bench.image_set, bench.userland, bench.work / str(size), None, size
        verdict = crash_with(*given)
        if checks_of(verdict)["capture kernel loaded"] and not checks_of(verdict)["machine back in production"]:
            # It died before it could print or reset, as it might in the field, where a hardware watchdog runs.
            hung.append(size)
            verdict = crash_with(*given, Means(watchdog=30))
            assert verdict.by_watchdog, f"{size // MIB} MiB\n{render(verdict)}"
        said = f"{size // MIB} MiB\n{render(verdict)}"
        checks = checks_of(verdict)
        captured.append(verdict.passed)
        how = "captures" if verdict.failure is None else verdict.failure.what
        print(f"{size // MIB} MiB: {how}{'; reset by the watchdog' if verdict.by_watchdog else ''}", flush=True)
        assert verdict.passed or verdict.failure, said
        assert checks["earlier dumps unharmed"] is True, said
        # Either it never crashed, because nothing was loaded, or it came back from that.
        assert checks["machine back in production"] is (True if checks["capture kernel loaded"] else None), said
        # What is shown as a dump is whole: drgn opened it.
        assert not verdict.vmcore_size or verdict.passed, said
    # More memory is never worse, and the smallest sizes are too small.
    assert captured == sorted(captured)
    assert captured[0] is False
    # Only the smallest that kexec takes leaves no memory for the first messages.
    assert len(hung) <= 1
