"""The computed crashkernel=, held against real crashes: it is enough, and not much more than that."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.need import STEP
from kdumpbuild.build.imageset import read_manifest, reserved
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.userland import Userland, default_root
from kdumpbuild.crashtest.calibrate import attempt
from tests.boot.test_graph import doit

pytestmark = pytest.mark.boot

SPARE = 3
"""Steps below the computed size at which a set must not capture any more: the margin and what is rounded up."""


@pytest.mark.parametrize("name", ["arm-virt", "arm64-virt"])
def test_what_is_computed_captures_and_little_less_does_not(name: str, built: Path, tmp_path: Path) -> None:
    text = (resources.BOARDS / f"{name}.toml").read_text(encoding="utf-8")
    file = tmp_path / "computed.toml"
    assert "crashkernel" not in text
    file.write_text(text, encoding="utf-8")
    result = doit("crashtest", f"BOARD={file}", OUT=str(built))
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = json.loads((built / "crashtest/computed/sysrq/result.json").read_text(encoding="utf-8"))
    board = load_board(file)
    image_set = SetFiles(built / "computed", board.arch.image)
    size = reserved(image_set).size
    assert verdict["passed"]
    assert verdict["stand-in"] is None
    assert verdict["reserved"] == size
    assert read_manifest(image_set)["crashkernel"]["from"].startswith("computed: kernel ")
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    userland = Userland(default_root(cache, board.arch), board.arch)
    assert attempt(board, image_set, userland, tmp_path / "less", None, size - SPARE * STEP) != ""
    assert doit("clean", f"BOARD={file}", OUT=str(built)).returncode == 0
