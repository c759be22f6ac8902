"""How much memory a capture system needs, from the sizes of what it is made of.

Three things have to be true of a region, and the smallest one in which they are is what is needed:

1. kexec can load into it: kernel, packed initramfs, device tree, the dump's ELF header, each where kexec puts it;
2. what the capture kernel then counts as its own holds the unpacked initramfs, while the packed one is still there, and
   what the kernel itself has allocated by then;
3. with the packed one given back, enough is left for the programs: makedumpfile, a shell, the kernel's own caches.

Beyond that a margin: a system that crashes after a year has more to describe than a fresh one, and drivers take memory
when they find their devices. docs/crashkernel.md has the measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.board import memory
from kdumpbuild.board.memory import MIB, align_up
from kdumpbuild.board.size import format_size, human

if TYPE_CHECKING:
    from kdumpbuild.board.arch import Arch

STEP = 2 * MIB
"""Sizes are multiples of this: arm64 aligns the region to it (Linux, CRASH_ALIGN)."""
KERNEL = 2 * MIB
"""What the kernel has allocated when it unpacks: with 1.5 MiB it ran out of memory, with 1.9 MiB it did not."""
PROGRAMS = 5 * MIB // 2
"""What makedumpfile and a shell need. With 1.9 MiB they ran out of memory, with 3.8 MiB they did not."""
_MARGIN = 2 * MIB
_WIDE = 8 * MIB
"""A kernel that is larger has drivers for any board, which take much of its size again when they start: those of a
distribution's armv7 kernel of 22 MiB took 7, of arm64's defconfig of 45 MiB on an i.MX 8M Plus more than 16; with 36 it
captured."""
_BITMAP = 8 * memory.PAGE // 2
"""makedumpfile has two bits for each page of RAM."""


@dataclass(frozen=True)
class Parts:
    """What a capture system is made of. Sizes in bytes."""

    arch: Arch
    kernel: int
    """The running kernel, from text to the end of .bss."""
    room: int
    """What has to be free for the kernel while it is loaded: on arm kexec's ``--image-size``."""
    initramfs: int
    unpacked: int | None
    """Memory that the initramfs takes unpacked; None when that is not known."""
    dtb: int
    ram: int
    """All RAM of the board: makedumpfile keeps account of each page."""
    text_offset: int = 0
    """arm64: where the kernel lies, from the start of its region."""

    @property
    def programs(self) -> int:
        """What the programs need."""
        return PROGRAMS + self.ram // _BITMAP

    @property
    def margin(self) -> int:
        """What to reserve beyond the smallest region that works."""
        return align_up(max(_MARGIN, self.kernel * 4 // 5 if self.kernel > _WIDE else self.kernel // 3), STEP)

    @property
    def load_size(self) -> int:
        """The smallest region into which it can be loaded."""
        if self.arch.kexec_file_load:
            return memory.arm64_load_size(self.room, self.text_offset, self.initramfs, self.dtb)
        return memory.arm_load_size(self.room, self.initramfs, self.dtb)

    def free(self, region: int) -> int:
        """Return what the capture kernel counts as its own in a region of that size, before it unpacks anything."""
        memmap = align_up(region, self.arch.memmap_block) // memory.PAGE * self.arch.bytes_per_page
        return memory.capture_ram(self.kernel, self.initramfs, self.dtb, region, memmap)

    def left(self, region: int) -> int:
        """Return what is left for programs. The packed initramfs is given back when all is out."""
        return self.free(region) + self.initramfs - (self.unpacked or 0)

    def works(self, region: int) -> bool:
        """Whether a region of that size is enough, by what is known."""
        unpacks = self.free(region) >= (self.unpacked or 0) + KERNEL
        return self.load_size <= region and unpacks and self.left(region) >= self.programs

    @property
    def smallest(self) -> int:
        """The smallest region that works, a multiple of :data:`STEP`."""
        region = align_up(self.load_size, STEP)
        while not self.works(region):
            region += STEP
        return region

    @property
    def recommended(self) -> int:
        """The smallest region that works, and the margin."""
        return self.smallest + self.margin

    def story(self) -> str:
        """Return in one line what the size is made of."""
        unpacked = human(self.unpacked) if self.unpacked is not None else "?"
        initramfs = f"initramfs {human(self.initramfs)}, unpacked {unpacked}, " if self.initramfs else ""
        return (
            f"kernel {human(self.kernel)}, {initramfs}device tree {human(self.dtb)}, "
            f"programs {human(self.programs)}: {format_size(self.smallest)}, and {format_size(self.margin)} to spare"
        )
