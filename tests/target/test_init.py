"""The capture system's init, the real file, under real BusyBox: what it saves, and what it does when things fail."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.build import initramfs
from tests.target.conftest import BUSYBOX, FOLDER, MAKEDUMPFILE, mount_small

if TYPE_CHECKING:
    from kdumpbuild.crashtest.dumps import SavedDump
    from tests.target.conftest import CaptureSystem

POWER_CUT = "busybox sh -c 'kill -9 0'\n"
# What makedumpfile 1.7.2 says to a crash in the first second of a machine without a clock.
NO_CLOCK = """
echo "read_vmcoreinfo_basic_info: Invalid data in /tmp/vmcoreinfoXXXXXX: CRASHTIME=0" >&2
echo "makedumpfile Failed." >&2
exit 1
"""
# A tool that a limit does not end, as when it waits for a dead disk.
NO_LIMIT = 'shift 3\nexec "$@"\n'
# Fills the disk, as a tool that is halfway through would.
DISK_FULL = """
for last; do :; done
busybox dd if=/proc/vmcore of="$last" bs=64k 2>&1
"""


def content(dump: SavedDump, name: str) -> bytes:
    return (dump.folder / name).read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_good_capture(system: CaptureSystem) -> None:
    console = system.run()
    dump = system.dump
    assert dump.name == "0001"
    assert files(dump.folder).keys() == {"dmesg.txt", "status", "vmcore"}
    assert b"Kernel panic - not syncing: test" in content(dump, "dmesg.txt")
    assert content(dump, "vmcore").startswith(b"filtered: ")
    assert dump.form == "filtered"
    assert dump.status["format"] == "1"
    assert dump.status["board"] == "arm-virt"
    assert dump.status["dmesg"] == "ok"
    assert dump.status["reason"] == ""
    assert int(dump.status["dmesg_bytes"]) == len(content(dump, "dmesg.txt"))
    assert int(dump.status["vmcore_bytes"]) == len(content(dump, "vmcore"))
    assert 0 < float(dump.status["dmesg_seconds"]) <= float(dump.status["vmcore_seconds"])
    assert system.attempt["stage"] == "done"
    assert system.attempt["dump"] == "0001"
    assert [line for line in console.splitlines() if line.startswith("kdump: ")][1:] == [
        "kdump: watchdog /dev/watchdog",
        "kdump: dump target /dev/vda",
        "kdump: dmesg",
        f"kdump: dmesg committed, {dump.status['dmesg_bytes']} bytes",
        "kdump: vmcore",
        f"kdump: vmcore committed, {dump.status['vmcore_bytes']} bytes, filtered",
        "kdump: done",
        "kdump: rebooting",
    ]
    assert (system.root / "reboot.log").read_text() == "reboot -f\n"
    assert "mount -t ext4 -o noatime /dev/vda /mnt\n" in (system.root / "calls.log").read_text()


def test_the_target_is_unmounted_before_the_reboot(system: CaptureSystem) -> None:
    mount_small(system, "1m")
    system.run()
    assert not system.mount_point.is_mount()
    assert system.dump.form == "filtered"


def test_the_boards_options_reach_makedumpfile(system: CaptureSystem) -> None:
    system.configure(level=17)
    system.run()
    assert b"-l --non-mmap -d 17 /proc/vmcore /mnt/kdump/0001/vmcore.part" in content(system.dump, "vmcore")


def test_nobody_but_root_reads_a_dump(system: CaptureSystem) -> None:
    system.run()
    folder = system.dump.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.iterdir())


def test_the_log_is_a_dump_before_the_memory_is_read(system: CaptureSystem) -> None:
    system.tool("makedumpfile", "busybox cp -a /mnt/kdump /seen\n" + MAKEDUMPFILE)
    system.run()
    seen = files(system.root / "seen")
    assert b"Kernel panic" in seen["0001/dmesg.txt"]
    assert b"dmesg=ok\nvmcore=none\n" in seen["0001/status"]
    assert "0001/vmcore" not in seen


def test_an_earlier_dump_is_not_touched(system: CaptureSystem) -> None:
    system.run()
    before = files(system.dump.folder)
    system.tool("vmcore-dmesg", "echo another log\n")
    system.run()
    assert [dump.name for dump in system.dumps] == ["0001", "0002"]
    assert files(system.dumps[0].folder) == before
    assert content(system.dumps[1], "dmesg.txt") == b"another log\n"


@pytest.mark.parametrize(("there", "next_one"), [("0008", "0009"), ("0009", "0010"), ("9999", "10000")])
def test_numbers_go_on_as_decimals(system: CaptureSystem, there: str, next_one: str) -> None:
    (system.target / FOLDER / there).mkdir(parents=True)
    (system.target / FOLDER / "0002-kept").mkdir()
    system.run()
    assert (system.target / FOLDER / next_one / "vmcore").is_file()


def test_makedumpfile_that_fails_leaves_the_raw_memory(system: CaptureSystem) -> None:
    system.tool("makedumpfile", NO_CLOCK)
    console = system.run()
    dump = system.dump
    assert dump.form == "raw"
    assert content(dump, "vmcore") == (system.root / "proc/vmcore").read_bytes()
    assert dump.status["reason"] == "vmcore: makedumpfile ended with 1: makedumpfile Failed."
    assert "kdump: trying the raw memory" in console
    assert re.search(r"kdump: vmcore committed, 307202 bytes, raw", console)
    assert system.rebooted


def test_a_copy_of_the_memory_that_fails_has_its_reason(system: CaptureSystem) -> None:
    system.tool("makedumpfile", NO_CLOCK)
    fails = 'echo "cat: write error: Input/output error" >&2; exit 1'
    system.tool("cat", f'case $1 in /proc/vmcore) {fails} ;; esac\nexec busybox cat "$@"\n')
    system.run()
    dump = system.dump
    assert dump.form == ""
    assert dump.status["reason"].endswith("; copying the raw memory failed: cat: write error: Input/output error")
    assert system.rebooted


def test_makedumpfile_that_is_killed_counts_as_failed(system: CaptureSystem) -> None:
    system.tool("makedumpfile", 'for last; do :; done\necho half >"$last"\nkill -9 $$\n')
    system.run()
    assert system.dump.form == "raw"
    assert not (system.dump.folder / "vmcore.part").exists()


def test_no_space_for_the_memory_keeps_the_log(system: CaptureSystem) -> None:
    mount_small(system, "200k")
    system.tool("makedumpfile", DISK_FULL)
    console = system.run()
    dump = system.dump
    assert files(dump.folder).keys() == {"dmesg.txt", "status"}
    assert dump.form == ""
    assert dump.status["dmesg"] == "ok"
    assert "no space for the raw memory" in dump.status["reason"]
    assert "no space for the raw memory" in console
    assert system.attempt["reason"] == dump.status["reason"]
    assert system.rebooted


def test_space_that_a_cut_off_dump_holds_is_used_when_it_is_needed(system: CaptureSystem) -> None:
    mount_small(system, "200k")
    earlier = system.target / FOLDER / "0001"
    earlier.mkdir(parents=True)
    (earlier / "dmesg.txt").write_text("the log of an earlier crash\n")
    (earlier / "vmcore.part").write_bytes(b"cut off" * 16384)
    big = MAKEDUMPFILE + 'busybox dd if=/proc/vmcore of="$last" bs=1k count=150 2>&1\n'
    system.tool("makedumpfile", big)
    console = system.run()
    assert "kdump: removing the cut-off 0001/vmcore.part" in console
    assert files(earlier).keys() == {"dmesg.txt"}
    assert system.dumps[1].form == "filtered"
    assert system.dumps[1].status["reason"] == ""


def test_a_cut_off_dump_stays_when_there_is_space(system: CaptureSystem) -> None:
    part = system.target / FOLDER / "0001/vmcore.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"cut off")
    system.run()
    assert part.read_bytes() == b"cut off"
    assert [dump.form for dump in system.dumps] == ["", "filtered"]


def test_a_full_disk_says_so(system: CaptureSystem) -> None:
    mount_small(system, "64k")
    (system.target / "product-data").write_bytes(bytes(64 << 10))
    console = system.run()
    assert "kdump: failed: " in console
    assert "No space left" in console
    assert system.dumps == []
    assert system.rebooted


@pytest.mark.parametrize("tool", ["vmcore-dmesg", "makedumpfile"])
def test_power_that_is_cut_leaves_nothing_that_looks_whole(system: CaptureSystem, tool: str) -> None:
    system.tool(tool, f"echo half >&1\n{POWER_CUT}")
    system.run()
    assert not system.rebooted
    assert all(dump.vmcore is None for dump in system.dumps)
    assert [dump.dmesg is not None for dump in system.dumps] == ([] if tool == "vmcore-dmesg" else [True])
    system.tool("vmcore-dmesg", "echo log\n")
    system.tool("makedumpfile", MAKEDUMPFILE)
    system.run()
    last = system.dumps[-1]
    assert last.name == "0002"
    assert last.form == "filtered"


@pytest.mark.parametrize(
    "failure",
    ["echo out of luck >&2\nexit 33\n", "exit 0\n", "kill -11 $$\n"],
    ids=["fails", "says-nothing", "crashes"],
)
def test_the_log_comes_from_makedumpfile_when_vmcore_dmesg_fails(system: CaptureSystem, failure: str) -> None:
    system.tool("vmcore-dmesg", failure)
    console = system.run()
    assert content(system.dump, "dmesg.txt") == b"the log, by makedumpfile\n"
    assert system.dump.form == "filtered"
    assert system.dump.status["reason"] == ""
    assert "kdump: failed: dmesg: vmcore-dmesg ended with" in console


def test_memory_is_saved_when_no_tool_can_read_the_log(system: CaptureSystem) -> None:
    system.tool("vmcore-dmesg", "echo no log here >&2\nexit 1\n")
    system.tool("makedumpfile", NO_CLOCK)
    system.run()
    dump = system.dump
    assert dump.status["dmesg"] == "failed"
    assert dump.dmesg is None
    assert dump.form == "raw"


def test_the_log_tool_cannot_take_all_the_time(system: CaptureSystem) -> None:
    system.configure(deadline=12)
    system.tool("vmcore-dmesg", "exec busybox sleep 60\n")
    system.run()
    assert content(system.dump, "dmesg.txt") == b"the log, by makedumpfile\n"
    assert system.dump.form == "filtered"


def test_a_missing_device_is_waited_for_and_named(system: CaptureSystem) -> None:
    system.configure(device="/dev/mmcblk0p4", device_timeout=2)
    started = time.monotonic()
    console = system.run()
    assert 1 < time.monotonic() - started < 8
    assert "kdump: failed: dump target /dev/mmcblk0p4: not there after 2 s; there are: vda" in console
    assert files(system.target) == {}
    assert system.rebooted


def test_a_device_that_comes_late_is_found(system: CaptureSystem) -> None:
    system.configure(device="/dev/late", device_timeout=10)
    late = threading.Timer(1, os.mknod, (system.root / "dev/late", stat.S_IFBLK | 0o660, os.makedev(7, 251)))
    late.start()
    system.run()
    late.join()
    assert system.dump.form == "filtered"


def test_a_partition_is_found_by_its_name(system: CaptureSystem) -> None:
    system.configure(device="PARTLABEL=crash dumps")
    uevent = system.root / "sys/class/block/vda/uevent"
    uevent.write_text("MAJOR=7\nMINOR=250\nDEVNAME=vda\nDEVTYPE=partition\nPARTN=1\nPARTNAME=crash dumps\n")
    system.run()
    assert "mount -t ext4 -o noatime /dev/vda /mnt" in (system.root / "calls.log").read_text()
    assert system.dump.form == "filtered"


def test_ubifs_is_mounted_without_a_compressor(system: CaptureSystem) -> None:
    """The capture kernel has none, whatever the volume's default is, and whatever the board has for the product."""
    system.configure(filesystem="ubifs", device="ubi0:dumps", mount_options="compr=lzo")
    system.run()
    calls = (system.root / "calls.log").read_text()
    assert "mount -t ubifs -o noatime,compr=lzo,compr=none ubi0:dumps /mnt\n" in calls
    assert system.dump.form == "filtered"


