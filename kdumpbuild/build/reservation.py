"""What a set's production kernel has to reserve: ``crashkernel=``, as the board file says or computed from the set.

How much follows from the real sizes (:mod:`kdumpbuild.board.need`), where from the rules by which the kernel chooses a
place (:mod:`kdumpbuild.board.memory`). A region that has no place on the board fails the build, with the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdumpbuild.board import memory
from kdumpbuild.board.memory import MIB, CrashKernel
from kdumpbuild.board.size import format_size, human
from kdumpbuild.checks.facts import Case, Cmdline, Facts, parse_version
from kdumpbuild.checks.gather import config_of
from kdumpbuild.errors import user_error
from kdumpbuild.formats.arm64_image import read_arm64_image
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.formats.initramfs import read_initramfs
from kdumpbuild.formats.zimage import read_zimage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdumpbuild.board.model import Bank, Board

_DTB_GROWTH = 64 << 10
"""What boot loaders add to a device tree, generously: /chosen, /memory, serial numbers, and their own padding."""
_BY_HAND = 8 * MIB
"""Step of an address that we choose, and how far it stays from the top of low memory, where early data lies."""
_ANY_BASE = (5, 15)
"""First arm kernel whose decompressor believes linux,usable-memory-range instead of rounding down to 128 MiB."""


@dataclass(frozen=True)
class Reservation:
    """What is to be reserved, and why as much."""

    crash: CrashKernel
    origin: str
    """Where the size is from, in one line."""


def reserve(board: Board, *, kernel: Path, initramfs: Path, production: Path, dtb: Path | None) -> Reservation:
    """Return what is to be reserved for a capture kernel and its initramfs.

    ``production`` is the production kernel's config, ``dtb`` the board's device tree where there is one. Raises
    UserError when the board has no place for it.
    """
    case = _case(board, kernel, initramfs, production, dtb)
    given = board.memory
    if given.crashkernel is not None:
        crash, origin = CrashKernel(given.crashkernel, given.crash_base), "the board file"
        story = f"the board file asks for {crash.argument}"
    else:
        parts = case.parts
        crash, origin = CrashKernel(parts.recommended), f"computed: {parts.story()}"
        story = origin
    if crash.base is None:
        crash = replace(crash, base=_base(case, board, crash, story))
    if crash.base is not None and given.crash_base is None:
        origin += f"; at {crash.base:#x}, since the kernel itself takes only multiples of 128 MiB"
    return Reservation(crash, origin)


def _case(board: Board, kernel: Path, initramfs: Path, production: Path, dtb: Path | None) -> Case:
    config = read_dotconfig(production)
    tree = read_devicetree(dtb) if dtb is not None else None
    if tree is not None:
        tree = replace(tree, size=tree.size + _DTB_GROWTH)
        if board.machine is not None:
            tree = replace(tree, size=max(tree.size, MIB))  # what QEMU makes of it
    is_zimage = board.arch.image == "zImage"
    facts = Facts(
        arch=board.arch,
        board=board,
        ram=board.memory.ram,
        production=config_of(config),
        cmdline=_cmdline(board),
        kernel=parse_version(config.version) if config.version else None,
        dtb=tree,
        zimage=read_zimage(kernel) if is_zimage else None,
        image=None if is_zimage else read_arm64_image(kernel),
        initramfs=read_initramfs(initramfs),
    )
    return Case(facts)


def _cmdline(board: Board) -> Cmdline | None:
    text = board.production.cmdline
    return Cmdline(text, board.where("production", "cmdline")) if text else None


def _base(case: Case, board: Board, crash: CrashKernel, story: str) -> int | None:
    """Return None when the kernel finds a place itself, else one for it. Raises UserError when there is none."""
    free = memory.free_ranges(case.ram, case.taken)
    if board.arch.name == "arm64":
        limit = max(bank.end for bank in case.ram)
        if memory.place(crash.size, free, low=0, high=limit, alignment=memory.ARM64_CRASH_ALIGN) is None:
            raise _no_place(board, crash, free, story, "a region of arm64 starts at a multiple of 2 MiB")
        return None
    if memory.arm_candidates(crash.size, free, case.lowmem_end):
        return None
    rule = f"arm takes multiples of 128 MiB below {case.lowmem_end:#x}, the end of low memory"
    if case.facts.kernel is not None and case.facts.kernel < _ANY_BASE:
        raise _no_place(board, crash, free, story, rule)
    low = min(bank.base for bank in case.ram)
    base = memory.place(crash.size, free, low=low, high=case.lowmem_end - _BY_HAND, alignment=_BY_HAND)
    if base is None:
        raise _no_place(board, crash, free, story, f"{rule}, and by hand multiples of 8 MiB, 8 MiB from its end")
    return base


def _no_place(board: Board, crash: CrashKernel, free: Sequence[Bank], story: str, rule: str) -> Exception:
    holes = [f"free: {human(bank.size)} at {bank.base:#x}" for bank in free]
    return user_error(
        f"there is no place for a crash region of {format_size(crash.size)} on {board.name}",
        where=board.where("memory", "crashkernel"),
        why="\n".join([story, rule, *(holes or ["free: nothing"])]),
        hint="fewer drivers in the capture kernel, a smaller initramfs, or less reserved-memory in the device tree;\n"
        'what is not counted as free: the running kernel, reserved-memory, the CMA pool',
    )
