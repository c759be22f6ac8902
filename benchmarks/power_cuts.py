"""Power cuts at random moments of the capture, on one and the same storage, as many as one likes.

Usage: power_cuts.py [BOARD [CUTS [SEED]]], with OUT and CACHE as for the build. Needs `doit build BOARD=…` before.

Half of the cuts go to a file system, half to a ring of slots. After each one the storage is looked at: every dump that
was whole is there and unchanged (but for those that the board's `keep` lets go), whatever is shown as complete opens,
and the machine comes back to its next crash. It stops at the first that does not hold.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kdumpbuild import steps
from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.build.layout import Layout
from kdumpbuild.settings import read_settings
from tests.boot.power import Rounds
from tests.boot.support import variant
from tests.boot.test_power import TARGETS


def main(name: str, cuts: int, seed: int) -> None:
    """Cut and tell."""
    settings = read_settings(os.environ.get, Path.cwd())
    board = load_board(find_board(name, find_boards(settings.board_path), settings.base))
    userland = steps.open_userland(settings, board.arch)
    with tempfile.TemporaryDirectory(dir=settings.out) as folder:
        for kind, values in TARGETS.items():
            dump = replace(board.dump, loop_crashes=0, **values)  # type: ignore[arg-type]
            one = replace(board, dump=dump)
            made = variant(Layout(settings.out, settings.cache, board).set, one, userland, Path(folder) / f"set-{kind}")
            rounds = Rounds(one, made, userland, Path(folder) / kind, seed)
            longest = rounds.whole()
            print(f"{kind}: a capture takes {longest:.1f} s from its first words to the reboot", flush=True)
            for number in range(cuts // len(TARGETS)):
                stage = rounds.cut(longest)
                print(f"{kind} {number + 1}: power cut after {stage!r}; {rounds.complete} complete dumps", flush=True)
            rounds.whole()
            print(f"{kind}: {sum(rounds.cuts.values())} cuts: {dict(rounds.cuts)}; all as it has to be", flush=True)


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "arm-virt",
        int(sys.argv[2]) if len(sys.argv) > 2 else 200,
        int(sys.argv[3]) if len(sys.argv) > 3 else 1,
    )