def test_a_file_system_is_found_by_its_label(system: CaptureSystem) -> None:
    system.configure(device="LABEL=dumps")
    system.tool("findfs", '[ "$1" = LABEL=dumps ] && echo /dev/vda\n')
    system.run()
    assert system.dump.form == "filtered"


def test_a_target_that_cannot_be_mounted(system: CaptureSystem) -> None:
    system.tool("mount", 'case $* in *" /mnt") exit 32 ;; esac\n')
    console = system.run()
    assert "kdump: failed: dump target /dev/vda: cannot mount /dev/vda as ext4" in console
    assert system.rebooted


def test_a_read_only_target(system: CaptureSystem) -> None:
    mount_small(system, "1m", "ro")
    console = system.run()
    assert "kdump: failed: dump target /dev/vda: cannot write to the folder kdump on /dev/vda" in console
    assert system.rebooted


def test_the_watchdog_is_left_alone_when_asked_for(system: CaptureSystem) -> None:
    (system.root / "proc/cmdline").write_text("panic=5 kdump.nowatchdog\n", encoding="utf-8")
    console = system.run()
    assert "kdump: vmcore committed" in console
    assert "kdump: watchdog" not in console


def test_a_folder_that_cannot_be_written_to_is_told(system: CaptureSystem) -> None:
    """As in a corrupt file system: it is there, and nothing can be made in it."""
    (system.root / "mnt/kdump/attempt.part").mkdir(parents=True)
    console = system.run()
    assert "kdump: failed: dump target /dev/vda: cannot write to the folder kdump on /dev/vda" in console
    assert system.rebooted


