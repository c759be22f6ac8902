"""What is rendered for the target: quoting, missing values, the text for each shipped board, command lines."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jinja2 import UndefinedError

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.logs import Logs, Ramoops
from kdumpbuild.board.memory import CrashKernel
from kdumpbuild.board.panic import CONDITIONS, sysctl_file
from kdumpbuild.build.scripts import (
    OVERLAY,
    boot_snippets,
    capture_cmdline,
    capture_conf,
    collect_conf,
    load_conf,
    overlay,
)
from kdumpbuild.errors import UserError
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.render import render

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
UPDATE = "KDUMPBUILD_UPDATE_GOLDEN"
BOARDS = sorted(path.stem for path in resources.BOARDS.glob("*.toml"))
RENDERED = sorted(str(path.relative_to(resources.TEMPLATES)) for path in resources.TEMPLATES.rglob("*.j2"))
KERNEL = (6, 12, 117)
DETECTORS = {f"CONFIG_{c.symbol}": "y" for c in CONDITIONS if c.symbol}
NASTY = """it's $HOME `reboot` "a" \\ ; rm -rf / # é"""


def board(name: str = "arm-virt") -> Board:
    return load_board(resources.BOARDS / f"{name}.toml")


def crash(one: Board) -> CrashKernel:
    """Return what is reserved for a shipped board; a size for one that leaves it to its set."""
    return CrashKernel(one.memory.crashkernel or 16 << 20, one.memory.crash_base)


def rendered(name: str) -> dict[str, str]:
    """Return all that is rendered for a shipped board, by file name."""
    one = board(name)
    conf = load_conf(
        one, crashkernel=crash(one), release="6.12.117", kernel=one.arch.image,
        image_size=None if one.arch.kexec_file_load else 0x7A4000,
        initramfs="initramfs.cpio.gz", cmdline=capture_cmdline(one, {"CONFIG_WATCHDOG_CORE": "y"}), dtb="",
    )  # fmt: skip
    confs = {"kdump.conf": capture_conf(one), "kdump-collect.conf": collect_conf(one), "kdump-load.conf": conf}
    sysctls = sysctl_file(one.panic, KERNEL, DETECTORS, name)
    return {**confs, **boot_snippets(one, crash(one), KERNEL, DETECTORS), "60-kdump.conf": sysctls}


@pytest.mark.parametrize("name", BOARDS)
def test_each_shipped_board(name: str) -> None:
    for file, text in rendered(name).items():
        golden = GOLDEN / name / file
        if os.environ.get(UPDATE) == "1":
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text, encoding="utf-8")
        assert golden.exists(), f"run the tests once with {UPDATE}=1"
        assert text == golden.read_text(encoding="utf-8"), f"{golden}: look at the difference, then set {UPDATE}=1"


