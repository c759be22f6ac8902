"""Driving a kernel's build system: real make, on a tree that stands for a kernel's."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.build import kernel
from kdumpbuild.build.progress import Progress
from kdumpbuild.errors import UserError
from kdumpbuild.kconfig.toolchain import Toolchain

TREE = Path(__file__).resolve().parents[1] / "data" / "faketree"
ARM = Toolchain(arch="arm", cross_compile="arm-linux-gnueabihf-")


def build(folder: Path, config: str) -> str:
    """Build with a config and return what the progress said."""
    (folder / "config").write_text(config, encoding="utf-8")
    said = io.StringIO()
    with Progress("kernel", "files", Console(file=said, width=200)) as progress:
        kernel.build(
            tree=TREE,
            config=folder / "config",
            kbuild=folder / "o",
            arch=ARCHES["arm"],
            toolchain=ARM,
            jobs=2,
            log=folder / "log" / "kernel.log",
            progress=progress,
        )
    return said.getvalue()


def test_a_kernel_is_built_out_of_its_tree(tmp_path: Path) -> None:
    before = sorted(TREE.rglob("*"))
    said = build(tmp_path, "CONFIG_A=y\n")
    assert (tmp_path / "o" / "arch" / "arm" / "boot" / "zImage").read_text() == "CONFIG_A=y\n" * 4
    assert kernel.release(tmp_path / "o") == "6.12.0-fake"
    assert "kernel: 4 files" in said
    assert "kernel: 4 of 4 files" in said
    assert sorted(TREE.rglob("*")) == before


def test_an_unchanged_config_compiles_nothing_again(tmp_path: Path) -> None:
    build(tmp_path, "CONFIG_A=y\n")
    stamp = (tmp_path / "o" / "a.o").stat().st_mtime_ns
    said = build(tmp_path, "CONFIG_A=y\n")
    assert (tmp_path / "o" / "a.o").stat().st_mtime_ns == stamp
    assert "of" not in said.splitlines()[-1].removeprefix("kernel: unknown number of")


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ("BROKEN", "a.c:7:1: error: expected declaration", "the compiler's first error"),
        ("FULL", "No space left on device", "set OUT to a folder on another file system"),
        ("NOELF", "gelf.h", "apt-get install libelf-dev"),
    ],
)
def test_a_failed_build_shows_the_end_of_the_log_and_what_to_do(
    tmp_path: Path, config: str, message: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(tmp_path, f"CONFIG_TEST_{config}=y\n")
    told = str(caught.value)
    assert message in told
    assert hint in told
    assert str(tmp_path / "log" / "kernel.log") in told


def test_a_full_file_system_is_told_whatever_the_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(UserError) as caught:
        build(tmp_path, "CONFIG_TEST_BROKEN=y\n")
    assert "no space left, 3.0 MiB free now" in str(caught.value)


def test_a_config_that_olddefconfig_changes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="makes another config of ours") as caught:
        build(tmp_path, "CONFIG_TEST_CHANGED=y\n")
    assert "CONFIG_ADDED: ours absent, the kernel's y" in str(caught.value)
    assert not (tmp_path / "o" / "vmlinux").exists()


def test_a_missing_product_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*zImage"):
        build(tmp_path, "CONFIG_TEST_NOIMAGE=y\n")


def test_an_interrupt_ends_make_and_all_it_started(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
        "from tests.unit.test_build_kernel import build; build(Path(sys.argv[1]), 'CONFIG_TEST_SLOW=y\\n')"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), str(TREE.parents[2])], stderr=subprocess.DEVNULL
    )
    log = tmp_path / "log" / "kernel.log"
    deadline = time.monotonic() + 30
    while not (log.is_file() and "  CC " in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=20) != 0
    left = [
        pid
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))  # noqa: PTH208
        if str(tmp_path) in _command_line(pid) and pid != os.getpid()
    ]
    assert left == []
    assert not (tmp_path / "o" / "vmlinux").exists()


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_symbols_of_a_config() -> None:
    text = '# comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x"\nCONFIG_D=\n'
    assert kernel.symbols(text) == {"CONFIG_A": "y", "CONFIG_B": "n", "CONFIG_C": '"x"', "CONFIG_D": ""}