def test_the_file_system_is_repaired_where_the_tool_is_there(system: CaptureSystem) -> None:
    system.tool("fsck.ext4", 'echo "fsck $*" >>/calls.log\n')
    system.run()
    calls = (system.root / "calls.log").read_text().splitlines()
    assert calls.index("fsck -p /dev/vda") < calls.index("mount -t ext4 -o noatime /dev/vda /mnt")


def test_the_deadline_ends_everything(system: CaptureSystem) -> None:
    system.configure(deadline=2)
    system.tool("timeout", NO_LIMIT)
    system.tool("makedumpfile", "exec busybox sleep 100\n")
    started = time.monotonic()
    console = system.run(seconds=20)
    assert 2 <= time.monotonic() - started < 12
    assert "kdump: failed: not done after 2 s" in console
    assert console.rstrip().endswith("kdump: rebooting")
    assert system.dump.dmesg is not None
    assert system.dump.vmcore is None
    assert system.dump.status["reason"] == "vmcore: not done after 2 s"
    assert system.dump.status["dmesg"] == "ok"
    assert system.attempt["reason"] == "vmcore: not done after 2 s"
    # Without a sync: a disk that does not answer would hold it for ever.
    assert (system.root / "reboot.log").read_text() == "reboot -n -f\n"


def test_a_makedumpfile_that_hangs_leaves_time_for_the_raw_memory(system: CaptureSystem) -> None:
    system.configure(deadline=6)
    system.tool("makedumpfile", "exec busybox sleep 100\n")
    system.run(seconds=20)
    assert system.dump.form == "raw"
    assert system.dump.status["reason"].startswith("vmcore: makedumpfile ended with 137")


