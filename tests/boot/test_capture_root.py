"""The capture system from the product's file system: it captures, and without that partition the machine comes back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.reservation import reserve
from kdumpbuild.crashtest import render
from tests.boot.changed import changed
from tests.boot.support import variant
from tests.boot.test_crashtest import Bench, bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot


def rooted(name: str, built: Path, tmp_path: Path) -> Bench:
    """Return a board that is shipped, but with a partition of the product's in the place of the initramfs."""
    bench = bench_of(name, built, tmp_path)
    board = replace(
        bench.board,
        capture=replace(bench.board.capture, root="/dev/vda1"),
        dump=replace(bench.board.dump, device="/dev/vda2"),
    )
    made = bench.image_set
    crash = reserve(
        board, kernel=made.kernel, initramfs=made.initramfs, production=made.production_config, dtb=None
    ).crash
    assert crash.size < reserved(made).size
    rooted_set = variant(made, board, bench.userland, tmp_path / "set", crash=crash)
    return replace(bench, board=board, image_set=rooted_set)


def second_boot(console: str) -> str:
    """Return what the capture kernel printed."""
    return console.split("Booting Linux")[2]


@pytest.mark.parametrize("name", ["arm-virt", "arm64-virt"])
def test_it_captures_without_an_initramfs_and_in_less_memory(name: str, built: Path, tmp_path: Path) -> None:
    bench = rooted(name, built, tmp_path)
    verdict = bench.crash()
    assert verdict.passed, render(verdict)
    captured = second_boot((bench.work / "console.log").read_text(errors="replace"))
    assert "Run /usr/lib/kdumpbuild/capture-root/init as init process" in captured
    assert "Unpacking initramfs" not in captured
    assert verdict.reserved == reserved(bench.image_set).size


def test_without_its_file_system_the_machine_comes_back(built: Path, tmp_path: Path) -> None:
    """``root=`` names a partition that is not there: the kernel waits as long as it is told, panics and reboots."""
    bench = rooted("arm-virt", built, tmp_path)
    # kdump-load would refuse it.
    script = bench.image_set.load_script.read_text(encoding="utf-8")
    unverified = script.replace('|| verify_capture_root', '|| :')
    assert unverified != script
    bad = changed(bench, tmp_path / "bad", conf={"KDUMP_CMDLINE": "{} root=/dev/vda7 rootwait=3"},
                  files={"kdump-load": unverified.encode()})  # fmt: skip
    verdict = bad.crash()
    assert not verdict.passed
    assert "VFS: Unable to mount root fs" in second_boot(bad.console), render(verdict)
    assert verdict.failure is not None
    assert "it runs from /dev/vda1 (capture.root)" in verdict.failure.hint
    checks = {check.name: check.ok for check in verdict.checks}
    assert checks["earlier dumps unharmed"] is True
    assert checks["machine back in production"] is True
