"""What a device tree says about a board that is not known yet: architecture, console, storage, watchdogs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.checks.tables import consoles, watchdogs
from kdumpbuild.derive.nodes import DeviceNodes
from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from kdumpbuild.formats.fdt import Fdt, Node

# Compatibles of CPU cores (Linux, Documentation/devicetree/bindings/arm/cpus.yaml), by the architecture whose kernel
# they usually run. A 64-bit core can run a 32-bit kernel as well, which its tree does not tell.
_CORES = (
    ("arm64", r"arm,(armv8|cortex-(a3[45]|a5[357]|a6\d|a7[2-8]|a[257]\d\d|x\d)|neoverse-).*"),
    ("arm64", r"(apple|cavium|ampere|phytium),.*|qcom,(kryo|oryon|falkor).*|brcm,brahma-b53|samsung,mongoose.*"),
    ("arm64", r"nvidia,(tegra132-)?(denver|carmel).*|brcm,vulcan|nuvoton,.*b53|marvell,armada-?3700.*"),
    ("arm", r"arm,(cortex-a(5|7|8|9|12|15|17|32)|arm(7|9|10|11)\d+.*|armv7.*|pl.*)"),
    ("arm", r"qcom,(krait|scorpion).*|marvell,(pj4|sheeva|mohawk|feroceon|xsc3).*|brcm,brahma-b15|faraday,.*"),
    ("other", r"(riscv|sifive|thead|starfive|andestech|mips|mti|brcm,bmips|powerpc|ibm|fsl,p|fsl,e|intel|snps,arc).*"),
    ("other", r"(loongson|openrisc|opencores|altr,nios2|xlnx,microblaze|c-sky|hitachi|jcore|cdns,xtensa).*"),
)
_WORDS = {"riscv": "RISC-V", "sifive": "RISC-V", "powerpc": "PowerPC", "mips": "MIPS", "intel": "x86"}

# Kinds of storage by what their nodes are called or compatible with.
_STORAGE = (
    ("eMMC or SD", "mmcblk", r"(mmc|sdmmc|sdhci|sdhc|usdhc|esdhc|dwmmc|sdhost|sdio|emmc|sd)",
     r".*(mmc|sdhci|sdhc|dw-mshc|sdhost|pl18x|pl180|pl181).*"),
    ("NAND flash", "mtd", r"(nand-controller|nand|gpmi-nand|nandc)", r".*(nand|nfc).*"),
    ("SPI flash", "mtd", r"(flash|spi-flash|spi_flash|qspi-flash)", r"(jedec,spi-nor|.*m25p80|spi-nand)"),
    ("parallel flash", "mtd", r"(flash|nor)", r"(cfi-flash|jedec-flash|mtd-ram)"),
    ("SATA", "sd", r"(sata|ahci)", r".*(ahci|sata).*"),
    ("UFS", "sd", r"(ufs|ufshc)", r".*ufs(hc)?\b.*"),
    ("virtio", "vd", r"(virtio_mmio|virtio)", r"virtio,mmio"),
    ("PCI express (NVMe)", "nvme", r"(pcie|pci)", r".*pcie.*"),
    ("USB", "sd", r"(usb)", r".*(xhci|ehci|dwc3|dwc2|chipidea|musb).*"),
)  # fmt: skip
_RARE = ("PCI express (NVMe)", "USB", "SDIO")
"""Kinds that are on nearly every board, and whose bus is not what a product dumps to by default."""


@dataclass(frozen=True)
class Storage:
    """A storage controller, or a flash chip."""

    path: str
    alias: str
    kind: str
    device: str
    """Where its block device usually is: ``mmcblk2``; a stem like ``mmcblk`` when the number is not known."""
    enabled: bool
    detail: str
    """``non-removable``, bus width …, for people."""

    @property
    def line(self) -> str:
        """One line about it."""
        words = [self.path, f"alias {self.alias}" if self.alias else "", self.kind, self.detail]
        words.append("" if self.enabled else "DISABLED")
        return "  ".join(word for word in words if word)


@dataclass(frozen=True)
class Port:
    """A serial port that can be a console."""

    path: str
    alias: str
    tty: str
    """Name of its device, with the number that its alias gives; empty when its driver is not known."""


@dataclass(frozen=True)
class Dog:
    """A hardware watchdog."""

    path: str
    compatible: str
    timeout: int
    """``timeout-sec``; 0 when it is not given."""


class Hardware:
    """A board's device tree, asked for what a board file wants."""

    def __init__(self, tree: Fdt) -> None:
        self.tree = tree
        self.nodes = DeviceNodes(tree)
        self._alias: dict[str, str] = {}
        for name, path in self.nodes.aliases.items():
            node = tree.node(path)
            if node is not None and node.path not in self._alias:
                self._alias[node.path] = name

    @property
    def model(self) -> str:
        """The board's name."""
        return _clean(self.tree.root.string("model"))

    @property
    def soc(self) -> str:
        """The most general compatible of the board: mostly its SoC."""
        return _clean((self.tree.root.strings("compatible") or ("",))[-1])

    def alias(self, node: Node) -> str:
        """Return a node's first alias, or nothing."""
        return self._alias.get(node.path, "")

    def check_is_a_board(self) -> None:
        """Raise UserError for an overlay, and for what has no CPUs."""
        root = self.tree.root
        parts = [node.name for node in root.children if node.child("__overlay__") is not None]
        if parts or "__fixups__" in (node.name for node in root.children):
            raise user_error(
                "a device tree overlay, not a board's tree", where=self.tree.name,
                why=f"it has {', '.join(parts[:3]) or '__fixups__'}: changes to a tree that is not in it",
                hint=f"apply it first: fdtoverlay -i BASE.dtb -o whole.dtb {self.tree.name}",
            )  # fmt: skip

    def arch(self) -> str:
        """Return ``arm`` or ``arm64``, or nothing when the tree does not tell. Raises UserError for any other."""
        cpus = self.tree.root.child("cpus")
        cores = [
            compatible
            for cpu in (cpus.children if cpus else [])
            if cpu.string("device_type") == "cpu" or cpu.base_name == "cpu"
            for compatible in cpu.strings("compatible")
        ]
        found = {name for core in cores for name, pattern in _CORES if re.fullmatch(pattern, core.lower())}
        if found == {"other"}:
            word = next((w for key, w in _WORDS.items() if cores[0].lower().startswith(key)), "another architecture")
            raise user_error(
                f"a device tree of {word}", where=self.tree.name, why=f"its CPU is {_clean(cores[0])}",
                hint="kdumpbuild is for arm and arm64",
            )  # fmt: skip
        found.discard("other")
        return found.pop() if len(found) == 1 else ""

    # -- console ------------------------------------------------------------------------------------------------------

    def ports(self) -> list[Port]:
        """Return the serial ports that are switched on and whose driver is known."""
        return [self.port(node) for node in self.tree.root.walk() if self.nodes.available(node) and _tty(node)]

    def port(self, node: Node) -> Port:
        """Return what is known of a serial port."""
        alias, tty = self.alias(node), _tty(node)
        number = re.sub(r"\D", "", alias) if alias.startswith("serial") else "0"
        return Port(node.path, alias, f"{tty}{number}" if tty else "")

    def stdout(self) -> tuple[Port, str] | None:
        """Return the port that ``stdout-path`` names and its speed, or None."""
        chosen = self.tree.root.child("chosen")
        text = (chosen.string("stdout-path") or chosen.string("linux,stdout-path")) if chosen else ""
        name, _, options = text.partition(":")
        path = name if name.startswith("/") else self.nodes.aliases.get(name, "")
        node = self.tree.node(path) if path else None
        speed = re.match(r"\d+", options)
        return (self.port(node), speed[0] if speed else "") if node is not None else None

    # -- storage ------------------------------------------------------------------------------------------------------

    def storages(self) -> list[Storage]:
        """Return the storage controllers and flash chips, those that are switched on first."""
        found = [storage for node in self.tree.root.walk() if (storage := self.storage(node)) is not None]
        return sorted(found, key=lambda storage: (not storage.enabled, storage.kind in _RARE))

    def storage(self, node: Node) -> Storage | None:
        """Return what a node stores on, or None when it is no storage that we know."""
        names = node.strings("compatible")
        if not names:
            return None
        found = (
            (kind, stem)
            for kind, stem, name, compatible in _STORAGE
            if re.fullmatch(name, node.base_name) and any(re.fullmatch(compatible, text) for text in names)
        )
        kind, stem = next(found, ("", ""))
        if not kind:
            return None
        alias = self.alias(node)
        number = re.fullmatch(r"mmc(\d+)", alias)
        return Storage(
            path=node.path,
            alias=alias,
            kind=_mmc_kind(node) if stem == "mmcblk" else kind,
            # Since 5.10 the alias is the number (Linux, drivers/mmc/core/host.c).
            device=f"{stem}{number[1]}" if stem == "mmcblk" and number else stem,
            enabled=self.nodes.available(node),
            detail=_clean(names[0]),
        )

    def usual_storages(self) -> list[Storage]:
        """Return those that are switched on and that products dump to: no USB, no PCI, no SDIO."""
        return [s for s in self.storages() if s.enabled and s.kind not in _RARE]

    # -- watchdogs ----------------------------------------------------------------------------------------------------

    def dogs(self) -> list[Dog]:
        """Return the watchdogs that are switched on and whose driver is known."""
        found = []
        for node in self.tree.root.walk():
            compatible = next((c for c in node.strings("compatible") if c in watchdogs()), "")
            if compatible and self.nodes.available(node):
                found.append(Dog(node.path, compatible, node.cell("timeout-sec", 0)))
        return found


def _tty(node: Node) -> str:
    return next((consoles()[c].tty for c in node.strings("compatible") if c in consoles()), "")


def _mmc_kind(node: Node) -> str:
    if "non-removable" in node.properties or node.child("mmc-card") is not None:
        return "SDIO" if "cap-power-off-card" in node.properties or node.child("wifi") is not None else "eMMC"
    removable = ("cd-gpios", "broken-cd", "cap-sd-highspeed", "disable-wp", "wp-gpios")
    return "SD card" if any(name in node.properties for name in removable) else "eMMC or SD"


def _clean(text: str) -> str:
    """Return a text of the tree without what would break a line or a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)[:120]
