"""Which symbols a node's driver needs: its ``compatible``, most specific name first, held against the tree's index."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.derive import sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kdumpbuild.derive.index import TreeIndex
    from kdumpbuild.formats.fdt import Node

NOTHING = frozenset({"simple-bus", "simple-mfd", "isa", "arm,amba-bus", "regulator-fixed-domain", "shared-dma-pool"})
"""Names whose children the kernel's core makes devices of, or that are no device (Linux, drivers/of/platform.c)."""

BY_CORE: tuple[tuple[str, str], ...] = (
    ("syscon", "drivers/mfd/syscon.c"),
    (r"arm,psci(-\d\.\d)?", "drivers/firmware/psci/psci.c"),
    (r".*", "arch/arm/mm/cache-l2x0.c"),
    (r".*", "arch/arm/kernel/smp_scu.c"),
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


@dataclass(frozen=True)
class Match:
    """What was found for a node."""

    drivers: tuple[Chosen, ...] = ()
    candidates: tuple[Chosen, ...] = ()
    """More than one driver, and no way to tell which."""
    seen_in: tuple[str, ...] = ()
    """Files that look for the name themselves; the node needs no driver then."""
    answered: bool = False

    @property
    def found(self) -> bool:
        """Whether it is known what the node needs."""
        return bool(self.drivers) or self.answered

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols, each once."""
        return tuple(dict.fromkeys(symbol for driver in self.drivers for symbol in driver.symbols))


class Matcher:
    """Finds drivers for nodes."""

    def __init__(self, index: TreeIndex, possible: Callable[[str], bool], answers: Mapping[str, str]) -> None:
        """``possible`` says whether a symbol can be on for the architecture; ``answers`` come from the board file."""
        self.index = index
        self.possible = possible
        self.answers = answers

    def match(self, node: Node) -> Match:
        """Return the drivers of a node."""
        names = node.strings("compatible")
        for name in names:
            if name in self.answers:
                return Match(self._answer(name), answered=True)
        drivers = list(self._core(names))
        for name in names:
            if name in NOTHING:
                continue
            chosen, unclear = self._by_name(name)
            if not chosen and not unclear and "arm,primecell" in names:
                chosen = self._amba(node, name)
            if unclear:
                return Match(tuple(drivers), candidates=unclear)
            if chosen:
                return Match((*chosen, *drivers))
        if drivers or (names and all(name in NOTHING for name in names)):
            return Match(tuple(drivers), answered=True)
        files = [c.source for name in names for c in self.index.names.get(name, []) if c.kind == sources.LOOKUP]
        return Match(seen_in=tuple(dict.fromkeys(file for file in files if self._choose("", file))))

    def machine(self, root: Node) -> list[Chosen]:
        """Return what a board needs as a machine: its DT_MACHINE_START (arm), else what the kernel builds it under."""
        names = root.strings("compatible")
        for name in names:
            found = [self._choose(name, c.source) for c in self.index.names.get(name, []) if c.kind == sources.MACHINE]
            if any(found):
                return [chosen for chosen in found if chosen]
        return []

    def cpu_method(self, method: str) -> list[Chosen]:
        """Return what starts further CPUs by a method (arm)."""
        found = [self._choose(method, c.source) for c in self.index.names.get(method, []) if c.kind == "cpu"]
        return [chosen for chosen in found if chosen]

    def kinds(self, node: Node) -> set[str]:
        """Return the kinds of all that is declared for a node's names."""
        return {c.kind for name in node.strings("compatible") for c in self.index.names.get(name, [])}

    def _answer(self, name: str) -> tuple[Chosen, ...]:
        symbols = tuple(s.removeprefix("CONFIG_") for s in self.answers[name].replace(",", " ").split())
        return (Chosen(name, "the board file", symbols),) if symbols else ()

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
            if chosen := self._choose(name, candidate.source):
                by_kind.setdefault(candidate.kind, {}).setdefault(chosen.symbols, chosen)
        found: list[Chosen] = []
        for choices in by_kind.values():
            if len(choices) > 1:
                return [], tuple(choices.values())
            found += choices.values()
        return found, ()

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

    def _choose(self, name: str, source: str) -> Chosen | None:
        """Return a file as a choice, if it can be compiled for the architecture at all."""
        alternatives = [
            gate for gate in self.index.gates.get(source, []) if all(self.possible(symbol) for symbol in gate)
        ]
        if not alternatives:
            return None
        return Chosen(name, source, _simplest(alternatives))


def _simplest(gates: Iterable[list[str]]) -> tuple[str, ...]:
    """Return the alternative with the fewest symbols, of several the first by name."""
    return tuple(min((len(gate), gate) for gate in gates)[1])
