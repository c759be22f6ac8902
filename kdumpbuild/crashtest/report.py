"""The verdict for people: one compact page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.analysis.report import crash_lines
from kdumpbuild.board.size import format_size, human

if TYPE_CHECKING:
    from kdumpbuild.crashtest.standin import StandIn
    from kdumpbuild.crashtest.verdict import Check, Verdict


def render(verdict: Verdict) -> str:
    """Return the report, with a line break at its end."""
    lines = [f"crash test of {verdict.board}: {verdict.trigger}", ""]
    if verdict.stand_in is not None:
        lines += [f"  QEMU has no model of this board: {verdict.stand_in.machine} stood in for it", ""]
    if verdict.crash is not None:
        lines += [*crash_lines(verdict.crash), ""]
    if verdict.vmcore_size is not None or verdict.dmesg_size is not None:
        lines += [*_figures(verdict), ""]
    lines += _checks(verdict.checks)
    lines.append("")
    if verdict.failure is not None:
        lines += _failure(verdict)
    if verdict.stand_in is not None:
        lines += _stand_in(verdict.stand_in, passed=verdict.passed)
    places = verdict.places
    lines += [f"  {name:9} {place}" for name, place in places.items()]
    if verdict.passed and "dump" in places:
        lines.append(f"  open it   kdumpbuild open {_quoted(places['dump'] + '/vmcore')} {_quoted(places['vmlinux'])}")
    where = f" on {verdict.stand_in.machine} in its place" if verdict.stand_in is not None else ""
    lines += ["", f"{'PASS' if verdict.passed else 'FAIL'}  {verdict.board} {verdict.trigger}{where}"
              + ("" if verdict.failure is None else f": {verdict.failure.what}")]  # fmt: skip
    return "\n".join(lines) + "\n"


def _stand_in(stand_in: StandIn, *, passed: bool) -> list[str]:
    parts = (
        ("the board's own in this test", stand_in.same),
        ("not the board's", stand_in.different),
        ("so this proves" if passed else "had it passed, it would prove", stand_in.proves),
        ("and does not prove", stand_in.does_not_prove),
    )
    return [line for title, texts in parts for line in (f"  {title}:", *(f"    - {text}" for text in texts))] + [""]


def _figures(verdict: Verdict) -> list[str]:
    t = verdict.times
    rows = [
        ("capture kernel up", t.capture, ""),
        ("dmesg durable", t.dmesg, _size(verdict.dmesg_size)),
        ("vmcore durable", t.vmcore, f"{_size(verdict.vmcore_size)} {verdict.form}".strip()),
        ("back in production", t.back, ""),
    ]
    lines = ["  from the crash to"]
    lines += [
        f"    {name:19} {f'{seconds:6.2f} s' if seconds is not None else '     -  '}   {size}".rstrip()
        for name, seconds, size in rows
    ]
    lines.append(f"  reserved  {format_size(verdict.reserved)} of {human(verdict.ram)}, in QEMU {verdict.qemu}")
    return lines


def _size(size: int | None) -> str:
    return "" if size is None else human(size)


def _checks(checks: tuple[Check, ...]) -> list[str]:
    marks = {True: "ok", False: "FAIL", None: "-"}
    return [f"  {marks[check.ok]:4}  {check.name}: {check.detail}" for check in checks]


def _failure(verdict: Verdict) -> list[str]:
    failure = verdict.failure
    if failure is None:
        return []
    lines = [f"  what went wrong: {failure.what} [{failure.code}]"]
    lines += [f"    {line}" for line in failure.why.splitlines()]
    for number, line in enumerate(failure.hint.splitlines()):
        lines.append(f"    {'' if number else 'hint:':5} {line}")
    if verdict.console_tail:
        whose = {1: "production kernel's", 2: "capture kernel's"}.get(failure.boot, "whole")
        lines += ["", f"  the end of the {whose} console output:"]
        lines += [f"    {line}" for line in verdict.console_tail.splitlines()]
    return [*lines, ""]


def _quoted(text: str) -> str:
    return f"'{text}'" if any(c in text for c in " \t'\"$\\") else text
