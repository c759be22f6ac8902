"""An initramfs as the kernel unpacks it: cpio archives one behind the other, each packed or not.

Order of tries: Linux, init/initramfs.c. Form: Documentation/driver-api/early-userspace/buffer-format.rst.
Python's own decompressors and a reader of newc headers: libarchive would not follow the kernel from one archive to
the next, and is one more library to install.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.formats.compressed import Stream, identify, unpack
from kdumpbuild.formats.reading import MIB, Source, load, malformed, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT = 256 * MIB
_UNPACKED = 512 * MIB
_MAX_SEGMENTS = 64
_MAX_ENTRIES = 200_000
_MAX_NAME = 4096
_UBOOT_MAGIC = b"\x27\x05\x19\x56"
_UBOOT_HEADER = 64
_PAGE = 4096
_HEADER = 110
_SCRIPT = 256 << 10
_S_IFMT, _S_IFREG, _S_IFLNK = 0o170000, 0o100000, 0o120000


@dataclass(frozen=True)
class Entry:
    """One file of the archive."""

    name: str
    """Path from the root, without a leading slash."""
    mode: int
    size: int
    data: bytes

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode & _S_IFMT == _S_IFREG

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link, its target in ``data``."""
        return self.mode & _S_IFMT == _S_IFLNK

    @property
    def executable(self) -> bool:
        """Whether anyone may run it."""
        return self.is_file and bool(self.mode & 0o111)


