"""Writing a new board: its file and what it refers to, all of it or nothing, and never over what is there."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from kdumpbuild import files
from kdumpbuild.errors import Fault, UserError, user_error
from kdumpbuild.newboard.text import board_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdumpbuild.newboard.draft import Draft

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def check_name(name: str, known: Mapping[str, Path]) -> None:
    """Raise UserError for a name that no board can have, or that one has."""
    if not _NAME.fullmatch(name) or name.endswith(".toml"):
        raise user_error(
            f"{name!r} is not usable as a board's name", where="NAME",
            hint="lower-case letters, digits, '-', '_' and '.', the first a letter or digit; without .toml",
        )  # fmt: skip
    if name in known:
        raise user_error(f"there is a board named {name}", where=str(known[name]), hint="choose another name")


def write_board(draft: Draft, folder: Path, *, dtb: str, tree: bytes, config: str) -> list[Path]:
    """Write the board file and return what was written, the board file first.

    ``dtb``: what the file says of its device tree; when it is empty, ``tree`` is written beside the file and named.
    ``config``: the running kernel's, empty for none. Raises UserError when a file is there already.
    """
    board = folder / f"{draft.name}.toml"
    blob, kernel_config = folder / f"{draft.name}.dtb", folder / f"{draft.name}.config"
    contents: dict[Path, bytes] = {}
    if not dtb:
        contents[blob] = tree
        dtb = f"./{blob.name}"
    if config:
        contents[kernel_config] = config.encode()
    text = board_text(draft, dtb=dtb, base=f"./{kernel_config.name}" if config else "")
    contents = {board: text.encode(), **contents}
    there = [path for path in contents if os.path.lexists(path)]
    if there:
        raise UserError(*(Fault("is there already", where=str(p), hint="choose another name") for p in there))
    _write_all(contents, board)
    return list(contents)


def relative(path: Path, folder: Path) -> str:
    """Return a path as a board file in ``folder`` names it: beginning with ``./`` or ``../``."""
    text = os.path.relpath(path.resolve(), folder.resolve())
    return text if text.startswith("../") else f"./{text}"


def _write_all(contents: Mapping[Path, bytes], last: Path) -> None:
    """Write beside, then link each into place: a link takes no place that is taken. The board file comes last."""
    made: list[Path] = []
    beside: dict[Path, Path] = {}
    with files.writing(last, hint="give another --folder"):
        try:
            for path, data in contents.items():
                beside[path] = path.with_name(f".{path.name}.{os.getpid()}")
                beside[path].write_bytes(data)
            for path in sorted(contents, key=lambda p: p == last):
                try:
                    path.hardlink_to(beside[path])
                except FileExistsError:
                    raise user_error("is there already", where=str(path), hint="choose another name") from None
                made.append(path)
        except BaseException:
            for path in made:
                path.unlink()
            raise
        finally:
            for path in beside.values():
                path.unlink(missing_ok=True)
