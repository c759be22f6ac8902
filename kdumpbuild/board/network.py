"""``[dump.network]``: how the capture system reaches the server that takes the dump."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.tables import Table

TARGETS = ("nfs", "ssh")
"""The kinds of dump target that are a server's folder."""
_NO_NAMES = "no name: the capture system cannot look names up"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_SERVER = rf"(?P<server>(?:{_BYTE}\.){{3}}{_BYTE}):(?P<folder>/[A-Za-z0-9_./-]*)"
DEVICES = {
    "nfs": (_SERVER, f"the server's address ({_NO_NAMES}) and its folder: 192.168.1.10:/srv/dumps"),
    "ssh": (
        rf"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@{_SERVER}",
        f"a user, the server's address ({_NO_NAMES}), and the folder: crash@192.168.1.10:/srv/dumps",
    ),
}
"""What names the server of each of them, and how to say it."""
_SSH = 22
SSH_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
"""The kinds of keys that dbclient knows, as they are called in files."""
_KEY = "the private key, without a passphrase: ssh-keygen -t ed25519 -N '' -f dump_key"
_KNOWN_HOSTS = "the server's key: ssh-keyscan ADDRESS >known_hosts"


@dataclass(frozen=True)
class Network:
    """How the capture system reaches the server that takes the dump."""

    interface: str = "eth0"
    """Name of the network interface."""
    address: str = "dhcp"
    """The board's own address with its prefix length, ``192.168.1.20/24``; or ``dhcp``."""
    gateway: str = ""
    """Address of the router, for a server in another network; empty for none. DHCP tells it by itself."""
    port: int = 22
    """The server's port for SSH."""
    key: Path | None = None
    """The private key for SSH, without a passphrase: of OpenSSH (ed25519, ECDSA or RSA) or of Dropbear."""
    known_hosts: Path | None = None
    """The server's public key for SSH, as ``ssh-keyscan`` prints it."""


@dataclass(frozen=True)
class Server:
    """The parts of a device that names a server."""

    address: str
    folder: str
    user: str = ""


def server_of(device: str) -> Server:
    """Return the parts of a board's ``dump.device``. Raises ValueError for one that names no server."""
    for pattern, _ in DEVICES.values():
        if match := re.fullmatch(pattern, device):
            return Server(match["server"], match["folder"], match.groupdict().get("user") or "")
    raise ValueError(f"{device!r} names no server")


def host_keys(text: str, server: str, port: int) -> list[str]:
    """Return a server's keys in the text of a known_hosts file, each with its kind before it."""
    names = {server} if port == _SSH else {f"[{server}]:{port}", server}
    lines = (line.split() for line in text.splitlines())
    return [
        " ".join(words[1:3])
        for words in lines
        if len(words) > 2 and names & set(words[0].split(",")) and words[1] in SSH_KEYS  # name, kind, key
    ]


def is_openssh(data: bytes) -> bool:
    """Whether a private key is in OpenSSH's form, and not in Dropbear's."""
    return data.startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in data


def read_network(dump: Table, target: str, device: str, path: Path) -> Network | None:
    """Return ``[dump.network]`` of the board file at ``path``; faults are noted in the table."""
    table = dump.table("network", required=False)
    if target not in TARGETS:
        if table is not None:
            dump.fault("network", f"has no meaning with target = {target!r}", 'leave it out, or set target = "nfs"')
        return None
    if table is None:
        if target == "ssh":
            hint = 'write [dump.network] key = "./dump_key", known_hosts = "./known_hosts"'
            dump.fault("network", "is missing: SSH needs a key, and the server's", hint)
        return Network()
    network = Network(
        interface=table.text("interface", default=Network.interface),
        address=table.text("address", default=Network.address),
        gateway=table.text("gateway", default=""),
    )
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", network.interface):
        table.fault("interface", f"{network.interface!r} is no network interface's name", 'write interface = "eth0"')
    _check_addresses(table, network)
    if target == "ssh":
        network = replace(
            network,
            port=table.integer("port", default=Network.port, low=1, high=65535),
            key=_beside(table, "key", path, _KEY),
            known_hosts=_beside(table, "known_hosts", path, _KNOWN_HOSTS),
        )
        _check_key(table, network)
        _check_known_hosts(table, network, device)
    table.end()
    return network


def _check_addresses(table: Table, network: Network) -> None:
    if network.address == "dhcp":
        if network.gateway:
            table.fault("gateway", "has no meaning with DHCP, which tells it", "leave it out")
        return
    try:
        own = ipaddress.IPv4Interface(network.address)
    except ValueError:
        own = None
    if own is None or "/" not in network.address:
        what = f"{network.address!r} is no address with its prefix length"
        table.fault("address", what, 'write "dhcp", or "192.168.1.20/24"')
        return
    try:
        inside = not network.gateway or ipaddress.IPv4Address(network.gateway) in own.network
    except ValueError:
        inside = False
    if not inside:
        what = f"{network.gateway!r} is no address in the network {own.network}"
        table.fault("gateway", what, "the router's address there; leave it out when the server is in this network")


def _check_key(table: Table, network: Network) -> None:
    if network.key is None:
        return
    data = network.key.read_bytes()
    if not is_openssh(data):
        if not any(data[4:].startswith(kind.encode()) for kind in SSH_KEYS):
            table.fault("key", f"{network.key} is no private key of OpenSSH or Dropbear", _KEY)
    elif _has_passphrase(data):
        table.fault("key", f"{network.key} has a passphrase, and nobody is there to type it", _KEY)


def _has_passphrase(data: bytes) -> bool:
    """Whether an OpenSSH key is encrypted (OpenSSH, PROTOCOL.key; older keys say so in a header)."""
    if b"ENCRYPTED" in data:
        return True
    body = b"".join(line for line in data.splitlines() if not line.startswith(b"-----"))
    try:
        return not base64.b64decode(body[:64]).startswith((b"openssh-key-v1\0\0\0\0\4none", b"\x30"))
    except binascii.Error:
        return False  # whoever converts it says what is wrong


def _check_known_hosts(table: Table, network: Network, device: str) -> None:
    if network.known_hosts is None:
        return
    try:
        server = server_of(device).address
    except ValueError:  # that is told already
        return
    text = network.known_hosts.read_text(encoding="utf-8", errors="replace")
    if not host_keys(text, server, network.port):
        hashed = any(line.startswith("|") for line in text.splitlines())
        why = ": its names are hashed, which dbclient does not read" if hashed else ""
        at = f"-p {network.port} " if network.port != _SSH else ""
        hint = f"ssh-keyscan {at}{server} >{network.known_hosts.name}"
        table.fault("known_hosts", f"{network.known_hosts} has no key of {server}{why}", hint)


def _beside(table: Table, key: str, path: Path, hint: str) -> Path | None:
    name = table.text(key, hint=hint)
    file = path.parent / name
    if not name:
        return None
    if not file.is_file() or not os.access(file, os.R_OK):
        what = "cannot be read" if file.is_file() else "is not there"
        table.fault(key, f"the file {file} {what}", f"{hint}; a path is relative to the board file")
        return None
    return file
