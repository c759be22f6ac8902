"""From panic to the dump on the disk: an image set against the way that articles describe, and a plain skeleton.

Usage: article.py [BOARD [RUNS [MB_PER_SECOND]]], with OUT, CACHE and SYSROOT as for the build. Needs
`doit build BOARD=…` before.

The article's way: the production kernel once more as capture kernel, crashkernel=64M, and
`dd if=/proc/vmcore of=… bs=1M conv=fsync`. The skeleton: the set's own capture kernel and memory, and a first process
that mounts, runs makedumpfile as the set does, syncs and reboots; so it shows what guard, log and commits cost. All are
measured in the same run, one after the other, by the same crash test on the same machine; the clock starts at the first
line of the panic.

QEMU's disk is as fast as the host's memory, which no board's flash is. MB_PER_SECOND lets it write no faster than that,
for all ways: some 10 to 20 for an SD card, 50 to 100 for eMMC.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from kdumpbuild import files, steps
from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.board.memory import CrashKernel
from kdumpbuild.board.size import human
from kdumpbuild.build import cpio, initramfs, kernel, scripts
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.layout import Layout, SetFiles
from kdumpbuild.crashtest import TRIGGERS, Verdict, render, run_crashtest
from kdumpbuild.crashtest.runner import Options
from kdumpbuild.errors import UserError
from kdumpbuild.formats.zimage import read_zimage
from kdumpbuild.settings import Settings, read_settings

CRASHKERNEL = 64 << 20
RUNS = 3
INIT = """#!/bin/sh
# The shortest capture system, with the crash test's folders.
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
mount -t {filesystem} {device} /mnt
mkdir -p /mnt/{directory}/0002
cd /mnt/{directory}/0002
if {save}; then
	echo vmcore={form} >status
	sync
	echo "kdump: vmcore committed"
fi
cd /
umount /mnt
reboot -f
"""
APPLETS = ("dd", "mkdir", "mount", "reboot", "sync", "umount")


def shortest_set(settings: Settings, layout: Layout, folder: Path, *, article: bool) -> SetFiles:
    """Make a set of the article's kind, or the skeleton, beside the real one, and return it."""
    board = layout.board
    ours, made = layout.set, SetFiles(folder, board.arch.image)
    shutil.copytree(ours.folder, folder)
    if article:
        shutil.copyfile(ours.production_kernel, made.kernel)
    target = steps.open_userland(settings, board.arch)
    save = f"makedumpfile {' '.join(board.makedumpfile)} -d {board.dump.level} /proc/vmcore vmcore"
    init = INIT.format(
        filesystem=board.dump.filesystem, device=board.dump.device, directory=board.dump.directory,
        save="dd if=/proc/vmcore of=vmcore bs=1M conv=fsync" if article else save,
        form="raw" if article else "filtered",
    )  # fmt: skip
    entries = [
        *initramfs.base_entries(target, ["busybox"] if article else ["busybox", "makedumpfile"]),
        *(cpio.link(f"bin/{name}", "busybox") for name in APPLETS),
        cpio.file("init", init.encode(), executable=True),
    ]
    made.initramfs.write_bytes(initramfs.compress(entries))
    captures = ours.production_config if article else ours.capture_config
    config = kernel.symbols(captures.read_text(encoding="utf-8"))
    if config.get("CONFIG_PROC_VMCORE") != "y":
        sys.exit(f"{captures}: the kernel has no PROC_VMCORE, so it cannot capture")
    conf = scripts.load_conf(
        board,
        crashkernel=CrashKernel(CRASHKERNEL) if article else reserved(ours),
        release="",
        image_size=read_zimage(made.kernel).image_size_for_kexec() if board.arch.image == "zImage" else None,
        kernel=made.kernel.name,
        initramfs=made.initramfs.name,
        cmdline=scripts.capture_cmdline(board, config),
        dtb="",
    )
    made.load_conf.write_text(conf, encoding="utf-8")
    sums = "".join(f"{files.sha256(path)}  {path.name}\n" for path in (made.kernel, made.initramfs))
    made.checksums.write_text(sums, encoding="utf-8")
    return made


def committed(verdict: Verdict) -> float:
    """Return when the vmcore was durable. Ends the comparison when it never was."""
    if verdict.times.vmcore is None or verdict.vmcore_size is None:
        sys.exit(render(verdict))
    return verdict.times.vmcore


def compare(name: str, runs: int, rate: float | None) -> None:
    """Run all ways by turns and print medians and their ratios; the disk writes ``rate`` MB/s, or as it can."""
    settings: Settings = read_settings(os.environ.get, Path.cwd())
    board = load_board(find_board(name, find_boards(settings.board_path), settings.base))
    layout = Layout(settings.out, settings.cache, board)
    target = steps.open_userland(settings, board.arch)
    logs, ours, theirs, bare = [], [], [], []
    slow = () if rate is None else ("-set", f"drive.dump.throttling.bps-write={int(rate * 1e6)}")
    with tempfile.TemporaryDirectory(dir=settings.out) as folder:
        article = shortest_set(settings, layout, Path(folder) / "set", article=True)
        skeleton = shortest_set(settings, layout, Path(folder) / "skeleton-set", article=False)
        narrow = Options(qemu_args=slow)
        wide = Options(crashkernel=CRASHKERNEL, qemu_args=slow)
        for number in range(runs):
            mine = run_crashtest(board, layout.set, target, TRIGGERS["sysrq"], Path(folder) / "ours", narrow)
            if not mine.passed:
                sys.exit(render(mine))
            other = run_crashtest(board, article, target, TRIGGERS["sysrq"], Path(folder) / "article", wide)
            plain = run_crashtest(board, skeleton, target, TRIGGERS["sysrq"], Path(folder) / "plain", narrow)
            if mine.times.dmesg is None:
                sys.exit(render(mine))
            logs.append(mine.times.dmesg)
            ours.append(committed(mine))
            theirs.append(committed(other))
            bare.append(committed(plain))
            print(
                f"run {number + 1}: image set: dmesg {logs[-1]:.1f} s, vmcore {ours[-1]:.1f} s, "
                f"{human(mine.vmcore_size or 0)} {mine.form}, {mine.reserved >> 20} MiB reserved; "
                f"article {theirs[-1]:5.1f} s, {human(other.vmcore_size or 0)}, {other.reserved >> 20} MiB reserved; "
                f"skeleton {bare[-1]:5.1f} s, {human(plain.vmcore_size or 0)}",
                flush=True,
            )
    theirs_mid, bare_mid = statistics.median(theirs), statistics.median(bare)
    disk = "as fast as the host" if rate is None else f"of {rate:g} MB/s"
    ram = board.memory.total >> 20
    print(f"{board.name}, {ram} MiB of RAM, disk {disk}: from the panic, medians of {runs}:")
    for what, values in (("dmesg", logs), ("vmcore", ours)):
        mid = statistics.median(values)
        print(
            f"  durable {what}: {mid:.1f} s; to the article's vmcore, {theirs_mid:.1f} s, {mid / theirs_mid:.2f}; "
            f"to the skeleton's, {bare_mid:.1f} s, {mid / bare_mid:.2f}"
        )


if __name__ == "__main__":
    try:
        name, runs, rate, *_ = [*sys.argv[1:], "", "", ""]
        compare(name or "arm-virt", int(runs or RUNS), float(rate) if rate else None)
    except UserError as error:
        sys.exit(str(error))
