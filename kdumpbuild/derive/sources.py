"""What a driver's source says about the devices that it is for: match tables and the macros that declare drivers.

Read with regular expressions, not with a C parser: the tables have a form that all drivers keep, and a kernel has
twenty thousand files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVER = "driver"
"""A match table of a driver."""
LOOKUP = "lookup"
"""A name that other code looks for: the node needs no driver of its own by this."""
MACHINE = "machine"
"""``dt_compat`` of a DT_MACHINE_START (arm)."""
AMBA = "amba"
"""A peripheral ID that an AMBA driver is for; the name is ``id/mask`` in hex."""
RESTART = "restart"
"""The file registers a way to restart the machine; it has no name."""
_DECLARES = {
    "IRQCHIP": "irqchip", "CLK_OF": "clk", "TIMER_OF": "timer", "CLOCKSOURCE_OF": "timer", "CPU_METHOD_OF": "cpu",
    "IOMMU_OF": "iommu",
}  # fmt: skip
"""Kind by what stands before ``_DECLARE``. RESERVEDMEM_OF and OF_EARLYCON declare nothing that is needed here."""
EARLY = frozenset({"irqchip", "clk", "timer"})
"""Kinds that a node can have beside a driver: each is then one half of what the device needs."""

NEEDLES = (b"compatible", b"_DECLARE", b"IRQCHIP_MATCH", b"DT_MACHINE_START", b"amba_id")
"""A file without any of these declares nothing."""

_DECLARE = re.compile(r'_DECLARE(?:_DRIVER|_EARLY)?\s*\(\s*\w+\s*,\s*("[^"]+"|\w+)')
_BEFORE = re.compile(r"(\w+)$")
_IRQCHIP_MATCH = re.compile(r'IRQCHIP_MATCH\s*\(\s*("[^"]+"|\w+)')
_TABLE = re.compile(r"of_device_id\s+(?:__\w+\s+)*(\w+)\s*\[[^\]]*\][^=;{(]*=\s*\{")
_STRINGS = re.compile(r"\*\s*(?:const\s+)?(?:__\w+\s+)?(\w+)\s*\[\s*\][^=;{(]*=\s*\{")
_AMBA_TABLE = re.compile(r"amba_id\s+(?:__\w+\s+)*\w+\s*\[\s*\][^=;{(]*=\s*\{")
_AMBA_ID = re.compile(r"\.id\s*=\s*(0x[0-9a-fA-F]+)[^}]*?\.mask\s*=\s*(0x[0-9a-fA-F]+)", re.DOTALL)
_NAME = re.compile(r'(?:\.(\w+)\s*=\s*)?(?:"([^"\n]+)"|\b([A-Z][A-Z0-9_]{3,})\b)')
_DEFINE = re.compile(r'#define\s+(\w+)\s+"([^"\n]+)"')
_ASKED = re.compile(
    r'(?:of_find_compatible_node|for_each_compatible_node|of_device_is_compatible|device_is_compatible|'
    r'syscon_regmap_lookup_by_compatible)\s*\([^;"]{0,80}"([^"\n]+)"'
)
_DT_COMPAT = re.compile(r"\.dt_compat\s*=\s*(\w+)")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_RESTART = re.compile(r"register_restart_handler|SYS_OFF_MODE_RESTART|register_sys_off_handler|arm_pm_restart")


@dataclass(frozen=True)
class Declared:
    """A name for which a file declares something."""

    name: str
    kind: str


def declarations(text: str) -> list[Declared]:
    """Return what a source file declares, each once."""
    defines = dict(_DEFINE.findall(text)) if "#define" in text else {}
    return list(dict.fromkeys(_declarations(text, defines)))


def _declarations(text: str, defines: dict[str, str]) -> Iterator[Declared]:
    for match in _DECLARE.finditer(text):
        before = _BEFORE.search(text, max(0, match.start() - 20), match.start())
        kind = _DECLARES.get(before[1]) if before else None
        if kind and (name := _literal(match[1], defines)):
            yield Declared(name, kind)
    for match in _IRQCHIP_MATCH.finditer(text):
        if name := _literal(match[1], defines):
            yield Declared(name, "irqchip")
    for match in _TABLE.finditer(text):
        kind = DRIVER if _is_drivers(text, match[1]) else LOOKUP
        for name in _names(_block(text, match.end()), defines):
            yield Declared(name, kind)
    if "DT_MACHINE_START" in text:
        arrays = {match[1]: _block(text, match.end()) for match in _STRINGS.finditer(text)}
        for array in _DT_COMPAT.findall(text):
            for name in _names(arrays.get(array, ""), defines):
                yield Declared(name, MACHINE)
    for match in _AMBA_TABLE.finditer(text):
        for number, mask in _AMBA_ID.findall(_block(text, match.end())):
            yield Declared(f"{int(number, 16):x}/{int(mask, 16):x}", AMBA)
    for name in _ASKED.findall(text):
        yield Declared(name, LOOKUP)
    if _RESTART.search(text):
        yield Declared("", RESTART)


def _block(text: str, start: int) -> str:
    """Return the body of an initializer without its comments."""
    end = text.find("};", start)
    return _COMMENT.sub("", text[start : end if end >= 0 else len(text)])


def _names(body: str, defines: dict[str, str]) -> Iterator[str]:
    for field, literal, macro in _NAME.findall(body):
        if field in ("", "compatible") and (name := literal or defines.get(macro)):
            yield name


def _literal(text: str, defines: dict[str, str]) -> str:
    return text.strip('"') if text.startswith('"') else defines.get(text, "")


def _is_drivers(text: str, table: str) -> bool:
    """Whether a driver matches by the table; else it is one that code searches the tree with."""
    pattern = (
        rf"of_match_table\s*=\s*(?:of_match_ptr\s*\()?\s*{table}\b|MODULE_DEVICE_TABLE\s*\(\s*of\s*,\s*{table}\s*\)"
    )
    return re.search(pattern, text) is not None
