"""What a user is told when something is wrong: the fault record, the error that carries it, the exit codes.

Everything that is the user's to mend is a :class:`UserError` and is printed without a traceback. A bug of ours
is any other exception and keeps its traceback.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Exit(IntEnum):
    """Exit codes of ``kdumpbuild``. ``doit`` has its own: 0 done, 1 a task failed, 2 a bug, 3 input refused."""

    CLEAN = 0
    WARNINGS = 1
    ERRORS = 2
    UNUSABLE = 3


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and what to do about it.

    ``where`` is ``file``, ``file:line`` or the name of a variable; ``why`` and ``hint`` may have several lines.
    """

    what: str
    where: str = ""
    why: str = ""
    hint: str = ""

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        lines += [f"  {line}" for line in self.why.splitlines()]
        lines += [f"  hint: {line}" if i == 0 else f"        {line}" for i, line in enumerate(self.hint.splitlines())]
        return "\n".join(lines)


class UserError(Exception):
    """Input or surroundings that the user has to mend. Carries every fault that was found, not just the first."""

    def __init__(self, *faults: Fault) -> None:
        if not faults:
            raise ValueError("a UserError without a fault")
        super().__init__(*faults)
        self.faults: tuple[Fault, ...] = faults

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


def user_error(what: str, *, where: str = "", why: str = "", hint: str = "") -> UserError:
    """Return a :class:`UserError` with one fault."""
    return UserError(Fault(what, where=where, why=why, hint=hint))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean …?`` for the known name nearest to ``name``, or the list of known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        folded = {known_name.casefold(): known_name for known_name in names}
        close = [folded[m] for m in difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)]
    if close:
        return f"did you mean {close[0]}?"
    return "known: " + (", ".join(names) or "none")
