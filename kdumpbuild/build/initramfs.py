"""The crash initramfs: everything that runs in the capture kernel, in as little memory as it takes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from kdumpbuild import resources
from kdumpbuild.board.network import server_of
from kdumpbuild.build import cpio, ssh
from kdumpbuild.build.applets import applets
from kdumpbuild.build.userland import CAPTURE_PROGRAMS
from kdumpbuild.errors import Fault, UserError, user_error
from kdumpbuild.formats import elf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.userland import Userland

MTIME = 1577836800
# BusyBox under these names; a link for each of its applets would cost memory for nothing.
_APPLETS = (
    "cat", "cksum", "crc32", "cttyhack", "date", "dd", "df", "findfs", "grep", "kill", "ls", "md5sum", "mkdir",
    "mkfifo", "mount", "mv", "reboot", "rm", "sed", "setsid", "sh", "sha256sum", "sleep", "sort", "sync", "tail",
    "tee", "timeout", "tr", "true", "umount", "uname", "usleep", "watchdog", "wc",
)  # fmt: skip
_NETWORK_APPLETS = ("ip", "udhcpc")
_PROGRAMS = ("init", "lib/kdump/dhcp.sh")
_FOLDERS = ("dev", "mnt", "proc", "sys", "tmp")


def programs(board: Board) -> tuple[str, ...]:
    """Return the programs that the crash initramfs of a board holds."""
    return (*CAPTURE_PROGRAMS, *{"mtd": ["flash_erase"], "ssh": ["dbclient"]}.get(board.dump.target, []))


def capture_entries(userland: Userland, board: Board, conf: str) -> list[cpio.Entry]:
    """Return what the crash initramfs holds: ``init`` and its parts, the rendered configuration, the programs.

    Raises UserError when the userland lacks a library that a program needs.
    """
    return [
        *base_entries(userland, programs(board)),
        *(cpio.file(name, path.read_bytes(), executable=name in _PROGRAMS) for name, path in parts(board).items()),
        cpio.file("etc/kdump.conf", conf.encode()),
        *(cpio.link(f"bin/{name}", "busybox") for name in _links(userland, board)),
        *ssh_entries(board),
    ]


def ssh_entries(board: Board) -> list[cpio.Entry]:
    """Return what the board logs in with where the dump goes to a server by SSH; nothing otherwise.

    Raises UserError when the files that the board file names do not serve.
    """
    network = board.dump.network
    if network is None or network.key is None or network.known_hosts is None:
        return []
    server = server_of(board.dump.device).address
    return [
        cpio.secret("etc/kdump.key", ssh.private_key(network.key)),
        cpio.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        cpio.file("root/.ssh/known_hosts", ssh.known_hosts(network.known_hosts, server, network.port)),
    ]


def network_applets(board: Board) -> tuple[str, ...]:
    """Return the applets that bring the network up, where the dump goes to a server."""
    if board.dump.network is None:
        return ()
    return _NETWORK_APPLETS if board.dump.network.address == "dhcp" else _NETWORK_APPLETS[:1]


def _links(userland: Userland, board: Board) -> list[str]:
    """Return the applets to link: where a link is, the scripts take it that the applet is there."""
    busybox = userland.program("busybox")
    there = applets(busybox) if busybox is not None else frozenset()
    return [name for name in (*_APPLETS, *network_applets(board)) if name in there or not there]


def parts(board: Board) -> dict[str, Path]:
    """Return the static scripts by their path in the initramfs; of the kinds of dump target only the board's."""
    folder = resources.TEMPLATES / "initramfs"
    found = {"init": folder / "init"}
    found |= {f"lib/kdump/{path.name}": path for path in sorted((folder / "lib").glob("*.sh"))}
    # A server's folder is mounted like any file system.
    kind = "filesystem" if board.dump.target == "nfs" else board.dump.target
    found["lib/kdump/target.sh"] = folder / "target" / f"{kind}.sh"
    if board.dump.target == "mtd":
        found["lib/kdump/slots-target.sh"] = folder / "target" / "slots.sh"
    elif not board.dump.is_ring:
        del found["lib/kdump/slots.sh"]
    if board.dump.network is None:
        del found["lib/kdump/network.sh"], found["lib/kdump/dhcp.sh"]
    return found


def base_entries(userland: Userland, programs: Iterable[str]) -> list[cpio.Entry]:
    """Return folders, the console's node, and programs with exactly the libraries that they need."""
    entries = [cpio.directory(name) for name in _FOLDERS]
    entries.append(cpio.node("dev/console", 5, 1))
    entries.append(cpio.link("bin/sh", "busybox"))
    entries += [
        cpio.file(_inside(name, path), path.read_bytes(), executable=True)
        for name, path in closure(userland, programs).items()
    ]
    return entries


def closure(userland: Userland, programs: Iterable[str]) -> Mapping[str, Path]:
    """Return the files of programs, their libraries and interpreters, by the path that each has in the target."""
    found: dict[str, Path] = {}
    missing = []
    queue = []
    for name in programs:
        path = userland.program(name)
        if path is None:
            missing.append(Fault(f"has no {name}", where=str(userland.root)))
            continue
        found[f"bin/{name}"] = path
        queue.append(path)
    while queue:
        binary = queue.pop()
        read = elf.read_elf(binary)
        for needed in [*read.needed, *([read.interpreter] if read.interpreter else [])]:
            library = userland.library(needed.rpartition("/")[2])
            if library is None:
                missing.append(Fault(f"{binary.name} needs {needed}, which is not there", where=str(userland.root)))
                continue
            # The interpreter is found by its absolute name, libraries in the folders that every libc looks in.
            target = needed.lstrip("/") if needed.startswith("/") else f"lib/{needed}"
            if target not in found:
                found[target] = library
                queue.append(library)
    if missing:
        raise UserError(*missing)
    return found


def compress(entries: Iterable[cpio.Entry]) -> bytes:
    """Return the archive, packed with gzip: xz saves a quarter of it, and costs a second or more after a crash."""
    return gzip.compress(cpio.archive(entries, mtime=MTIME), compresslevel=9, mtime=0)


def with_files(initramfs: bytes, entries: Iterable[cpio.Entry]) -> bytes:
    """Return an initramfs with files put over its own: the kernel unpacks one archive after the other."""
    return initramfs + gzip.compress(cpio.archive(entries, mtime=MTIME), mtime=0)


def check_needs(binaries: Iterable[Path], config: Mapping[str, str]) -> None:
    """Raise UserError when a binary needs of its kernel what the capture kernel's config does not have.

    An example: Debian's armhf is Thumb-2 code, which a kernel without ARM_THUMB ends with "No working init found".
    """
    needs: dict[str, set[str]] = {}
    reasons: dict[str, str] = {}
    for path in binaries:
        for need in elf.userland_needs(path).config:
            symbol = f"CONFIG_{need.symbol}"
            if need.certain and config.get(symbol, "n") == "n":
                needs.setdefault(symbol, set()).add(path.name)
                reasons[symbol] = need.why
    if needs:
        raise UserError(
            *(
                Fault(
                    f"the capture kernel has no {symbol}, and {', '.join(sorted(names)[:4])} of the userland need it",
                    why=f"{min(names)}: {reasons[symbol]}",
                    hint=f"add {symbol}=y to a fragment of the board's [capture], or use a userland that does without",
                )
                for symbol, names in sorted(needs.items())
            )
        )


def _inside(name: str, path: Path) -> str:
    if not path.is_file():
        raise user_error(f"{name} is not a file", where=str(path))
    return name
