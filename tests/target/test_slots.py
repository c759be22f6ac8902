"""The ring of slots: the real init under real BusyBox on a loop device, read by the reader of the host."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.formats.slots import PAGE, UNIT, Slot, extract, extract_text, read_slots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.target.conftest import CaptureSystem

SLOTS = 3
SLOT = 16 * UNIT
# What comes through a pipe: makedumpfile -F.
STREAM = """
case $1 in
--dump-dmesg) for last; do :; done; echo "the log, by makedumpfile" >"$last" ;;
*) echo "filtered: $*"; busybox cat /payload ;;
esac
"""
POWER_CUT = "busybox sh -c 'kill -9 0'\n"


@dataclass
class Ring:
    """A capture system whose dump target is a ring of slots."""

    system: CaptureSystem
    image: Path

    def run(self) -> str:
        console = self.system.run()
        self.sync()
        return console

    def sync(self) -> None:
        os.sync()

    @property
    def slots(self) -> list[Slot]:
        return read_slots(self.image)

    def dmesg(self, slot: Slot) -> bytes:
        assert slot.dmesg is not None
        text = io.BytesIO()
        extract_text(self.image, slot.dmesg, text)
        return text.getvalue()

    def vmcore(self, slot: Slot) -> bytes:
        assert slot.vmcore is not None
        data = io.BytesIO()
        extract(self.image, slot.vmcore, data)
        return data.getvalue()


@pytest.fixture
def ring(system: CaptureSystem, tmp_path: Path) -> Iterator[Ring]:
    image = tmp_path / "ring.img"
    image.write_bytes(b"\x5a" * (SLOTS * SLOT))
    attached = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if attached.returncode != 0:
        pytest.skip(f"needs a loop device: {attached.stderr.strip()}")
    device = attached.stdout.strip()
    node = system.root / "dev/vda"
    node.unlink()
    os.mknod(node, stat.S_IFBLK | 0o660, Path(device).stat().st_rdev)
    (system.root / "sys/class/block/vda/size").write_text(f"{SLOTS * SLOT // 512}\n")
    (system.root / "payload").write_bytes(b"pages" * 20000)
    system.tool("makedumpfile", STREAM)
    system.configure(target="slots", filesystem="", slots=SLOTS, deadline=20)
    yield Ring(system, image)
    subprocess.run(["losetup", "--detach", device], check=True)


def crash(ring: Ring, text: str) -> str:
    ring.system.tool("vmcore-dmesg", f"echo '[    7.000000] {text}'\n")
    return ring.run()


def test_a_good_capture(ring: Ring) -> None:
    console = crash(ring, "the first")
    (slot,) = ring.slots
    assert (slot.number, slot.sequence, slot.state) == (0, 1, "memory")
    assert slot.status["board"] == "arm-virt"
    assert (slot.status["dmesg"], slot.status["vmcore"], slot.status["reason"]) == ("ok", "filtered", "")
    assert slot.status["stage"] == "done"
    assert ring.dmesg(slot) == b"[    7.000000] the first\n"
    assert slot.vmcore is not None
    assert slot.vmcore.encoding == "flattened"
    assert ring.vmcore(slot).startswith(b"filtered: -F --message-level 4 -l --non-mmap -d 31 /proc/vmcore\npages")
    assert ring.vmcore(slot).rstrip(b"\0").endswith(b"pages" * 20000)
    assert [line for line in console.splitlines() if line.startswith("kdump: ")][1:] == [
        "kdump: watchdog /dev/watchdog",
        "kdump: dump target /dev/vda",
        "kdump: dmesg",
        "kdump: dmesg committed, 65536 bytes",
        "kdump: vmcore",
        "kdump: vmcore committed, 131072 bytes, filtered",
        "kdump: done",
        "kdump: rebooting",
    ]


def test_what_the_crashed_kernel_says_of_itself_is_in_the_record(ring: Ring) -> None:
    note = b"\0" * 20 + b"VMCOREINFO\0\0OSRELEASE=6.12.1\nBUILD-ID=00ff\nPAGESIZE=4096\nCRASHTIME=1700000000\n"
    (ring.system.root / "proc/vmcore").write_bytes(note + bytes(UNIT))
    crash(ring, "x")
    (slot,) = ring.slots
    assert slot.status["release"] == "6.12.1"
    assert slot.status["build_id"] == "00ff"
    assert slot.status["crash_time"] == "1700000000"


def test_the_oldest_slot_is_written_over_when_all_are_full(ring: Ring) -> None:
    for text in ("one", "two", "three", "four", "five"):
        crash(ring, text)
    assert [(slot.number, slot.sequence, slot.state) for slot in ring.slots] == [
        (2, 3, "memory"), (0, 4, "memory"), (1, 5, "memory"),
    ]  # fmt: skip
    assert [ring.dmesg(slot) for slot in ring.slots] == [
        b"[    7.000000] three\n", b"[    7.000000] four\n", b"[    7.000000] five\n",
    ]  # fmt: skip
    assert all(ring.vmcore(slot) for slot in ring.slots)


def test_an_earlier_dump_is_not_touched(ring: Ring) -> None:
    crash(ring, "one")
    before = ring.image.read_bytes()[:SLOT]
    crash(ring, "two")
    assert ring.image.read_bytes()[:SLOT] == before


@pytest.mark.parametrize("tool", ["vmcore-dmesg", "makedumpfile"])
def test_power_that_is_cut_leaves_a_slot_that_is_told_apart_and_used_again(ring: Ring, tool: str) -> None:
    crash(ring, "whole")
    ring.system.tool("vmcore-dmesg", "echo '[    7.000000] cut'\n")
    ring.system.tool(tool, f"echo half\nbusybox cat /payload\n{POWER_CUT}")
    ring.run()
    whole, cut = ring.slots
    assert whole.state == "memory"
    assert ring.vmcore(whole)
    assert cut.state == ("torn" if tool == "vmcore-dmesg" else "log")
    assert cut.vmcore is None
    ring.system.tool("makedumpfile", STREAM)
    crash(ring, "after")
    # A torn slot counts for the sequence, and a slot that was never used is taken before it.
    kept = [(slot.state, slot.sequence) for slot in ring.slots if slot.state != "torn"]
    assert kept == [("memory", 1), *([("log", 2)] if tool == "makedumpfile" else []), ("memory", 3)]


def test_the_newest_memory_survives_any_number_of_logs_alone(ring: Ring) -> None:
    crash(ring, "with memory")
    ring.system.tool("makedumpfile", "exit 1\n")
    (ring.system.root / "proc/vmcore").write_bytes(b"m" * (2 * SLOT))
    for number in range(4):
        console = crash(ring, f"log {number}")
        assert "no space for the raw memory" in console
    states = [(slot.sequence, slot.state) for slot in ring.slots]
    assert states == [(1, "memory"), (4, "log"), (5, "log")]
    assert ring.vmcore(ring.slots[0])
    assert "no space for the raw memory" in ring.slots[-1].status["reason"]


def test_a_dump_that_does_not_fit_is_told_and_harms_no_neighbour(ring: Ring) -> None:
    crash(ring, "one")
    crash(ring, "two")
    crash(ring, "three")
    before = ring.image.read_bytes()
    (ring.system.root / "payload").write_bytes(b"large" * (2 * SLOT // 5))
    console = crash(ring, "four")
    assert "it does not fit into a slot of 1024 KiB" in console
    after = ring.image.read_bytes()
    assert after[SLOT:] == before[SLOT:], "slots 1 and 2"
    newest = ring.slots[-1]
    # All memory is 300 KiB here, and fits.
    assert (newest.number, newest.state, newest.status["vmcore"]) == (0, "memory", "raw")
    assert ring.vmcore(newest) == (ring.system.root / "proc/vmcore").read_bytes()


def test_a_few_bytes_too_many_are_noticed(ring: Ring) -> None:
    (ring.system.root / "proc/vmcore").write_bytes(b"m" * (2 * SLOT))
    head = len("filtered: -F --message-level 4 -l --non-mmap -d 31 /proc/vmcore\n")
    room = SLOT - 2 * UNIT - head
    (ring.system.root / "payload").write_bytes(b"x" * room)
    crash(ring, "just fits")
    (ring.system.root / "payload").write_bytes(b"x" * (room + 1))
    crash(ring, "one too many")
    fits, not_so = ring.slots
    assert (fits.state, not_so.state) == ("memory", "log")
    assert "does not fit" in not_so.status["reason"]


def test_makedumpfile_that_fails_leaves_the_raw_memory_with_its_exact_size(ring: Ring) -> None:
    ring.system.tool("makedumpfile", "echo half\necho makedumpfile Failed. >&2\nexit 1\n")
    crash(ring, "x")
    (slot,) = ring.slots
    assert slot.status["vmcore"] == "raw"
    assert ring.vmcore(slot) == (ring.system.root / "proc/vmcore").read_bytes()


def test_the_log_comes_from_makedumpfile_when_vmcore_dmesg_fails(ring: Ring) -> None:
    ring.system.tool("vmcore-dmesg", "echo half a lo\nexit 3\n")
    ring.run()
    assert ring.dmesg(ring.slots[0]) == b"the log, by makedumpfile\n"


def test_data_that_changed_later_is_refused(ring: Ring) -> None:
    crash(ring, "x")
    (slot,) = ring.slots
    assert slot.vmcore is not None
    damaged = bytearray(ring.image.read_bytes())
    damaged[slot.vmcore.offset + 70000] ^= 1
    ring.image.write_bytes(damaged)
    with pytest.raises(UserError, match="damaged"):
        ring.vmcore(slot)
    assert ring.dmesg(slot)


@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_torn_record_makes_the_slot_what_the_records_before_it_say(ring: Ring, page: int) -> None:
    crash(ring, "one")
    crash(ring, "two")
    data = bytearray(ring.image.read_bytes())
    data[SLOT + page * PAGE + 30] ^= 0x20
    ring.image.write_bytes(data)
    states = [slot.state for slot in ring.slots]
    assert states == [["memory"], ["memory", "torn"], ["memory", "log"]][page]


def test_a_partition_that_is_too_small(ring: Ring) -> None:
    (ring.system.root / "sys/class/block/vda/size").write_text("512\n")
    console = ring.run()
    assert "kdump: failed: dump target /dev/vda: /dev/vda is too small for 3 slots" in console
    assert ring.system.rebooted


def test_the_reader_refuses_what_is_no_ring(tmp_path: Path) -> None:
    image = tmp_path / "x"
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(UserError, match="holds no slot"):
        read_slots(image)


def test_the_deadline_is_noted_in_the_slot(ring: Ring) -> None:
    ring.system.configure(target="slots", filesystem="", slots=SLOTS, deadline=2)
    ring.system.tool("timeout", 'shift 3\nexec "$@"\n')
    ring.system.tool("makedumpfile", "exec busybox sleep 100\n")
    ring.run()
    (slot,) = ring.slots
    assert slot.state == "log"
    assert slot.status["reason"] == "vmcore: not done after 2 s"


def test_a_machine_in_a_crash_loop_saves_less_and_less(ring: Ring) -> None:
    ring.system.configure(target="slots", filesystem="", slots=SLOTS, loop_crashes=2, loop_minutes=1)
    last = [crash(ring, "again") for _ in range(6)][-1]
    assert [slot.state for slot in ring.slots] == ["memory", "log", "log"]
    assert "crashes in a row, each after less than 1 minutes: nothing is saved" in last
    ring.system.tool("vmcore-dmesg", "echo '[ 3600.123456] much later'\n")
    ring.run()
    assert ring.slots[-1].state == "memory"


# Erases as mtd-utils does, on the loop device that stands for the flash.
FLASH_ERASE = """
[ "$1" = -q ] || exit 9
echo "$3 $4" >>/erased.log
busybox dd if=/blank of="$2" bs=131072 seek=$(($3 / 131072)) count="$4" conv=notrunc 2>/dev/null
"""
ERASE = 131072


@pytest.fixture
def flash(ring: Ring) -> Ring:
    system = ring.system
    info = system.root / "sys/class/mtd/mtd0"
    info.mkdir(parents=True)
    for name, value in (("name", "dumps"), ("type", "nor"), ("size", SLOTS * SLOT), ("erasesize", ERASE)):
        (info / name).write_text(f"{value}\n")
    (system.root / "dev/vda").rename(system.root / "dev/mtd0")
    (system.root / "blank").write_bytes(b"\xff" * SLOT)
    system.tool("flash_erase", FLASH_ERASE)
    system.configure(target="mtd", device="mtd:dumps", filesystem="", slots=SLOTS, deadline=20)
    return ring


def erased(ring: Ring) -> list[str]:
    log = ring.system.root / "erased.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def test_flash_is_erased_block_by_block_before_it_is_written(flash: Ring) -> None:
    crash(flash, "on flash")
    (slot,) = flash.slots
    assert slot.state == "memory"
    assert flash.dmesg(slot) == b"[    7.000000] on flash\n"
    assert flash.vmcore(slot).rstrip(b"\0").endswith(b"pages" * 20000)
    # The records, the log, the memory: each begins an erase block.
    assert erased(flash) == [f"{number * ERASE} 1" for number in range(3)]


def test_flash_that_is_empty_is_not_erased_again(flash: Ring) -> None:
    flash.image.write_bytes(b"\xff" * (SLOTS * SLOT))
    crash(flash, "on empty flash")
    assert flash.slots[0].state == "memory"
    assert erased(flash) == []


def test_a_dump_that_does_not_fit_on_flash_harms_no_neighbour(flash: Ring) -> None:
    for text in ("one", "two", "three"):
        crash(flash, text)
    before = flash.image.read_bytes()
    (flash.system.root / "payload").write_bytes(b"large" * (2 * SLOT // 5))
    console = crash(flash, "four")
    assert "it does not fit into a slot of 1024 KiB" in console
    assert flash.image.read_bytes()[SLOT:] == before[SLOT:]


def test_nand_is_refused(flash: Ring) -> None:
    (flash.system.root / "sys/class/mtd/mtd0/type").write_text("nand\n")
    console = flash.run()
    assert "is nand and not NOR: use a UBIFS volume there" in console
    assert flash.system.rebooted
