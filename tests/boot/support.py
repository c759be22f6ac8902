"""Image sets of other boards out of a built one: the same kernels, another crash initramfs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kdumpbuild import files, resources
from kdumpbuild.build import initramfs, kernel, scripts
from kdumpbuild.build.applets import checksum_program
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.formats.zimage import read_zimage

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.userland import Userland


def variant(built: SetFiles, board: Board, userland: Userland, folder: Path) -> SetFiles:
    """Return a set for ``board`` in ``folder``, with the kernels of a set that was built for one like it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = SetFiles(folder, board.arch.image)
    for path in built.folder.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(built.folder)
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(path.resolve())
    conf = scripts.capture_conf(board, checksum_program(userland))
    _write(made.initramfs, initramfs.compress(initramfs.capture_entries(userland, board, conf)))
    config = kernel.symbols(made.capture_config.read_text(encoding="utf-8"))
    load = scripts.load_conf(
        board, crashkernel=reserved(built), release="", image_size=read_zimage(made.kernel).image_size_for_kexec()
        if board.arch.image == "zImage" else None,
        kernel=made.kernel.name, initramfs=made.initramfs.name,
        cmdline=scripts.capture_cmdline(board, config), dtb="",
    )  # fmt: skip
    _write(made.load_conf, load.encode())
    _write(folder / "kdump-collect.conf", scripts.collect_conf(board).encode())
    for name in ("kdump-load", "kdump-collect", "kdump-ctl"):
        _write(folder / name, (resources.TEMPLATES / "target" / name).read_bytes())
        (folder / name).chmod(0o755)
    for name in ("device.sh", "slots.sh"):
        _write(folder / f"kdump-{name}", (resources.TEMPLATES / "initramfs/lib" / name).read_bytes())
    sums = "".join(f"{files.sha256(path)}  {path.name}\n" for path in (made.kernel, made.initramfs))
    _write(made.checksums, sums.encode())
    return made


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)
