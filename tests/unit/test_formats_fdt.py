"""The device tree reader, on trees made by dtc."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.formats.devicetree import Range, read_devicetree
from kdumpbuild.formats.fdt import read_fdt
from kdumpbuild.run import run
from tests.fuzz.readers import TREE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc")


def compiled(tmp_path: Path, source: str) -> Path:
    (tmp_path / "t.dts").write_text(source)
    run(["dtc", "-q", "-O", "dtb", "-o", tmp_path / "t.dtb", tmp_path / "t.dts"], what="make a device tree")
    return tmp_path / "t.dtb"


def test_facts(tmp_path: Path) -> None:
    tree = read_devicetree(compiled(tmp_path, TREE))
    assert tree.memory == (Range(0x40000000, 0x20000000, "/memory@40000000"),)
    assert tree.model == "Test"
    assert tree.cpus == ("psci", "spin-table")
    assert tree.psci
    assert tree.kaslr_seed
    assert tree.bootargs.startswith("console=ttyAMA0")
    assert tree.stdout_compatible == ("arm,pl011",)
    assert [(r.base, r.size) for r in tree.reserved] == [(0x40000000, 0x1000), (0x4F000000, 0x100000)]
    assert [(p.name, p.size, p.cma) for p in tree.pools] == [("/reserved-memory/cma", 0x4000000, True)]
    assert tree.ramoops == ("/reserved-memory/ramoops@4f000000",)
    assert [path for path, _ in tree.watchdogs] == ["/watchdog@9010000"]


def test_what_the_boot_loader_fills_in_does_not_count(tmp_path: Path) -> None:
    tree = read_devicetree(compiled(tmp_path, "/dts-v1/; / { memory { device_type = \"memory\"; reg = <0 0>; }; };"))
    assert tree.memory == ()
    assert tree.memory_nodes == 1
    assert not tree.has_chosen


def test_nothing_but_a_root(tmp_path: Path) -> None:
    tree = read_devicetree(compiled(tmp_path, "/dts-v1/; / { };"))
    assert tree.memory == ()
    assert tree.cpus == ()
    assert not tree.kaslr_seed


def test_a_seed_that_was_used_up_is_no_seed(tmp_path: Path) -> None:
    tree = read_devicetree(compiled(tmp_path, "/dts-v1/; / { chosen { kaslr-seed = <0 0>; }; };"))
    assert not tree.kaslr_seed


def test_tags_to_skip_are_skipped(tmp_path: Path) -> None:
    data = bytearray(compiled(tmp_path, '/dts-v1/; / { a = "x"; b { c; }; };').read_bytes())
    structure, size = struct.unpack_from(">I", data, 8)[0], struct.unpack_from(">I", data, 36)[0]
    at = data.index(struct.pack(">3I", 3, 2, 0), structure, structure + size)  # property a, with its 4 bytes
    struct.pack_into(">4I", data, at, 4, 4, 4, 4)
    root = read_fdt(bytes(data)).root
    assert root.properties == {}
    assert [child.path for child in root.children] == ["/b"]


@pytest.mark.parametrize("wrong", [b"b/d", b"\0/d"])
def test_a_name_that_would_lead_elsewhere_is_refused(tmp_path: Path, wrong: bytes) -> None:
    data = compiled(tmp_path, "/dts-v1/; / { bcd { }; };").read_bytes()
    assert data.count(b"bcd\0") == 1
    with pytest.raises(UserError, match="is no name of a node"):
        read_fdt(data.replace(b"bcd\0", wrong + b"\0"))


def test_binary_values_stay_binary(tmp_path: Path) -> None:
    root = read_fdt(compiled(tmp_path, '/dts-v1/; / { a = <0x41000000 0x20000000>; s = "x", "y"; };')).root
    assert root.cells("a") == (0x41000000, 0x20000000)
    assert root.strings("s") == ("x", "y")


@pytest.mark.parametrize("end", [0, 20, 39, 60, 200])
def test_cut_short(tmp_path: Path, end: int) -> None:
    with pytest.raises(UserError, match="device tree blob"):
        read_fdt(compiled(tmp_path, TREE).read_bytes()[:end])


def test_too_deep() -> None:
    nodes = struct.pack(">2I", 1, 0x61000000) * 100
    head = struct.pack(">10I", 0xD00DFEED, 40 + 16 + len(nodes), 56, 40, 40, 17, 16, 0, 0, len(nodes))
    with pytest.raises(UserError, match="nested deeper"):
        read_fdt(head + bytes(16) + nodes)
