"""A kernel's .config as text: values, and the line of each."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdumpbuild.errors import Fault, UserError
from kdumpbuild.formats.reading import MIB, Source, load, malformed, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 8 * MIB
_MAX_FAULTS = 20
_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_BANNER = re.compile(r"# Linux/(\S+) (\d+\.\d+\S*) Kernel Configuration")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GIVE = "give the .config of a kernel build"
_NUMBER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)")


@dataclass(frozen=True)
class DotConfig:
    """A .config file. Symbols are without ``CONFIG_``; one that is not set has the value ``n``."""

    name: str
    values: Mapping[str, str]
    """Strings without their quotes."""
    lines: Mapping[str, int]
    arch: str
    """``SRCARCH`` by the first lines; empty when they do not say."""
    version: str
    """Kernel version by the first lines; empty when they do not say."""


def read_dotconfig(source: Source, *, where: str = "") -> DotConfig:
    """Read a .config, packed with gzip or not.

    Raises UserError with every line that is none, and for a file that sets nothing at all.
    """
    name = name_of(source, where)
    data = load(source, where=where, limit=_LIMIT)
    if data.startswith(b"\x1f\x8b"):  # /proc/config.gz
        data = _unzipped(data, name)
    if b"\0" in data:
        raise malformed("not a kernel configuration", where=name, why="it holds binary data", hint=_GIVE)
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    faults: list[Fault] = []
    arch = version = first = ""
    any_symbol = False
    for number, raw in enumerate(data.decode("utf-8", errors="replace").splitlines(), 1):
        line = raw.strip()
        if not line:
            continue
        any_symbol = any_symbol or "CONFIG_" in line
        if found := _SET.fullmatch(line):
            value = _value(found[2])
            if value is None:
                faults.append(Fault(f"not a value: {line[:80]}", where=f"{name}:{number}"))
                continue
            values[found[1]], lines[found[1]] = value, number
        elif found := _UNSET.fullmatch(line):
            values[found[1]], lines[found[1]] = "n", number
        elif not line.startswith("#"):
            first = first or line
            faults.append(Fault(f"not a line of a kernel configuration: {line[:80]}", where=f"{name}:{number}"))
        elif found := _BANNER.fullmatch(line):
            arch, version = found[1], found[2]
        if len(faults) >= _MAX_FAULTS:
            break
    if not any_symbol:
        # Another file altogether: one message for all its lines.
        why = f"it begins with: {first[:80]}" if first else "it sets no CONFIG_ symbol"
        raise malformed("not a kernel configuration", where=name, why=why, hint=_GIVE)
    if faults:
        raise UserError(*faults[:-1], replace(faults[-1], hint="write CONFIG_X=value, or # CONFIG_X is not set"))
    return DotConfig(name=name, values=values, lines=lines, arch=arch, version=version)


def _unzipped(data: bytes, name: str) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, _LIMIT)
    except zlib.error as error:
        raise malformed("damaged gzip file", where=name, why=str(error)) from error


def _value(text: str) -> str | None:
    if text in ("y", "m", "n"):
        return text
    if _STRING.fullmatch(text):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text if _NUMBER.fullmatch(text) else None
