"""What the check reads of user space: the programs of an initramfs, and a product's root directory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdumpbuild.checks.facts import Program, Rootfs, Version, parse_version
from kdumpbuild.errors import UserError, user_error
from kdumpbuild.formats.elf import needs_of, read_elf
from kdumpbuild.formats.reading import MIB, load

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.formats.elf import Elf
    from kdumpbuild.formats.initramfs import Initramfs

_TEXT = 4 * MIB
_MAX_PROGRAMS = 1000
_PROGRAMS = ("kexec", "makedumpfile", "busybox", "vmcore-dmesg")
_FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
_SYSCTL_FOLDERS = ("usr/lib/sysctl.d", "lib/sysctl.d", "usr/local/lib/sysctl.d", "etc/sysctl.d")
_VERSION = re.compile(rb"\bversion (\d+\.\d+\.\d+) \(released on ")
"""What makedumpfile -v prints."""
_PACKAGE_LISTS = ("var/lib/dpkg/status", "var/lib/opkg/status", "usr/lib/opkg/status", "lib/apk/db/installed")


def programs_of(initramfs: Initramfs) -> tuple[tuple[Program, ...], tuple[tuple[str, str], ...]]:
    """Return the ELF programs and libraries of an initramfs, and the damaged ones."""
    programs: list[Program] = []
    damaged: list[tuple[str, str]] = []
    for entry in initramfs.entries[: 200 * _MAX_PROGRAMS]:
        if not entry.is_file or not entry.data.startswith(b"\x7fELF") or len(programs) >= _MAX_PROGRAMS:
            continue
        try:
            elf = read_elf(entry.data, where=f"{initramfs.name}: /{entry.name}")
        except UserError as error:
            damaged.append((entry.name, error.faults[0].why))
            continue
        if elf.type in ("ET_EXEC", "ET_DYN"):
            programs.append(program_of(entry.name, elf))
    return tuple(programs), tuple(damaged)


def program_of(path: str, elf: Elf) -> Program:
    """Return an ELF file as a program of the userland."""
    return Program(path, needs_of(elf), elf.interpreter, elf.needed)


def makedumpfile_of(initramfs: Initramfs) -> Version | None:
    """Return the version of the makedumpfile in an initramfs, or None."""
    found = (e for e in initramfs.entries if e.is_file and e.name.rpartition("/")[2] == "makedumpfile")
    return next((version for entry in found if (version := _makedumpfile_version(entry.data))), None)


def _makedumpfile_version(data: bytes) -> Version | None:
    """Return the version that a makedumpfile says it is. What Buildroot and Yocto build has no package list."""
    match = _VERSION.search(data)
    return parse_version(match[1].decode()) if match else None


def read_rootfs(folder: Path) -> tuple[Rootfs, dict[str, Version]]:
    """Read what matters of a target's root directory, and the versions that its package list or its programs give.

    Raises UserError when it is none.
    """
    if not any((folder / name).is_dir() for name in ("bin", "usr/bin", "etc")):
        raise user_error("not a root directory", where=str(folder), why="it has neither bin, usr/bin nor etc")
    programs = []
    versions = _installed(folder)
    for name in _PROGRAMS:
        for shown in (f"{f}/{name}" for f in _FOLDERS):
            path = _inside(folder, shown)
            if path is not None and _is_elf(path):
                programs.append(program_of(shown, read_elf(path)))
                if name == "makedumpfile" and (version := _makedumpfile_version(load(path, limit=64 * MIB))):
                    versions.setdefault(name, version)
                break
    return Rootfs(str(folder), tuple(programs), _sysctls(folder)), versions


def _inside(folder: Path, name: str) -> Path | None:
    """Return the file called ``name`` on the target, its symbolic links followed as the target would; or None."""
    parts = name.split("/")
    done: list[str] = []
    for _ in range(200):
        if not parts:
            path = folder.joinpath(*done)
            return path if path.is_file() else None
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        path = folder.joinpath(*done, part)
        if path.is_symlink():
            target = str(path.readlink())
            done = [] if target.startswith("/") else done
            parts = [*target.split("/"), *parts]
        else:
            done.append(part)
    return None


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False


def _sysctls(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the sysctls set at boot, in the order of sysctl.d(5): by file name, folders of /etc before others."""
    files: dict[str, Path] = {}
    for name in _SYSCTL_FOLDERS:
        for path in sorted((folder / name).glob("*.conf")):
            files[path.name] = path
    paths = [files[name] for name in sorted(files)]
    paths.append(folder / "etc" / "sysctl.conf")
    paths = [path for path in paths if not path.is_symlink()]  # usually to a file that is here already
    found: dict[str, tuple[str, str]] = {}
    for path in paths:
        if not path.is_file():
            continue
        text = load(path, limit=_TEXT).decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            key, separator, value = line.partition("=")
            name = key.strip().lstrip("-").replace("/", ".")
            if separator and not name.startswith(("#", ";")):
                found[name] = (value.strip(), f"{path}:{number}")
    return found


def _installed(folder: Path) -> dict[str, Version]:
    """Return the versions of the packages that rules ask for, from the package manager's list."""
    found: dict[str, Version] = {}
    for name in _PACKAGE_LISTS:
        path = folder / name
        if not path.is_file():
            continue
        text = load(path, limit=64 * MIB).decode("utf-8", errors="replace")
        pattern = r"^(?:Package: |P:)(kexec-tools|kexec|makedumpfile)\n(?:(?!\n\n).)*?^(?:Version: |V:)(?:\d+:)?(\S+)"
        for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
            try:
                found["makedumpfile" if match[1] == "makedumpfile" else "kexec-tools"] = parse_version(match[2])
            except ValueError:
                continue
    return found
