"""A capture system that runs from the product's file system: board file, archive, command line, place on the disk."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources, run
from kdumpbuild.board.loader import load_board
from kdumpbuild.build import captureroot, cpio
from kdumpbuild.build.scripts import capture_cmdline
from kdumpbuild.crashtest import disk
from kdumpbuild.crashtest.standin import why_not
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board

MIB = 1 << 20
VIRT = (resources.BOARDS / "arm-virt.toml").read_text(encoding="utf-8")


def board(tmp_path: Path, root: str, device: str = "/dev/vda2", more: str = "") -> Board:
    path = tmp_path / "gateway.toml"
    text = VIRT.replace('device = "/dev/vda"', f'device = "{device}"')
    path.write_text(text.replace('console = "ttyAMA0"', f'console = "ttyAMA0"\nroot = "{root}"\n{more}'))
    return load_board(path)


def test_the_kernel_is_told_where_it_starts_from(tmp_path: Path) -> None:
    one = board(tmp_path, "PARTLABEL=system")
    config = {"CONFIG_TMPFS": "y"}
    line = capture_cmdline(one, config, (6, 12)).split()
    assert line[-5:] == [
        "root=PARTLABEL=system", "rootfstype=ext4", "ro", "rootwait=20", "init=/usr/lib/kdumpbuild/capture-root/init",
    ]  # fmt: skip
    assert "rdinit=/init" not in line
    assert "rootfstype=ramfs" not in line
    # Before 6.6 a rootwait with a number is ignored, and one without it never ends.
    assert "rootdelay=5" in capture_cmdline(one, config, (6, 1)).split()
    quick = replace(one, dump=replace(one.dump, device_timeout=3))
    assert "rootdelay=3" in capture_cmdline(quick, config, (5, 10)).split()


@pytest.mark.parametrize(
    ("root", "more", "told"),
    [
        ("LABEL=system", "", "capture.root: 'LABEL=system' is not a partition that the kernel itself finds"),
        ("UUID=1-2", "", "capture.root: 'UUID=1-2' is not a partition"),
        ("/dev/vda2", "", "the capture system runs from /dev/vda2, so no dump can be written there"),
        ("/dev/vda1", 'root_filesystem = "vfat"', "capture.root_filesystem: "),
        ("", 'root_filesystem = "ext4"', "capture.root_filesystem: has no meaning without root"),
    ],
)
def test_a_wrong_root_is_told_with_its_line(tmp_path: Path, root: str, more: str, told: str) -> None:
    with pytest.raises(UserError, match=r"gateway\.toml:\d+") as caught:
        board(tmp_path, root, more=more)
    assert told in str(caught.value)


@pytest.mark.parametrize("filesystem", ["ext4", "f2fs", "squashfs"])
def test_the_capture_kernel_gets_the_file_system(tmp_path: Path, filesystem: str) -> None:
    (name,) = board(tmp_path, "/dev/vda1", more=f'root_filesystem = "{filesystem}"').capture.fragments_of_root
    assert (resources.FRAGMENTS / f"{name}.config").is_file()
    assert board(tmp_path, "").capture.fragments_of_root == ()


def test_the_archive_holds_the_initramfs_and_what_verifies_it() -> None:
    entries = [
        cpio.file("init", b"#!/bin/sh\n", executable=True), cpio.link("bin/sh", "busybox"), cpio.directory("mnt"),
        cpio.file("bin/busybox", b"program", executable=True), cpio.secret("etc/kdump.key", b"key"),
        cpio.node("dev/console", 5, 1), cpio.directory("dev"),
    ]  # fmt: skip
    data = captureroot.archive(entries)
    assert data == captureroot.archive(reversed(entries))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name: member for member in tar}
        sums = tar.extractfile("SHA256SUMS")
        assert sums is not None
        lines = sums.read().decode().splitlines()
    assert sorted(members) == [
        "SHA256SUMS", "bin", "bin/busybox", "bin/sh", "dev", "etc", "etc/kdump.key", "init", "mnt",
    ]  # fmt: skip
    assert members["bin/sh"].linkname == "busybox"
    modes = {name: members[name].mode for name in ("init", "etc/kdump.key", "mnt")}
    assert modes == {"init": 0o755, "etc/kdump.key": 0o600, "mnt": 0o755}
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert f"{hashlib.sha256(b'program').hexdigest()}  bin/busybox" in lines
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("root", "device", "place"),
    [
        ("/dev/mmcblk0p2", "/dev/mmcblk0p4", disk.Place(partition=4, root=2)),
        ("/dev/vda1", "LABEL=dumps", disk.Place(partition=2, label="dumps", root=1)),
        ("PARTLABEL=system", "PARTLABEL=dumps", disk.Place(partition=2, name="dumps", root=1, root_name="system")),
        ("PARTLABEL=system", "/dev/vda3", disk.Place(partition=3, root=1, root_name="system")),
    ],
)
def test_both_file_systems_are_on_one_disk(tmp_path: Path, root: str, device: str, place: disk.Place) -> None:
    assert disk.place_beside(root, device) == place
    image, system, dumps = tmp_path / "disk.img", tmp_path / "system", tmp_path / "dumps"
    for folder in (system, dumps):
        (folder / folder.name).mkdir(parents=True)
        (folder / folder.name / "file").write_text(folder.name)
    disk.make_disk(image, dumps, filesystem="ext4", size=128 * MIB, place=place)
    disk.make_root(image, system, filesystem="ext4", place=place)
    disk.read_disk(image, ("dumps",), tmp_path / "back", place)
    assert (tmp_path / "back/dumps/file").read_text() == "dumps"
    product = run.run(["debugfs", "-R", "cat /system/file", f"{image}?offset={place.root * MIB}"], what="look")
    assert product == "system"
    partitions = json.loads(run.run(["sfdisk", "--json", image], what="look"))["partitiontable"]["partitions"]
    assert len(partitions) == place.partition
    assert partitions[place.root - 1].get("name", "") == place.root_name
    assert partitions[place.root - 1]["size"] * 512 == 64 * MIB
    assert partitions[-1]["start"] * 512 == place.offset


@pytest.mark.parametrize(
    ("root", "device"),
    [
        ("/dev/mmcblk0p4", "/dev/mmcblk0p2"), ("/dev/mmcblk0p1", "/dev/mmcblk1p2"), ("/dev/vda1", "/dev/vda"),
        ("PARTUUID=1-01", "/dev/vda2"),
    ],
)  # fmt: skip
def test_a_disk_that_cannot_be_made_is_the_users_error(root: str, device: str) -> None:
    with pytest.raises(UserError, match=f"cannot make one disk with {root} and {device}"):
        disk.place_beside(root, device)


def test_nothing_stands_in_for_a_product_with_its_own_disk(tmp_path: Path) -> None:
    assert "runs from the product's file system" in why_not(board(tmp_path, "/dev/vda1"))
