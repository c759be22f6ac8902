"""Reading board files: from TOML to a :class:`~kdumpbuild.board.model.Board`, with every fault told at once."""

from __future__ import annotations

import itertools
import re
import tomllib
from typing import TYPE_CHECKING

from kdumpbuild import resources
from kdumpbuild.board import network
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.cmdline import unusable
from kdumpbuild.board.logs import read_logs
from kdumpbuild.board.model import (
    FORMAT,
    Board,
    Capture,
    Collect,
    Drivers,
    Dump,
    Machine,
    Memory,
    Production,
    Waiver,
    Watchdog,
    parse_bank,
)
from kdumpbuild.board.panic import read_panic
from kdumpbuild.board.partition import disk_and_number
from kdumpbuild.board.size import format_size, parse_size
from kdumpbuild.board.tables import UNANSWERED, Source, Table
from kdumpbuild.errors import Fault, UserError, nearest, user_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["UNANSWERED", "find_board", "find_boards", "fragment_path", "load_board"]

_FILESYSTEMS = ("ext4", "f2fs", "ubifs", "vfat")
# What the capture system may run from, and how the kernel itself finds it (Linux, block/early-lookup.c): by names of
# disks, not by links that udev makes, and by no device that a program has to set up first.
_ROOT_FILESYSTEMS = ("ext4", "f2fs", "squashfs")
_ROOT = r"/dev/(?!(mtdblock|ubiblock|dm-|ram|nfs$|cifs$|root$))[A-Za-z0-9]+|(PARTUUID|PARTLABEL)=\S+"
# What names the device of each kind of dump target, and how to say it.
_DEVICES = {
    "filesystem": (r"(/dev/|LABEL=|UUID=|PARTLABEL=)\S+", "/dev/…, LABEL=…, UUID=… or PARTLABEL=…"),
    "ubifs": (r"ubi\d+[:_]\S+", "the volume as mount takes it: ubi0:NAME; attach it with ubi.mtd= in capture.cmdline"),
    "slots": (r"(/dev/(?!mtd)|PARTLABEL=)\S+", "/dev/… of a partition, or PARTLABEL=…; for flash target = \"mtd\""),
    "mtd": (r"(/dev/mtd\d+|mtd:\S+)", "/dev/mtd3 or mtd:NAME, not /dev/mtdblock…, which hides erase blocks"),
    **network.DEVICES,
}
_KINDS = {"slots": "a raw partition", "mtd": "an MTD device", **dict.fromkeys(network.TARGETS, "a folder of a server")}
# Bytes: mke2fs and mkfs.fat cut or refuse what is longer; a GPT has 36 characters.
_LABELS = {("LABEL", "ext4"): 16, ("LABEL", "vfat"): 11, **{("PARTLABEL", name): 36 for name in (*_FILESYSTEMS, "")}}
_MEANINGLESS = {
    "filesystem": ("slots",),
    "slots": ("filesystem", "directory", "mount_options", "keep", "min_free"),
    "mtd": ("filesystem", "directory", "mount_options", "keep", "min_free"),
    "nfs": ("filesystem", "slots"),
    "ssh": ("filesystem", "slots", "mount_options", "keep", "min_free"),
}
_MEBIBYTE = 1 << 20


def find_boards(board_path: Sequence[Path] = ()) -> dict[str, Path]:
    """Return the name and file of every board that ships with us or lies in a folder of ``board_path``.

    Raises UserError when a folder does not exist or two files have the same board's name.
    """
    found: dict[str, Path] = {}
    faults = []
    for folder in (resources.BOARDS, *board_path):
        if not folder.is_dir():
            faults.append(Fault("no such folder", where=f"BOARD_PATH: {folder}", hint="name folders that hold *.toml"))
            continue
        for path in sorted(folder.glob("*.toml")):
            other = found.setdefault(path.stem, path)
            if other.resolve() != path.resolve():
                faults.append(_same_name(path, other))
    if faults:
        raise UserError(*faults)
    return found


