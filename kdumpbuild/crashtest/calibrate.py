"""How little memory is enough: the smallest ``crashkernel=`` with which a set still captures, found by real crashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.build.imageset import reserved
from kdumpbuild.crashtest.protocol import Means
from kdumpbuild.crashtest.runner import TARGET_FOLDER, Options, run_crashtest
from kdumpbuild.crashtest.triggers import TRIGGERS
from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.layout import SetFiles
    from kdumpbuild.build.userland import Userland
    from kdumpbuild.crashtest.verdict import Verdict

MIB = 1 << 20
STEP = 2 * MIB
"""arm64 aligns the region to 2 MiB; finer steps would tell nothing there."""
MARGIN = 2 * MIB
"""What to reserve beyond the smallest size: a kernel that crashes later has more to describe than a fresh one."""


@dataclass(frozen=True)
class Calibration:
    """What the crashes showed."""

    smallest: int
    """The smallest size, in bytes, with which the set captured."""
    fails_at: int
    """The next smaller one, with which it did not."""
    why: str
    """What went wrong there."""

    @property
    def recommended(self) -> int:
        """The smallest size and a margin, in bytes."""
        return self.smallest + MARGIN


def calibrate(
    board: Board,
    image_set: SetFiles,
    userland: Userland,
    work: Path,
    qemu: Path | None,
    tell: Callable[[int, str], None],
) -> Calibration:
    """Bisect between nothing and the set's own ``crashkernel=``.

    ``qemu``: the folder of QEMU's programs; ``tell`` gets each size and what came of it.

    The set's load script refuses less memory than the set asks for, so the test looks away from that one check.
    Raises UserError when the set does not capture with its own size.
    """
    low, high = 0, reserved(image_set).size // STEP * STEP
    why = "nothing is reserved"
    largest = attempt(board, image_set, userland, work, qemu, high)
    if largest:
        raise user_error(
            f"the image set does not capture with its own crashkernel=: {largest}",
            where=board.where("memory", "crashkernel"),
            hint=f"see doit crashtest BOARD={board.name}",
        )
    tell(high, "captures")
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        failure = attempt(board, image_set, userland, work, qemu, middle)
        tell(middle, failure or "captures")
        if failure:
            low, why = middle, failure
        else:
            high = middle
    return Calibration(smallest=high, fails_at=low, why=why)


def attempt(
    board: Board, image_set: SetFiles, userland: Userland, work: Path, qemu: Path | None, size: int
) -> str:
    """Crash once with ``size`` bytes reserved. Return what went wrong, or nothing."""
    verdict = crash_with(board, image_set, userland, work, qemu, size)
    if verdict.passed:
        return ""
    if verdict.failure is not None:
        return verdict.failure.what
    return "; ".join(check.name for check in verdict.checks if check.ok is False)


def crash_with(
    board: Board, image_set: SetFiles, userland: Userland, work: Path, qemu: Path | None, size: int,
    means: Means | None = None,
) -> Verdict:  # fmt: skip
    """Crash once with ``size`` bytes reserved, which the load script takes for enough."""
    conf = work / "kdump-load.conf"
    work.mkdir(parents=True, exist_ok=True)
    text = image_set.load_conf.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("KDUMP_CRASHKERNEL_BYTES=")]
    conf.write_text("\n".join([*lines, f"KDUMP_CRASHKERNEL_BYTES={size}", ""]), encoding="utf-8")
    install = {f"{TARGET_FOLDER}/{image_set.load_conf.name}": conf}
    options = Options(crashkernel=size, qemu=qemu, install=install, means=means or Means())
    return run_crashtest(board, image_set, userland, TRIGGERS["sysrq"], work / "crash", options)
