"""What the kernel source has to say about a new board: its own device trees, and whether they fit the product's."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.build import source
from kdumpbuild.derive import dtsfiles
from kdumpbuild.errors import UserError, nearest, user_error
from kdumpbuild.formats.fdt import read_fdt
from kdumpbuild.kconfig.tree import KernelTree

if TYPE_CHECKING:
    from kdumpbuild.formats.fdt import Fdt
    from kdumpbuild.settings import Settings

_SHOWN = 3


def is_name(text: str) -> bool:
    """Whether a ``--dtb`` is a name in the kernel's build, and no file: ``nxp/imx/imx6ul-14x14-evk.dtb``."""
    return text.endswith(".dtb") and not text.startswith(("/", "./", "../")) and not Path(text).exists()


def tree_named(name: str, settings: Settings) -> Fdt:
    """Return a device tree of the kernel's own, compiled with its labels. Raises UserError when there is none."""
    kernel = source.prepare(source.locate(settings.kernel_src, settings.cache), settings.cache / "log" / "source.log")
    for arch in ARCHES:
        try:
            found = dtsfiles.find(kernel, arch, name, "--dtb")
        except UserError:
            continue
        return _compiled(kernel, found, name)
    known = [path.stem for arch in ARCHES for path in (kernel.path / "arch" / arch / "boot/dts").rglob("*.dts")]
    raise user_error(
        f"there is neither a file {name} nor a device tree of that name in {kernel.name}", where="--dtb",
        why=nearest(name.rpartition("/")[2].removesuffix(".dtb"), known), hint="a path begins with ./ or /",
    )  # fmt: skip


def unpacked(settings: Settings) -> KernelTree | None:
    """Return the kernel source that a build would take, if it is there already; nothing is unpacked for this."""
    try:
        found = source.locate(settings.kernel_src, settings.cache)
        if found.packed and not found.stamp.exists():
            return None
        return KernelTree.open(found.tree)
    except UserError:
        return None


def differences(product: Fdt, kernel: KernelTree, arch: str, release: str) -> list[str]:
    """Return what tells that a product's tree, or its kernel, is of another version than this source."""
    notes = []
    if release and _version(release) != _version(kernel.release):
        notes.append(f"the board ran {release}, and the kernel source here is {kernel.release}: "
                     "give the product's own with KERNEL_SRC=")  # fmt: skip
    names = product.root.strings("compatible")
    own = _same_board(kernel, arch, names[0]) if names else None
    if own is None:
        return notes
    ours, theirs = (_devices(tree) for tree in (product, _compiled(kernel, own, own.name)))
    only_ours, only_theirs = sorted(ours - theirs), sorted(theirs - ours)
    if only_ours and only_theirs:
        notes.append(
            f"not the tree that {kernel.name} has for {names[0]}: {len(only_ours)} devices are only here "
            f"({_some(only_ours)}), {len(only_theirs)} only there ({_some(only_theirs)}); "
            "of another kernel version, or changed for the product"
        )
    return notes


def _compiled(kernel: KernelTree, found: Path, name: str) -> Fdt:
    with tempfile.TemporaryDirectory(prefix="kdumpbuild-dtb-") as folder:
        target = Path(folder) / f"{found.stem}.dtb"
        dtsfiles.compile_source(kernel, found, target, labels=True)
        return read_fdt(target.read_bytes(), where=name)


def _same_board(kernel: KernelTree, arch: str, name: str) -> Path | None:
    """Return the source of the kernel's device tree for the same board, or None."""
    first = re.compile(rf'^(?:\t| {{1,8}})compatible\s*=\s*"{re.escape(name)}"', re.MULTILINE)
    for path in sorted((kernel.path / "arch" / arch / "boot/dts").rglob("*.dts")):
        if first.search(path.read_text(encoding="utf-8", errors="replace")):
            return path
    return None


def _devices(tree: Fdt) -> set[str]:
    """Return path and first compatible of each device."""
    return {f"{n.path} {n.strings('compatible')[0]}" for n in tree.root.walk() if n.strings("compatible")}


def _some(names: list[str]) -> str:
    return ", ".join(name.partition(" ")[0] for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _version(release: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d+", release)[:2])
