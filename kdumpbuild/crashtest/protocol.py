"""What host and test machine tell each other: a plan and records on the disk, a few lines on the console.

Files in :data:`FOLDER` of the dump target, each with lines of ``key=value``:

``plan``
    written by the host before the start: what to crash with, and the marker;
``boot-1``, ``boot-2``
    written by the machine each time that its production system is up: kernel, boot id, reservation, and at the
    first time how loading went;
``load.log``
    what the load script printed;
``records/``
    what other ways kept of the log over the reset (pstore, an MTD partition), read at the second time;
``fetched``
    there when the machine has copied the dumps to the test's own disk, which it does for a file system that only a
    kernel can read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.crashtest.triggers import Trigger

FOLDER = "crashtest"
COLLECTED = "collected"
"""What kdump-collect and kdump-ctl said, in :data:`FOLDER`."""
FETCHED = "fetched"
"""The file in :data:`FOLDER` that says that the dumps were copied to the test's own disk."""
RECORDS = "records"
"""The folder with other ways' records, in :data:`FOLDER`."""
MARKER_LENGTH = 15
"""The kernel's TASK_COMM_LEN without the final NUL."""

# The production system's words on the console. Its init, templates/crashtest/init, has the other end of them.
SAY_TRIGGER = "crashtest: trigger "
SAY_BACK = "crashtest: back in production"
SAY_DONE = "crashtest: done"
SAY_NO_DISK = "crashtest: no dump target "

_KEY = re.compile(r"[a-z_]+")


@dataclass(frozen=True)
class Means:
    """What the production system does besides crashing."""

    watchdog: int = 0
    """Seconds to which the machine's hardware watchdog is set and from then on fed; 0 for a machine without one."""
    kdump: bool = True
    """Whether a capture kernel is loaded before the crash."""
    reset: bool = False
    """Whether the machine resets itself some seconds after a trigger that came back."""
    collect: bool = False
    """Whether the dumps are filed after the reboot by kdump-collect; what it and kdump-ctl say is kept."""
    cpu: int | None = None
    """The CPU that the crash is on; None for any."""
    mtd: str = ""
    """Name of the MTD partition whose beginning is kept as a record after the reset."""


def plan_text(trigger: Trigger, marker: str, means: Means | None = None) -> str:
    """Return the plan. Raises ValueError for a marker that cannot be a task's name."""
    means = means or Means()
    if not re.fullmatch(r"[A-Za-z0-9-]+", marker) or len(marker) > MARKER_LENGTH:
        raise ValueError(f"{marker!r} cannot be a task's name")
    values = {
        "marker": marker, "trigger": trigger.name, "file": trigger.file, "text": trigger.text, "how": trigger.how,
        "wait": trigger.wait, "poke": trigger.poke, "watchdog": means.watchdog, "kdump": int(means.kdump),
        "reset": int(means.reset), "collect": int(means.collect), "mtd": means.mtd,
        "cpu": "" if means.cpu is None else means.cpu,
    }  # fmt: skip
    return "".join(f"{key}={value}\n" for key, value in values.items())


def parse_pairs(text: str) -> dict[str, str]:
    """Return the lines ``key=value``, the last one of a key; other lines are passed over."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and _KEY.fullmatch(key):
            found[key] = value
    return found


@dataclass(frozen=True)
class BootRecord:
    """What the production system wrote when it was up."""

    release: str
    boot_id: str
    reserved: int
    """Bytes that ``/sys/kernel/kexec_crash_size`` tells of."""
    load_status: int | None
    """Exit code of the load script; None when it has not run to its end."""
    loaded: bool
    """What ``/sys/kernel/kexec_crash_loaded`` told after it."""
    no_trigger: bool
    """Whether the trigger's file was missing."""
    returned: bool
    """Whether writing to the trigger's file came back without a crash."""
    watchdog: bool = False
    """Whether the hardware watchdog was running."""
    by_watchdog: bool = False
    """Whether the hardware watchdog says that the boot is its doing."""


def read_boot_record(path: Path) -> BootRecord | None:
    """Return a boot record, or None when there is none or it was never finished."""
    try:
        pairs = parse_pairs(path.read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not pairs.get("boot_id"):
        return None
    return BootRecord(
        release=pairs.get("release", ""),
        boot_id=pairs["boot_id"],
        reserved=_number(pairs.get("crash_size")) or 0,
        load_status=_number(pairs.get("load_status")),
        loaded=pairs.get("crash_loaded") == "1",
        no_trigger=pairs.get("no_trigger") == "1",
        returned=pairs.get("returned") == "1",
        watchdog=pairs.get("watchdog") == "1",
        # WDIOF_CARDRESET of include/uapi/linux/watchdog.h.
        by_watchdog=bool((_number(pairs.get("watchdog_status")) or 0) & 0x20),
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
