"""Writing files so that they are there whole or not at all, and hashing them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kdumpbuild.errors import UserError, user_error

if TYPE_CHECKING:
    from collections.abc import Iterator


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file beside its place and rename it. An unchanged file is left alone, time stamp and all."""
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        path.chmod(mode)
        return
    write_bytes(path, data, mode=mode)


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file beside its place and rename it."""
    with writing(path), tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            Path(stream.name).replace(path)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory beside ``path``; it takes ``path``'s place when the block ends well.

    After a failure or an interrupt, what was at ``path`` before is still there, untouched.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
        try:
            work.chmod(0o755)
            yield work
            old = path.parent / f".{path.name}.old-{os.getpid()}"
            if path.exists():
                path.rename(old)
            work.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


@contextmanager
def writing(path: Path, hint: str = "set OUT (or CACHE) to a folder that can be written") -> Iterator[None]:
    """Turn what the operating system says against writing at ``path`` into a UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise user_error(
                f"no space left while writing {path}",
                hint=f"free space on the file system of {path.parent}, or set OUT (or CACHE) to another place",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise user_error(f"cannot write {path}: {error.strerror}", hint=hint) from error
        raise


def copy_new(stream: IO[bytes], target: Path) -> None:
    """Copy an open file to a place where there is none yet, whole or not at all. Raises UserError when there is one."""
    if target.exists():
        raise user_error("exists already", where=str(target), hint="give another name, or remove it first")
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    stream.seek(0)
    with writing(target):
        try:
            with beside.open("xb") as copy:
                shutil.copyfileobj(stream, copy, 1 << 20)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
