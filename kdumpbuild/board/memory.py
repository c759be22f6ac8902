"""The crash region's arithmetic: what ``crashkernel=`` asks for, where it can lie, what must fit into it.

Pure numbers. All sizes and addresses are in bytes; the end of a range is the first address behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.board.model import Bank
from kdumpbuild.board.size import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIB = 1 << 20
GIB = 1 << 30
PAGE = 0x1000

ARM_CRASH_ALIGN = 128 * MIB
"""Alignment, and lowest address, of a region that arm places itself (Linux, arch/arm/kernel/setup.c)."""
ARM64_CRASH_ALIGN = 2 * MIB
"""Alignment of arm64's region (Linux, arch/arm64/include/asm/crash_reserve.h)."""
ARM_VMALLOC_END = 0xFF800000
_ARM_VMALLOC_OFFSET = 8 * MIB
ARM_VMALLOC_SIZE = 240 * MIB
"""Default of ``vmalloc=`` (Linux, arch/arm/mm/mmu.c)."""
ARM_PAGEBLOCK = 8 * MIB
"""Largest page block of an arm kernel that is in use (ARCH_FORCE_MAX_ORDER=11). A region that does not end on such a
boundary makes pfn_valid() true behind it."""
ARM64_LOW = 128 * MIB
"""What arm64 reserves in low memory beside a region above it (Linux, ``DEFAULT_CRASH_KERNEL_LOW_SIZE``)."""
KERNEL_ROOM = 32 * MIB
"""What the running kernel is taken to cover from the start of RAM, where its size is not known."""

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)([KMGTPE]?)", re.IGNORECASE)


@dataclass(frozen=True)
class CrashKernel:
    """What a ``crashkernel=`` argument asks for on a machine with a certain amount of RAM."""

    size: int
    """0 when no range matches the amount of RAM."""
    base: int | None = None
    """The address behind ``@``, or None when the kernel chooses."""
    high: bool = False
    """``,high``: above the DMA zones (arm64)."""
    low: int | None = None
    """``,low``: the share in low memory that goes with ``,high``."""

    @property
    def argument(self) -> str:
        """The value of ``crashkernel=`` that asks for this: ``14M``, ``14M@0x47000000``."""
        suffix = ",high" if self.high else f"@{self.base:#x}" if self.base is not None else ""
        return f"{format_size(self.size)}{suffix}"


def memparse(text: str) -> tuple[int, str]:
    """Return the number at the start of ``text``, read as the kernel does, and the rest. Raises ValueError."""
    match = _NUMBER.match(text)
    if match is None:
        raise ValueError(f"a size was expected at {text[:20]!r}")
    digits = match[1]
    if digits[:2].lower() == "0x":
        value = int(digits, 16)
    elif digits.startswith("0") and digits.strip("01234567") == "":
        value = int(digits, 8)
    else:
        value = int(digits)
    return value << _UNITS[match[2].upper()], text[match.end() :]


def parse_crashkernel(arguments: Iterable[str], total: int) -> CrashKernel | None:
    """Return what ``crashkernel=`` comes to with ``total`` bytes of RAM; None when there is no such argument.

    As Linux, kernel/crash_reserve.c: the last plain argument counts; only without one do ``,high`` and ``,low``.
    Raises ValueError, worded for the user, when the kernel would refuse the argument.
    """
    values = [a.partition("=")[2] for a in arguments if a.startswith("crashkernel=")]
    plain = [v for v in values if not v.endswith((",high", ",low", ",cma"))]
    if plain:
        value = plain[-1]
        found = _ranges(value, total) if ":" in value else _simple(value)
        if found.size >= total > 0:
            raise ValueError(f"crashkernel={value} asks for all RAM or more")
        return found
    high = [v for v in values if v.endswith(",high")]
    if not high:
        return None
    size, _ = memparse(high[-1])
    low = [memparse(v)[0] for v in values if v.endswith(",low")]
    return CrashKernel(size, high=True, low=low[-1] if low else ARM64_LOW)


def _simple(value: str) -> CrashKernel:
    size, rest = memparse(value)
    if not rest:
        return CrashKernel(size)
    if not rest.startswith("@"):
        raise ValueError(f"crashkernel={value}: {rest[0]!r} is not understood")
    base, _ = memparse(rest[1:])
    return CrashKernel(size, base or None)


