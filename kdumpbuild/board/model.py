"""The board record: the facts of one board and its product, and nothing that is derived from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.board.logs import Logs
from kdumpbuild.board.panic import Panic
from kdumpbuild.board.size import parse_size
from kdumpbuild.board.tables import Source

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.arch import Arch
    from kdumpbuild.board.network import Network

FORMAT = 1
"""The version of the board file's format that this release reads."""

_PACKING = {"lzo": "-l", "zlib": "-c", "zstd": "-z", "none": "-E"}
"""makedumpfile's option for each ``dump.compression``."""


@dataclass(frozen=True)
class Bank:
    """A bank of RAM, in bytes."""

    base: int
    size: int

    @property
    def end(self) -> int:
        """The first address behind the bank."""
        return self.base + self.size


def parse_bank(text: str) -> Bank:
    """Return the bank that ``512M@0x40000000`` stands for, size before address. Raises ValueError on anything else."""
    size, at, base = text.partition("@")
    if not at:
        raise ValueError(f"{text!r} has no address")
    return Bank(size=parse_size(size), base=parse_size(base))


@dataclass(frozen=True)
class Memory:
    """The board's RAM and what is set aside for the capture kernel."""

    ram: tuple[Bank, ...]
    crashkernel: int | None
    """Bytes to reserve by ``crashkernel=``; None for as many as the image set turns out to need."""
    crash_base: int | None = None
    """Where they lie, or None to leave that to the kernel, and to us where the kernel finds no place."""

    @property
    def total(self) -> int:
        """All RAM, in bytes."""
        return sum(bank.size for bank in self.ram)


@dataclass(frozen=True)
class Production:
    """The kernel that the product runs, and that crashes."""

    base: str
    """What the config starts from: ``allnoconfig``, a defconfig's name, or a path to a .config."""
    fragments: tuple[str, ...]
    """Names of shipped fragments, or paths of own ones."""
    build: bool
    """Whether kdumpbuild builds it too. Only for boards whose crash test runs it."""
    patches: tuple[str, ...] = ()
    """Names of shipped kernel patches, or paths of own ones, that its source gets before it is built."""
    cmdline: str = ""
    """Arguments that it needs so that its crash can be captured, besides ``crashkernel=``."""


@dataclass(frozen=True)
class Capture:
    """The kernel that saves the dump."""

    kernel: str
    """``own``: built for the purpose; ``same``: the production kernel, loaded a second time."""
    fragments: tuple[str, ...]
    """Names of shipped fragments, or paths of own ones, on top of those every capture kernel has."""
    console: str
    """Value of ``console=`` in the capture kernel, and where its log goes."""
    cmdline: str
    """Further arguments of the capture kernel."""
    root: str = ""
    """Partition of the product that the capture system runs from, as ``root=`` takes it; empty: an initramfs."""
    root_filesystem: str = "ext4"
    """Type of the file system on it."""

    @property
    def fragments_of_root(self) -> tuple[str, ...]:
        """Names of the fragments that bring the root partition into the capture kernel."""
        return ("capture-root", f"capture-{self.root_filesystem}") if self.root else ()


@dataclass(frozen=True)
class Dump:
    """Where the dump goes and what is in it."""

    device: str
    """Block device (``/dev/mmcblk0p4``) or ``LABEL=``, ``UUID=``, ``PARTLABEL=``, ``mtd:NAME``; of a server
    ``ADDRESS:/folder`` (nfs) or ``USER@ADDRESS:/folder`` (ssh)."""
    filesystem: str
    """Type of the file system on it, as mount -t takes it; empty for other kinds of target."""
    directory: str
    """Folder below the file system's root in which each dump gets a folder of its own."""
    level: int
    """makedumpfile's dump level, 0 to 31."""
    deadline: int
    """Seconds after which the capture system reboots, whatever it has saved."""
    device_timeout: int
    """Seconds to wait for the device to appear."""
    target: str = "filesystem"
    """``filesystem``; ``slots``: a ring of slots on a raw partition; ``mtd``: the same on NOR flash; ``nfs`` and
    ``ssh``: a folder of a server."""
    mount_options: str = ""
    """Further options of mount."""
    slots: int = 4
    """How many dumps a ring of slots holds."""
    stall: int = 60
    """Seconds without any progress after which the capture system reboots."""
    form: str = "filtered"
    """What is wanted of the memory: ``raw``, ``filtered``, or ``dmesg`` for nothing but the log."""
    compression: str = "auto"
    """How makedumpfile packs pages: ``lzo``, ``zlib``, ``zstd``, ``none`` for ELF; ``auto``: the usual one."""
    keep: int = 0
    """How many dumps stay on a file system; 0 for all."""
    min_free: int = 0
    """Bytes that stay free on a file system."""
    loop_crashes: int = 5
    """Crashes in a row after which only the log is saved, and after twice as many nothing; 0 for never."""
    loop_minutes: int = 10
    """Minutes of life after which a crash is not one of a row."""
    led: str = ""
    """Name of a LED below ``/sys/class/leds`` that blinks meanwhile."""
    network: Network | None = None
    """How a server is reached; None where the target is the board's own."""

    @property
    def is_ring(self) -> bool:
        """Whether the target is a ring of slots, without a file system."""
        return self.target in ("slots", "mtd")

    @property
    def fragments(self) -> tuple[str, ...]:
        """Names of the fragments that bring the target into the capture kernel."""
        return {
            "filesystem": (f"capture-{self.filesystem}",),
            "mtd": ("capture-mtd",),
            "nfs": ("capture-network", "capture-nfs"),
            "ssh": ("capture-network",),
        }.get(self.target, ())


