"""What a BusyBox has, read from the program; what a ring of slots needs of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.build.applets import applets, check_device, check_slots, checksum_program
from kdumpbuild.build.userland import Userland
from kdumpbuild.errors import UserError

BUSYBOX = Path("/bin/busybox")
NAMES = (
    "ash awk cat chmod cksum cp dd df echo grep kill ls md5sum mkdir mkfifo mount mv rm sed sh sleep sort sync tail "
    "tee tr"
)


def fake(tmp_path: Path, names: str, extra: bytes = b"fullblock\0") -> Userland:
    (tmp_path / "bin").mkdir(exist_ok=True)
    table = b"".join(name.encode() + b"\0" for name in sorted(names.split()))
    (tmp_path / "bin/busybox").write_bytes(b"\x7fELF\1\2\xff" + table + b"\xff\xfe" + extra)
    return Userland(tmp_path, ARCHES["arm"])


def test_a_real_one() -> None:
    if not BUSYBOX.exists():
        pytest.skip("needs Debian's busybox-static")
    said = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    assert applets(BUSYBOX) == set(said)


def test_a_program_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1000))
    assert applets(tmp_path / "x") == frozenset()


def test_the_quickest_checksum_is_taken(tmp_path: Path) -> None:
    assert checksum_program(fake(tmp_path, NAMES)) == "cksum"
    assert checksum_program(fake(tmp_path, f"{NAMES} crc32")) == "crc32"
    assert checksum_program(fake(tmp_path, NAMES.replace("cksum", "comm"))) == "md5sum"


def test_what_is_there_is_enough(tmp_path: Path) -> None:
    check_slots(fake(tmp_path, NAMES), "slots")


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    poor = NAMES.replace(" mkfifo", "").replace(" cksum", "").replace(" md5sum", "")
    with pytest.raises(UserError) as caught:
        check_slots(fake(tmp_path, poor, extra=b""), "mtd")
    told = str(caught.value)
    for words in ("needs mkfifo", "makes checksums", "CONFIG_FEATURE_DD_IBS_OBS", "flash_erase", "mtd-utils"):
        assert words in told
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize("device", ["LABEL=dumps", "UUID=f7c2c9d2-5a6e-4b8f-9a52-0c7a6d3f1e44"])
def test_a_label_takes_findfs(tmp_path: Path, device: str) -> None:
    with pytest.raises(UserError, match=f"'{device}' needs findfs"):
        check_device(fake(tmp_path, NAMES), device)
    check_device(fake(tmp_path, f"{NAMES} findfs"), device)


def test_what_is_found_without_findfs(tmp_path: Path) -> None:
    for device in ("PARTLABEL=dumps", "/dev/mmcblk0p4", "mtd:dumps"):
        check_device(fake(tmp_path, NAMES), device)
    # Nobody knows what this one has.
    check_device(fake(tmp_path, "sh mount"), "LABEL=dumps")
