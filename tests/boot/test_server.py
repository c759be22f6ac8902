"""Dumps that go to a server, by NFS and by SSH: real crashes, and the server is a real one on the host.

Each takes a capture kernel of its own: ``./doit predictions``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.userland import Userland, default_root
from kdumpbuild.crashtest import TRIGGERS, Options, Verdict, render, run_crashtest, server
from tests.boot.test_graph import doit

pytestmark = [pytest.mark.boot, pytest.mark.slow]

DISK = 'disk = ["-device", "virtio-blk-device,drive=dump"]'
NETWORK = 'network = ["-device", "virtio-net-device,netdev=dump"]'
DUMP = '[dump]\ndevice = "/dev/vda"\nfilesystem = "ext4"\n'
TARGETS = {
    "nfs": '[dump]\ntarget = "nfs"\ndevice = "192.168.77.10:/srv/dumps"\n',
    "ssh": '[dump]\ntarget = "ssh"\ndevice = "crash@192.168.77.10:/srv/dumps"\ndeadline = 120\n'
    '[dump.network]\naddress = "192.168.77.20/24"\nkey = "./dump_key"\nknown_hosts = "./known_hosts"\n',
}
NEEDED = {"nfs": ("ganesha.nfsd",), "ssh": ("sshd", "ssh-keygen", "dropbearconvert")}


def board_with(arch: str, target: str, folder: Path) -> Path:
    """Write a virt board whose dumps go to a server: DHCP for NFS, an address of its own for SSH."""
    text = (resources.BOARDS / f"{arch}-virt.toml").read_text(encoding="utf-8")
    for old, new in (
        (DUMP, TARGETS[target]),
        ('fragments = ["capture-virt"]', 'fragments = ["capture-virt", "virt-network"]'),
        (DISK, NETWORK),
    ):
        assert old in text
        text = text.replace(old, new)
    if target == "ssh":
        for name in ("dump_key", "server_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True, capture_output=True)
        public = (folder / "server_key.pub").read_text(encoding="utf-8").split()[:2]
        (folder / "known_hosts").write_text(f"192.168.77.10 {' '.join(public)}\n", encoding="utf-8")
    board = folder / f"{arch}-virt-{target}.toml"
    board.write_text(text, encoding="utf-8")
    return board


@pytest.fixture(params=["nfs", "ssh"])
def target(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [program for program in NEEDED[name] if shutil.which(program, path=path) is None]
    if missing:
        pytest.skip(f"no {', no '.join(missing)}")
    if name == "nfs" and os.geteuid() != 0:
        pytest.skip("nfs-ganesha needs root")
    return name


@pytest.fixture(params=["arm", "arm64"])
def board(request: pytest.FixtureRequest, target: str, built: Path, tmp_path: Path) -> Path:
    """Return a board file, with its image set built."""
    path = board_with(str(request.param), target, tmp_path)
    result = doit("image", f"BOARD={path}", OUT=str(built))
    assert result.returncode == 0, result.stdout + result.stderr
    return path


def crash(path: Path, built: Path, work: Path) -> Verdict:
    board = load_board(path)
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    userland = Userland(default_root(cache, board.arch), board.arch)
    image_set = SetFiles(built / board.name, board.arch.image)
    return run_crashtest(board, image_set, userland, TRIGGERS["sysrq"], work, Options(deadline=240))


def test_a_crash_ends_on_the_server(board: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = crash(board, built, tmp_path / "a place, with space")
    assert verdict.passed, render(verdict)
    assert verdict.form == "filtered"
    # The same with a server that is not there, or not the one whose key the board has: told, and the machine is back.
    monkeypatch.setattr(server, "_network", _nobody)
    verdict = crash(board, built, tmp_path / "nobody")
    assert verdict.failure is not None, render(verdict)
    assert verdict.failure.code == "no-dump-target", render(verdict)
    assert any(check.name == "machine back in production" and check.ok for check in verdict.checks)


def test_a_server_that_dies(built: Path, tmp_path: Path) -> None:
    """In the middle, after the log: the log stays, nothing moves any more, and the machine is back."""
    if shutil.which("ganesha.nfsd") is None or os.geteuid() != 0:
        pytest.skip("no ganesha.nfsd, or not root")
    path = board_with("arm", "nfs", tmp_path)
    result = doit("image", f"BOARD={path}", OUT=str(built))
    assert result.returncode == 0, result.stdout + result.stderr
    console = tmp_path / "work/console.log"

    def kill() -> None:
        while not console.exists() or b"kdump: dmesg committed" not in console.read_bytes():
            time.sleep(0.05)
        subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "ganesha"], check=True)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    verdict = crash(path, built, tmp_path / "work")
    assert not killer.is_alive()
    assert verdict.failure is not None, render(verdict)
    assert "nothing has moved for 60 s" in verdict.failure.why
    assert verdict.dmesg_size
    assert not verdict.vmcore_size
    assert any(check.name == "machine back in production" and check.ok for check in verdict.checks)


def _nobody(board: object, port: int, command: object) -> tuple[str, ...]:
    del board, port, command
    network = "user,id=dump,net=192.168.77.0/24,host=192.168.77.2,restrict=on"
    return ("-netdev", network, "-device", "virtio-net-device,netdev=dump")
