"""Which properties of a node lead to another node that has to work first. Data, with the reason for each choice.

The forms of the properties are those of the device tree bindings (Linux, Documentation/devicetree/bindings) and of
drivers/of/property.c, which follows the same references to order devices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.derive.nodes import DeviceNodes
    from kdumpbuild.formats.fdt import Node


@dataclass(frozen=True)
class Reference:
    """A kind of property that holds phandles."""

    pattern: str
    """Regular expression for the whole name."""
    cells: str
    """The target's property that says how many cells follow a phandle; empty when none do."""
    needed: bool
    why: str
    unless: str = ""
    """Regular expression for names that look alike and are something else."""

    def fits(self, name: str) -> bool:
        """Whether a property of that name is of this kind."""
        if re.fullmatch(self.pattern, name) is None:
            return False
        return not self.unless or re.fullmatch(self.unless, name) is None


REFERENCES: tuple[Reference, ...] = (
    Reference("clocks", "#clock-cells", True, "a driver that cannot get its clock defers for ever"),
    Reference("assigned-clocks", "#clock-cells", True, "set before the driver starts; a failure ends its probing"),
    Reference("assigned-clock-parents", "#clock-cells", True, "set before the driver starts"),
    Reference("resets", "#reset-cells", True, "the device may have been left in reset"),
    Reference(r"pinctrl-\d+", "", True, "the driver core applies the pins before the driver starts"),
    Reference(".+-supply", "", True, "a driver that cannot get its regulator defers for ever"),
    Reference("power-domains", "#power-domain-cells", True, "the domain may be off, and then so is the device"),
    Reference("iommus", "#iommu-cells", True, "the crashed kernel left it translating"),
    Reference("phys", "#phy-cells", True, "the driver does not start without it"),
    Reference("mmc-pwrseq", "", True, "the card's power and reset"),
    Reference("mboxes", "#mbox-cells", True, "the way to the firmware that the driver talks to"),
    Reference(r"(.+-)?gpios?", "#gpio-cells", True, "chip select, card detect and power lines: without them it defers",
              unless="nr-gpios?|ngpios|.*,nr-gpios"),
    Reference("hwlocks", "#hwlock-cells", True, "guards registers that another CPU uses too"),
    Reference("io-channels", "#io-channel-cells", False, "measures; nothing that saving a dump waits for"),
    Reference("dmas", "#dma-cells", False,
              "with no DMA engine in the kernel a request fails at once, and the driver moves data itself"),
    Reference("nvmem-cells", "", False, "calibration; without CONFIG_NVMEM the driver goes on with its defaults"),
    Reference("interconnects", "#interconnect-cells", False, "bandwidth requests; nothing without CONFIG_INTERCONNECT"),
    Reference("operating-points-v2", "", False, "frequency scaling; a capture kernel stays at what it finds"),
    Reference("memory-region", "", False, "memory, no device"),
    Reference("cooling-device", "#cooling-cells", False, "a capture kernel runs for seconds"),
    Reference("remote-endpoint", "", False, "media and display links"),
)  # fmt: skip

DMA_NEEDED = re.compile(r"ti,.*-hsmmc")
"""Storage whose driver has no other way than DMA (Linux, drivers/mmc/host/omap_hsmmc.c: probe fails without)."""

_OWN = re.compile(r"[a-z0-9]+,[a-z0-9,_-]+|regmap|syscon|offset-regmap|gpr|firmware")
"""A vendor's own property, or one of the old names for a system controller."""


@dataclass(frozen=True)
class Edge:
    """A reference from one node to another."""

    name: str
    """The property."""
    target: Node
    needed: bool
    why: str


def edges(nodes: DeviceNodes, node: Node) -> Iterator[Edge]:
    """Yield what a node refers to, interrupts included, in the order of the table."""
    for reference in REFERENCES:
        for name in node.properties:
            if reference.fits(name):
                needed = reference.needed or (name == "dmas" and _needs_dma(node))
                for target in _targets(nodes, node, name, reference.cells):
                    yield Edge(name, target, needed, reference.why)
    yield from _interrupts(nodes, node)
    for name in node.properties:
        if _OWN.fullmatch(name):
            yield from _system_controllers(nodes, node, name)


def _needs_dma(node: Node) -> bool:
    return any(DMA_NEEDED.fullmatch(c) for c in node.strings("compatible"))


def _targets(nodes: DeviceNodes, node: Node, name: str, cells: str) -> Iterator[Node]:
    values = node.cells(name)
    at = 0
    while at < len(values):
        target = nodes.target(values[at])
        at += 1
        if target is None:
            if values[at - 1] not in (0, 0xFFFFFFFF):
                return  # not a list of phandles, or one that belongs to nobody
            continue
        yield target
        at += target.cell(cells, 0) if cells else 0


def _interrupts(nodes: DeviceNodes, node: Node) -> Iterator[Edge]:
    why = "a driver that cannot get its interrupt defers for ever"
    if "interrupts-extended" in node.properties:
        for target in _targets(nodes, node, "interrupts-extended", "#interrupt-cells"):
            yield Edge("interrupts-extended", target, True, why)
    elif "interrupts" in node.properties or "interrupt-controller" in node.properties or node.path == "/":
        target_or_none = nodes.interrupt_parent(node)
        if target_or_none is not None:
            yield Edge("interrupts", target_or_none, True, why)


def _system_controllers(nodes: DeviceNodes, node: Node, name: str) -> Iterator[Edge]:
    """Yield a node that a vendor's own property points at, if it is one that others reach through a phandle only."""
    values = node.cells(name)
    target = nodes.target(values[0]) if values and len(node.properties[name]) % 4 == 0 else None
    if target is not None and values[0] > 0 and "syscon" in target.strings("compatible"):
        yield Edge(name, target, True, "registers that the driver shares with others")
    elif target is not None and name in ("firmware", "raspberrypi,firmware"):
        yield Edge(name, target, True, "the firmware that does the work")
