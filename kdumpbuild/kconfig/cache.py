"""Keeping what was read of a kernel's Kconfig files, so that the next start takes a fraction of the time.

What is kept is used only if everything that reading depends on is the same: the content of every Kconfig file, the
environment, and the output of every command that the files run (``$(shell,...)``: what the compiler can do). The
files are hashed and the commands are run again, side by side, each time; so a kept state is never out of date.
Reading anew takes the other half of the time, and that is what is saved.
"""

from __future__ import annotations

import gc
import hashlib
import io
import pickle
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdumpbuild.files import writing
from kdumpbuild.kconfig import adapter
from kdumpbuild.kconfig.adapter import KernelKconfig, kbuild_environment, lib
from kdumpbuild.run import shell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Future

    from kdumpbuild.kconfig.toolchain import Toolchain
    from kdumpbuild.kconfig.tree import KernelTree

_CLASSES: tuple[Any, ...] = (lib.Symbol, lib.Choice, lib.MenuNode)
_LEFT_OUT = frozenset({"_set_match", "_unset_match", "_readline", "_functions", "variables", "_filestack", "kconfig"})
"""Attributes that only reading needs, or that are set anew."""
_ABSENT = "\0absent"
_WORKERS = 4


def open_kconfig(tree: KernelTree, toolchain: Toolchain, folder: Path | None) -> KernelKconfig:
    """Return the Kconfig files of a tree, from what is kept in ``folder`` if that is still true, else read anew.

    Without a folder nothing is kept. Raises UserError like :class:`KernelKconfig`; a kept state that is damaged or
    cannot be written is no error.
    """
    if folder is None:
        return KernelKconfig(tree, toolchain)
    values = kbuild_environment(tree, toolchain)
    name = hashlib.sha256(repr((str(tree.path), toolchain)).encode()).hexdigest()[:16]
    path = folder / f"kconfig-{toolchain.arch}-{name}.pickle"
    kept = _load(path, tree, toolchain, values)
    if kept is not None:
        return kept
    kconfig = KernelKconfig(tree, toolchain, values)
    if kconfig.repeatable:
        _store(path, kconfig, values)
    return kconfig


def _program() -> str:
    """Return what identifies the code that reads: another version of it may read another state."""
    digest = hashlib.sha256(f"{sys.version} {lib.__file__}".encode())
    for source in (lib.__file__, adapter.__file__, __file__):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()


def _hash_files(root: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        content = (root / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _store(path: Path, kconfig: KernelKconfig, values: Mapping[str, str]) -> None:
    body = _pickled(kconfig)
    if body is None:
        return
    names = list(dict.fromkeys(kconfig.kconfig_filenames))
    header = {
        "program": _program(), "values": dict(values), "names": names,
        "files": _hash_files(kconfig.tree.path, names), "commands": kconfig.commands,
        "body": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip
    try:
        with writing(path), tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
            new.write(pickle.dumps(header) + body)
        Path(new.name).replace(path)
    except Exception:  # noqa: BLE001  # a cache that cannot be written is no fault of the user's
        return


def _pickled(kconfig: KernelKconfig) -> bytes | None:
    objects = _objects(kconfig)
    states = [_state(item) for item in objects]
    own = {name: getattr(kconfig, name) for name in _kept_names(kconfig) if hasattr(kconfig, name)}
    stream = io.BytesIO()
    limit = sys.getrecursionlimit()
    try:
        # What selects a much-selected symbol is one expression, as deep as there are selecting symbols.
        sys.setrecursionlimit(max(limit, 50_000))
        _Pickler(stream).dump((objects, states, own))
    except RecursionError:
        return None
    finally:
        sys.setrecursionlimit(limit)
    return stream.getvalue()


def _load(path: Path, tree: KernelTree, toolchain: Toolchain, values: Mapping[str, str]) -> KernelKconfig | None:
    try:
        stream = io.BytesIO(path.read_bytes())
        header = _Unpickler(stream).load()
        if header["program"] != _program() or header["values"] != dict(values):
            return None
        if header["files"] != _hash_files(tree.path, header["names"]):
            return None
        if header["body"] != hashlib.sha256(stream.getbuffer()[stream.tell() :]).hexdigest():
            return None
        with tempfile.TemporaryDirectory(prefix="kdumpbuild-kconfig-") as scratch, ThreadPoolExecutor(_WORKERS) as pool:
            answers = {
                command: pool.submit(shell, command, cwd=Path(scratch), env=values) for command in header["commands"]
            }
            kconfig = _restore(stream, tree, toolchain)
            same = _same(header["commands"], answers)
    except Exception:  # noqa: BLE001  # a damaged file can end in any exception; then it is read anew
        return None
    return kconfig if same else None


def _same(kept: Mapping[str, str], answers: Mapping[str, Future[tuple[str, str]]]) -> bool:
    return all(answers[command].result()[0] == output for command, output in kept.items())


def _restore(stream: io.BytesIO, tree: KernelTree, toolchain: Toolchain) -> KernelKconfig:
    collecting = gc.isenabled()
    gc.disable()  # tens of thousands of new objects, none of them garbage
    try:
        objects, states, own = _Unpickler(stream).load()
        kconfig = KernelKconfig.__new__(KernelKconfig)
        for item, state in zip(objects, states, strict=True):
            item.kconfig = kconfig
            for name, value in zip(_SLOTS[item.__class__], state, strict=True):
                if value is not _ABSENT and value != _ABSENT:
                    setattr(item, name, value)
    finally:
        if collecting:
            gc.enable()
    for name, value in own.items():
        setattr(kconfig, name, value)
    kconfig.revive(tree, toolchain)
    return kconfig


def _objects(kconfig: KernelKconfig) -> list[Any]:
    """Return every symbol, choice and menu node."""
    found: dict[int, Any] = {}
    nodes = [kconfig.top_node]
    for item in (*kconfig.syms.values(), *kconfig.const_syms.values(), *kconfig.choices):
        found[id(item)] = item
        nodes += item.nodes
    while nodes:
        node = nodes.pop()
        if id(node) not in found:
            found[id(node)] = node
            nodes += [other for other in (node.next, node.list, node.parent) if other]
    return list(found.values())


def _slots(kind: Any) -> tuple[str, ...]:
    names = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    return tuple(name for name in names if name not in _LEFT_OUT)


_SLOTS: dict[Any, tuple[str, ...]] = {kind: _slots(kind) for kind in _CLASSES}


def _state(item: Any) -> tuple[Any, ...]:
    return tuple(getattr(item, name, _ABSENT) for name in _SLOTS[item.__class__])


def _kept_names(kconfig: KernelKconfig) -> list[str]:
    own = [name for name in vars(kconfig) if name not in ("tree", "toolchain", "dialect", "_scratch", "_node")]
    return [name for name in (*lib.Kconfig.__slots__, *own) if name not in _LEFT_OUT]


def _empty(number: int) -> Any:
    """Return a new object of a class, without its state, which comes when all objects are there."""
    kind = _CLASSES[number]
    return kind.__new__(kind)


class _Pickler(pickle.Pickler):
    """Writes symbols, choices and nodes empty, so that they may refer to each other in any way."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=5)

    def reducer_override(self, item: Any) -> Any:
        kind = item.__class__
        return (_empty, (_CLASSES.index(kind),)) if kind in _CLASSES else NotImplemented


class _Unpickler(pickle.Unpickler):
    """Makes nothing but what :class:`_Pickler` writes: a file of somebody else's cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) != (__name__, "_empty"):
            raise pickle.UnpicklingError(f"{module}.{name} has no place here")
        return _empty
