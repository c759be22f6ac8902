"""The product's side after the reboot: kdump-ctl crashes, kdump-collect files the dump, kdump-ctl shows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.crashtest import Options, render
from kdumpbuild.crashtest.protocol import COLLECTED, FOLDER, Means
from tests.boot.test_crashtest import Bench, bench_of
from tests.boot.test_faults import with_target

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot

CAUSE = "Kernel panic - not syncing: sysrq triggered crash"


@pytest.fixture
def arm(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm-virt", built, tmp_path)


def said(bench: Bench) -> str:
    """Return what kdump-collect and kdump-ctl said."""
    return (bench.work / "target" / FOLDER / COLLECTED).read_text(encoding="utf-8", errors="replace")


def test_kdump_ctl_crashes_the_machine(arm: Bench) -> None:
    verdict = arm.crash("kdump-ctl")
    assert verdict.passed, render(verdict)
    console = (arm.work / "console.log").read_text(errors="replace")
    assert "This crashes the machine NOW" in console


@pytest.mark.parametrize("kind", ["filesystem", "slots"])
def test_dumps_are_filed_after_the_reboot(arm: Bench, tmp_path: Path, kind: str) -> None:
    target = {"target": "slots", "filesystem": ""} if kind == "slots" else {}
    bench = with_target(arm, tmp_path, **target)
    bench.crash(options=Options(means=Means(collect=True)))
    text = said(bench)
    assert "exit 0 of kdump-collect\n" in text, text
    filed = re.findall(r"^kdump-collect: (\S+Z-[0-9a-f]{8}): (.*)$", text, re.MULTILINE)
    assert len(filed) == 3, text  # the earlier dump, that of this crash, and what ramoops kept of it
    (name,) = [name for name, summary in filed if CAUSE in summary and "vmcore filtered" in summary]
    assert any(CAUSE in summary and summary.startswith("pstore: ") for _, summary in filed), text
    assert re.search(rf"^{name}  .*{CAUSE}", text, re.MULTILINE), text
    assert "the end of the log" in text
    assert re.findall(r"^exit (\d+) of kdump-ctl (.*)$", text, re.MULTILINE) == [
        ("0", "list"), ("0", "show latest"),
        ("8", "status"), ("0", "load"), ("0", "status"), ("0", "unload"), ("8", "status"),
    ]  # fmt: skip
    assert "3 dumps in /var/lib/kdump" in text
