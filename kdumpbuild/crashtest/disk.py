"""The test machine's disk: made and read without root and without mounting."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.board.partition import disk_and_number
from kdumpbuild.board.size import human
from kdumpbuild.errors import user_error
from kdumpbuild.files import sha256, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kdumpbuild.board.model import Board

FILESYSTEMS = ("ext2", "ext3", "ext4")
"""Those that the host fills and reads: e2fsprogs can do both to an image."""

# The features that kernels from 5.10 on know. mke2fs's own default grows with its release.
_FEATURES = {
    "ext2": "none,ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file",
    "ext3": "none,has_journal,ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file",
    "ext4": "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
            "large_file,huge_file,dir_nlink,extra_isize,metadata_csum",
}  # fmt: skip

WHAT = "make the test machine's disk"
"""What fails where a program that makes it does."""
_SQUASHFS = "squashfs"
_OVERHEAD = 64 << 20
"""Bytes for the file system itself and what the host writes besides."""
_MEBIBYTE = 1 << 20
_ROOT_SIZE = 128 << 20
"""Bytes of the product's file system: the capture system, the image set, a shell. An F2FS of half of that is full."""


@dataclass(frozen=True)
class Place:
    """Where on the disk the file system is."""

    partition: int = 0
    """Number of its partition; 0 for the whole disk."""
    name: str = ""
    """Name of its partition."""
    label: str = ""
    """Its own label."""
    root: int = 0
    """Number of the partition with the product's file system, which comes earlier; 0 where there is none."""
    root_name: str = ""
    """Name of that partition."""

    @property
    def offset(self) -> int:
        """Bytes before it: each partition that comes earlier, and the table, has a mebibyte, the product's more."""
        return self.partition * _MEBIBYTE + (_ROOT_SIZE - _MEBIBYTE if self.root else 0)

    def of(self, image: Path) -> str:
        """Return what the tools of e2fsprogs call it in a disk image."""
        return f"{image}?offset={self.offset}" if self.partition else str(image)


def place_of(device: str) -> Place:
    """Return where the crash test has to put a file system that the target finds as ``device``."""
    key, _, value = device.partition("=")
    if key == "PARTLABEL":
        return Place(partition=1, name=value)
    if key == "LABEL":
        return Place(label=value)
    return Place(partition=disk_and_number(device)[1])


def place_beside(root: str, device: str) -> Place | None:
    """Return where the file system of ``device`` is on a disk with the product's, ``root``, on an earlier partition.

    None where the two cannot be put on one disk like that.
    """
    place, before = place_of(device), place_of(root)
    if device.startswith(("LABEL=", "PARTLABEL=")):
        place = replace(place, partition=before.partition + 1)
    disks = {disk_and_number(name)[0] for name in (root, device) if name.startswith("/dev/")}
    if not 0 < before.partition < place.partition or len(disks) > 1:
        return None
    return replace(place, root=before.partition, root_name=before.name)


def why_no_root(board: Board) -> str:
    """Return why the product's file system cannot be put on the test machine's disk; empty when it can, or need not."""
    root, dump = board.capture.root, board.dump
    if not root:
        return ""
    if dump.network is not None:
        return "the dump goes to a server, and the test has no disk for the product"
    if dump.target != "filesystem":
        return "the test has one disk, and it is the dump target, which has no file system"
    if dump.filesystem == "ubifs":
        return "the test has one disk, and it is flash"
    if place_beside(root, dump.device) is None:
        return (
            f"it makes one disk, with the product's file system on a partition before that of the dumps: {root} and\n"
            f"{dump.device} do not say so"
        )
    return ""


def make_root(image: Path, content: Path, *, filesystem: str, place: Place) -> None:
    """Make the product's file system on its partition of a disk image, from a folder. Raises UserError."""
    what, offset = "make the product's file system", place.root * _MEBIBYTE
    if filesystem == "f2fs":
        insert(image, offset, _ROOT_SIZE, make_command("f2fs"), ["sload.f2fs", "-f", content])
        return
    if filesystem != _SQUASHFS:
        _make(filesystem, image, content, offset, [f"{_ROOT_SIZE >> 10}k"])
        return
    packed = image.with_name("root.squashfs")
    run.run(["mksquashfs", content, packed, "-quiet", "-no-progress", "-noappend", "-all-root"], what=what)
    if packed.stat().st_size > _ROOT_SIZE:
        raise user_error(
            f"{human(packed.stat().st_size)} do not fit into the product's partition of {human(_ROOT_SIZE)}",
            where=str(packed), hint="the crash test is for capture kernels of a few MiB",
        )  # fmt: skip
    run.run(["dd", f"if={packed}", f"of={image}", "bs=1M", f"seek={place.root}", "conv=notrunc"], what=what)
    packed.unlink()


def make_disk(image: Path, content: Path, *, filesystem: str, size: int, place: Place | None = None) -> None:
    """Make a disk image of ``size`` bytes whose file system holds a copy of the folder ``content``.

    ``filesystem`` is one of :data:`FILESYSTEMS`. Raises UserError when mke2fs is missing, or there is no space.
    """
    place = place or Place()
    room = make_blank(image, size, place)
    blocks = [f"{room >> 10}k"] if place.partition else []
    _make(filesystem, image, content, place.offset, blocks, place.label)


