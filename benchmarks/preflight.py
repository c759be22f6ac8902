"""How long a full preflight of an image set takes, in a fresh process each time.

    python benchmarks/preflight.py SET [COUNT]

SET is an image set of board arm-virt or arm64-virt. Prints the median and the slowest run, starting Python included.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from kdumpbuild.errors import UserError
from kdumpbuild.run import run


def main() -> int:
    """Run and print."""
    folder = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    is_arm = (folder / "zImage").is_file()
    image: list[str | Path] = ["--zimage", folder / "zImage"] if is_arm else ["--image", folder / "Image"]
    argv: list[str | Path] = [
        sys.executable, "-m", "kdumpbuild", "check", *image, "--board", "arm-virt" if is_arm else "arm64-virt",
        "--capture-config", folder / "capture.config", "--config", folder / "production/config",
        "--initramfs", folder / "initramfs.cpio.gz", "--vmlinux", folder / "debug/vmlinux",
        "--cmdline", "crashkernel=64M panic=10", "--capture-cmdline", "console=ttyAMA0 panic=5",
        "--image-size", "0x1000000", "--kexec-tools", "2.0.29", "--makedumpfile", "1.7.9", "--format", "json",
    ]  # fmt: skip
    times = []
    for _ in range(count):
        started = time.perf_counter()
        try:
            run(argv, what="check")
        except UserError as error:
            if "ended with exit code 1" not in str(error) and "ended with exit code 2" not in str(error):
                raise
        times.append(time.perf_counter() - started)
    print(f"{count} runs: median {statistics.median(times):.2f} s, slowest {max(times):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
