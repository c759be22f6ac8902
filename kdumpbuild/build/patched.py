"""A kernel source with patches on top: beside the tree, which is never written to.

The copy holds links to the tree's folders and files. Only the folders that lead to a touched file are real ones, with
links in them, so a copy takes no time and no space. Includes find a touched header by the compiler's search path and
beside the including file; one that is reached through another folder and ``..`` would be the tree's own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from typing import TYPE_CHECKING

from kdumpbuild import files, run
from kdumpbuild.errors import UserError, user_error
from kdumpbuild.kconfig.tree import KernelTree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TOUCHED = re.compile(r"^(?:---|\+\+\+) [ab]/(\S+)", re.MULTILINE)
_STAMP = ".kdumpbuild-patched"


def digest(patches: Sequence[Path]) -> str:
    """Return what changes whenever a patch does; empty without patches."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in patches)).hexdigest() if patches else ""


def patched_tree(tree: KernelTree, fingerprint: str, patches: Sequence[Path], cache: Path) -> KernelTree:
    """Return the tree with patches applied in their order: the tree itself where there are none.

    ``fingerprint`` changes whenever the tree does. Raises UserError for a patch that does not apply.
    """
    if not patches:
        return tree
    key = hashlib.sha256(f"{tree.path}\0{digest(patches)}".encode()).hexdigest()[:12]
    target = cache / "patched" / f"{tree.path.name}-{key}"
    stamp = target / _STAMP
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != fingerprint:
        with files.new_directory(target) as work:
            _link(tree.path, work, "")
            for patch in patches:
                _apply(patch, work, tree)
            (work / _STAMP).write_text(fingerprint, encoding="utf-8")
    return KernelTree.open(target)


def _link(tree: Path, work: Path, folder: str) -> None:
    """Make a folder of the copy a real one, with links to all that the tree has there."""
    place = work / folder
    if place.is_symlink():
        place.unlink()
    if folder and place.is_dir():
        return
    place.mkdir(exist_ok=True)
    for original in (tree / folder).iterdir():
        if original.name != ".git":
            (place / original.name).symlink_to(original)


def _apply(patch: Path, work: Path, tree: KernelTree) -> None:
    for name in sorted(set(_TOUCHED.findall(patch.read_text(encoding="utf-8", errors="replace")))):
        parts = name.split("/")
        if ".." in parts or name.startswith("/"):
            raise user_error(f"the patch leads out of the kernel tree: {name}", where=str(patch))
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if (tree.path / folder).is_dir():
                _link(tree.path, work, folder)
        place = work / name
        if place.is_symlink():
            place.unlink()
            shutil.copyfile(tree.path / name, place)
    run.which("patch", needed_for=f"to apply {patch.name}")
    try:
        run.run(
            ["patch", "-p1", "--batch", "--forward", "--no-backup-if-mismatch", "-i", patch.resolve()],
            what=f"apply {patch.name}", cwd=work,
        )  # fmt: skip
    except UserError as error:
        raise user_error(
            f"the patch does not apply to {tree.name}", where=str(patch), why=error.faults[0].why,
            hint="leave it out of production.patches, or give one that was made for this kernel",
        ) from error  # fmt: skip
