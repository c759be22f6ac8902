"""How long it takes to read a kernel's Kconfig files and to resolve both configs of a virt board.

    python benchmarks/resolve.py KERNEL_TREE [arm|arm64]

Prints the median of some runs, each in a process of its own so that nothing is warm but the disk: first reading
everything, then with what an earlier run has kept.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdumpbuild import resources
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.kconfig import KernelTree, Toolchain, open_kconfig, read_fragment, resolve

RUNS = 5


def once(tree: Path, arch: str, cache: Path | None) -> tuple[float, float]:
    """Return the seconds for reading the tree, and for both configs with all lines proved."""
    start = time.perf_counter()
    kconfig = open_kconfig(KernelTree.open(tree), Toolchain(arch, ARCHES[arch].cross_compile), cache)
    parsed = time.perf_counter()
    for names in (("production", f"production-{arch}", "product", "virt"),
                  ("capture", f"capture-{arch}", "capture-ext4", "capture-virt")):  # fmt: skip
        fragments = [read_fragment(resources.FRAGMENTS / f"{name}.config") for name in names]
        resolve(kconfig, "allnoconfig", fragments).check()
    return parsed - start, time.perf_counter() - parsed


def measure(tree: str, arch: str, cache: str) -> None:
    """Run some times and print the medians. ``cache`` is empty or a folder."""
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, __file__, tree, arch, "--once", cache]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append([*map(float, done.stdout.split()), time.perf_counter() - start])
    reading, resolving, whole = (statistics.median(column) for column in zip(*runs, strict=True))
    print(
        f"{arch}, {'kept' if cache else 'cold'}: read {reading:.2f} s, resolve and prove two configs {resolving:.2f} s;"
        f" whole process {whole:.2f} s (worst of {RUNS}: {max(run[2] for run in runs):.2f} s)",
        flush=True,
    )


def main() -> int:
    """Measure and print."""
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    tree = sys.argv[1]
    if "--once" in sys.argv:
        print(*once(Path(tree), sys.argv[2], Path(sys.argv[4]) if sys.argv[4] else None))
        return 0
    for arch in sys.argv[2:] or ("arm", "arm64"):
        measure(tree, arch, "")
        with tempfile.TemporaryDirectory() as cache:
            once(Path(tree), arch, Path(cache))
            measure(tree, arch, cache)
    return 0


if __name__ == "__main__":
    sys.exit(main())
