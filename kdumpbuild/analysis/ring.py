"""From a ring of slots to folders, as they are on a file system: what reads dumps need not know of rings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.errors import UserError
from kdumpbuild.formats.flattened import unflatten
from kdumpbuild.formats.slots import extract, extract_text, read_slots

if TYPE_CHECKING:
    from kdumpbuild.formats.slots import Part, Slot


def unpack_ring(image: Path, folder: Path) -> list[Slot]:
    """Write each dump of a partition's image into a folder named after its sequence. Return the slots.

    A torn slot gets no folder. A part whose checksum is another one is left out, and ``status`` says why. Raises
    UserError when the image holds no slot at all.
    """
    slots = read_slots(image)
    for slot in slots:
        if slot.state == "torn":
            continue
        place = folder / f"{slot.sequence:04}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        status = dict(slot.status)
        _unpack_dmesg(image, slot, place, status)
        _unpack_vmcore(image, slot, place, status)
        _write_pairs(place / "status", status)
    last = slots[-1]
    if last.status["stage"]:
        folder.mkdir(parents=True, exist_ok=True)
        _write_pairs(folder / "attempt", {"stage": last.status["stage"], "reason": last.status["reason"]})
    return slots


def _unpack_dmesg(image: Path, slot: Slot, place: Path, status: dict[str, str]) -> None:
    if slot.dmesg is None:
        return
    try:
        with (place / "dmesg.txt").open("wb") as target:
            extract_text(image, slot.dmesg, target)
    except UserError as error:
        _leave_out(place / "dmesg.txt", "dmesg", status, error)


def _unpack_vmcore(image: Path, slot: Slot, place: Path, status: dict[str, str]) -> None:
    if slot.vmcore is None:
        return
    try:
        _unpack(image, slot.vmcore, place / "vmcore")
    except UserError as error:
        _leave_out(place / "vmcore", "vmcore", status, error)


def _unpack(image: Path, part: Part, target: Path) -> None:
    if part.encoding != "flattened":
        with target.open("wb") as stream:
            extract(image, part, stream)
        return
    with tempfile.NamedTemporaryFile(dir=target.parent) as flat:
        with Path(flat.name).open("wb") as stream:
            extract(image, part, stream)
        with target.open("wb") as stream:
            unflatten(Path(flat.name), stream)


def _leave_out(path: Path, what: str, status: dict[str, str], error: UserError) -> None:
    path.unlink(missing_ok=True)
    status[what] = "damaged"
    status["reason"] = "; ".join(filter(None, (status["reason"], f"{what}: {error.faults[0].what}")))


def _write_pairs(path: Path, pairs: dict[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in pairs.items()), encoding="utf-8")
