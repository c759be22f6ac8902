"""From a base and fragments to a whole .config, with proof that every requested line took effect."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kdumpbuild.errors import Fault, UserError, user_error
from kdumpbuild.kconfig import why
from kdumpbuild.kconfig.adapter import lib
from kdumpbuild.kconfig.fragment import config_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kdumpbuild.kconfig.adapter import KernelKconfig
    from kdumpbuild.kconfig.fragment import Fragment, Line

_TYPES = {lib.BOOL: "bool", lib.TRISTATE: "tristate", lib.INT: "int", lib.HEX: "hex", lib.STRING: "string"}
_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"# CONFIG_(\w+) is not set")
_TRI = {"n": 0, "m": 1, "y": 2}


class Waives(Protocol):
    """A waiver of a fragment's line: the board record's, or anything with these two texts."""

    @property
    def name(self) -> str:
        """Return ``CONFIG_X``."""

    @property
    def reason(self) -> str:
        """Why it is right that the line does not take effect."""


@dataclass(frozen=True)
class Unmet:
    """A requested line that did not take effect."""

    line: Line
    actual: str
    """The value that the symbol has; empty for a symbol that does not exist."""
    kind: str
    """unknown, type, value, choice, selected, promptless, dependency, modules or range."""
    definition: str
    """``file:line`` of the symbol in the kernel tree; empty for a symbol that does not exist."""
    why: str
    """One cause in each line."""
    hint: str

    def fault(self) -> Fault:
        """Return it as a fault to be told to the user."""
        got = f"is {self.actual}" if self.actual else "does not exist"
        where = f"CONFIG_{self.line.symbol} is defined at {self.definition}\n" if self.definition else ""
        wanted = f"wanted because: {' '.join(self.line.reason.split())}" if self.line.reason else ""
        return Fault(
            f"CONFIG_{self.line.symbol}={self.line.value} did not take effect: it {got}",
            where=self.line.where,
            why=f"{where}{self.why}\n{wanted}".strip(),
            hint=self.hint,
        )


@dataclass(frozen=True)
class Waived:
    """A line that did not take effect, and the reason why that is accepted."""

    unmet: Unmet
    reason: str


@dataclass(frozen=True)
class Resolution:
    """A config, and what became of each requested line."""

    kernel: str
    """``Linux 6.12.117``"""
    arch: str
    base: str
    config_text: str
    """The whole .config, as the kernel's own conf writes it."""
    values: Mapping[str, str]
    """The value of every symbol that the tree defines for this architecture, without ``CONFIG_``; n when off."""
    requested: tuple[Line, ...]
    """The lines that count, in the order of the fragments."""
    overridden: tuple[Line, ...]
    """Lines that a later fragment changed."""
    unmet: tuple[Unmet, ...]
    """Lines that did not take effect and are not waived."""
    waived: tuple[Waived, ...]
    needless: tuple[Unmet, ...] = ()
    """Lines marked ``#@ means`` that did not take effect, where every line they are there for holds without them."""

    def check(self) -> None:
        """Raise a UserError with a fault for each unmet line."""
        if self.unmet:
            raise UserError(*(unmet.fault() for unmet in self.unmet))

    def enabled(self, symbol: str) -> bool:
        """Whether a bool or tristate symbol is y or m."""
        return self.values.get(symbol, "n") in ("y", "m")


def resolve(
    kconfig: KernelKconfig, base: str | Path, fragments: Sequence[Fragment], waivers: Iterable[Waives] = ()
) -> Resolution:
    """Compose a config: a base, then the fragments in their order, later ones over earlier ones.

    ``base`` is ``allnoconfig``, the name of a defconfig, or the path of a .config. With ``allnoconfig`` everything
    that no fragment asks for is off, as with ``merge_config.sh -n``; with the others it has its default.
    Raises UserError when the base cannot be read; lines that do not take effect are in the result.
    """
    requested, overridden = winners(kconfig, fragments)
    apply(kconfig, base, requested)
    text = kconfig.config_text()
    faults: list[Unmet] = []
    lost: list[Line] = []
    for line in requested:
        fault = unmet(kconfig, line)
        if fault is None:
            continue
        if fault.kind == "choice" and _lost_to_later_file(kconfig, line, requested):
            lost.append(line)
        else:
            faults.append(fault)
    reasons = {waiver.name.removeprefix("CONFIG_"): waiver.reason for waiver in waivers}
    open_faults = [fault for fault in faults if fault.line.symbol not in reasons]
    needed = any(not fault.line.means for fault in open_faults)
    return Resolution(
        kernel=kconfig.tree.name,
        arch=kconfig.toolchain.arch,
        base=str(base),
        config_text=text,
        values={sym.name: sym.str_value for sym in kconfig.unique_defined_syms},
        requested=tuple(line for line in requested if line not in lost),
        overridden=(*overridden, *lost),
        unmet=tuple(open_faults) if needed else (),
        needless=() if needed else tuple(open_faults),
        waived=tuple(Waived(u, reasons[u.line.symbol]) for u in faults if u.line.symbol in reasons),
    )


