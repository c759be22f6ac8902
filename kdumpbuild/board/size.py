"""Sizes as people write them in board files and on kernel command lines."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = re.compile(r"(0x[0-9a-fA-F]+|[0-9]+)([KMG]?)")


def parse_size(text: str) -> int:
    """Return the bytes that ``16M``, ``0x1000000`` or ``1G`` stand for. Raises ValueError on anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    return int(match[1], 0) * _UNITS[match[2]]


def format_size(size: int) -> str:
    """Return the shortest exact form of ``size`` that a kernel command line understands: ``16M``."""
    for unit in ("G", "M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def human(size: int) -> str:
    """Return ``size`` for people: ``2.1 MiB``."""
    if size < 1 << 10:
        return f"{size} B"
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.1f} {unit}"
    return f"{size / 1024:.0f} KiB"
