"""Give every reader of files broken inputs, at least 100,000 each, and report what came of it.

    python benchmarks/fuzz_readers.py [COUNT [SEED]]

Ends with exit code 1 when a reader did anything but read or refuse.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fuzz.readers import fuzz, readers


def main() -> int:
    """Run and print one line for each reader."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failed = False
    print(f"{'reader':<12} {'inputs':>8} {'refused':>8} {'crashes':>8} {'s':>7} {'slowest ms':>11} {'peak MiB':>9}")
    for name, (reader, seeds) in readers().items():
        result = fuzz(reader, seeds, count, seed)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name:<12} {result.inputs:>8} {result.refused:>8} {len(result.crashes):>8} {result.seconds:>7.1f} "
            f"{result.slowest * 1000:>11.1f} {peak:>9.0f}",
            flush=True,
        )
        for _, error in result.crashes[:3]:
            print(f"    {type(error).__name__}: {error}")
        failed = failed or bool(result.crashes)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
