"""What the script kdump-probe brought from a running board. The only module that knows the archive's form."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.board.model import Bank
from kdumpbuild.errors import user_error
from kdumpbuild.formats.reading import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = "1"
"""Version of the archive, in the first line of ``facts``."""
_LIMIT = 16 * MIB
_MEMBERS = 1000
_TREE = "sys/firmware/fdt"
_CONFIGS = ("proc/config.gz", "proc/config")
_RAM = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) : System RAM", re.MULTILINE)
_MTD = re.compile(r'^(mtd\d+): ([0-9a-f]+) [0-9a-f]+ "(.*)"', re.MULTILINE)
_TYPE = re.compile(r'^/dev/(\w+):.*\bTYPE="(\w+)"', re.MULTILINE)


@dataclass(frozen=True)
class BlockDevice:
    """A block device of the running board."""

    name: str
    size: int
    """In bytes; 0 when not known."""
    is_partition: bool
    label: str
    """The partition's name, or empty."""
    node: str
    """Path of its controller's node, or empty."""
    mounted: str
    """Where it is mounted, or empty."""
    filesystem: str


@dataclass(frozen=True)
class RunningWatchdog:
    """A watchdog of the running board."""

    name: str
    identity: str
    active: bool
    timeout: int
    node: str


@dataclass(frozen=True)
class Probe:
    """Everything that was brought. What is missing is empty."""

    name: str
    tree: bytes = b""
    config: str = ""
    cmdline: str = ""
    version: str = ""
    """The first line of /proc/version."""
    machine: str = ""
    """What ``uname -m`` says."""
    ram: tuple[Bank, ...] = ()
    blocks: tuple[BlockDevice, ...] = ()
    mtds: tuple[tuple[str, int, str], ...] = ()
    """Name, size and label of each MTD partition."""
    watchdogs: tuple[RunningWatchdog, ...] = ()
    has_watchdogs: bool = False
    """Whether somebody looked for watchdogs at all."""
    consoles: Mapping[str, str] = field(default_factory=dict)
    """Name and node of each console in use."""
    missing: tuple[str, ...] = ()
    """Parts that are not there, each with what is lost by it."""

    @property
    def release(self) -> str:
        """The kernel's release."""
        match = re.match(r"Linux version (\S+)", self.version)
        return match[1] if match else ""


def read_probe(path: Path) -> Probe:
    """Read the archive, or a folder with its content. Raises UserError when it is none."""
    members = _folder(path) if path.is_dir() else _archive(path)
    texts = {name: data.decode("utf-8", errors="replace") for name, data in members.items() if name != _TREE}
    if not members.get(_TREE) and not any(name.startswith("proc/") for name in members):
        raise user_error(
            "nothing of a running board in it", where=str(path),
            why=f"neither {_TREE} nor anything of /proc",
            hint="run the script of `kdumpbuild board probe-script` on the board, and give what it wrote",
        )  # fmt: skip
    facts = _facts(texts.get("facts", ""), path)
    watchdogs = tuple(_watchdog(name, values) for name, values in facts["watchdog"].items())
    return Probe(
        name=str(path),
        tree=members.get(_TREE, b""),
        config=_config(members),
        cmdline=" ".join(texts.get("proc/cmdline", "").replace("\0", " ").split()),
        version=(texts.get("proc/version", "").splitlines() or [""])[0],
        machine=facts["system"].get("machine", {}).get("name", ""),
        ram=_ram(texts.get("proc/iomem", "")),
        blocks=_blocks(facts["block"], texts),
        mtds=tuple((m[1], int(m[2], 16), m[3]) for m in _MTD.finditer(texts.get("proc/mtd", ""))),
        watchdogs=watchdogs,
        has_watchdogs="facts" in members,
        consoles={name: values.get("node", "") for name, values in facts["console"].items()},
        missing=_missing(members, texts),
    )


