"""``[dump.network]``: how the capture system reaches the server that takes the dump."""

from __future__ import annotations

import ipaddress
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


def read_network(dump: Table, target: str, path: Path) -> Network | None:
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


def _beside(table: Table, key: str, path: Path, hint: str) -> Path | None:
    name = table.text(key, hint=hint)
    file = path.parent / name
    if name and not file.is_file():
        table.fault(key, f"there is no file {file}", f"{hint}; a path is relative to the board file")
    return file if name else None
