"""What the derived symbols need: lines that make each of them y on top of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.kconfig import solve, why
from kdumpbuild.kconfig.fragment import Fragment, Line
from kdumpbuild.kconfig.resolve import apply, assign_lines, unmet, winners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdumpbuild.kconfig.adapter import KernelKconfig

AVOIDED = frozenset({"COMPILE_TEST", "BROKEN", "STAGING", "MODULES", "EMBEDDED"})
"""Never a way to a driver that has to work."""
WHERE = Path("device-tree")
"""Stands for the file of derived lines."""


@dataclass(frozen=True)
class Request:
    """A symbol that is wanted."""

    symbol: str
    reason: str
    value: str = "y"
    machine: bool = False
    """Whether it stands for the board's family of SoCs."""
    needed: bool = True
    """Whether it is a fault when it cannot be reached; else it is a driver that this SoC's kernel cannot have."""


def fragment(
    kconfig: KernelKconfig, base: str | Path, below: Sequence[Fragment], requests: Sequence[Request],
    others: frozenset[str],
) -> Fragment:  # fmt: skip
    """Return the lines for what is requested, each with its reason, and for what those depend on.

    ``below`` are the fragments that are applied before; what they ask for stays. ``others`` are symbols for
    other families of SoCs than the board's: none is turned on.
    """
    asked_below, _ = winners(kconfig, below)
    apply(kconfig, base, asked_below)
    work = _Work(kconfig, {line.symbol: line.value for line in asked_below}, requests, others)
    # A symbol without a prompt comes true by others: those first, so that it does not take a way of its own.
    for request in sorted(requests, key=lambda r: not r.machine and not why.has_prompt(kconfig.syms[r.symbol])):
        work.take(request)
    return Fragment(WHERE, tuple(work.lines))


class _Work:
    """The lines so far, on top of a configuration that has them."""

    def __init__(
        self, kconfig: KernelKconfig, asked: dict[str, str], requests: Sequence[Request], others: frozenset[str]
    ) -> None:
        self.kconfig = kconfig
        self.lines: list[Line] = []
        self._asked = asked
        self._requests = {request.symbol: request for request in requests}
        self._others = others

    def take(self, request: Request) -> None:
        """Add the line of a request, and before it those that it needs."""
        if request.symbol in self._asked:
            return  # asked for already; or a line of the user's says otherwise, and that counts
        line = Line(request.symbol, request.value, False, WHERE, 0, request.reason)
        assign_lines(self.kconfig, [line])
        if unmet(self.kconfig, line) is not None and request.value == "y":
            found = self._search(request)
            if found is None and not request.needed:
                self.kconfig.assign(self.kconfig.syms[request.symbol], "n")
                return
            for name, value in sorted((found or {}).items()):
                if name != request.symbol and name not in self._asked:
                    self._add(self._means(name, value, request.symbol))
        self._add(line)

    def _search(self, request: Request) -> solve.Assignments | None:
        """Return what else has to be set: without another family of SoCs if that can be, or with a part of one."""
        if request.machine:
            return solve.reach(self.kconfig, request.symbol, "y", avoid=AVOIDED)
        found = solve.reach(self.kconfig, request.symbol, "y", avoid=AVOIDED | self._others)
        if found is None:
            strangers = frozenset(name for name in self._others if name.startswith("ARCH_"))
            found = solve.reach(self.kconfig, request.symbol, "y", avoid=AVOIDED | strangers)
        return found

    def _means(self, name: str, value: str, target: str) -> Line:
        own = self._requests.get(name)
        if own is not None and own.value == value:
            return Line(name, value, False, WHERE, 0, own.reason)
        return Line(name, value, False, WHERE, 0, f"Needed for {target}.", means=True)

    def _add(self, line: Line) -> None:
        self._asked[line.symbol] = line.value
        self.lines.append(line)
        assign_lines(self.kconfig, [line])
