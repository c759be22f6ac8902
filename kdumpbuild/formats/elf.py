"""ELF files: kernels with their symbols, and what a program of the target needs of its kernel and libraries.

pyelftools does the reading. It trusts the sizes and offsets that it finds, so it gets a stream that only has so
many reads to give: whatever a broken file makes it do, it ends.
"""

from __future__ import annotations

import io
import re
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile

from kdumpbuild.errors import user_error
from kdumpbuild.formats.arm_attributes import ArmAttributes, parse_attributes
from kdumpbuild.formats.reading import MIB, Source, malformed, name_of, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT = 4096 * MIB  # a vmlinux with debug information
_READS = 400_000
_BYTES = 512 * MIB
_BLOB = 64 * MIB
_MAX_SECTIONS = 4096
_MAX_SEGMENTS = 512
_MAX_NEEDED = 256
_MAX_STRING = 1024
_MAX_DYNSYM = 4 * MIB

# What pyelftools lets through when a file lies to it. All of these mean "damaged file", none is a bug of ours.
_BROKEN = (
    ELFError, DWARFError, ConstructError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError,
    AssertionError, struct.error, RecursionError, MemoryError, StopIteration, OSError, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True)
class Elf:
    """What was read from an ELF file."""

    name: str
    machine: str
    """``e_machine`` as pyelftools spells it: ``EM_ARM``, ``EM_AARCH64``."""
    elf_class: int
    """32 or 64."""
    little_endian: bool
    type: str
    """``ET_EXEC``, ``ET_DYN``, ``ET_CORE``, ``ET_REL``."""
    entry: int
    flags: int
    interpreter: str | None
    needed: tuple[str, ...]
    """Libraries that it is linked with (DT_NEEDED), in order."""
    soname: str | None
    build_id: str | None
    """In hex."""
    sections: frozenset[str]
    load_alignment: int
    """Smallest alignment of a loaded segment: the largest page size with which it can run. 0 without segments."""
    symbols: frozenset[str] | None
    """Names that it takes from its libraries; None when it has no table of them."""
    thumb_symbols: bool
    """Whether it offers a Thumb function to others."""
    arm: ArmAttributes | None
    """Build attributes; None when it has none."""

    @property
    def is_static(self) -> bool:
        """Whether it runs without a dynamic loader."""
        return self.interpreter is None and not self.needed

    @property
    def eabi(self) -> int:
        """Version of the ARM EABI that it follows; 0 is the old ABI (ELF for the Arm Architecture, e_flags)."""
        return self.flags >> 24 if self.machine == "EM_ARM" else 0


@dataclass(frozen=True)
class ConfigNeed:
    """One thing that a program needs of the kernel's configuration."""

    symbol: str
    """Without ``CONFIG_``."""
    why: str
    certain: bool
    """False when the file only says that it may need it."""
    value: str = "y"


@dataclass(frozen=True)
class UserlandNeeds:
    """What a program of the target needs of the kernel that runs it."""

    name: str
    machine: str
    thumb: bool
    vfp: bool
    neon: bool
    hard_float: bool
    eabi: int
    cpu_arch: str
    """``v7``, ``v6`` …; empty when it does not say."""
    time_bits: int | None
    """Bits of its time_t: 64, 32, or None when that cannot be seen (a static program of a 32-bit machine)."""
    page_size: int
    """Largest page size with which it can be loaded; 0 when unknown."""
    config: tuple[ConfigNeed, ...]