def _missing(members: Mapping[str, bytes], texts: Mapping[str, str]) -> tuple[str, ...]:
    lost = {
        _TREE: "the device tree: give it with --dtb",
        "proc/iomem": "RAM as the kernel sees it",
        "proc/cmdline": "the console in use",
        "proc/version": "the kernel's release",
        "proc/mounts": "what is mounted where",
        "facts": "partitions with their controllers, and watchdogs",
    }
    missing = [f"{name}: {what}" for name, what in lost.items() if not members.get(name)]
    if not _config(members):
        missing.append("proc/config.gz: the product's kernel config; give it to a build as KERNEL_CONFIG=")
    if members.get("proc/iomem") and not _ram(texts["proc/iomem"]):
        missing.append("proc/iomem: it shows no addresses, so kdump-probe did not run as root")
    return tuple(missing)


def _folder(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in sorted(path.rglob("*")):
        if not file.is_file() or file.is_symlink() or len(found) >= _MEMBERS:
            continue
        try:
            with file.open("rb") as stream:
                found[file.relative_to(path).as_posix()] = stream.read(_LIMIT)
        except OSError as error:
            raise user_error(f"cannot be read: {error.strerror}", where=str(file)) from error
    return found


def _archive(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() and member.size <= _LIMIT else None
                if stream is not None and len(found) < _MEMBERS:
                    found[member.name.removeprefix("./")] = stream.read()
    except FileNotFoundError:
        raise user_error("no such file or folder", where=str(path)) from None
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise user_error(
            "neither a folder nor a whole tar archive", where=str(path), why=str(error),
            hint="give what kdump-probe wrote; copy it again if it was cut short",
        ) from error  # fmt: skip
    return found


def _facts(text: str, path: Path) -> dict[str, dict[str, dict[str, str]]]:
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for line in text.splitlines():
        words = line.split("\t")
        if words[0] == "# kdump-probe" and words[1:] != [FORMAT]:
            raise user_error(
                f"an archive of form {' '.join(words[1:])}; this kdumpbuild reads {FORMAT}", where=str(path),
                hint="collect it with the script of `kdumpbuild board probe-script`",
            )  # fmt: skip
        if len(words) == 4 and not line.startswith("#"):
            kind, name, key, value = words
            found[kind].setdefault(name, {})[key] = value
    return found


def _config(members: Mapping[str, bytes]) -> str:
    names = [name for name in members if name in _CONFIGS or name.startswith("boot/config-")]
    for name in names:
        data = members[name]
        try:
            data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        except (OSError, EOFError, zlib.error):
            continue
        text = data.decode("utf-8", errors="replace")
        if "CONFIG_" in text:
            return text
    return ""


def _ram(iomem: str) -> tuple[Bank, ...]:
    banks: list[Bank] = []
    for match in _RAM.finditer(iomem):
        base, last = int(match[1], 16), int(match[2], 16)
        if not last:
            continue
        if banks and banks[-1].end == base:
            banks[-1] = Bank(banks[-1].base, last + 1 - banks[-1].base)
        else:
            banks.append(Bank(base, last + 1 - base))
    return tuple(banks)


def _blocks(facts: Mapping[str, Mapping[str, str]], texts: Mapping[str, str]) -> tuple[BlockDevice, ...]:
    mounts: dict[str, tuple[str, str]] = {}
    for line in texts.get("proc/mounts", "").splitlines():
        words = line.split()
        if len(words) > 2:
            mounts.setdefault(words[0].removeprefix("/dev/"), (words[1], words[2]))
    types = dict(_TYPE.findall(texts.get("blkid", "")))
    found = []
    for name, values in facts.items():
        mounted, filesystem = mounts.get(name, ("", types.get(name, "")))
        sectors = values.get("sectors", "")
        found.append(
            BlockDevice(
                name=name,
                size=512 * int(sectors) if sectors.isdecimal() else 0,
                is_partition="partition" in values,
                label=values.get("partname", ""),
                node=values.get("node", ""),
                mounted=mounted,
                filesystem=filesystem,
            )
        )
    return tuple(found)


def _watchdog(name: str, values: Mapping[str, str]) -> RunningWatchdog:
    timeout = values.get("timeout", "")
    return RunningWatchdog(
        name=name,
        identity=values.get("identity", ""),
        active=values.get("state", "") == "active",
        timeout=int(timeout) if timeout.isdecimal() else 0,
        node=values.get("node", ""),
    )
