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
    Companion("drivers/usb/", ("SCSI", "BLK_DEV_SD", "USB", "USB_STORAGE"), "USB disks as block devices"),
    Companion("drivers/nvme/", ("BLK_DEV_NVME",), "NVMe disks"),
    Companion("drivers/pci/", ("PCI", "BLK_DEV_NVME"), "NVMe disks"),
    Companion("drivers/mtd/", ("MTD", "MTD_OF_PARTS", "MTD_BLOCK"), "flash with its partitions"),
    Companion("drivers/virtio/", ("VIRTIO_BLK",), "virtio disks"),
)
"""Between the controller and a device that one can write to."""