@dataclass(frozen=True)
class Collect:
    """What is done with dumps after the reboot."""

    store: str = "/var/lib/kdump"
    """Folder in which each dump gets one of its own."""
    keep: int = 5
    """How many stay there; 0 for all."""
    hook: str = ""
    """Program that gets the folder of each new dump."""


@dataclass(frozen=True)
class Watchdog:
    """The hardware watchdog that runs in the product, if there is one."""

    device: str
    """Device node in the capture system."""
    timeout: int
    """Seconds to which the capture system sets it."""


@dataclass(frozen=True)
class Drivers:
    """What the capture kernel's drivers are derived from. Nodes are named by path, alias or ``&label``."""

    storage: str
    """The controller that the dump target hangs on."""
    console: str
    """The console; empty for the tree's own ``stdout-path``."""
    watchdogs: tuple[str, ...]
    """The watchdogs; none for every one that the tree has switched on."""
    nodes: tuple[str, ...]
    """Further nodes whose drivers are needed."""
    without: tuple[str, ...]
    """Nodes to leave alone."""
    answers: tuple[tuple[str, str], ...]
    """``compatible`` and symbols for what could not be mapped; an empty text for: needs no driver."""


@dataclass(frozen=True)
class Machine:
    """The QEMU machine that stands for the board in the crash test."""

    machine: str
    """Value of ``-M``."""
    cpu: str
    """Value of ``-cpu``; empty for the one that the machine always has."""
    smp: int
    """Value of ``-smp``."""
    disk: tuple[str, ...]
    """QEMU's arguments that attach the drive ``id=dump``."""
    args: tuple[str, ...]
    """Further arguments for QEMU."""
    cmdline: str
    """Further arguments of the production kernel in the crash test."""
    capture_cmdline: str = ""
    """Further arguments of the capture kernel in the crash test."""
    drive: str = ""
    """The place that the machine has for the drive, as ``-drive`` names it, in place of ``disk``: ``if=sd,index=0``."""
    disk_size: int = 0
    """Bytes of the drive where the machine takes no other; 0 for what holds the dumps."""
    erase_size: int = 0
    """Bytes of an erase block of the drive, where it is flash."""
    plan: tuple[str, ...] = ("-device", "virtio-blk-device,drive=plan")
    """QEMU's arguments for the drive ``id=plan``, the test's own disk beside a target that the host cannot fill."""
    ram: int = 0
    """Bytes, value of ``-m``, where that is not all of the board's RAM; 0 for all."""
    serial: int = 0
    """Which of the machine's serial ports is the console."""
    qemu: tuple[int, ...] = (7, 2)
    """The oldest QEMU that has the machine."""
    watchdog: tuple[int, ...] = ()
    """The oldest QEMU in which the machine's watchdog resets it; empty where none does."""
    reset: tuple[str, ...] = ()
    """QEMU's arguments for a hardware watchdog of the crash matrix; the production kernel has its driver."""
    network: tuple[str, ...] = ()
    """QEMU's arguments that attach the network ``id=dump``, where the dump goes to a server."""


@dataclass(frozen=True)
class Waiver:
    """A fragment line or check that does not hold on this board, and why that is right."""

    name: str
    """``CONFIG_X`` or a rule's id."""
    reason: str
    line: int
    """Line in the board file."""


@dataclass(frozen=True)
class Board:
    """One board, as its file says."""

    name: str
    path: Path
    description: str
    arch: Arch
    soc: str
    """What the board is built around, for people; may be empty."""
    dtb: str
    """The board's device tree: its name in the kernel's build, or a path that starts with ``/``, ``./`` or ``../``.

    May be empty."""
    memory: Memory
    production: Production
    capture: Capture
    dump: Dump
    collect: Collect = field(default=Collect())
    watchdog: Watchdog | None = None
    machine: Machine | None = None
    panic: Panic = field(default_factory=Panic)
    logs: Logs = field(default_factory=Logs)
    waivers: tuple[Waiver, ...] = field(default=())
    drivers: Drivers | None = None

    @property
    def own_dtb(self) -> Path | None:
        """The user's own blob, or None when the device tree comes from the kernel's build."""
        return self.path.parent / self.dtb if self.dtb.startswith(("/", "./", "../")) else None

    @property
    def makedumpfile(self) -> tuple[str, ...]:
        """Makedumpfile's options for the form of the filtered dump, without the dump level."""
        packing = self.dump.compression
        return ((self.arch.packing if packing == "auto" else _PACKING[packing]), *self.arch.makedumpfile)

    def where(self, *keys: str) -> str:
        """Return file and line of a key, or of its table, for an error: ``where("drivers", "storage")``."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):  # a board that was not read from a file, or one that has gone since
            return str(self.path)
        return f"{self.path}:{Source(self.path, lines).line(keys)}"

    def waiver(self, name: str) -> Waiver | None:
        """Return the waiver for a symbol or rule, or None."""
        return next((w for w in self.waivers if w.name == name), None)
