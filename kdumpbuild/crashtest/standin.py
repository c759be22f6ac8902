"""A crash test for a board that QEMU does not have: its capture system on the machine ``virt``, and what that proves.

The board's capture kernel has no drivers for ``virt``, so it cannot run there. A second one can: built from the same
fragments and the drivers of ``virt`` on top, so that all of the first is in it. It runs with the board's own initramfs,
byte for byte, with a few bytes behind it that name the disk of ``virt``, and with the very memory that is reserved
for the board. What depends on the board's hardware is not proved by it, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdumpbuild import resources, run
from kdumpbuild.board import memory
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.logs import Logs
from kdumpbuild.board.memory import MIB, CrashKernel
from kdumpbuild.board.model import Bank
from kdumpbuild.board.size import format_size, human
from kdumpbuild.build import cpio, scripts
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.initramfs import with_files
from kdumpbuild.build.kernel import symbols
from kdumpbuild.build.reservation import Reservation
from kdumpbuild.crashtest.disk import place_of
from kdumpbuild.crashtest.machine import machine_of, qemu_program
from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board, Dump
    from kdumpbuild.build.layout import SetFiles

_RAM_BASE = 0x40000000
_MOST_RAM = {"arm": 3 << 30, "arm64": 8 << 30}
"""arm: virt with highmem=off ends at 4 GiB."""
_LOW_MEMORY = 760 * MIB
"""What an arm kernel with the usual split maps for good."""
_INITRD_ROOM = 32 * MIB
"""What QEMU's copy of the production initramfs and its device tree are taken to cover."""


@dataclass(frozen=True)
class StandIn:
    """What a crash test on another machine proves of a board."""

    machine: str
    """QEMU's machine."""
    same: tuple[str, ...]
    """What was the board's own in it."""
    different: tuple[str, ...]
    """What was not."""
    proves: tuple[str, ...]
    """What is proved when it passes."""
    does_not_prove: tuple[str, ...]
    """What is left to be proved on the board."""


def why_not(board: Board) -> str:
    """Return why no stand-in would prove anything of a board; empty when one would."""
    if board.capture.kernel == "same":
        return "its capture kernel is the product's own, which has no drivers for virt"
    if board.capture.root:
        return "its capture system runs from the product's file system, and virt has no such disk"
    return ""


def stand_in(board: Board, derived: Path | None) -> Board:
    """Return the board that stands in: the virt machine of the same architecture, with the board's capture system.

    ``derived``: the fragment with the drivers that were derived for the board. Raises UserError when that would prove
    nothing.
    """
    reason = why_not(board)
    if reason:
        raise user_error(
            f"the board {board.name} cannot be crash-tested in QEMU", where=str(board.path),
            why=f"it has no [machine], and nothing can stand in for it: {reason}",
            hint="describe a QEMU machine that comes near, in [machine]; or crash the board itself",
        )  # fmt: skip
    virt = load_board(resources.BOARDS / f"{board.arch.name}-virt.toml")
    capture = board.capture
    own = (*capture.fragments, *board.dump.fragments, *([str(derived)] if derived else []))
    return replace(
        board,
        memory=replace(board.memory, ram=(Bank(_RAM_BASE, min(board.memory.total, _MOST_RAM[board.arch.name])),)),
        production=replace(virt.production, fragments=(*virt.production.fragments, *_high_memory(board))),
        capture=replace(capture, fragments=(*own, *virt.capture.fragments), console=virt.capture.console),
        dump=_dump(board.dump),
        machine=virt.machine,
        dtb="",
        drivers=None,
        # Where they write to is the board's own.
        logs=Logs(),
    )


def _high_memory(board: Board) -> tuple[str, ...]:
    """Return what an arm production kernel needs to use all of the RAM."""
    return ("highmem",) if board.arch.name == "arm" and board.memory.total > _LOW_MEMORY else ()


def _dump(dump: Dump) -> Dump:
    # A label is found on any disk, a partition by its number on this one. And ext4 is what its kernels know.
    partition = place_of(dump.device).partition
    device = dump.device if dump.device.startswith(("LABEL=", "PARTLABEL=")) else f"/dev/vda{partition or ''}"
    return replace(dump, device=device, filesystem="ext4", target="filesystem", mount_options="", network=None)


