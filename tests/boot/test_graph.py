"""The build graph on real image sets: what a change rebuilds, interrupts, side by side, mistakes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.boot

REPOSITORY = Path(__file__).resolve().parents[2]


def doit(*arguments: str, source: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run doit of a checkout to its end."""
    env = {**os.environ, "PYTHONPATH": str(source), **environment}
    command = [sys.executable, "-m", "kdumpbuild", "doit", *arguments]
    return subprocess.run(command, env=env, cwd=source, capture_output=True, text=True, timeout=1500, check=False)


def executed(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the tasks that did something."""
    return [line.removeprefix(".  ") for line in result.stdout.splitlines() if line.startswith(".  ")]


def test_a_second_build_does_nothing(built: Path) -> None:
    result = doit("build", "BOARD=arm-virt,arm64-virt", OUT=str(built))
    assert result.returncode == 0, result.stderr
    assert executed(result) == ["build"]
    assert "image set of arm-virt, Linux 6.12" in result.stdout
    assert "next: prove it with a real crash in QEMU: doit crashtest BOARD=arm64-virt" in result.stdout


def test_a_changed_template_rebuilds_initramfs_and_set_only(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "kdumpbuild", copy / "kdumpbuild", symlinks=True)
    shutil.copytree(REPOSITORY / "templates", copy / "templates")
    assert doit("image:arm-virt", source=copy, OUT=str(built)).returncode == 0
    with (copy / "templates" / "initramfs" / "init").open("a", encoding="utf-8") as stream:
        stream.write("# a change\n")
    result = doit("image:arm-virt", source=copy, OUT=str(built))
    assert executed(result) == ["initramfs:arm-virt", "image:arm-virt"], result.stdout + result.stderr
    # Back to what it was, for the tests that come after.
    assert doit("image:arm-virt", OUT=str(built)).returncode == 0


def test_more_reserved_memory_or_an_argument_rebuilds_the_set_only(built: Path, tmp_path: Path) -> None:
    board = tmp_path / "mine.toml"
    text = (REPOSITORY / "kdumpbuild/boards/arm-virt.toml").read_text(encoding="utf-8")
    board.write_text(text, encoding="utf-8")
    first = doit("build", f"BOARD={board}", OUT=str(built))
    assert first.returncode == 0, first.stderr
    board.write_text(text.replace("[memory]", '[memory]\ncrashkernel = "20M"'), encoding="utf-8")
    result = doit("build", f"BOARD={board}", OUT=str(built))
    # The configs are resolved again, since their messages name lines of the board file. They come out the same.
    assert executed(result) == ["config:mine", "image:mine", "build"], result.stdout + result.stderr
    manifest = json.loads((built / "mine" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["crashkernel"]["bytes"] == 20 << 20
    assert "crashkernel=20M" in (built / "mine" / "boot" / "uboot.env.txt").read_text(encoding="utf-8")
    board.write_text(text.replace("[production]", '[production]\ncmdline = "nr_cpus=1"'), encoding="utf-8")
    result = doit("build", f"BOARD={board}", OUT=str(built))
    assert executed(result) == ["config:mine", "image:mine", "build"], result.stdout + result.stderr
    assert "nr_cpus=1" in (built / "mine" / "boot" / "arguments.txt").read_text(encoding="utf-8").split()
    assert doit("clean", f"BOARD={board}", OUT=str(built)).returncode == 0
    assert not (built / "mine").exists()


def test_two_builds_side_by_side_and_an_interrupt_on_the_way(built: Path, tmp_path: Path) -> None:
    """Interrupt a build of both boards at a bad moment, run it again with -n 2: the sets are those of a quiet build."""
    out = tmp_path / "out"
    env = {**os.environ, "OUT": str(out)}
    command = [sys.executable, "-m", "kdumpbuild", "doit", "build", "BOARD=arm-virt,arm64-virt"]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        child = subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=log, stderr=log)
        kernel_log = out / "log" / "arm-virt-kernel-production.log"
        deadline = time.monotonic() + 600
        while not (kernel_log.is_file() and kernel_log.read_text(encoding="utf-8").count("  CC ") > 20):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 1
    assert "interrupted; the same command goes on from here" in (tmp_path / "log").read_text(encoding="utf-8")
    assert not (out / "arm-virt").exists()
    again = doit("-n", "2", "build", "BOARD=arm-virt,arm64-virt", OUT=str(out))
    assert again.returncode == 0, again.stdout + again.stderr
    for board in ("arm-virt", "arm64-virt"):
        ours = (built / board / "SHA256SUMS").read_text(encoding="utf-8")
        assert (out / board / "SHA256SUMS").read_text(encoding="utf-8") == ours, f"{board} differs between two builds"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["build", "BAORD=arm-virt"], 3, "unknown variable BAORD"),
        (["build", "BOARD=arm-vrit"], 3, "did you mean arm-virt?"),
        (["build"], 1, "BOARD is not set"),
        (["build", "BOARD=arm-virt", "JOBS=many"], 3, "'many' is not a number of jobs"),
        (["build", "BOARD=arm-virt", "KERNEL_SRC=/nowhere"], 1, "there is no such file or folder"),
        (["build", "BOARD=arm-virt", "KERNEL_SRC=/etc/passwd"], 1, "neither a kernel source tree nor a tarball"),
        (["build", "BOARD=arm-virt", "KERNEL_SRC=/etc"], 1, "this is not a Linux source tree"),
        (["build", "BOARD=arm-virt", "CROSS_COMPILE=aarch64-linux-gnu-"], 1, "compiles for aarch64-linux-gnu"),
        (["build", "BOARD=arm-virt", "CROSS_COMPILE=no-such-"], 1, "the program no-such-gcc is missing"),
        (["build", "BOARD=arm-virt", "SYSROOT=/nowhere"], 1, "SYSROOT=/nowhere"),
        (["crashtest", "BOARD=arm-virt", "TRIGGER=sysrqq"], 1, "did you mean sysrq"),
    ],
)
def test_wrong_input_gets_one_message(
    arguments: list[str], code: int, message: str, tmp_path: Path, built: Path
) -> None:
    out = built if arguments[0] == "crashtest" else tmp_path / "out"
    result = doit(*arguments, OUT=str(out))
    assert result.returncode == code, result.stdout + result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert out == built or not (out / "arm-virt").exists()


def test_a_full_file_system_is_told(small_filesystem: Path) -> None:
    result = doit("kernel:arm-virt-capture", "BOARD=arm-virt", OUT=str(small_filesystem / "out"))
    assert result.returncode == 1
    assert "no space left" in result.stderr.lower()
    assert "Traceback" not in result.stdout + result.stderr
