"""A crash initramfs as a folder: the real init and configuration, real BusyBox, tools that fail on demand."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.build import initramfs
from kdumpbuild.build.scripts import capture_conf
from kdumpbuild.crashtest.dumps import SavedDump, find_dumps, read_attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSYBOX = Path("/bin/busybox")
CHROOT = "/usr/sbin/chroot"
# A network of its own: BusyBox runs some applets, ip among them, in place of the scripts that stand for them here.
APART = ("unshare", "--net")
FOLDER = "kdump"

# The machine is gone when it reboots: everything that runs there, at once.
REBOOT = """
echo "reboot $*" >>/reboot.log
exec busybox sh -c 'kill -9 0'
"""
VMCORE_DMESG = """
[ "$1" = /proc/vmcore ] || exit 9
echo "[    1.000000] Kernel panic - not syncing: test"
"""
MAKEDUMPFILE = """
for last; do :; done
case $1 in
--dump-dmesg) echo "the log, by makedumpfile" >"$last" ;;
*) echo "filtered: $*" >"$last" ;;
esac
"""


@dataclass
class CaptureSystem:
    """The capture system in a folder of its own."""

    root: Path

    @property
    def mount_point(self) -> Path:
        """Where init mounts the dump target."""
        return self.root / "mnt"

    @property
    def target(self) -> Path:
        """The dump target's content: of the small disk, where a test mounted one."""
        return self.disk if self.disk.is_dir() else self.mount_point

    @property
    def disk(self) -> Path:
        """Where a small disk is."""
        return self.root.with_name("disk")

    @property
    def dumps(self) -> list[SavedDump]:
        """What the crash test and users would find."""
        return find_dumps(self.target / FOLDER)

    @property
    def dump(self) -> SavedDump:
        """The only dump."""
        (dump,) = self.dumps
        return dump

    @property
    def attempt(self) -> dict[str, str]:
        """What is left of the last attempt."""
        return read_attempt(self.target / FOLDER)

    @property
    def rebooted(self) -> bool:
        """Whether a reboot was asked for."""
        return (self.root / "reboot.log").exists()

    def tool(self, name: str, script: str) -> None:
        """Put a program in the initramfs, in place of a real one."""
        path = self.root / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
        path.chmod(0o755)

    def configure(self, **dump: object) -> None:
        """Write the configuration of a board whose ``[dump]`` has these values."""
        board = load_board(resources.BOARDS / "arm-virt.toml")
        settings = {"deadline": 20, "device_timeout": 1, "directory": FOLDER, **dump}
        board = replace(board, dump=replace(board.dump, **settings))  # type: ignore[arg-type]
        (self.root / "etc/kdump.conf").write_text(capture_conf(board, "crc32"), encoding="utf-8")
        for name, path in initramfs.parts(board).items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.root / name)
        for name in initramfs._PROGRAMS:
            if (self.root / name).exists():
                (self.root / name).chmod(0o755)

    def run(self, *, seconds: float = 30, redirect: str = "") -> str:
        """Run init until the machine reboots or loses power; return what the console shows."""
        (self.root / "reboot.log").unlink(missing_ok=True)
        console = self.root / "console.log"
        command = [*APART, CHROOT, str(self.root), "/init"]
        if redirect:
            command = [*APART, CHROOT, str(self.root), "/bin/busybox", "sh", "-c", f"exec /init {redirect}"]
        started = time.monotonic()
        with console.open("wb") as sink, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env={}, start_new_session=True,
        ) as init:  # fmt: skip
            try:
                while init.poll() is None:
                    if time.monotonic() - started > seconds:
                        raise AssertionError(f"no end after {seconds} s:\n{console.read_text(encoding='utf-8')}")
                    self.tick()
                    time.sleep(0.02)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(init.pid, signal.SIGKILL)
        assert init.returncode == -signal.SIGKILL, "init must never exit by itself"
        return console.read_text(encoding="utf-8")

    def tick(self) -> None:
        """Let the system's clock follow the real one."""
        work = self.root / "proc/uptime.new"
        work.write_text(f"{time.monotonic():.2f} 0.00\n", encoding="utf-8")
        work.replace(self.root / "proc/uptime")


@pytest.fixture(scope="session")
def _can_chroot(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        pytest.skip("init runs in a chroot, with device nodes: this needs root")
    if not BUSYBOX.exists():
        pytest.skip("needs Debian's busybox-static")
    node = tmp_path_factory.mktemp("nodes") / "null"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        node.write_bytes(b"")
    except OSError as error:
        pytest.skip(f"init runs with device nodes, which cannot be used here: {error}")
    if subprocess.run([*APART, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("init runs in a network of its own, which cannot be had here")


@pytest.fixture
def system(tmp_path: Path, _can_chroot: None) -> Iterator[CaptureSystem]:
    """Return a capture system that works, and has crashed with 300 KiB of memory."""
    root = tmp_path / "root"
    for name in ("bin", "dev", "etc", "mnt", "proc", "sys/class/block/vda", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copyfile(BUSYBOX, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    # The links that a real initramfs gets. BusyBox finds itself in /proc there, but not all builds of it look.
    for name in initramfs._APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "dev/watchdog", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "dev/vda", stat.S_IFBLK | 0o660, os.makedev(7, 250))
    (root / "proc/vmcore").write_bytes(b"memory\n" * 43886)
    (root / "proc/cmdline").write_text("console=ttyAMA0 panic=5\n", encoding="utf-8")
    (root / "proc/mounts").write_text("rootfs / rootfs rw 0 0\ntmpfs /mnt tmpfs rw 0 0\n", encoding="utf-8")
    made = CaptureSystem(root)
    for name in ("mount", "watchdog"):
        made.tool(name, f'echo "{name} $*" >>/calls.log\n')
    made.tool("reboot", REBOOT)
    made.tool("vmcore-dmesg", VMCORE_DMESG)
    made.tool("makedumpfile", MAKEDUMPFILE)
    made.configure()
    made.tick()
    yield made
    for path in (made.mount_point, made.disk):
        subprocess.run(["umount", str(path)], check=False, capture_output=True)


def mount_small(system: CaptureSystem, size: str, *options: str) -> None:
    """Give the system a dump target of its own size. It is there after init's umount, too."""
    system.disk.mkdir()
    tmpfs = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={size}", *options)), "tmpfs", str(system.disk)]
    bind = ["mount", "--bind", str(system.disk), str(system.mount_point)]
    for command in (tmpfs, bind):
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:
            pytest.skip("needs to mount a tmpfs")
