"""Dump targets with the file systems that only a kernel can fill and read: F2FS, FAT, and UBIFS on flash.

A production kernel that knows all of them, and for each a capture kernel as a board with it gets:
``./doit predictions``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.reservation import reserve
from kdumpbuild.crashtest import Options, render
from kdumpbuild.crashtest.protocol import COLLECTED, FOLDER, Means
from tests.boot.changed import changed, compiled, with_files
from tests.boot.power import Rounds
from tests.boot.support import variant
from tests.boot.test_crashtest import Bench, bench_of
from tests.boot.test_power import CUTS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.boot, pytest.mark.slow]

MIB = 1 << 20
TARGETS = {"f2fs": "LABEL=dumps", "vfat": "/dev/vda1", "ubifs": "ubi0:dumps"}
"""File system, and how the board file names the dump target."""
# With the compressors that mkfs.ubifs and others take by default.
UBIFS_OF_A_PRODUCT = "CONFIG_MTD_UBI=y\nCONFIG_MISC_FILESYSTEMS=y\nCONFIG_UBIFS_FS=y\n"
_ATTACH = "ubi.mtd=dumps"
"""On both command lines: the volume's device is there before anything looks for it."""


def text_of(*fragments: str) -> str:
    """Return the lines of fragments that ship."""
    return "".join((resources.FRAGMENTS / f"{name}.config").read_text(encoding="utf-8") for name in fragments)


def with_target(arch: str, filesystem: str, built: Path, tmp_path: Path, *, root: bool = False) -> Bench:
    """Return a virt board with another file system on its dump target, and kernels for it.

    ``root``: the capture system runs from a partition of the product with that file system, too.
    """
    bench = bench_of(f"{arch}-virt", built, tmp_path)
    flash = load_board(resources.BOARDS / "arm-virt-flash.toml")
    known = text_of("virt-flash", "capture-f2fs", "capture-vfat") + UBIFS_OF_A_PRODUCT
    production = compiled(bench, "production", "filesystems", known)
    own = text_of(f"capture-{filesystem}", *(["virt-flash"] if filesystem == "ubifs" else []))
    capture = compiled(bench, "capture", filesystem, f"# CONFIG_EXT4_FS is not set\n{own}")
    files = {**production.as_production(bench), **capture.as_capture(bench)}
    made = changed(bench, tmp_path / "kernels", files=files).files
    board = replace(bench.board, dump=replace(bench.board.dump, filesystem=filesystem, device=TARGETS[filesystem]))
    if filesystem == "ubifs":
        assert board.machine is not None
        assert flash.machine is not None
        words = f"{flash.machine.cmdline} {_ATTACH}"
        machine = replace(board.machine, disk=(), **{
            name: getattr(flash.machine, name) for name in ("drive", "disk_size", "erase_size")
        }, cmdline=f"{board.machine.cmdline} {words}".strip())  # fmt: skip
        capture_words = replace(board.capture, cmdline=f"{board.capture.cmdline} {words}".strip())
        board = replace(board, machine=machine, capture=capture_words)
    if root:
        rooted = replace(board.capture, root="/dev/vda1", root_filesystem=filesystem)
        board = replace(board, capture=rooted, dump=replace(board.dump, device="/dev/vda2"))
    crash = reserve(
        board, kernel=made.kernel, initramfs=made.initramfs, production=made.production_config, dtb=None
    ).crash
    image_set = variant(made, board, bench.userland, tmp_path / "set", crash=crash)
    return replace(bench, board=board, image_set=image_set)


