"""The flattened form of makedumpfile: back to a file, or refused."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.formats.flattened import MAGIC, is_flattened, unflatten

if TYPE_CHECKING:
    from pathlib import Path

END = struct.pack(">qq", -1, -1)


def flat(*pieces: tuple[int, bytes], end: bytes = END) -> bytes:
    head = struct.pack(">16sqq", MAGIC, 1, 1).ljust(4096, b"\0")
    return head + b"".join(struct.pack(">qq", at, len(data)) + data for at, data in pieces) + end


def turned(tmp_path: Path, data: bytes) -> bytes:
    source = tmp_path / "vmcore.flat"
    source.write_bytes(data)
    target = io.BytesIO()
    unflatten(source, target)
    return target.getvalue()


def test_pieces_go_where_they_belong(tmp_path: Path) -> None:
    assert turned(tmp_path, flat((4, b"later"), (0, b"head"), (4, b"LA"))) == b"headLAter"


def test_what_is_behind_the_end_does_not_count(tmp_path: Path) -> None:
    assert turned(tmp_path, flat((0, b"x")) + bytes(65536)) == b"x"


@pytest.mark.parametrize("cut", [5, 4000, 4096, 4100, 4112, 4114, 4117, 4125])
def test_a_cut_off_one_is_refused_wherever_it_is_cut(tmp_path: Path, cut: int) -> None:
    with pytest.raises(UserError, match="flattened dump"):
        turned(tmp_path, flat((0, b"hello"))[:cut])


@pytest.mark.parametrize("piece", [(-2, 1), (1 << 41, 1), (0, -5), (0, 1 << 41)])
def test_a_piece_that_cannot_be_is_refused(tmp_path: Path, piece: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="damaged"):
        turned(tmp_path, flat(end=struct.pack(">qq", *piece) + END))


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no flattened dump of a version"):
        turned(tmp_path, struct.pack(">16sqq", MAGIC, 1, 2).ljust(4096, b"\0") + END)


def test_it_is_told_by_its_beginning() -> None:
    assert is_flattened(flat())
    assert not is_flattened(b"KDUMP   ")
