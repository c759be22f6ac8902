"""How long a build with nothing to do takes, and how a capture kernel compiles against a production kernel.

Usage: build.py noop|compile [BOARD], with the variables of a build (OUT, CACHE, KERNEL_SRC …) in the environment.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
REPOSITORY = Path(__file__).resolve().parents[1]


def seconds(command: list[str], **environment: str) -> float:
    """Return how long a command takes, from outside."""
    begin = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment}, cwd=REPOSITORY
    )
    return time.perf_counter() - begin


def noop(board: str) -> None:
    """Compare ``doit build`` with everything up to date with doit on a file that has one empty task."""
    build = [sys.executable, "-m", "doit", "build", f"BOARD={board}"]
    seconds(build)
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "dodo.py"
        empty.write_text("def task_nothing():\n    return {'actions': []}\n", encoding="utf-8")
        bare = [sys.executable, "-m", "doit", "-f", str(empty), "--db-file", str(Path(folder) / "db")]
        pairs = [(seconds(build), seconds(bare)) for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"doit build BOARD={board}, nothing to do: {ours:.2f} s")
    print(f"doit with one empty task:            {theirs:.2f} s")
    print(f"difference {ours - theirs:.2f} s, ratio {ours / theirs:.1f} (medians of {RUNS} pairs)")


def compile_kernels(board: str) -> None:
    """Compile both kernels of a board from nothing, one after the other, without ccache."""
    with tempfile.TemporaryDirectory() as out:
        took = {}
        doit = [sys.executable, "-m", "doit"]
        seconds([*doit, f"config:{board}"], OUT=out)
        for role in ("capture", "production"):
            took[role] = seconds([*doit, f"kernel:{board}-{role}"], OUT=out, CCACHE_DISABLE="1")
            print(f"{board} {role} kernel: {took[role]:.0f} s", flush=True)
        print(f"capture / production: {took['capture'] / took['production']:.2f}")


if __name__ == "__main__":
    benchmarks = {"noop": noop, "compile": compile_kernels}
    if len(sys.argv) < 2 or sys.argv[1] not in benchmarks:
        sys.exit(__doc__)
    benchmarks[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "arm-virt")
