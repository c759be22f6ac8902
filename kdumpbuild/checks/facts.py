"""What is known of a product, and the view of it that rules get."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from kdumpbuild.board import memory
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.model import Bank
from kdumpbuild.board.need import Parts
from kdumpbuild.checks.model import Input, Missing
from kdumpbuild.checks.tables import DMA_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdumpbuild.board.arch import Arch
    from kdumpbuild.board.model import Board
    from kdumpbuild.formats.arm64_image import Arm64Image
    from kdumpbuild.formats.devicetree import DeviceTree
    from kdumpbuild.formats.elf import UserlandNeeds, Vmlinux
    from kdumpbuild.formats.initramfs import Initramfs
    from kdumpbuild.formats.zimage import ZImage

Version = tuple[int, ...]
T = TypeVar("T")


def parse_version(text: str) -> Version:
    """Return the numbers that a version begins with: ``6.12.117-rt1`` is (6, 12, 117). Raises ValueError."""
    match = re.match(r"v?(\d+(?:\.\d+)+)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a version")
    return tuple(int(part) for part in match[1].split("."))


def show(version: Version) -> str:
    """Return a version as text."""
    return ".".join(map(str, version))


@dataclass(frozen=True)
class Config:
    """A resolved kernel configuration. Symbols are named without ``CONFIG_``."""

    values: Mapping[str, str]
    name: str = ""
    """The file it came from."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """The line of each symbol in that file."""
    places: Mapping[str, str] = field(default_factory=dict)
    """``file:line`` of a fragment that asked for a symbol; counts before ``lines``."""

    def value(self, symbol: str) -> str:
        """Return a symbol's value; ``n`` for one that is not there."""
        return self.values.get(symbol, "n")

    def on(self, *symbols: str) -> bool:
        """Whether one of the symbols is y or m."""
        return any(self.value(symbol) in ("y", "m") for symbol in symbols)

    def builtin(self, *symbols: str) -> bool:
        """Whether one of the symbols is y."""
        return any(self.value(symbol) == "y" for symbol in symbols)

    def number(self, symbol: str, default: int = 0) -> int:
        """Return an int or hex symbol's value."""
        try:
            return int(self.value(symbol), 0)
        except ValueError:
            return default

    def where(self, *symbols: str) -> str:
        """Return the place of the first of the symbols that has one, else the file."""
        for symbol in symbols:
            if symbol in self.places:
                return self.places[symbol]
            if symbol in self.lines:
                return f"{self.name}:{self.lines[symbol]}"
        return self.name


@dataclass(frozen=True)
class Cmdline:
    """A kernel command line."""

    text: str
    name: str = ""
    """Where it came from."""

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Its arguments; what stands in double quotes holds together (Linux, lib/cmdline.c, ``next_arg``)."""
        return tuple(
            re.sub(r'"', "", piece) for piece in re.findall(r'(?:[^\s"]|"[^"]*"?)+', self.text.partition(" -- ")[0])
        )

    def value(self, name: str) -> str | None:
        """Return the value of the last argument of that name, empty for one without ``=``; None when absent.

        ``-`` and ``_`` are the same in names, as they are to the kernel.
        """
        wanted = name.replace("-", "_")
        found = None
        for argument in self.arguments:
            key, _, value = argument.partition("=")
            if key.replace("-", "_") == wanted:
                found = value
        return found

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of all arguments of that name."""
        return tuple(a.partition("=")[2] for a in self.arguments if a.partition("=")[0] == name)

    def __contains__(self, name: str) -> bool:
        return self.value(name) is not None


@dataclass(frozen=True)
class Program:
    """A program of the userland, and what it needs of its kernel."""

    path: str
    """In the userland, from its root."""
    needs: UserlandNeeds
    interpreter: str | None
    needed: tuple[str, ...]


