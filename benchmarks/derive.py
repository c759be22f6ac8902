"""How long it takes to derive a board's drivers from its device tree: first reading the kernel tree, then with it kept.

    python benchmarks/derive.py KERNEL_TREE [ARCH DTB STORAGE CONSOLE ...]

Prints, for each board, the median of some runs, each in a process of its own. Reading the Kconfig files is not part
of it: every build does that (see resolve.py). What the board's fragment depends on is.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdumpbuild import resources
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.model import Board, Capture, Drivers, Dump, Memory, Production
from kdumpbuild.derive import blobs
from kdumpbuild.derive.forboard import derive_board
from kdumpbuild.derive.index import open_index
from kdumpbuild.kconfig import KernelTree, Toolchain, open_kconfig, read_fragment

RUNS = 3
BOARDS = (
    ("arm", "imx6q-sabrelite.dtb", "mmc2", "ttymxc1"),
    ("arm64", "imx8mp-evk.dtb", "mmc1", "ttymxc1"),
)


def once(top: str, arch: str, dtb: str, storage: str, console: str, cache: str) -> list[float]:
    """Return the seconds for the index, the walk and match, and the search for dependencies; and of processor time."""
    kept, folder = Path(cache), Path(cache) / "blobs"
    tree = KernelTree.open(Path(top).resolve())
    kconfig = open_kconfig(tree, Toolchain(arch, ARCHES[arch].cross_compile), kept / "kconfig")
    board = Board(
        name="board", path=Path("board.toml"), description="", soc="", arch=ARCHES[arch], dtb=dtb,
        memory=Memory((), 0), production=Production("defconfig", (), build=False),
        capture=Capture("own", (), console, ""), dump=Dump("/dev/mmcblk0p1", "ext4", "kdump", 31, 300, 20),
        drivers=Drivers(storage, "", (), (), (), ()),
    )  # fmt: skip
    blobs.bring(tree, board, folder / dtb, folder / "labels" / dtb)
    names = ("capture", f"capture-{arch}", "capture-ext4")
    below = [read_fragment(resources.FRAGMENTS / f"{name}.config") for name in names]
    processor = time.process_time()
    marks = [time.perf_counter()]
    open_index(tree, arch, kept / "drivers")
    marks.append(time.perf_counter())
    found = derive_board(board, kconfig, folder / "labels" / dtb, kept / "drivers")
    marks.append(time.perf_counter())
    found.fragment_text(kconfig, "allnoconfig", below)
    marks.append(time.perf_counter())
    return [*(b - a for a, b in itertools.pairwise(marks)), time.process_time() - processor]


def measure(tree: str, board: tuple[str, ...], cache: str, *, cold: bool) -> None:
    """Run some times and print the medians."""
    runs = []
    for _ in range(RUNS):
        if cold:
            for kept in (Path(cache) / "drivers").glob("*"):
                kept.unlink()
        command = [sys.executable, __file__, tree, "--once", *board, cache]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append([float(number) for number in done.stdout.split()])
    index, walk, depend, processor = (statistics.median(column) for column in zip(*runs, strict=True))
    print(
        f"{board[1]}, {'cold' if cold else 'kept'}: index {index:.2f} s, walk and match {walk:.2f} s, dependencies "
        f"{depend:.2f} s; together {index + walk + depend:.2f} s, {processor:.2f} s of one processor",
        flush=True,
    )


def main() -> int:
    """Measure and print."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    if "--once" in sys.argv:
        print(*once(sys.argv[1], *sys.argv[3:8]))
        return 0
    given = [tuple(sys.argv[i : i + 4]) for i in range(2, len(sys.argv), 4)] or list(BOARDS)
    with tempfile.TemporaryDirectory() as cache:
        for board in given:
            measure(sys.argv[1], board, cache, cold=True)
            measure(sys.argv[1], board, cache, cold=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
