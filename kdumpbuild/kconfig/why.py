"""Why a symbol has its value: dependency expressions broken down to the symbols that decide them."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from kdumpbuild.kconfig.adapter import lib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.kconfig.adapter import KernelKconfig

_DEPTH = 6
"""How many symbols deep a chain of causes is followed."""
_NAMES = {0: "n", 1: "m", 2: "y"}


def expression(expr: Any) -> str:
    """Return an expression in Kconfig's words, without values."""
    return str(lib.expr_str(expr, _plain))


def valued(expr: Any, *, inside: Any = None) -> str:
    """Return an expression with each symbol's present value: ``ARCH_X [=y] && !SMP [=y]``.

    ``inside`` is the operator that joins it with others, for the parentheses.
    """
    text = str(lib.expr_str(expr, _with_value))
    return f"({text})" if inside is lib.AND and expr.__class__ is tuple and expr[0] is lib.OR else text


def value_of(expr: Any) -> str:
    """Return y, m or n."""
    return _NAMES[lib.expr_value(expr)]


def definition(sym: Any) -> str:
    """Return where a symbol is defined: ``kernel/Kconfig.kexec:40``, several separated by commas."""
    return ", ".join(f"{node.filename}:{node.linenr}" for node in sym.nodes)


def has_prompt(sym: Any) -> bool:
    """Whether a user can set the symbol at all, dependencies aside."""
    return any(node.prompt for node in sym.nodes)


def operands(expr: Any, operator: Any) -> list[Any]:
    """Return the parts that ``&&`` or ``||`` joins."""
    return list(lib.split_expr(expr, operator))


def blockers(expr: Any, wanted: int = 2) -> Iterator[Any]:
    """Yield the smallest parts of an expression that keep it below the wanted value."""
    if lib.expr_value(expr) >= wanted:
        return
    if expr.__class__ is tuple and expr[0] is lib.AND:
        for part in operands(expr, lib.AND):
            yield from blockers(part, wanted)
    else:
        yield expr


def explain_blockers(kconfig: KernelKconfig, expr: Any, wanted: int = 2) -> list[str]:
    """Return lines that say what keeps an expression from the wanted value, followed to symbols one can set."""
    return list(_explain(kconfig, expr, wanted, 0, set()))


def _explain(kconfig: KernelKconfig, expr: Any, wanted: int, depth: int, seen: set[str]) -> Iterator[str]:
    for part in blockers(expr, wanted):
        pad = "  " * depth
        if part.__class__ is tuple:
            yield f"{pad}needs {valued(part)}"
        elif part.__class__ is lib.Choice:
            yield f"{pad}needs the choice {_prompt(part)} ({definition(part)})"
            if depth < _DEPTH:
                yield from _explain(kconfig, visibility(part), wanted, depth + 1, seen)
        elif not part.nodes:
            yield f"{pad}needs {part.name}, which {kconfig.tree.name} does not define for {kconfig.toolchain.arch}"
        else:
            yield f"{pad}needs {part.name} [={part.str_value}] ({definition(part)})"
        if depth >= _DEPTH:
            continue
        for sym in sorted(_symbols(part), key=lambda s: str(s.name)):
            if sym.name not in seen and sym.nodes and sym.tri_value < wanted and not _negated(part, sym):
                seen.add(sym.name)
                yield from _cause(kconfig, sym, wanted, depth + 1, seen)


def _cause(kconfig: KernelKconfig, sym: Any, wanted: int, depth: int, seen: set[str]) -> Iterator[str]:
    """Say why a symbol that is needed is not on."""
    if has_prompt(sym):
        if lib.expr_value(visibility(sym)) < wanted:
            yield from _explain(kconfig, visibility(sym), wanted, depth, seen)
        return
    yield from _promptless(kconfig, sym, wanted, depth, seen)


def promptless_causes(kconfig: KernelKconfig, sym: Any) -> list[str]:
    """Return lines that say what would give a symbol without a prompt the value y."""
    return list(_promptless(kconfig, sym, 2, 0, {sym.name}))


