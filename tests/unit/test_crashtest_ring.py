"""The ring of slots that the crash test makes: the reader takes it for what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kdumpbuild.analysis.ring import unpack_ring
from kdumpbuild.crashtest.dumps import EARLIER, find_dumps
from kdumpbuild.crashtest.ring import make_ring, slot_digest

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.mark.parametrize("marker", ["x", "cuts", "kdb-0123456789"])
@pytest.mark.parametrize(("erase", "flash"), [(0, False), (4096, True), (256 << 10, True)])
def test_it_holds_one_whole_dump(tmp_path: Path, marker: str, erase: int, flash: bool) -> None:  # noqa: FBT001
    image = tmp_path / "ring.img"
    make_ring(image, slots=2, size=4 * MIB, erase=erase, marker=marker, flash=flash)
    (slot,) = unpack_ring(image, tmp_path / "dumps")
    assert slot.state == "memory"
    (dump,) = find_dumps(tmp_path / "dumps")
    assert (dump.name, dump.form) == (EARLIER, "raw")
    assert dump.dmesg is not None
    assert dump.dmesg.read_text() == f"[    0.000000] an earlier crash, before {marker}\n"


def test_its_digest_is_of_the_first_slot_alone(tmp_path: Path) -> None:
    image = tmp_path / "ring.img"
    make_ring(image, slots=2, size=4 * MIB, erase=0, marker="x")
    before = slot_digest(image, 2, 0)
    with image.open("r+b") as stream:
        stream.seek(3 * MIB)
        stream.write(b"a new dump")
    assert slot_digest(image, 2, 0) == before
    with image.open("r+b") as stream:
        stream.seek(5)
        stream.write(b"?")
    assert slot_digest(image, 2, 0) != before


def test_a_damaged_dump_is_left_out_and_told(tmp_path: Path) -> None:
    image = tmp_path / "ring.img"
    make_ring(image, slots=2, size=4 * MIB, erase=0, marker="x")
    with image.open("r+b") as stream:
        stream.seek(2 * 65536 + 7)
        stream.write(b"?")
    unpack_ring(image, tmp_path / "dumps")
    (dump,) = find_dumps(tmp_path / "dumps")
    assert dump.vmcore is None
    assert dump.status["vmcore"] == "damaged"
    assert "damaged" in dump.status["reason"]
