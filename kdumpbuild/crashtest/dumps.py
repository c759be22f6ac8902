"""The dumps on a dump target, as the capture system writes them (templates/initramfs/init)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.crashtest.protocol import parse_pairs

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"\d{4,}")

EARLIER = "0001"
"""Name of the dump that the disk holds before the crash."""


@dataclass(frozen=True)
class SavedDump:
    """One dump's folder. Only committed files count: a part that was cut off has another name."""

    name: str
    folder: Path
    status: dict[str, str]
    """What its ``status`` file says; empty without one."""

    @property
    def dmesg(self) -> Path | None:
        """The committed kernel log."""
        path = self.folder / "dmesg.txt"
        return path if path.is_file() else None

    @property
    def vmcore(self) -> Path | None:
        """The committed memory: the file is there, and the status says what it is."""
        path = self.folder / "vmcore"
        return path if path.is_file() and self.form else None

    @property
    def form(self) -> str:
        """``filtered`` or ``raw``; empty without a committed vmcore."""
        form = self.status.get("vmcore", "")
        return form if form in ("filtered", "raw") else ""

    @property
    def seconds(self) -> float:
        """The capture kernel's uptime when the log was committed; 0 when that is not known."""
        try:
            return float(self.status.get("dmesg_seconds", ""))
        except ValueError:
            return 0.0

    @property
    def story(self) -> str:
        """What the capture system says of it, on one line."""
        parts = [f"vmcore {self.status.get('vmcore', 'unknown')}, dmesg {self.status.get('dmesg', 'unknown')}"]
        if self.status.get("reason"):
            parts.append(self.status["reason"])
        return "; ".join(parts)


def find_dumps(folder: Path) -> list[SavedDump]:
    """Return the dumps below the dump target's folder, in the order of their numbers."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    return [SavedDump(path.name, path, _pairs(path / "status")) for path in sorted(found, key=lambda p: int(p.name))]


def read_attempt(folder: Path) -> dict[str, str]:
    """Return how far the last capture came, in its own words: ``stage``, ``reason``. Empty when there was none."""
    return _pairs(folder / "attempt")


def write_earlier_dump(folder: Path, marker: str) -> None:
    """Write a dump of a crash that was before, for the test to find it unharmed afterwards."""
    dump = folder / EARLIER
    dump.mkdir(parents=True)
    (dump / "dmesg.txt").write_text(f"[    0.000000] an earlier crash, before {marker}\n", encoding="utf-8")
    (dump / "vmcore").write_bytes(f"an earlier dump, before {marker}\n".encode() * 4096)
    (dump / "status").write_text("format=1\ndmesg=ok\nvmcore=filtered\n", encoding="utf-8")


def _pairs(path: Path) -> dict[str, str]:
    try:
        return parse_pairs(path.read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
