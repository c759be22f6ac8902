"""The other ways to keep a log, each proved by crashes on both architectures: what docs/logs.md says of them.

The boards are the virt ones with every way picked, in two kernels each, because pstore takes one backend:
``./doit predictions``.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.crashtest.logtest import CASES
from tests.boot.test_graph import doit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.boot, pytest.mark.slow]

PARTS = "mtdparts=0.flash:64M(firmware),4M(oops),60M(rest)"
# The log's network card, or its disk: virtio on PCI Express.
DRIVERS = {"logs": "CONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_NET=y\n", "pstore-blk": "CONFIG_VIRTIO_PCI=y\n"}
BLK = """
[logs.pstore_blk]
device = "/dev/vdb"
"""
OTHERS = """
[logs.mtdoops]
device = "oops"

[logs.netconsole]
interface = "eth0"
source = "10.0.2.15"
target = "10.0.2.2"
port = {port}

[logs.serial]
console = "ttyAMA0"
loglevel = 7
"""
PORTS = {"arm": 16666, "arm64": 16667}


def board_with(arch: str, ways: str, folder: Path) -> Path:
    """Write a virt board that picks either pstore/blk or all the others."""
    text = (resources.BOARDS / f"{arch}-virt.toml").read_text(encoding="utf-8")
    head, ramoops, tail = text.partition("[logs.ramoops]")
    assert ramoops
    own, bracket, rest = tail.partition("\n[machine]")
    assert bracket
    picked = BLK if ways == "pstore-blk" else ramoops + own + OTHERS.format(port=PORTS[arch])
    text = head + picked + bracket + rest
    for old, new in (
        ('"virt-pci"]', '"virt-pci", "virt-flash", "./log-drivers.config"]'),
        ('device = "/dev/vda"', 'device = "LABEL=kdump"'),
        ("[machine]\n", f'[machine]\ncmdline = "{PARTS}"\n'),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "log-drivers.config").write_text(DRIVERS[ways], encoding="utf-8")
    board = folder / f"{arch}-virt-{ways}.toml"
    board.write_text(text, encoding="utf-8")
    return board


@pytest.mark.parametrize("ways", ["pstore-blk", "logs"])
@pytest.mark.parametrize("arch", ["arm", "arm64"])
def test_each_way_keeps_what_it_promises(arch: str, ways: str, built: Path, tmp_path: Path) -> None:
    board = board_with(arch, ways, tmp_path)
    shutil.rmtree(built / "logtest" / board.stem, ignore_errors=True)
    result = doit("logtest", f"BOARD={board}", OUT=str(built))
    assert result.returncode == 0, result.stdout + result.stderr
    files = (built / "logtest" / board.stem).rglob("proof.json")
    proofs = {file.parent.name: json.loads(file.read_text()) for file in files}
    wanted = {case.name for case in CASES if (case.way == "pstore_blk") is (ways == "pstore-blk")}
    assert set(proofs) == wanted
    assert all(proof["record"] for proof in proofs.values()), proofs
