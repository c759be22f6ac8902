"""What was made elsewhere, a kernel or an image set, is taken or refused, and never harmed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.steps import check_complete

REPOSITORY = Path(__file__).resolve().parents[2]


def doit(*arguments: str, out: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdumpbuild", "doit", *arguments, f"OUT={out}"],
        cwd=REPOSITORY, env={**os.environ, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def product(folder: Path) -> Path:
    """Make a folder that looks like a kernel's, once built."""
    for name in (".config", "include/config/kernel.release", "vmlinux", "arch/arm/boot/zImage"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("6.12.0\n", encoding="utf-8")
    return folder


def test_a_kernel_that_was_not_built_is_refused_before_anything_runs(tmp_path: Path) -> None:
    folder = product(tmp_path / "kernel")
    (folder / "vmlinux").unlink()
    result = doit("build", "BOARD=arm-virt", f"KERNEL_BUILD={folder}", out=tmp_path / "out")
    assert result.returncode == 3
    assert f"KERNEL_BUILD={folder}: has no vmlinux" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_kernel_without_what_kdump_needs_is_refused_by_name() -> None:
    with pytest.raises(UserError) as caught:
        check_complete(Path("/b"), "# why\nCONFIG_KEXEC=y\n# CONFIG_DEBUG_INFO_SPLIT is not set\n")
    (fault,) = caught.value.faults
    assert fault.what == "the production kernel was built without 2 options that kdump needs"
    assert "CONFIG_KEXEC=y" in fault.why
    check_complete(Path("/b"), "# nothing is missing\n")


def test_a_folder_without_a_set_and_a_set_of_another_board_are_refused(tmp_path: Path) -> None:
    given = tmp_path / "set"
    given.mkdir()
    arguments = ("image:arm-virt", "BOARD=arm-virt", f"IMAGE_SET={given}", f"SYSROOT={tmp_path}")
    # The task of the userland is not what is looked at here.
    result = doit("-s", *arguments, out=tmp_path / "out", OFFLINE="1")
    assert result.returncode != 0
    assert "it has no manifest.json" in result.stderr
    (given / "manifest.json").write_text(json.dumps({"board": "other"}), encoding="utf-8")
    result = doit("-s", *arguments, out=tmp_path / "out", OFFLINE="1")
    assert "this is a set of the board other, not of arm-virt" in result.stderr


def test_cleaning_leaves_what_came_from_elsewhere(tmp_path: Path) -> None:
    folder, given = product(tmp_path / "kernel"), tmp_path / "set"
    given.mkdir()
    (given / "manifest.json").write_text(json.dumps({"board": "arm-virt"}), encoding="utf-8")
    arguments = ("BOARD=arm-virt", f"KERNEL_BUILD={folder}", f"IMAGE_SET={given}")
    assert doit("clean", *arguments, out=tmp_path / "out").returncode == 0
    assert (folder / "vmlinux").is_file()
    assert (given / "manifest.json").is_file()


def test_a_config_that_the_build_itself_makes_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "out/work/arm-virt/production.config"
    config.parent.mkdir(parents=True)
    config.touch()
    result = doit("config", "BOARD=arm-virt", f"KERNEL_CONFIG={config}", out=tmp_path / "out")
    assert result.returncode == 3
    assert f"KERNEL_CONFIG={config}: is what this build makes of a config" in result.stderr


def test_a_config_that_is_not_there_is_told_before_anything_runs(tmp_path: Path) -> None:
    result = doit("config", "BOARD=arm-virt", f"KERNEL_CONFIG={tmp_path}/nope", out=tmp_path / "out")
    assert result.returncode == 3
    assert f"KERNEL_CONFIG={tmp_path}/nope: is not a file" in result.stderr
    assert "hint" in result.stderr
