"""The other ways to keep a kernel's log, beside kdump or alone: the board file's ``[logs]``.

Each way has a fragment, boot arguments, and what it cannot do; ramoops has a device tree overlay as well.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.board.size import format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdumpbuild.board.model import Bank
    from kdumpbuild.board.tables import Table

_KIB = 1 << 10


@dataclass(frozen=True)
class Ramoops:
    """RAM that a reset leaves alone, set aside by the device tree."""

    base: int
    size: int
    record: int
    """Bytes of one record of a crash."""
    console: int
    """Bytes of the console's last words."""
    ecc: int
    """Bytes of error correction for each block of 128: RAM that was not refreshed during a reset forgets."""
    cells: int
    """``#address-cells`` and ``#size-cells`` of the device tree's root."""


@dataclass(frozen=True)
class PstoreBlk:
    """A partition of a block device."""

    device: str
    record: int
    console: int


@dataclass(frozen=True)
class MtdOops:
    """A partition of raw flash."""

    device: str
    """Its name or number, as ``mtdoops.mtddev=`` takes it."""
    record: int


@dataclass(frozen=True)
class Netconsole:
    """UDP packets to another machine."""

    interface: str
    source: str
    source_port: int
    target: str
    port: int
    mac: str
    """Of the target, or of the router on the way; empty for a broadcast."""


@dataclass(frozen=True)
class Serial:
    """A serial port that somebody listens to."""

    console: str
    """Value of ``console=``."""
    loglevel: int
    """Messages of this level and above are not printed."""


@dataclass(frozen=True)
class Logs:
    """What the board file picks; None for what it does not."""

    ramoops: Ramoops | None = None
    pstore_blk: PstoreBlk | None = None
    mtdoops: MtdOops | None = None
    netconsole: Netconsole | None = None
    serial: Serial | None = None
    before_dump: bool = False
    """Whether records are written before the capture kernel is started: ``crash_kexec_post_notifiers``."""

    @property
    def picked(self) -> list[str]:
        """The names of the tables that are there."""
        return [name for name in WAYS if getattr(self, name) is not None]


WAYS = ("ramoops", "pstore_blk", "mtdoops", "netconsole", "serial")

_NO_RECORD = (
    "with a capture kernel loaded a panic starts it at once, and no crash record is written; "
    "the console's last words are, up to the panic. before_dump = true writes records first"
)
_FIRST = (
    "records are written before the dump (crash_kexec_post_notifiers): a notifier or a flash driver that hangs in the "
    "crashed kernel costs the dump"
)
_NOTES = {
    "pstore_blk": "a disk cannot be written in a panic: of a panic only what the console had said half a minute before "
    "is kept, of an oops that does not panic the whole record",
    "mtdoops": "a panic is recorded only by flash drivers that can write in one (NAND, AMD-command NOR); "
    "others keep oopses that do not panic",
    "netconsole": "a message that the network loses is lost, and so is what comes before the interface is up",
}


def fragment_names(logs: Logs) -> list[str]:
    """Return the shipped fragments that the picked ways need."""
    return [f"log-{name.replace('_', '-')}" for name in logs.picked]


def boot_arguments(logs: Logs) -> list[str]:
    """Return the boot arguments of the picked ways."""
    found: list[str] = []
    if (blk := logs.pstore_blk) is not None:
        found += [
            f"pstore_blk.blkdev={blk.device}", "pstore_blk.best_effort=Y", "pstore_blk.max_reason=2",
            f"pstore_blk.kmsg_size={blk.record // _KIB}", f"pstore_blk.console_size={blk.console // _KIB}",
        ]  # fmt: skip
    if (mtd := logs.mtdoops) is not None:
        found += [f"mtdoops.mtddev={mtd.device}", f"mtdoops.record_size={mtd.record}"]
    if (net := logs.netconsole) is not None:
        found.append(
            f"netconsole={net.source_port}@{net.source}/{net.interface},{net.port}@{net.target}/{net.mac}"
        )
    if (serial := logs.serial) is not None:
        found += [f"console={serial.console}", f"loglevel={serial.loglevel}"]
    if logs.before_dump:
        found.append("crash_kexec_post_notifiers=Y")
    return found


def notes(logs: Logs) -> list[str]:
    """Return what is traded with the picked ways, one sentence each, to be told to the user."""
    found = []
    if logs.ramoops is not None or logs.pstore_blk is not None or logs.mtdoops is not None:
        found.append(_FIRST if logs.before_dump else _NO_RECORD)
    return found + [f"{name}: {_NOTES[name]}" for name in logs.picked if name in _NOTES]


