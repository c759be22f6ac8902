"""Which applets a BusyBox has, read from the program itself: it is of another architecture and cannot be asked.

The names lie one after the other, sorted, each with a NUL at its end (BusyBox, ``applet_names`` in
``applets/applet_tables.c``).
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from kdumpbuild.errors import Fault, UserError, user_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kdumpbuild.build.userland import Userland

_TABLE = re.compile(rb"(?:[A-Za-z0-9_.\[-]{1,24}\0){16,}")
# Checksums by how fast they are; any of them tells a torn dump from a whole one.
CHECKSUMS = ("crc32", "cksum", "md5sum", "sha256sum")
_DD_HINT = "turn on CONFIG_FEATURE_DD_IBS_OBS in the BusyBox of the userland"
_PIPE_TOOLS = ("dd", "mkfifo", "sed", "sort", "tail", "tee", "tr")


def applets(busybox: Path) -> frozenset[str]:
    """Return the applets of a BusyBox. Empty when its table is not found, as in a program that is something else."""
    best: list[bytes] = []
    for match in _TABLE.finditer(busybox.read_bytes()):
        names = match[0].rstrip(b"\0").split(b"\0")
        for run in _sorted_runs(names):
            if b"sh" in run and b"mount" in run and len(run) > len(best):
                best = run
    return frozenset(name.decode() for name in best)


def checksum_program(userland: Userland) -> str:
    """Return the quickest program of the userland that makes checksums; empty when there is none."""
    return next((name for name in CHECKSUMS if _has(userland, name)), "")


def check_slots(userland: Userland, target: str) -> None:
    """Raise UserError for everything that a ring of slots needs of the userland and that is not there."""
    where = str(userland.root)
    faults = [_lacks(userland, target, name) for name in missing(userland, _PIPE_TOOLS)]
    if not checksum_program(userland):
        faults.append(Fault(f"dump.target = {target!r} needs a program that makes checksums", where=where,
                            hint=f"one of {', '.join(CHECKSUMS)}"))  # fmt: skip
    busybox = userland.program("busybox")
    if busybox is not None and b"fullblock" not in busybox.read_bytes():
        faults.append(Fault(f"dump.target = {target!r} needs dd with conv= and iflag=", where=where,
                            why="without them it cannot fill blocks from a pipe and tell whether they are durable",
                            hint=_DD_HINT))  # fmt: skip
    if target == "mtd" and userland.program("flash_erase") is None:
        faults.append(Fault("dump.target = 'mtd' needs flash_erase, which the userland has not got", where=where,
                            why="BusyBox's flash_eraseall erases a whole device, and every dump on it",
                            hint="add mtd-utils to it"))  # fmt: skip
    if faults:
        raise UserError(*faults)


def check_device(userland: Userland, device: str) -> None:
    """Raise UserError when a dump target is named by what only a program can find, and that is not there.

    A BusyBox whose applets cannot be read is trusted.
    """
    busybox = userland.program("busybox")
    known = busybox is not None and applets(busybox)
    if device.startswith(("LABEL=", "UUID=")) and known and missing(userland, ["findfs"]):
        raise user_error(
            f"dump.device = {device!r} needs findfs, which the userland has not got", where=str(userland.root),
            hint="turn the applet findfs on in its BusyBox, or name the partition: PARTLABEL=…, /dev/mmcblk0p4",
        )  # fmt: skip


def check_network(userland: Userland, target: str, wanted: Iterable[str]) -> None:
    """Raise UserError for every program of ``wanted``, by which the network is brought up, that is not there."""
    faults = [_lacks(userland, target, name) for name in missing(userland, wanted)]
    if faults:
        raise UserError(*faults)


def missing(userland: Userland, wanted: Iterable[str]) -> list[str]:
    """Return those of the wanted programs that are neither applets nor programs of the userland."""
    return [name for name in wanted if not _has(userland, name)]


def _lacks(userland: Userland, target: str, name: str) -> Fault:
    return Fault(
        f"dump.target = {target!r} needs {name}, which the userland has not got", where=str(userland.root),
        hint=f"turn the applet {name} on in its BusyBox",
    )  # fmt: skip


def _has(userland: Userland, name: str) -> bool:
    busybox = userland.program("busybox")
    return userland.program(name) is not None or (busybox is not None and name in applets(busybox))


def _sorted_runs(names: list[bytes]) -> Iterable[list[bytes]]:
    """Return the parts of a list of texts in which each is behind the one before it."""
    start = 0
    for at, (one, other) in enumerate(itertools.pairwise(names), 1):
        if one >= other:
            yield names[start:at]
            start = at
    yield names[start:]
