"""What stands in for a board without a QEMU machine: the same capture system on virt, and an honest account of it."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.memory import MIB, CrashKernel
from kdumpbuild.board.model import Bank
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.scripts import capture_conf
from kdumpbuild.crashtest import report, standin
from kdumpbuild.crashtest.console import Times
from kdumpbuild.crashtest.verdict import Verdict
from kdumpbuild.errors import UserError
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.formats.initramfs import read_initramfs
from tests.fuzz.readers import cpio

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board

GATEWAY = """format = 1
description = "a gateway"
arch = "{arch}"
[memory]
ram = ["{ram}@0x80000000"]
[capture]
console = "ttymxc0,115200"
cmdline = "loglevel=7"
{capture}
[dump]
device = "{device}"
filesystem = "{filesystem}"
[watchdog]
"""


def board_of(folder: Path, **values: str) -> Board:
    given = {"arch": "arm", "ram": "512M", "capture": "", "device": "/dev/mmcblk1p4", "filesystem": "ext4"} | values
    (folder / "gateway.toml").write_text(GATEWAY.format(**given), encoding="utf-8")
    return load_board(folder / "gateway.toml")


@pytest.mark.parametrize("arch", ["arm", "arm64"])
def test_it_is_virt_with_the_boards_capture_system(tmp_path: Path, arch: str) -> None:
    board = board_of(tmp_path, arch=arch, filesystem="f2fs", ram="1G")
    made = standin.stand_in(board, tmp_path / "derived.config")
    virt = load_board(resources.BOARDS / f"{arch}-virt.toml")
    assert made.name == board.name
    assert made.machine == virt.machine
    more = ("highmem",) if arch == "arm" else ()  # 1 GiB is more than it maps directly
    assert made.production == replace(virt.production, fragments=(*virt.production.fragments, *more))
    assert made.memory.ram == (Bank(0x40000000, 1 << 30),)
    assert made.capture.fragments == ("capture-f2fs", str(tmp_path / "derived.config"), "capture-virt")
    assert made.capture.console == "ttyAMA0"
    assert made.capture.cmdline == "loglevel=7"
    assert (made.dump.device, made.dump.filesystem) == ("/dev/vda4", "ext4")
    assert made.watchdog == board.watchdog
    assert (made.dtb, made.drivers) == ("", None)


def test_a_ring_of_slots_is_a_file_system_there(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    ring = replace(board, dump=replace(board.dump, target="mtd", device="mtd:crash", filesystem=""))
    made = standin.stand_in(ring, None)
    assert made.capture.fragments == ("capture-mtd", "capture-virt")
    assert (made.dump.device, made.dump.filesystem, made.dump.target) == ("/dev/vda", "ext4", "filesystem")
    slots = replace(board, dump=replace(board.dump, target="slots", filesystem=""))
    assert standin.stand_in(slots, None).capture.fragments == ("capture-virt",)


def test_a_label_stays_and_ram_ends_where_the_machine_ends(tmp_path: Path) -> None:
    board = board_of(tmp_path, device="LABEL=dump", ram="2G")
    assert standin.stand_in(board, None).dump == board.dump
    wide = replace(board, memory=replace(board.memory, ram=(Bank(0, 4 << 30),)))
    assert standin.stand_in(wide, None).memory.total == 3 << 30


def test_the_products_own_kernel_has_no_stand_in(tmp_path: Path) -> None:
    board = board_of(tmp_path, capture='kernel = "same"')
    with pytest.raises(UserError, match="cannot be crash-tested in QEMU") as caught:
        standin.stand_in(board, None)
    assert "its capture kernel is the product's own" in str(caught.value)


def test_the_initramfs_is_the_boards_own_with_another_target_behind_it(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    own = gzip.compress(
        cpio([("init", 0o100755, b"#!/bin/sh\n"), ("etc/kdump.conf", 0o100644, capture_conf(board).encode())])
    )
    made = standin.initramfs(own, standin.stand_in(board, None))
    assert made.startswith(own)
    conf = read_initramfs(made).entry("etc/kdump.conf")  # the later one
    assert conf is not None
    before, after = capture_conf(board).splitlines(), conf.data.decode().splitlines()
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert changed == [("KDUMP_DEVICE=/dev/mmcblk1p4", "KDUMP_DEVICE=/dev/vda4")]


def test_as_much_is_reserved_and_elsewhere_only_where_qemu_sits_in_the_only_place(tmp_path: Path) -> None:
    asked = CrashKernel(14 * MIB, 0x87000000)
    large = standin.stand_in(board_of(tmp_path), None)
    assert standin.reservation(asked, large).crash == CrashKernel(14 * MIB)
    small = standin.stand_in(board_of(tmp_path, ram="256M"), None)
    crash = standin.reservation(asked, small).crash
    assert crash.size == 14 * MIB
    assert crash.base is not None
    assert 0x48000000 + 32 * MIB <= crash.base <= 0x50000000 - 22 * MIB
    arm64 = standin.stand_in(board_of(tmp_path, arch="arm64", ram="256M"), None)
    assert standin.reservation(asked, arm64).crash == CrashKernel(14 * MIB)


@pytest.mark.parametrize("arch", ["arm", "arm64"])
def test_the_machines_device_tree_has_the_size_of_a_boards(tmp_path: Path, arch: str) -> None:
    board = standin.stand_in(board_of(tmp_path, arch=arch), None)
    if shutil.which(board.arch.qemu) is None or shutil.which("dtc") is None:
        pytest.skip("needs QEMU and dtc")
    made = standin.device_tree(board, None, tmp_path / "virt.dtb")
    tree = read_devicetree(made)
    assert tree.size < 64 << 10
    assert [r.size for r in tree.memory] == [512 << 20]
    assert "linux,dummy-virt" in tree.compatible
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gateway.toml", "virt.dtb"]


# -- what is told -----------------------------------------------------------------------------------------------------


def image_set(folder: Path, config: str, *, kernel: int, behind: int) -> SetFiles:
    made = SetFiles(folder, "zImage")
    folder.mkdir()
    made.capture_config.write_text(config, encoding="utf-8")
    made.kernel.write_bytes(bytes(kernel))
    made.initramfs.write_bytes(bytes(1000 + behind))
    made.manifest.write_text(json.dumps({"crashkernel": {"bytes": 14 * MIB, "base": None}}), encoding="utf-8")
    return made


@pytest.fixture
def story(tmp_path: Path) -> standin.StandIn:
    board = board_of(tmp_path, filesystem="f2fs")
    own = image_set(tmp_path / "own", "CONFIG_MMC=y\nCONFIG_HZ=100\n", kernel=2 * MIB, behind=0)
    more = "CONFIG_MMC=y\nCONFIG_HZ=250\nCONFIG_VIRTIO_BLK=y\n"
    other = image_set(tmp_path / "other", more, kernel=3 * MIB, behind=300)
    return standin.story(board, own, standin.stand_in(board, None), other)


def test_the_story_is_of_the_two_sets(story: standin.StandIn) -> None:
    same, different, lost = (" ".join(x) for x in (story.same, story.different, story.does_not_prove))
    assert "every option of its config but HZ" in same
    assert "14M, of 512.0 MiB of RAM" in same
    assert "the capture kernel has more options (3.0 MiB, not 2.0 MiB): VIRTIO_BLK" in different
    assert "300 bytes behind the initramfs name the dump target /dev/vda4 with ext4 instead of /dev/mmc" in different
    assert "the console is ttyAMA0, not ttymxc0,115200" in different
    assert "the drivers of gateway" in lost
    assert "the file system f2fs" in lost
    assert story.machine == "virt,highmem=off"


def verdict(stand_in: standin.StandIn | None, *, passed: bool) -> Verdict:
    values: dict[str, Any] = {
        "board": "gateway", "trigger": "sysrq", "marker": "m", "passed": passed, "checks": (), "failure": None,
        "crash": None, "times": Times(None, None, None, None, 1.0), "reserved": 0, "ram": 0, "dmesg_size": None,
        "vmcore_size": None, "form": "", "places": {}, "command": (), "qemu": "7.2.22", "console_tail": "",
    }  # fmt: skip
    return Verdict(**values, stand_in=stand_in)


def test_the_report_says_what_is_proved_and_what_is_not(story: standin.StandIn) -> None:
    told = report.render(verdict(story, passed=True))
    assert "QEMU has no model of this board: virt,highmem=off stood in for it" in told
    assert "so this proves:\n    - kernel, initramfs and what makedumpfile needs fit into 14M" in told
    assert "and does not prove:\n    - the drivers of gateway" in told
    assert told.endswith("PASS  gateway sysrq on virt,highmem=off in its place\n")
    assert "had it passed, it would prove" in report.render(verdict(story, passed=False))
    assert "prove" not in report.render(verdict(None, passed=True))


def test_the_result_has_it_for_programs(story: standin.StandIn) -> None:
    found = json.loads(json.dumps(verdict(story, passed=True).to_json()))
    assert found["stand-in"]["machine"] == "virt,highmem=off"
    assert found["stand-in"]["does_not_prove"]
    assert "stand_in" not in found
    assert verdict(None, passed=True).to_json()["stand-in"] is None


def test_the_build_knows_it(tmp_path: Path) -> None:
    board_of(tmp_path)
    command = [sys.executable, "-m", "kdumpbuild", "doit", "list", "--all", "BOARD=./gateway.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for task in ("image:gateway", "image:gateway+virt", "kernel:gateway+virt-production", "initramfs:gateway+virt"):
        assert task in done.stdout
    # Neither other boards' tasks, which would make `doit config` wait for them or stop at them.
    assert "arm-virt" not in done.stdout
    assert "userland:arm64" not in done.stdout
