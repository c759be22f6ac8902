"""The crash region's arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdumpbuild.board import memory
from kdumpbuild.board.memory import CrashKernel, parse_crashkernel
from kdumpbuild.board.model import Bank

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("text", "total", "expected"),
    [
        ("crashkernel=64M", GIB, CrashKernel(64 * MIB)),
        ("crashkernel=0x4000000", GIB, CrashKernel(64 * MIB)),
        ("crashkernel=64M@0x50000000", GIB, CrashKernel(64 * MIB, 0x50000000)),
        ("crashkernel=64M@0", GIB, CrashKernel(64 * MIB)),
        ("crashkernel=16M crashkernel=32M", GIB, CrashKernel(32 * MIB)),
        ("crashkernel=512M-2G:64M,2G-:128M", GIB, CrashKernel(64 * MIB)),
        ("crashkernel=512M-2G:64M,2G-:128M", 2 * GIB, CrashKernel(128 * MIB)),
        ("crashkernel=512M-2G:64M,2G-:128M@16M", 3 * GIB, CrashKernel(128 * MIB, 16 * MIB)),
        ("crashkernel=2G-:128M", GIB, CrashKernel(0)),
        ("crashkernel=1G-2G:64M", GIB - 20 * MIB, CrashKernel(64 * MIB)),  # rounded up to 128 MiB
        ("crashkernel=256M,high", 8 * GIB, CrashKernel(256 * MIB, high=True, low=128 * MIB)),
        ("crashkernel=256M,high crashkernel=64M,low", 8 * GIB, CrashKernel(256 * MIB, high=True, low=64 * MIB)),
        ("crashkernel=256M,high crashkernel=32M", 8 * GIB, CrashKernel(32 * MIB)),
        ("console=ttyS0", GIB, None),
    ],
)
def test_crashkernel(text: str, total: int, expected: CrashKernel | None) -> None:
    assert parse_crashkernel(text.split(), total) == expected


@pytest.mark.parametrize("value", ["", "M", "64M+16M", "512M:64M", "2G-1G:64M", "1G-2G", "2G", "64MB"])
def test_crashkernel_that_the_kernel_refuses(value: str) -> None:
    with pytest.raises(ValueError, match=r"crashkernel|size"):
        parse_crashkernel([f"crashkernel={value}"], GIB)


def test_lowmem_of_the_usual_splits() -> None:
    ram = [Bank(0x40000000, 2 * GIB)]
    # 768 MiB with 3G/1G and the default vmalloc area of 240 MiB.
    assert memory.arm_lowmem_end(ram, 0xC0000000) == 0x40000000 + 768 * MIB
    assert memory.arm_lowmem_end(ram, 0x80000000) == 0x40000000 + 1792 * MIB
    assert memory.arm_lowmem_end(ram, 0xC0000000, vmalloc=496 * MIB) == 0x40000000 + 512 * MIB
    assert memory.arm_lowmem_end([Bank(0x40000000, 512 * MIB)], 0xC0000000) == 0x60000000


def test_places_on_arm() -> None:
    # 256 MiB at 1 GiB, the kernel at its start: the second multiple of 128 MiB is all there is.
    ram = [Bank(0x40000000, 256 * MIB)]
    free = memory.free_ranges(ram, [Bank(0x40000000, 32 * MIB)])
    assert memory.arm_candidates(64 * MIB, free, 0x50000000) == [0x48000000]
    assert memory.arm_candidates(129 * MIB, free, 0x50000000) == []
    assert memory.arm_candidates(16 * MIB, [Bank(0, 128 * MIB)], 128 * MIB) == []  # base 0 is below the least


def test_place_is_the_highest() -> None:
    free = [Bank(0, 100 * MIB), Bank(200 * MIB, 101 * MIB)]
    assert memory.place(10 * MIB, free, low=0, high=GIB, alignment=2 * MIB) == 290 * MIB
    assert memory.place(10 * MIB, free, low=0, high=100 * MIB, alignment=2 * MIB) == 90 * MIB
    assert memory.place(150 * MIB, free, low=0, high=GIB, alignment=2 * MIB) is None


banks = st.builds(Bank, st.integers(0, 100), st.integers(1, 50))


holes = st.builds(Bank, st.integers(0, 150), st.integers(0, 60))


@given(ram=st.lists(banks, max_size=4), taken=st.lists(holes, max_size=4))
def test_free_is_ram_without_what_is_taken(ram: list[Bank], taken: list[Bank]) -> None:
    free = memory.free_ranges(ram, taken)

    def cells(ranges: list[Bank]) -> set[int]:
        return {n for bank in ranges for n in range(bank.base, bank.end)}

    assert cells(free) == cells(ram) - cells(taken)


def test_the_room_that_loading_takes() -> None:
    # zImage with --image-size 0x2bf000, initramfs 1.9 MiB, QEMU's device tree of 1 MiB, and the header on top.
    assert memory.arm_load_size(0x2BF000, 1_933_296, MIB) == 7 * MIB
    assert memory.arm_load_size(0x2BF000, 1_933_296, MIB, elf64=True) == 8 * MIB


@pytest.mark.parametrize(("region", "seen"), [(10, 3972), (12, 6020), (14, 8032)])
def test_memory_that_capture_kernels_counted(region: int, seen: int) -> None:
    """Kernel 1784 KiB, initramfs 1888 KiB, device tree 1 MiB; 3.7 MiB unpacked fitted into half of the last only."""
    counted = memory.capture_ram(1784 * 1024, 1_933_296, MIB, region * MIB, memmap=region * MIB // 4096 * 36)
    assert 0 <= seen * 1024 - counted <= 100 * 1024
    assert (counted // 2 >= 3_846_144) == (region == 14)
