"""The production system of the crash test: a small initramfs with the image set, its loader and a first process."""

from __future__ import annotations

import gzip
import shlex
from typing import TYPE_CHECKING

from kdumpbuild import resources, run
from kdumpbuild.build import captureroot, cpio
from kdumpbuild.build.initramfs import MTIME, base_entries
from kdumpbuild.build.userland import TEST_PROGRAMS
from kdumpbuild.crashtest.carried import is_carried, on_target
from kdumpbuild.crashtest.protocol import FOLDER
from kdumpbuild.files import writing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.userland import Userland

PLAN_LABEL = "crashtest"
"""Of the test's own disk, where the dump target has no file system, or none that the host can read."""


def system_conf(board: Board, load: str) -> str:
    """Return what the first process has to know; ``load`` is the load script's path in the target."""
    carried, own = is_carried(board), not on_target(board)
    values = {
        "DEVICE": f"LABEL={PLAN_LABEL}" if own else board.dump.device,
        "FILESYSTEM": "ext4" if own else board.dump.filesystem,
        "CARRIED": board.dump.device if carried else "",
        "CARRIED_FILESYSTEM": board.dump.filesystem if carried else "",
        "DIRECTORY": board.dump.directory,
        "DEVICE_TIMEOUT": str(board.dump.device_timeout),
        "ROOT": board.capture.root,
        "ROOT_FILESYSTEM": board.capture.root_filesystem,
        "LOAD": load,
        "FOLDER": FOLDER,
        "WATCHDOG": board.watchdog.device if board.watchdog else "",
        "WATCHDOG_TIMEOUT": str(board.watchdog.timeout) if board.watchdog else "",
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def write_root(folder: Path, userland: Userland, capture_root: Path) -> None:
    """Fill a folder with what the product's file system needs, to start the capture system that is on it."""
    inside = folder / captureroot.FOLDER
    inside.mkdir(parents=True)
    product = folder / "product.tar"
    product.write_bytes(captureroot.archive([*base_entries(userland, ["busybox"]), cpio.link("bin/chroot", "busybox")]))
    for archive, place in ((product, folder), (capture_root, inside)):
        run.run(["tar", "--no-same-owner", "-C", place, "-xf", archive], what="make the product's file system")
    product.unlink()


def write_system(target: Path, userland: Userland, conf: str, install: Mapping[str, Path]) -> None:
    """Write the initramfs; ``install`` holds files by their path in the target, without the leading slash.

    Raises UserError when the userland lacks a program, or there is no space.
    """
    entries = [
        *base_entries(userland, TEST_PROGRAMS),
        cpio.file("init", (resources.TEMPLATES / "crashtest" / "init").read_bytes(), executable=True),
        cpio.file("etc/crashtest.conf", conf.encode()),
        *(
            cpio.file(name, path.read_bytes(), executable=bool(path.stat().st_mode & 0o111))
            for name, path in install.items()
        ),
    ]
    with writing(target):
        target.write_bytes(gzip.compress(cpio.archive(entries, mtime=MTIME), compresslevel=1, mtime=0))
