# ruff: noqa: SLF001  # kconfiglib has no other door for what is done here
"""Reading a kernel's Kconfig files with kconfiglib, and giving symbols the values that the kernel's own conf gives.

kconfiglib 14.1.0 knows the language and the rules of 2019. Here it learns what came since:

* ``modules`` as a property of its own, ``Linux kernel commit 6dd85ff178cd`` (in v5.13);
* ``transitional`` symbols, ``Linux kernel commit f9afce4f32e9`` (in v6.18);
* ``depends on A if B``, ``Linux kernel commit 76df6815dab7`` (in v7.0);
* the order of precedence inside a choice, ``Linux kernel commit f79dc03fe68c`` (in v6.11);
* values of symbols that are implied, ``Linux kernel commit def2fbffe62c`` (in v5.7).

Classes of kconfiglib are extended in a copy of the module that nobody else sees.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdumpbuild.errors import user_error
from kdumpbuild.run import environment, shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from kdumpbuild.kconfig.toolchain import Toolchain
    from kdumpbuild.kconfig.tree import KernelTree

_ONE_AT_A_TIME = threading.Lock()
"""kconfiglib looks into the environment while it reads, and there is one kconfiglib."""


def kbuild_environment(tree: KernelTree, toolchain: Toolchain) -> dict[str, str]:
    """Return what Kbuild exports to Kconfig: the top Makefile's variables, as far as Kconfig files read them."""
    cross = toolchain.cross_compile
    version_text = toolchain.check().replace("#", "")
    values = environment()
    values |= {
        "ARCH": toolchain.arch, "SRCARCH": toolchain.arch, "SUBARCH": toolchain.arch,
        "srctree": str(tree.path), "KERNELVERSION": tree.release,
        "CROSS_COMPILE": cross, "CC": toolchain.compiler, "LD": toolchain.ld or f"{cross}ld",
        "AR": f"{cross}ar", "NM": f"{cross}nm", "OBJCOPY": f"{cross}objcopy", "OBJDUMP": f"{cross}objdump",
        "READELF": f"{cross}readelf", "STRIP": f"{cross}strip",
        "HOSTCC": toolchain.host_cc or "gcc", "HOSTCXX": "g++", "CONFIG_SHELL": "sh", "MAKE": "make",
        "AWK": "awk", "PERL": "perl", "PYTHON3": "python3", "PAHOLE": "pahole", "RUSTC": "rustc", "BINDGEN": "bindgen",
        "CC_VERSION_TEXT": version_text, "KBUILD_DEFCONFIG": "defconfig",
    }  # fmt: skip
    if "clang" in version_text:
        triple = {"arm": "arm-linux-gnueabi", "arm64": "aarch64-linux-gnu"}.get(toolchain.arch, "")
        values["CLANG_FLAGS"] = f"--target={triple} -fintegrated-as -Werror=unknown-warning-option"
    with tempfile.TemporaryDirectory(prefix="kdumpbuild-kconfig-") as scratch:

        def ask(command: str) -> str:
            return shell(command, cwd=Path(scratch), env=values)[0].strip()

        values["RUSTC_VERSION_TEXT"] = ask("$RUSTC --version 2>/dev/null").replace("#", "")
        pahole = tree.path / "scripts/pahole-version.sh"
        values["PAHOLE_VERSION"] = ask(f"{pahole} pahole 2>/dev/null") if pahole.exists() else ""
    return values


@dataclass(frozen=True)
class Dialect:
    """In what the conf of a tree differs from that of other trees. Read from its source, so that it fits backports."""

    choice_members_have_order: bool = True
    """The member of a choice that was assigned last goes first, the others after it
    (Linux kernel commit f79dc03fe68c, in v6.11); before, the last one or else the default."""
    clamps_user_values: bool = True
    """A user's number outside of the range becomes the nearest limit; before, it was dropped for the default."""
    numbers_begin_at_zero: bool = True
    """An int or hex without value and default is 0; before, it was empty."""

    @classmethod
    def of(cls, tree: KernelTree) -> Dialect:
        """Return the dialect that the C source of a tree's conf shows; today's where it has no such source."""
        texts = []
        for name in ("symbol.c", "confdata.c"):
            path = tree.path / "scripts/kconfig" / name
            if not path.is_file():
                return cls()
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
        symbol, confdata = texts
        return cls(
            choice_members_have_order="choice_link" in symbol,
            clamps_user_values="sym_string_within_range(sym, sym->def[S_DEF_USER].val)" not in confdata,
            numbers_begin_at_zero='newval.val = "0x0"' in symbol,
        )


