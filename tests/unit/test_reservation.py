"""How much is reserved and where: computed from a set's own files, by the board's RAM and reserved memory."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.memory import MIB, CrashKernel
from kdumpbuild.board.model import Bank
from kdumpbuild.board.need import STEP, Parts
from kdumpbuild.build.reservation import Reservation, reserve
from kdumpbuild.checks.facts import Cmdline, Facts
from kdumpbuild.checks.rules.region import too_small
from kdumpbuild.errors import UserError
from kdumpbuild.formats.initramfs import read_initramfs
from kdumpbuild.formats.zimage import read_zimage
from kdumpbuild.run import run
from tests.fuzz.readers import cpio, image, zimage

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board

CONFIG = "# Linux/{arch} {version} Kernel Configuration\nCONFIG_{name}=y\nCONFIG_PAGE_OFFSET=0xC0000000\n"
RAM = Bank(0x80000000, 512 * MIB)


@dataclass
class Build:
    """The files of a build, and a board for them."""

    folder: Path
    arch: str = "arm"
    version: str = "6.12.1"
    ram: tuple[Bank, ...] = (RAM,)
    crashkernel: int | None = None
    base: int | None = None
    machine: bool = False
    tree: str = ""
    extra: str = ""
    files: int = 4 * MIB

    @property
    def board(self) -> Board:
        board = load_board(resources.BOARDS / ("arm-virt.toml" if self.arch == "arm" else "arm64-virt.toml"))
        memory = replace(board.memory, ram=self.ram, crashkernel=self.crashkernel, crash_base=self.base)
        return replace(board, memory=memory, machine=board.machine if self.machine else None)

    def reserve(self) -> Reservation:
        kernel, initramfs, config = (self.folder / name for name in ("kernel", "initramfs", "config"))
        kernel.write_bytes(
            zimage(edata=2 * MIB, bss=MIB // 4, size=MIB) if self.arch == "arm" else image(image_size=6 * MIB)
        )
        initramfs.write_bytes(gzip.compress(cpio([("init", 0o100755, bytes(range(256)) * (self.files // 256))])))
        name = "ARM" if self.arch == "arm" else "ARM64"
        config.write_text(CONFIG.format(arch=self.arch, version=self.version, name=name) + self.extra)
        dtb = None
        if self.tree:
            (self.folder / "t.dts").write_text(self.tree)
            dtb = self.folder / "t.dtb"
            run(["dtc", "-q", "-O", "dtb", "-o", dtb, self.folder / "t.dts"], what="make a device tree")
        return reserve(self.board, kernel=kernel, initramfs=initramfs, production=config, dtb=dtb)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


PARTS = Parts(
    ARCHES["arm"], kernel=2 * MIB, room=3 * MIB, initramfs=2 * MIB, unpacked=4 * MIB, dtb=MIB, ram=512 * MIB
)


@pytest.mark.parametrize("arch", ["arm", "arm64"])
@pytest.mark.parametrize("unpacked", [MIB, 4 * MIB, 40 * MIB, None])
def test_the_smallest_region_works_and_the_next_smaller_one_does_not(arch: str, unpacked: int | None) -> None:
    parts = replace(PARTS, arch=ARCHES[arch], unpacked=unpacked)
    assert parts.works(parts.smallest)
    assert not parts.works(parts.smallest - STEP)
    assert parts.recommended >= parts.smallest + STEP
    assert parts.recommended % STEP == 0


def test_more_of_anything_never_needs_less() -> None:
    for name in ("kernel", "room", "initramfs", "unpacked", "dtb", "ram"):
        more = replace(PARTS, **{name: getattr(PARTS, name) * 4})
        assert more.recommended >= PARTS.recommended, name
    assert replace(PARTS, ram=64 << 30).programs > PARTS.programs


def test_a_kernel_with_many_drivers_gets_more_to_spare() -> None:
    """arm64's defconfig, of 45 MiB, took more than 16 MiB beyond its own size and the initramfs, and 36 were enough."""
    assert PARTS.margin == 2 * MIB
    margins = {size: replace(PARTS, kernel=size * MIB).margin // MIB for size in (6, 7, 8, 22, 45)}
    assert margins == {6: 2, 7: 4, 8: 4, 22: 18, 45: 36}


def test_what_is_computed_satisfies_the_rule_and_one_step_less_than_the_smallest_does_not(build: Build) -> None:
    build.reserve()
    facts = Facts(
        arch=ARCHES["arm"], ram=(RAM,), zimage=read_zimage(build.folder / "kernel"),
        initramfs=read_initramfs(build.folder / "initramfs"),
    )  # fmt: skip

    def hits(size: int) -> list[str]:
        from kdumpbuild.checks.facts import Case

        case = Case(replace(facts, cmdline=Cmdline(f"crashkernel={size >> 20}M")))
        return [hit.what for hit in too_small.check(case)]

    size = build.reserve().crash.size
    assert hits(size) == []
    assert hits(size - 2 * STEP) != []


def test_the_boards_own_size_is_taken_as_it_is(build: Build) -> None:
    build.crashkernel = 20 * MIB
    made = build.reserve()
    assert made.crash == CrashKernel(20 * MIB)
    assert made.origin == "the board file"


def test_the_computed_size_says_what_it_is_made_of(build: Build) -> None:
    made = build.reserve()
    assert made.crash.base is None
    assert made.origin.startswith("computed: kernel 2.2 MiB, initramfs ")
    assert "unpacked 4.0 MiB" in made.origin
    assert "2M to spare" in made.origin


def test_the_machine_of_the_crash_test_has_a_larger_device_tree(build: Build) -> None:
    alone = build.reserve().crash.size
    build.machine = True
    assert build.reserve().crash.size >= alone


def test_little_ram_gets_an_address_since_the_kernel_finds_none(build: Build) -> None:
    build.ram = (Bank(0x80000000, 128 * MIB),)
    made = build.reserve()
    assert made.crash.base is not None
    assert made.crash.base % (8 * MIB) == 0
    assert made.crash.base + made.crash.size <= 0x88000000 - 8 * MIB
    assert made.crash.argument == f"crashkernel={made.crash.size >> 20}M@{made.crash.base:#x}".partition("=")[2]
    assert "multiples of 128 MiB" in made.origin


def test_an_old_decompressor_takes_no_address_but_multiples_of_128_mib(build: Build) -> None:
    build.ram, build.version = (Bank(0x80000000, 128 * MIB),), "5.10.223"
    with pytest.raises(UserError) as caught:
        build.reserve()
    told = str(caught.value)
    assert "there is no place for a crash region of" in told
    assert "multiples of 128 MiB below 0x88000000, the end of low memory" in told
    assert "free: 96.0 MiB at 0x82000000" in told


@pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc")
def test_reserved_memory_is_no_place(build: Build) -> None:
    build.ram = (Bank(0x80000000, 256 * MIB),)
    assert build.reserve().crash.base is None  # 0x88000000
    build.tree = """/dts-v1/; / { #address-cells = <1>; #size-cells = <1>;
        reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges;
            vpu@88000000 { reg = <0x88000000 0x1000000>; }; }; };"""
    moved = build.reserve()
    assert moved.crash.base is not None
    assert not 0x88000000 - moved.crash.size < moved.crash.base < 0x89000000
    build.tree = build.tree.replace("0x88000000 0x1000000", "0x82000000 0xe000000")
    with pytest.raises(UserError, match="there is no place for a crash region") as caught:
        build.reserve()
    assert "free: nothing" in str(caught.value)
    assert "computed: kernel 2.2 MiB" in str(caught.value)


def test_the_cma_pool_is_no_place_on_arm(build: Build) -> None:
    build.ram = (Bank(0x80000000, 256 * MIB),)
    build.extra = "CONFIG_DMA_CMA=y\nCONFIG_CMA_SIZE_MBYTES=120\n"
    assert build.reserve().crash.base is not None


def test_what_production_is_told_about_its_memory_counts(build: Build) -> None:
    build.ram = (Bank(0x80000000, 256 * MIB),)
    board = build.board
    with pytest.MonkeyPatch.context() as patch:
        told = replace(board, production=replace(board.production, cmdline="vmalloc=880M"))
        patch.setattr(Build, "board", told)
        crash = build.reserve().crash
    assert crash.base is not None  # low memory is 128 MiB then
    assert crash.base + crash.size <= 0x88000000


def test_arm64_takes_any_2_mib(build: Build) -> None:
    build.arch, build.ram = "arm64", (Bank(0x40000000, 128 * MIB),)
    assert build.reserve().crash.base is None
    build.ram = (Bank(0x40000000, 40 * MIB),)
    with pytest.raises(UserError, match="there is no place") as caught:
        build.reserve()
    assert "free: 8.0 MiB at 0x42000000" in str(caught.value)


def test_the_boards_own_address_is_not_changed(build: Build) -> None:
    build.crashkernel, build.base = 16 * MIB, 0x87000000
    assert build.reserve().crash == CrashKernel(16 * MIB, 0x87000000)
