"""The variables of a build: the same as ``doit`` arguments, as environment variables and in docs/variables.md."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.errors import Fault, UserError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

VARIABLES: Mapping[str, str] = {
    "BOARD": "the board: a shipped name, or the path of a board file; several with commas between them",
    "BOARD_PATH": "folders with board files of your own, with colons between them",
    "KERNEL_SRC": "the kernel source: a tree, never written to, or a tarball; default: Debian's linux-source",
    "KERNEL_CONFIG": "the product's .config: what the production config starts from",
    "CROSS_COMPILE": "prefix of the cross compiler; default: Debian's for the board's architecture",
    "KERNEL_CC": "the compiler as Kbuild takes it in CC=, with its flags; default: CROSS_COMPILE's gcc, through ccache",
    "KERNEL_LD": "the linker as Kbuild takes it in LD=, with its flags; default: CROSS_COMPILE's ld",
    "HOSTCC": "the build machine's compiler as Kbuild takes it in HOSTCC=, with its flags; default: gcc",
    "KERNEL_BUILD": "where the product's kernel was built (Kbuild's O=): its .config, release and vmlinux are taken",
    "SYSROOT": "the userland, a root directory of the target; default: Debian packages of the architecture",
    "OUT": "where the results go; default: out",
    "CACHE": "where unpacked sources and the userland are kept; default: ~/.cache/kdumpbuild",
    "IMAGE_SET": "an image set that was built elsewhere: it is checked and crash-tested, and nothing is built",
    "OFFLINE": "1: take no defaults of Debian's, fetch nothing; KERNEL_SRC, CROSS_COMPILE, SYSROOT must be given",
    "JOBS": "how many compilers run at once; default: the number of processors",
    "QEMU": "the folder with QEMU's programs; default: PATH",
    "TRIGGER": "what crashes the crash test, several with commas; default: sysrq; for matrix: its rows; default: all",
}


@dataclass(frozen=True)
class Settings:
    """The variables, checked and made absolute."""

    boards: tuple[str, ...]
    """What ``BOARD`` names, in its order; empty when it was not given."""
    base: Path
    """The folder that relative paths of the user's start from."""
    board_path: tuple[Path, ...] = ()
    kernel_src: Path | None = None
    kernel_config: Path | None = None
    cross_compile: str | None = None
    kernel_cc: str = ""
    kernel_ld: str = ""
    hostcc: str = ""
    kernel_build: Path | None = None
    sysroot: Path | None = None
    image_set: Path | None = None
    offline: bool = False
    out: Path = Path("out")
    cache: Path = Path("cache")
    jobs: int = 1
    qemu: Path | None = None
    triggers: tuple[str, ...] = ()
    """What ``TRIGGER`` names; empty when it was not given."""


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise UserError for every variable name that we do not know, with the nearest one that we do."""
    faults = [
        Fault(f"unknown variable {name}", where=f"{name}=…", why=nearest(name, VARIABLES), hint="see docs/variables.md")
        for name in names
        if name not in VARIABLES
    ]
    if faults:
        raise UserError(*faults)


def read_settings(get: Callable[[str], str | None], base: Path) -> Settings:
    """Build the settings from ``get``, which returns a variable's value or None. ``base``: the caller's folder.

    Raises UserError with every variable that is not usable. Whether files exist is found out by who reads them.
    """
    settings, faults = _read(get, base)
    if settings.offline:
        needed = ["SYSROOT"] if get("IMAGE_SET") else ["KERNEL_SRC", "CROSS_COMPILE", "SYSROOT"]
        faults += [
            Fault("is not set, and OFFLINE=1 takes no default", where=name, why=VARIABLES[name], hint=f"set {name}")
            for name in needed
            if get(name) is None
        ]
    if faults:
        raise UserError(*faults)
    return settings


def value_faults(get: Callable[[str], str | None]) -> list[Fault]:
    """Return what is wrong with the values themselves, whichever machine they are for.

    What OFFLINE=1 needs is not asked for: that machine may have it in its environment.
    """
    return _read(get, Path())[1]


def _read(get: Callable[[str], str | None], base: Path) -> tuple[Settings, list[Fault]]:
    """Return the settings, with a default for each value that is not usable, and a fault for each of those."""
    faults = []

    def path(name: str) -> Path | None:
        value = get(name)
        if value is None:
            return None
        if not value:
            faults.append(Fault("is empty", where=name, hint=VARIABLES[name]))
            return None
        return Path(os.path.normpath(base / _expanded(value)))

    def names(name: str, default: str) -> tuple[str, ...]:
        return tuple((get(name) or default).replace(",", " ").split())

    jobs = get("JOBS") or str(len(os.sched_getaffinity(0)))
    if not jobs.isdecimal() or not 1 <= int(jobs) <= 1024:
        faults.append(Fault(f"{jobs!r} is not a number of jobs", where="JOBS", hint="a whole number from 1 to 1024"))
        jobs = "1"
    offline = get("OFFLINE") or "0"
    if offline not in ("0", "1"):
        faults.append(Fault(f"{offline!r} is neither 0 nor 1", where="OFFLINE", hint=VARIABLES["OFFLINE"]))
    kernel_build = path("KERNEL_BUILD")
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    settings = Settings(
        boards=names("BOARD", ""),
        base=base,
        board_path=tuple(base / _expanded(p) for p in (get("BOARD_PATH") or "").split(":") if p),
        kernel_src=path("KERNEL_SRC"),
        kernel_config=path("KERNEL_CONFIG") or (kernel_build / ".config" if kernel_build else None),
        cross_compile=get("CROSS_COMPILE"),
        kernel_cc=(get("KERNEL_CC") or "").strip(),
        kernel_ld=(get("KERNEL_LD") or "").strip(),
        hostcc=(get("HOSTCC") or "").strip(),
        kernel_build=kernel_build,
        sysroot=path("SYSROOT"),
        image_set=path("IMAGE_SET"),
        offline=offline == "1",
        out=path("OUT") or base / "out",
        cache=path("CACHE") or cache_home / "kdumpbuild",
        jobs=int(jobs),
        qemu=path("QEMU"),
        triggers=names("TRIGGER", ""),
    )
    return settings, faults


def _expanded(path: str) -> str:
    """Return ``path`` with its ``~`` filled in; as a shell does, that of a user whom this machine has not is left."""
    return os.path.expanduser(path)  # noqa: PTH111  # Path.expanduser raises RuntimeError for such a user
