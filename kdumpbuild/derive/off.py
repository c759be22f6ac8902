"""What should be off in a capture kernel: devices that write into memory by themselves, and nobody stopped them.

The crashed kernel's devices go on as they were. One that has no driver in the capture kernel is left alone; one that
has a driver is set up a second time, which is where captures hang. So the list has two uses: drivers that must not be
in the capture kernel, and nodes to switch off in its device tree where it has them all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.derive import sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kdumpbuild.derive.derive import Derived
    from kdumpbuild.derive.match import Matcher
    from kdumpbuild.derive.nodes import DeviceNodes
    from kdumpbuild.formats.fdt import Node


@dataclass(frozen=True)
class Hazard:
    """A kind of device."""

    what: str
    names: str
    """Regular expression for node names without their unit address (Devicetree Specification, generic names)."""
    folders: tuple[str, ...]
    """Where drivers of this kind are."""
    why: str


HAZARDS: tuple[Hazard, ...] = (
    Hazard("remote processor", r"remoteproc.*|m4|cm4|cm7|dsp|r5f?|mcu|pru.*|.*-rproc",
           ("drivers/remoteproc/", "drivers/rpmsg/"), "runs firmware of its own; a driver would load it again"),
    Hazard("GPU", r"gpu.*|mali|v3d|vc4|vg|g2d|gpu3d", ("drivers/gpu/drm/etnaviv/", "drivers/gpu/drm/lima/",
           "drivers/gpu/drm/panfrost/", "drivers/gpu/drm/v3d/", "drivers/gpu/drm/msm/"), "may still be rendering"),
    Hazard("display", r"display.*|lcdif.*|lcdc|lcd.*|dcss|ipu|dsi.*|hdmi.*|hvs|vop.*|gfx|framebuffer|pixelvalve|crtc|"
           r"dpu|ldb|mixer|tcon.*|edp.*|txp|ltdc", ("drivers/gpu/drm/", "drivers/gpu/ipu-v3/", "drivers/video/fbdev/"),
           "still reads its picture from memory"),
    Hazard("camera or video codec", r"vpu.*|video-codec.*|csi.*|camera.*|isp.*|isi.*|jpeg.*|vdec|venc|pxp|dcmi|video.*",
           ("drivers/media/",), "may still be writing pictures into memory"),
    Hazard("network", r"ethernet.*|wifi.*|switch|mac|gmac.*|fec|can.*|ftgmac.*", ("drivers/net/",),
           "still receives into the crashed kernel's buffers"),
    Hazard("USB", r"usb.*|ehci|ohci|xhci|otg|dwc3|gadget|hub", ("drivers/usb/",),
           "its host controller still works on lists in the crashed kernel's memory"),
    Hazard("PCI Express", r"pcie.*|pci", ("drivers/pci/",), "behind it are bus masters of any kind"),
    Hazard("DMA controller", r"dma.*|edma.*|pdma|sdma|qdma|.*-dma", ("drivers/dma/",), "may be in a transfer"),
    Hazard("sound", r"sai.*|ssi.*|i2s.*|spdif.*|asrc|audio.*|sound.*|codec|hda|mcasp.*|esai.*|aud2htx|xcvr",
           ("sound/",), "streams by DMA"),
    Hazard("crypto", r"crypto.*|caam.*|sec|ce|hace|cryp|hash|aes|sham|acry", ("drivers/crypto/",),
           "works on queues in memory"),
    Hazard("disk controller that the dump does not go to", r"mmc.*|sdhci.*|sdmmc.*|sata.*|ahci.*|ufs.*|nand.*|gpmi.*",
           ("drivers/mmc/host/", "drivers/ata/", "drivers/ufs/", "drivers/mtd/nand/"), "may be in a transfer"),
)  # fmt: skip


@dataclass(frozen=True)
class Off:
    """A node that should be off."""

    node: Node
    hazard: Hazard
    symbols: tuple[str, ...]
    """The symbols of its drivers, as far as the tree tells."""


def hazards(nodes: DeviceNodes, derived: Derived, matcher: Matcher) -> list[Off]:
    """Return what should be off: switched-on devices of a dangerous kind that nothing of the capture hangs on."""
    kept = {need.node.path for need in derived.needs}
    kept |= {above.path for need in derived.needs for above in nodes.ancestors(need.node)}
    return list(_below(nodes.root, kept, matcher))


def turned_on(found: Iterable[Off], enabled: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return a sentence for each dangerous device whose own driver is in the capture kernel."""
    on, needed = set(enabled), set(wanted)
    told = []
    for off in found:
        drivers = [symbol for symbol in off.symbols[-1:] if symbol in on and symbol not in needed]
        if drivers:
            told.append(
                f"CONFIG_{drivers[0]} is on in the capture kernel: {off.node.path} ({off.hazard.what}) "
                f"{off.hazard.why}; leave it out, or use boot/capture-overlay.dtbo"
            )
    return told


def overlay_source(found: Iterable[Off], board: str, dtb: str) -> str:
    """Return the source of an overlay that switches the nodes off."""
    lines = [
        "// SPDX-License-Identifier: MIT",
        f"// What the capture kernel of {board} is better off without, derived from {dtb}.",
        "// For the tree that the capture kernel gets, never for the product's own: see docs/drivers.md.",
        "/dts-v1/;",
        "/plugin/;",
        "",
        "/ {",
    ]
    for number, off in enumerate(found):
        names = ", ".join(off.node.strings("compatible"))
        drivers = f"; driver: {', '.join(off.symbols)}" if off.symbols else ""
        lines += [
            f"\t// {off.hazard.what}: {off.hazard.why} ({names}{drivers})",
            f"\tfragment@{number} {{",
            f'\t\ttarget-path = "{off.node.path}";',
            "\t\t__overlay__ {",
            '\t\t\tstatus = "disabled";',
            "\t\t};",
            "\t};",
        ]
    return "\n".join([*lines, "};"]) + "\n"


def _below(node: Node, kept: set[str], matcher: Matcher) -> Iterator[Off]:
    """Yield what should be off below a node; below what is off, nothing more."""
    for child in node.children:
        if not child.enabled:
            continue
        hazard, symbols = _hazard(child, matcher) if child.path not in kept else (None, ())
        if hazard is not None:
            yield Off(child, hazard, symbols)
        else:
            yield from _below(child, kept, matcher)


def _hazard(node: Node, matcher: Matcher) -> tuple[Hazard | None, tuple[str, ...]]:
    names = node.strings("compatible")
    if not names or "reg" not in node.properties:
        return None, ()  # no device of its own: without registers, it reaches no memory
    drivers = matcher.of_kind(names, sources.DRIVER)
    for hazard in HAZARDS:
        if own := [driver for driver in drivers if driver.source.startswith(hazard.folders)]:
            return hazard, own[0].symbols
    if not drivers:
        for hazard in HAZARDS:
            if re.fullmatch(hazard.names, node.base_name):
                return hazard, ()
    return None, ()
