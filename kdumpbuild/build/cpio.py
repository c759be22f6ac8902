"""Writing a cpio archive in the "newc" form, which the kernel unpacks as an initramfs.

Our own because no library on PyPI writes one without a C library of its own, and because the archive has to be the
same bytes each time and to hold device nodes, without root (Linux, Documentation/driver-api/early-userspace/
buffer-format.rst).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, folder, link or node. ``mode`` has the file type in it, as :mod:`stat` defines it."""

    name: str
    """Path without the leading slash."""
    mode: int
    data: bytes = b""
    """Content of a file, target of a symbolic link."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""


def directory(name: str) -> Entry:
    """Return a folder."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, *, executable: bool = False) -> Entry:
    """Return a regular file."""
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)


def secret(name: str, data: bytes) -> Entry:
    """Return a regular file that only root may read."""
    return Entry(name, stat.S_IFREG | 0o600, data)


def link(name: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def node(name: str, major: int, minor: int) -> Entry:
    """Return a character device that only root may use."""
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry], *, mtime: int) -> bytes:
    """Return the archive of ``entries``, sorted by name, with the folders that they need, owned by root."""
    parts = [_member(number, entry, mtime) for number, entry in enumerate(with_parents(entries), 1)]
    parts.append(_member(0, Entry(_TRAILER, 0), 0))
    return b"".join(parts)


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries sorted by name, the last of each name, with the folders that they need."""
    by_name = {entry.name: entry for entry in entries}
    for name in list(by_name):
        while "/" in name:
            name = name.rpartition("/")[0]  # noqa: PLW2901  # walking up
            by_name.setdefault(name, directory(name))
    return [by_name[name] for name in sorted(by_name)]


def _member(inode: int, entry: Entry, mtime: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        inode, entry.mode, 0, 0, links, mtime, len(entry.data), 0, 0, *entry.device, len(name), 0,
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
