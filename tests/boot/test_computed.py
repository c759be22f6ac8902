"""The computed crashkernel=, held against real crashes: it is enough, and not much more than that."""

from __future__ import annotations

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

pytestmark = pytest.mark.boot

SPARE = 3
"""Steps below the computed size at which a set must not capture any more: the margin and what is rounded up."""


@pytest.mark.parametrize("name", ["arm-virt", "arm64-virt"])
def test_what_is_computed_captures_and_little_less_does_not(name: str, built: Path, tmp_path: Path) -> None:
    board = load_board(resources.BOARDS / f"{name}.toml")
    assert board.memory.crashkernel is None
    image_set = SetFiles(built / name, board.arch.image)
    assert read_manifest(image_set)["crashkernel"]["from"].startswith("computed: kernel ")
    size = reserved(image_set).size
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    userland = Userland(default_root(cache, board.arch), board.arch)
    assert attempt(board, image_set, userland, tmp_path / "enough", None, size) == ""
    assert attempt(board, image_set, userland, tmp_path / "less", None, size - SPARE * STEP) != ""
