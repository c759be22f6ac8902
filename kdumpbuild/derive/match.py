"""Which symbols a node's driver needs: its ``compatible``, most specific name first, held against the tree's index."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kdumpbuild.derive import sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kdumpbuild.derive.index import TreeIndex
    from kdumpbuild.formats.fdt import Node

BUSES = frozenset({"simple-bus", "simple-mfd", "isa", "arm,amba-bus"})
"""Names whose children the kernel's core makes devices of (Linux, drivers/of/platform.c)."""

BY_CORE: tuple[tuple[str, str], ...] = (
    ("syscon", "drivers/mfd/syscon.c"),
    (r"arm,psci(-\d\.\d)?", "drivers/firmware/psci/psci.c"),
    (r".*", "arch/arm/mm/cache-l2x0.c"),
)
"""Names, and the file that looks for them by itself and has no match table of a driver."""

_NEVER = (
    "drivers/cpuidle/", "drivers/cpufreq/", "drivers/devfreq/", "drivers/thermal/", "drivers/perf/",
    "drivers/hwtracing/", "drivers/edac/", "drivers/interconnect/", "drivers/crypto/", "drivers/dma-buf/",
)  # fmt: skip
"""Drivers that save power, count or measure: what they drive works without them."""

_ARM_CELL = re.compile(r"arm,(?:pl|sp)(\d{3})")


@dataclass(frozen=True)
class Chosen:
    """A driver that was chosen for a node."""

    compatible: str
    source: str
    symbols: tuple[str, ...]
    kind: str = sources.DRIVER


@dataclass(frozen=True)
class Match:
    """What was found for a node."""

    drivers: tuple[Chosen, ...] = ()
    candidates: tuple[Chosen, ...] = ()
    """More than one driver, and no way to tell which."""
    seen_in: tuple[Chosen, ...] = ()
    """Drivers of something else that look for the name."""
    nothing: bool = False
    """Whether it is known that the node needs no driver."""

    @property
    def found(self) -> bool:
        """Whether it is known what the node needs."""
        return bool(self.drivers) or self.nothing

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols, each once."""
        return tuple(dict.fromkeys(symbol for driver in self.drivers for symbol in driver.symbols))

    @property
    def early(self) -> bool:
        """Whether all drivers are of the kind that looks for its nodes in the whole tree."""
        return bool(self.drivers) and all(driver.kind in sources.EARLY for driver in self.drivers)


class Symbols(Protocol):
    """What is asked about the kernel's symbols."""

    def possible(self, symbol: str, never: frozenset[str]) -> bool:
        """Whether a symbol can be on for the architecture while others never are."""

    def related(self, symbol: str) -> set[str]:
        """Return what a symbol depends on or selects."""


