"""A server as the dump target: what the board file says of it, the keys, and the network of the crash test."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.loader import load_board
from kdumpbuild.board.network import Server, server_of
from kdumpbuild.build import ssh
from kdumpbuild.build.applets import check_network
from kdumpbuild.build.initramfs import network_applets, parts, programs, ssh_entries
from kdumpbuild.build.scripts import capture_conf
from kdumpbuild.build.userland import Userland
from kdumpbuild.crashtest import server
from kdumpbuild.crashtest.machine import Boot, qemu_command
from kdumpbuild.errors import UserError
from kdumpbuild.steps import fragments

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board

GOOD = """\
format = 1
description = "a board on a bench"
arch = "arm"
[memory]
ram = ["512M@0x40000000"]
[capture]
fragments = ["capture-virt", "virt-network"]
console = "ttyAMA0"
[machine]
machine = "virt"
network = ["-device", "virtio-net-device,netdev=dump,mac=52:54:00:00:00:0A"]
[dump]
"""
NFS = GOOD + 'target = "nfs"\ndevice = "192.168.1.10:/srv/dumps"\n'
SSH = GOOD + 'target = "ssh"\ndevice = "crash@192.168.1.10:/srv/dumps"\n'
KEYS = '[dump.network]\nkey = "./key"\nknown_hosts = "./known_hosts"\n'
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFn0tasecretonlyatestonlyatestonlyatestonlya"


def read(folder: Path, text: str) -> Board:
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return load_board(path)


def faults(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, text)
    return "\n".join(map(str, caught.value.faults))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a folder with a key in OpenSSH's form, without a passphrase, and a server's."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "known_hosts").write_text(f"192.168.1.10 {PUBLIC}\n", encoding="utf-8")
    return tmp_path


def test_a_folder_by_nfs(tmp_path: Path) -> None:
    board = read(tmp_path, NFS)
    assert board.dump.network is not None
    assert board.dump.network.address == "dhcp"
    assert board.dump.directory == "gateway"
    assert server_of(board.dump.device) == Server("192.168.1.10", "/srv/dumps")
    names = [path.stem for path in fragments(board)["capture"]]
    assert names[2:4] == ["capture-network", "capture-nfs"]
    assert parts(board)["lib/kdump/target.sh"].name == "filesystem.sh"
    assert "lib/kdump/dhcp.sh" in parts(board)
    assert "KDUMP_INTERFACE=eth0\n" in capture_conf(board)
    assert ssh_entries(board) == []


def test_a_board_with_storage_has_nothing_of_it(tmp_path: Path) -> None:
    board = read(tmp_path, GOOD.replace("network =", "disk =") + 'device = "/dev/vda"\nfilesystem = "ext4"\n')
    assert board.dump.network is None
    assert not [name for name in parts(board) if "network" in name or "dhcp" in name]
    assert "KDUMP_INTERFACE=''\n" in capture_conf(board)


def test_a_folder_by_ssh(keys: Path) -> None:
    if shutil.which("dropbearconvert") is None:
        pytest.skip("no dropbearconvert")
    board = read(keys, SSH + KEYS)
    assert server_of(board.dump.device) == Server("192.168.1.10", "/srv/dumps", "crash")
    assert "dbclient" in programs(board)
    entries = {entry.name: entry for entry in ssh_entries(board)}
    assert entries["root/.ssh/known_hosts"].data == f"192.168.1.10 {PUBLIC}\n".encode()
    key = entries["etc/kdump.key"]
    assert key.data[4:15] == b"ssh-ed25519"
    assert key.mode & 0o777 == 0o600
    (keys / "dropbear").write_bytes(key.data)
    assert ssh.private_key(keys / "dropbear") == key.data


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NFS.replace("192.168.1.10", "server.lan"), "no name: the capture system cannot look names up"),
        (NFS.replace("192.168.1.10", "192.168.1.256"), "is not a folder of a server"),
        (NFS.replace("/srv/dumps", "/srv/our dumps"), "is not a folder of a server"),
        (NFS.replace("192", "crash@192"), "is not a folder of a server"),
        (SSH.replace("crash@", ""), "is not a folder of a server"),
        (SSH, "network: is missing: SSH needs a key"),
        (SSH + '[dump.network]\ninterface = "eth0"\n', "dump.network.known_hosts"),
        (SSH + KEYS, "known_hosts is not there"),
        (NFS + 'slots = 3\n', "slots: has no meaning with target = 'nfs'"),
        (NFS + 'filesystem = "ext4"\n', "filesystem: has no meaning with target = 'nfs'"),
        (SSH + 'keep = 3\n', "keep: has no meaning with target = 'ssh'"),
        (NFS + '[dump.network]\naddress = "192.168.1.20"\n', "is no address with its prefix length"),
        (NFS + '[dump.network]\naddress = "192.168.1/24"\n', "is no address with its prefix length"),
        (NFS + '[dump.network]\ngateway = "192.168.1.1"\n', "gateway: has no meaning with DHCP"),
        (NFS + '[dump.network]\naddress = "10.0.0.2/24"\ngateway = "10.0.1.1"\n', "is no address in the network"),
        (NFS + '[dump.network]\ninterface = "eth 0"\n', "is no network interface's name"),
        (NFS + '[dump.network]\nkey = "./key"\n', "key"),
        (GOOD + 'device = "/dev/vda"\nfilesystem = "ext4"\n[dump.network]\n', "network: has no meaning with target"),
        (GOOD.replace("network =", 'drive = "if=sd"\nnetwork =') + NFS[len(GOOD) :], "neither disk nor drive"),
        (GOOD + 'device = "/dev/vda"\nfilesystem = "ext4"\n', "network: has no meaning: the dump goes to the board's"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, told: str) -> None:
    assert told in faults(tmp_path, text)


@pytest.mark.parametrize("kind", [["-t", "ed25519"], ["-t", "rsa", "-m", "PEM", "-b", "2048"]])
def test_a_key_with_a_passphrase(keys: Path, kind: list[str]) -> None:
    for name, secret in (("locked", "a secret"), ("open", "")):
        command = ["ssh-keygen", "-q", *kind, "-N", secret, "-f", str(keys / name)]
        subprocess.run(command, check=True, capture_output=True)
    assert "has a passphrase, and nobody is there" in faults(keys, SSH + KEYS.replace("./key", "./locked"))
    assert read(keys, SSH + KEYS.replace("./key", "./open")).dump.network is not None


def test_all_that_is_wrong_with_the_keys_is_told_at_once(keys: Path) -> None:
    (keys / "known_hosts").write_text(f"192.168.1.11 {PUBLIC}\n", encoding="utf-8")
    told = faults(keys, SSH + KEYS.replace("./key", "./key.pub"))
    assert "key.pub is no private key" in told
    assert "has no key of 192.168.1.10" in told
    assert told.count("gateway.toml:") == 2


@pytest.mark.parametrize(
    ("line", "port", "found"),
    [
        (f"192.168.1.10 {PUBLIC} a comment", 22, True),
        (f"server,192.168.1.10 {PUBLIC}", 22, True),
        (f"[192.168.1.10]:2222 {PUBLIC}", 2222, True),
        (f"[192.168.1.10]:2222 {PUBLIC}", 22, False),
        (f"192.168.1.11 {PUBLIC}", 22, False),
        (f"|1|saltsalt|hashhash {PUBLIC}", 22, False),
        ("192.168.1.10 ssh-dss AAAA", 22, False),
        ("192.168.1.10", 22, False),
    ],
)
def test_the_servers_key(keys: Path, line: str, port: int, found: bool) -> None:  # noqa: FBT001
    path = keys / "known_hosts"
    path.write_text(f"# made by hand\n{line}\n", encoding="utf-8")
    text = f"{SSH}{KEYS}port = {port}\n"
    if found:
        read(keys, text)
        assert ssh.known_hosts(path, "192.168.1.10", port) == f"192.168.1.10 {PUBLIC}\n".encode()
        return
    told = faults(keys, text)
    assert "has no key of 192.168.1.10" in told
    assert ("hashed" in told) is line.startswith("|")


def test_a_machine_without_a_card_for_it(tmp_path: Path) -> None:
    told = faults(tmp_path, NFS.replace("network =", "disk ="))
    assert "machine.network: is wanted, and neither disk nor drive" in told


def test_the_machines_network_has_the_server_in_it(tmp_path: Path) -> None:
    board = read(tmp_path, NFS + '[dump.network]\naddress = "192.168.1.1/24"\n')
    option, network, *device = server._network(board, 2049, ["/usr/bin/a relay", "7,8"])
    assert option == "-netdev"
    assert network.startswith("user,id=dump,net=192.168.1.0/24,host=192.168.1.2,dns=192.168.1.3,dhcpstart=192.168.1.4,")
    assert network.endswith("restrict=on,guestfwd=tcp:192.168.1.10:2049-cmd:'/usr/bin/a relay' 7,,8")
    assert device[0] == "-device"
    boot = Boot(kernel=tmp_path / "k", initramfs=tmp_path / "i", disk=tmp_path / "d", args=(option, network, *device))
    assert "-drive" not in qemu_command(board, boot)
    dumps = server.Server(tmp_path, ()).dumps(board)
    assert dumps == tmp_path / "gateway/52-54-00-00-00-0a"


def test_a_large_network(tmp_path: Path) -> None:
    """Of its millions of addresses the first few are looked at."""
    board = read(tmp_path, NFS.replace("192.168.1.10", "10.0.0.2") + '[dump.network]\naddress = "10.0.0.1/8"\n')
    _, network, *_ = server._network(board, 2049, ["relay"])
    assert network.startswith("user,id=dump,net=10.0.0.0/8,host=10.0.0.3,dns=10.0.0.4,dhcpstart=10.0.0.5,")


def test_a_network_that_is_too_small(tmp_path: Path) -> None:
    board = read(tmp_path, NFS.replace("192.168.1.10", "10.0.0.2") + '[dump.network]\naddress = "10.0.0.1/30"\n')
    with pytest.raises(UserError, match="too small for the crash test"):
        server._network(board, 2049, ["relay"])


def test_a_busybox_that_cannot_bring_the_network_up(tmp_path: Path) -> None:
    board = read(tmp_path, NFS)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(b"no table of applets")
    userland = Userland(tmp_path, board.arch)
    with pytest.raises(UserError) as caught:
        check_network(userland, board.dump.target, network_applets(board))
    assert [fault.what for fault in caught.value.faults] == [
        f"dump.target = 'nfs' needs {name}, which the userland has not got" for name in ("ip", "udhcpc")
    ]
    own = read(tmp_path, NFS + '[dump.network]\naddress = "192.168.1.2/24"\n')
    assert network_applets(own) == ("ip",)


def test_a_server_behind_a_router_is_out_of_reach(tmp_path: Path) -> None:
    board = read(tmp_path, NFS + '[dump.network]\naddress = "10.0.0.2/24"\ngateway = "10.0.0.1"\n')
    with pytest.raises(UserError, match="QEMU's network has no router"):
        server._network(board, 2049, ["relay"])