def test_a_capture_in_which_nothing_moves_is_ended_before_the_deadline(system: CaptureSystem) -> None:
    system.configure(deadline=60, stall=5)
    system.tool("timeout", NO_LIMIT)
    system.tool("makedumpfile", "exec busybox sleep 100\n")
    started = time.monotonic()
    console = system.run(seconds=40)
    assert 5 <= time.monotonic() - started < 30
    assert "kdump: failed: nothing has moved for 5 s" in console
    assert system.attempt["reason"] == "vmcore: nothing has moved for 5 s"
    assert system.dump.status["reason"] == "vmcore: nothing has moved for 5 s"


def test_pages_that_are_written_are_progress(system: CaptureSystem) -> None:
    system.configure(deadline=60, stall=3)
    counted = "for n in 1 2 3 4 5 6 7; do\n\techo nr_dirtied $n >/proc/vmstat\n\tbusybox sleep 1\ndone\n"
    system.tool("makedumpfile", counted + MAKEDUMPFILE)
    system.run(seconds=40)
    assert system.dump.form == "filtered"


def test_a_machine_in_a_crash_loop_saves_less_and_less(system: CaptureSystem) -> None:
    system.configure(loop_crashes=2, loop_minutes=1)
    console = [system.run() for _ in range(5)][-1]
    assert [dump.form for dump in system.dumps] == ["filtered", "filtered", "", ""]
    assert "4 crashes in a row, each after less than 1 minutes: nothing is saved" in console
    assert system.dumps[2].dmesg is not None
    assert "only the log is saved" in system.dumps[2].status["reason"]
    system.tool("vmcore-dmesg", "echo '[ 3600.123456] much later'\n")
    system.run()
    assert system.dumps[-1].form == "filtered"