def _promptless(kconfig: KernelKconfig, sym: Any, wanted: int, depth: int, seen: set[str]) -> Iterator[str]:
    pad = "  " * depth
    if sym.orig_type not in (lib.BOOL, lib.TRISTATE):
        for value, condition in sym.defaults:
            when = f" if {valued(condition)}" if condition is not kconfig.y else ""
            yield f"{pad}{sym.name} has no prompt; it is {expression(value)}{when}"
        return
    for value, condition in sym.defaults:
        if value is kconfig.n:
            continue
        parts = [part for part in (value, condition) if part is not kconfig.y]
        both = (lib.AND, *parts) if len(parts) == 2 else (parts or [kconfig.y])[0]
        yield f"{pad}{sym.name} has no prompt; it is on when {valued(both)}"
        yield from _explain(kconfig, both, wanted, depth + 1, seen)
    if selectors := selectors_of(sym):
        names = [f"{s.name} [={s.str_value}]" for s in selectors[:6]] + (["…"] if len(selectors) > 6 else [])
        yield f"{pad}{sym.name} is selected by {', '.join(names)}"


def conceivable(expr: Any, never: frozenset[str]) -> bool:
    """Whether an expression can be true under some configuration in which the symbols of ``never`` are off.

    A look at the expression alone: what the symbols in it depend on does not count, and a ``!`` is taken as possible.
    """
    if expr.__class__ is not tuple:
        if expr.__class__ is not lib.Symbol:
            return True
        if expr.is_constant:
            return str(expr.name) != "n"
        return bool(expr.nodes) and expr.name not in never
    if expr[0] is lib.AND:
        return conceivable(expr[1], never) and conceivable(expr[2], never)
    if expr[0] is lib.OR:
        return conceivable(expr[1], never) or conceivable(expr[2], never)
    return True


def related(sym: Any) -> set[str]:
    """Return the names of the symbols that a symbol depends on or selects, without those below a ``!``."""
    found = {s.name for s in _symbols(sym.direct_dep) if not _negated(sym.direct_dep, s)}
    return found | {selected.name for selected, _ in sym.selects}


def visibility(sym: Any) -> Any:
    """Return the expression that decides whether a user's value for the symbol counts."""
    conditions = [node.prompt[1] for node in sym.nodes if node.prompt]
    return functools.reduce(lambda one, other: (lib.OR, one, other), conditions) if conditions else sym.kconfig.n


def selectors_of(sym: Any) -> list[Any]:
    """Return the symbols that select this one, now or under other circumstances."""
    parts = operands(sym.rev_dep, lib.OR) if sym.rev_dep is not sym.kconfig.n else []
    return [operands(part, lib.AND)[0] for part in parts]


def selected_by(sym: Any) -> list[Any]:
    """Return the symbols that select this one now."""
    if sym.rev_dep is sym.kconfig.n:
        return []
    return [operands(part, lib.AND)[0] for part in operands(sym.rev_dep, lib.OR) if lib.expr_value(part)]


def _symbols(expr: Any) -> set[Any]:
    return {item for item in lib.expr_items(expr) if item.__class__ is lib.Symbol and not item.is_constant}


def _negated(expr: Any, sym: Any) -> bool:
    """Whether a symbol stands only below a ``!`` in the expression, so that having it off is no obstacle."""
    if expr is sym:
        return False
    if expr.__class__ is not tuple:
        return True
    if expr[0] in (lib.AND, lib.OR):
        return _negated(expr[1], sym) and _negated(expr[2], sym)
    return True


def _prompt(choice: Any) -> str:
    return next((f'"{node.prompt[0]}"' for node in choice.nodes if node.prompt), "without a prompt")


def _plain(item: Any) -> str:
    if item.__class__ is lib.Choice:
        return f"<choice {_prompt(item)}>"
    return str(lib.standard_sc_expr_str(item))


def _with_value(item: Any) -> str:
    text = _plain(item)
    if item.is_constant:
        return text
    if item.__class__ is lib.Symbol and not item.nodes:
        return text if re.fullmatch(r"-?\d+|0[xX][0-9a-fA-F]+", item.name) else f"{text} [undefined]"
    return f"{text} [={item.str_value}]"
