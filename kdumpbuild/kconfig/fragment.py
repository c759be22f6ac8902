"""Reading fragments: parts of a kernel ``.config``, each group of lines with its reason and its conditions.

A fragment is a plain ``.config`` part that merge_config.sh, Yocto and Buildroot take as it is. Two conventions
make more of it, both inside comments:

* the comment above a group of lines is the reason for them; a group ends at the next blank line or comment;
* ``#@ kernel >= 6.9`` and ``#@ arch arm`` in that comment say for which kernels the group is meant. In a comment
  block of its own at the top of the file, they hold for the whole file. ``#@ means`` marks lines that are there
  only to make others possible.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.errors import Fault, UserError, nearest, user_error

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Version = tuple[int, int]
_SET = re.compile(r"CONFIG_(\w+)=(.*)")
_UNSET = re.compile(r"#\s*CONFIG_(\w+) is not set\s*")
_LOOKS_UNSET = re.compile(r"#\s*(CONFIG_\w+)\s+(is\s+)?(not\s+set|unset|=\s*n)\b", re.IGNORECASE)
_KERNEL = re.compile(r"(>=|<)\s*(\d+)\.(\d+)")
_NEVER: Version = (1 << 16, 0)
_DIRECTIVES = ("kernel", "arch", "means")


@dataclass(frozen=True)
class Condition:
    """For which kernels a group of lines is meant: versions from ``low`` to below ``high``, and architectures."""

    low: Version = (0, 0)
    high: Version = _NEVER
    arches: frozenset[str] = frozenset()
    """Names of architectures; none means all."""

    def holds(self, version: Iterable[int], arch: str) -> bool:
        """Whether the group is meant for this kernel."""
        major, minor, *_ = version
        return self.low <= (major, minor) < self.high and (not self.arches or arch in self.arches)

    def meets(self, other: Condition) -> bool:
        """Whether there is a kernel for which both hold."""
        versions = max(self.low, other.low) < min(self.high, other.high)
        return versions and (not self.arches or not other.arches or bool(self.arches & other.arches))

    def both(self, other: Condition) -> Condition:
        """Return the condition that holds where both hold."""
        arches = self.arches & other.arches if self.arches and other.arches else self.arches | other.arches
        return Condition(max(self.low, other.low), min(self.high, other.high), arches)

    def __str__(self) -> str:
        parts = [f"kernel >= {self.low[0]}.{self.low[1]}"] if self.low > (0, 0) else []
        parts += [f"kernel < {self.high[0]}.{self.high[1]}"] if self.high < _NEVER else []
        parts += [f"arch {' '.join(sorted(self.arches))}"] if self.arches else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Line:
    """One requested line."""

    symbol: str
    """The symbol's name, without ``CONFIG_``."""
    value: str
    """The value as the .config spells it, without quotes; ``n`` for ``is not set``."""
    quoted: bool
    """Whether the value stood in double quotes."""
    file: Path
    number: int
    """Line number in the file, from 1."""
    reason: str
    """The comment above the group; may have several lines, may be empty."""
    condition: Condition = field(default_factory=Condition)
    means: bool = False
    """Whether the line is there only to make others possible, and may be left out where they come without it."""

    @property
    def where(self) -> str:
        """Return ``file:line``."""
        return f"{self.file}:{self.number}"

    @property
    def text(self) -> str:
        """The line as a .config has it."""
        return config_line(self.symbol, self.value, quoted=self.quoted)


@dataclass(frozen=True)
class Fragment:
    """A fragment file."""

    path: Path
    lines: tuple[Line, ...]

    def active(self, version: Iterable[int], arch: str) -> tuple[Line, ...]:
        """Return the lines that are meant for this kernel."""
        version = tuple(version)
        return tuple(line for line in self.lines if line.condition.holds(version, arch))


def config_line(symbol: str, value: str, *, quoted: bool = False) -> str:
    """Return a value as the kernel's .config writes it."""
    if quoted:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'CONFIG_{symbol}="{escaped}"'
    return f"# CONFIG_{symbol} is not set" if value == "n" else f"CONFIG_{symbol}={value}"


def read_fragment(path: Path) -> Fragment:
    """Read a fragment file. Raises UserError with every fault in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise user_error(f"cannot read the fragment: {error}", where=str(path)) from error
    return parse_fragment(text, path)


def parse_fragment(text: str, path: Path) -> Fragment:
    """Read a fragment's text; ``path`` is what faults and lines name as their file."""
    reader = _Reader(path)
    for number, raw in enumerate(text.splitlines(), 1):
        reader.take(number, raw.rstrip())
    reader.end_group()
    _find_contradictions(reader)
    if reader.faults:
        raise UserError(*(fault for _, fault in sorted(reader.faults, key=lambda found: found[0])))
    return Fragment(path, tuple(reader.lines))


