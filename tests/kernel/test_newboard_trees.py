"""New boards from the device trees of real kernels: those named in the kernel's build, and those of another version."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.loader import load_board
from kdumpbuild.cli import main
from kdumpbuild.derive import dtsfiles
from kdumpbuild.kconfig import KernelTree
from tests.kernel.support import real_trees

if TYPE_CHECKING:
    from pathlib import Path

TREES = real_trees()
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not TREES, reason="KDUMPBUILD_KERNELS names no folder with kernel trees"),
    pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc"),
]
# Name, architecture, console, whether RAM is known.
BOARDS = [
    ("imx6ul-14x14-evk", "arm", "ttymxc0,115200", True),
    ("imx6q-sabrelite", "arm", "ttymxc1,115200", True),
    ("sun8i-h3-orangepi-pc", "arm", "ttyS0,115200", False),
    ("am335x-boneblack", "arm", "ttyS0,115200", True),
    ("stm32mp157c-dk2", "arm", "ttySTM0,115200", True),
    ("rk3399-rockpro64", "arm64", "ttyS2,1500000", False),
    ("imx8mm-evk", "arm64", "ttymxc1,115200", True),
]


@pytest.fixture(params=TREES, ids=lambda path: path.name)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("KERNEL_SRC", str(request.param))
    monkeypatch.delenv("BOARD_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(*arguments: str) -> int:
    return main(["board", "new", *arguments, "--filesystem", "ext4"])


@pytest.mark.parametrize(("name", "arch", "console", "knows_ram"), BOARDS)
def test_boards_by_the_name_in_the_kernels_build(
    kernel: Path, name: str, arch: str, console: str, *, knows_ram: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = ["--dump", "LABEL=dump", *([] if knows_ram else ["--ram", "512M@0x40000000"])]
    code = new("mine", "--dtb", f"{name}.dtb", *answers)
    said = capsys.readouterr()
    assert code in (0, 1), said.out + said.err
    if code == 1:  # several controllers are on: answered with the first SD card or eMMC
        assert "one question is left" in said.out
        (kernel / "mine.toml").unlink()
        path = next(line.split()[0] for line in said.out.splitlines() if re.match(r"\s+/\S*mmc@", line))
        assert new("mine", "--dtb", f"{name}.dtb", "--storage", path, *answers) == 0
    board = load_board(kernel / "mine.toml")
    assert (board.arch.name, board.capture.console) == (arch, console)
    assert board.soc
    assert board.drivers is not None
    assert "mmc@" in board.drivers.storage
    assert board.memory.total >= 256 << 20


def test_a_name_that_is_nearly_one(kernel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new("mine", "--dtb", "imx6ul-14x14-evkk.dtb") == 3
    assert "did you mean imx6ul-14x14-evk?" in capsys.readouterr().err
    assert list(kernel.iterdir()) == []


@pytest.mark.skipif(len(TREES) < 2, reason="needs two kernel trees")
def test_a_tree_of_another_kernel_version_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, kept = (KernelTree.open(path) for path in (TREES[0], TREES[-1]))
    source = dtsfiles.find(old, "arm64", "rk3399-rockpro64.dtb", "test")
    dtsfiles.compile_source(old, source, tmp_path / "old.dtb", labels=False)
    source = dtsfiles.find(kept, "arm64", "rk3399-rockpro64.dtb", "test")
    dtsfiles.compile_source(kept, source, tmp_path / "kept.dtb", labels=False)
    monkeypatch.setenv("KERNEL_SRC", str(TREES[-1]))
    monkeypatch.chdir(tmp_path)
    new("one", "--dtb", "./old.dtb")
    said = capsys.readouterr().out
    assert f"note: not the tree that {kept.name} has for pine64,rockpro64" in said
    assert "of another kernel version, or changed for the product" in said
    new("two", "--dtb", "./kept.dtb")
    assert "not the tree" not in capsys.readouterr().out
