"""Finding a small set of assignments that gives a symbol a value: a search over its dependencies.

The search proposes, from the smallest set to larger ones; each proposal is tried on the real configuration, and
only one that works is told. Nothing found means: nothing small was found, not that there is no way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdumpbuild.kconfig import why
from kdumpbuild.kconfig.adapter import lib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.kconfig.adapter import KernelKconfig

Assignments = dict[str, str]
"""Symbol name, without ``CONFIG_``, to value."""

_LARGEST = 6
"""The most assignments that are proposed together."""
_STEPS = 20_000
"""How many expressions one search looks at before it gives up."""
_TRIALS = 60
"""How many proposals one search tries."""
_NAMES = {0: "n", 1: "m", 2: "y"}
_Set = frozenset[tuple[str, str]]
_NOTHING: _Set = frozenset()


def reach(
    kconfig: KernelKconfig, symbol: str, wanted: str, *, avoid: frozenset[str] = frozenset()
) -> Assignments | None:
    """Return the smallest set of assignments found that gives a bool or tristate symbol the wanted value.

    It starts from the present assignments, which are left as they were. Empty: nothing has to be done. None: no
    set was found. Symbols to ``avoid`` are no part of any set.
    """
    sym = kconfig.syms[symbol]
    level = {"n": 0, "m": 1, "y": 2}[wanted]
    if sym.tri_value == level:
        return {}
    tried: set[_Set] = set()
    for size in range(1, _LARGEST + 1):
        search = _Search(kconfig, size)
        proposals = search.off(sym, frozenset()) if level == 0 else search.on(sym, level, frozenset())
        for proposal in proposals:
            if proposal in tried or any(name in avoid for name, _ in proposal):
                continue
            tried.add(proposal)
            if works(kconfig, dict(proposal), {symbol: wanted}):
                return _without_needless(kconfig, dict(proposal), {symbol: wanted})
            if len(tried) > _TRIALS:
                return None
    return None


def works(kconfig: KernelKconfig, assignments: Assignments, wanted: Assignments) -> bool:
    """Whether the assignments, on top of the present ones, give all the wanted values."""
    with kconfig.trying():
        for name, value in assignments.items():
            kconfig.assign(kconfig.syms[name], value)
        return all(kconfig.syms[name].str_value == value for name, value in wanted.items())


def _without_needless(kconfig: KernelKconfig, assignments: Assignments, wanted: Assignments) -> Assignments:
    for name in [name for name in assignments if name not in wanted]:
        fewer = {n: v for n, v in assignments.items() if n != name}
        if fewer and works(kconfig, fewer, wanted):
            assignments = fewer
    return assignments


class _Search:
    """Generates sets of at most ``limit`` assignments under which an expression should get a value."""

    def __init__(self, kconfig: KernelKconfig, limit: int) -> None:
        self.kconfig = kconfig
        self.limit = limit
        self.steps = _STEPS

    def on(self, expr: Any, wanted: int, above: frozenset[Any]) -> Iterator[_Set]:
        """Yield sets that should raise an expression to the wanted value."""
        self.steps -= 1
        if self.steps < 0:
            return
        if lib.expr_value(expr) >= wanted:
            yield _NOTHING
        elif expr.__class__ is not tuple:
            yield from self._item_on(expr, wanted, above)
        elif expr[0] is lib.AND:
            parts = [(part, True) for part in why.operands(expr, lib.AND)]
            yield from self._all(parts, wanted, above)
        elif expr[0] is lib.OR:
            for part in why.operands(expr, lib.OR):
                yield from self.on(part, wanted, above)
        elif expr[0] is lib.NOT:
            yield from self.off(expr[1], above)
        else:
            yield from self._relation(expr, above)

    def off(self, expr: Any, above: frozenset[Any]) -> Iterator[_Set]:
        """Yield sets that should lower an expression to n."""
        self.steps -= 1
        if self.steps < 0:
            return
        if lib.expr_value(expr) == 0:
            yield _NOTHING
        elif expr.__class__ is not tuple:
            yield from self._item_off(expr, above)
        elif expr[0] is lib.OR:
            parts = [(part, False) for part in why.operands(expr, lib.OR)]
            yield from self._all(parts, 0, above)
        elif expr[0] is lib.AND:
            for part in why.operands(expr, lib.AND):
                yield from self.off(part, above)
        elif expr[0] is lib.NOT:
            yield from self.on(expr[1], 2, above)

    def _all(self, parts: list[tuple[Any, bool]], wanted: int, above: frozenset[Any]) -> Iterator[_Set]:
        """Yield sets for all parts together; a part with False is to be off."""
        if not parts:
            yield _NOTHING
            return
        (part, is_on), *rest = parts
        first = self.on(part, wanted, above) if is_on else self.off(part, above)
        for one in first:
            for others in self._all(rest, wanted, above):
                yield from self._joined(one, others)

    def _joined(self, one: _Set, other: _Set) -> Iterator[_Set]:
        both = one | other
        if len(both) <= self.limit and len({name for name, _ in both}) == len(both):
            yield both

    def _item_on(self, item: Any, wanted: int, above: frozenset[Any]) -> Iterator[_Set]:
        if (item, True) in above or len(above) > 3 * self.limit or not item.nodes:
            return
        above |= {(item, True)}
        if item.__class__ is lib.Choice:
            yield from self.on(why.visibility(item), wanted, above)
            return
        if item.orig_type not in (lib.BOOL, lib.TRISTATE):
            return
        if why.has_prompt(item):
            own = frozenset({(item.name, _NAMES[wanted if item.type is lib.TRISTATE else 2])})
            for others in self.on(why.visibility(item), wanted, above):
                yield from self._joined(own, others)
        for value, condition in item.defaults:
            # The default of a symbol with a prompt counts only as long as the prompt cannot be seen.
            if value is not self.kconfig.n and not (why.has_prompt(item) and lib.expr_value(why.visibility(item))):
                yield from self._all([(value, True), (condition, True)], wanted, above)
        if item.rev_dep is not self.kconfig.n:
            yield from self.on(item.rev_dep, wanted, above)

    def _item_off(self, item: Any, above: frozenset[Any]) -> Iterator[_Set]:
        if (item, False) in above or item.__class__ is lib.Choice or item.is_constant:
            return
        above |= {(item, False)}
        if item.choice is not None:
            for other in item.choice.syms:
                if other is not item and other.visibility:
                    yield frozenset({(other.name, "y")})
            return
        causes: list[tuple[Any, bool]] = [(item.rev_dep, False)]
        if why.has_prompt(item):
            own = frozenset({(item.name, "n")})
            for others in self._all([*causes, (why.visibility(item), True)], 1, above):
                yield from self._joined(own, others)
            return
        causes += [((lib.AND, value, condition), False) for value, condition in item.defaults]
        yield from self._all(causes, 0, above)

    def _relation(self, expr: Any, above: frozenset[Any]) -> Iterator[_Set]:
        operator, left, right = expr
        if right.__class__ is lib.Symbol and right.nodes and not left.nodes:
            left, right = right, left
        if operator is lib.EQUAL and right in (self.kconfig.y, self.kconfig.m):
            yield from self.on(left, right.tri_value, above)
        elif (operator is lib.EQUAL and right is self.kconfig.n) or (
            operator is lib.UNEQUAL and right is self.kconfig.y
        ):
            yield from self.off(left, above)
        elif operator is lib.UNEQUAL and right is self.kconfig.n:
            yield from self.on(left, 1, above)
        elif operator is lib.EQUAL and left.nodes and why.has_prompt(left) and not right.nodes:
            own = frozenset({(left.name, right.str_value)})
            for others in self.on(why.visibility(left), 1, above):
                yield from self._joined(own, others)
