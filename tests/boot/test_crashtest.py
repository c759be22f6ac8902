"""Real crashes of the image sets, and the ways in which a crash test has to fail."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.analysis import open_dump
from kdumpbuild.board.loader import load_board
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.userland import Userland, default_root
from kdumpbuild.cli import main
from kdumpbuild.crashtest import TRIGGERS, Options, Verdict, render, run_crashtest
from kdumpbuild.crashtest.runner import TARGET_FOLDER
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board

pytestmark = pytest.mark.boot

MIB = 1 << 20
# No RTC, and one nanosecond an instruction: the machine crashes in the first second of 1970, on any host.
FIRST_SECOND = ("-smp", "1", "-icount", "shift=0", "-rtc", "base=1970-01-01T00:00:00,clock=vm")


@dataclass(frozen=True)
class Bench:
    """A board, its image set and a place to work."""

    board: Board
    image_set: SetFiles
    userland: Userland
    work: Path

    def crash(self, trigger: str = "sysrq", options: Options | None = None) -> Verdict:
        return run_crashtest(self.board, self.image_set, self.userland, TRIGGERS[trigger], self.work, options)

    def conf_for(self, crashkernel: int) -> Path:
        """Return a kdump-load.conf that is content with less memory than the set needs."""
        conf = self.work.parent / "small.conf"
        lines = self.image_set.load_conf.read_text().splitlines()
        changed = [
            f"KDUMP_CRASHKERNEL_BYTES={crashkernel}" if line.startswith("KDUMP_CRASHKERNEL_BYTES=") else line
            for line in lines
        ]
        assert changed != lines
        conf.write_text("\n".join(changed) + "\n")
        return conf


def bench_of(name: str, built: Path, tmp_path: Path) -> Bench:
    board = load_board(resources.BOARDS / f"{name}.toml")
    if shutil.which(board.arch.qemu) is None:
        pytest.skip(f"no {board.arch.qemu}")
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    userland = Userland(default_root(cache, board.arch), board.arch)
    return Bench(board, SetFiles(built / name, board.arch.image), userland, tmp_path / "a place, with space")


@pytest.fixture(params=["arm-virt", "arm64-virt"])
def bench(request: pytest.FixtureRequest, built: Path, tmp_path: Path) -> Bench:
    return bench_of(str(request.param), built, tmp_path)


@pytest.fixture
def arm(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm-virt", built, tmp_path)


@pytest.mark.parametrize("trigger", ["sysrq", "lkdtm-panic", "lkdtm-null"])
def test_a_crash_is_captured_with_exactly_the_boards_memory(bench: Bench, trigger: str) -> None:
    verdict = bench.crash(trigger)
    assert verdict.passed, render(verdict)
    assert verdict.reserved == reserved(bench.image_set).size
    assert verdict.form == "filtered"
    assert verdict.crash is not None
    assert verdict.crash.comm == verdict.marker
    times = verdict.times
    assert times.dmesg is not None
    assert times.vmcore is not None
    assert times.back is not None
    assert 0 < times.dmesg < times.vmcore < times.back
    result = json.loads((bench.work / "result.json").read_text())
    assert result["passed"] is True
    assert (bench.work / "report.txt").read_text().endswith(f"PASS  {bench.board.name} {trigger}\n")
    assert not (bench.work / "disk.img").exists()
    # arm64 without HOTPLUG_CPU says "Some CPUs may be stale": they go on running in the crashed kernel's memory.
    assert "may be stale" not in (bench.work / "console.log").read_text(errors="replace")


def test_what_the_machine_wants_of_its_capture_kernel_comes_beside_what_a_test_does(arm: Bench) -> None:
    assert arm.board.machine is not None
    board = replace(arm.board, machine=replace(arm.board.machine, capture_cmdline="kdump.nowatchdog"))
    size = reserved(arm.image_set).size + 2 * MIB
    conf = arm.conf_for(size)
    install = {f"{TARGET_FOLDER}/{arm.image_set.load_conf.name}": conf}
    verdict = replace(arm, board=board).crash(options=Options(crashkernel=size, install=install))
    assert verdict.passed, render(verdict)
    assert verdict.reserved == size
    console = (arm.work / "console.log").read_text(errors="replace")
    assert " kdump.nowatchdog" in console.partition("Loading crashdump kernel")[2]
    assert "nowatchdog" not in conf.read_text() + arm.image_set.load_conf.read_text()


def test_a_cut_off_dump_is_refused_wherever_it_is_cut(arm: Bench, tmp_path: Path) -> None:
    verdict = arm.crash()
    assert verdict.passed, render(verdict)
    whole = Path(verdict.places["dump"]) / "vmcore"
    for size in (100, 5000, MIB, whole.stat().st_size - 1):
        cut = tmp_path / "vmcore"
        cut.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(UserError, match="cut off"):
            open_dump(cut, arm.image_set.production_vmlinux)
    with pytest.raises(UserError, match=r"has no debug info|another kernel"):
        open_dump(whole, arm.image_set.capture_vmlinux)


def test_a_compressed_dump_of_arm_becomes_elf(arm: Bench, tmp_path: Path) -> None:
    """drgn cannot read 32-bit ARM's compressed form by itself."""
    verdict = arm.crash()
    assert verdict.passed, render(verdict)
    vmcore, vmlinux, elf = Path(verdict.places["dump"]) / "vmcore", arm.image_set.production_vmlinux, tmp_path / "elf"
    assert vmcore.read_bytes()[:8] == b"KDUMP   "
    assert main(["open", str(vmcore), str(vmlinux), "--elf", str(elf)]) == 0
    plain = open_dump(elf, vmlinux)
    assert plain.converted is None
    assert plain.crash().comm == verdict.marker


