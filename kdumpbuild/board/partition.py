"""What the kernel's name of a block device says: which disk it is of, and which partition of that."""

from __future__ import annotations

import re

_NAME = re.compile(r"(/dev/(?:(?:mmcblk\d+|nvme\d+n\d+|loop\d+)(?=p\d)|(?:[shv]|xv)d[a-z]+))p?(\d+)")


def disk_and_number(device: str) -> tuple[str, int]:
    """Return the disk and the number of a partition; for anything else the device itself and 0.

    The names are Linux's: ``/dev/mmcblk0p2``, ``/dev/nvme0n1p2``, ``/dev/sda2`` (block/genhd.c, disk_name).
    """
    match = _NAME.fullmatch(device)
    return (match[1], int(match[2])) if match else (device, 0)
