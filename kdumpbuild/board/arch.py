"""The two architectures, as data. Adding a fact here replaces an ``if arch ==`` somewhere else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """What differs between arm and arm64, under the names that the outside world uses."""

    name: str
    """``ARCH=`` of Kbuild, and the folder below ``arch/``."""
    debian: str
    """Debian's name of the architecture, for the userland."""
    cross_compile: str
    """Prefix of Debian's cross compiler: the default of ``CROSS_COMPILE``."""
    image: str
    """Kbuild's target and file name of the bootable kernel, in ``arch/<name>/boot``."""
    qemu: str
    """QEMU's program."""
    elf_machine: str
    """``e_machine`` of the architecture's ELF files, as pyelftools spells it."""
    elf_class: int
    """32 or 64."""
    kexec_file_load: bool
    """Whether the kernel has kexec_file_load(2), that is ``kexec -s`` (Linux, kernel/Kconfig.kexec: arm never)."""
    packing: str
    """makedumpfile's option for how pages are packed when the board file leaves that to us."""
    makedumpfile: tuple[str, ...]
    """Further options that makedumpfile needs on this architecture."""
    bytes_per_page: int
    """What the kernel's map of its memory takes for each page of 4 KiB."""
    memmap_block: int
    """The map covers multiples of this many bytes, there or not."""
    region_alignment: int
    """Alignment in bytes of an automatically placed crash region (Linux, ``CRASH_ALIGN``)."""
    command_line_size: int
    """``COMMAND_LINE_SIZE`` of the kernel, in bytes with the final NUL."""


ARCHES: dict[str, Arch] = {
    "arm": Arch(
        name="arm",
        debian="armhf",
        cross_compile="arm-linux-gnueabihf-",
        image="zImage",
        qemu="qemu-system-arm",
        elf_machine="EM_ARM",
        elf_class=32,
        kexec_file_load=False,
        # Against ELF a third of the size in less than half of the time. drgn cannot read this form of arm's, but
        # kdumpbuild.analysis.kdumpfile makes ELF of it on the host.
        packing="-l",
        # makedumpfile's mmap of a region whose end is not aligned to a page block made the capture kernel report bad
        # page maps.
        makedumpfile=("--non-mmap",),
        bytes_per_page=36,  # struct page, and the padding of a flat map; counted in three capture kernels
        memmap_block=4 << 10,
        region_alignment=128 << 20,
        command_line_size=1024,
    ),
    "arm64": Arch(
        name="arm64",
        debian="arm64",
        cross_compile="aarch64-linux-gnu-",
        image="Image",
        qemu="qemu-system-aarch64",
        elf_machine="EM_AARCH64",
        elf_class=64,
        kexec_file_load=True,
        packing="-l",
        makedumpfile=(),
        bytes_per_page=64,  # struct page
        memmap_block=128 << 20,  # a section (Linux, arch/arm64/include/asm/sparsemem.h, SECTION_SIZE_BITS)
        region_alignment=2 << 20,
        command_line_size=2048,
    ),
}
