"""The tables of a board file: each key is taken once, and each fault is noted with its file, line and key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdumpbuild.board.size import parse_size
from kdumpbuild.errors import Fault, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

UNANSWERED = "?"
"""A value that waits for an answer; above it stands the question (``kdumpbuild board new`` writes both)."""


@dataclass
class Source:
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


class Table:
    """One table of the file. Each accessor takes a key once and notes a fault when the value is not usable."""

    def __init__(self, source: Source, data: Mapping[str, Any], keys: tuple[str | int, ...]) -> None:
        self._source, self._data, self._keys = source, data, keys
        self._taken: set[str] = set()

    def fault(self, key: str, what: str, hint: str = "") -> None:
        """Note what is wrong with a key's value."""
        where = f"{self._source.path}:{self.line(key)}"
        self._source.faults.append(Fault(f"{self.name(key)}: {what}", where=where, hint=hint))

    def line(self, key: str) -> int:
        """Return the line of a key."""
        return self._source.line((*self._keys, key))

    def name(self, key: str) -> str:
        """Return a key's name with those of its tables."""
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
        """Return a text, one of ``choices`` where there are some."""
        choices = tuple(choices)
        hint = hint or (f"one of: {', '.join(choices)}" if choices else "")
        value = self._take(key, str, "a text", default, hint)
        if value is None:
            return ""
        if choices and value not in choices and value != default:
            self.fault(key, f"{value!r} is not known", f"{nearest(value, choices)} (valid: {', '.join(choices)})")
        elif not value and not choices and default is None:
            self.fault(key, "is empty", hint)
        elif "\n" in value:
            self.fault(key, "has a line break in it", hint)
        return str(value)

    def integer(self, key: str, *, default: int | None = None, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``."""
        wanted = f"a whole number from {low} to {high}"
        value = self._take(key, int, wanted, default)
        if value is None:
            return low
        if not low <= value <= high:
            self.fault(key, f"{value} is out of range", wanted)
        return int(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        return bool(self._take(key, bool, "true or false", default))

    def texts(self, key: str, *, default: tuple[str, ...] | None = ()) -> tuple[str, ...]:
        """Return a list of texts."""
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

    def size(self, key: str, hint: str, *, default: str | None = None) -> int:
        """Return the bytes of a size."""
        value = self._take(key, str, "a size in quotes", default, hint)
        try:
            return parse_size(value) if value is not None else 0
        except ValueError as error:
            self.fault(key, str(error), hint)
            return 0

    def table(self, key: str, *, required: bool) -> Table | None:
        """Return a table; None when it is missing and not required."""
        value = self._take(key, dict, f"a table [{self.name(key)}]", None if required else {})
        if key not in self._data and not required:
            return None
        return Table(self._source, value or {}, (*self._keys, key)) if value is not None else None

    def tables(self, key: str) -> list[Table]:
        """Return the tables of a list of tables."""
        value = self._take(key, list, f"a list of tables [[{self.name(key)}]]", [])
        if not all(isinstance(item, dict) for item in value):
            self.fault(key, "is not a list of tables", f"write [[{key}]]")
            return []
        return [Table(self._source, item, (*self._keys, key, number)) for number, item in enumerate(value)]

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def end(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._data:
            if key not in self._taken:
                self.fault(key, "unknown key", nearest(key, self._taken))
