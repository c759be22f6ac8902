"""The configuration that the static scripts read, and the arguments for boot loaders. Pure: text from a board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.board import logs, panic
from kdumpbuild.board.network import Network
from kdumpbuild.build.captureroot import FOLDER
from kdumpbuild.errors import user_error
from kdumpbuild.render import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdumpbuild.board.logs import Ramoops
    from kdumpbuild.board.memory import CrashKernel
    from kdumpbuild.board.model import Board
    from kdumpbuild.board.panic import Version

OVERLAY = "ramoops.dtso"
"""The device tree overlay, in the set's folder ``boot``."""

# kexec-tools appends " elfcorehdr=0x… mem=…K" on arm (kexec/arch/arm/crashdump-arm.c).
_KEXEC_APPENDS = 64
_ROOTWAIT_LIMIT = (6, 6)
"""First kernel that takes a number of seconds in rootwait= (commit 45071e1c2897)."""
_ROOT_DELAY = 5
"""Seconds that an older one is given to find its root device: it always takes them all."""


def capture_cmdline(board: Board, config: Mapping[str, str], version: Version = ()) -> str:
    """Return the capture kernel's command line for its config (``CONFIG_X`` to value) and version.

    Arguments that this kernel does not know are left out. ``panic=`` is always there: without it a capture that fails
    hangs for ever (Linux, PANIC_TIMEOUT defaults to 0). Raises UserError when the line is too long.
    """
    def on(symbol: str) -> bool:
        return config.get(f"CONFIG_{symbol}", "n") != "n"

    arguments = [f"console={board.capture.console}"]
    candidates = {
        "nr_cpus=1": on("SMP"),
        "reset_devices": True,
        "cma=0": on("CMA") or on("DMA_CMA"),
        "cgroup_disable=memory": on("MEMCG"),
        "novmcoredd": on("PROC_VMCORE_DEVICE_DUMP"),
        "transparent_hugepage=never": on("TRANSPARENT_HUGEPAGE"),
        "hugetlb_cma=0": on("HUGETLB_PAGE") and on("CMA"),
        "nokaslr": on("RANDOMIZE_BASE"),
        "swiotlb=noforce": on("SWIOTLB"),
        # A tmpfs may fill half of the memory only, and the initramfs would not fit (Linux, init/do_mounts.c).
        "rootfstype=ramfs": on("TMPFS") and not board.capture.root,
        # It would take the crashed kernel's ramoops for its own console, and empty it (Linux, fs/pstore/ram.c). The
        # argument takes KALLSYMS (init/main.c).
        "initcall_blacklist=ramoops_init": on("PSTORE_RAM") and on("KALLSYMS"),
        "panic=5": True,
        "oops=panic": True,
        f"watchdog.open_timeout={board.dump.deadline}": board.watchdog is not None and on("WATCHDOG_CORE"),
    }
    arguments += [argument for argument, wanted in candidates.items() if wanted]
    arguments += [*_start(board, version), *board.capture.cmdline.split()]
    line = " ".join(arguments)
    room = board.arch.command_line_size - 1 - _KEXEC_APPENDS
    if len(line.encode()) > room:
        raise user_error(
            f"capture.cmdline: the whole line has {len(line.encode())} bytes, {room} fit",
            where=board.where("capture", "cmdline"),
            why=f"{board.arch.name} kernels take {board.arch.command_line_size} bytes, and kexec adds its own",
            hint=f"shorten it; the whole line: {line}",
        )
    return line


def _start(board: Board, version: Version) -> list[str]:
    """Return the arguments that start the capture system, from the initramfs or from the product's file system."""
    capture, seconds = board.capture, board.dump.device_timeout
    if not capture.root:
        return ["rdinit=/init"]
    # A plain rootwait waits for ever, with nobody there yet to reboot; with a limit it is followed by a panic.
    wait = f"rootwait={seconds}" if version >= _ROOTWAIT_LIMIT else f"rootdelay={min(seconds, _ROOT_DELAY)}"
    where = [f"root={capture.root}", f"rootfstype={capture.root_filesystem}", "ro", wait]
    return [*where, f"init=/{FOLDER}/init"]


def capture_conf(board: Board, checksum: str = "") -> str:
    """Return ``/etc/kdump.conf`` of the crash initramfs; ``checksum`` is the program that makes checksums there."""
    # Never mmap /proc/vmcore on arm, for the log neither: see the architecture's options.
    no_mmap = [option for option in board.arch.makedumpfile if option == "--non-mmap"]
    return render(
        "initramfs/kdump.conf.j2",
        board=board,
        makedumpfile=" ".join(board.makedumpfile),
        dmesg=" ".join(no_mmap),
        sum=checksum,
        network=board.dump.network or Network(interface="", address=""),
    )


def load_conf(
    board: Board,
    *,
    crashkernel: CrashKernel,
    release: str,
    image_size: int | None,
    kernel: str,
    initramfs: str,
    cmdline: str,
    dtb: str,
) -> str:
    """Return ``kdump-load.conf``. ``image_size``: what arm's kexec_load has to leave free for the unpacking zImage."""
    kexec_args = []
    if board.arch.kexec_file_load:
        kexec_args.append("-s")
    if image_size is not None:
        kexec_args.append(f"--image-size={image_size:#x}")
    return render(
        "target/kdump-load.conf.j2",
        board=board,
        release=release,
        kernel=kernel,
        initramfs=initramfs,
        cmdline=cmdline,
        kexec_args=" ".join(kexec_args),
        dtb=dtb,
        crashkernel=crashkernel,
    )


def collect_conf(board: Board) -> str:
    """Return ``kdump-collect.conf``."""
    return render("target/kdump-collect.conf.j2", board=board)


def boot_arguments(board: Board, crashkernel: CrashKernel, version: Version, config: Mapping[str, str]) -> list[str]:
    """Return what the boot loader has to give the production kernel, of this version and config."""
    return [
        f"crashkernel={crashkernel.argument}",
        *board.production.cmdline.split(),
        *panic.boot_arguments(board.panic, version, config),
        *logs.boot_arguments(board.logs),
    ]


def boot_snippets(
    board: Board, crashkernel: CrashKernel, version: Version, config: Mapping[str, str]
) -> dict[str, str]:
    """Return, by file name, how each boot loader is told, and the device tree overlay where the board needs one."""
    arguments = " ".join(boot_arguments(board, crashkernel, version, config))
    names = ("arguments.txt", "uboot.env.txt", "extlinux.append")
    found = {name: render(f"boot/{name}.j2", arguments=arguments) for name in names}
    if board.logs.ramoops is not None:
        found[OVERLAY] = overlay(board.logs.ramoops)
    return found


def overlay(ramoops: Ramoops) -> str:
    """Return the device tree overlay that sets ramoops' memory aside."""
    def cells(value: int) -> str:
        return f"{value >> 32:#x} {value & 0xFFFFFFFF:#x}" if ramoops.cells == 2 else f"{value:#x}"

    return render("boot/ramoops.dtso.j2", ramoops=ramoops, base=cells(ramoops.base), size=cells(ramoops.size))
