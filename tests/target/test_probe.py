"""kdump-probe under BusyBox and dash, on a board's root directory, and what kdumpbuild reads of the result."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.model import Bank
from kdumpbuild.newboard.probe import Probe, read_probe
from tests.target.conftest import BUSYBOX

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = {"busybox": [str(BUSYBOX), "sh"], "dash": ["/bin/dash"]}
APPLETS = ("cat", "grep", "mkdir", "mktemp", "mv", "readlink", "rm", "sed", "tar", "uname")
SOC = "sys/devices/platform/soc/2100000.bus"
BASE = "sys/firmware/devicetree/base"
TREE = b"\xd0\x0d\xfe\xed and the rest of it"
MOUNTS = "/dev/mmcblk2p2 / ext4 ro 0 0\nproc /proc proc rw 0 0\n/dev/mmcblk2p3 /data ext4 rw 0 0\n"
DISK = (("", 15269888, ""), ("p2", 1048576, "rootfs"), ("p3", 409600, "data"), ("p4", 614400, "crash"))
IOMEM = """00000000-00000fff : a device
80000000-8fffffff : System RAM
  80008000-80ffffff : Kernel code
90000000-9effffff : System RAM
9f000000-9fffffff : reserved
"""


@dataclass
class Running:
    """A running board, in a folder."""

    root: Path
    shell: list[str]
    path: Path

    def write(self, name: str, data: str | bytes) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data if isinstance(data, bytes) else data.encode())

    def device(self, where: str, node: str, *, of: str) -> None:
        """Make a device with a node, and the entry ``of`` for it in /sys/class."""
        folder = self.root / where
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / of).parent.mkdir(parents=True, exist_ok=True)
        (self.root / of).symlink_to(folder)
        if node:
            target = self.root / BASE / node.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            (folder / "of_node").symlink_to(target)

    def run(self, *arguments: str, tmp: str | None = None) -> subprocess.CompletedProcess[bytes]:
        env = {"KDUMP_ROOT": str(self.root), "PATH": str(self.path), "TMPDIR": tmp or str(self.root.parent / "tmp")}
        script = str(resources.TEMPLATES / "target" / "kdump-probe")
        return subprocess.run(
            [*self.shell, script, *arguments], env=env, cwd=self.root.parent, capture_output=True, check=False
        )

    def probe(self) -> Probe:
        done = self.run("board.tar")
        assert done.returncode == 0, done.stderr
        return read_probe(self.root.parent / "board.tar")


@pytest.fixture(params=SHELLS)
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Running:
    if not BUSYBOX.exists():
        pytest.skip("needs Debian's busybox-static")
    path = tmp_path / "bin"
    path.mkdir()
    for name in APPLETS:
        (path / name).symlink_to(BUSYBOX)
    (path / "blkid").write_text('#!/bin/sh\necho \'/dev/mmcblk2p4: LABEL="d" UUID="1" TYPE="f2fs"\'\n')
    (path / "blkid").chmod(0o755)
    (path / "sh").symlink_to(BUSYBOX)
    (tmp_path / "tmp").mkdir()
    made = Running(tmp_path / "a root", SHELLS[str(request.param)], path)
    made.write("sys/firmware/fdt", TREE)
    made.write("proc/iomem", IOMEM)
    made.write("proc/cmdline", "console=ttymxc1,115200 root=/dev/mmcblk2p2 crashkernel=24M\n")
    made.write("proc/version", "Linux version 5.15.71-gateway (builder@host) (gcc) #1 SMP\n")
    made.write("proc/mounts", MOUNTS)
    made.write("proc/meminfo", "MemTotal: 500000 kB\n")
    made.write("proc/config.gz", gzip.compress(b"CONFIG_ARM=y\nCONFIG_PAGE_OFFSET=0xC0000000\n"))
    made.write("proc/mtd", 'dev:    size   erasesize  name\nmtd0: 00080000 00001000 "u-boot"\n')
    mmc = f"{SOC}/2198000.mmc/mmc_host/mmc2/mmc2:0001/block/mmcblk2"
    made.device(f"{SOC}/2198000.mmc", "/soc/bus@2100000/mmc@2198000", of="sys/class/mmc_host/mmc2")
    for name, sectors, label in DISK:
        where = f"{mmc}/mmcblk2{name}" if name else mmc
        made.device(where, "", of=f"sys/class/block/mmcblk2{name}")
        made.write(f"{where}/size", f"{sectors}\n")
        made.write(f"{where}/uevent", f"DEVNAME=mmcblk2{name}\n" + (f"PARTNAME={label}\n" if label else ""))
        if name:
            made.write(f"{where}/partition", f"{name[1:]}\n")
    made.device("sys/devices/virtual/block/loop0", "", of="sys/class/block/loop0")
    made.device(f"{SOC}/watchdog/watchdog0", "/soc/bus@2000000/watchdog@20bc000", of="sys/class/watchdog/watchdog0")
    for key, value in (("identity", "imx2+ watchdog"), ("state", "active"), ("timeout", "60")):
        made.write(f"{SOC}/watchdog/watchdog0/{key}", f"{value}\n")
    made.write("sys/class/tty/console/active", "tty0 ttymxc1\n")
    made.device(f"{SOC}/serial/tty/ttymxc1", "/soc/bus@2100000/serial@21e8000", of="sys/class/tty/ttymxc1")
    return made


def test_everything_comes_over(board: Running) -> None:
    probe = board.probe()
    assert probe.tree == TREE
    assert probe.ram == (Bank(0x80000000, 0x1F000000),)
    assert probe.release == "5.15.71-gateway"
    assert probe.config.startswith("CONFIG_ARM=y")
    assert probe.cmdline.endswith("crashkernel=24M")
    assert probe.mtds == (("mtd0", 0x80000, "u-boot"),)
    assert probe.machine == os.uname().machine
    assert probe.missing == ()
    assert [b.name for b in probe.blocks] == ["mmcblk2", "mmcblk2p2", "mmcblk2p3", "mmcblk2p4"]
    data = probe.blocks[2]
    assert (data.size, data.label, data.is_partition) == (200 << 20, "data", True)
    assert (data.mounted, data.filesystem) == ("/data", "ext4")
    assert data.node == "/soc/bus@2100000/mmc@2198000"
    assert (probe.blocks[3].filesystem, probe.blocks[3].mounted) == ("f2fs", "")
    (dog,) = probe.watchdogs
    assert (dog.identity, dog.active, dog.timeout) == ("imx2+ watchdog", True, 60)
    assert dog.node == "/soc/bus@2000000/watchdog@20bc000"
    assert probe.consoles["ttymxc1"] == "/soc/bus@2100000/serial@21e8000"


def test_a_folder_of_it_is_as_good(board: Running, tmp_path: Path) -> None:
    whole = board.probe()
    with tarfile.open(tmp_path / "board.tar") as archive:
        archive.extractall(tmp_path / "folder", filter="data")
    assert read_probe(tmp_path / "folder").blocks == whole.blocks


def test_to_standard_output_and_nothing_is_left_behind(board: Running, tmp_path: Path) -> None:
    done = board.run("-")
    assert done.returncode == 0
    (tmp_path / "piped.tar").write_bytes(done.stdout)
    assert read_probe(tmp_path / "piped.tar").tree == TREE
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "told", "missing"),
    [
        ("sys/firmware/fdt", b"/sys/firmware/fdt cannot be read", "sys/firmware/fdt: the device tree"),
        ("proc/config.gz", b"has no CONFIG_IKCONFIG_PROC", "proc/config.gz: the product's kernel config"),
        ("proc/cmdline", b"/proc/cmdline cannot be read", "proc/cmdline: the console in use"),
    ],
)
def test_what_is_missing_is_told_and_the_rest_is_taken(
    board: Running, name: str, told: bytes, missing: str, tmp_path: Path
) -> None:
    (board.root / name).unlink()
    done = board.run("board.tar")
    assert done.returncode == 0
    assert told in done.stderr
    assert b"what is missing is told above" in done.stderr
    probe = read_probe(tmp_path / "board.tar")
    assert [text for text in probe.missing if text.startswith(missing)] != []
    assert probe.version != ""


def test_addresses_that_only_root_sees_are_told(board: Running, tmp_path: Path) -> None:
    board.write("proc/iomem", "00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n")
    done = board.run("board.tar")
    assert b"/proc/iomem shows no addresses: run this as root" in done.stderr
    probe = read_probe(tmp_path / "board.tar")
    assert probe.ram == ()
    assert any("did not run as root" in text for text in probe.missing)


def test_a_board_without_block_devices_watchdogs_and_blkid(board: Running) -> None:
    shutil.rmtree(board.root / "sys/class")
    (board.path / "blkid").unlink()
    probe = board.probe()
    assert probe.blocks == ()
    assert probe.watchdogs == ()
    assert probe.has_watchdogs
    assert probe.tree == TREE


def test_where_it_cannot_write_it_says_so(board: Running, tmp_path: Path) -> None:
    done = board.run("nowhere/board.tar")
    assert done.returncode == 1
    assert b"cannot write nowhere/board.tar" in done.stderr
    done = board.run("board.tar", tmp=str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert b"set TMPDIR to one that can be written" in done.stderr
    assert board.run("--help").returncode == 1