def find_board(choice: str, boards: Mapping[str, Path], base: Path) -> Path:
    """Return the board file that ``BOARD=choice`` means: a known name, or a path relative to ``base``."""
    if choice in boards:
        return boards[choice]
    if "/" in choice or choice.endswith(".toml"):
        path = base / choice
        if not path.is_file():
            raise user_error(
                "no such board file", where=f"BOARD={choice}", hint=f"known boards: {', '.join(sorted(boards))}"
            )
        other = boards.get(path.stem, path)
        if other.resolve() != path.resolve():
            raise UserError(_same_name(path, other))
        return path
    raise user_error(
        f"there is no board named {choice}",
        where=f"BOARD={choice}",
        why=nearest(choice, boards),
        hint="give a board's name, or the path of a board file; BOARD_PATH adds folders of your own",
    )


def load_board(path: Path) -> Board:
    """Read one board file. Raises UserError with all faults, each with file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise user_error(f"cannot read the board file: {error}", where=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise user_error(
            f"not valid TOML: {error}", where=f"{path}:{line[1]}" if line else str(path), hint="see https://toml.io"
        ) from error
    source = Source(path, text.splitlines())
    board = _read(Table(source, data, ()), path)
    if source.faults:
        raise UserError(*source.faults)
    return board


def fragment_path(name: str, board_file: Path) -> Path:
    """Return the file that a fragment's name means: a shipped one, or a path relative to the board file."""
    if "/" in name or name.endswith((".config", ".cfg")):
        return board_file.parent / name
    return resources.FRAGMENTS / f"{name}.config"


def patch_path(name: str, board_file: Path) -> Path:
    """Return the file that a kernel patch's name means: a shipped one, or a path relative to the board file."""
    if "/" in name or name.endswith((".patch", ".diff")):
        return board_file.parent / name
    return resources.PATCHES / f"{name}.patch"


def _same_name(path: Path, other: Path) -> Fault:
    return Fault(
        f"two boards are named {path.stem}", where=str(path), why=f"the other one: {other}", hint="rename one of them"
    )


def _read(top: Table, path: Path) -> Board:
    version = top.integer("format", low=1, high=1 << 16)
    if version != FORMAT:
        top.fault("format", f"this kdumpbuild reads format {FORMAT}, not {version}", "use the release it was made for")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", path.stem):
        top.fault("format", f"the file's name gives a board name {path.stem!r} that is not usable",
                  "lower-case letters, digits, '-', '_' and '.'")  # fmt: skip
    arch_name = top.text("arch", choices=ARCHES)
    memory = _memory(top.table("memory", required=True))
    dump = _dump(top.table("dump", required=True), path)
    board = Board(
        name=path.stem,
        path=path,
        description=top.text("description"),
        arch=ARCHES.get(arch_name, ARCHES["arm"]),
        soc=top.text("soc", default=""),
        dtb=top.text("dtb", default=""),
        memory=memory,
        production=_production(top.table("production", required=False), path),
        capture=_capture(top.table("capture", required=True), path),
        dump=dump,
        collect=_collect(top.table("collect", required=False)),
        watchdog=_watchdog(top.table("watchdog", required=False)),
        machine=_machine(top.table("machine", required=False), by_network=dump.network is not None),
        panic=read_panic(top.table("panic", required=False)),
        logs=read_logs(top.table("logs", required=False), memory.ram, 2 if arch_name == "arm64" else 1),
        waivers=tuple(_waiver(table) for table in top.tables("waive")),
        drivers=_drivers(top.table("drivers", required=False)),
    )
    if board.drivers is not None and not board.drivers.nodes and _other_disk(board.capture.root, dump):
        top.fault("capture", f"nothing derives the driver of {board.capture.root}: it is not on the dump's disk",
                  'name its controller: [drivers] nodes = ["mmc0"]')  # fmt: skip
    if board.capture.root and board.capture.root == dump.device:
        top.fault("dump", f"the capture system runs from {dump.device}, so no dump can be written there",
                  "it is mounted read-only: give the dump another partition, or leave capture.root out")  # fmt: skip
    if board.drivers is not None and not board.dtb:
        top.fault("drivers", "there is no device tree to derive from",
                  'write dtb = "name.dtb" (in the kernel\'s build) or dtb = "./product.dtb"')  # fmt: skip
    if board.own_dtb is not None and not board.own_dtb.is_file():
        top.fault("dtb", f"there is no file {board.own_dtb}", "a path is relative to the board file")
    elif board.dtb and not board.dtb.endswith(".dtb") and board.own_dtb is None:
        top.fault("dtb", f"{board.dtb!r} is no name in the kernel's build", "it ends with .dtb; a path begins with ./")
    top.end()
    return board


