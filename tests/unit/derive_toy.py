"""The small tree in tests/data/derive, and its board, for the tests of what is derived."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.model import Board, Capture, Drivers, Dump, Memory, Production
from kdumpbuild.derive import blobs
from kdumpbuild.derive.forboard import BoardDrivers, derive_board
from kdumpbuild.derive.nodes import DeviceNodes
from kdumpbuild.formats.fdt import read_fdt
from kdumpbuild.kconfig import KernelKconfig, KernelTree
from kdumpbuild.run import run
from tests.kernel.support import fake_toolchain, without_spaces

TREE = without_spaces(Path(__file__).resolve().parents[1] / "data/derive/linux")
DTB = "toy1-board.dtb"
_BLOBS = tempfile.TemporaryDirectory(prefix="kdumpbuild-test-dtb-")
"""What ``compiled`` made, until the tests end."""


def toy_kconfig(folder: Path) -> KernelKconfig:
    return KernelKconfig(KernelTree.open(TREE), fake_toolchain(folder, "arm"))


def toy_board(
    *, storage: str = "mmc0", console: str = "", watchdogs: tuple[str, ...] = (), nodes: tuple[str, ...] = (),
    without: tuple[str, ...] = (), answers: tuple[tuple[str, str], ...] = (), dtb: str = DTB,
    path: Path = Path("/boards/toy.toml"), arch: str = "arm",
) -> Board:  # fmt: skip
    return Board(
        name="toy", path=path, description="", soc="", arch=ARCHES[arch], dtb=dtb, memory=Memory((), 0),
        production=Production("allnoconfig", (), build=True), capture=Capture("own", (), "ttyAMA0", ""),
        dump=Dump("/dev/mmcblk0p1", "ext4", "kdump", 31, 300, 20),
        drivers=Drivers(storage, console, watchdogs, nodes, without, answers),
    )  # fmt: skip


def compiled(source: str) -> Path:
    """Return a blob of a device tree's source, labels kept."""
    folder = Path(tempfile.mkdtemp(dir=_BLOBS.name))
    (folder / "x.dts").write_text(f"/dts-v1/;\n{source}")
    run(["dtc", "-q", "-@", "-I", "dts", "-O", "dtb", "-o", folder / "x.dtb", folder / "x.dts"], what="compile a tree")
    return folder / "x.dtb"


def nodes_of(source: str) -> DeviceNodes:
    return DeviceNodes(read_fdt(compiled(source)))


def derived(folder: Path, board: Board, kconfig: KernelKconfig | None = None) -> BoardDrivers:
    """Return what is derived for a board of the small tree."""
    kconfig = kconfig or toy_kconfig(folder / "bin")
    plain, labelled = folder / "dtb" / DTB, folder / "dtb/labels" / DTB
    blobs.bring(kconfig.tree, board, plain, labelled)
    return derive_board(board, kconfig, labelled, folder / "index")
