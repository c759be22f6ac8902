"""From a product's .config to the smallest production fragment that makes it ready for kdump.

::

    .config --> requested lines that hold already                 left out
                   |
                   v
    the others + lines marked "means" + what a search finds where that is not enough
                   |
                   v
    take away, one by one, each line without which every requested line holds as well
                   |
                   v
    resolve .config + the rest once more: every requested line must hold    --> fragment, with reasons
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import solve, why
from kdumpbuild.kconfig.fragment import Fragment, Line
from kdumpbuild.kconfig.resolve import Resolution, Unmet, Waived, apply, assign_lines, resolve, unmet, winners

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdumpbuild.kconfig.adapter import KernelKconfig
    from kdumpbuild.kconfig.resolve import Waives

_SEARCH = Path("search")
"""Stands for the file of the lines that the search adds."""


@dataclass(frozen=True)
class Minimal:
    """The smallest fragment, and how it was come by."""

    text: str
    """The fragment: for merge_config.sh, as ``.cfg`` of Yocto, as fragment of Buildroot. May be comments only."""
    lines: tuple[Line, ...]
    """The lines in it."""
    satisfied: tuple[Line, ...]
    """Requested lines that hold in the product's .config already."""
    implied: tuple[Line, ...]
    """Requested lines that come true by those in the fragment."""
    unmet: tuple[Unmet, ...]
    """Requested lines that could not be reached. The product is not ready for kdump while there are any."""
    waived: tuple[Waived, ...]
    resolution: Resolution
    """The product's .config with the fragment on top."""

    def check(self) -> None:
        """Raise a UserError with a fault for each requested line that could not be reached."""
        if self.unmet:
            raise UserError(*(u.fault() for u in self.unmet))


def minimal(
    kconfig: KernelKconfig, base: str | Path, fragments: Sequence[Fragment], waivers: Iterable[Waives] = ()
) -> Minimal:
    """Return the smallest set of lines that makes every requested line of the fragments hold on top of ``base``.

    ``base`` is the path of a product's .config or the name of a defconfig. Lines marked ``#@ means`` are no
    requests; they are taken where they are needed. Raises UserError when the base cannot be read.
    """
    reasons = {waiver.name.removeprefix("CONFIG_"): waiver.reason for waiver in waivers}
    lines, _ = winners(kconfig, fragments)
    goals = [line for line in lines if not line.means and line.symbol not in reasons]
    apply(kconfig, base, [])
    satisfied = [goal for goal in goals if unmet(kconfig, goal) is None]
    candidates = [line for line in lines if line.means] + [goal for goal in goals if goal not in satisfied]
    candidates = [line for line in candidates if line.symbol in kconfig.syms and kconfig.syms[line.symbol].nodes]
    candidates += _found(kconfig, goals, candidates)
    reachable = _holding(kconfig, goals, candidates)
    order = [line.symbol for line in (*lines, *candidates)]
    chosen = sorted(_reduced(kconfig, candidates, reachable), key=lambda line: order.index(line.symbol))
    resolution = resolve(kconfig, base, [Fragment(_SEARCH, tuple(chosen))])
    faults = [fault for goal in goals if (fault := unmet(kconfig, goal)) is not None]
    waived_lines = [line for line in lines if not line.means and line.symbol in reasons]
    waived = [Waived(f, reasons[f.line.symbol]) for line in waived_lines if (f := unmet(kconfig, line)) is not None]
    names = {line.symbol for line in chosen} | {fault.line.symbol for fault in faults}
    implied = [goal for goal in goals if goal not in satisfied and goal.symbol not in names]
    return Minimal(
        text=_text(kconfig, base, chosen, waived, len(satisfied)),
        lines=tuple(chosen),
        satisfied=tuple(satisfied),
        implied=tuple(implied),
        unmet=tuple(faults),
        waived=tuple(waived),
        resolution=resolution,
    )


def _found(kconfig: KernelKconfig, goals: Sequence[Line], candidates: Sequence[Line]) -> list[Line]:
    """Return lines that a search finds for the goals that the candidates do not reach."""
    found: list[Line] = []
    with kconfig.trying():
        assign_lines(kconfig, candidates)
        for goal in goals:
            if goal.value not in ("y", "m", "n") or (fault := unmet(kconfig, goal)) is None:
                continue
            if fault.kind in ("unknown", "type", "modules"):
                continue
            assignments = solve.reach(kconfig, goal.symbol, goal.value) or {}
            if not _harmless(kconfig, assignments):
                continue
            for name, value in sorted(assignments.items()):
                if name != goal.symbol:
                    reason = f"Needed for {goal.symbol}={goal.value}."
                    line = Line(name, value, False, _SEARCH, 0, reason, means=True)
                    found.append(line)
                    assign_lines(kconfig, [line])
    return found


def _harmless(kconfig: KernelKconfig, assignments: solve.Assignments) -> bool:
    """Whether assignments leave on what the product turned on: it must stay the product that it is.

    A product for a CPU without MMU, for example, is not to become one with an MMU for kdump's sake.
    """
    on = [sym for sym in kconfig.unique_defined_syms if sym.user_value and sym.tri_value and sym.choice is None]
    members = [choice for choice in kconfig.unique_choices if choice.assigned and choice.visibility]
    with kconfig.trying():
        for name, value in assignments.items():
            kconfig.assign(kconfig.syms[name], value)
        return all(sym.tri_value for sym in on if sym.name not in assignments) and all(c.visibility for c in members)


def _holding(kconfig: KernelKconfig, goals: Sequence[Line], lines: Sequence[Line]) -> list[Line]:
    """Return the goals that hold with these lines on top of the present configuration."""
    with kconfig.trying():
        assign_lines(kconfig, lines)
        return [goal for goal in goals if unmet(kconfig, goal) is None]


def _reduced(kconfig: KernelKconfig, lines: Sequence[Line], goals: Sequence[Line]) -> list[Line]:
    """Return the lines without those that the goals do not need."""
    kept = list(lines)
    for line in sorted(lines, key=lambda candidate: _worth(kconfig, candidate)):
        fewer = [other for other in kept if other is not line]
        if len(_holding(kconfig, goals, fewer)) == len(goals):
            kept = fewer
    return kept


def _worth(kconfig: KernelKconfig, line: Line) -> int:
    """Return how late a line is taken away: first what other lines bring about anyway, the requests themselves last."""
    sym = kconfig.syms[line.symbol]
    if not why.has_prompt(sym) or (sym.choice is not None and line.value == "n"):
        return 0
    return 1 if line.means else 2


def _text(
    kconfig: KernelKconfig, base: str | Path, lines: Sequence[Line], waived: Sequence[Waived], satisfied: int
) -> str:
    """Return the fragment. Comments never spell a symbol with its prefix: merge_config.sh would take it for a line."""
    out = [
        f"# What {Path(base).name} lacks for kdump: {kconfig.tree.name}, {kconfig.toolchain.arch}.",
        f"# {satisfied} of the requested lines hold without it.",
    ]
    reason = None
    for line in lines:
        if line.reason != reason or not line.reason:
            out += ["", *(f"# {text}".rstrip() for text in line.reason.replace("CONFIG_", "").splitlines())]
            reason = line.reason
        out.append(line.text)
    for waiver in waived:
        text = " ".join(waiver.reason.replace("CONFIG_", "").split())
        out += ["", f"# {waiver.unmet.line.symbol}={waiver.unmet.line.value} is waived: {text}"]
    return "\n".join(out) + "\n"
