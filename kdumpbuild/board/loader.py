"""Reading board files: from TOML to a :class:`~kdumpbuild.board.model.Board`, with every fault told at once."""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdumpbuild import resources
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.logs import read_logs
from kdumpbuild.board.model import (
    FORMAT,
    Bank,
    Board,
    Capture,
    Drivers,
    Dump,
    Machine,
    Memory,
    Production,
    Waiver,
    Watchdog,
)
from kdumpbuild.board.panic import read_panic
from kdumpbuild.board.size import format_size, parse_size
from kdumpbuild.errors import Fault, UserError, nearest, user_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_FILESYSTEMS = ("ext4", "f2fs", "vfat")
_MEBIBYTE = 1 << 20
UNANSWERED = "?"
"""A value that waits for an answer; above it stands the question (``kdumpbuild board new`` writes both)."""


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
    source = _Source(path, text.splitlines())
    board = _read(_Table(source, data, ()), path)
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


@dataclass
class _Source:
    """The file being read: where its keys stand, and what was found wrong so far."""

    path: Path
    lines: list[str]
    faults: list[Fault] = field(default_factory=list)

    def line(self, keys: Sequence[str | int]) -> int:
        """Return the line of a key, or of its table, as far as a look at the text tells; 1 when it does not."""
        *tables, key = [k for k in keys if isinstance(k, str)] or [""]
        header = re.compile(r"\s*\[\[?\s*([^\]]*?)\s*\]")
        assignment = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        numbers = [k for k in keys if isinstance(k, int)]
        skip = numbers[0] + 1 if numbers and self._is_array(tables) else 0
        current, best = "", 1
        for number, line in enumerate(self.lines, 1):
            if match := header.match(line):
                current = match[1].replace(" ", "")
                if current in (".".join(tables), ".".join([*tables, key])):
                    best = number
                    skip -= line.lstrip().startswith("[[")
            elif current == ".".join(tables) and skip == 0 and assignment.match(line):
                return number
        return best

    def question(self, line: int) -> tuple[str, str]:
        """Return the question that stands in comments above a line, and what is said with it."""
        said: list[str] = []
        for text in reversed(self.lines[: line - 1]):
            if not text.startswith("#"):
                break
            words = text.lstrip("# ")
            if match := re.match(r"Question \d+: (.*)", words):
                return match[1], "\n".join(reversed(said))
            said.append(words)
        return f'"{UNANSWERED}" stands there', "write the value"

    def _is_array(self, tables: Sequence[str]) -> bool:
        return any(re.match(rf"\s*\[\[\s*{re.escape('.'.join(tables))}\s*\]\]", line) for line in self.lines)


