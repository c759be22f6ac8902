"""What the capture system logs in to a server with: the key as Dropbear's dbclient reads it, and the server's own."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from kdumpbuild import run
from kdumpbuild.errors import UserError, user_error

_SSH = 22
_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


def private_key(path: Path) -> bytes:
    """Return a private key in Dropbear's form. Raises UserError for one that has a passphrase, or is none."""
    data = path.read_bytes()
    if not data.startswith(b"-----BEGIN"):
        if not any(data[4:].startswith(kind.encode()) for kind in _TYPES):
            raise user_error("is no private key of OpenSSH or Dropbear", where=str(path), hint=_how(path))
        return data
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "key"
        try:
            command: list[str | Path] = ["dropbearconvert", "openssh", "dropbear", path, converted]
            run.run(command, what="turn the key into Dropbear's form")
        except UserError as error:
            (fault,) = error.faults
            hint = fault.hint or f"has it a passphrase? Nobody is there to type it: {_how(path)}"
            raise user_error(f"cannot be used: {fault.what}", where=str(path), why=fault.why, hint=hint) from error
        return converted.read_bytes()


def known_hosts(path: Path, server: str, port: int) -> bytes:
    """Return a server's lines of a known_hosts file, as dbclient reads them: without the port, by its plain address.

    Raises UserError when there is none.
    """
    names = {server} if port == _SSH else {f"[{server}]:{port}", server}
    found = []
    hashed = False
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        hosts, _, key = line.strip().partition(" ")
        hashed |= hosts.startswith("|")
        if names & set(hosts.split(",")) and key.split(" ")[0] in _TYPES:
            found.append(f"{server} {' '.join(key.split()[:2])}\n")
    if not found:
        at = f"-p {port} " if port != _SSH else ""
        raise user_error(
            f"has no key of {server}", where=str(path),
            why="its names are hashed, which dbclient does not read" if hashed else "",
            hint=f"ssh-keyscan {at}{server} >{path.name}",
        )  # fmt: skip
    return "".join(found).encode()


def _how(path: Path) -> str:
    return f"ssh-keygen -t ed25519 -N '' -f {re.sub(r'[.]pub$', '', path.name)}"
