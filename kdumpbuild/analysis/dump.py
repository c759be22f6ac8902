"""Opening a dump with drgn: the only module that imports it.

drgn is imported when a dump is opened, because a Yocto or Buildroot build does without it.
"""

from __future__ import annotations

import re
import struct
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.analysis import kdumpfile
from kdumpbuild.errors import UserError, user_error
from kdumpbuild.formats.elf import read_vmlinux
from kdumpbuild.formats.flattened import is_flattened, unflatten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO

    import drgn

# First line of what ended the kernel, the most telling form first. An oops that panics starts the capture kernel
# before its "Kernel panic" line is printed (Linux, oops_end() of arch/arm*/kernel/traps.c), so there may be none.
_CAUSES = tuple(
    re.compile(pattern)
    for pattern in (
        r"Kernel panic - not syncing",
        r"Unable to handle kernel",
        r"kernel BUG at",
        r"Internal error:",
        r"Unhandled (prefetch|fault)",
    )
)
_STAMP = re.compile(r"^\[\s*(\d+\.\d+)\](?:\[[^\]]*\])? ?")



@dataclass(frozen=True)
class Frame:
    """One function of a stack."""

    function: str
    source: str
    """``file:line`` relative to the kernel's source; empty when unknown."""
    inline: bool


@dataclass(frozen=True)
class Task:
    """One thread of the crashed system."""

    pid: int
    comm: str
    state: str


@dataclass(frozen=True)
class Crash:
    """What is to be told about a dump."""

    release: str
    build_id: str
    """Build-id in the dump, equal to vmlinux's: a dump of another kernel is not opened."""
    cause: str
    """First line of the panic or oops, without its time stamp; empty when there is none."""
    pid: int
    comm: str
    cpu: int
    stack: tuple[Frame, ...]
    uptime: float
    """Seconds from boot to the last line of the kernel log."""
    tasks: int


class Dump:
    """An open dump together with its kernel's debug info.

    Every fact is read from the dump when it is first asked for; a damaged dump raises UserError then.
    """

    def __init__(
        self, program: drgn.Program, path: Path, vmcoreinfo: dict[str, str], converted: IO[bytes] | None = None
    ) -> None:
        self.program = program
        """The drgn program, for questions that this class does not answer."""
        self.path = path
        self.vmcoreinfo = vmcoreinfo
        """VMCOREINFO's ``KEY=value`` lines."""
        self.converted = converted
        """What drgn reads in the dump's place, where it cannot read that; it is gone when it is closed."""

    @property
    def release(self) -> str:
        """The crashed kernel's release, as ``uname -r`` prints it."""
        return self.vmcoreinfo.get("OSRELEASE", "")

    @property
    def build_id(self) -> str:
        """The crashed kernel's build-id, in hex; empty before Linux 5.9, whose VMCOREINFO has none."""
        return self.vmcoreinfo.get("BUILD-ID", "")

    @property
    def crash_time(self) -> int:
        """Seconds since 1970 at the panic, by the clock of the machine; 0 when it was not set."""
        value = self.vmcoreinfo.get("CRASHTIME", "0")
        return int(value) if value.isdecimal() else 0

    @cached_property
    def dmesg(self) -> str:
        """The kernel log, each line with its time stamp."""
        from drgn.helpers.linux.printk import get_dmesg  # noqa: PLC0415  # see the module's docstring

        with _damage(self.path, "its kernel log cannot be read"):
            return get_dmesg(self.program).decode(errors="replace")

    @property
    def cause(self) -> str:
        """First line of the panic or oops, without its time stamp; empty when the log holds none."""
        return find_cause(self.dmesg)

    @property
    def uptime(self) -> float:
        """Seconds from boot to the last line of the kernel log: the clock's own value needs a running tick."""
        return last_stamp(self.dmesg)

    @cached_property
    def crashed(self) -> Task:
        """The thread that crashed."""
        with _damage(self.path, "its crashed thread cannot be found"):
            return _task(self.program.crashed_thread().object)

    @cached_property
    def crashed_cpu(self) -> int:
        """The processor that it ran on."""
        from drgn.helpers.linux.sched import task_cpu  # noqa: PLC0415

        with _damage(self.path, "its crashed thread cannot be found"):
            return int(task_cpu(self.program.crashed_thread().object))

    @cached_property
    def stack(self) -> tuple[Frame, ...]:
        """The crashed thread's stack, the innermost function first."""
        with _damage(self.path, "the crashed thread's stack cannot be read"):
            root = self._source_root
            return tuple(
                Frame(*_place(self.program, frame, root), frame.is_inline)
                for frame in self.program.crashed_thread().stack_trace()
            )

    def stack_of(self, pid: int) -> tuple[Frame, ...]:
        """Return the stack of a thread, the innermost function first."""
        with _damage(self.path, f"the stack of the thread {pid} cannot be read"):
            root = self._source_root
            return tuple(
                Frame(*_place(self.program, frame, root), frame.is_inline) for frame in self.program.stack_trace(pid)
            )

    @cached_property
    def tasks(self) -> tuple[Task, ...]:
        """Every thread of the system."""
        from drgn.helpers.linux.pid import for_each_task  # noqa: PLC0415

        with _damage(self.path, "its task list cannot be read"):
            return tuple(_task(task) for task in for_each_task(self.program))

    @property
    def _source_root(self) -> str:
        """What precedes ``kernel/panic.c`` in the debug info: the source's place on the build machine."""
        try:
            file = self.program.source_location("panic")[-1].filename
        except _drgn_errors():
            return ""
        return file.removesuffix("kernel/panic.c") if file.endswith("/kernel/panic.c") else ""

    def crash(self) -> Crash:
        """Return everything that a report tells. Raises UserError when the dump is damaged."""
        return Crash(
            release=self.release, build_id=self.build_id, cause=self.cause, pid=self.crashed.pid,
            comm=self.crashed.comm, cpu=self.crashed_cpu, stack=self.stack, uptime=self.uptime,
            tasks=len(self.tasks),
        )  # fmt: skip