def read_elf(source: Source, *, where: str = "") -> Elf:
    """Read an ELF file. Raises UserError when it is none, is damaged or too large."""
    name = name_of(source, where)
    with _elf(source, name) as (elf, stream):
        sections = _sections(elf, name)
        dynamic = _dynamic(elf, name)
        symbols, thumb = _dynamic_symbols(elf, sections)
        attributes = None
        if elf["e_machine"] == "EM_ARM" and ".ARM.attributes" in sections:
            attributes = parse_attributes(_blob(stream, sections[".ARM.attributes"]), little=elf.little_endian)
        return Elf(
            name=name,
            machine=str(elf["e_machine"]),
            elf_class=int(elf.elfclass),
            little_endian=bool(elf.little_endian),
            type=str(elf["e_type"]),
            entry=int(elf["e_entry"]),
            flags=int(elf["e_flags"]),
            interpreter=_interpreter(elf, stream),
            needed=dynamic.needed,
            soname=dynamic.soname,
            build_id=_build_id(elf, stream, sections),
            sections=frozenset(sections),
            load_alignment=_load_alignment(elf),
            symbols=symbols,
            thumb_symbols=thumb,
            arm=attributes,
        )


def build_id(source: Source, *, where: str = "") -> str:
    """Return the build-id in hex. Raises UserError when the file has none (ld's ``--build-id``)."""
    found = read_elf(source, where=where).build_id
    if found is None:
        raise user_error("has no build-id", where=name_of(source, where), hint="it was linked without --build-id")
    return found


def needed(source: Source, *, where: str = "") -> tuple[str, ...]:
    """Return the libraries that a program or library is linked with."""
    return read_elf(source, where=where).needed


def interpreter(source: Source, *, where: str = "") -> str | None:
    """Return the path of the dynamic loader that a program asks for, or None."""
    return read_elf(source, where=where).interpreter


def machine(source: Source, *, where: str = "") -> str:
    """Return ``e_machine``, ``EM_ARM`` for example."""
    return read_elf(source, where=where).machine


def userland_needs(source: Source, *, where: str = "") -> UserlandNeeds:
    """Return what a program or library of the target needs of its kernel. Raises UserError as :func:`read_elf`."""
    return needs_of(read_elf(source, where=where))


# Functions that a program with a 32-bit time_t imports under their old names (glibc, musl).
_TIME_CALLS = frozenset({
    "time", "gettimeofday", "settimeofday", "clock_gettime", "stat", "fstat", "lstat", "fstatat", "nanosleep",
    "clock_nanosleep", "select", "pselect", "ppoll", "utimensat", "futimens", "localtime", "localtime_r", "gmtime",
    "gmtime_r", "mktime", "difftime", "ctime", "getrusage", "wait4", "setitimer", "getitimer", "__xstat", "__fxstat",
    "__lxstat",
})  # fmt: skip
_TIME64 = re.compile(r"^_{0,2}\w*(time64|64_time64|_time64)$|^__(clock_gettime|time|gettimeofday|localtime|mktime)64")


def needs_of(elf: Elf) -> UserlandNeeds:
    """Return what a program or library needs of its kernel, from what was read of it."""
    attributes = elf.arm or ArmAttributes()
    is_arm = elf.machine == "EM_ARM"
    thumb = is_arm and (bool(elf.entry & 1) or elf.thumb_symbols)
    hard_float = is_arm and (attributes.hard_float or bool(elf.flags & 0x400))
    vfp = is_arm and (hard_float or attributes.fp_arch > 0)
    return UserlandNeeds(
        name=elf.name,
        machine=elf.machine,
        thumb=thumb,
        vfp=vfp,
        neon=is_arm and attributes.simd_arch > 0,
        hard_float=hard_float,
        eabi=elf.eabi,
        cpu_arch=attributes.cpu_arch_name if is_arm else "",
        time_bits=_time_bits(elf),
        page_size=elf.load_alignment,
        config=tuple(_config(elf, attributes, thumb=thumb, vfp=vfp, hard_float=hard_float)),
    )


