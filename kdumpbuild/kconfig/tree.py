"""A kernel source tree: which Linux it is, and whether it can be built from outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.errors import nearest, user_error

if TYPE_CHECKING:
    from pathlib import Path

_TARBALL = re.compile(r"\.(tar|tgz|txz|tbz2|zip)(\.\w+)?$")
_NEEDED = ("Makefile", "Kconfig", "arch", "scripts/kconfig", "kernel")
_HINT = "give the top folder of an unpacked Linux source tree, the one with MAINTAINERS and arch/ in it"


@dataclass(frozen=True)
class KernelTree:
    """An unpacked Linux source tree that can be built with ``O=``. Never written to."""

    path: Path
    """Absolute path of the top folder."""
    version: tuple[int, int, int]
    """VERSION, PATCHLEVEL and SUBLEVEL of the top Makefile."""
    release: str
    """The version as ``make kernelversion`` says it, with EXTRAVERSION: ``6.12.117``."""

    @classmethod
    def open(cls, path: Path) -> KernelTree:
        """Look at a folder. Raises UserError, which says what was expected, when Linux cannot be built from it."""
        where = f"KERNEL_SRC={path}"
        if not path.exists():
            raise user_error("no such folder", where=where, hint=_HINT)
        if not path.is_dir():
            packed = _TARBALL.search(path.name)
            raise user_error(
                "this is a packed archive, not a folder" if packed else "this is a file, not a folder",
                where=where,
                hint=f"unpack it first: tar -xf {path}" if packed else _HINT,
            )
        path = path.resolve()
        if missing := [name for name in _NEEDED if not (path / name).exists()]:
            raise user_error(
                "this is not a Linux source tree",
                where=where,
                why=f"it has no {', '.join(missing)}\n{_guess(path)}".rstrip(),
                hint=_HINT,
            )
        if not (path / "init/Kconfig").exists() or (path / "cmd/bootm.c").exists():
            raise user_error(
                "this is not a Linux source tree", where=where, why=_guess(path) or "it has no init/Kconfig", hint=_HINT
            )
        if re.search(r"[\s:]", str(path)):
            # The top Makefile: "source directory cannot contain spaces or colons".
            raise user_error(
                "Linux cannot be built from a folder with a space or a colon in its path", where=where,
                hint="move the tree, or bind-mount it to a path without them",
            )  # fmt: skip
        if used := _built_inside(path):
            raise user_error(
                "this tree was configured or built in place, so that a build outside of it (O=) is refused by Kbuild",
                where=where,
                why=f"it has {used}",
                hint=f"clean it with `make -C {path} ARCH=<arch> mrproper`, or give a fresh copy of the source",
            )
        version, release = _version(path, where)
        return cls(path=path, version=version, release=release)

    @property
    def name(self) -> str:
        """What messages call it: ``Linux 6.12.117``."""
        return f"Linux {self.release}"

    def defconfig(self, arch: str, name: str) -> Path:
        """Return the path of ``arch/<arch>/configs/<name>``; ``defconfig`` is what the architecture takes by default.

        Raises UserError with the nearest known name.
        """
        folder = self.path / "arch" / arch / "configs"
        if name == "defconfig":
            makefile = (self.path / "arch" / arch / "Makefile").read_text(encoding="utf-8", errors="replace")
            if named := re.search(r"^KBUILD_DEFCONFIG\s*:?=\s*(\S+)", makefile, re.MULTILINE):
                name = named[1]
        for candidate in (name, f"{name}_defconfig"):
            if (folder / candidate).is_file():
                return folder / candidate
        known = [file.name for file in folder.glob("*defconfig")]
        raise user_error(
            f"{self.name} has no {arch} config named {name}",
            why=nearest(name, known),
            hint="give allnoconfig, the name of a defconfig, or the path of a .config",
        )


def _version(path: Path, where: str) -> tuple[tuple[int, int, int], str]:
    text = (path / "Makefile").read_text(encoding="utf-8", errors="replace")
    names = "VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION"
    found = dict(re.findall(rf"^({names})[ \t]*=[ \t]*(\S*)[ \t]*$", text, re.MULTILINE))
    try:
        version = (int(found["VERSION"]), int(found["PATCHLEVEL"]), int(found["SUBLEVEL"]))
    except (KeyError, ValueError):
        raise user_error(
            "cannot read the kernel's version", where=f"{where}/Makefile",
            why="expected the lines VERSION =, PATCHLEVEL = and SUBLEVEL =", hint=_HINT,
        ) from None  # fmt: skip
    return version, ".".join(map(str, version)) + found.get("EXTRAVERSION", "")


def _built_inside(path: Path) -> str:
    """Return what Kbuild's own check for a clean source tree (top Makefile, outputmakefile) would find."""
    for name in (".config", "include/config"):
        if (path / name).exists():
            return name
    generated = [str(p.relative_to(path)) for p in sorted(path.glob("arch/*/include/generated"))]
    return generated[0] if generated else ""


def _guess(path: Path) -> str:
    """Say what a folder that is not a kernel tree looks like."""
    makefile = path / "Makefile"
    if (path / "cmd/bootm.c").exists() or (path / "common/spl").exists():
        return "it looks like U-Boot's source"
    if (path / ".config").exists() and makefile.exists() and "KBUILD_OUTPUT" in makefile.read_text(errors="replace"):
        return "it looks like the output folder of a kernel build (O=)"
    if (path / "Module.symvers").exists() or (path / "include/generated/autoconf.h").exists():
        return "it looks like a package of kernel headers, which holds no source"
    if found := [p.name for p in sorted(path.iterdir()) if p.is_dir() and (p / "MAINTAINERS").exists()]:
        return f"but {found[0]}/ in it looks like one"
    return ""