@dataclass(frozen=True)
class Rootfs:
    """What was found in a root directory of the target."""

    name: str
    programs: tuple[Program, ...] = ()
    sysctls: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Value and ``file:line`` of each sysctl that is set at boot."""


@dataclass(frozen=True)
class Facts:
    """All that was given. Everything is optional: what is None was not given."""

    arch: Arch | None = None
    production: Config | None = None
    capture: Config | None = None
    kernel: Version | None = None
    capture_kernel: Version | None = None
    dtb: DeviceTree | None = None
    dtb_from_build: bool = False
    """Whether the tree is the kernel's build's: what the boot loader puts in is not in it."""
    cmdline: Cmdline | None = None
    capture_cmdline: Cmdline | None = None
    zimage: ZImage | None = None
    image: Arm64Image | None = None
    image_name: str = ""
    """The file of ``zimage`` or ``image``."""
    vmlinux: Vmlinux | None = None
    initramfs: Initramfs | None = None
    initramfs_programs: tuple[Program, ...] = ()
    damaged_programs: tuple[tuple[str, str], ...] = ()
    """Path and fault of each ELF file of the initramfs that cannot be read."""
    ram: tuple[Bank, ...] = ()
    reserved: memory.CrashKernel | None = None
    """What an image set says is to be reserved for it."""
    kexec_tools: Version | None = None
    makedumpfile: Version | None = None
    rootfs: Rootfs | None = None
    board: Board | None = None
    image_size: int | None = None
    """Value of kexec's ``--image-size``; None when not known."""
    file_load: bool | None = None
    """Whether the capture kernel is loaded with ``kexec -s``; None when not known."""
    makedumpfile_options: tuple[str, ...] | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    """Option and value of each input, for reports."""