def _config(
    elf: Elf, attributes: ArmAttributes, *, thumb: bool, vfp: bool, hard_float: bool
) -> Iterator[ConfigNeed]:
    yield ConfigNeed("BINFMT_ELF", "it is an ELF program", certain=True)
    if elf.machine != "EM_ARM":
        return
    if elf.eabi:
        yield ConfigNeed("AEABI", f"it follows the ARM EABI, version {elf.eabi}", certain=True)
    else:
        yield ConfigNeed("OABI_COMPAT", "it follows the old ARM ABI", certain=True)
    if thumb:
        how = "its entry point is Thumb code" if elf.entry & 1 else "its functions are Thumb code"
        yield ConfigNeed("ARM_THUMB", how, certain=True)
    elif attributes.thumb:
        yield ConfigNeed("ARM_THUMB", "it was built for a CPU with Thumb and may use it", certain=False)
    if vfp:
        how = "it passes floats in VFP registers (hard-float ABI)" if hard_float else "it was built with VFP"
        yield ConfigNeed("VFP", how, certain=hard_float)
    if attributes.simd_arch:
        yield ConfigNeed("NEON", "it was built with NEON and may use it", certain=False)
    if attributes.cpu_arch >= 10:
        yield ConfigNeed("CPU_V7", f"it was built for ARM{attributes.cpu_arch_name}", certain=True)
    elif attributes.cpu_arch:
        why = f"it was built for ARM{attributes.cpu_arch_name}, whose atomic operations and TLS come from the kernel"
        yield ConfigNeed("KUSER_HELPERS", why, certain=False)


def _time_bits(elf: Elf) -> int | None:
    if elf.elf_class == 64:
        return 64
    if not elf.symbols:
        return None
    if any(_TIME64.match(symbol) for symbol in elf.symbols):
        return 64
    return 32 if elf.symbols & _TIME_CALLS else None


# -- pyelftools, on a leash --------------------------------------------------------------------------------------


class _Spent(Exception):  # noqa: N818  # never seen outside this module
    """The file made the reader work more than any real one does."""


class _Leash(io.RawIOBase):
    """A stream that gives only so many reads and bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._reads = _READS
        self._bytes = _BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        self._reads -= 1
        if self._reads < 0 or self._bytes < 0:
            raise _Spent
        data = self._stream.read(_BLOB if size is None or size < 0 else min(size, _BLOB))
        self._bytes -= len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


@contextmanager
def _elf(source: Source, name: str) -> Iterator[tuple[Any, _Leash]]:
    """Yield pyelftools' object over ``source``; everything it trips over becomes a UserError."""
    with opened(source, where=name, limit=_LIMIT) as raw:
        magic = raw.read(4)
        if magic != b"\x7fELF":
            why = f"expected 7f454c46 at its start, found {magic.hex() or 'nothing'}"
            raise malformed("not an ELF file", where=name, why=why)
        stream = _Leash(raw)
        try:
            yield ELFFile(cast("IO[bytes]", stream)), stream
        except _Spent as error:
            why = f"reading it took more than {_READS} steps or {_BYTES // MIB} MiB"
            raise malformed("damaged ELF file", where=name, why=why) from error
        except _BROKEN as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            raise malformed("damaged ELF file", where=name, why=why) from error


def _sections(elf: Any, name: str) -> dict[str, Any]:
    """Return section headers by name. Does not build pyelftools' section objects, which read what they describe."""
    count = elf.num_sections() if elf["e_shoff"] else 0
    if count > _MAX_SECTIONS:
        raise malformed("damaged ELF file", where=name, why=f"{count} sections; at most {_MAX_SECTIONS} are read")
    headers = [elf._get_section_header(i) for i in range(count)]  # noqa: SLF001  # get_section() reads too much
    index = elf.get_shstrndx()
    if not 0 < index < count:
        return {}
    names = _blob(elf.stream, headers[index])
    found: dict[str, Any] = {}
    for header in headers:
        found.setdefault(_string(names, header["sh_name"]), header)
    return found


def _blob(stream: _Leash, header: Any) -> bytes:
    """Return a section's content, as far as the file has it; nothing for one that takes no room in the file."""
    if header["sh_type"] == "SHT_NOBITS":
        return b""
    stream.seek(header["sh_offset"])
    return stream.read(header["sh_size"])