class _Os:
    """What our copy of kconfiglib takes for the module ``os``: the same, with another environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.getenv = environ.get

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@contextmanager
def _seen_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Let kconfiglib see this environment and no other. The process's own is not touched."""
    with _ONE_AT_A_TIME:
        lib.os = _Os(values)
        try:
            yield
        finally:
            lib.os = os


def _private_kconfiglib() -> Any:
    spec = importlib.util.find_spec("kconfiglib")
    if spec is None or spec.loader is None:
        raise user_error("the Python package kconfiglib is missing", hint="pip install kconfiglib==14.1.0")
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lib: Any = _private_kconfiglib()
_symbol_of_kconfiglib: Any = lib.Symbol
_Y, _M, _N = 2, 1, 0


class _Symbol(lib.Symbol):  # type: ignore[misc]
    """A symbol whose value follows sym_calc_value() of scripts/kconfig/symbol.c."""

    __slots__ = ()

    @property
    def tri_value(self) -> int:
        return _tri_value(self)

    @property
    def str_value(self) -> str:
        sym: Any = self
        if sym._cached_str_val is None and sym.orig_type in (lib.INT, lib.HEX):
            sym._cached_str_val = _number_value(sym)
        return str(_symbol_of_kconfiglib.str_value.fget(sym))

    @property
    def config_string(self) -> str:
        if self in self.kconfig.transitional:
            return ""
        return str(_symbol_of_kconfiglib.config_string.fget(self))


def _tri_value(sym: Any) -> int:
    if sym._cached_tri_val is not None:
        return int(sym._cached_tri_val)
    if sym.orig_type not in (lib.BOOL, lib.TRISTATE):
        sym._cached_tri_val = _N
        return _N
    visible = sym.visibility
    sym._write_to_conf = visible != _N
    if sym.choice is not None and visible == _M:
        value = _M if sym.user_value else _N  # a tristate choice, which kernels had until v6.10
    elif sym.choice is not None:
        value = _Y if visible and sym.choice.selection is sym else _N
    else:
        value = _free_value(sym, visible)
    if value == _M and sym.type is lib.BOOL:
        value = _Y
    sym._cached_tri_val = value
    return value


def _free_value(sym: Any, visible: int) -> int:
    """Return the value of a symbol outside of choices: the user's or the default one, then what is selected."""
    selected = _as_bool(sym, lib.expr_value(sym.rev_dep))
    has_user_value = visible and sym.user_value is not None
    value = min(sym.user_value, visible) if has_user_value else _default_value(sym)
    if selected:
        sym._write_to_conf = True
    return int(max(value, selected))


def _default_value(sym: Any) -> int:
    value = _N
    for default, condition in sym.defaults:
        if limit := lib.expr_value(condition):
            value = min(lib.expr_value(default), limit)
            break
    if value:
        sym._write_to_conf = True
    if implied := _as_bool(sym, lib.expr_value(sym.weak_rev_dep)):
        sym._write_to_conf = True
        value = min(max(value, implied), _as_bool(sym, lib.expr_value(sym.direct_dep)))
    return value


def _number_value(sym: Any) -> str:
    """Return the value of an int or hex symbol in the spelling that conf gives it."""
    dialect: Dialect = sym.kconfig.dialect
    visible = sym.visibility
    sym._write_to_conf = visible != _N
    radix = 10 if sym.orig_type is lib.INT else 16
    limits: list[Any] = [(low, high) for low, high, condition in sym.ranges if lib.expr_value(condition)][:1]
    low, high = (str(limit.str_value) for limit in limits[0]) if limits else ("", "")
    value: str | None = sym.user_value if visible else None
    if value is not None and limits and not dialect.clamps_user_values:
        number = _strtoll(value, radix)
        if not _strtoll(low, radix) <= number <= _strtoll(high, radix):
            value = None
    if value is None:
        value = {10: "0", 16: "0x0"}[radix] if dialect.numbers_begin_at_zero else ""
        for default, condition in sym.defaults:
            if lib.expr_value(condition):
                sym._write_to_conf = True
                value = str(default.str_value)
                break
    if limits:
        number = _strtoll(value, radix)
        if number < _strtoll(low, radix):
            return low
        if number > _strtoll(high, radix):
            return high
    return value