def make_blank(image: Path, size: int, place: Place) -> int:
    """Make a disk image of ``size`` bytes with nothing but partitions. Return the bytes that there are at ``place``.

    Raises UserError when there is no space, or sfdisk is missing.
    """
    with writing(image):
        check_space(image.parent, _OVERHEAD)
        image.unlink(missing_ok=True)
        with image.open("wb") as stream:
            stream.truncate(size)
    if not place.partition:
        return size
    _partition(image, place)
    # The backup of the partition table is behind the last partition.
    return size - place.offset - _MEBIBYTE


def make_command(filesystem: str, label: str = "") -> list[str]:
    """Return the command that makes an empty F2FS or FAT file system, without the device."""
    if filesystem == "f2fs":
        # Nothing to discard in a file that has holes.
        return ["mkfs.f2fs", "-q", "-f", "-t", "0", *(["-l", label] if label else [])]
    return ["mkfs.vfat", *(["-n", label] if label else [])]


def insert(image: Path, offset: int, size: int, *commands: Sequence[str | Path]) -> None:
    """Put a file system of ``size`` bytes into a disk image; ``commands`` make it, with its file's name behind them."""
    made = image.with_name(f"{image.stem}-part{image.suffix}")
    with writing(made):
        with made.open("wb") as stream:
            stream.truncate(size)
        try:
            for command in commands:
                run.run([*command, made], what=WHAT)
            place = ["bs=1M", f"seek={offset // _MEBIBYTE}", "conv=notrunc,sparse"]
            run.run(["dd", f"if={made}", f"of={image}", *place], what=WHAT)
        finally:
            made.unlink()


def _make(
    filesystem: str, image: Path, content: Path, offset: int, blocks: Sequence[str], label: str = ""
) -> None:
    # Inode tables are written out now: the kernel would do it in the background, in the middle of the test.
    options = f"offset={offset},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1,nodiscard"
    run.run(
        ["mke2fs", "-q", "-F", "-t", filesystem, "-O", _FEATURES[filesystem], "-N", "512", "-E", options,
         *(["-L", label] if label else []), "-d", content, image, *blocks],
        what=WHAT,
    )  # fmt: skip


def _partition(image: Path, place: Place) -> None:
    """Write a partition table: small partitions, among them perhaps the product's, and last the one for the dump."""
    names = {place.root: place.root_name, place.partition: place.name}
    lines = ["label: gpt"]
    for number in range(1, place.partition + 1):
        size = _ROOT_SIZE if number == place.root else _MEBIBYTE
        what = "type=L" if number == place.partition else f"size={size >> 20}MiB"
        lines.append(what + (f', name="{names[number]}"' if names.get(number) else ""))
    run.run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image],
        what="partition the test machine's disk", stdin="\n".join(lines) + "\n",
    )  # fmt: skip


def disk_size(ram: int) -> int:
    """Return the size of a disk that holds an unfiltered dump of ``ram`` bytes, and another one beside it.

    The image is sparse.
    """
    return power_of_two(2 * ram + _OVERHEAD)


def power_of_two(size: int) -> int:
    """Return the next power of two: QEMU takes no other size for an SD card."""
    found: int = 1 << (size - 1).bit_length()
    return found


def check_space(folder: Path, wanted: int) -> None:
    """Raise UserError when the host's file system has less than ``wanted`` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise user_error(
            f"no space left: {human(free)} free, the crash test needs {human(wanted)}", where=str(folder),
            hint="free space there, or set OUT to another place",
        )  # fmt: skip


def read_disk(image: Path, folders: Iterable[str], target: Path, place: Place | None = None) -> None:
    """Copy folders of the disk's file system into ``target``, each under its own name. Missing ones are left out.

    A file system that was not unmounted is repaired first, on a copy: the image stays as the machine left it.
    Raises UserError when the file system is damaged beyond reading.
    """
    place = place or Place()
    source, name = image, place.of(image.absolute())
    if not _is_clean(run.run(["dumpe2fs", "-h", place.of(image)], what="look at the test machine's disk")):
        source = image.with_name(f"{image.stem}-repaired{image.suffix}")
        with writing(source):
            # The file system alone: e2fsck forgets the offset once it has replayed the journal (1.47.0).
            run.run(
                ["dd", f"if={image}", f"of={source}", "bs=1M", f"skip={place.offset // _MEBIBYTE}", "conv=sparse"],
                what="copy the test machine's disk",
            )  # fmt: skip
        name = str(source.absolute())
        # Exit status 1 says that errors were found and corrected.
        run.run(["e2fsck", "-f", "-y", name], what="repair a copy of the test machine's disk", accept=(0, 1))
    with writing(target / "x"):
        for folder in folders:
            copy = target / folder
            shutil.rmtree(copy, ignore_errors=True)
            # debugfs always exits with 0. It copies the folder into one that exists.
            copy.parent.mkdir(parents=True, exist_ok=True)
            run.run(
                ["debugfs", "-R", f"rdump /{folder} .", name], cwd=copy.parent,
                what="read the test machine's disk",
            )  # fmt: skip
    if source != image:
        source.unlink()


def _is_clean(header: str) -> bool:
    state = re.search(r"^Filesystem state:\s*(.*)$", header, re.MULTILINE)
    return state is not None and state[1].strip() == "clean" and "needs_recovery" not in header


def tree_digest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its relative path."""
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and os.access(path, os.R_OK)
    }