def open_dump(vmcore: Path, vmlinux: Path) -> Dump:
    """Open a dump (ELF, or makedumpfile's kdump-compressed form) with the vmlinux of the kernel that crashed.

    Raises UserError when drgn is missing, when either file is missing, foreign or cut off, and when they do not
    belong together.
    """
    try:
        import drgn  # noqa: PLC0415  # see the module's docstring
    except ImportError as error:
        raise user_error(
            "opening a dump needs drgn, which is not installed", why=str(error),
            hint="pip install 'kdumpbuild[analysis]'",
        ) from error  # fmt: skip
    kernel = read_vmlinux(vmlinux)
    if not kernel.debug_info or kernel.elf.build_id is None:
        raise user_error(
            "has no debug info" if not kernel.debug_info else "has no build-id", where=str(vmlinux),
            why="without it nothing in a dump has a name or a type" if not kernel.debug_info
                else "without it nothing tells whether a dump is of this kernel",
            hint="give the unstripped vmlinux of the kernel that crashed, as it lies in the image set's debug folder",
        )  # fmt: skip
    plain = _plain(vmcore)
    source = vmcore if plain is None else Path(f"/proc/self/fd/{plain.fileno()}")
    try:
        check_container(source)
    except UserError as error:
        if plain is None:
            raise
        what = error.faults[0].what
        raise user_error("is a flattened dump of something else", where=str(vmcore), why=what) from error
    program = drgn.Program()
    readable = _readable(source) or plain
    with _damage(vmcore, "drgn cannot open it"):
        program.set_core_dump(str(vmcore) if readable is None else readable.fileno())
        text = program["VMCOREINFO"].string_().decode(errors="replace")
    dump = Dump(program, vmcore, parse_vmcoreinfo(text), readable)
    if dump.build_id and dump.build_id != kernel.elf.build_id:
        raise user_error(
            "the dump is of another kernel", where=str(vmcore),
            why=f"its build-id is {dump.build_id} (Linux {dump.release})\n{vmlinux} has {kernel.elf.build_id}",
            hint="give the vmlinux that was built together with the kernel that crashed",
        )  # fmt: skip
    with _damage(vmlinux, "its debug info cannot be read"):
        program.load_debug_info([str(vmlinux)])
    return dump


def _plain(vmcore: Path) -> IO[bytes] | None:
    """Return the file that a flattened dump stands for; None for any other file."""
    try:
        with vmcore.open("rb") as stream:
            if not is_flattened(stream.read(64)):
                return None
    except OSError:
        return None  # check_container() finds the words for it
    plain = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the Dump
    try:
        unflatten(vmcore, plain)
        plain.flush()
    except BaseException:
        plain.close()
        raise
    return plain


def _readable(vmcore: Path) -> IO[bytes] | None:
    """Return a file that drgn can read where it cannot read the dump itself: a kdump file of 32-bit ARM as ELF."""
    with vmcore.open("rb") as stream:
        if not kdumpfile.is_arm(stream.read(4096)):
            return None
    converted = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the Dump
    try:
        kdumpfile.to_elf(vmcore, converted)
        converted.flush()
    except BaseException:
        converted.close()
        raise
    return converted


def find_cause(dmesg: str) -> str:
    """Return the line of a kernel log that says what ended the kernel, without its time stamp, or nothing."""
    lines = [_STAMP.sub("", line) for line in dmesg.splitlines()]
    for cause in _CAUSES:
        for line in reversed(lines):
            if cause.search(line):
                return line.strip()
    return ""