class Matcher:
    """Finds drivers for nodes."""

    def __init__(self, index: TreeIndex, symbols: Symbols, answers: Mapping[str, str]) -> None:
        """``answers`` come from the board file."""
        self.index = index
        self.symbols = symbols
        self.answers = answers
        self.others: frozenset[str] = frozenset()
        """Symbols that stand for other families of SoCs than the board's."""
        self._known: dict[str, Match] = {}
        self._by_cell = {
            cell[1]: cell[0] for cells in index.cells.values() for cell in cells if len(cell) > 1 and cell[1]
        }

    def set_machine(self, symbols: Iterable[str]) -> None:
        """Say which family of SoCs the board is of: among drivers, those for other families do not count."""
        families = frozenset(self.index.platforms)
        own, new = set(symbols), set(symbols)
        while new:  # the families that the board's own is a part of: ARCH_BCM of ARCH_BCM2835
            new = {name for symbol in new for name in self.symbols.related(symbol) if name in families} - own
            own |= new
        self.others = families - own
        self._known.clear()

    def match(self, node: Node) -> Match:
        """Return the drivers of a node."""
        if node.path not in self._known:
            self._known[node.path] = self._match(node)
        return self._known[node.path]

    def _match(self, node: Node) -> Match:
        names = node.strings("compatible")
        for name in names:
            if name in self.answers:
                return Match(self._answer(name), nothing=True)
        drivers = self._core(names)
        bus = bool(BUSES.intersection(names))
        for name in names:
            if name in BUSES:
                continue
            chosen, unclear = self._by_name(name)
            if not chosen and not unclear:
                chosen = self._amba(node, name) if "arm,primecell" in names else self._by_cell_name(name)
            if unclear:
                return Match(tuple(drivers), candidates=unclear)
            if chosen:
                return Match((*chosen, *drivers), nothing=bus)
        if drivers or bus:
            return Match(tuple(drivers), nothing=bus)
        return Match(seen_in=tuple(self._usable(names, sources.LOOKUP)))

    def of_kind(self, names: Iterable[str], kind: str) -> list[Chosen]:
        """Return what is declared as one kind, for the first of the names that has any."""
        for name in names:
            if found := self._usable([name], kind):
                return found
        return []

    def kinds(self, node: Node) -> set[str]:
        """Return the kinds of all that is declared for a node's names."""
        return {c.kind for name in node.strings("compatible") for c in self.index.names.get(name, [])}

    def cells(self, source: str, folders: tuple[str, ...]) -> list[Chosen]:
        """Return the drivers in some folders for the devices that a multi-function driver makes.

        The table may stand in another file of the same driver: ``rk8xx-i2c.c`` and ``rk8xx-core.c``.
        """
        found: dict[str, Chosen] = {}
        stem = re.split(r"[-_.]", source)[0]
        for file, cells in self.index.cells.items():
            if file != source and not (file.startswith(stem) and re.split(r"[-_.]", file)[0] == stem):
                continue
            for name, *_ in cells:
                for driver in self.index.platform.get(name, []):
                    if driver.startswith(folders) and (chosen := self._choose(name, driver, sources.PLATFORM)):
                        found[driver] = chosen
        return list(found.values())

    def _answer(self, name: str) -> tuple[Chosen, ...]:
        symbols = tuple(s.removeprefix("CONFIG_") for s in self.answers[name].replace(",", " ").split())
        return (Chosen(name, "the board file's answer", symbols),) if symbols else ()

    def _core(self, names: tuple[str, ...]) -> list[Chosen]:
        found = []
        for pattern, source in BY_CORE:
            for name in names:
                known = any(c.source == source for c in self.index.names.get(name, []))
                if known and re.fullmatch(pattern, name) and (chosen := self._choose(name, source)):
                    found.append(chosen)
                    break
        return found

    def _by_name(self, name: str) -> tuple[list[Chosen], tuple[Chosen, ...]]:
        """Return the drivers for a name, one of each kind, or those between which nothing decides."""
        by_kind: dict[str, dict[tuple[str, ...], Chosen]] = {}
        for candidate in self.index.names.get(name, []):
            if candidate.kind in (sources.LOOKUP, sources.MACHINE) or candidate.source.startswith(_NEVER):
                continue
            if chosen := self._choose(name, candidate.source, candidate.kind):
                by_kind.setdefault(candidate.kind, {}).setdefault(chosen.symbols, chosen)
        found: list[Chosen] = []
        for choices in by_kind.values():
            own = [chosen for chosen in choices.values() if self._owned(chosen)]
            if len(own or choices) > 1:
                return [], tuple(own or choices.values())
            found += own or choices.values()
        return found, ()

    def _usable(self, names: Iterable[str], kind: str) -> list[Chosen]:
        """Return the files that declare names as a kind, without those of other families of SoCs."""
        found = {
            candidate.source: self._choose(name, candidate.source, kind)
            for name in names
            for candidate in self.index.names.get(name, [])
            if candidate.kind == kind
        }
        return [chosen for chosen in found.values() if chosen is not None and not self._foreign(chosen.symbols)]

    def _by_cell_name(self, name: str) -> list[Chosen]:
        """Return the driver of a device that a multi-function driver makes for a node of its own."""
        driver = self._by_cell.get(name, "")
        found = [self._choose(name, source, sources.PLATFORM) for source in self.index.platform.get(driver, [])]
        return [chosen for chosen in found if chosen is not None]

    def _amba(self, node: Node, name: str) -> list[Chosen]:
        """Return the driver of an ARM PrimeCell: matched by peripheral ID, of which the name gives the part number."""
        given = node.cells("arm,primecell-periphid")
        part = _ARM_CELL.fullmatch(name)
        # Designer ARM is 0x41; the part number's digits are those of the cell's name (PL011 TRM, UARTPeriphID).
        number = given[0] if given else 0x41000 | int(part[1], 16) if part else None
        if number is None:
            return []
        found = []
        for wanted, mask, source in self.index.amba:
            if (number & mask) == wanted or (not given and (number & mask & 0xFFFFF) == wanted & 0xFFFFF):
                chosen = self._choose(name, source)
                if chosen and chosen not in found:
                    found.append(chosen)
        return found

    def _choose(self, name: str, source: str, kind: str = sources.DRIVER) -> Chosen | None:
        """Return a file as a choice, if it can be compiled for the architecture at all.

        Of several ways to get it compiled, that of the board's own family comes first, then the shortest.
        """
        alternatives = [
            gate for gate in self.index.gates.get(source, [])
            if all(self.symbols.possible(symbol, self.others) for symbol in gate)
        ]  # fmt: skip
        if not alternatives:
            return None
        best = min((len(self._foreign(gate)), len(gate), gate) for gate in alternatives)
        return Chosen(name, source, tuple(best[2]), kind)

    def _foreign(self, symbols: Iterable[str]) -> frozenset[str]:
        """Return the symbols that stand for other families of SoCs than the board's."""
        return self.others.intersection(symbols)

    def _owned(self, chosen: Chosen) -> bool:
        return not self._foreign(chosen.symbols)
