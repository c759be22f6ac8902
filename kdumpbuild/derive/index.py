"""What a kernel tree has drivers for: device name -> source file -> symbols. Read once, then kept.

What is kept is used only as long as no file that was read, and no folder, has changed: size, modification time and
change time of each are compared every time. No program can change a file and keep its change time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdumpbuild.derive import dtsfiles, makefiles, sources
from kdumpbuild.files import writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.kconfig.tree import KernelTree

_LEFT_OUT = (
    "drivers/staging",  # not fit for a product, says the kernel itself
    "drivers/gpu/drm/amd", "drivers/gpu/drm/i915", "drivers/gpu/drm/xe", "drivers/gpu/drm/nouveau",
    "drivers/gpu/drm/radeon", "drivers/gpu/drm/panel", "drivers/gpu/drm/bridge", "drivers/infiniband",
    "drivers/media/usb", "drivers/media/dvb-frontends", "drivers/media/tuners", "drivers/media/i2c",
    "drivers/media/pci", "drivers/isdn", "drivers/comedi", "drivers/accel", "drivers/net/wireless", "drivers/iio",
    "drivers/input", "drivers/hid", "drivers/atm", "drivers/hwmon",
)  # fmt: skip
"""Folders with no driver that a capture kernel could need, nor one that has to be told to be off."""


@dataclass(frozen=True)
class Candidate:
    """A file that declares something for a device name."""

    source: str
    kind: str


@dataclass
class TreeIndex:
    """The index of one tree and architecture."""

    names: dict[str, list[Candidate]] = field(default_factory=dict)
    """By ``compatible``."""
    amba: list[tuple[int, int, str]] = field(default_factory=list)
    """Peripheral ID, mask and source file of each AMBA driver."""
    restarts: set[str] = field(default_factory=set)
    """Files that register a way to restart the machine."""
    gates: dict[str, list[list[str]]] = field(default_factory=dict)
    """For each source file that declares something, the alternatives of symbols that get it compiled."""
    boards: dict[str, str] = field(default_factory=dict)
    """For each device tree's name, the symbol under which the kernel builds it."""
    cells: dict[str, list[list[str]]] = field(default_factory=dict)
    """For each multi-function driver's file, name and compatible (may be empty) of each device that it makes."""
    platform: dict[str, list[str]] = field(default_factory=dict)
    """For each platform driver's name, its files."""
    platforms: list[str] = field(default_factory=list)
    """Symbols that stand for a family of SoCs."""
    machines: dict[str, list[str]] = field(default_factory=dict)
    """For each ``compatible`` of a root, the symbols under which trees with it are built, the most frequent first."""


def open_index(tree: KernelTree, arch: str, folder: Path | None) -> TreeIndex:
    """Return the index of a tree, from what is kept in ``folder`` if nothing has changed since, else read anew."""
    if folder is None:
        return _read(tree.path, arch)
    key = hashlib.sha256(f"{tree.path}:{arch}".encode()).hexdigest()[:16]
    path = folder / f"drivers-{arch}-{key}.json"
    state = _state(tree.path, arch)
    if (kept := _load(path, state)) is not None:
        return kept
    index = _read(tree.path, arch)
    _store(path, state, index)
    return index


def _roots(arch: str) -> tuple[str, ...]:
    return ("drivers", f"arch/{arch}")


def _state(top: Path, arch: str) -> str:
    """Return a hash over this program and over size and times of every file and folder that counts."""
    digest = hashlib.sha256(sys.version.encode())
    for module in (__file__, makefiles.__file__, sources.__file__, dtsfiles.__file__):
        digest.update(Path(module).read_bytes())
    for entry, stat in _entries(top, arch):
        digest.update(f"{entry} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n".encode())
    return digest.hexdigest()


def _entries(top: Path, arch: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file that may be read."""
    stack = [str(top / root) for root in _roots(arch)]
    skip = {str(top / name) for name in _LEFT_OUT}
    while stack:
        folder = stack.pop()
        if folder in skip or not Path(folder).is_dir():
            continue
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                stack.append(entry.path)
            elif entry.name.endswith((".c", ".dts", "Makefile", "Kbuild")):
                yield entry.path, entry.stat()


def _read(top: Path, arch: str) -> TreeIndex:
    index = TreeIndex()
    for path, _ in _entries(top, arch):
        name = os.path.relpath(path, top)
        if not name.endswith(".c"):
            continue
        data = Path(path).read_bytes()
        if any(needle in data for needle in sources.NEEDLES):
            _take(index, name, sources.declarations(data.decode("latin-1")))
        if name.startswith(sources.CELL_FOLDERS) and b"platform_driver" in data:
            _take(index, name, sources.platform_names(data.decode("latin-1")))

    def read(name: str) -> str | None:
        path = top / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    roots: dict[str, makefiles.Gate] = {"drivers": frozenset(), f"arch/{arch}": frozenset()}
    roots |= dict.fromkeys((f"arch/{arch}/{name}" for name in ("kernel", "mm", "common")), frozenset())
    machines = dict(makefiles.machine_folders(read(f"arch/{arch}/Makefile") or "", arch))
    roots |= machines
    gates = makefiles.read_gates(read, roots)
    declared = {c.source for found in index.names.values() for c in found} | {s for _, _, s in index.amba}
    declared |= set(index.cells) | {s for found in index.platform.values() for s in found}
    index.gates = {name: [sorted(gate) for gate in gates.of(name)] for name in sorted(declared)}
    index.boards = dtsfiles.symbols(top, arch)
    families = re.findall(r"^\s*(?:menu)?config (\w+)", read(f"arch/{arch}/Kconfig.platforms") or "", re.MULTILINE)
    index.platforms = sorted({*families, *index.boards.values(), *(s for gate in machines.values() for s in gate)})
    index.machines = dtsfiles.machines(top, arch, index.boards)
    return index


def _take(index: TreeIndex, name: str, found: list[sources.Declared]) -> None:
    for declared in found:
        if declared.kind == sources.AMBA:
            number, _, mask = declared.name.partition("/")
            index.amba.append((int(number, 16), int(mask, 16), name))
        elif declared.kind == sources.CELL:
            index.cells.setdefault(name, []).append(declared.name.split("|"))
        elif declared.kind == sources.PLATFORM:
            index.platform.setdefault(declared.name, []).append(name)
        elif declared.kind == sources.RESTART:
            index.restarts.add(name)
        else:
            index.names.setdefault(declared.name, []).append(Candidate(name, declared.kind))


def _load(path: Path, state: str) -> TreeIndex | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["state"] != state:
            return None
        return TreeIndex(
            names={name: [Candidate(*item) for item in found] for name, found in data["names"].items()},
            amba=[(number, mask, source) for number, mask, source in data["amba"]],
            restarts=set(data["restarts"]),
            gates=data["gates"],
            boards=data["boards"],
            cells=data["cells"],
            platform=data["platform"],
            platforms=data["platforms"],
            machines=data["machines"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # not there, or damaged: it is read anew


def _store(path: Path, state: str, index: TreeIndex) -> None:
    data = {
        "state": state,
        "names": {name: [[c.source, c.kind] for c in found] for name, found in index.names.items()},
        "amba": index.amba,
        "restarts": sorted(index.restarts),
        "gates": index.gates,
        "boards": index.boards,
        "cells": index.cells,
        "platform": index.platform,
        "platforms": index.platforms,
        "machines": index.machines,
    }
    with writing(path), tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as new:
        json.dump(data, new)
    Path(new.name).replace(path)