def test_no_more_than_the_wanted_number_of_dumps_stays(system: CaptureSystem) -> None:
    system.configure(keep=2, loop_crashes=0)
    for _ in range(4):
        system.run()
    assert [dump.name for dump in system.dumps] == ["0003", "0004"]
    (system.target / FOLDER / "0004").rename(system.target / FOLDER / "9999")
    system.run()
    assert [dump.name for dump in system.dumps] == ["9999", "10000"]


def test_the_newest_dump_with_memory_is_not_removed_for_a_log(system: CaptureSystem) -> None:
    system.configure(keep=1, loop_crashes=0)
    system.run()
    system.configure(keep=1, loop_crashes=0, form="dmesg")
    system.run()
    system.run()
    assert [(dump.name, dump.form) for dump in system.dumps] == [("0001", "filtered"), ("0003", "")]


def test_old_dumps_make_room_where_the_board_allows_it(system: CaptureSystem) -> None:
    mount_small(system, "1000k")
    for name in ("0001", "0002", "0003"):
        (system.target / FOLDER / name).mkdir(parents=True)
        (system.target / FOLDER / name / "vmcore").write_bytes(bytes(300000))
        (system.target / FOLDER / name / "status").write_text("vmcore=filtered\n")
    system.configure(keep=9, loop_crashes=0)
    system.tool("makedumpfile", MAKEDUMPFILE + 'busybox dd if=/proc/vmcore of="$last" bs=1k 2>&1\n')
    console = system.run()
    assert "kdump: removing the dump 0001" in console
    assert "removing the dump 0002" not in console
    assert [(dump.name, dump.form) for dump in system.dumps] == [(f"000{n}", "filtered") for n in (2, 3, 4)]


