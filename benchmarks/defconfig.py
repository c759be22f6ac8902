"""A board's derived capture kernel against the architecture's defconfig as capture kernel.

Usage: defconfig.py BOARD [BOARD ...], all of one architecture, with OUT, CACHE, SYSROOT and QEMU as for the build.
Needs `doit build BOARD=…` of each before.

The defconfig is multi_v7_defconfig or arm64's defconfig with CRASH_DUMP, and as little else changed. It is compiled
once, and the first board's derived kernel beside it; both without ccache. Then each board crashes with its own set, and
with a set that differs by the kernel and by what has to be reserved for it: computed for both in the same way, and more
where that is too little.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kdumpbuild import files, steps
from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.board.memory import CrashKernel, align_up
from kdumpbuild.board.size import format_size
from kdumpbuild.build import kernel, toolchain
from kdumpbuild.build.layout import Layout, SetFiles
from kdumpbuild.build.progress import Progress
from kdumpbuild.build.reservation import reserve
from kdumpbuild.crashtest import TRIGGERS, run_crashtest
from kdumpbuild.crashtest.runner import Options
from kdumpbuild.errors import UserError
from kdumpbuild.kconfig.cache import open_kconfig
from kdumpbuild.kconfig.fragment import parse_fragment
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.settings import Settings, read_settings
from tests.boot.support import variant

MB = 1e6
DEFCONFIGS = {"arm": "multi_v7_defconfig", "arm64": "defconfig"}
ADDED = "CONFIG_CRASH_DUMP=y\nCONFIG_PROC_VMCORE=y\n"
NO_MEMORY = "the capture kernel ran out of memory"
MOST = 256 << 20
_INIT = re.compile(r"\[\s*([\d.]+)\] Run /init as init process")


@dataclass(frozen=True)
class Result:
    """What one capture kernel came to on one board."""

    size: int
    reserved: int
    init: float
    dmesg: float
    vmcore: float


def compiled(settings: Settings, layout: Layout, config: Path, kbuild: Path) -> float:
    """Compile a kernel from nothing, and return the seconds of processor time it took: others may be at work here."""
    tree = steps.kernel_tree(settings, layout, "capture")
    begin = processor_time()
    with Progress(f"{config.name}", "files") as progress:
        kernel.build(
            tree=tree.path, config=config, kbuild=kbuild, arch=layout.board.arch,
            toolchain=toolchain.find(layout.board.arch, settings), jobs=settings.jobs,
            log=kbuild.with_suffix(".log"), progress=progress,
        )  # fmt: skip
    return processor_time() - begin


def processor_time() -> float:
    """Return what the programs that were started have taken so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def defconfig(settings: Settings, layout: Layout, path: Path) -> None:
    """Write the defconfig with a crash dump's options."""
    arch = layout.board.arch
    tree = steps.kernel_tree(settings, layout, "capture")
    kconfig = open_kconfig(tree, toolchain.find(arch, settings), settings.cache / "kconfig")
    found = resolve(kconfig, DEFCONFIGS[arch.name], [parse_fragment(ADDED, path)])
    found.check()
    files.write_text(path, found.config_text)


def crash(settings: Settings, layout: Layout, whole: tuple[Path, Path] | None, folder: Path) -> Result | str:
    """Crash a board with its own set, or with a kernel and its config in the place of the set's.

    The size is computed, and raised by a quarter as long as the capture kernel runs out of memory. Return what went
    wrong when there was no dump.
    """
    board, own = layout.board, layout.set
    capture, config = whole or (own.kernel, own.capture_config)
    free = replace(board, memory=replace(board.memory, crashkernel=None, crash_base=None))
    asked = reserve(
        free, kernel=capture, initramfs=own.initramfs, production=own.production_config,
        dtb=layout.dtb if board.dtb else None,
    ).crash  # fmt: skip
    while True:
        found = once(settings, layout, (capture, config), asked, folder)
        if found != NO_MEMORY or asked.size > MOST:
            return found
        print(f"{board.name}: {NO_MEMORY} with {format_size(asked.size)}", file=sys.stderr)
        asked = replace(asked, size=align_up(asked.size * 5 // 4, 2 << 20))


def once(
    settings: Settings, layout: Layout, whole: tuple[Path, Path], asked: CrashKernel, folder: Path
) -> Result | str:
    """Crash a board once with a kernel, its config and this much memory."""
    board, own, capture = layout.board, layout.set, whole[0]
    target = steps.open_userland(settings, board.arch)
    made: SetFiles = variant(own, board, target, folder / "set", capture=whole, crash=asked)
    options = Options(qemu=settings.qemu)
    verdict = run_crashtest(board, made, target, TRIGGERS["sysrq"], folder / "crash", options)
    if not verdict.passed or verdict.times.dmesg is None or verdict.times.vmcore is None:
        return verdict.failure.what if verdict.failure else "not all checks passed"
    found = _INIT.findall((folder / "crash" / "console.log").read_text(encoding="utf-8", errors="replace"))
    return Result(capture.stat().st_size, asked.size, float(found[1]), verdict.times.dmesg, verdict.times.vmcore)


def tell(name: str, ours: Result | str, theirs: Result | str) -> None:
    """Print a line of the table."""
    if isinstance(ours, str) or isinstance(theirs, str):
        told = [f"{whose}: {what}" for whose, what in (("own", ours), ("defconfig", theirs)) if isinstance(what, str)]
        print(f"| {name} | {'; '.join(told)} | | | | |", flush=True)
        return
    print(
        f"| {name} | {ours.size / MB:.2f} / {theirs.size / MB:.2f} MB = {ours.size / theirs.size:.2f} "
        f"| {format_size(ours.reserved)} / {format_size(theirs.reserved)} "
        f"| {ours.init:.1f} / {theirs.init:.1f} s = {ours.init / theirs.init:.2f} "
        f"| {ours.dmesg:.1f} / {theirs.dmesg:.1f} s | {ours.vmcore:.1f} / {theirs.vmcore:.1f} s |",
        flush=True,
    )


def main(names: list[str]) -> None:
    """Compile both, crash with both, print."""
    settings = read_settings(os.environ.get, Path.cwd())
    known = find_boards(settings.board_path)
    boards = [load_board(find_board(name, known, settings.base)) for name in names]
    layouts = [Layout(settings.out, settings.cache, board) for board in boards]
    first = layouts[0]
    kept = settings.out / "work" / f"defconfig-{first.board.arch.name}"
    config, kbuild = kept / "defconfig.config", kept / "kernel"
    image = Path("arch", first.board.arch.name, "boot", first.board.arch.image)
    if not (kbuild / image).is_file():
        os.environ["CCACHE_DISABLE"] = "1"
        with tempfile.TemporaryDirectory(dir=settings.out) as folder:
            ours = compiled(settings, first, first.config("capture"), Path(folder) / "kernel")
        defconfig(settings, first, config)
        theirs = compiled(settings, first, config, kbuild)
        whole = DEFCONFIGS[first.board.arch.name]
        print(
            f"processor time of compiling: {first.board.name}'s capture kernel {ours:.0f} s, {whole} {theirs:.0f} s, "
            f"ratio {ours / theirs:.2f}\n",
            flush=True,
        )
    print("| board | kernel | crashkernel= | init after | panic to dmesg | panic to vmcore |")
    print("|---|---|---|---|---|---|")
    for layout in layouts:
        with tempfile.TemporaryDirectory(dir=settings.out) as name:
            mine = crash(settings, layout, None, Path(name) / "own")
            other = crash(settings, layout, (kbuild / image, config), Path(name) / "defconfig")
        tell(layout.board.name, mine, other)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
