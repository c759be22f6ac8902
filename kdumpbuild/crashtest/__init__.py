"""The proof: a real crash in QEMU, and a verdict from the disk and the dump."""

from __future__ import annotations

from kdumpbuild.crashtest.junit import to_junit
from kdumpbuild.crashtest.machine import has_watchdog, too_old
from kdumpbuild.crashtest.report import render
from kdumpbuild.crashtest.runner import Options, disk_faults, run_crashtest
from kdumpbuild.crashtest.triggers import TRIGGERS, Trigger, find_triggers
from kdumpbuild.crashtest.verdict import Verdict

__all__ = [
    "TRIGGERS", "Options", "Trigger", "Verdict", "disk_faults", "find_triggers", "has_watchdog", "render",
    "run_crashtest", "to_junit", "too_old",
]  # fmt: skip
