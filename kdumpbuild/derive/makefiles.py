"""Which symbols have to be on for a source file to be compiled, from the kernel's Makefiles.

Kbuild's language is make's; here only the form is read that kernel Makefiles keep: lists of objects and folders,
variables named after symbols, ``ifdef`` and ``ifeq`` around them.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Gate = frozenset[str]
"""Symbols, without ``CONFIG_``, that all have to be on."""

_ASSIGN = re.compile(r"^\s*([\w.$(),:= -]+?)\s*(?:\+=|:=|\?=|=)\s*(.*)$")
_SYMBOL = re.compile(r"CONFIG_(\w+)")
_IF = re.compile(r"^\s*(ifeq|ifneq|ifdef|ifndef)\b\s*(.*)$")
_PART = re.compile(r"^(.+?)-(?:y|m|objs|\$\(.*\))$")
_MACHINE = re.compile(r"^(?:machine|plat)-(?:y|\$\(CONFIG_\w+\))$")


@dataclass
class _Makefile:
    """The lists of one Makefile: for each object or folder, under which variable and conditions it stands."""

    objects: dict[str, list[tuple[str, Gate]]] = field(default_factory=dict)

    def add(self, word: str, variable: str, conditions: Gate) -> None:
        self.objects.setdefault(word, []).append((variable, conditions))


@dataclass
class Gates:
    """For each source file, without its ending, the alternatives that get it compiled."""

    by_file: dict[str, list[Gate]] = field(default_factory=dict)

    def of(self, source: str) -> list[Gate]:
        """Return the alternatives for a source file; none when no Makefile names it."""
        return self.by_file.get(source.rpartition(".")[0], [])


def read_gates(read: Callable[[str], str | None], roots: dict[str, Gate]) -> Gates:
    """Return the gates of all files below some folders. ``read`` returns a file's text, or None."""
    gates = Gates()
    seen: set[tuple[str, Gate]] = set()
    queue = list(roots.items())
    while queue:
        folder, above = queue.pop()
        if (folder, above) in seen:
            continue
        seen.add((folder, above))
        text = read(f"{folder}/Kbuild")
        if text is None:
            text = read(f"{folder}/Makefile")
        if text is None:
            continue
        parsed = _parse(text)
        for word in parsed.objects:
            path = posixpath.normpath(f"{folder}/{word}")
            for gate in _resolved(parsed, word, ()):
                whole = above | gate
                if word.endswith("/"):
                    queue.append((path, whole))
                elif word.endswith(".o"):
                    known = gates.by_file.setdefault(path[:-2], [])
                    if whole not in known:
                        known.append(whole)
    return gates


def machine_folders(text: str, arch: str) -> Iterator[tuple[str, Gate]]:
    """Yield the folders that arch/<arch>/Makefile adds for each machine (arm), and their gates."""
    for variable, words, conditions in _assignments(text):
        if _MACHINE.match(variable):
            for word in words:
                for prefix in ("mach", "plat"):
                    if variable.startswith(prefix):
                        yield f"arch/{arch}/{prefix}-{word}", conditions | frozenset(_SYMBOL.findall(variable))


def _parse(text: str) -> _Makefile:
    parsed = _Makefile()
    for variable, words, conditions in _assignments(text):
        for word in words:
            parsed.add(word, variable, conditions)
    return parsed


def _assignments(text: str) -> Iterator[tuple[str, list[str], Gate]]:
    conditions: list[Gate] = []
    for raw in re.sub(r"\\\n", " ", text).splitlines():
        line = raw.partition("#")[0].rstrip()
        if not line:
            continue
        if match := _IF.match(line):
            conditions.append(_condition(match[1], match[2]))
        elif line.strip().startswith("else"):
            if conditions:
                nested = _IF.match(line.strip().removeprefix("else").strip())
                conditions[-1] = _condition(nested[1], nested[2]) if nested else frozenset()
        elif line.strip() == "endif":
            if conditions:
                conditions.pop()
        elif match := _ASSIGN.match(line):
            yield match[1].strip(), match[2].split(), frozenset().union(*conditions)


def _condition(word: str, rest: str) -> Gate:
    """Return the symbols that a condition wants on. What it wants off cannot be said, and is left out."""
    symbols = frozenset(_SYMBOL.findall(rest))
    wants_off = word == "ifndef" or (word == "ifeq" and not re.search(r"[ym]\b", rest.rpartition(",")[2]))
    wants_off |= word == "ifneq" and bool(rest.rpartition(",")[2].strip(" )"))
    return frozenset() if wants_off else symbols


def _resolved(parsed: _Makefile, word: str, above: tuple[str, ...]) -> Iterator[Gate]:
    """Yield the gates of an object or folder: its own list's, or those of the object that it is a part of."""
    if word in above:
        return
    for variable, conditions in parsed.objects.get(word, []):
        own = conditions | frozenset(_SYMBOL.findall(variable))
        prefix = variable.partition("-")[0]
        if prefix in ("obj", "lib", "core", "drivers"):
            yield own
            continue
        names = [f"$({variable})"]
        if match := _PART.match(variable):
            names = [f"{match[1]}.o", f"$({match[1]}-y)", f"$({match[1]}-m)", f"$({match[1]}-objs)"]
        for name in names:
            for gate in _resolved(parsed, name, (*above, word)):
                yield own | gate
