"""The crash initramfs: everything that runs in the capture kernel, in as little memory as it takes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from kdumpbuild import resources
from kdumpbuild.build import cpio
from kdumpbuild.errors import Fault, UserError, user_error
from kdumpbuild.formats import elf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from kdumpbuild.build.userland import Userland

MTIME = 1577836800
# BusyBox under these names; a link for each of its applets would cost memory for nothing.
_APPLETS = (
    "cat", "cttyhack", "findfs", "grep", "kill", "ls", "mkdir", "mount", "mv", "reboot", "rm", "setsid", "sh", "sleep",
    "stat", "sync", "timeout", "true", "umount", "uname", "usleep", "watchdog",
)  # fmt: skip
_FOLDERS = ("dev", "mnt", "proc", "sys", "tmp")


def capture_entries(userland: Userland, programs: Iterable[str], conf: str) -> list[cpio.Entry]:
    """Return what the crash initramfs holds: the static ``init``, its rendered configuration, the programs.

    Raises UserError when the userland lacks a library that a program needs.
    """
    init = (resources.TEMPLATES / "initramfs" / "init").read_bytes()
    return [
        *base_entries(userland, programs),
        cpio.file("init", init, executable=True),
        cpio.file("etc/kdump.conf", conf.encode()),
        *(cpio.link(f"bin/{name}", "busybox") for name in _APPLETS),
    ]


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
        interpreter = elf.interpreter(binary)
        for needed in [*elf.needed(binary), *([interpreter] if interpreter else [])]:
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
