"""A dump in words: one compact page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdumpbuild.analysis.dump import Crash, Frame

FRAMES = 12
"""How many frames of the stack are shown."""


def crash_lines(crash: Crash) -> list[str]:
    """Return cause, kernel, crashed task and the top of its stack, a line each."""
    lines = [
        f"  cause     {crash.cause or 'the log names none'}",
        f"  kernel    Linux {crash.release}, up {crash.uptime:.1f} s, {crash.tasks} tasks",
        f"  task      {crash.comm}, pid {crash.pid}, cpu {crash.cpu}",
    ]
    width = max((len(_name(frame)) for frame in crash.stack[:FRAMES]), default=0)
    for number, frame in enumerate(crash.stack[:FRAMES]):
        lines.append(f"  {'stack' if number == 0 else '':9} {_name(frame):{width}}  {frame.source}".rstrip())
    more = len(crash.stack) - FRAMES
    if more > 0:
        lines.append(f"  {'':9} … and {more} more")
    return lines


def _name(frame: Frame) -> str:
    return f"{frame.function} (inline)" if frame.inline else frame.function
