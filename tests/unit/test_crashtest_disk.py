"""The test machine's disk, made and read by the real e2fsprogs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import run
from kdumpbuild.crashtest import disk
from kdumpbuild.crashtest.dumps import EARLIER, find_dumps, read_attempt, write_earlier_dump
from kdumpbuild.crashtest.protocol import parse_pairs, plan_text, read_boot_record
from kdumpbuild.crashtest.triggers import TRIGGERS, find_triggers
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def content(tmp_path: Path) -> Path:
    folder = tmp_path / "content with a space"
    write_earlier_dump(folder / "kdump", "kdb-1")
    (folder / "crashtest").mkdir()
    (folder / "crashtest" / "plan").write_text("marker=kdb-1\n")
    return folder


@pytest.mark.parametrize("filesystem", disk.FILESYSTEMS)
def test_what_goes_in_comes_out(tmp_path: Path, content: Path, filesystem: str) -> None:
    image = tmp_path / "a disk, with a comma.img"
    disk.make_disk(image, content, filesystem=filesystem, size=32 * MIB, place=disk.Place(label="dumps"))
    assert image.stat().st_size == 32 * MIB
    assert "dumps" in run.run(["dumpe2fs", "-h", image], what="look")
    target = tmp_path / "back again"
    disk.read_disk(image, ("crashtest", "kdump", "missing"), target)
    assert disk.tree_digest(target) == disk.tree_digest(content)
    assert len(disk.tree_digest(target)) == 4
    disk.read_disk(image, ("crashtest",), target)
    assert (target / "crashtest" / "plan").read_text() == "marker=kdb-1\n"


@pytest.mark.parametrize(
    ("device", "start"),
    [
        ("/dev/mmcblk1p3", 3), ("/dev/nvme0n1p12", 12), ("/dev/sda1", 1), ("/dev/vdb2", 2),
        ("PARTLABEL=crash dumps", 1), ("/dev/mmcblk1", 0), ("/dev/vda", 0), ("/dev/mmcblk0boot0", 0), ("LABEL=d", 0),
    ],
)  # fmt: skip
def test_the_file_system_is_where_the_board_looks_for_it(
    tmp_path: Path, content: Path, device: str, start: int
) -> None:
    image = tmp_path / "disk.img"
    place = disk.place_of(device)
    disk.make_disk(image, content, filesystem="ext4", size=32 * MIB, place=place)
    assert image.stat().st_size == 32 * MIB
    # The superblock's magic number: 0x38 bytes into the superblock, which is 1024 bytes into the file system.
    with image.open("rb") as stream:
        stream.seek(start * MIB + 1024 + 0x38)
        assert stream.read(2) == b"\x53\xef"
    disk.read_disk(image, ("crashtest", "kdump"), tmp_path / "back", place)
    assert disk.tree_digest(tmp_path / "back") == disk.tree_digest(content)
    if start:
        table = json.loads(run.run(["sfdisk", "--json", image], what="look"))["partitiontable"]
        last = table["partitions"][-1]
        assert (len(table["partitions"]), last["start"]) == (start, start * MIB // table["sectorsize"])
        header = run.run(["dumpe2fs", "-h", place.of(image)], what="look")
        blocks = int(header.split("Block count:")[1].split()[0]) * int(header.split("Block size:")[1].split()[0])
        assert blocks <= last["size"] * table["sectorsize"]
        assert last.get("name", "") == place.name


def test_a_partition_that_was_not_unmounted_is_repaired_on_a_copy(tmp_path: Path, content: Path) -> None:
    image = tmp_path / "disk.img"
    place = disk.place_of("/dev/mmcblk0p2")
    disk.make_disk(image, content, filesystem="ext4", size=32 * MIB, place=place)
    run.run(["debugfs", "-w", "-R", "feature needs_recovery", place.of(image)], what="make it look mounted")
    before = image.read_bytes()
    disk.read_disk(image, ("kdump",), tmp_path / "back", place)
    assert image.read_bytes() == before
    assert find_dumps(tmp_path / "back" / "kdump")[0].form == "filtered"


def test_a_disk_takes_two_dumps_and_is_an_sd_cards_size() -> None:
    assert disk.disk_size(512 * MIB) == 2048 * MIB
    assert disk.disk_size(960 * MIB) == 2048 * MIB
    assert disk.disk_size(1024 * MIB) == 4096 * MIB


def test_a_disk_that_was_not_unmounted_is_repaired_on_a_copy(tmp_path: Path, content: Path) -> None:
    image = tmp_path / "disk.img"
    disk.make_disk(image, content, filesystem="ext4", size=32 * MIB)
    run.run(["debugfs", "-w", "-R", "feature needs_recovery", image], what="make it look mounted")
    run.run(["debugfs", "-w", "-R", "ssv state 0", image], what="make it look mounted")
    before = image.read_bytes()
    disk.read_disk(image, ("kdump",), tmp_path / "back")
    assert image.read_bytes() == before
    assert find_dumps(tmp_path / "back" / "kdump")[0].form == "filtered"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "content with a space", "disk.img"]


def test_a_disk_that_is_no_file_system_is_the_users_error(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"\0" * MIB)
    with pytest.raises(UserError, match="could not look at the test machine's disk"):
        disk.read_disk(image, ("kdump",), tmp_path / "back")


def test_a_lack_of_space_is_told_before(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no space left"):
        disk.check_space(tmp_path, 1 << 60)


def test_only_committed_dumps_count(tmp_path: Path) -> None:
    write_earlier_dump(tmp_path, "kdb-1")
    (tmp_path / ".part-0003").mkdir()
    (tmp_path / "notes").mkdir()
    second = tmp_path / "0002"
    second.mkdir()
    (second / "vmcore.part").write_text("cut off")
    (second / "status").write_text("format=1\ndmesg=failed\nvmcore=none\nreason=vmcore: no space\n")
    first, found = find_dumps(tmp_path)
    assert (first.name, first.form) == (EARLIER, "filtered")
    assert first.vmcore is not None
    assert first.dmesg is not None
    assert (found.name, found.vmcore, found.dmesg) == ("0002", None, None)
    assert "no space" in found.story
    # A vmcore without a status that speaks of it is none either.
    (second / "vmcore").write_text("x")
    assert find_dumps(tmp_path)[1].vmcore is None
    assert find_dumps(tmp_path / "missing") == []
    assert read_attempt(tmp_path) == {}


def test_a_boot_record_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "boot-1"
    assert read_boot_record(path) is None
    path.write_text("release=6.12\n")
    assert read_boot_record(path) is None
    path.write_text("release=6.12\nboot_id=a-b\ncrash_size=16777216\nload_status=\n")
    record = read_boot_record(path)
    assert record is not None
    assert (record.reserved, record.load_status, record.loaded) == (16 * MIB, None, False)
    path.write_bytes(b"release=6.12\nboot_id=a-b\ncrash_size=\xff\xfe\nload_status=0\ncrash_loaded=1\n")
    record = read_boot_record(path)
    assert record is not None
    assert (record.reserved, record.load_status, record.loaded) == (0, 0, True)


def test_a_plan_reads_back_and_refuses_what_is_no_name() -> None:
    plan = parse_pairs(plan_text(TRIGGERS["lkdtm-null"], "kdb-0123456789a"))
    assert plan["marker"] == "kdb-0123456789a"
    assert plan["text"] == "ACCESS_NULL"
    for bad in ("kdb-0123456789ab", "with space", "", "a\nb"):
        with pytest.raises(ValueError, match="name"):
            plan_text(TRIGGERS["sysrq"], bad)


def test_unknown_triggers_are_told_all_at_once() -> None:
    assert [t.name for t in find_triggers(["lkdtm-panic", "sysrq"])] == ["lkdtm-panic", "sysrq"]
    with pytest.raises(UserError) as caught:
        find_triggers(["sysrk", "sysrq", "bug"])
    assert len(caught.value.faults) == 2
    assert "did you mean sysrq?" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path: Path, content: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot write"):
        disk.make_disk(place / "d", content, filesystem="ext4", size=32 * MIB)