def _other_disk(root: str, dump: Dump) -> bool:
    """Whether the capture system certainly runs from another disk than that of the dump target."""
    if not root or dump.network is not None or dump.target == "mtd":
        return bool(root)
    return len({disk_and_number(device)[0] for device in (root, dump.device) if device.startswith("/dev/")}) > 1


def _drivers(table: Table | None) -> Drivers | None:
    if table is None:
        return None
    node = "a node's path, an alias (mmc0) or a label (&usdhc3)"
    answers = table.table("answers", required=False)
    drivers = Drivers(
        storage=table.text("storage", hint=f"the controller that the dump target hangs on: {node}"),
        console=table.text("console", default="", hint=node),
        watchdogs=table.text_or_texts("watchdog", hint=node),
        nodes=table.texts("nodes"),
        without=table.texts("without"),
        answers=answers.symbols() if answers is not None else (),
    )
    table.end()
    return drivers


def _memory(table: Table | None) -> Memory:
    if table is None:
        return Memory((), None)
    banks = []
    hint = 'write ram = ["512M@0x40000000"]: size@address for each bank'
    for text in table.texts("ram", default=None):
        try:
            banks.append(parse_bank(text))
        except ValueError as error:
            table.fault("ram", str(error), hint)
    banks.sort(key=lambda bank: bank.base)
    for low, high in itertools.pairwise(banks):
        if low.end > high.base:
            table.fault("ram", f"the banks at {low.base:#x} and {high.base:#x} overlap", hint)
    crashkernel, crash_base = _crashkernel(table, sum(bank.size for bank in banks))
    table.end()
    return Memory(tuple(banks), crashkernel, crash_base)


def _crashkernel(table: Table, total: int) -> tuple[int | None, int | None]:
    hint = 'leave it out, and it is computed; or write crashkernel = "24M", or "24M@0x48000000"'
    text = table.text("crashkernel", default="auto", hint=hint)
    if text in ("auto", ""):
        return None, None
    size_text, at, base_text = text.partition("@")
    try:
        size = parse_size(size_text)
        base = parse_size(base_text) if at else None
    except ValueError as error:
        table.fault("crashkernel", str(error), hint)
        return None, None
    if total and not 4 * _MEBIBYTE <= size <= total // 2:
        table.fault("crashkernel", f"{format_size(size)} cannot work with {format_size(total)} of RAM",
                    f"at least 4M and at most half of the RAM, {format_size(total // 2)}")  # fmt: skip
    if size % _MEBIBYTE or (base or 0) % _MEBIBYTE:
        table.fault("crashkernel", "is not a multiple of 1M", hint)
    return size, base


def _fragments(table: Table, path: Path) -> tuple[str, ...]:
    names = table.texts("fragments")
    for name in names:
        file = fragment_path(name, path)
        if not file.is_file():
            shipped = [p.stem for p in resources.FRAGMENTS.glob("*.config")]
            table.fault("fragments", f"there is no fragment {name} ({file})", nearest(name, shipped))
    return names


