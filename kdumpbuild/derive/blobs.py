"""A board's device tree blob: compiled from the kernel's sources, or the user's own, looked at before it is used."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.derive import dtsfiles
from kdumpbuild.errors import user_error
from kdumpbuild.formats.fdt import read_fdt

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board
    from kdumpbuild.formats.fdt import Fdt
    from kdumpbuild.kconfig.tree import KernelTree


def bring(tree: KernelTree, board: Board, plain: Path, labelled: Path) -> None:
    """Put the board's blob to ``plain``, and the same with labels to ``labelled``."""
    if board.own_dtb is None:
        source = dtsfiles.find(tree, board.arch.name, board.dtb, board.where("dtb"))
        dtsfiles.compile_source(tree, source, plain, labels=False)
        dtsfiles.compile_source(tree, source, labelled, labels=True)
        return
    read_board_fdt(board.own_dtb, board)
    for target in (plain, labelled):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(".new")
        beside.write_bytes(board.own_dtb.read_bytes())
        beside.replace(target)


def read_board_fdt(blob: Path, board: Board) -> Fdt:
    """Read a blob and check that it is a whole tree of the board's architecture. Raises UserError when it is not."""
    tree = read_fdt(blob)
    where = board.where("dtb")
    root = tree.root
    if any(node.base_name in ("fragment", "__overlay__") or node.child("__overlay__") for node in root.children):
        raise user_error(
            f"{blob} is an overlay, not a whole device tree", where=where,
            hint="apply it to the board's device tree first: fdtoverlay -i base.dtb -o product.dtb overlay.dtbo",
        )  # fmt: skip
    if not root.strings("compatible"):
        raise user_error(
            f"{blob} does not say which board it is for: its root has no compatible", where=where,
            hint="give the board's whole device tree, best /sys/firmware/fdt of the running product",
        )  # fmt: skip
    cpus = root.child("cpus")
    # Caches and idle states are there as well.
    found = [node for node in (cpus.children if cpus else []) if node.string("device_type") == "cpu"]
    names = [name for cpu in found for name in cpu.strings("compatible")]
    if (other := _other_arch(names, board.arch.name)) != "":
        raise user_error(
            f"{blob} is of a machine that is not {board.arch.name}: its CPUs are {other}", where=where,
            hint="is this the right device tree? arch in the board file says what is built",
        )  # fmt: skip
    return tree


def compile_overlay(source: Path, target: Path, base: Path) -> None:
    """Compile an overlay, and apply it to the board's own tree to see that it can be."""
    beside = target.with_suffix(".new")
    run.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", beside, source], what=f"compile {source.name}")
    with tempfile.TemporaryDirectory(prefix="kdumpbuild-dtbo-") as scratch:
        run.run(
            ["fdtoverlay", "-i", base, "-o", Path(scratch) / "applied.dtb", beside],
            what=f"apply {source.name} to {base.name}",
        )
    beside.replace(target)


_ONLY_32 = (
    "arm,cortex-a5", "arm,cortex-a7", "arm,cortex-a8", "arm,cortex-a9", "arm,cortex-a12", "arm,cortex-a15",
    "arm,cortex-a17", "qcom,krait", "marvell,pj4b", "marvell,sheeva-v7", "arm,arm1176jzf-s", "arm,arm926ej-s",
)  # fmt: skip
"""CPUs without a 64-bit state. The others may run a kernel of either kind."""
_ARM = ("arm,", "qcom,k", "marvell,", "nvidia,", "apple,", "brcm,", "cavium,", "faraday,", "intel,")


def _other_arch(names: list[str], arch: str) -> str:
    """Return the CPU names that an architecture cannot have; empty when all are fine."""
    if arch == "arm64":
        return ", ".join(sorted({name for name in names if name in _ONLY_32 or not name.startswith(_ARM)}))
    return ", ".join(sorted({name for name in names if not name.startswith(_ARM)}))