@dataclass(frozen=True)
class Script:
    """A text in an initramfs that a shell runs or reads."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Initramfs:
    """What was read from an initramfs."""

    name: str
    size: int
    """As it is loaded, in bytes."""
    uboot_header: bool
    """Whether it is wrapped for U-Boot: the kernel finds no archive at its start then."""
    uboot_name: str
    streams: tuple[Stream, ...]
    """The compressed parts, in order."""
    entries: tuple[Entry, ...]
    complete: bool
    """Whether all of it could be read. False when a part is packed in a way that only the kernel unpacks."""
    unread: str
    """Why it could not, or empty."""

    @property
    def unpacked(self) -> int | None:
        """Memory that its files take in the kernel's page cache, in bytes; None when that is not known."""
        if not self.complete:
            return None
        return sum((e.size + _PAGE - 1) // _PAGE * _PAGE for e in self.entries if e.is_file)

    @property
    def scripts(self) -> Iterator[Script]:
        """The shell scripts and what they read: files up to 256 KiB that begin with ``#`` or are named .sh or .conf."""
        for entry in self.entries:
            named = entry.name.endswith((".sh", ".conf"))
            if entry.is_file and entry.size <= _SCRIPT and (named or entry.data.startswith(b"#")):
                yield Script(entry.name, tuple(entry.data.decode("utf-8", errors="replace").splitlines()))

    def entry(self, path: str) -> Entry | None:
        """Return the file at ``path``, symbolic links followed, or None."""
        known = {e.name: e for e in self.entries}
        wanted = path.strip("/")
        for _ in range(16):
            found = known.get(wanted) or _through_links(known, wanted)
            if found is None or not found.is_link:
                return found
            target = found.data.decode("utf-8", errors="replace")
            base = [] if target.startswith("/") else found.name.split("/")[:-1]
            wanted = _normal([*base, *target.split("/")])
        return None


def read_initramfs(source: Source, *, where: str = "") -> Initramfs:
    """Read an initramfs. Raises UserError when it is none, or is damaged in a way that the kernel would refuse too."""
    name = name_of(source, where)
    data = load(source, where=where, limit=_LIMIT)
    size = len(data)
    wrapped = data.startswith(_UBOOT_MAGIC)
    title = data[32:64].split(b"\0")[0].decode("utf-8", errors="replace") if wrapped else ""
    rest = data[_UBOOT_HEADER:] if wrapped else data
    streams: list[Stream] = []
    entries: dict[str, Entry] = {}
    budget = _UNPACKED
    unread = ""
    for _ in range(_MAX_SEGMENTS):
        rest = rest.lstrip(b"\0")
        if not rest:
            break
        if rest[:5] == b"07070":
            rest = rest[_read_archive(rest, entries, name) :]
            continue
        stream = identify(rest[:4096])
        if stream is None:
            if streams or entries:
                unread = f"what follows, from byte {size - len(rest)} on, is no archive"
                break
            why = f"neither a cpio archive nor anything compressed; its first bytes are {rest[:6].hex()}"
            raise malformed("not an initramfs", where=name, why=why)
        streams.append(stream)
        try:
            unpacked = unpack(stream.kind, rest, budget)
        except ValueError as error:
            unread = f"its {stream.kind} part is damaged or asks for too much memory: {error}"
            break
        if unpacked is None:
            unread = f"its files are packed as {stream.kind}, which is not unpacked here"
            break
        if not unpacked.complete:
            unread = f"its {stream.kind} part is cut short or larger than {_UNPACKED // MIB} MiB"
            break
        budget -= len(unpacked.data)
        _read_all(unpacked.data, entries, name)
        rest = unpacked.rest
    else:
        unread = f"it has more than {_MAX_SEGMENTS} parts"
    return Initramfs(
        name=name,
        size=size,
        uboot_header=wrapped,
        uboot_name=title,
        streams=tuple(streams),
        entries=tuple(entries.values()),
        complete=not unread,
        unread=unread,
    )


def _read_all(data: bytes, entries: dict[str, Entry], name: str) -> None:
    for _ in range(_MAX_SEGMENTS):
        data = data.lstrip(b"\0")
        if not data:
            return
        data = data[_read_archive(data, entries, name) :]
    raise malformed("damaged initramfs", where=name, why=f"more than {_MAX_SEGMENTS} archives in one part")


def _read_archive(data: bytes, entries: dict[str, Entry], name: str) -> int:
    """Read one cpio archive into ``entries`` and return the offset behind it."""
    at = 0
    while True:
        header = data[at : at + _HEADER]
        if header[:6] not in (b"070701", b"070702"):
            hint = "make it with cpio -H newc" if header[:6] == b"070707" else ""
            why = f"expected a newc header at byte {at} of the archive, found {header[:6]!r}"
            raise malformed("damaged initramfs", where=name, why=why, hint=hint)
        try:
            fields = [int(header[i : i + 8], 16) for i in range(6, 110, 8)]
        except ValueError as error:
            raise malformed("damaged initramfs", where=name, why=f"a header at byte {at}: {error}") from error
        mode, size, name_size = fields[1], fields[6], fields[11]
        start = at + _HEADER
        body = (start + name_size + 3) & ~3
        if len(fields) != 13 or not 0 < name_size <= _MAX_NAME or body + size > len(data):
            why = f"a file of {size} bytes at byte {at}, where {max(0, len(data) - body)} are left"
            raise malformed("damaged initramfs", where=name, why=why)
        path = data[start : start + name_size].split(b"\0")[0].decode("utf-8", errors="replace")
        at = (body + size + 3) & ~3
        if path == "TRAILER!!!":
            return at
        path = _normal(path.split("/"))
        entries[path] = Entry(path, mode, size, data[body : body + size])
        if len(entries) > _MAX_ENTRIES:
            raise malformed("damaged initramfs", where=name, why=f"more than {_MAX_ENTRIES} files")


def _normal(parts: list[str]) -> str:
    """Join path parts, ``.`` and ``..`` resolved, without a leading slash."""
    kept: list[str] = []
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)


def _through_links(known: dict[str, Entry], path: str) -> Entry | None:
    """Find a path one of whose folders is a symbolic link (``/bin`` to ``usr/bin``)."""
    parts = path.split("/")
    for _ in range(16):
        for i in range(1, len(parts)):
            folder = known.get("/".join(parts[:i]))
            if folder is not None and folder.is_link:
                target = folder.data.decode("utf-8", errors="replace")
                base = [] if target.startswith("/") else parts[: i - 1]
                parts = _normal([*base, *target.split("/"), *parts[i:]]).split("/")
                break
        else:
            return known.get("/".join(parts))
    return None

