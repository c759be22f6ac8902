"""The userland: where BusyBox, makedumpfile, vmcore-dmesg and kexec of the target come from.

Either a root directory that the caller gives (``SYSROOT``), or Debian packages of the board's architecture that
mmdebstrap extracts. mmdebstrap rather than our own package handling: it resolves dependencies with apt itself,
verifies signatures, honours the machine's proxy and mirror, and needs no root for extraction.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kdumpbuild import files, run
from kdumpbuild.build import debian
from kdumpbuild.errors import Fault, UserError, user_error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdumpbuild.board.arch import Arch

CAPTURE_PROGRAMS = ("busybox", "makedumpfile", "vmcore-dmesg")
TEST_PROGRAMS = ("busybox", "kexec")
# OpenEmbedded splits BusyBox in two; every applet that the initramfs needs is in the one without the set-user-id bit.
_ALSO = {"busybox": "busybox.nosuid"}
_BIN = ("bin", "sbin", "usr/bin", "usr/sbin")
_LIB = ("lib", "usr/lib", "lib64", "usr/lib64", "lib/{triplet}", "usr/lib/{triplet}")
_TRIPLETS = {"armhf": "arm-linux-gnueabihf", "arm64": "aarch64-linux-gnu"}
_PACKAGES = ("busybox-static", "dropbear-bin", "kexec-tools", "makedumpfile", "mtd-utils")
_EDITION = 3
"""Goes up when the packages change, so that a userland of an older kdumpbuild is not taken for this one's."""
_SUITES = ("bookworm", "trixie")


@dataclass(frozen=True)
class Userland:
    """A root directory of the target's architecture."""

    root: Path
    arch: Arch
    packages: tuple[str, ...] = ()
    """``name version`` of each Debian package in it; empty for a SYSROOT."""

    def program(self, name: str) -> Path | None:
        """Return the file of a program, or None."""
        for called in (name, _ALSO.get(name, name)):
            for folder in _BIN:
                path = self.root / folder / called
                if path.exists():
                    return path
        return None

    def library(self, name: str) -> Path | None:
        """Return the file of a shared library or of the ELF interpreter, or None."""
        triplet = _TRIPLETS[self.arch.debian]
        for folder in _LIB:
            path = self.root / folder.format(triplet=triplet) / name
            if path.exists():
                return path
        return None


def open_userland(root: Path, arch: Arch, programs: Sequence[str]) -> Userland:
    """Return the userland at ``root``. Raises UserError that names every program it lacks."""
    if not root.is_dir():
        raise user_error("there is no such folder", where=f"SYSROOT={root}", hint=f"a root directory with {programs}")
    stamp = stamp_of(root)
    packages = tuple(json.loads(stamp.read_text(encoding="utf-8"))["packages"]) if stamp.is_file() else ()
    userland = Userland(root, arch, packages)
    missing = [
        Fault(f"has no {name}", where=f"SYSROOT={root}", why=f"looked in {', '.join(_BIN)}", hint="add it there")
        for name in programs
        if userland.program(name) is None
    ]
    if missing:
        raise UserError(*missing)
    return userland


def default_root(cache: Path, arch: Arch) -> Path:
    """Return where the Debian userland of an architecture is kept."""
    return cache / "userland" / f"{arch.debian}-{_EDITION}"


def stamp_of(root: Path) -> Path:
    """Return the file that is there once a Debian userland is whole."""
    return root.parent / f"{root.name}.json"


def fetch_debian(cache: Path, arch: Arch, log: Path) -> None:
    """Extract the Debian packages for ``arch`` into the cache.

    The machine's own release is tried first, with its security updates and then without, then other releases: an
    architecture's package index is now and then out of step with its release file.
    """
    root = default_root(cache, arch)
    failed: UserError | None = None
    for sources in _sources(arch):
        try:
            _extract(root, arch, sources, log)
        except UserError as error:
            if "is missing" in error.faults[0].what or "no space" in error.faults[0].what.lower():
                raise
            failed = error
            continue
        return
    assert failed is not None  # noqa: S101  # there is always at least one source
    (fault,) = failed.faults
    raise user_error(
        f"could not get the Debian packages {', '.join(_PACKAGES)} for {arch.debian}",
        why=fault.why,
        hint="try again later, or set SYSROOT to a root directory of the target that has BusyBox, makedumpfile,\n"
        "vmcore-dmesg and kexec",
    )


def _extract(root: Path, arch: Arch, sources: Sequence[str], log: Path) -> None:
    with files.new_directory(root) as work:
        tree = work / "root"
        run.run_logged(
            [
                "mmdebstrap", "--mode=chrootless", "--variant=extract", "--skip=cleanup/apt", "--format=directory",
                f"--architectures={arch.debian}", f"--include={','.join(_PACKAGES)}", sources[0], tree, *sources[1:],
            ],
            what=f"extract the {arch.debian} userland of Debian {sources[0]}", log=log,
        )  # fmt: skip
        archives = tree / "var" / "cache" / "apt" / "archives"
        packages = sorted(" ".join(unquote(deb.stem).split("_")[:2]) for deb in archives.glob("*.deb"))
        shutil.rmtree(tree / "var")
        for entry in list(tree.iterdir()):
            entry.rename(work / entry.name)
        tree.rmdir()
    # Beside the root, so that the root holds what the packages hold and nothing else.
    files.write_text(stamp_of(root), json.dumps({"suite": sources[0], "packages": packages}, indent=1) + "\n")


def _sources(arch: Arch) -> list[list[str]]:
    """Return mmdebstrap's suite and sources.list lines, in the order in which they are tried."""
    release = debian.release()
    mirrors, security = debian.mirrors(release)
    own = [release] if release in _SUITES else []
    suites = own + [suite for suite in _SUITES if suite not in own]
    if not mirrors:
        return [[suite] for suite in suites]
    base = {suite: f"deb [arch={arch.debian}] {mirrors[0]} {suite} main" for suite in suites}
    plain = [[suite, base[suite]] for suite in suites]
    with_security = [
        [suite, base[suite], f"deb [arch={arch.debian}] {security[0]} {suite}-security main"]
        for suite in own
        if security
    ]
    return with_security + plain
