"""Writing: whole or not at all."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import files
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_an_unchanged_file_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.write_text(path, "a")
    os.utime(path, (1, 1))
    files.write_text(path, "a")
    assert path.stat().st_mtime == 1
    files.write_text(path, "b", mode=0o755)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("b", 0o755)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "set"
    with files.new_directory(target) as work:
        (work / "a").write_text("1")
        assert not target.exists()
    with files.new_directory(target) as work:
        (work / "b").write_text("2")
    assert [p.name for p in target.iterdir()] == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def fail_inside(target: Path, error: type[BaseException]) -> None:
    with files.new_directory(target) as work:
        (work / "b").write_text("2")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_after_a_failure_the_old_folder_is_there_untouched(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "set"
    with files.new_directory(target) as work:
        (work / "a").write_text("1")
    with pytest.raises(error):
        fail_inside(target, error)
    assert (target / "a").read_text() == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def write_to_full_device() -> None:
    # /dev/full answers every write with ENOSPC.
    full = pathlib.Path("/dev/full")
    with files.writing(full), full.open("w") as stream:
        stream.write("x")
        stream.flush()


def test_a_full_file_system_is_told() -> None:
    with pytest.raises(UserError, match="no space left"):
        write_to_full_device()


def test_a_copy_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "copy"
    with (tmp_path / "source").open("w+b") as stream:
        stream.write(b"content")
        files.copy_new(stream, target)
        assert target.read_bytes() == b"content"
        target.write_bytes(b"mine")
        with pytest.raises(UserError, match="exists already"):
            files.copy_new(stream, target)
    assert target.read_bytes() == b"mine"
    assert list(target.parent.iterdir()) == [target]