def last_stamp(dmesg: str) -> float:
    """Return the time stamp of the last stamped line, in seconds since boot; 0.0 when no line has one."""
    return next((float(m[1]) for m in map(_STAMP.match, reversed(dmesg.splitlines())) if m), 0.0)


def parse_vmcoreinfo(text: str) -> dict[str, str]:
    """Return the ``KEY=value`` lines of VMCOREINFO (Linux, kernel/vmcore_info.c). Other lines are passed over."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {key: value for key, equals, value in pairs if equals}


def check_container(vmcore: Path) -> None:
    """Raise UserError when a file is no dump, or is shorter than its headers say: drgn finds that only as it reads."""
    where = str(vmcore)
    try:
        size = vmcore.stat().st_size
        with vmcore.open("rb") as stream:
            head = stream.read(64)
            is_elf = head.startswith(b"\x7fELF")
            wanted = _elf_core_size(stream, head) if is_elf else kdumpfile.HEADERS
    except FileNotFoundError as error:
        raise user_error("there is no such dump", where=where) from error
    except OSError as error:
        raise user_error(f"cannot be read: {error.strerror}", where=where) from error
    except struct.error as error:
        raise user_error("is cut off inside its ELF headers", where=where, why=str(error)) from error
    if wanted is None or not (is_elf or head.startswith(kdumpfile.MAGIC)):
        raise user_error(
            "is not a kernel dump", where=where,
            why="it is an ELF file, but no core file" if is_elf
                else f"neither an ELF core file nor a kdump-compressed one: it starts with {head[:8]!r}",
            hint="a dump is the file vmcore in a dump's folder",
        )  # fmt: skip
    if wanted > size:
        raise user_error(
            "is cut off", where=where, why=f"its headers tell of {wanted} bytes, the file has {size}",
            hint="copy the dump from the board again; if it is as short there, the dump target was full",
        )  # fmt: skip


def _elf_core_size(stream: BinaryIO, head: bytes) -> int | None:
    """Return the bytes that an ELF core file's program headers tell of; None when it is no core file."""
    is_64 = head[4:5] == b"\x02"
    order = ">" if head[5:6] == b"\x02" else "<"
    (kind,) = struct.unpack_from(f"{order}H", head, 16)
    if kind != 4:  # ET_CORE
        return None
    (table,) = struct.unpack_from(f"{order}Q" if is_64 else f"{order}I", head, 32 if is_64 else 28)
    entry_size, count = struct.unpack_from(f"{order}2H", head, 54 if is_64 else 42)
    stream.seek(min(table, 1 << 62))
    wanted: int = table + entry_size * count
    for _ in range(count):
        entry = stream.read(entry_size)
        # p_offset and p_filesz; the 64-bit form has p_flags before them.
        offset, in_file = (
            (*struct.unpack_from(f"{order}8xQ", entry), *struct.unpack_from(f"{order}32xQ", entry))
            if is_64
            else (*struct.unpack_from(f"{order}4xI", entry), *struct.unpack_from(f"{order}16xI", entry))
        )
        wanted = max(wanted, offset + in_file)
    return wanted


def _drgn_errors() -> tuple[type[Exception], ...]:
    """Return what drgn raises on input that it cannot make sense of: its own exceptions and some of Python's."""
    import drgn as module  # noqa: PLC0415

    own = (kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, LookupError, OSError, OverflowError, SyntaxError, TypeError, ValueError, MemoryError)


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except _drgn_errors() as error:
        raise user_error(
            what, where=str(path), why=f"drgn says: {error}" if str(error) else f"drgn raised {type(error).__name__}",
            hint="the dump is damaged or incomplete, or of a kernel that this drgn does not know, or makedumpfile was\n"
                 "too old for the kernel and left needed pages out: kdumpbuild check --explain KD071",
        ) from error  # fmt: skip


def _task(task: drgn.Object) -> Task:
    from drgn.helpers.linux.sched import task_state_to_char  # noqa: PLC0415

    return Task(
        pid=int(task.pid), comm=task.comm.string_().decode(errors="replace"), state=task_state_to_char(task)
    )


def _place(program: drgn.Program, frame: drgn.StackFrame, root: str) -> tuple[str, str]:
    """Return a frame's function and source line.

    drgn looks for the instruction before the return address. Assembly that calls with a made-up return address, as
    the system call entry of arm does (Linux, arch/arm/kernel/entry-common.S), has none there: the name is then that
    of the symbol which begins at the address.
    """
    try:
        place = frame.source()
    except LookupError:
        return frame.name, ""
    if place.filename.endswith(".S") and not frame.interrupted:
        try:
            symbol = program.symbol(frame.pc)
        except LookupError:
            return frame.name, ""
        if symbol.address == frame.pc:
            return symbol.name, ""
    return frame.name, f"{place.filename.removeprefix(root)}:{place.line}"
