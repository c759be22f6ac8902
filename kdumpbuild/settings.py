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
    "SYSROOT": "the userland, a root directory of the target; default: Debian packages of the architecture",
    "OUT": "where the results go; default: out",
    "CACHE": "where unpacked sources and the userland are kept; default: ~/.cache/kdumpbuild",
    "JOBS": "how many compilers run at once; default: the number of processors",
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
    sysroot: Path | None = None
    out: Path = Path("out")
    cache: Path = Path("cache")
    jobs: int = 1
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
    faults = []

    def path(name: str) -> Path | None:
        value = get(name)
        if value is None:
            return None
        if not value:
            faults.append(Fault("is empty", where=name, hint=VARIABLES[name]))
            return None
        return Path(os.path.normpath(base / Path(value).expanduser()))

    def names(name: str, default: str) -> tuple[str, ...]:
        return tuple((get(name) or default).replace(",", " ").split())

    jobs = get("JOBS") or str(len(os.sched_getaffinity(0)))
    if not jobs.isdecimal() or not 1 <= int(jobs) <= 1024:
        faults.append(Fault(f"{jobs!r} is not a number of jobs", where="JOBS", hint="a whole number from 1 to 1024"))
        jobs = "1"
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    settings = Settings(
        boards=names("BOARD", ""),
        base=base,
        board_path=tuple(base / Path(p).expanduser() for p in (get("BOARD_PATH") or "").split(":") if p),
        kernel_src=path("KERNEL_SRC"),
        kernel_config=path("KERNEL_CONFIG"),
        cross_compile=get("CROSS_COMPILE"),
        sysroot=path("SYSROOT"),
        out=path("OUT") or base / "out",
        cache=path("CACHE") or cache_home / "kdumpbuild",
        jobs=int(jobs),
        triggers=names("TRIGGER", ""),
    )
    if faults:
        raise UserError(*faults)
    return settings