def apply(kconfig: KernelKconfig, base: str | Path, lines: Iterable[Line]) -> None:
    """Bring the configuration into the state of a base with lines on top. Raises UserError for an unusable base."""
    kconfig.reset()
    _apply_base(kconfig, base)
    assign_lines(kconfig, lines)
    if str(base) == "allnoconfig":
        kconfig.assign_no_to_rest()


def assign_lines(kconfig: KernelKconfig, lines: Iterable[Line]) -> None:
    """Assign what lines ask for, as far as the tree knows their symbols and the values are of their types."""
    for line in lines:
        if (sym := _known(kconfig, line.symbol)) is not None and not _wrong_type(sym, line):
            kconfig.assign(sym, line.value)


def load_config(kconfig: KernelKconfig, path: Path) -> None:
    """Assign what a .config says. Raises UserError when the file is not one."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise user_error(f"cannot read the config: {error.strerror or error}", where=str(path)) from error
    found = 0
    strange = [line for line in text.splitlines() if line.strip() and not line.startswith(("#", "CONFIG_"))]
    for line in text.splitlines():
        if match := _SET.fullmatch(line.rstrip()):
            name, value = match[1], match[2]
        elif match := _UNSET.fullmatch(line.rstrip()):
            name, value = match[1], "n"
        else:
            continue
        found += 1
        if (sym := _known(kconfig, name)) is None:
            continue
        if sym.orig_type is lib.STRING:
            value = re.sub(r"\\(.)", r"\1", value[1:-1]) if re.fullmatch(r'".*"', value) else value
        kconfig.assign(sym, value)
    if strange and not found:
        raise user_error("this is not a kernel config", where=str(path), why="no line begins with CONFIG_",
                         hint="give a .config, a defconfig, or the output of zcat /proc/config.gz")  # fmt: skip


def _apply_base(kconfig: KernelKconfig, base: str | Path) -> None:
    if str(base) == "allnoconfig":
        return
    is_path = isinstance(base, Path) or "/" in base or Path(base).is_file()
    load_config(kconfig, Path(base) if is_path else kconfig.tree.defconfig(kconfig.toolchain.arch, str(base)))


def winners(kconfig: KernelKconfig, fragments: Sequence[Fragment]) -> tuple[list[Line], list[Line]]:
    """Return the lines that count, and those that a later fragment replaced by another value."""
    last: dict[str, Line] = {}
    overridden = []
    for fragment in fragments:
        for line in fragment.active(kconfig.tree.version, kconfig.toolchain.arch):
            earlier = last.pop(line.symbol, None)
            if earlier is not None and earlier.value != line.value:
                overridden.append(earlier)
            last[line.symbol] = line
    return list(last.values()), overridden


def _known(kconfig: KernelKconfig, name: str) -> Any:
    sym = kconfig.syms.get(name)
    return sym if sym is not None and sym.nodes and sym.orig_type else None


def _wrong_type(sym: Any, line: Line) -> str:
    """Return what is wrong with the form of a line's value, or nothing."""
    kind = _TYPES[sym.orig_type]
    value = line.value
    good = {
        "bool": not line.quoted and value in ("y", "n"),
        "tristate": not line.quoted and value in ("y", "m", "n"),
        "int": not line.quoted and re.fullmatch(r"-?\d+", value) is not None,
        "hex": not line.quoted and re.fullmatch(r"(0[xX])?[0-9a-fA-F]+", value) is not None,
        "string": line.quoted,
    }[kind]
    return "" if good else f"CONFIG_{sym.name} is of type {kind}"


