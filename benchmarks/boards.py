"""What the shipped boards' sets are like, and how their crashes went: the tables of docs/boards.md and docs/derived.md.

Usage: boards.py OUT [DEFCONFIG_KERNEL ...]

OUT holds image sets and the results of ``doit crashtest``. A further argument is a zImage of multi_v7_defconfig or an
Image of arm64's defconfig, against which the capture kernels of its architecture are compared; so compile one first:
``make ARCH=arm multi_v7_defconfig zImage``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.size import format_size
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.layout import Layout, SetFiles

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board

MB = 1e6
_INIT = re.compile(r"\[\s*([\d.]+)\] Run /init as init process")


def seconds(value: float | None) -> str:
    """Return seconds as the table shows them."""
    return f"{value:.1f} s" if value is not None else "-"


def init_after(console: Path) -> float | None:
    """Return the capture kernel's own time at the start of its init: the second one on the console."""
    found = _INIT.findall(console.read_text(encoding="utf-8", errors="replace"))
    return float(found[1]) if len(found) > 1 else None


def results(out: Path, board: Board) -> list[tuple[Path, dict[str, object]]]:
    """Return what the crash tests of a board left, by trigger."""
    files = sorted((out / "crashtest" / board.name).glob("*/result.json"))
    return [(file.parent, json.loads(file.read_text(encoding="utf-8"))) for file in files]


def sizes(out: Path, boards: list[Board], defconfigs: dict[str, int]) -> None:
    """Print a line for each board: how large its set is, and how much memory that needs."""
    print("| board | capture kernel | options on | crash initramfs | crashkernel= | of its defconfig |")
    print("|---|---|---|---|---|---|")
    for board in boards:
        files = SetFiles(out / board.name, board.arch.image)
        if not files.kernel.is_file():
            print(f"| {board.name} | not built | | | | |")
            continue
        size = files.kernel.stat().st_size
        options = sum("=" in line for line in files.capture_config.read_text(encoding="utf-8").splitlines())
        whole = defconfigs.get(board.arch.image)
        print(
            f"| {board.name} | {size / MB:.2f} MB | {options} | {files.initramfs.stat().st_size / MB:.2f} MB "
            f"| {format_size(reserved(files).size)} | {f'{100 * size / whole:.0f} %' if whole else '-'} |"
        )


def derived(out: Path, boards: list[Board]) -> None:
    """Print a line for each board: the options that were derived from its device tree."""
    print("| board | derived |")
    print("|---|---|")
    for board in boards:
        fragment = Layout(out, out, board).derived("capture")
        if fragment.is_file():
            symbols = re.findall(r"^CONFIG_(\w+)=y$", fragment.read_text(encoding="utf-8"), re.MULTILINE)
            print(f"| {board.name} | {len(symbols)}: {', '.join(symbols)} |")


def crashes(out: Path, boards: list[Board]) -> None:
    """Print a line for each crash."""
    print("| board | trigger | QEMU | result | RAM | capture init after | panic to dmesg | panic to vmcore | vmcore |")
    print("|---|---|---|---|---|---|---|---|---|")
    for board in boards:
        for folder, result in results(out, board):
            times = result["times"]
            ram, vmcore = result["ram"], result["vmcore_size"]
            assert isinstance(times, dict)  # the format of result.json
            assert isinstance(ram, int)
            init = init_after(folder / "console.log")
            print(
                f"| {board.name} | {result['trigger']} | {result['qemu']} | {'PASS' if result['passed'] else 'FAIL'} "
                f"| {format_size(ram)} | {seconds(init)} | {seconds(times['dmesg'])} | {seconds(times['vmcore'])} "
                f"| {f'{vmcore / MB:.1f} MB' if isinstance(vmcore, int) else '-'} |"
            )


def main(out: Path, kernels: list[Path]) -> None:
    """Print the tables."""
    boards = [load_board(path) for path in sorted(resources.BOARDS.glob("*.toml"))]
    boards.sort(key=lambda board: (board.arch.name, board.machine is None, board.name))
    sizes(out, boards, {kernel.name: kernel.stat().st_size for kernel in kernels})
    print()
    crashes(out, boards)
    print()
    derived(out, boards)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