class _Reader:
    """The file being read: what came so far, and the group that is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self.faults: list[tuple[int, Fault]] = []
        self._whole_file = Condition()
        self._clear()

    def _clear(self) -> None:
        self._reason: list[str] = []
        self._condition = Condition()
        self._directive_line = 0
        self._means = False
        self._requests = 0

    def fault(self, number: int, what: str, hint: str = "") -> None:
        self.faults.append((number, Fault(what, where=f"{self.path}:{number}", hint=hint)))

    def end_group(self) -> None:
        if self._directive_line and not self._requests:
            if self.lines:
                self.fault(self._directive_line, "a #@ condition without a line that it is for",
                           "put it into the comment above its lines, or at the top for the whole file")  # fmt: skip
            else:
                self._whole_file = self._whole_file.both(self._condition)
        self._clear()

    def take(self, number: int, raw: str) -> None:
        line = raw.strip()
        if not line:
            self.end_group()
        elif match := _UNSET.fullmatch(line):
            self._requests += 1
            self._request(number, match[1], "n", quoted=False)
        elif line.startswith("#"):
            self._comment(number, line)
        elif match := _SET.fullmatch(line):
            self._requests += 1
            self._assignment(number, match[1], match[2].strip())
        else:
            self.fault(number, f"not a line of a .config: {line}",
                       "write CONFIG_NAME=value, or # CONFIG_NAME is not set")  # fmt: skip

    def _comment(self, number: int, line: str) -> None:
        if match := _LOOKS_UNSET.match(line):
            self.fault(number, f"this reads like a request, but Kconfig takes it for a comment: {line}",
                       f"write: # {match[1]} is not set")  # fmt: skip
            return
        if self._requests:
            self.end_group()
        if line.startswith("#@"):
            self._directive(number, line[2:].strip())
            return
        self._reason.append(line.lstrip("#").strip())

    def _directive(self, number: int, text: str) -> None:
        name, _, rest = text.partition(" ")
        self._directive_line = number
        if name == "kernel" and (match := _KERNEL.fullmatch(rest.strip())):
            version = (int(match[2]), int(match[3]))
            bound = Condition(low=version) if match[1] == ">=" else Condition(high=version)
            self._condition = self._condition.both(bound)
            if self._condition.low >= self._condition.high:
                self.fault(number, "no kernel version fulfils these conditions together")
        elif name == "kernel":
            self.fault(
                number, f"cannot read the version condition {rest!r}", "write #@ kernel >= 6.9 or #@ kernel < 6.9"
            )
        elif name == "arch" and rest.split():
            self._condition = self._condition.both(Condition(arches=frozenset(rest.split())))
        elif name == "means" and not rest.strip():
            self._means = True
        else:
            self.fault(number, f"unknown condition #@ {text}", nearest(name, _DIRECTIVES))

    def _assignment(self, number: int, symbol: str, value: str) -> None:
        if value.startswith('"'):
            match = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value)
            if match is None:
                self.fault(number, f"CONFIG_{symbol}: the text does not end with its quote: {value}")
                return
            self._request(number, symbol, re.sub(r"\\(.)", r"\1", match[1]), quoted=True)
        elif not value:
            self.fault(number, f"CONFIG_{symbol} has no value", f'write # CONFIG_{symbol} is not set, or =""')
        elif not re.fullmatch(r"[ymn]|-?\d+|0[xX][0-9a-fA-F]+", value):
            self.fault(number, f"CONFIG_{symbol}: {value!r} is no value that a .config can have",
                       'y, m, n, a number, 0x and a number, or a text in double quotes')  # fmt: skip
        else:
            self._request(number, symbol, value, quoted=False)

    def _request(self, number: int, symbol: str, value: str, *, quoted: bool) -> None:
        condition = self._whole_file.both(self._condition)
        reason = "\n".join(self._reason).strip()
        self.lines.append(Line(symbol, value, quoted, self.path, number, reason, condition, self._means))


def _find_contradictions(reader: _Reader) -> None:
    seen: dict[str, list[Line]] = {}
    for line in reader.lines:
        for other in seen.setdefault(line.symbol, []):
            if line.condition.meets(other.condition) and line.value != other.value:
                reader.fault(
                    line.number,
                    f"CONFIG_{line.symbol} is asked to be {line.value}, but line {other.number} asks for {other.value}",
                    "keep one of them, or give them conditions (#@) that exclude each other",
                )
        seen[line.symbol].append(line)
