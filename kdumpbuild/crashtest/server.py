"""A server on the host that takes a machine's dumps, for the time of one crash test.

QEMU has a network of its own for the machine, and hands what is sent to the board's server on to a program of ours: so
the crash initramfs is the board's own, with its own addresses. Nobody else sees that network, or the server.

NFS is nfs-ganesha, which runs without the kernel's help but as root; SSH is one sshd for each connection.
"""

from __future__ import annotations

import contextlib
import getpass
import ipaddress
import itertools
import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.board.network import SSH_KEYS, server_of
from kdumpbuild.build import cpio, scripts, ssh
from kdumpbuild.crashtest.machine import machine_of
from kdumpbuild.errors import user_error
from kdumpbuild.formats.flattened import unflatten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kdumpbuild.board.model import Board

_NFS_PORT = 2049
_MAC = "52:54:00:12:34:56"
"""What QEMU gives the first network card that has no other."""
_START = 30.0
"""Seconds that a server may take to start."""
_GANESHA = """\
NFS_CORE_PARAM {{
    Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false;
}}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = "{state}"; Minor_Versions = 1, 2; }}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{
    Export_Id = 1; Path = "{folder}"; Pseudo = "{pseudo}"; Protocols = 4; SecType = sys;
    Squash = No_Root_Squash; Access_Type = RW; FSAL {{ Name = VFS; }}
}}
"""
_SSHD = """\
HostKey {state}/host_key
AuthorizedKeysFile {state}/authorized_keys
StrictModes no
UsePAM no
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    folder: Path
    """What the board's ``dump.device`` is on the host."""
    qemu_args: tuple[str, ...]
    """The network, for QEMU."""
    behind: tuple[cpio.Entry, ...] = ()
    """What comes behind the crash initramfs, to name this server instead of the board's."""

    def dumps(self, board: Board) -> Path:
        """Return the folder of this one machine."""
        given = re.search(r"\bmac=([0-9a-fA-F:]+)", " ".join(machine_of(board).network))
        mac = given[1].lower() if given else _MAC
        return self.folder / board.dump.directory / mac.replace(":", "-")

    def fetch(self, board: Board, target: Path) -> None:
        """Copy the machine's dumps; a flattened vmcore becomes the file that it stands for."""
        if self.dumps(board).is_dir():
            shutil.copytree(self.dumps(board), target, dirs_exist_ok=True)
        for flat in target.glob("*/vmcore.flat"):
            with flat.with_name("vmcore").open("wb") as stream:
                unflatten(flat, stream)
            flat.unlink()


@contextlib.contextmanager
def serving(board: Board) -> Iterator[Server]:
    """Run the server that a board's dumps go to. Raises UserError when that cannot be had here."""
    # Not below OUT: a path in a command on the server must not have a space.
    with tempfile.TemporaryDirectory(prefix="kdumpbuild-server-") as name:
        state = Path(name)
        folder = state / "served"
        folder.mkdir()
        kind = _nfs if board.dump.target == "nfs" else _ssh
        with kind(board, state, folder) as server:
            yield server


@contextlib.contextmanager
def _nfs(board: Board, state: Path, folder: Path) -> Iterator[Server]:
    run.which("ganesha.nfsd", needed_for="to be the NFS server of the crash test")
    if os.geteuid() != 0:
        raise user_error(
            "the crash test's NFS server needs root", where=board.where("dump", "target"),
            why="nfs-ganesha opens files by their handles", hint="run it as root, in a container for example",
        )  # fmt: skip
    port = _free_port()
    config, log = state / "ganesha.conf", state / "ganesha.log"
    (state / "recovery").mkdir()
    pseudo = server_of(board.dump.device).folder.rstrip("/") or "/"
    text = _GANESHA.format(port=port, state=state / "recovery", folder=folder, pseudo=pseudo)
    config.write_text(text, encoding="utf-8")
    command: list[str | Path] = ["ganesha.nfsd", "-F", "-L", log, "-f", config, "-p", state / "pid"]
    with run.background(command, log=state / "output.log") as alive:
        _wait(port, alive, log)
        relay = [sys.executable, "-m", "kdumpbuild.crashtest.relay", str(port)]
        yield Server(folder, _network(board, _NFS_PORT, relay))


@contextlib.contextmanager
def _ssh(board: Board, state: Path, folder: Path) -> Iterator[Server]:
    network = board.dump.network
    assert network is not None  # noqa: S101  # the loader has seen to it
    assert network.key is not None  # noqa: S101  # as above
    sshd = run.which("sshd", needed_for="to be the SSH server of the crash test")
    run.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", state / "host_key"], what="make the server's key")
    own = state / "key"
    own.write_bytes(ssh.private_key(network.key))
    said = run.run(["dropbearkey", "-y", "-f", own], what="read the board's key")
    # Between words about it.
    allowed = next(line for line in said.splitlines() if line.startswith(SSH_KEYS))
    (state / "authorized_keys").write_text(f"{allowed}\n", encoding="utf-8")
    (state / "sshd_config").write_text(_SSHD.format(state=state), encoding="utf-8")
    if os.geteuid() == 0:
        # Where the service was never started nobody has made it.
        Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)
    command = [str(sshd), "-i", "-f", str(state / "sshd_config"), "-E", str(state / "log")]
    args = _network(board, network.port, command)
    server = server_of(board.dump.device)
    host_key = (state / "host_key.pub").read_text(encoding="utf-8")
    standing = replace(board, dump=replace(board.dump, device=f"{getpass.getuser()}@{server.address}:{folder}"))
    entries = [
        cpio.file("etc/kdump.conf", scripts.capture_conf(standing).encode()),
        cpio.file("root/.ssh/known_hosts", f"{server.address} {' '.join(host_key.split()[:2])}\n".encode()),
    ]
    yield Server(folder, args, tuple(entries))


def _network(board: Board, port: int, command: list[str]) -> tuple[str, ...]:
    """Return QEMU's arguments for a network in which the board's server is a command of the host."""
    network, server = board.dump.network, ipaddress.IPv4Address(server_of(board.dump.device).address)
    own = None if network is None or network.address == "dhcp" else ipaddress.IPv4Interface(network.address)
    place = own.network if own is not None else ipaddress.IPv4Network(f"{server}/24", strict=False)
    if server not in place:
        raise user_error(
            f"the server {server} is not in the board's network {place}", where=board.where("dump", "device"),
            why="QEMU's network has no router", hint="crash the board itself, or give it a server in its network",
        )  # fmt: skip
    taken = {server, own.ip if own is not None else server}
    free = [address for address in itertools.islice(place.hosts(), 5) if address not in taken]
    if len(free) < 3:  # QEMU itself, its name server, and the first one that DHCP gives
        raise user_error(f"the network {place} is too small for the crash test", where=board.where("dump", "network"))
    forward = f"guestfwd=tcp:{server}:{port}-cmd:{shlex.join(command)}".replace(",", ",,")
    parts = ("user", "id=dump", f"net={place}", f"host={free[0]}", f"dns={free[1]}", f"dhcpstart={free[2]}")
    return ("-netdev", ",".join([*parts, "restrict=on", forward]), *machine_of(board).network)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, alive: Callable[[], bool], log: Path) -> None:
    """Wait until the server takes connections."""
    end = time.monotonic() + _START
    while time.monotonic() < end and alive():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    said = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    raise user_error("the crash test's NFS server did not start", why=run.tail(said))