def _strtoll(text: str, radix: int) -> int:
    """Return what C's strtoll() makes of a text: the number at its beginning, or 0."""
    digits = r"[+-]?\d+" if radix == 10 else r"[+-]?(0[xX])?[0-9a-fA-F]+"
    match = re.match(rf"\s*({digits})", text)
    return int(match[1], radix) if match else 0


def _as_bool(sym: Any, value: int) -> int:
    """Return y for the m of a bool, as conf does with what a symbol depends on and what turns it on."""
    return _Y if value == _M and sym.type is lib.BOOL else value


class _Choice(lib.Choice):  # type: ignore[misc]
    """A choice that remembers in which order its members were assigned: the last one goes first."""

    __slots__ = ("assigned",)

    def __init__(self) -> None:
        super().__init__()
        self.assigned: list[Any] = []

    def _selection(self) -> Any:
        if not self.kconfig.dialect.choice_members_have_order:
            return super()._selection()
        if not self.visibility:
            return None
        visible = [member for member in self.syms if member.visibility]
        order = [s for s in self.assigned if s.visibility]
        for member in order:
            if member.user_value == _Y:
                return member
        default = self._selection_from_defaults()
        if default is not None and default.user_value != _N:
            return default
        # The default was turned off: the first member that nobody spoke of, or else the one turned off first.
        unspoken = [member for member in visible if member.user_value is None]
        return unspoken[0] if unspoken else (order[-1] if order else None)


lib.Symbol, lib.Choice = _Symbol, _Choice
lib.expandvars = str  # a habit of kconfiglib's, for Kconfig files of before 2018
lib._SYMBOL_CHOICE = frozenset({_Symbol, _Choice})


_OPEN_SOURCE = re.compile(r"(o|or|g|gr)source\b|r?source\b.*[*?\[]")
"""A source statement that other files than those read could fulfil another time."""


