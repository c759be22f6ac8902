"""What the tests on real image sets share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def built() -> Path:
    """Return OUT with the image sets of both virt boards; ``doit test:boot`` builds them and says where."""
    out = os.environ.get("KDUMPBUILD_OUT")
    if out is None:
        pytest.skip("no image sets: run these tests through ./doit test:boot")
    return Path(out)


@pytest.fixture
def small_filesystem(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system with 6 MiB of space, where this machine lets us mount one."""
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)