def _production(table: Table | None, path: Path) -> Production:
    if table is None:
        return Production(base="defconfig", fragments=(), build=False)
    production = Production(
        base=table.text("base", default="defconfig"),
        fragments=_fragments(table, path),
        build=table.boolean("build", default=False),
        patches=_patches(table, path),
        cmdline=table.text("cmdline", default=""),
    )
    table.end()
    return production


def _patches(table: Table, path: Path) -> tuple[str, ...]:
    names = table.texts("patches")
    for name in names:
        file = patch_path(name, path)
        if not file.is_file():
            shipped = [p.stem for p in resources.PATCHES.glob("*.patch")]
            table.fault("patches", f"there is no patch {name} ({file})", nearest(name, shipped))
    return names


def _capture(table: Table | None, path: Path) -> Capture:
    if table is None:
        return Capture("own", (), "", "")
    root = table.text("root", default="")
    if root and not re.fullmatch(_ROOT, root):
        table.fault("root", f"{root!r} is not a partition that the kernel itself finds",
                    "a disk's /dev/mmcblk0p2, PARTUUID= or PARTLABEL=; the rest takes programs to find")  # fmt: skip
    if not root and "root_filesystem" in table:
        table.fault("root_filesystem", "has no meaning without root", 'write root = "/dev/mmcblk0p2", or leave it out')
    cmdline = table.text("cmdline", default="")
    for what in unusable(cmdline, rooted=bool(root)):
        table.fault("cmdline", what, "leave it out")
    capture = Capture(
        kernel=table.text("kernel", default="own", choices=("own", "same")),
        fragments=_fragments(table, path),
        console=table.text("console", hint='the console of the capture kernel: "ttyS0,115200"'),
        cmdline=cmdline,
        root=root,
        root_filesystem=table.text("root_filesystem", default="ext4", choices=_ROOT_FILESYSTEMS),
    )
    table.end()
    return capture


def _dump(table: Table | None, path: Path) -> Dump:
    if table is None:
        return Dump("", "ext4", "kdump", 31, 300, 20)
    target = table.text("target", default="filesystem", choices=("filesystem", "slots", "mtd", *network.TARGETS))
    device = table.text("device", hint='a block device or LABEL=, UUID=, PARTLABEL=: "/dev/mmcblk0p4"')
    filesystem = table.text("filesystem", default=None if target == "filesystem" else "", choices=_FILESYSTEMS)
    pattern, hint = _DEVICES["ubifs" if filesystem == "ubifs" else target]
    if device and not re.fullmatch(pattern, device):
        kind = _KINDS.get(target, "a block device")
        table.fault("device", f"{device!r} is not {'a UBI volume' if filesystem == 'ubifs' else kind}", hint)
    key, _, label = device.partition("=")
    most = _LABELS.get((key, filesystem), 0)
    if most and len(label.encode()) > most:
        what = f"{label!r} is longer than a {key} {f'of {filesystem} ' if key == 'LABEL' else ''}can be"
        table.fault("device", what, f"{most} characters at most, here and where the product's image is made")
    # A server takes the dumps of many boards.
    directory = table.text("directory", default=path.stem if target in network.TARGETS else "kdump")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", directory) or ".." in directory.split("/"):
        table.fault("directory", f"{directory!r} is not usable", 'a relative path without "..": "kdump"')
    dump = Dump(
        device=device,
        filesystem=filesystem,
        directory=directory,
        level=table.integer("level", default=31, low=0, high=31),
        deadline=table.integer("deadline", default=300, low=10, high=86400),
        device_timeout=table.integer("device_timeout", default=20, low=1, high=600),
        target=target,
        mount_options=table.text("mount_options", default=""),
        # Two at least, since the newest dump is never written over.
        slots=table.integer("slots", default=4, low=2, high=64),
        stall=table.integer("stall", default=60, low=5, high=86400),
        form=table.text("form", default="filtered", choices=("raw", "filtered", "dmesg")),
        compression=table.text("compression", default="auto", choices=("auto", "lzo", "zlib", "zstd", "none")),
        keep=table.integer("keep", default=0, low=0, high=9999),
        min_free=table.size("min_free", 'write min_free = "64M"', default="0"),
        loop_crashes=table.integer("loop_crashes", default=5, low=0, high=1000),
        loop_minutes=table.integer("loop_minutes", default=10, low=1, high=1440),
        led=table.text("led", default=""),
        network=network.read_network(table, target, device, path),
    )
    for key in _MEANINGLESS.get(target, ()):
        if key in table:
            table.fault(key, f"has no meaning with target = {target!r}", "leave it out, or set another target")
    table.end()
    return dump


