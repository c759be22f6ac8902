"""Dump targets whose file system only a kernel can fill and read.

They are made empty here. The test machine puts the earlier dump on them, and at the end copies what is there to the
test's own disk: templates/crashtest/init.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.board.size import human
from kdumpbuild.crashtest import disk
from kdumpbuild.crashtest.machine import machine_of
from kdumpbuild.errors import user_error
from kdumpbuild.files import write_text, writing

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board
    from kdumpbuild.crashtest.disk import Place

_NOR_UNIT = 1
"""Bytes that NOR flash with Intel's command set writes at least: Linux, drivers/mtd/chips/cfi_cmdset_0001.c."""
_UBIFS_UNIT = 8
"""Bytes that UBIFS writes at least: ``UBIFS_MIN_IO_SIZE`` and fs/ubifs/super.c."""
_UBI_HEADERS = 2 * 64
"""Bytes before the data in an erase block of such flash: ``UBI_EC_HDR_SIZE`` and ``UBI_VID_HDR_SIZE``."""


def is_carried(board: Board) -> bool:
    """Whether the machine itself has to fill and to read the board's dump target."""
    return board.dump.target == "filesystem" and board.dump.filesystem not in disk.FILESYSTEMS


def on_target(board: Board) -> bool:
    """Whether the test's plan and records are on the dump target; else they have a disk of their own."""
    return board.dump.target == "filesystem" and not is_carried(board)


def why_no_volume(board: Board) -> str:
    """Return why the UBI volume that dumps go to cannot be made; empty when it can, or there is none."""
    if board.dump.target != "filesystem" or board.dump.filesystem != "ubifs":
        return ""
    reasons = [
        *(["[machine] has no erase_size"] if not machine_of(board).erase_size else []),
        *([f"{board.dump.device} has no name"] if ":" not in board.dump.device else []),
    ]
    return f"it makes one UBI volume with a name, on flash: {' and '.join(reasons)}" if reasons else ""


def make_empty(board: Board, image: Path, size: int, place: Place) -> None:
    """Make an image of ``size`` bytes with the board's file system, empty.

    Nothing may stand in the way of it: :func:`why_no_volume`. Raises UserError when the program that makes it is
    missing, or it does not fit.
    """
    if board.dump.filesystem == "ubifs":
        _make_ubi(board, image, size)
        return
    room = disk.make_blank(image, size, place)
    disk.insert(image, place.offset, room, disk.make_command(board.dump.filesystem, place.label))


def _make_ubi(board: Board, image: Path, size: int) -> None:
    """Make an image of NOR flash with a UBI volume over all of it, and an empty UBIFS in that."""
    erase = machine_of(board).erase_size
    volume = board.dump.device.partition(":")[2]
    with writing(image), tempfile.TemporaryDirectory(dir=image.parent) as folder:
        disk.check_space(image.parent, 2 * size)
        content, plan, made = (Path(folder) / name for name in ("ubifs", "ubi.ini", "ubi"))
        run.run(
            ["mkfs.ubifs", "-m", str(_UBIFS_UNIT), "-e", str(erase - _UBI_HEADERS), "-c", str(size // erase),
             # A compressor that the product's kernel lacks would keep it from mounting.
             "-x", "none", "-o", content],
            what=disk.WHAT,
        )  # fmt: skip
        write_text(plan, f"[dumps]\nmode=ubi\nimage={content}\nvol_id=0\nvol_type=dynamic\nvol_name={volume}\n"
                         "vol_flags=autoresize\n")  # fmt: skip
        run.run(["ubinize", "-p", str(erase), "-m", str(_NOR_UNIT), "-o", made, plan], what=disk.WHAT)
        data = made.read_bytes()
        if len(data) > size:
            what = f"a UBIFS of {human(len(data))} does not fit into flash of {human(size)}"
            raise user_error(what, where=str(image), hint="give [machine] a larger disk_size")
        image.write_bytes(data.ljust(size, b"\xff"))