def initramfs(own: bytes, board: Board) -> bytes:
    """Return a board's crash initramfs with the configuration for ``board`` behind it: a later file takes its place."""
    return with_files(own, [cpio.file("etc/kdump.conf", scripts.capture_conf(board).encode())])


def reservation(asked: CrashKernel, board: Board) -> Reservation:
    """Return what the stand-in reserves: as much as the board, by address where QEMU sits in the only place."""
    base = None
    bank = board.memory.ram[0]
    if board.arch.name == "arm" and bank.size <= 2 * memory.ARM_CRASH_ALIGN:
        initrd = Bank(bank.base + bank.size // 2, _INITRD_ROOM)
        free = memory.free_ranges([bank], [Bank(bank.base, memory.KERNEL_ROOM), initrd])
        base = memory.place(asked.size, free, low=bank.base, high=bank.end - 8 * MIB, alignment=8 * MIB)
    return Reservation(CrashKernel(asked.size, base), f"as much as for {board.name}")


def device_tree(board: Board, qemu: Path | None, target: Path) -> Path:
    """Write QEMU's device tree for the machine without its padding of 1 MiB, which no board has, and return it."""
    whole, machine = target.with_suffix(".whole.dtb"), machine_of(board)
    command = [
        qemu_program(board, qemu), "-M", f"{machine.machine},dumpdtb={whole}", "-cpu", machine.cpu,
        "-smp", str(machine.smp), "-m", f"{board.memory.total >> 20}M", "-display", "none", "-nic", "none",
    ]  # fmt: skip
    run.run(command, what="ask QEMU for its device tree")
    run.run(["dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", target, whole], what="pack QEMU's device tree")
    whole.unlink()
    return target


def story(board: Board, own: SetFiles, standing: Board, other: SetFiles) -> StandIn:
    """Return what the test proves, from the two sets as they are."""
    before, after = (symbols(made.capture_config.read_text(encoding="utf-8")) for made in (own, other))
    added = [n.removeprefix("CONFIG_") for n, v in after.items() if v == "y" and before.get(n, "n") == "n"]
    changed = [n.removeprefix("CONFIG_") for n, v in before.items() if v != "n" and after.get(n, "n") != v]
    sizes = [human(made.kernel.stat().st_size) for made in (own, other)]
    behind = other.initramfs.stat().st_size - own.initramfs.stat().st_size
    ram, real = standing.memory.total, board.memory.total
    asked = format_size(reserved(own).size)
    console = standing.capture.console
    is_ext4 = not board.dump.is_ring and board.dump.filesystem == "ext4"
    kind = f"the dump target's kind, {board.dump.target}" if board.dump.is_ring else "the file system"
    target = standing.dump.device if is_ext4 else f"{standing.dump.device} with ext4"
    return StandIn(
        machine=standing.machine.machine if standing.machine else "",
        same=(
            "the crash initramfs, byte for byte",
            "the capture kernel's source, compiler and every option of its config"
            + (f" but {_some(changed)}" if changed else ""),
            f"the reserved memory, {asked}" + (f", of {human(ram)} of RAM" if ram == real else ""),
            "kdump-load and all its checks",
        ),
        different=(
            *((f"the capture kernel has more options ({sizes[1]}, not {sizes[0]}): {_some(added)}",) if added else ()),
            f"{behind} bytes behind the initramfs name the dump target {target} instead of {board.dump.device}",
            *((f"the console is {console}, not {board.capture.console}",) if console != board.capture.console else ()),
            "the production kernel is a small one for virt",
            *(() if ram == real else (f"RAM is {human(ram)}, not {human(real)}",)),
        ),
        proves=(
            f"kernel, initramfs and what makedumpfile needs fit into {asked}",
            "the capture kernel's config runs this userland: it finds a dump target, saves, and reboots",
            "the dump is of the crash, and opens",
        ),
        does_not_prove=(
            f"the drivers of {board.name}: its storage, console, watchdog, and what these hang on",
            "the product's kernel and its config, and how its other CPUs are stopped",
            "the boot loader: whether it hands crashkernel= on, and where the region lies in the board's memory",
            *(() if is_ext4 else (f"{kind} {board.dump.filesystem}".rstrip(),)),
        ),
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:8])
    return f"{shown}, …" if len(names) > 8 else shown
