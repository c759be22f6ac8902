"""Options that come with a driver although no node says so. Data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Companion:
    """What a driver is useless without."""

    folder: str
    """Where the driver's source is."""
    symbols: tuple[str, ...]
    why: str


STORAGE: tuple[Companion, ...] = (
    Companion("drivers/mmc/", ("MMC", "MMC_BLOCK"), "cards and eMMC as block devices"),
    Companion("drivers/ata/", ("SCSI", "BLK_DEV_SD", "ATA"), "disks as block devices"),
    Companion("drivers/ufs/", ("SCSI", "BLK_DEV_SD"), "disks as block devices"),
    Companion("drivers/scsi/ufs/", ("SCSI", "BLK_DEV_SD"), "disks as block devices"),
    Companion("drivers/usb/", ("USB", "SCSI", "BLK_DEV_SD", "USB_STORAGE"), "USB disks as block devices"),
    Companion("drivers/nvme/", ("BLK_DEV_NVME",), "NVMe disks"),
    Companion("drivers/pci/", ("PCI", "BLK_DEV_NVME"), "NVMe disks"),
    Companion("drivers/mtd/", ("MTD", "MTD_OF_PARTS", "MTD_BLOCK"), "flash with its partitions"),
    Companion("drivers/virtio/", ("VIRTIO_BLK",), "virtio disks"),
)
"""Between the controller and a device that one can write to."""

CONSOLE: tuple[Companion, ...] = (
    Companion("drivers/tty/serial/8250/", ("SERIAL_8250", "SERIAL_8250_CONSOLE"), "the console half of all 8250s"),
)
"""Consoles whose console half has a symbol of another name than the driver with ``_CONSOLE`` behind it."""

PORTS_8250 = ("SERIAL_8250_NR_UARTS", "SERIAL_8250_RUNTIME_UARTS")
"""How many 8250 ports there can be; 4 by default. A console with a higher number is not there at all."""
PORTS_DEFAULT = 4


@dataclass(frozen=True)
class CellUse:
    """Which of the devices that a multi-function driver makes are needed, by what leads to its node."""

    property: str
    """Regular expression for the property; a start's role in its place where nothing leads there."""
    folders: tuple[str, ...]
    """Where the drivers of those devices are."""


CELLS: tuple[CellUse, ...] = (
    CellUse(r".+-supply", ("drivers/regulator/",)),
    CellUse(r"(assigned-)?clocks|assigned-clock-parents", ("drivers/clk/",)),
    CellUse(r"(.+-)?gpios?", ("drivers/gpio/", "drivers/pinctrl/")),
    CellUse(r"pinctrl-\d+", ("drivers/pinctrl/",)),
    CellUse(r"power-domains", ("drivers/pmdomain/", "drivers/soc/")),
    CellUse(r"resets", ("drivers/reset/", "drivers/pmdomain/", "drivers/soc/")),
    CellUse(r"watchdog", ("drivers/watchdog/",)),
    CellUse(r"reset", ("drivers/power/reset/", "drivers/watchdog/")),
)
