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

_WHAT = "make the test machine's disk"
_NOR_UNIT = 1
"""Bytes that NOR flash with Intel's command set writes at least: Linux, drivers/mtd/chips/cfi_cmdset_0001.c."""
_UBIFS_UNIT = 8
"""Bytes that UBIFS writes at least: ``UBIFS_MIN_IO_SIZE`` and fs/ubifs/super.c."""
_UBI_HEADERS = 2 * 64
"""Bytes before the data in an erase block of such flash: ``UBI_EC_HDR_SIZE`` and ``UBI_VID_HDR_SIZE``."""


def is_carried(board: Board) -> bool:
    """Whether the machine itself has to fill and to read the board's dump target."""
    return board.dump.target == "filesystem" and board.dump.filesystem not in disk.FILESYSTEMS


def make_empty(board: Board, image: Path, size: int, place: Place) -> None:
    """Make an image of ``size`` bytes with the board's file system, empty.

    Raises UserError when the program that makes it is missing, it does not fit, or the machine has no flash for UBIFS.
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
    if not erase or not volume:
        raise user_error(
            f"the crash test cannot make the UBI volume {board.dump.device}",
            where=board.where("dump", "device"),
            why="it makes one volume with a name, on flash" + ("" if erase else "; [machine] has no erase_size"),
            hint='device = "ubi0:dumps", and for the machine drive = "if=pflash,unit=1", erase_size = "256K"',
        )  # fmt: skip
    with writing(image), tempfile.TemporaryDirectory(dir=image.parent) as folder:
        disk.check_space(image.parent, 2 * size)
        content, plan, made = (Path(folder) / name for name in ("ubifs", "ubi.ini", "ubi"))
        run.run(
            ["mkfs.ubifs", "-m", str(_UBIFS_UNIT), "-e", str(erase - _UBI_HEADERS), "-c", str(size // erase),
             # A compressor that the product's kernel lacks would keep it from mounting.
             "-x", "none", "-o", content],
            what=_WHAT,
        )  # fmt: skip
        write_text(plan, f"[dumps]\nmode=ubi\nimage={content}\nvol_id=0\nvol_type=dynamic\nvol_name={volume}\n"
                         "vol_flags=autoresize\n")  # fmt: skip
        run.run(["ubinize", "-p", str(erase), "-m", str(_NOR_UNIT), "-o", made, plan], what=_WHAT)
        data = made.read_bytes()
        if len(data) > size:
            what = f"a UBIFS of {human(len(data))} does not fit into flash of {human(size)}"
            raise user_error(what, where=str(image), hint="give [machine] a larger disk_size")
        image.write_bytes(data.ljust(size, b"\xff"))