class KernelKconfig(lib.Kconfig):  # type: ignore[misc]
    """The Kconfig files of one kernel tree for one architecture and toolchain.

    Not for concurrent use. :meth:`reset` forgets all assignments, so that one parse serves several configs.
    """

    def __init__(self, tree: KernelTree, toolchain: Toolchain, values: Mapping[str, str] | None = None) -> None:
        """Parse. Raises UserError with file and line where the files hold something that is not understood.

        ``values`` is the result of :func:`kbuild_environment`, if it is known already.
        """
        self.tree = tree
        self.toolchain = toolchain
        self.dialect = Dialect.of(tree)
        self.transitional: set[Any] = set()
        """Symbols marked ``transitional``."""
        self._node: Any = None
        self.commands: dict[str, str] = {}
        """Each command that the files ran, with its output."""
        self.repeatable = True
        """Whether the same files would be read again, as long as none of them changes."""
        self._values = kbuild_environment(tree, toolchain) if values is None else dict(values)
        try:
            with tempfile.TemporaryDirectory(prefix="kdumpbuild-kconfig-") as scratch:
                self._scratch = Path(scratch)
                with _seen_environment(self._values):
                    super().__init__("Kconfig", warn=True, warn_to_stderr=False)
        except lib.KconfigError as error:
            raise _parse_fault(str(error), tree) from error
        except OSError as error:
            raise user_error(f"cannot read the Kconfig files of {tree.name}: {error}", where=str(tree.path)) from error
        for sym in self.transitional:
            _make_transitional(self, sym)

    def revive(self, tree: KernelTree, toolchain: Toolchain) -> None:
        """Complete an object whose other attributes come from a kept state."""
        self.tree = tree
        self.toolchain = toolchain
        self.dialect = Dialect.of(tree)
        self.reset()

    # --- the language ------------------------------------------------------------------------------------------

    def _tokenize(self, s: str) -> Any:
        word = s.strip()
        if word == "modules":
            s = "option modules\n"
        elif word == "transitional":
            if self._node is None or self._node.item.__class__ is not _Symbol:
                self._line = s
                self._parse_error("only symbols can be transitional")
            self.transitional.add(self._node.item)
            return (None,)
        elif _OPEN_SOURCE.match(word):
            self.repeatable = False
        return super()._tokenize(s)

    def _parse_props(self, node: Any) -> None:
        self._node = node
        super()._parse_props(node)

    def _expect_expr_and_eol(self) -> Any:
        if self._tokens[0] is not lib._T_DEPENDS:
            return super()._expect_expr_and_eol()
        wanted = self._parse_expr(True)
        if self._check_token(lib._T_IF):
            wanted = self._make_or(wanted, self._is_n(self._parse_expr(True)))
        if self._tokens[self._tokens_i] is not None:
            self._trailing_tokens_error()
        return wanted

    def _is_n(self, expr: Any, *, equal: bool = True) -> Any:
        """Return the expression ``expr = n`` or ``expr != n``, as expr_trans_compare() of scripts/kconfig/expr.c."""
        kind = expr[0] if expr.__class__ is tuple else None
        if kind is None:
            return (lib.EQUAL if equal else lib.UNEQUAL, expr, self.n)
        if kind is lib.NOT:
            return self._is_n(expr[1], equal=not equal)
        if kind in (lib.AND, lib.OR):
            both = (lib.OR if kind is lib.AND else lib.AND, self._is_n(expr[1]), self._is_n(expr[2]))
            return both if equal else (lib.NOT, both)
        return (lib.NOT, expr) if equal else expr

    def _fn_val(self, args: list[str]) -> str:
        if args[0] == "shell" and "shell" not in self.variables and len(args) == 2:
            out, err = shell(args[1], cwd=self._scratch, env=self._values)
            self.commands[args[1]] = out
            if err:
                self._warn(f"'{args[1]}' wrote to stderr: {err.strip()}", self.filename, self.linenr)
            return out.rstrip("\n").replace("\n", " ")
        return str(super()._fn_val(args))

    # --- values ------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget every assignment."""
        self.warn = False
        for sym in self.unique_defined_syms:
            sym.user_value = None
        for choice in self.unique_choices:
            choice.user_value = choice.user_selection = None
            choice.assigned.clear()
        self._invalidate_all()
        self.warn = True

    def assign(self, sym: Any, value: str) -> bool:
        """Give a symbol a user's value, as a line of a .config does. False: the value is not of the symbol's type."""
        warn, self.warn = self.warn, False
        try:
            if not sym.set_value(value):
                return False
        finally:
            self.warn = warn
        if (choice := sym.choice) is not None:
            if sym in choice.assigned:
                choice.assigned.remove(sym)
            choice.assigned.insert(0, sym)
            if sym.user_value:
                choice.user_value = max(choice.user_value or _N, sym.user_value)
            choice._rec_invalidate()
        return True

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Let the block assign what it likes; afterwards everything is as it was."""
        values = [(sym, sym.user_value) for sym in self.unique_defined_syms if sym.user_value is not None]
        choices = [(c, c.user_value, c.user_selection, list(c.assigned)) for c in self.unique_choices]
        try:
            yield
        finally:
            self.reset()
            for sym, value in values:
                sym.user_value = value
            for choice, value, selection, assigned in choices:
                choice.user_value, choice.user_selection, choice.assigned = value, selection, assigned
            self._invalidate_all()

    def assign_no_to_rest(self) -> None:
        """Turn off whatever has a prompt and was not spoken of, as ``make allnoconfig`` does."""
        warn, self.warn = self.warn, False
        for sym in self.unique_defined_syms:
            if sym.user_value is None and sym.orig_type in (lib.BOOL, lib.TRISTATE) and sym.choice is None:
                if sym in self.transitional or not any(node.prompt for node in sym.nodes):
                    continue
                sym.user_value = _Y if sym.is_allnoconfig_y else _N
        self._invalidate_all()
        self.warn = warn

    def config_text(self) -> str:
        """Return the whole .config, as conf_write() of scripts/kconfig/confdata.c writes it."""
        self.warn = False
        heading = f"#\n# Automatically generated file; DO NOT EDIT.\n# {self.mainmenu_text}\n#\n"
        text = str(self._config_contents(heading))
        self.warn = True
        return text


def _make_transitional(kconfig: KernelKconfig, sym: Any) -> None:
    """Let a transitional symbol take a user's value although it has no prompt. It is left out of the .config."""
    sym.nodes[0].prompt = ("(transitional)", kconfig.y)


def _parse_fault(text: str, tree: KernelTree) -> Exception:
    text = text.strip()
    match = re.match(r"(?:error: )?([^\s:]+:\d+):\s*(?:error: )?(.*)", text, re.DOTALL)
    where, what = (match[1], match[2]) if match else ("Kconfig", text)
    return user_error(
        f"{tree.name}: Kconfig: {what}", where=str(tree.path / where),
        hint="a Kconfig language newer than this kdumpbuild knows, a damaged tree, or a toolchain that is not usable",
    )  # fmt: skip
