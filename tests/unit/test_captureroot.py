"""A capture system that runs from the product's file system: board file, archive, command line, place on the disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources, run
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.network import Network
from kdumpbuild.board.partition import disk_and_number
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
        ("/dev/disk/by-label/root", "", "is not a partition that the kernel itself finds"),
        ("/dev/mtdblock3", "", "is not a partition that the kernel itself finds"),
        ("/dev/ubiblock0_1", "", "is not a partition that the kernel itself finds"),
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
    names = board(tmp_path, "/dev/vda1", more=f'root_filesystem = "{filesystem}"').capture.fragments_of_root
    assert names == ("capture-root", f"capture-{filesystem}")
    assert all((resources.FRAGMENTS / f"{name}.config").is_file() for name in names)
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
    disk.make_disk(image, dumps, filesystem="ext4", size=256 * MIB, place=place)
    disk.make_root(image, system, filesystem="ext4", place=place)
    disk.read_disk(image, ("dumps",), tmp_path / "back", place)
    assert (tmp_path / "back/dumps/file").read_text() == "dumps"
    product = run.run(["debugfs", "-R", "cat /system/file", f"{image}?offset={place.root * MIB}"], what="look")
    assert product == "system"
    partitions = json.loads(run.run(["sfdisk", "--json", image], what="look"))["partitiontable"]["partitions"]
    assert len(partitions) == place.partition
    assert partitions[place.root - 1].get("name", "") == place.root_name
    assert partitions[place.root - 1]["size"] * 512 == 128 * MIB
    assert partitions[-1]["start"] * 512 == place.offset


@pytest.mark.parametrize(
    ("root", "device"),
    [
        ("/dev/mmcblk0p4", "/dev/mmcblk0p2"), ("/dev/mmcblk0p1", "/dev/mmcblk1p2"), ("/dev/vda1", "/dev/vda"),
        ("PARTUUID=1-01", "/dev/vda2"),
    ],
)  # fmt: skip
def test_two_that_are_not_so_on_one_disk(root: str, device: str) -> None:
    assert disk.place_beside(root, device) is None


@pytest.mark.parametrize("argument", ["rootwait", "root=/dev/vda3", "init=/sbin/init", "rdinit=/init"])
def test_the_boards_arguments_do_not_start_something_else(tmp_path: Path, argument: str) -> None:
    name = argument.partition("=")[0]
    with pytest.raises(UserError, match=rf"gateway\.toml:\d+: capture\.cmdline: {name} cannot be used"):
        board(tmp_path, "/dev/vda1", more=f'cmdline = "{argument}"')


@pytest.mark.parametrize(
    ("dump", "nodes", "told"),
    [
        ('device = "/dev/mmcblk1p1"', "", "nothing derives the driver of /dev/mmcblk0p2"),
        ('device = "/dev/mmcblk1p1"', 'nodes = ["mmc0"]', ""),
        ('device = "/dev/mmcblk0p4"', "", ""),
        ('device = "LABEL=dumps"', "", ""),
    ],
)
def test_a_root_on_another_disk_takes_another_driver(tmp_path: Path, dump: str, nodes: str, told: str) -> None:
    text = (resources.BOARDS / "imx6ul-evk.toml").read_text(encoding="utf-8")
    text = text.replace('device = "/dev/mmcblk0p2"', dump).replace("[drivers]", f"[drivers]\n{nodes}")
    path = tmp_path / "gateway.toml"
    path.write_text(text.replace("[capture]", '[capture]\nroot = "/dev/mmcblk0p2"'))
    if not told:
        assert load_board(path).capture.root == "/dev/mmcblk0p2"
        return
    with pytest.raises(UserError, match=r"gateway\.toml:\d+") as caught:
        load_board(path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"root": "/dev/vdb1"}, "/dev/vdb1 and\n/dev/vda2 do not say so"),
        ({"root": "PARTUUID=1-01"}, "PARTUUID=1-01 and\n/dev/vda2 do not say so"),
        ({}, ""),
    ],
)
def test_what_the_crash_test_cannot_make_is_told(tmp_path: Path, change: dict[str, str], told: str) -> None:
    one = board(tmp_path, "/dev/vda1")
    one = replace(one, capture=replace(one.capture, **change))  # type: ignore[arg-type]
    assert told in disk.why_no_root(one)
    assert bool(told) == bool(disk.why_no_root(one))
    flash = replace(one, dump=replace(one.dump, filesystem="ubifs", device="ubi0:dumps"))
    assert "it is flash" in disk.why_no_root(flash)
    for target in ("slots", "ssh"):
        other = replace(one, dump=replace(one.dump, target=target, network=Network("eth0", "dhcp")))
        assert disk.why_no_root(other)


def test_nothing_stands_in_for_a_product_with_its_own_disk(tmp_path: Path) -> None:
    assert "runs from the product's file system" in why_not(board(tmp_path, "/dev/vda1"))


def test_an_f2fs_with_the_system_lies_on_its_partition(tmp_path: Path) -> None:
    image, content = tmp_path / "disk.img", tmp_path / "content"
    place = disk.Place(partition=2, root=1)
    content.mkdir()
    (content / "file").write_text("system")
    (content / "link").symlink_to("file")
    disk.make_disk(image, content, filesystem="ext4", size=256 * MIB, place=place)
    disk.make_root(image, content, filesystem="f2fs", place=place)
    part = tmp_path / "part"
    with image.open("rb") as stream:
        stream.seek(MIB)
        part.write_bytes(stream.read(128 * MIB))
    said = run.run(["fsck.f2fs", "--dry-run", "-t", part], what="look")
    assert "|-- file" in said
    assert "|-- link" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content", "disk.img", "part"]


def test_a_squashfs_lies_on_its_partition_or_is_refused(tmp_path: Path) -> None:
    image, content = tmp_path / "disk.img", tmp_path / "content"
    place = disk.Place(partition=2, root=1)
    content.mkdir()
    (content / "file").write_text("system")
    disk.make_disk(image, tmp_path / "content", filesystem="ext4", size=256 * MIB, place=place)
    dumps = run.run(["dumpe2fs", "-h", place.of(image)], what="look")
    disk.make_root(image, content, filesystem="squashfs", place=place)
    with image.open("rb") as stream:
        stream.seek(MIB)
        assert stream.read(4) == b"hsqs"
    (content / "large").write_bytes(os.urandom(129 * MIB))
    with pytest.raises(UserError, match=r"do not fit into the product's partition of 128\.0 MiB"):
        disk.make_root(image, content, filesystem="squashfs", place=place)
    assert run.run(["dumpe2fs", "-h", place.of(image)], what="look") == dumps


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("/dev/mmcblk0p12", ("/dev/mmcblk0", 12)), ("/dev/nvme0n1p2", ("/dev/nvme0n1", 2)),
        ("/dev/sda3", ("/dev/sda", 3)), ("/dev/mmcblk1", ("/dev/mmcblk1", 0)),
        ("/dev/vda", ("/dev/vda", 0)), ("LABEL=d1", ("LABEL=d1", 0)),
        ("/dev/mmcblk0boot0", ("/dev/mmcblk0boot0", 0)),
    ],
)  # fmt: skip
def test_which_disk_a_partition_is_of(device: str, found: tuple[str, int]) -> None:
    assert disk_and_number(device) == found