class _Table:
    """One table of the file. Each accessor takes a key once and notes a fault when the value is not usable."""

    def __init__(self, source: _Source, data: Mapping[str, Any], keys: tuple[str | int, ...]) -> None:
        self._source, self._data, self._keys = source, data, keys
        self._taken: set[str] = set()

    def fault(self, key: str, what: str, hint: str = "") -> None:
        where = f"{self._source.path}:{self.line(key)}"
        self._source.faults.append(Fault(f"{self.name(key)}: {what}", where=where, hint=hint))

    def line(self, key: str) -> int:
        return self._source.line((*self._keys, key))

    def name(self, key: str) -> str:
        return ".".join(str(k) for k in (*self._keys, key) if isinstance(k, str))

    def _take(self, key: str, kind: type, kind_name: str, default: Any, hint: str = "") -> Any:
        self._taken.add(key)
        if key not in self._data:
            if default is None:
                self.fault(key, f"missing; it wants {kind_name}", hint)
            return default
        value = self._data[key]
        if value in (UNANSWERED, [UNANSWERED]):
            question, hint = self._source.question(self.line(key))
            self.fault(key, f"not answered yet: {question}", hint)
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.fault(key, f"{value!r} is not {kind_name}", hint)
            return default
        return value

    def text(self, key: str, *, default: str | None = None, choices: Iterable[str] = (), hint: str = "") -> str:
        choices = tuple(choices)
        hint = hint or (f"one of: {', '.join(choices)}" if choices else "")
        value = self._take(key, str, "a text", default, hint)
        if value is None:
            return ""
        if choices and value not in choices:
            self.fault(key, f"{value!r} is not known", f"{nearest(value, choices)} (valid: {', '.join(choices)})")
        elif not value and not choices and default is None:
            self.fault(key, "is empty", hint)
        elif "\n" in value:
            self.fault(key, "has a line break in it", hint)
        return str(value)

    def integer(self, key: str, *, default: int | None = None, low: int, high: int) -> int:
        wanted = f"a whole number from {low} to {high}"
        value = self._take(key, int, wanted, default)
        if value is None:
            return low
        if not low <= value <= high:
            self.fault(key, f"{value} is out of range", wanted)
        return int(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        return bool(self._take(key, bool, "true or false", default))

    def texts(self, key: str, *, default: tuple[str, ...] | None = ()) -> tuple[str, ...]:
        value = self._take(key, list, "a list of texts", default)
        if value is None:
            return ()
        for item in value:
            if not isinstance(item, str) or not item:
                self.fault(key, f"{item!r} is not a text", "a list of texts, each in quotes")
        return tuple(item for item in value if isinstance(item, str))

    def text_or_texts(self, key: str, hint: str) -> tuple[str, ...]:
        """Return a text, or a list of them, as a list; none when the key is missing."""
        if isinstance(self._data.get(key), list):
            return self.texts(key)
        value = self.text(key, default="", hint=hint)
        return (value,) if value else ()

    def symbols(self) -> tuple[tuple[str, str], ...]:
        """Return all keys of the table with their values, which name symbols or are empty."""
        found = []
        for key in self._data:
            value = self.text(key, default="")
            if not re.fullmatch(r"(CONFIG_\w+([ ,]+CONFIG_\w+)*)?", value):
                self.fault(key, f"{value!r} names no symbol", 'write "CONFIG_X", or "" for: needs no driver')
            found.append((key, value))
        return tuple(found)

    def size(self, key: str, hint: str) -> int:
        value = self._take(key, str, "a size in quotes", None, hint)
        try:
            return parse_size(value) if value is not None else 0
        except ValueError as error:
            self.fault(key, str(error), hint)
            return 0

    def table(self, key: str, *, required: bool) -> _Table | None:
        value = self._take(key, dict, f"a table [{self.name(key)}]", None if required else {})
        if key not in self._data and not required:
            return None
        return _Table(self._source, value or {}, (*self._keys, key)) if value is not None else None

    def tables(self, key: str) -> list[_Table]:
        value = self._take(key, list, f"a list of tables [[{self.name(key)}]]", [])
        if not all(isinstance(item, dict) for item in value):
            self.fault(key, "is not a list of tables", f"write [[{key}]]")
            return []
        return [_Table(self._source, item, (*self._keys, key, number)) for number, item in enumerate(value)]

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def end(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._data:
            if key not in self._taken:
                self.fault(key, "unknown key", nearest(key, self._taken))


def _read(top: _Table, path: Path) -> Board:
    version = top.integer("format", low=1, high=1 << 16)
    if version != FORMAT:
        top.fault("format", f"this kdumpbuild reads format {FORMAT}, not {version}", "use the release it was made for")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", path.stem):
        top.fault("format", f"the file's name gives a board name {path.stem!r} that is not usable",
                  "lower-case letters, digits, '-', '_' and '.'")  # fmt: skip
    arch_name = top.text("arch", choices=ARCHES)
    memory = _memory(top.table("memory", required=True))
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
        dump=_dump(top.table("dump", required=True)),
        watchdog=_watchdog(top.table("watchdog", required=False)),
        machine=_machine(top.table("machine", required=False)),
        panic=read_panic(top.table("panic", required=False)),
        logs=read_logs(top.table("logs", required=False), memory.ram, 2 if arch_name == "arm64" else 1),
        waivers=tuple(_waiver(table) for table in top.tables("waive")),
        drivers=_drivers(top.table("drivers", required=False)),
    )
    if board.drivers is not None and not board.dtb:
        top.fault("drivers", "there is no device tree to derive from",
                  'write dtb = "name.dtb" (in the kernel\'s build) or dtb = "./product.dtb"')  # fmt: skip
    if board.own_dtb is not None and not board.own_dtb.is_file():
        top.fault("dtb", f"there is no file {board.own_dtb}", "a path is relative to the board file")
    elif board.dtb and not board.dtb.endswith(".dtb") and board.own_dtb is None:
        top.fault("dtb", f"{board.dtb!r} is no name in the kernel's build", "it ends with .dtb; a path begins with ./")
    top.end()
    return board


def _drivers(table: _Table | None) -> Drivers | None:
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


def _memory(table: _Table | None) -> Memory:
    if table is None:
        return Memory((), None)
    banks = []
    hint = 'write ram = ["512M@0x40000000"]: size@address for each bank'
    for text in table.texts("ram", default=None):
        size, at, base = text.partition("@")
        try:
            if not at:
                raise ValueError(f"{text!r} has no address")
            banks.append(Bank(base=parse_size(base), size=parse_size(size)))
        except ValueError as error:
            table.fault("ram", str(error), hint)
    banks.sort(key=lambda bank: bank.base)
    for low, high in itertools.pairwise(banks):
        if low.end > high.base:
            table.fault("ram", f"the banks at {low.base:#x} and {high.base:#x} overlap", hint)
    crashkernel, crash_base = _crashkernel(table, sum(bank.size for bank in banks))
    table.end()
    return Memory(tuple(banks), crashkernel, crash_base)


def _crashkernel(table: _Table, total: int) -> tuple[int | None, int | None]:
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


def _fragments(table: _Table, path: Path) -> tuple[str, ...]:
    names = table.texts("fragments")
    for name in names:
        file = fragment_path(name, path)
        if not file.is_file():
            shipped = [p.stem for p in resources.FRAGMENTS.glob("*.config")]
            table.fault("fragments", f"there is no fragment {name} ({file})", nearest(name, shipped))
    return names


def _production(table: _Table | None, path: Path) -> Production:
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


def _patches(table: _Table, path: Path) -> tuple[str, ...]:
    names = table.texts("patches")
    for name in names:
        file = patch_path(name, path)
        if not file.is_file():
            shipped = [p.stem for p in resources.PATCHES.glob("*.patch")]
            table.fault("patches", f"there is no patch {name} ({file})", nearest(name, shipped))
    return names


def _capture(table: _Table | None, path: Path) -> Capture:
    if table is None:
        return Capture("own", (), "", "")
    capture = Capture(
        kernel=table.text("kernel", default="own", choices=("own", "same")),
        fragments=_fragments(table, path),
        console=table.text("console", hint='the console of the capture kernel: "ttyS0,115200"'),
        cmdline=table.text("cmdline", default=""),
    )
    table.end()
    return capture


def _dump(table: _Table | None) -> Dump:
    if table is None:
        return Dump("", "ext4", "kdump", 31, 300, 20)
    device = table.text("device", hint='a block device or LABEL=, UUID=, PARTLABEL=: "/dev/mmcblk0p4"')
    if device and not re.fullmatch(r"(/dev/|LABEL=|UUID=|PARTLABEL=)\S+", device):
        table.fault("device", f"{device!r} is not a block device", "/dev/…, LABEL=…, UUID=… or PARTLABEL=…")
    directory = table.text("directory", default="kdump")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", directory) or ".." in directory.split("/"):
        table.fault("directory", f"{directory!r} is not usable", 'a relative path without "..": "kdump"')
    dump = Dump(
        device=device,
        filesystem=table.text("filesystem", choices=_FILESYSTEMS),
        directory=directory,
        level=table.integer("level", default=31, low=0, high=31),
        deadline=table.integer("deadline", default=300, low=10, high=86400),
        device_timeout=table.integer("device_timeout", default=20, low=1, high=600),
    )
    table.end()
    return dump


def _watchdog(table: _Table | None) -> Watchdog | None:
    if table is None:
        return None
    watchdog = Watchdog(
        device=table.text("device", default="/dev/watchdog"),
        timeout=table.integer("timeout", default=30, low=2, high=3600),
    )
    table.end()
    return watchdog


def _machine(table: _Table | None) -> Machine | None:
    if table is None:
        return None
    machine = Machine(
        machine=table.text("machine"),
        cpu=table.text("cpu", default=""),
        smp=table.integer("smp", default=1, low=1, high=64),
        disk=table.texts("disk"),
        args=table.texts("args"),
        cmdline=table.text("cmdline", default=""),
        drive=table.text("drive", default=""),
        ram=table.size("ram", 'write ram = "1G"') if "ram" in table else 0,
        serial=table.integer("serial", default=0, low=0, high=15),
        qemu=_qemu_version(table, "qemu", "7.2"),
        watchdog=_qemu_version(table, "watchdog", ""),
        reset=table.texts("reset"),
    )
    if bool(machine.drive) == bool(machine.disk):
        table.fault("disk", "either disk or drive is wanted",
                    'disk = ["-device", "…,drive=dump"], or drive = "if=sd,index=0": an SD card')  # fmt: skip
    if machine.drive and not re.fullmatch(r"if=[a-z]+(,(index|bus|unit)=\d+)*", machine.drive):
        table.fault("drive", f"{machine.drive!r} is no place of a drive", 'write drive = "if=sd,index=0"')
    table.end()
    return machine


def _qemu_version(table: _Table, key: str, default: str) -> tuple[int, ...]:
    text = table.text(key, default=default)
    if text and not re.fullmatch(r"\d+\.\d+", text):
        table.fault(key, f"{text!r} is not a version of QEMU", f'write {key} = "10.0"')
        return ()
    return tuple(int(number) for number in text.split(".")) if text else ()


def _waiver(table: _Table) -> Waiver:
    waiver = Waiver(
        name=table.text("name", hint="CONFIG_X, or a rule's id"),
        reason=table.text("reason", hint="why it is right on this board; every later output shows it"),
        line=table.line("name"),
    )
    table.end()
    return waiver