def test_no_golden_file_is_left_over() -> None:
    there = {str(path.relative_to(GOLDEN)) for name in BOARDS for path in (GOLDEN / name).rglob("*") if path.is_file()}
    assert there == {f"{name}/{file}" for name in BOARDS for file in rendered(name)}


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("file", ["kdump.conf", "kdump-load.conf"])
def test_the_shell_reads_back_what_the_board_says(name: str, file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(rendered(name)[file], encoding="utf-8")
    values = source(path)
    one = board(name)
    assert values["KDUMP_BOARD"] == name
    if file == "kdump.conf":
        assert values["KDUMP_DEVICE"] == one.dump.device
        assert values["KDUMP_MAKEDUMPFILE_ARGS"].split() == list(one.makedumpfile)
        assert values["KDUMP_DEADLINE"] == str(one.dump.deadline)
    else:
        assert values["KDUMP_CRASHKERNEL_BYTES"] == str(crash(one).size)
        assert values["KDUMP_CMDLINE"].split()[0] == f"console={one.capture.console}"


def test_nasty_values_stay_values(tmp_path: Path) -> None:
    one = board()
    one = replace(one, dump=replace(one.dump, device=f"LABEL={NASTY}", directory=NASTY))
    path = tmp_path / "kdump.conf"
    path.write_text(capture_conf(one), encoding="utf-8")
    values = source(path)
    assert values["KDUMP_DEVICE"] == f"LABEL={NASTY}"
    assert values["KDUMP_DIRECTORY"] == NASTY


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("boot/extlinux.append.j2")


@pytest.mark.parametrize("name", RENDERED)
def test_each_template_says_what_it_needs_and_has_no_logic(name: str) -> None:
    text = (resources.TEMPLATES / name).read_text(encoding="utf-8")
    assert text.startswith("{# Values: ")
    # Job files for CI go through a list of boards; what the target reads has no logic at all.
    assert "{%" not in text or name.startswith("ci/")


def test_the_capture_command_line_has_what_the_config_knows() -> None:
    small = capture_cmdline(board(), {})
    assert small == "console=ttyAMA0 reset_devices panic=5 oops=panic rdinit=/init"
    config = dict.fromkeys(("CONFIG_SMP", "CONFIG_CMA", "CONFIG_MEMCG", "CONFIG_RANDOMIZE_BASE"), "y")
    large = capture_cmdline(board(), config).split()
    assert {"nr_cpus=1", "cma=0", "cgroup_disable=memory", "nokaslr"} <= set(large)
    assert large[-1] == "rdinit=/init"


def test_the_boards_arguments_come_last() -> None:
    one = board()
    one = replace(one, capture=replace(one.capture, cmdline="initcall_blacklist=foo_init panic=9"))
    assert capture_cmdline(one, {}).endswith(" rdinit=/init initcall_blacklist=foo_init panic=9")


@pytest.mark.parametrize("argument", ["crashkernel=8M", "elfcorehdr=0x1000", "mem=8M", "panic=0", "panic=00"])
def test_arguments_that_break_a_capture_are_refused(argument: str, tmp_path: Path) -> None:
    text = (resources.BOARDS / "arm-virt.toml").read_text(encoding="utf-8")
    path = tmp_path / "gateway.toml"
    path.write_text(text.replace("[capture]", f'[capture]\ncmdline = "quiet {argument}"'), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_board(path)
    (fault,) = caught.value.faults
    assert f"capture.cmdline: {argument.partition('=')[0]}" in fault.what
    assert fault.where == f"{path}:15"
    assert fault.hint


@pytest.mark.parametrize(("name", "limit"), [("arm-virt", 1024), ("arm64-virt", 2048)])
def test_a_line_that_is_too_long_is_refused(name: str, limit: int) -> None:
    one = board(name)
    fits = limit - 1 - 64 - len(capture_cmdline(one, {})) - 1
    capture_cmdline(replace(one, capture=replace(one.capture, cmdline="x" * fits)), {})
    with pytest.raises(UserError, match=f"{limit} bytes") as caught:
        capture_cmdline(replace(one, capture=replace(one.capture, cmdline="x" * (fits + 1))), {})
    assert "the whole line has" in caught.value.faults[0].what


def test_the_boot_loaders_get_the_boards_size() -> None:
    crash = CrashKernel(14 << 20, 0x47000000)
    argument = "crashkernel=14M@0x47000000"
    snippets = boot_snippets(board(), crash, KERNEL, DETECTORS)
    overlay = snippets.pop(OVERLAY)
    for text in snippets.values():
        assert f"{argument} oops=panic softlockup_panic=1 watchdog_thresh=10 nmi_watchdog=panic" in text
    assert "reg = <0x0 0x5ff00000 0x0 0x100000>;" in overlay
    none = replace(board(), logs=Logs())
    assert OVERLAY not in boot_snippets(none, crash, KERNEL, DETECTORS)


@pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc")
@pytest.mark.parametrize("cells", [1, 2])
def test_dtc_takes_the_overlay_and_a_tree_takes_it(cells: int, tmp_path: Path) -> None:
    ramoops = Ramoops(base=0x9FF00000, size=1 << 20, record=1 << 16, console=1 << 17, ecc=16, cells=cells)
    (tmp_path / "overlay.dtso").write_text(overlay(ramoops), encoding="utf-8")
    (tmp_path / "base.dts").write_text(
        f"/dts-v1/; / {{ #address-cells = <{cells}>; #size-cells = <{cells}>; }};", encoding="utf-8"
    )
    for source_name, target in (("overlay.dtso", "overlay.dtbo"), ("base.dts", "base.dtb")):
        # Without -q dtc warns that it does not know the width of the root's cells.
        subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", target, source_name], cwd=tmp_path, check=True)
    subprocess.run(["fdtoverlay", "-i", "base.dtb", "-o", "merged.dtb", "overlay.dtbo"], cwd=tmp_path, check=True)
    (region,) = read_devicetree(tmp_path / "merged.dtb").reserved
    assert (region.base, region.size) == (0x9FF00000, 1 << 20)


def source(path: Path) -> dict[str, str]:
    """Return the KDUMP_ variables of a file as a shell reads them."""
    script = f"set -eua; . {shlex.quote(str(path))}; exec env -0"
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": "/bin:/usr/bin"}
    )
    return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair.startswith("KDUMP_"))