def test_a_crash_in_the_first_second_without_a_clock_ends_in_a_raw_dump(arm: Bench) -> None:
    verdict = arm.crash(options=Options(qemu_args=FIRST_SECOND))
    assert verdict.passed, render(verdict)
    assert verdict.form == "raw"
    assert verdict.crash is not None
    assert verdict.crash.uptime < 1.0


# Enough to load and to start the kernel, too little to unpack its user space.
TOO_SMALL = {"arm-virt": 9 * MIB, "arm64-virt": 12 * MIB}


def test_too_little_memory_is_named_as_such(bench: Bench) -> None:
    size = TOO_SMALL[bench.board.name]
    conf = {"usr/lib/kdump/kdump-load.conf": bench.conf_for(size)}
    verdict = bench.crash(options=Options(crashkernel=size, install=conf))
    assert not verdict.passed
    assert verdict.failure is not None
    assert verdict.failure.code == "out-of-memory", render(verdict)
    assert "raise crashkernel=" in verdict.failure.hint
    assert verdict.times.total < 120


def test_less_memory_than_the_set_needs_is_refused_by_the_load_script(arm: Bench) -> None:
    verdict = arm.crash(options=Options(crashkernel=8 * MIB))
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert "exit code 6" in verdict.failure.what
    assert "crashkernel=" in verdict.failure.why


def test_no_reservation_is_named_as_such(arm: Bench) -> None:
    verdict = arm.crash(options=Options(crashkernel=0))
    assert verdict.failure is not None
    assert verdict.failure.code == "no-reservation", render(verdict)


def test_a_damaged_image_set_is_refused_before_the_crash(arm: Bench, tmp_path: Path) -> None:
    damaged = tmp_path / "initramfs"
    content = bytearray(arm.image_set.initramfs.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    verdict = arm.crash(options=Options(install={"usr/lib/kdump/initramfs.cpio.gz": damaged}))
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert "damaged" in verdict.failure.why


def test_a_full_dump_target_keeps_the_log_and_the_earlier_dump(arm: Bench) -> None:
    verdict = arm.crash(options=Options(disk_size=6 * MIB))
    assert not verdict.passed
    assert verdict.failure is not None
    assert verdict.failure.code == "capture-failed", render(verdict)
    checks = {check.name: check.ok for check in verdict.checks}
    assert checks["dump committed"] is False
    assert checks["earlier dumps unharmed"] is True
    assert verdict.dmesg_size
    assert verdict.times.dmesg is not None
    # The machine is not lost for that.
    assert checks["machine back in production"] is True


def test_an_oops_that_does_not_panic_is_named_as_such(arm: Bench) -> None:
    verdict = arm.crash("lkdtm-null", Options(cmdline="oops=continue sysctl.kernel.panic_on_oops=0"))
    assert verdict.failure is not None
    assert verdict.failure.code == "trigger-returned", render(verdict)


def test_the_deadline_ends_the_test_and_leaves_nothing_running(arm: Bench) -> None:
    verdict = arm.crash(options=Options(deadline=0.5))
    assert verdict.failure is not None
    assert verdict.failure.code == "no-boot", render(verdict)
    assert verdict.times.total < 15
    marker = str(arm.work).encode()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert not (b"qemu" in process.read_bytes() and marker in process.read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_a_disk_at_the_wrong_place_is_named_as_such(arm: Bench) -> None:
    board = replace(arm.board, dump=replace(arm.board.dump, device="/dev/mmcblk0", device_timeout=1))
    verdict = replace(arm, board=board).crash()
    assert verdict.failure is not None
    assert verdict.failure.code == "no-dump-target", render(verdict)
