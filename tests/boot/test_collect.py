"""The product's side after the reboot: kdump-ctl crashes, kdump-collect files the dump, kdump-ctl shows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.analysis.dump import open_dump
from kdumpbuild.crashtest import Options, disk, render
from kdumpbuild.crashtest.dumps import find_dumps
from kdumpbuild.crashtest.protocol import COLLECTED, FOLDER, Means
from kdumpbuild.crashtest.runner import TARGET_FOLDER
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


# In place of kdump-collect: the store is on the disk, and at the first boot after the crash the machine crashes again
# as soon as there is what {sign} stands for. The second time all goes its way.
CRASHES_AGAIN = """#!/bin/sh
here=${{0%/*}}
mkdir -p /disk /var/lib
mount -t ext4 /dev/vda /disk
mkdir -p /disk/store
ln -s /disk/store /var/lib/kdump
if [ -e /disk/crashed-again ]; then
	exec "$here/real-collect"
fi
: >/disk/crashed-again
sync
"$here/kdump-load"
"$here/real-collect" &
while :; do
	for path in /var/lib/kdump/{sign}; do
		[ ! -e "$path" ] || echo c >/proc/sysrq-trigger
	done
done
"""


@pytest.mark.parametrize("sign", ["*Z-*", ".part-*/vmcore*"])
def test_a_second_crash_while_dumps_are_filed(
    arm: Bench, tmp_path: Path, sign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No dump is lost, none is there twice or half, and the second crash has its own."""
    monkeypatch.setattr("kdumpbuild.crashtest.console.MAX_BOOTS", 5)
    folder = arm.image_set.folder
    script = tmp_path / "kdump-collect"
    script.write_text(CRASHES_AGAIN.format(sign=sign))
    script.chmod(0o755)
    install = {f"{TARGET_FOLDER}/kdump-collect": script, f"{TARGET_FOLDER}/real-collect": folder / "kdump-collect"}
    arm.crash(options=Options(means=Means(collect=True), keep_disk=True, install=install))
    assert "exit 0 of kdump-collect\n" in said(arm), said(arm)
    stored = tmp_path / "stored"
    disk.read_disk(arm.work / "disk.img", ("store", arm.board.dump.directory), stored)
    assert find_dumps(stored / arm.board.dump.directory) == []
    filed = [path for path in (stored / "store").iterdir() if (path / "vmcore").exists()]
    assert not [path for path in stored.rglob("*") if ".part" in path.name]
    crashes = []
    for path in filed:
        data = (path / "vmcore").read_bytes()
        if data.startswith(b"an earlier dump, before "):
            assert len(set(data.splitlines())) == 1
        else:
            crashes.append(open_dump(path / "vmcore", arm.image_set.production_vmlinux).crash())
    assert len(filed) == 3
    assert len(crashes) == 2
    assert all(CAUSE in crash.cause for crash in crashes)
    assert sum(crash.comm.startswith("kdb-") for crash in crashes) == 1