def read_logs(table: Table | None, ram: Sequence[Bank], cells: int) -> Logs:
    """Read ``[logs]``. ``cells``: what the architecture's device trees mostly have."""
    if table is None:
        return Logs()
    ramoops = table.table("ramoops", required=False)
    blk = table.table("pstore_blk", required=False)
    mtd = table.table("mtdoops", required=False)
    net = table.table("netconsole", required=False)
    serial = table.table("serial", required=False)
    logs = Logs(
        ramoops=_ramoops(ramoops, ram, cells) if ramoops is not None else None,
        pstore_blk=_pstore_blk(blk) if blk is not None else None,
        mtdoops=_mtdoops(mtd) if mtd is not None else None,
        netconsole=_netconsole(net) if net is not None else None,
        serial=_serial(serial) if serial is not None else None,
        before_dump=table.boolean("before_dump", default=False),
    )
    if logs.ramoops is not None and logs.pstore_blk is not None:
        # fs/pstore/platform.c, pstore_register(): "backend already in use: ignoring".
        table.fault("pstore_blk", "excludes logs.ramoops: the kernel takes one backend of pstore", "keep one of them")
    table.end()
    return logs


def _ramoops(table: Table, ram: Sequence[Bank], cells: int) -> Ramoops:
    hint = 'write memory = "1M@0x5ff00000"; the same RAM must be free in boot loader and kernel'
    text = table.text("memory", hint=hint)
    size, at, base = text.partition("@")
    found = Ramoops(
        base=_number(table, "memory", base, hint) if at else 0,
        size=_number(table, "memory", size, hint) if at else 0,
        record=_size(table, "record", "64K"),
        console=_size(table, "console", "128K"),
        ecc=table.integer("ecc", default=16, low=0, high=64),
        cells=table.integer("cells", default=cells, low=1, high=2),
    )
    table.end()
    if text and not at:
        table.fault("memory", f"{text!r} has no address", hint)
    end = found.base + found.size
    if found.size and ram and not any(bank.base <= found.base and end <= bank.end for bank in ram):
        table.fault("memory", f"{found.base:#x} to {end - 1:#x} is not in the board's RAM", hint)
    if found.size and found.record + found.console > found.size:
        table.fault("memory", f"{format_size(found.size)} does not hold a record and the console", "make it larger")
    if found.base % (64 * _KIB) or found.size % (64 * _KIB):
        table.fault("memory", "base and size are not multiples of 64K", "the largest page that arm64 maps it by")
    return found


def _pstore_blk(table: Table) -> PstoreBlk:
    found = PstoreBlk(
        device=table.text("device", hint='the partition: "/dev/mmcblk0p5" or PARTUUID='),
        record=_size(table, "record", "64K"),
        console=_size(table, "console", "64K"),
    )
    _no_space(table, "device", found.device)
    table.end()
    return found


def _mtdoops(table: Table) -> MtdOops:
    found = MtdOops(
        device=table.text("device", hint="the MTD partition's name or number"),
        record=_size(table, "record", "64K"),
    )
    _no_space(table, "device", found.device)
    table.end()
    return found


def _netconsole(table: Table) -> Netconsole:
    found = Netconsole(
        interface=table.text("interface", default="eth0"),
        source=table.text("source", hint="the board's own address"),
        source_port=table.integer("source_port", default=6665, low=1, high=65535),
        target=table.text("target", hint="the address of the machine that listens"),
        port=table.integer("port", default=6666, low=1, high=65535),
        mac=table.text("mac", default=""),
    )
    table.end()
    for key in ("source", "target"):
        value = getattr(found, key)
        try:
            ipaddress.ip_address(value)
        except ValueError:
            if value:
                table.fault(key, f"{value!r} is not an IP address", "netconsole resolves no names")
    if found.mac and not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", found.mac):
        table.fault("mac", f"{found.mac!r} is not a MAC address", 'write "52:54:00:12:34:56", or leave it out')
    _no_space(table, "interface", found.interface)
    return found


def _serial(table: Table) -> Serial:
    found = Serial(
        console=table.text("console", hint='what console= takes: "ttyS1,115200"'),
        loglevel=table.integer("loglevel", default=7, low=1, high=8),
    )
    _no_space(table, "console", found.console)
    table.end()
    return found


def _no_space(table: Table, key: str, value: str) -> None:
    if re.search(r"\s", value):
        table.fault(key, f"{value!r} has a space in it", "it becomes one argument of the kernel")


def _size(table: Table, key: str, default: str) -> int:
    hint = f'write {key} = "{default}"'
    value = _number(table, key, table.text(key, default=default), hint)
    # ramoops rounds down to a power of two (fs/pstore/ram.c), mtdoops takes multiples of 4096.
    if value and (value & (value - 1) or value < 4 * _KIB):
        table.fault(key, f"{format_size(value)} is not a power of two of at least 4K", hint)
    return value


def _number(table: Table, key: str, text: str, hint: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        table.fault(key, str(error), hint)
        return 0