def unmet(kconfig: KernelKconfig, line: Line) -> Unmet | None:
    """Return why a line has no effect in the present configuration, or None when it has."""
    sym = _known(kconfig, line.symbol)
    if sym is None:
        if line.symbol in kconfig.syms and kconfig.syms[line.symbol].nodes:
            text = f"{kconfig.tree.name} gives it no type"
        else:
            text = f"no such symbol in {kconfig.tree.name} for {kconfig.toolchain.arch}"
        close = difflib.get_close_matches(line.symbol, [s.name for s in kconfig.unique_defined_syms], n=1, cutoff=0.8)
        hint = f"did you mean CONFIG_{close[0]}?" if close else "it may have another name in this kernel"
        return Unmet(line, "", "unknown", "", text, f"{hint}\nif it is meant for other kernels only, say so in the"
                     " comment above it: #@ kernel >= X.Y, #@ kernel < X.Y or #@ arch NAME")  # fmt: skip
    if problem := _wrong_type(sym, line):
        example = {"bool": "y or n", "tristate": "y, m or n", "int": "a whole number", "hex": "a number like 0x1000",
                   "string": "a text in double quotes"}[_TYPES[sym.orig_type]]  # fmt: skip
        return Unmet(line, sym.str_value, "type", why.definition(sym), problem, f"give it {example}")
    actual = sym.str_value
    if actual == line.value or _same_number(sym, actual, line.value):
        return None
    kind, cause, hint = _cause(kconfig, sym, line)
    shown = f'"{actual}"' if sym.orig_type is lib.STRING else actual
    return Unmet(line, shown or "empty", kind, why.definition(sym), cause, hint)


def _same_number(sym: Any, actual: str, wanted: str) -> bool:
    if sym.orig_type not in (lib.INT, lib.HEX) or not actual:
        return False
    radix = 16 if sym.orig_type is lib.HEX else 10
    return int(actual, radix) == int(wanted, radix)


def _cause(kconfig: KernelKconfig, sym: Any, line: Line) -> tuple[str, str, str]:
    """Return the kind of the cause, the cause, and what to do."""
    if not why.has_prompt(sym):
        return _promptless(kconfig, sym, line)
    if sym.orig_type in (lib.BOOL, lib.TRISTATE):
        wanted = _TRI[line.value]
        if sym.tri_value > wanted and (selectors := why.selected_by(sym)):
            names = [f"{s.name} [={s.str_value}] ({why.definition(s)})" for s in selectors]
            hint = f"turn off {selectors[0].name}, or leave this line out"
            return "selected", "\n".join(f"selected by {name}" for name in names), hint
        if sym.choice is not None and sym.visibility:
            return _lost_choice(sym, line)
        if line.value == "m" and sym.tri_value == 2 and not kconfig.modules.tri_value:
            hint = f"write CONFIG_{sym.name}=y, or turn on CONFIG_MODULES"
            return "modules", "MODULES is n, so nothing can be m", hint
        if sym.tri_value > wanted:
            return "value", f"its dependencies and defaults make it {sym.str_value}", ""
    else:
        wanted = 1
        if sym.visibility:
            return "range", _ranges(sym), "give a value inside of the range"
    lines = why.explain_blockers(kconfig, why.visibility(sym), wanted)
    return "dependency", "\n".join(lines), "ask for what it needs in the same fragment, or leave this line out"


def _promptless(kconfig: KernelKconfig, sym: Any, line: Line) -> tuple[str, str, str]:
    text = ["it has no prompt: its value comes from other symbols alone"]
    if line.value == "n":
        text += [f"selected by {s.name} [={s.str_value}] ({why.definition(s)})" for s in why.selected_by(sym)]
    else:
        text += why.promptless_causes(kconfig, sym)
    return "promptless", "\n".join(text), "ask for a symbol that turns it on instead"


def _lost_choice(sym: Any, line: Line) -> tuple[str, str, str]:
    winner = sym.choice.selection
    where = why.definition(sym.choice)
    if line.value == "n":
        return "choice", f"it is the member that the choice at {where} takes", "ask for another member of the choice"
    name = winner.name if winner is not None else "none of its members"
    return "choice", f"the choice at {where} takes {name}", f"ask for CONFIG_{sym.name} alone"


def _lost_to_later_file(kconfig: KernelKconfig, line: Line, requested: Sequence[Line]) -> bool:
    """Whether a later fragment chose another member of the same choice."""
    choice = kconfig.syms[line.symbol].choice
    if choice.selection is None:
        return False
    position = requested.index(line)
    return any(
        other.symbol == choice.selection.name and other.value == "y" and other.file != line.file
        for other in requested[position + 1 :]
    )


def _ranges(sym: Any) -> str:
    for low, high, condition in sym.ranges:
        if lib.expr_value(condition):
            return f"its range is {low.str_value} to {high.str_value}"
    return "its value is not accepted"


def requested_text(lines: Iterable[Line]) -> str:
    """Return requested lines as a fragment's text, without comments."""
    return "".join(f"{config_line(line.symbol, line.value, quoted=line.quoted)}\n" for line in lines)
