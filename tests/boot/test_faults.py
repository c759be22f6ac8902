"""Faults of the dump target and of the capture kernel: what is left, and that the machine is back: docs/faults.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kdumpbuild import resources
from kdumpbuild.crashtest import Options, Verdict, disk, render
from kdumpbuild.crashtest.protocol import Means
from kdumpbuild.run import run
from tests.boot.changed import Changed, changed, with_files
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


# How far a capture comes before its first process goes away, and what is to be had of it then.
STAGES = {
    "dump target": (False, False),
    "dmesg": (False, False),
    "vmcore": (True, False),
    "done": (True, True),
}


def dies_at(bench: Bench, folder: Path, stage: str) -> Changed:
    """Return a set whose capture kernel panics on entering a stage; at the vmcore, with all of it written."""
    common = (resources.TEMPLATES / "initramfs/lib/common.sh").read_text()
    assert common.count("\nenter() {\n") == 1
    last_act = 'makedumpfile --message-level 4 -d 31 /proc/vmcore "$dump/vmcore.part"' if stage == "vmcore" else "true"
    common = common.replace("\nenter() {\n", "\nenter_stage() {\n")
    common += f'\nenter() {{\n\tenter_stage "$@"\n\tcase $1 in\n\t"{stage}"*) exec {last_act} ;;\n\tesac\n}}\n'
    files = {"lib/kdump/common.sh": common.encode()}
    initramfs = with_files(bench.image_set.initramfs.read_bytes(), files)
    return changed(bench, folder, files={bench.image_set.initramfs.name: initramfs})


@pytest.mark.parametrize("stage", STAGES)
def test_a_capture_kernel_that_panics_shows_what_it_had_committed_and_no_more(
    arm: Bench, tmp_path: Path, stage: str
) -> None:
    bad = dies_at(arm, tmp_path, stage)
    verdict = bad.crash()
    assert "Attempted to kill init" in bad.console, render(verdict)
    log, memory = STAGES[stage]
    assert bool(verdict.dmesg_size) is log
    assert bool(verdict.vmcore_size) is memory
    assert checks(verdict)["dump committed"] is memory
    assert checks(verdict)["earlier dumps unharmed"] is True
    assert checks(verdict)["machine back in production"] is True


def test_a_watchdog_that_is_shorter_than_the_capture_costs_the_dump_but_not_the_machine(arm: Bench) -> None:
    """The capture kernel of this board has no driver for it, and so cannot feed it."""
    verdict = arm.crash(options=Options(means=Means(watchdog=8), qemu_args=throttled(300_000)))
    assert verdict.by_watchdog, render(verdict)
    assert verdict.dmesg_size
    assert not verdict.vmcore_size
    assert checks(verdict)["dump committed"] is False
    assert checks(verdict)["earlier dumps unharmed"] is True
    assert checks(verdict)["machine back in production"] is True


def test_a_makedumpfile_that_is_killed_leaves_the_raw_memory(arm: Bench, tmp_path: Path) -> None:
    """In the middle of its work, with a part of the dump written, as the kernel does it when memory ends."""
    common = (resources.TEMPLATES / "initramfs/lib/common.sh").read_text()
    assert common.count("\nlimited() (\n") == 1
    common = common.replace("\nlimited() (\n", "\nlimited_in_time() (\n")
    common += """
limited() {
	case $* in
	*/vmcore.part*) ;;
	*)
		limited_in_time "$@"
		return
		;;
	esac
	shift
	"$@" &
	victim=$!
	until [ -s "$dump/vmcore.part" ]; do :; done
	kill -KILL "$victim"
	wait "$victim"
}
"""
    initramfs = with_files(arm.image_set.initramfs.read_bytes(), {"lib/kdump/common.sh": common.encode()})
    verdict = changed(arm, tmp_path, files={arm.image_set.initramfs.name: initramfs}).crash()
    assert verdict.passed, render(verdict)
    assert verdict.form == "raw"
    (dump,) = [path for path in (arm.work / "target/kdump").iterdir() if path.name == "0002"]
    assert "makedumpfile ended with 137" in (dump / "status").read_text()


# -- a dump target that is broken ---------------------------------------------------------------------------------

BAD_SECTORS = range((32 << 11) + 1400, 1024 << 11, 1 << 11)
"""One in each MiB behind what mke2fs wrote, and far into it, up to the journal: small files are spared."""


def bad_sectors(bench: Bench) -> tuple[str, ...]:
    """Return what makes QEMU fail every write to them, as worn-out flash does."""
    rules = bench.work.parent / "bad-sectors"
    rules.write_text(
        "".join(
            f'[inject-error]\nevent = "pwritev"\niotype = "write"\nerrno = "5"\nsector = "{sector}"\n'
            for sector in BAD_SECTORS
        )
    )
    return ("-set", f"drive.dump.file=blkdebug:{rules}:{bench.work}/disk.img")


def test_a_target_that_fails_writes_shows_no_dump_that_it_could_not_keep(arm: Bench, tmp_path: Path) -> None:
    verdict = with_target(arm, tmp_path).crash(options=Options(qemu_args=bad_sectors(arm)))
    assert verdict.failure is not None
    assert "cannot write it: sync: " in verdict.failure.why, render(verdict)
    assert checks(verdict)["dump committed"] is False, render(verdict)
    assert verdict.dmesg_size
    assert not verdict.vmcore_size
    assert checks(verdict)["earlier dumps unharmed"] is True
    assert checks(verdict)["machine back in production"] is True


def test_a_corrupt_file_system_is_told_and_the_machine_is_back(
    arm: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of the dumps is lost: its block holds zeros, where the file system wants names and a checksum."""
    make_disk = disk.make_disk

    def make_a_corrupt_one(image: Path, *arguments: Any, **named: Any) -> None:
        make_disk(image, *arguments, **named)
        zap = f"zap_block -f /{arm.board.dump.directory} 0"
        run(["debugfs", "-w", "-R", zap, str(image)], what="corrupt the test machine's disk")

    monkeypatch.setattr(disk, "make_disk", make_a_corrupt_one)
    verdict = with_target(arm, tmp_path).crash()
    assert verdict.failure is not None
    assert "cannot write to the folder kdump" in verdict.failure.why, render(verdict)
    assert checks(verdict)["machine back in production"] is True
