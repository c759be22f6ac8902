"""What a driver's source says about the devices that it is for: match tables and the macros that declare drivers.

Read with regular expressions, not with a C parser: the tables have a form that all drivers keep, and a kernel has
twenty thousand files. Every expression begins with a literal word, which makes the search for it fast.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
CELL = "cell"
"""A device that a multi-function driver makes: the name is that of its driver and, after ``|``, its compatible."""
PLATFORM = "platform"
"""The name of a platform driver, by which such a device finds it."""
_DECLARES = {
    "IRQCHIP": "irqchip", "CLK_OF": "clk", "TIMER_OF": "timer", "CLOCKSOURCE_OF": "timer", "CPU_METHOD_OF": "cpu",
    "IOMMU_OF": "iommu",
}  # fmt: skip
"""Kind by what stands before ``_DECLARE``. RESERVEDMEM_OF and OF_EARLYCON declare nothing that is needed here."""
EARLY = frozenset({"irqchip", "clk", "timer"})
"""Kinds of drivers that are started before there are devices: they look for their nodes in the whole tree."""

NEEDLES = (
    b"of_device_id", b"_DECLARE", b"IRQCHIP_MATCH", b"DT_MACHINE_START", b"amba_id", b"_compatible(",
    b"_compatible_node(", b"mfd_cell",
)  # fmt: skip
"""A file without any of these declares nothing but, maybe, the name of a platform driver."""
CELL_FOLDERS = (
    "drivers/regulator/", "drivers/clk/", "drivers/gpio/", "drivers/pinctrl/", "drivers/watchdog/",
    "drivers/power/reset/", "drivers/reset/", "drivers/pmdomain/", "drivers/soc/", "drivers/bus/",
)  # fmt: skip
"""Where drivers are of whose names something may be needed."""

_DECLARE = re.compile(r'_DECLARE(?:_DRIVER|_EARLY)?\s*\(\s*\w+\s*,\s*("[^"]+"|\w+)')
_BEFORE = re.compile(r"(\w+)$")
_IRQCHIP_MATCH = re.compile(r'IRQCHIP_MATCH\s*\(\s*("[^"]+"|\w+)')
_TABLE = re.compile(r"of_device_id\s+(?:__\w+\s+)*(\w+)\s*\[[^\]]*\][^=;{(]*=\s*\{")
_OF_TABLES = (
    re.compile(r"of_match_table\s*=\s*(?:of_match_ptr\s*\(\s*)?(\w+)"),
    re.compile(r"MODULE_DEVICE_TABLE\s*\(\s*of\s*,\s*(\w+)"),
)
_ARRAY = re.compile(r"(\w+)\s*\[\s*\][^=;{(]*=\s*\{")
_AMBA_TABLE = re.compile(r"amba_id\s+(?:__\w+\s+)*\w+\s*\[\s*\][^=;{(]*=\s*\{")
_AMBA_ID = re.compile(r"\.id\s*=\s*(0x[0-9a-fA-F]+)[^}]*?\.mask\s*=\s*(0x[0-9a-fA-F]+)", re.DOTALL)
_NAME = re.compile(r'(?:\.(\w+)\s*=\s*)?(?:"([^"\n]+)"|\b([A-Z][A-Z0-9_]*)\b)')
_DEFINE = re.compile(r'#define\s+(\w+)\s+"([^"\n]+)"')
_ASKED = re.compile(r'_compatible(?:_node)?\s*\([^;"]{0,80}"([^"\n]+)"')
_DT_COMPAT = re.compile(r"\.dt_compat\s*=\s*(\w+)")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_RESTARTS = (
    "register_restart_handler", "SYS_OFF_MODE_RESTART", "register_sys_off_handler", "arm_pm_restart",
    "watchdog_set_restart_priority",
)  # fmt: skip
_CELLS = re.compile(r"mfd_cell\s+(?:__\w+\s+)*\w+\s*(?:\[[^\]]*\])?[^=;{(]*=\s*\{")
_CELL = re.compile(r'\.(name|of_compatible)\s*=\s*("[^"\n]+"|\w+)|MFD_CELL_\w+\s*\(\s*("[^"\n]+"|\w+)([^)]*)')
_PLATFORM_DRIVER = re.compile(r"platform_driver\s+(?:__\w+\s+)*\w+\s*=\s*\{")
_PLATFORM_IDS = re.compile(r"platform_device_id\s+(?:__\w+\s+)*\w+\s*\[[^\]]*\][^=;{(]*=\s*\{")
_DRIVER_NAME = re.compile(r'\.name\s*=\s*("[^"\n]+"|\w+)')
_QUOTED = re.compile(r'"([^"\n]+)"')


@dataclass(frozen=True)
class Declared:
    """A name for which a file declares something."""

    name: str
    kind: str


def declarations(text: str) -> list[Declared]:
    """Return what a source file declares, each once; without names of platform drivers."""
    return list(dict.fromkeys(_declarations(text, _defines(text))))


def platform_names(text: str) -> list[Declared]:
    """Return the names by which platform devices find the drivers of a file."""
    defines = _defines(text)
    found: dict[Declared, None] = {}
    for match in _PLATFORM_DRIVER.finditer(text):
        for name in _DRIVER_NAME.findall(_block(text, match.end()))[:1]:
            found[Declared(_literal(name, defines), PLATFORM)] = None
    for match in _PLATFORM_IDS.finditer(text):
        for name in _QUOTED.findall(_block(text, match.end())):
            found[Declared(name, PLATFORM)] = None
    return [declared for declared in found if declared.name]


def _declarations(text: str, defines: Mapping[str, str]) -> Iterator[Declared]:
    for match in _DECLARE.finditer(text):
        before = _BEFORE.search(text, max(0, match.start() - 20), match.start())
        kind = _DECLARES.get(before[1]) if before else None
        if kind and (name := _literal(match[1], defines)):
            yield Declared(name, kind)
    for match in _IRQCHIP_MATCH.finditer(text):
        if name := _literal(match[1], defines):
            yield Declared(name, "irqchip")
    if "of_device_id" in text:
        drivers = {name for pattern in _OF_TABLES for name in pattern.findall(text)}
        for match in _TABLE.finditer(text):
            for name in _names(_block(text, match.end()), defines):
                yield Declared(name, DRIVER if match[1] in drivers else LOOKUP)
    if "DT_MACHINE_START" in text:
        arrays = {match[1]: _block(text, match.end()) for match in _ARRAY.finditer(text)}
        for array in _DT_COMPAT.findall(text):
            for name in _names(arrays.get(array, ""), defines):
                yield Declared(name, MACHINE)
    for match in _AMBA_TABLE.finditer(text):
        for number, mask in _AMBA_ID.findall(_block(text, match.end())):
            yield Declared(f"{int(number, 16):x}/{int(mask, 16):x}", AMBA)
    for name in _ASKED.findall(text):
        yield Declared(name, LOOKUP)
    if "mfd_cell" in text:
        for match in _CELLS.finditer(text):
            yield from _cells(_block(text, match.end(), "\n};"), defines)
    if any(word in text for word in _RESTARTS):
        yield Declared("", RESTART)


def _cells(body: str, defines: Mapping[str, str]) -> Iterator[Declared]:
    """Yield the cells of a table. Names inside of their resources come along, and are nobody's driver."""
    name = ""
    for field, value, macro, rest in _CELL.findall(body):
        if field == "of_compatible":
            yield Declared(f"{name}|{_literal(value, defines)}", CELL)
        else:
            name = _literal(value or macro, defines)
            compatible = _QUOTED.search(rest)
            yield Declared(f"{name}|{compatible[1] if compatible else ''}", CELL)


def _defines(text: str) -> dict[str, str]:
    return dict(_DEFINE.findall(text)) if "#define" in text else {}


def _block(text: str, start: int, end: str = "};") -> str:
    """Return the body of an initializer without its comments."""
    at = text.find(end, start)
    return _COMMENT.sub("", text[start : at if at >= 0 else len(text)])


def _names(body: str, defines: Mapping[str, str]) -> Iterator[str]:
    for field, literal, macro in _NAME.findall(body):
        if field in ("", "compatible") and (name := literal or defines.get(macro)):
            yield name


def _literal(text: str, defines: Mapping[str, str]) -> str:
    return text.strip('"') if text.startswith('"') else defines.get(text, "")
