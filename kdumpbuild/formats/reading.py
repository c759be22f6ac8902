"""Getting at the bytes of a file that somebody else made: bounded, and every refusal in the user's words."""

from __future__ import annotations

import io
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kdumpbuild.errors import UserError, user_error

if TYPE_CHECKING:
    from collections.abc import Iterator

Source = Path | bytes
"""What every reader takes: a file, or its content."""

MIB = 1 << 20


def name_of(source: Source, where: str = "") -> str:
    """Return how to call ``source`` in a message: ``where`` if given, else its path."""
    if where:
        return where
    return str(source) if isinstance(source, Path) else "<data>"


def malformed(what: str, *, where: str, why: str, hint: str = "") -> UserError:
    """Return the error for a file that is not what it should be. ``why`` says what was found and expected."""
    return user_error(what, where=where, why=why, hint=hint)


@contextmanager
def opened(source: Source, *, where: str = "", limit: int) -> Iterator[IO[bytes]]:
    """Yield a stream over ``source``, which has at most ``limit`` bytes.

    Raises UserError for a path that is missing, not a regular file (a pipe would block for ever), unreadable or
    too large.
    """
    name = name_of(source, where)
    if isinstance(source, bytes):
        _check_size(len(source), limit, name)
        yield io.BytesIO(source)
        return
    try:
        mode = source.stat()
        if not stat.S_ISREG(mode.st_mode):
            raise user_error("not a regular file", where=name)
        _check_size(mode.st_size, limit, name)
        stream = source.open("rb")
    except OSError as error:
        raise user_error(f"cannot be read: {error.strerror or error}", where=name) from error
    with stream:
        yield stream


def load(source: Source, *, where: str = "", limit: int) -> bytes:
    """Return the content of ``source``. Raises UserError as :func:`opened` does."""
    if isinstance(source, bytes):
        _check_size(len(source), limit, name_of(source, where))
        return source
    with opened(source, where=where, limit=limit) as stream:
        return stream.read(limit)


def head(source: Source, size: int, *, where: str = "", limit: int) -> tuple[bytes, int]:
    """Return the first ``size`` bytes of ``source``, and how many it has in all."""
    with opened(source, where=where, limit=limit) as stream:
        start = stream.read(size)
        total = stream.seek(0, io.SEEK_END)
    return start, total


def _check_size(size: int, limit: int, name: str) -> None:
    if size > limit:
        raise user_error(f"too large: {size} bytes", where=name, why=f"at most {limit // MIB} MiB are read")