def _ranges(value: str, total: int) -> CrashKernel:
    total = align_up(total, 128 * MIB)  # since 4.19: firmware may have taken a little
    body, _, offset = value.partition("@")
    base = (memparse(offset)[0] or None) if offset else None
    for part in body.split(","):
        start, rest = memparse(part)
        if not rest.startswith("-"):
            raise ValueError(f"crashkernel={value}: '-' expected in {part!r}")
        rest, end = rest[1:], 1 << 64
        if not rest.startswith(":"):
            end, rest = memparse(rest)
        if end <= start or not rest.startswith(":"):
            raise ValueError(f"crashkernel={value}: {part!r} is not START-[END]:SIZE")
        size, _ = memparse(rest[1:])
        if start <= total < end:
            return CrashKernel(size, base)
    return CrashKernel(0, base)


def align_up(value: int, alignment: int) -> int:
    """Return the next multiple of ``alignment``, a power of two."""
    return (value + alignment - 1) & ~(alignment - 1)


def align_down(value: int, alignment: int) -> int:
    """Return the last multiple of ``alignment``, a power of two."""
    return value & ~(alignment - 1)


def total_ram(banks: Iterable[Bank]) -> int:
    """Return all RAM."""
    return sum(bank.size for bank in banks)


def arm_lowmem_end(banks: Sequence[Bank], page_offset: int, vmalloc: int = ARM_VMALLOC_SIZE) -> int:
    """Return the end of the RAM that an arm kernel maps for good (Linux, ``adjust_lowmem_bounds``)."""
    start = min(bank.base for bank in banks)
    limit = ARM_VMALLOC_END - vmalloc - _ARM_VMALLOC_OFFSET - page_offset + start
    return max((min(limit, bank.end) for bank in banks if bank.base < limit), default=start)


def free_ranges(banks: Sequence[Bank], taken: Iterable[Bank]) -> list[Bank]:
    """Return RAM without what is taken, in order."""
    free = sorted(banks, key=lambda bank: bank.base)
    for hole in taken:
        free = [
            Bank(base, end - base)
            for bank in free
            for base, end in (
                (bank.base, min(bank.end, max(bank.base, hole.base))),
                (max(bank.base, min(bank.end, hole.end)), bank.end),
            )
            if base < end and not (hole.size == 0 and base == bank.end)
        ]
    return free


def place(size: int, free: Iterable[Bank], *, low: int, high: int, alignment: int) -> int | None:
    """Return the highest aligned base in [low, high) where ``size`` bytes are free, as memblock does; or None."""
    for bank in sorted(free, key=lambda bank: bank.base, reverse=True):
        base = align_down(min(bank.end, high) - size, alignment)
        if base >= max(bank.base, low):
            return base
    return None


def arm_candidates(size: int, free: Iterable[Bank], lowmem_end: int) -> list[int]:
    """Return every base that arm could choose for a region of ``size`` bytes, highest first."""
    found = set()
    for bank in free:
        end = min(bank.end, lowmem_end, 1 << 32)
        base = align_down(end - size, ARM_CRASH_ALIGN)
        while base >= max(bank.base, ARM_CRASH_ALIGN):
            found.add(base)
            base -= ARM_CRASH_ALIGN
    return sorted(found, reverse=True)


def arm_load_size(image_size: int, initramfs: int, dtb: int, *, elf64: bool = False) -> int:
    """Return the smallest region into which kexec-tools can load an arm kernel.

    Its layout: kernel at 0x8000, initramfs behind the room of ``--image-size``, a page, the device tree, and on top
    the ELF header of the dump, aligned to 1 MiB (ELF32) or 2 MiB (kexec-tools, kexec/arch/arm).
    """
    used = 0x8000 + align_up(image_size, PAGE) + align_up(initramfs, PAGE) + PAGE + align_up(dtb, PAGE)
    step = 2 * MIB if elf64 else MIB
    return align_up(used, step) + step


def arm64_load_size(image_size: int, text_offset: int, initramfs: int, dtb: int) -> int:
    """Return the smallest region into which an arm64 kernel can be loaded: kernel, initramfs, device tree, headers."""
    headers = 2 * 64 * 1024  # elfcorehdr and purgatory, each aligned to at most 64 KiB
    return align_up(text_offset + image_size, 2 * MIB) + align_up(initramfs, PAGE) + align_up(dtb, 2 * MIB) + headers


def capture_ram(kernel: int, initramfs: int, dtb: int, region: int, memmap: int) -> int:
    """Return the RAM that the capture kernel counts as its own while it unpacks its initramfs.

    The region without the kernel (text to .bss), the packed initramfs, the device tree, the memory map, the dump's
    header, and half a MiB for page tables and what else is taken before memory is counted. Three arm capture kernels
    said 3972, 6020 and 8032 KiB of 10, 12 and 14 MiB; this gives 50 to 100 KiB less.
    """
    taken = kernel + align_up(initramfs, PAGE) + align_up(dtb, PAGE) + memmap
    return region - taken - MIB - MIB // 2
