"""Dump targets that only a kernel can fill: made empty, each where the target looks for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources, run
from kdumpbuild.board.loader import load_board
from kdumpbuild.crashtest import disk, disk_faults
from kdumpbuild.crashtest.carried import is_carried, make_empty
from kdumpbuild.crashtest.system import PLAN_LABEL, system_conf
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board

MIB = 1 << 20


def board(filesystem: str, device: str, name: str = "arm-virt") -> Board:
    loaded = load_board(resources.BOARDS / f"{name}.toml")
    dump = replace(loaded.dump, target="filesystem", filesystem=filesystem, device=device)
    return replace(loaded, dump=dump)


@pytest.mark.parametrize(("filesystem", "label"), [("f2fs", "dumps"), ("vfat", "DUMPS")])
@pytest.mark.parametrize("device", ["/dev/vda", "/dev/vda3", "PARTLABEL=crash dumps", "LABEL"])
def test_it_is_where_the_board_looks_for_it(tmp_path: Path, filesystem: str, label: str, device: str) -> None:
    one = board(filesystem, f"LABEL={label}" if device == "LABEL" else device)
    image, place = tmp_path / "disk.img", disk.place_of(one.dump.device)
    make_empty(one, image, 128 * MIB, place)
    assert image.stat().st_size == 128 * MIB
    found = run.run(["blkid", "--probe", "--offset", str(place.offset), "--output", "export", image], what="look")
    assert f"TYPE={filesystem}" in found
    assert (f"LABEL={label}" in found) is (device == "LABEL")
    if place.partition:
        table = json.loads(run.run(["sfdisk", "--json", image], what="look"))["partitiontable"]["partitions"]
        assert table[-1]["start"] * 512 == place.offset
        assert table[-1]["node"].endswith(str(place.partition))
    assert [path.name for path in tmp_path.iterdir()] == ["disk.img"]


def test_a_ubifs_takes_all_of_the_flash(tmp_path: Path) -> None:
    one = board("ubifs", "ubi0:dumps", "arm-virt-flash")
    image = tmp_path / "flash.img"
    make_empty(one, image, 16 * MIB, disk.place_of(one.dump.device))
    data = image.read_bytes()
    assert len(data) == 16 * MIB
    assert data[:4] == b"UBI#"
    assert b"dumps" in data
    # Each block in use begins like that, and what is behind them is blank.
    starts = [data[at : at + 4] for at in range(0, len(data), 256 << 10)]
    assert set(starts) == {b"UBI#", b"\xff" * 4}
    assert starts == sorted(starts)
    assert [path.name for path in tmp_path.iterdir()] == ["flash.img"]


@pytest.mark.parametrize(
    ("name", "device", "told"),
    [
        ("arm-virt", "ubi0:dumps", "flash: [machine] has no erase_size"),
        ("arm-virt-flash", "ubi0_0", "flash: ubi0_0 has no name"),
        ("arm-virt", "ubi0_0", "flash: [machine] has no erase_size and ubi0_0 has no name"),
        ("arm-virt-flash", "ubi0:dumps", ""),
    ],
)
def test_a_volume_that_cannot_be_made_is_told_before_the_test(name: str, device: str, told: str) -> None:
    faults = disk_faults(board("ubifs", device, name))
    assert bool(faults) == bool(told)
    for fault in faults:
        assert told in str(fault.why)
        assert f"{name}.toml:" in str(fault.where)


def test_flash_that_is_too_small_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mkfs\.ubifs|does not fit"):
        make_empty(board("ubifs", "ubi0:dumps", "arm-virt-flash"), tmp_path / "flash.img", MIB, disk.Place())
    assert list(tmp_path.iterdir()) == []


def test_the_machine_is_told_what_to_fill() -> None:
    conf = system_conf(board("vfat", "/dev/vda1"), "/usr/lib/kdump/kdump-load")
    assert f"DEVICE=LABEL={PLAN_LABEL}\nFILESYSTEM=ext4\n" in conf
    assert "CARRIED=/dev/vda1\nCARRIED_FILESYSTEM=vfat\nDIRECTORY=kdump\n" in conf
    conf = system_conf(board("ext4", "/dev/vda1"), "/usr/lib/kdump/kdump-load")
    assert "DEVICE=/dev/vda1\nFILESYSTEM=ext4\nCARRIED=''\n" in conf


@pytest.mark.parametrize(("target", "carried"), [("filesystem", True), ("slots", False), ("nfs", False)])
def test_only_a_file_system_is_carried(target: str, carried: bool) -> None:  # noqa: FBT001
    one = board("f2fs", "/dev/vda1")
    assert is_carried(replace(one, dump=replace(one.dump, target=target))) is carried