def test_what_must_stay_free_stays_free(system: CaptureSystem) -> None:
    mount_small(system, "900k")
    system.configure(min_free=700 << 10)
    system.tool("makedumpfile", DISK_FULL)
    console = system.run()
    assert system.dump.form == ""
    assert system.dump.dmesg is not None
    assert "kdump: failed: vmcore: makedumpfile ended with" in console
    assert "no space for the raw memory" in system.dump.status["reason"]
    free = os.statvfs(system.disk)
    assert free.f_bavail * free.f_frsize >= 700 << 10


@pytest.mark.parametrize(("form", "left"), [("raw", "raw"), ("filtered", "filtered"), ("dmesg", "")])
def test_the_form_that_the_board_wants(system: CaptureSystem, form: str, left: str) -> None:
    system.configure(form=form)
    system.run()
    assert system.dump.form == left
    assert system.dump.dmesg is not None
    assert system.attempt["stage"] == "done"


def test_raw_memory_that_does_not_fit_is_filtered(system: CaptureSystem) -> None:
    mount_small(system, "200k")
    system.configure(form="raw")
    system.run()
    assert system.dump.form == "filtered"
    assert system.dump.status["reason"] == "vmcore: no space for the raw memory"


def test_what_the_crashed_kernel_says_of_itself_is_in_the_status(system: CaptureSystem) -> None:
    note = b"\0" * 20 + b"VMCOREINFO\0\0OSRELEASE=6.12.1\nBUILD-ID=00ff\nPAGESIZE=4096\nCRASHTIME=1700000000\n"
    (system.root / "proc/vmcore").write_bytes(note + bytes(65536))
    system.run()
    status = system.dump.status
    assert (status["release"], status["build_id"], status["crash_time"]) == ("6.12.1", "00ff", "1700000000")


def test_a_led_blinks_meanwhile(system: CaptureSystem) -> None:
    system.configure(led="status")
    led = system.root / "sys/class/leds/status/brightness"
    led.parent.mkdir(parents=True)
    led.write_text("")
    system.tool("makedumpfile", "busybox sleep 2\n" + MAKEDUMPFILE)
    system.run()
    assert led.read_text().strip() in ("0", "1")


def test_the_deadline_holds_while_mount_hangs(system: CaptureSystem) -> None:
    system.configure(deadline=2)
    system.tool("mount", 'case $* in *" /mnt") exec busybox sleep 100 ;; esac\n')
    console = system.run(seconds=20)
    assert "kdump: failed: not done after 2 s" in console
    assert system.rebooted


def test_a_reset_that_does_not_come_is_tried_in_each_way_and_the_watchdog_starves(system: CaptureSystem) -> None:
    system.tool("reboot", 'echo "reboot $*" >>/reboot.log\nexec busybox sleep 100\n')
    os.mkfifo(system.root / "proc/sysrq-trigger")
    system.tool("makedumpfile", "busybox sleep 2\n" + MAKEDUMPFILE)
    feeders: list[set[str]] = []
    # The kernel's part: it hears the letter b.
    listener = 'cd "$1"; read -r letter <proc/sysrq-trigger; echo "$letter" >sysrq.log'
    with subprocess.Popen(["/bin/sh", "-c", listener, "sh", str(system.root)]) as kernel:

        def count() -> None:
            feeders.append(open_by(system.root / "dev/watchdog"))

        def count_at_the_end() -> None:
            kernel.wait()
            count()

        look = threading.Timer(2, count)
        last = threading.Thread(target=count_at_the_end)
        look.start()
        last.start()
        with pytest.raises(AssertionError, match="no end after"):
            system.run(seconds=20)
        last.join(5)
    assert (system.root / "sysrq.log").read_text() == "b\n"
    assert (system.root / "reboot.log").read_text() == "reboot -f\nreboot -n -f\n"
    assert len(feeders) == 2
    assert feeders[0], "while it works the guard feeds the watchdog"
    assert not feeders[1], "the watchdog must not be fed to the end"


