"""What the capture system logs in to a server with, as Dropbear's dbclient reads it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kdumpbuild import run
from kdumpbuild.board.network import host_keys, is_openssh


def private_key(path: Path) -> bytes:
    """Return a private key in Dropbear's form. Raises UserError when it cannot be turned into that."""
    data = path.read_bytes()
    if not is_openssh(data):
        return data
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "key"
        command: list[str | Path] = ["dropbearconvert", "openssh", "dropbear", path, converted]
        run.run(command, what=f"turn {path} into a key for dbclient")
        return converted.read_bytes()


def known_hosts(path: Path, server: str, port: int) -> bytes:
    """Return a server's lines of a known_hosts file by its plain address, without the port: dbclient looks for that."""
    keys = host_keys(path.read_text(encoding="utf-8", errors="replace"), server, port)
    return "".join(f"{server} {key}\n" for key in keys).encode()