@pytest.mark.parametrize("filesystem", TARGETS)
@pytest.mark.parametrize("arch", ["arm", "arm64"])
def test_a_crash_is_captured_and_filed(arch: str, filesystem: str, built: Path, tmp_path: Path) -> None:
    bench = with_target(arch, filesystem, built, tmp_path)
    verdict = bench.crash()
    assert verdict.passed, render(verdict)
    assert verdict.form == "filtered"
    assert verdict.reserved == reserved(bench.image_set).size
    assert verdict.crash is not None
    assert verdict.crash.comm == verdict.marker
    # And once more: kdump-collect mounts it too, and takes the earlier dump and this crash's away.
    bench.crash(options=Options(means=Means(collect=True)))
    text = (bench.work / "target" / FOLDER / COLLECTED).read_text(encoding="utf-8", errors="replace")
    assert "exit 0 of kdump-collect\n" in text, text
    filed = re.findall(r"^kdump-collect: \S+Z-[0-9a-f]{8}: (.*)$", text, re.MULTILINE)
    assert any("sysrq triggered crash" in summary and "vmcore filtered" in summary for summary in filed), text
    assert any("vmcore filtered" in summary and "no cause found" in summary for summary in filed), text
    left = [path.name for path in (bench.work / "target" / bench.board.dump.directory).iterdir()]
    assert not [name for name in left if name[0].isdigit()]


def test_the_capture_system_runs_from_f2fs(built: Path, tmp_path: Path) -> None:
    bench = with_target("arm", "f2fs", built, tmp_path, root=True)
    verdict = bench.crash()
    assert verdict.passed, render(verdict)
    assert verdict.reserved == reserved(bench.image_set).size
    captured = (bench.work / "console.log").read_text(errors="replace").split("Booting Linux")[2]
    assert "VFS: Mounted root (f2fs filesystem)" in captured
    assert "Unpacking initramfs" not in captured


@pytest.mark.parametrize("filesystem", TARGETS)
def test_a_machine_that_does_not_come_back_is_started_again_to_be_read(
    filesystem: str, built: Path, tmp_path: Path
) -> None:
    """The capture kernel hangs; only the host ends that. The earlier dump is looked at all the same."""
    bench = with_target("arm", filesystem, built, tmp_path)
    endless = {"lib/kdump/watch.sh": b"while :; do sleep 9; done\n"}
    initramfs = with_files(bench.image_set.initramfs.read_bytes(), endless)
    stuck = changed(bench, tmp_path / "stuck", files={bench.image_set.initramfs.name: initramfs})
    verdict = stuck.crash(Options(deadline=90))
    checks = {check.name: check.ok for check in verdict.checks}
    assert checks["capture kernel loaded"] is True, render(verdict)
    assert "Run /init as init process" in stuck.console.partition("Loading crashdump kernel")[2]
    assert checks["earlier dumps unharmed"] is True, render(verdict)
    assert checks["machine back in production"] is not True
    assert not verdict.passed
    assert (bench.work / "reading.log").is_file()


def test_a_ubi_volume_that_nothing_attaches(built: Path, tmp_path: Path) -> None:
    bench = with_target("arm", "ubifs", built, tmp_path)
    capture = replace(bench.board.capture, cmdline=bench.board.capture.cmdline.replace(_ATTACH, ""))
    lines = bench.image_set.load_conf.read_text(encoding="utf-8").splitlines()
    words = next(line.partition("=")[2].strip("'") for line in lines if line.startswith("KDUMP_CMDLINE="))
    lost = replace(bench, board=replace(bench.board, capture=capture))
    bad = changed(lost, tmp_path / "bad", conf={"KDUMP_CMDLINE": words.replace(_ATTACH, "")})
    assert bad.finds("KD106")
    assert not changed(bench, tmp_path / "good").finds("KD106")
    verdict = bad.crash()
    checks = {check.name: check.ok for check in verdict.checks}
    assert not verdict.passed
    assert "cannot mount ubi0:dumps as ubifs" in bad.console
    assert checks["earlier dumps unharmed"] is True, render(verdict)
    assert checks["machine back in production"] is True


@pytest.mark.parametrize("filesystem", TARGETS)
def test_no_power_cut_harms_a_dump_or_the_machine(filesystem: str, built: Path, tmp_path: Path) -> None:
    bench = with_target("arm", filesystem, built, tmp_path)
    board = replace(bench.board, dump=replace(bench.board.dump, loop_crashes=0, keep=3))
    made = variant(bench.image_set, board, bench.userland, tmp_path / "cuts")
    Rounds(board, made, bench.userland, tmp_path / "rounds").through(CUTS)
