"""``explain``: a page about one symbol in one configuration."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from kdumpbuild.errors import user_error
from kdumpbuild.kconfig import solve, why
from kdumpbuild.kconfig.adapter import lib
from kdumpbuild.kconfig.fragment import config_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.kconfig.adapter import KernelKconfig

_SHOWN = 12
"""How many selecting symbols are named."""


def explain(kconfig: KernelKconfig, symbol: str) -> str:
    """Return a text about a symbol in the present configuration.

    It says the value and where it comes from, where the symbol is defined, what it needs, who selects or implies
    it, and what would turn it on or off. Raises UserError for a symbol that the tree does not define.
    """
    name = symbol.removeprefix("CONFIG_")
    sym = kconfig.syms.get(name)
    if sym is None or not sym.nodes or not sym.orig_type:
        raise _unknown(kconfig, name)
    return "\n".join(_page(kconfig, sym)) + "\n"


def _page(kconfig: KernelKconfig, sym: Any) -> Iterator[str]:
    shown = sym.str_value or "empty"
    yield f"CONFIG_{sym.name} is {shown}: {_origin(sym)}"
    kind = lib.TYPE_TO_STR[sym.orig_type]
    yield f"  {kconfig.tree.name}, {kconfig.toolchain.arch}; type {kind}"
    for node in sym.nodes:
        prompt = f'"{node.prompt[0]}"' if node.prompt and sym not in kconfig.transitional else "no prompt"
        yield f"  defined at {node.filename}:{node.linenr}, {prompt}"
    if sym in kconfig.transitional:
        yield "  transitional: it is read from old configs for the symbols that took its place, and never written"
    yield from _section("needs", _needs(kconfig, sym))
    if sym.choice is not None:
        chosen = sym.choice.selection
        members = ", ".join(f"{m.name}{'' if m.visibility else ' (not visible)'}" for m in sym.choice.syms)
        yield from _section(
            f"member of the choice at {why.definition(sym.choice)}",
            iter([f"members: {members}", f"taken: {chosen.name if chosen is not None else 'none'}"]),
        )
    yield from _section("default", _defaults(kconfig, sym))
    yield from _section("selected by", _turners(sym.rev_dep, kconfig))
    yield from _section("implied by", _turners(sym.weak_rev_dep, kconfig))
    if sym.orig_type in (lib.BOOL, lib.TRISTATE):
        yield from _remedies(kconfig, sym)
    elif sym.ranges:
        yield from _section("range", (f"{a.str_value} to {b.str_value} if {why.valued(c)}" for a, b, c in sym.ranges))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    body = [f"    {line}" for line in lines]
    if body:
        yield f"  {title}:"
        yield from body


def _origin(sym: Any) -> str:
    """Say in a few words why the symbol has its value."""
    if sym.orig_type in (lib.BOOL, lib.TRISTATE):
        value = sym.tri_value
        if value and sym.choice is not None:
            return "the member that its choice takes"
        selectors = why.selected_by(sym)
        user = min(sym.user_value, sym.visibility) if sym.user_value is not None else None
        if value and selectors and (user is None or user < value):
            return (
                f"selected by {', '.join(s.name for s in selectors[:3])}{' and others' if len(selectors) > 3 else ''}"
            )
        if not why.has_prompt(sym):
            return "computed from other symbols (it has no prompt)"
        if lib.expr_value(why.visibility(sym)) == 0:
            return "what it needs is not there" if not value else "its default; what it needs to be set is not there"
        if sym.choice is not None:
            return "its choice takes another member"
    elif not why.has_prompt(sym):
        return "computed from other symbols (it has no prompt)"
    elif not sym.visibility:
        return "what it needs is not there"
    return "as the configuration says" if sym.user_value is not None else "its default"


def _needs(kconfig: KernelKconfig, sym: Any) -> Iterator[str]:
    if sym in kconfig.transitional:
        return
    for node in sym.nodes:
        expr = node.prompt[1] if node.prompt else node.dep
        for part in why.operands(expr, lib.AND):
            if part is not kconfig.y:
                mark = "+" if lib.expr_value(part) == 2 else "m" if lib.expr_value(part) else "-"
                yield f"{mark} {why.valued(part)}"
    if why.has_prompt(sym) and not sym.visibility:
        yield "because:"
        yield from (f"  {line}" for line in why.explain_blockers(kconfig, why.visibility(sym)))


def _defaults(kconfig: KernelKconfig, sym: Any) -> Iterator[str]:
    taken = False
    for value, condition in sym.defaults:
        holds = lib.expr_value(condition) > 0 and not taken
        taken = taken or holds
        when = "" if condition is kconfig.y else f" if {why.valued(condition)}"
        yield f"{'+' if holds else '-'} {why.valued(value)}{when}"


def _turners(expr: Any, kconfig: KernelKconfig) -> Iterator[str]:
    if expr is kconfig.n:
        return
    parts = sorted(why.operands(expr, lib.OR), key=lambda part: -lib.expr_value(part))
    for part in parts[:_SHOWN]:
        name, *conditions = why.operands(part, lib.AND)
        conditions = [c for c in conditions if c is not kconfig.y]
        on = "+" if lib.expr_value(part) else "-"
        when = (
            f" if {' && '.join(why.valued(c, inside=lib.AND) for c in conditions)}"
            if conditions and lib.expr_value(name)
            else ""
        )
        yield f"{on} {why.valued(name)} ({why.definition(name)}){when}"
    if len(parts) > _SHOWN:
        yield f"  and {len(parts) - _SHOWN} more, all off" if not lib.expr_value(parts[_SHOWN]) else "  and more"


def _remedies(kconfig: KernelKconfig, sym: Any) -> Iterator[str]:
    wanted = "n" if sym.tri_value else "y"
    title = f"to turn it {'off' if wanted == 'n' else 'on'}"
    found = solve.reach(kconfig, sym.name, wanted)
    if found is None:
        yield f"  {title}: no small set of assignments was found"
    elif found:
        lines = (
            config_line(name, value, quoted=kconfig.syms[name].orig_type is lib.STRING)
            for name, value in sorted(found.items())
        )
        yield from _section(f"{title}, tried and found enough", lines)


def _unknown(kconfig: KernelKconfig, name: str) -> Exception:
    known = [s.name for s in kconfig.unique_defined_syms]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.75)
    used = name in kconfig.syms
    why_text = "it is used in dependencies, but nothing defines it: it is always n" if used else ""
    return user_error(
        f"{kconfig.tree.name} has no symbol {name} for {kconfig.toolchain.arch}",
        why=why_text,
        hint=f"did you mean {' or '.join(close)}?" if close else "symbols are written without CONFIG_, in capitals",
    )