class Case:
    """The facts as a rule sees them: an input that was not given ends the rule with :class:`Missing`.

    What a rule can do without it takes from :attr:`facts`.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @property
    def arch(self) -> Arch:
        """The architecture."""
        return _given(self.facts.arch, Input.ARCH)

    @property
    def production(self) -> Config:
        """The production kernel's configuration."""
        return _given(self.facts.production, Input.PRODUCTION)

    @property
    def capture(self) -> Config:
        """The capture kernel's configuration."""
        return _given(self.facts.capture, Input.CAPTURE)

    @property
    def kernel(self) -> Version:
        """The production kernel's version."""
        return _given(self.facts.kernel, Input.KERNEL)

    @property
    def capture_kernel(self) -> Version:
        """The capture kernel's version: the production kernel's unless said otherwise."""
        return _given(self.facts.capture_kernel or self.facts.kernel, Input.KERNEL)

    @property
    def dtb(self) -> DeviceTree:
        """The device tree."""
        return _given(self.facts.dtb, Input.DTB)

    @property
    def booted_dtb(self) -> DeviceTree:
        """The device tree as the boot loader hands it on, for what only that tells: memory, seeds, EFI, overlays."""
        return _given(None if self.facts.dtb_from_build else self.facts.dtb, Input.DTB)

    @property
    def cmdline(self) -> Cmdline:
        """The production kernel's command line."""
        return _given(self.facts.cmdline, Input.CMDLINE)

    @property
    def capture_cmdline(self) -> Cmdline:
        """The capture kernel's command line, without what kexec adds."""
        return _given(self.facts.capture_cmdline, Input.CAPTURE_CMDLINE)

    @property
    def zimage(self) -> ZImage:
        """The arm capture kernel."""
        return _given(self.facts.zimage, Input.ZIMAGE)

    @property
    def image(self) -> Arm64Image:
        """The arm64 capture kernel."""
        return _given(self.facts.image, Input.IMAGE)

    @property
    def vmlinux(self) -> Vmlinux:
        """The production kernel's ELF file."""
        return _given(self.facts.vmlinux, Input.VMLINUX)

    @property
    def initramfs(self) -> Initramfs:
        """The crash initramfs."""
        return _given(self.facts.initramfs, Input.INITRAMFS)

    @property
    def kexec_tools(self) -> Version:
        """The version of kexec-tools on the target."""
        return _given(self.facts.kexec_tools, Input.KEXEC_TOOLS)

    @property
    def makedumpfile(self) -> Version:
        """The version of makedumpfile in the capture system."""
        return _given(self.facts.makedumpfile, Input.MAKEDUMPFILE)

    @property
    def rootfs(self) -> Rootfs:
        """The product's root file system."""
        return _given(self.facts.rootfs, Input.ROOTFS)

    @property
    def board(self) -> Board:
        """The board file."""
        return _given(self.facts.board, Input.BOARD)

    @property
    def ram(self) -> tuple[Bank, ...]:
        """The banks of RAM: as given, else the device tree's."""
        if self.facts.ram:
            return self.facts.ram
        if self.facts.dtb is not None and self.facts.dtb.memory:
            return tuple(Bank(r.base, r.size) for r in self.facts.dtb.memory)
        raise Missing(Input.RAM)

    @property
    def programs(self) -> Sequence[Program]:
        """The ELF programs and libraries of the capture system."""
        self.initramfs  # noqa: B018  # raises Missing
        return self.facts.initramfs_programs

    # -- what follows from the inputs -----------------------------------------------------------------------------

    @property
    def file_load(self) -> bool:
        """Whether the capture kernel is loaded with kexec_file_load: as said, else whether it can be."""
        if self.facts.file_load is not None:
            return self.facts.file_load
        return self.arch.kexec_file_load and self.production.on("KEXEC_FILE")

    @property
    def crashkernel(self) -> memory.CrashKernel:
        """What the command line reserves; without one, what the image set or the board file asks for."""
        if self.facts.cmdline is None:
            if self.facts.reserved is not None:
                return self.facts.reserved
            if self.facts.board is not None and self.facts.board.memory.crashkernel is not None:
                return memory.CrashKernel(self.facts.board.memory.crashkernel, self.facts.board.memory.crash_base)
            raise Missing(Input.CMDLINE)
        if not self.cmdline.values("crashkernel"):
            raise Missing(Input.CMDLINE)
        return self._crashkernel

    @cached_property
    def _crashkernel(self) -> memory.CrashKernel:
        try:
            found = memory.parse_crashkernel(self.cmdline.arguments, memory.total_ram(self._ram_or_none()))
        except ValueError:
            raise Missing(Input.CMDLINE) from None  # KD030 says what is wrong with it
        if found is None or not found.size:
            raise Missing(Input.CMDLINE)
        return found

    def _ram_or_none(self) -> tuple[Bank, ...]:
        try:
            return self.ram
        except Missing:
            # A plain size does not depend on RAM; ranges do.
            if any(":" in value for value in self.cmdline.values("crashkernel")):
                raise
            return ()

    @property
    def crashkernel_where(self) -> str:
        """Where crashkernel= is set."""
        if self.facts.cmdline is not None:
            return self.cmdline.name
        return str(self.board.path)

    @property
    def parts(self) -> Parts:
        """The sizes of what the capture system is made of."""
        dtb = self.dtb_size
        try:
            ram = memory.total_ram(self.ram)
        except Missing:
            ram = 0
        if self.arch.name == "arm":
            room = max(self.zimage.image_size_for_kexec(), self.facts.image_size or 0)
            kernel, offset = self.zimage.unpacked or 5 * self.zimage.size, 0
        else:
            kernel, offset = self.image.image_size or 3 * self.image.file_size, self.image.text_offset
            room = kernel
        if self.facts.board is not None and self.facts.board.capture.root:
            # Nothing is loaded beside the kernel, and files that were read can be read again.
            return Parts(self.arch, kernel, room, 0, 0, dtb, ram, offset)
        packed, unpacked = self.initramfs.size, self.initramfs.unpacked
        return Parts(self.arch, kernel, room, packed, unpacked, dtb, ram, offset)

    @property
    def page_offset(self) -> int:
        """Arm's PAGE_OFFSET."""
        return self.production.number("PAGE_OFFSET", 0xC0000000)

    @property
    def lowmem_end(self) -> int:
        """The end of arm's directly mapped RAM."""
        size = memory.ARM_VMALLOC_SIZE
        if self.facts.cmdline is not None and (asked := self.cmdline.value("vmalloc")):
            try:
                size = max(memory.memparse(asked)[0], 16 << 20)
            except ValueError:
                size = memory.ARM_VMALLOC_SIZE
        return memory.arm_lowmem_end(self.ram, self.page_offset, size)

    @property
    def dtb_size(self) -> int:
        """The size of the device tree that kexec loads: as given, QEMU's 1 MiB for its boards, else a usual size."""
        if self.facts.dtb is not None and not self.facts.dtb_from_build:
            return self.facts.dtb.size
        emulated = self.facts.board is not None and self.facts.board.machine is not None
        return 1 << 20 if emulated else 64 << 10

    @property
    def dma_limit(self) -> int:
        """The address below which arm64 looks for the crash region first."""
        compatible = self.facts.dtb.compatible if self.facts.dtb is not None else ()
        return min((DMA_LIMITS[c] for c in compatible if c in DMA_LIMITS), default=1 << 32)

    @property
    def taken(self) -> list[Bank]:
        """RAM that is not free for the crash region: the running kernel, reserved memory, and arm's CMA pool."""
        start = min(bank.base for bank in self.ram)
        reserved = self.facts.dtb.reserved if self.facts.dtb is not None else ()
        taken = [Bank(start, memory.KERNEL_ROOM), *(Bank(r.base, r.size) for r in reserved)]
        if self.facts.production is not None and self.arch.name == "arm":
            pool = min(self._production_cma(), self.lowmem_end)
            taken.append(Bank(self.lowmem_end - pool, pool))
        return taken

    def _production_cma(self) -> int:
        """Return the size of the production kernel's default CMA pool, which lies at the top of lowmem."""
        if not self.production.on("DMA_CMA"):
            return 0
        if self.facts.cmdline is not None and (asked := self.facts.cmdline.value("cma")) is not None:
            try:
                return memory.memparse(asked)[0]
            except ValueError:
                return 0
        pools = self.facts.dtb.pools if self.facts.dtb is not None else ()
        return max((p.size for p in pools if p.cma), default=max(self.production.number("CMA_SIZE_MBYTES"), 0) << 20)

    def where_of(self, which: Input) -> str:
        """Return where an input came from that is not a file of its own: its option, or the root directory."""
        if which.value in self.facts.given or self.facts.rootfs is None:
            return which.value
        return self.facts.rootfs.name

    def on_either(self, name: str, config: Config, cmdline: Cmdline | None) -> Iterator[str]:
        """Yield an argument's value as the kernel sees it: from its command line, and from the one built in."""
        for line in self.effective(config, cmdline):
            if (value := line.value(name)) is not None:
                yield value

    def effective(self, config: Config | None, cmdline: Cmdline | None) -> Iterator[Cmdline]:
        """Yield the command lines that a kernel runs with, in their order: the boot loader's, and the one built in.

        The built-in one counts when the boot loader gives none, and with CMDLINE_EXTEND or CMDLINE_FORCE
        (Linux, drivers/of/fdt.c).
        """
        forced = config is not None and config.on("CMDLINE_FORCE")
        if cmdline is not None and not forced:
            yield cmdline
        built_in = config.value("CMDLINE") if config is not None else ""
        alone = cmdline is None or not cmdline.text
        if config is not None and built_in not in ("n", "") and (forced or alone or config.on("CMDLINE_EXTEND")):
            yield Cmdline(built_in)


def _given(value: T | None, which: Input) -> T:
    if value is None:
        raise Missing(which)
    return value


def arch_named(name: str) -> Arch | None:
    """Return the architecture that Kbuild calls ``name``, or None."""
    return ARCHES.get(name)
