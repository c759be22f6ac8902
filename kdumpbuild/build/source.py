"""The kernel source: a tree of the user's, or a tarball unpacked once into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from kdumpbuild import files, run
from kdumpbuild.errors import UserError, user_error
from kdumpbuild.kconfig.tree import KernelTree

_DEBIAN = Path("/usr/src")
_PREFERRED = "6.12"
_TARBALLS = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tar.zst", ".tgz", ".txz")
_STAMP = "kdumpbuild-source.json"


@dataclass(frozen=True)
class Source:
    """A kernel source that the user or Debian gives."""

    given: Path
    """A tree, or a tarball."""
    tree: Path
    """Where the tree is, or will be once it is unpacked."""

    @property
    def packed(self) -> bool:
        """Whether it has to be unpacked first."""
        return self.given != self.tree

    @property
    def stamp(self) -> Path:
        """The file that says that the unpacked tree is whole."""
        return self.tree.parent / f"{self.tree.name}.{_STAMP}"


def locate(kernel_src: Path | None, cache: Path) -> Source:
    """Return the source that ``KERNEL_SRC`` means, or Debian's newest linux-source, 6.12 preferred.

    Raises UserError when there is none.
    """
    given = kernel_src or _debian_source()
    if given.is_dir():
        return Source(given, given)
    if not given.exists():
        raise user_error(
            "there is no such file or folder",
            where=f"KERNEL_SRC={given}",
            hint="give an unpacked Linux source tree, or a tarball of one",
        )
    if not given.name.endswith(_TARBALLS):
        raise user_error(
            "is neither a kernel source tree nor a tarball of one",
            where=f"KERNEL_SRC={given}",
            hint=f"a tarball's name ends with {', '.join(_TARBALLS)}",
        )
    # Name, size and time stand for the content: hashing 150 MB at every start would cost more than it tells.
    stat = given.stat()
    key = hashlib.sha256(f"{given.resolve()}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:12]
    stem = re.sub(r"\.t(ar|gz|xz).*", "", given.name)
    return Source(given, cache / "source" / f"{stem}-{key}")


def prepare(source: Source, log: Path) -> KernelTree:
    """Unpack the source if it is a tarball that was not unpacked before, and check that it is a kernel tree."""
    if not source.packed:
        return KernelTree.open(source.tree)
    if not source.stamp.exists():
        _unpack(source, log)
    return KernelTree.open(source.tree)


def identity(source: Source) -> dict[str, str]:
    """Return what the manifest says of the source: its name and a hash or commit that pins it down."""
    if source.packed:
        return dict(json.loads(source.stamp.read_text(encoding="utf-8")))
    if (source.tree / ".git").exists():
        # The tree's id stands for its content alone. A commit's would not: a build system that applies patches makes
        # commits of the hour.
        content = run.run(["git", "-C", source.tree, "rev-parse", "HEAD^{tree}"], what="read the tree's id").strip()
        dirty = run.run(["git", "-C", source.tree, "status", "--porcelain", "-uno"], what="read the tree's state")
        if not dirty.strip():
            return {"git-tree": content}
    digest = hashlib.sha256()
    for path in _tree_files(source.tree):
        digest.update(f"{path.relative_to(source.tree)}\0".encode())
        digest.update(str(path.readlink()).encode() if path.is_symlink() else path.read_bytes())
    return {"tree-sha256": digest.hexdigest()}


def fingerprint(source: Source) -> str:
    """Return what changes whenever the source changes, cheaply: for a tree, every file's size and time."""
    if source.packed:
        return str(source.tree)
    digest = hashlib.sha256()
    for path in _tree_files(source.tree):
        stat = path.lstat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _tree_files(tree: Path) -> list[Path]:
    found = []
    for folder, names, leaves in os.walk(tree):
        names[:] = sorted(name for name in names if name != ".git")
        found += [Path(folder, leaf) for leaf in sorted(leaves)]
    return found


def _debian_source() -> Path:
    tarballs = {
        tuple(int(n) for n in match[1].split(".")): path
        for path in _DEBIAN.glob("linux-source-*.tar.*")
        if (match := re.fullmatch(r"linux-source-([0-9.]+)\.tar\.\w+", path.name))
    }
    if not tarballs:
        raise user_error(
            "there is no kernel source",
            where="KERNEL_SRC",
            hint="set KERNEL_SRC to a kernel source tree or tarball; on Debian: apt-get install linux-source",
        )
    preferred = tuple(int(n) for n in _PREFERRED.split("."))
    return tarballs.get(preferred) or tarballs[max(tarballs)]


def _unpack(source: Source, log: Path) -> None:
    with files.new_directory(source.tree) as work:
        try:
            run.run_logged(["tar", "-xf", source.given, "-C", work], what=f"unpack {source.given}", log=log)
        except UserError as error:
            (fault,) = error.faults
            raise user_error(
                fault.what,
                where=f"KERNEL_SRC={source.given}",
                why=fault.why,
                hint="free space in CACHE" if "No space left" in fault.why else "is the tarball whole?",
            ) from error
        tops = list(work.iterdir())
        if len(tops) != 1 or not tops[0].is_dir():
            raise user_error(
                "the tarball does not hold one folder with a kernel source tree",
                where=f"KERNEL_SRC={source.given}",
                why=f"it holds: {', '.join(sorted(t.name for t in tops)[:8]) or 'nothing'}",
                hint="give the tarball of a Linux release, or an unpacked tree",
            )
        for entry in list(tops[0].iterdir()):
            entry.rename(work / entry.name)
        tops[0].rmdir()
        KernelTree.open(work)
    stamp = {"tarball": source.given.name, "sha256": files.sha256(source.given)}
    files.write_text(source.stamp, json.dumps(stamp, indent=1) + "\n")