def open_by(node: Path) -> set[str]:
    """Return the processes that have a file open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink() == node:
                found.add(link.parts[2])
    return found


def test_the_watchdog_gets_the_boards_timeout(system: CaptureSystem) -> None:
    system.run()
    assert "watchdog -F -T 30 -t 1 /dev/watchdog" in (system.root / "calls.log").read_text().splitlines()


def test_a_capture_that_is_held_does_not_feed_the_watchdog_before(system: CaptureSystem) -> None:
    (system.root / "proc/cmdline").write_text("console=ttyAMA0 kdump.hold=2 panic=5\n", encoding="utf-8")
    started = float((system.root / "proc/uptime").read_text(encoding="utf-8").split()[0])
    console = system.run()
    assert console.index("kdump: held for 2 s") < console.index("kdump: watchdog /dev/watchdog")
    assert float(system.dump.status["dmesg_seconds"]) - started >= 2
    assert system.dump.form == "filtered"


def test_a_hold_that_is_no_number_holds_nothing(system: CaptureSystem) -> None:
    (system.root / "proc/cmdline").write_text("kdump.hold=long panic=5\n", encoding="utf-8")
    system.run()
    assert system.dump.form == "filtered"


def test_a_machine_without_a_watchdog(system: CaptureSystem) -> None:
    (system.root / "dev/watchdog").unlink()
    console = system.run()
    assert "watchdog" not in console
    assert system.dump.form == "filtered"


def test_a_missing_configuration_ends_in_a_reboot(system: CaptureSystem) -> None:
    (system.root / "etc/kdump.conf").unlink()
    console = system.run()
    assert "kdump: failed: start: no /etc/kdump.conf in the initramfs" in console
    assert system.rebooted


def test_a_broken_configuration_ends_in_a_reboot(system: CaptureSystem) -> None:
    (system.root / "etc/kdump.conf").write_text("KDUMP_BOARD='unfinished\n")
    console = system.run()
    assert "kdump: rebooting" in console
    assert system.rebooted


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "empty"])
def test_no_vmcore_ends_in_a_reboot(system: CaptureSystem, missing: bool) -> None:  # noqa: FBT001
    (system.root / "proc/vmcore").write_bytes(b"")
    if missing:
        (system.root / "proc/vmcore").unlink()
    console = system.run()
    assert "there is no /proc/vmcore" in console
    assert system.rebooted


def test_without_a_console_nothing_gets_into_the_dump(system: CaptureSystem) -> None:
    system.run(redirect="<&- >&- 2>&-")
    assert content(system.dump, "dmesg.txt") == b"[    1.000000] Kernel panic - not syncing: test\n"
    assert content(system.dump, "vmcore").startswith(b"filtered: ")


def test_a_shell_on_request_when_the_capture_failed(system: CaptureSystem) -> None:
    (system.root / "proc/cmdline").write_text("panic=5 kdump.shell\n")
    system.tool("cttyhack", "echo a shell\n")
    console = system.run()
    assert "a shell" not in console
    system.configure(device="/dev/none")
    console = system.run()
    assert "a shell" in console
    assert system.rebooted


def test_every_command_of_init_is_in_the_initramfs() -> None:
    parts = sorted((resources.TEMPLATES / "initramfs").rglob("*.sh"))
    script = "\n".join(p.read_text(encoding="utf-8") for p in [resources.TEMPLATES / "initramfs/init", *parts])
    script = re.sub(r"\$\(\(.*?\)\)", "", script)
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith(("#", "say", "fail")))
    applets = set(subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split())
    builtin = {"[", "echo", "kill", "printf", "read", "test", "true"}
    before = r"(?:^|[;&|({!]|\b(?:if|until|do|then|while|limited \S+))\s*"
    used = {name for name in applets if re.search(rf"{before}{re.escape(name)}\s", code, re.MULTILINE)}
    assert {"dd", "ls", "mkfifo", "mount", "mv", "sync", "tee"} <= used
    assert used - builtin <= {*initramfs._APPLETS, *initramfs._NETWORK_APPLETS}
