"""Opening a dump and telling what it holds."""

from __future__ import annotations

from kdumpbuild.analysis.dump import Crash, Dump, Frame, Task, open_dump

__all__ = ["Crash", "Dump", "Frame", "Task", "open_dump"]