def _string(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset, offset + _MAX_STRING)
    return table[offset : end if end >= 0 else offset].decode("utf-8", errors="replace")


def _segments(elf: Any) -> Iterator[Any]:
    count = elf.num_segments() if elf["e_phoff"] else 0
    if count > _MAX_SEGMENTS:
        raise ELFError(f"{count} segments; at most {_MAX_SEGMENTS} are read")
    for i in range(count):
        yield elf._get_segment_header(i)  # noqa: SLF001  # get_segment() reads what the segment describes


def _interpreter(elf: Any, stream: _Leash) -> str | None:
    header = next((s for s in _segments(elf) if s["p_type"] == "PT_INTERP"), None)
    if header is None:
        return None
    stream.seek(header["p_offset"])
    text = stream.read(min(header["p_filesz"], _MAX_STRING)).split(b"\0")[0]
    return text.decode("utf-8", errors="replace") or None


def _load_alignment(elf: Any) -> int:
    return min((int(s["p_align"]) for s in _segments(elf) if s["p_type"] == "PT_LOAD"), default=0)


@dataclass(frozen=True)
class _Dynamic:
    needed: tuple[str, ...] = ()
    soname: str | None = None


def _dynamic(elf: Any, name: str) -> _Dynamic:
    """Read DT_NEEDED and DT_SONAME from the dynamic segment, which even a file without section headers has."""
    segments = list(_segments(elf))
    header = next((s for s in segments if s["p_type"] == "PT_DYNAMIC"), None)
    if header is None:
        return _Dynamic()
    form = ("<" if elf.little_endian else ">") + ("2I" if elf.elfclass == 32 else "2Q")
    elf.stream.seek(header["p_offset"])
    data = elf.stream.read(min(header["p_filesz"], MIB))
    tags: list[tuple[int, int]] = []
    for tag, value in struct.iter_unpack(form, data[: len(data) // struct.calcsize(form) * struct.calcsize(form)]):
        if tag == 0:
            break
        tags.append((tag, value))
    values = dict(tags)
    wanted = [value for tag, value in tags if tag == 1]
    if not wanted and 14 not in values:
        return _Dynamic()
    if len(wanted) > _MAX_NEEDED:
        raise malformed("damaged ELF file", where=name, why=f"{len(wanted)} libraries needed")
    table = values.get(5, 0)  # DT_STRTAB, an address
    home = next(
        (s for s in segments if s["p_type"] == "PT_LOAD" and s["p_vaddr"] <= table < s["p_vaddr"] + s["p_filesz"]),
        None,
    )
    if home is None:
        raise malformed("damaged ELF file", where=name, why=f"no segment holds its names, at address {table:#x}")
    elf.stream.seek(home["p_offset"] + table - home["p_vaddr"])
    names = elf.stream.read(min(values.get(10, 0), 16 * MIB))  # DT_STRSZ
    libraries = tuple(_string(names, offset) for offset in wanted)
    if any(not library for library in libraries):
        raise malformed("damaged ELF file", where=name, why="the name of a library that it needs is missing")
    return _Dynamic(needed=libraries, soname=_string(names, values[14]) if 14 in values else None)


def _dynamic_symbols(elf: Any, sections: dict[str, Any]) -> tuple[frozenset[str] | None, bool]:
    """Return the undefined names of .dynsym, and whether a function that it defines is Thumb code."""
    if ".dynsym" not in sections or ".dynstr" not in sections:
        return None, False
    names = _blob(elf.stream, sections[".dynstr"])
    undefined: set[str] = set()
    thumb = False
    for offset, value, info, index in _symbol_entries(elf, sections[".dynsym"], _MAX_DYNSYM):
        if index == 0 and offset:
            undefined.add(_string(names, offset))
        elif index and info & 0xF == 2 and value & 1:
            thumb = True
    return frozenset(undefined), thumb and elf["e_machine"] == "EM_ARM"


def _symbol_entries(elf: Any, header: Any, limit: int = _BLOB) -> Iterator[tuple[int, int, int, int]]:
    """Yield name offset, value, info and section index of each symbol."""
    order = "<" if elf.little_endian else ">"
    data = _blob(elf.stream, header)[:limit]
    if elf.elfclass == 32:
        for name, value, _, info, _, index in struct.iter_unpack(f"{order}3I2BH", data[: len(data) // 16 * 16]):
            yield name, value, info, index
    else:
        for name, info, _, index, value, _ in struct.iter_unpack(f"{order}I2BH2Q", data[: len(data) // 24 * 24]):
            yield name, value, info, index


def _build_id(elf: Any, stream: _Leash, sections: dict[str, Any]) -> str | None:
    """Find the NT_GNU_BUILD_ID note: in note segments, or for a file without them in its note sections."""
    places = [(s["p_offset"], s["p_filesz"]) for s in _segments(elf) if s["p_type"] == "PT_NOTE"]
    places += [(h["sh_offset"], h["sh_size"]) for h in sections.values() if h["sh_type"] == "SHT_NOTE"]
    order = "<" if elf.little_endian else ">"
    for offset, size in places[:64]:
        stream.seek(offset)
        data = stream.read(min(size, MIB))
        at = 0
        while at + 12 <= len(data):
            name_size, desc_size, kind = struct.unpack_from(f"{order}3I", data, at)
            desc = at + 12 + (name_size + 3 & ~3)
            if kind == 3 and data[at + 12 : at + 16] == b"GNU\0" and name_size == 4 and 0 < desc_size <= 64:
                found = data[desc : desc + desc_size]
                return found.hex() if len(found) == desc_size else None
            at = desc + (desc_size + 3 & ~3)
    return None


# -- kernels ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vmlinux:
    """What was read from a kernel's ELF file."""

    elf: Elf
    symbols: dict[str, int]
    """Address of each symbol that was asked for and is there."""
    debug_info: bool
    """Whether it holds DWARF."""
    has_symbols: bool
    reduced: bool = False
    """Whether it was compiled with DEBUG_INFO_REDUCED: gcc's option for that is in the DWARF. Not seen in compressed
    debug information."""
    version: str = ""
    """What the kernel calls itself: ``6.12.117``. Empty when its banner was not found."""


_BANNER = re.compile(rb"Linux version (\d+\.\d+[\w.+~-]*) \(")
_REDUCED = b"-femit-struct-debug-baseonly"


def read_vmlinux(source: Source, names: frozenset[str] = frozenset(), *, where: str = "") -> Vmlinux:
    """Read a vmlinux and the addresses of the symbols ``names``. Raises UserError as :func:`read_elf`."""
    name = name_of(source, where)
    summary = read_elf(source, where=where)
    found: dict[str, int] = {}
    with _elf(source, name) as (elf, _):
        sections = _sections(elf, name)
        has_symbols = ".symtab" in sections and ".strtab" in sections
        if names and has_symbols:
            strings = _blob(elf.stream, sections[".strtab"])
            wanted = {n.encode(): n for n in names}
            for offset, value, _, index in _symbol_entries(elf, sections[".symtab"]):
                if index and offset:
                    end = strings.find(b"\0", offset, offset + 64)
                    known = wanted.get(strings[offset:end]) if end >= 0 else None
                    if known is not None:
                        found[known] = value
        banner = _BANNER.search(_blob(elf.stream, sections[".rodata"])) if ".rodata" in sections else None
        reduced = ".debug_str" in sections and _REDUCED in _blob(elf.stream, sections[".debug_str"])
    return Vmlinux(
        elf=summary,
        symbols=found,
        debug_info=bool({".debug_info", ".zdebug_info"} & summary.sections),
        has_symbols=has_symbols,
        reduced=reduced,
        version=banner[1].decode("ascii", errors="replace") if banner else "",
    )
