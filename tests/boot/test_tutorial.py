"""The tutorial, followed literally: its commands are taken from the page and run, and what it shows is what is seen."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.boot, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "tutorial.md"
BLOCK = re.compile(r"^(<!-- set-up[^\n]*\n)?```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> Iterator[tuple[str, list[str]]]:
    """Yield kind and lines of each block of the page, without the set-up."""
    for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if not match[1]:
            yield match[2], match[3].splitlines()


def words(text: str) -> set[str]:
    return {" ".join(line.split()) for line in text.splitlines()}


def test_the_tutorial_works_as_it_stands(tmp_path: Path, built: Path) -> None:
    """``built`` is asked for so that this runs where sets can be built; the tutorial makes its own elsewhere."""
    del built
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(REPOSITORY / "dodo.py", clone)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "OUT": "out"}
    env.pop("BOARD_PATH", None)
    said, commands = "", 0
    for kind, lines in blocks():
        if kind == "text":
            missing = words("\n".join(lines)) - words(said)
            assert not missing, f"the page shows what was not printed: {missing}\n{said}"
            continue
        for line in lines:
            command, _, note = line.partition("  # exit code ")
            done = subprocess.run(
                ["bash", "-c", command], cwd=clone, env=env, capture_output=True, text=True, timeout=3000, check=False
            )
            said = done.stdout
            wanted = int(note.partition(":")[0]) if note else 0
            assert done.returncode == wanted, f"{command}\n{done.stdout}{done.stderr}"
            commands += 1
    assert commands >= 8
    manifest = json.loads((clone / "out/gateway/manifest.json").read_text(encoding="utf-8"))
    assert manifest["crashkernel"]["from"].startswith("computed: ")
    verdict = json.loads((clone / "out/crashtest/gateway/sysrq/result.json").read_text(encoding="utf-8"))
    assert verdict["passed"]
    assert verdict["reserved"] == manifest["crashkernel"]["bytes"]
    assert verdict["stand-in"]["machine"].startswith("virt")
    assert any("the drivers of gateway" in text for text in verdict["stand-in"]["does_not_prove"])
    # The initramfs that ran is the board's own with something behind it.
    own = (clone / "out/gateway/initramfs.cpio.gz").read_bytes()
    assert (clone / "out/stand-in/gateway/initramfs.cpio.gz").read_bytes().startswith(own)
    assert (clone / "kdump-probe").read_text(encoding="utf-8").startswith("#!/bin/sh")
