"""``capture.kernel = "same"``: the production kernel captures its own crash, in more memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.boot.test_graph import REPOSITORY, doit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot


def test_the_production_kernel_can_be_its_own_capture_kernel(built: Path, tmp_path: Path) -> None:
    text = (REPOSITORY / "kdumpbuild/boards/arm-virt.toml").read_text(encoding="utf-8")
    text = text.replace('fragments = ["capture-virt"]', 'kernel = "same"')
    text = text.replace("[memory]", '[memory]\ncrashkernel = "64M"')
    board = tmp_path / "same.toml"
    board.write_text(text, encoding="utf-8")
    result = doit("crashtest", f"BOARD={board}", OUT=str(built))
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = json.loads((built / "crashtest" / "same" / "sysrq" / "result.json").read_text(encoding="utf-8"))
    assert verdict["passed"]
    manifest = json.loads((built / "same" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["build-ids"]["capture"] == manifest["build-ids"]["production"]
    assert (built / "same" / "zImage").read_bytes() == (built / "same" / "production" / "zImage").read_bytes()
    # Clean removes what was made for the board, and nothing else.
    assert doit("clean", f"BOARD={board}", OUT=str(built)).returncode == 0
    assert not (built / "same").exists()
    assert not (built / "work" / "same").exists()
    assert (built / "arm-virt" / "manifest.json").is_file()
