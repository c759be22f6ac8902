"""Image sets out of a built one: for another board like it, with another crash initramfs or another capture kernel."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from kdumpbuild import files, resources
from kdumpbuild.build import captureroot, initramfs, kernel, scripts
from kdumpbuild.build.applets import checksum_program
from kdumpbuild.build.imageset import read_manifest, reserved
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.checks.facts import parse_version
from kdumpbuild.formats.zimage import read_zimage

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.memory import CrashKernel
    from kdumpbuild.board.model import Board
    from kdumpbuild.build.userland import Userland


def variant(
    built: SetFiles,
    board: Board,
    userland: Userland,
    folder: Path,
    *,
    capture: tuple[Path, Path] | None = None,
    crash: CrashKernel | None = None,
) -> SetFiles:
    """Return a set for ``board`` in ``folder``, with the kernels of a set that was built for one like it.

    ``capture``: another capture kernel and its config. ``crash``: what is reserved, in the place of the set's own.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = SetFiles(folder, board.arch.image)
    for path in built.folder.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(built.folder)
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(path.resolve())
    if capture is not None:
        for path, other in zip((made.kernel, made.capture_config), capture, strict=True):
            _write(path, other.read_bytes())
    if crash is not None:
        manifest = read_manifest(built)
        argument = f"crashkernel={crash.argument}"
        manifest["crashkernel"] |= {"bytes": crash.size, "base": crash.base, "argument": argument}
        _write(made.manifest, json.dumps(manifest).encode())
    conf = scripts.capture_conf(board, checksum_program(userland))
    entries = initramfs.capture_entries(userland, board, conf)
    _write(made.initramfs, initramfs.compress(entries))
    if board.capture.root:
        _write(made.capture_root, captureroot.archive(entries))
    config = kernel.symbols(made.capture_config.read_text(encoding="utf-8"))
    version = parse_version(read_manifest(built)["kernel"]["release"])
    load = scripts.load_conf(
        board, crashkernel=reserved(made), release="", image_size=read_zimage(made.kernel).image_size_for_kexec()
        if board.arch.image == "zImage" else None,
        kernel=made.kernel.name, initramfs="" if board.capture.root else made.initramfs.name,
        cmdline=scripts.capture_cmdline(board, config, version), dtb="",
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
