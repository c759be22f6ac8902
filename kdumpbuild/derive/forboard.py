"""Deriving for a board: its file's wishes, its blob, its kernel tree; the result as a fragment and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.derive import depend, say
from kdumpbuild.derive.blobs import read_board_fdt
from kdumpbuild.derive.derive import Derived, Wanted, derive
from kdumpbuild.derive.index import open_index
from kdumpbuild.derive.nodes import DeviceNodes
from kdumpbuild.derive.off import Off, hazards, overlay_source
from kdumpbuild.derive.starts import Wishes
from kdumpbuild.kconfig import why

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.kconfig.adapter import KernelKconfig
    from kdumpbuild.kconfig.fragment import Fragment


@dataclass(frozen=True)
class KconfigSymbols:
    """Answers about symbols, from Kconfig."""

    kconfig: KernelKconfig

    def possible(self, symbol: str, never: frozenset[str]) -> bool:
        """Whether a symbol can be on for the architecture while others never are."""
        known = self.kconfig.syms.get(symbol)
        return known is not None and bool(known.nodes) and why.conceivable(known.direct_dep, never | depend.AVOIDED)

    def related(self, symbol: str) -> set[str]:
        """Return what a symbol depends on or selects."""
        known = self.kconfig.syms.get(symbol)
        return why.related(known) if known is not None and known.nodes else set()


@dataclass(frozen=True)
class BoardDrivers:
    """What was derived for a board."""

    board: Board
    derived: Derived
    off: tuple[Off, ...]
    """What should be off in the capture kernel."""
    others: frozenset[str]
    """Symbols that stand for other families of SoCs."""

    def requests(self) -> list[depend.Request]:
        """Return each wanted symbol once, with its first reason."""
        first: dict[str, Wanted] = {}
        for wanted in self.derived.wanted:
            first.setdefault(wanted.symbol, wanted)
        needed = {wanted.symbol for wanted in self.derived.wanted if wanted.essential}
        return [
            depend.Request(symbol, wanted.reason, wanted.value, wanted.need is None, symbol in needed)
            for symbol, wanted in first.items()
        ]

    def fragment_text(self, kconfig: KernelKconfig, base: str | Path, below: Sequence[Fragment]) -> str:
        """Return the derived fragment on top of a base and of other fragments, each group with its reason."""
        made = depend.fragment(kconfig, base, below, self.requests(), self.others)
        out = [
            f"# Drivers that {self.board.name} needs, derived from its device tree {self.board.dtb}",
            f"# and from {kconfig.tree.name}. Made anew with each build: put additions into your own fragment.",
        ]
        reason = None
        for line in made.lines:
            if line.reason != reason:
                out += ["", *(["#@ means"] if line.means else []), f"# {line.reason}"]
                reason = line.reason
            out.append(line.text)
        return "\n".join(out) + "\n"

    def symbols(self) -> frozenset[str]:
        """Return every wanted symbol."""
        return frozenset(wanted.symbol for wanted in self.derived.wanted)

    def explain(self, kconfig: KernelKconfig, symbol: str, fragment: Fragment) -> str:
        """Return which nodes needed a symbol, through which paths; or which reference to its driver was left out."""
        name = symbol.removeprefix("CONFIG_")
        return "\n".join(say.page(kconfig, self.derived, name, fragment)) + "\n"

    def overlay(self) -> str:
        """Return the source of the overlay for the capture kernel's device tree."""
        return overlay_source(self.off, self.board.name, self.board.dtb)

    def told(self) -> list[str]:
        """Return what the user should know: nodes that are not mapped and without which it may work all the same."""
        where = self.board.where("drivers")
        return [str(unmapped.fault(where)) for unmapped in self.derived.unmapped if not unmapped.essential]


def derive_board(board: Board, kconfig: KernelKconfig, blob: Path, cache: Path | None) -> BoardDrivers:
    """Derive a board's drivers. Raises UserError for what the board file names wrongly, and for what must be mapped."""
    assert board.drivers is not None  # noqa: S101  # the caller's promise
    drivers = board.drivers
    nodes = DeviceNodes(read_board_fdt(blob, board))
    index = open_index(kconfig.tree, board.arch.name, cache)
    wishes = Wishes(
        storage=drivers.storage, console=drivers.console, tty=board.capture.console, watchdogs=drivers.watchdogs,
        nodes=drivers.nodes, without=drivers.without, answers=dict(drivers.answers),
    )  # fmt: skip
    name = board.dtb.rpartition("/")[2].removesuffix(".dtb")

    board_symbol = index.boards.get(name, "") if board.own_dtb is None else ""

    def where(key: str) -> str:
        return f"{board.where('drivers', key)}: drivers.{key}"

    found = derive(nodes, index, KconfigSymbols(kconfig), wishes, board_symbol=board_symbol, where=where)
    found.check(board.where("drivers"))
    return BoardDrivers(board, found, tuple(hazards(nodes, found, found.matcher)), found.matcher.others)
