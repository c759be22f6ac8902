"""Faults of the dump target and of the capture kernel: what is left, and that the machine is back: docs/faults.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.crashtest import Options, Verdict, render
from kdumpbuild.crashtest.protocol import Means
from kdumpbuild.run import run
from tests.boot.changed import changed
from tests.boot.support import variant
from tests.boot.test_crashtest import Bench, bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot

FOREIGN = """/dts-v1/;
/ {
    compatible = "arm,vexpress,v2p-ca15"; #address-cells = <1>; #size-cells = <1>;
    chosen { }; aliases { };
    memory@80000000 { device_type = "memory"; reg = <0x80000000 0x20000000>; };
    cpus { #address-cells = <1>; #size-cells = <0>; cpu@0 { device_type = "cpu"; reg = <0>; }; };
};
"""


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


# -- a capture kernel that gets nowhere ---------------------------------------------------------------------------


def test_a_capture_kernel_without_an_init_panics_and_reboots(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, conf={"KDUMP_CMDLINE": "{} rdinit=/nothing"})
    verdict = bad.crash()
    assert not verdict.passed
    assert "Kernel panic - not syncing" in bad.console.partition("Loading crashdump kernel")[2], render(verdict)
    assert checks(verdict)["earlier dumps unharmed"] is True
    assert checks(verdict)["machine back in production"] is True


def test_a_foreign_device_tree_ends_by_the_hardware_watchdog(arm: Bench, tmp_path: Path) -> None:
    """Of a machine whose RAM, console and disk are elsewhere: the capture kernel says nothing at all."""
    foreign = tmp_path / "foreign.dtb"
    (tmp_path / "foreign.dts").write_text(FOREIGN)
    argv = ["dtc", "-q", "-O", "dtb", "-o", str(foreign), str(tmp_path / "foreign.dts")]
    run(argv, what="make a device tree")
    bad = changed(arm, tmp_path, conf={"KDUMP_DTB": foreign.name}, files={foreign.name: foreign.read_bytes()})
    verdict = bad.crash(Options(means=Means(watchdog=30)))
    assert not verdict.passed
    assert verdict.by_watchdog, render(verdict)
    assert checks(verdict)["earlier dumps unharmed"] is True
    assert checks(verdict)["machine back in production"] is True


# -- a slow dump target -------------------------------------------------------------------------------------------


def throttled(rate: int) -> tuple[str, ...]:
    """Return what makes QEMU's disk take ``rate`` bytes a second."""
    return ("-set", f"drive.dump.throttling.bps-write={rate}")


def test_a_slow_target_takes_the_dump_in_its_own_time(arm: Bench) -> None:
    verdict = arm.crash(options=Options(qemu_args=throttled(1 << 20)))
    assert verdict.passed, render(verdict)
    assert verdict.form == "filtered"


def test_a_target_that_is_too_slow_costs_the_dump_but_not_the_log(arm: Bench, tmp_path: Path) -> None:
    verdict = with_target(arm, tmp_path, deadline=20).crash(options=Options(qemu_args=throttled(200_000)))
    assert verdict.dmesg_size, render(verdict)
    assert checks(verdict)["dump committed"] is False
    assert checks(verdict)["earlier dumps unharmed"] is True
    assert checks(verdict)["machine back in production"] is True