def _collect(table: Table | None) -> Collect:
    if table is None:
        return Collect()
    collect = Collect(
        store=table.text("store", default=Collect.store),
        keep=table.integer("keep", default=Collect.keep, low=0, high=9999),
        hook=table.text("hook", default=Collect.hook),
    )
    for key, path in (("store", collect.store), ("hook", collect.hook)):
        if path and not re.fullmatch(r"/[^\s'\"\\]*", path):
            table.fault(key, f"{path!r} is not an absolute path", 'write "/var/lib/kdump"')
    table.end()
    return collect


def _watchdog(table: Table | None) -> Watchdog | None:
    if table is None:
        return None
    watchdog = Watchdog(
        device=table.text("device", default="/dev/watchdog"),
        timeout=table.integer("timeout", default=30, low=2, high=3600),
    )
    table.end()
    return watchdog


def _machine(table: Table | None, *, by_network: bool) -> Machine | None:
    if table is None:
        return None
    machine = Machine(
        machine=table.text("machine"),
        cpu=table.text("cpu", default=""),
        smp=table.integer("smp", default=1, low=1, high=64),
        disk=table.texts("disk"),
        args=table.texts("args"),
        cmdline=table.text("cmdline", default=""),
        capture_cmdline=table.text("capture_cmdline", default=""),
        drive=table.text("drive", default=""),
        disk_size=table.size("disk_size", 'write disk_size = "64M"', default="0"),
        erase_size=table.size("erase_size", 'write erase_size = "256K"', default="0"),
        plan=table.texts("plan", default=Machine.plan),
        ram=table.size("ram", 'write ram = "1G"') if "ram" in table else 0,
        serial=table.integer("serial", default=0, low=0, high=15),
        qemu=_qemu_version(table, "qemu", "7.2"),
        watchdog=_qemu_version(table, "watchdog", ""),
        reset=table.texts("reset"),
        network=table.texts("network"),
    )
    if by_network:
        if not machine.network or machine.drive or machine.disk:
            table.fault("network", "is wanted, and neither disk nor drive: the dump goes to a server",
                        'write network = ["-device", "virtio-net-device,netdev=dump"]')  # fmt: skip
    elif machine.network:
        table.fault("network", "has no meaning: the dump goes to the board's own storage", "leave it out")
    elif bool(machine.drive) == bool(machine.disk):
        table.fault("disk", "either disk or drive is wanted",
                    'disk = ["-device", "…,drive=dump"], or drive = "if=sd,index=0": an SD card')  # fmt: skip
    if machine.drive and not re.fullmatch(r"if=[a-z]+(,(index|bus|unit)=\d+)*", machine.drive):
        table.fault("drive", f"{machine.drive!r} is no place of a drive", 'write drive = "if=sd,index=0"')
    table.end()
    return machine


def _qemu_version(table: Table, key: str, default: str) -> tuple[int, ...]:
    text = table.text(key, default=default)
    if text and not re.fullmatch(r"\d+\.\d+", text):
        table.fault(key, f"{text!r} is not a version of QEMU", f'write {key} = "10.0"')
        return ()
    return tuple(int(number) for number in text.split(".")) if text else ()


def _waiver(table: Table) -> Waiver:
    waiver = Waiver(
        name=table.text("name", hint="CONFIG_X, or a rule's id"),
        reason=table.text("reason", hint="why it is right on this board; every later output shows it"),
        line=table.line("name"),
    )
    table.end()
    return waiver
