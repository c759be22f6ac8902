"""[panic] and [logs] of a board file: what is read, and what a kernel is told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board import logs, panic
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.logs import Logs
from kdumpbuild.board.panic import CONDITIONS, Panic
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board

ALL = Panic(
    warn=True, oom=True, soft_lockup=True, hard_lockup=True, lockup_seconds=7, hung_task=60, rcu_stall=30,
    workqueue_stall=40, timeout=15,
)  # fmt: skip
ABLE = {f"CONFIG_{c.symbol}": "y" for c in CONDITIONS if c.symbol}
BARE = """format = 1
description = "a board"
arch = "arm"
[memory]
ram = ["512M@0x40000000"]
crashkernel = "24M"
[capture]
console = "ttyS0"
[dump]
device = "/dev/vda"
filesystem = "ext4"
"""


def board(tmp_path: Path, text: str) -> Board:
    path = tmp_path / "mine.toml"
    path.write_text(BARE + text, encoding="utf-8")
    return load_board(path)


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        board(tmp_path, text)
    return [str(fault) for fault in caught.value.faults]


def test_without_the_table_an_oops_panics_and_nothing_else_does(tmp_path: Path) -> None:
    found = board(tmp_path, "").panic
    assert panic.boot_arguments(found, (6, 12), ABLE) == ["oops=panic", "panic=10"]
    assert panic.sysctls(found, (6, 12), ABLE) == {"kernel.panic_on_oops": "1", "kernel.panic": "10"}
    assert panic.fragment_names(found) == []


def test_everything_at_once() -> None:
    assert panic.boot_arguments(ALL, (6, 12), ABLE) == [
        "oops=panic", "panic_on_warn=1", "sysctl.vm.panic_on_oom=1", "softlockup_panic=1", "watchdog_thresh=7",
        "nmi_watchdog=panic", "hung_task_panic=1", "sysctl.kernel.hung_task_timeout_secs=60",
        "rcupdate.rcu_cpu_stall_timeout=30", "sysctl.kernel.panic_on_rcu_stall=1", "workqueue.watchdog_thresh=40",
        "workqueue.panic_on_stall=1", "panic=15",
    ]  # fmt: skip
    assert panic.sysctls(ALL, (6, 12), ABLE)["kernel.watchdog_thresh"] == "7"
    assert panic.missing(ALL, (6, 12), ABLE) == []


@pytest.mark.parametrize("version", [(5, 10), (6, 1), (6, 12), (7, 2)])
def test_arguments_and_sysctls_say_the_same(version: tuple[int, int]) -> None:
    """A sysctl of the file that has an argument of its own has the same value there."""
    arguments = dict(a.partition("=")[::2] for a in panic.boot_arguments(ALL, version, ABLE))
    names = {
        "oops": ("kernel.panic_on_oops", {"panic": "1"}), "nmi_watchdog": ("kernel.hardlockup_panic", {"panic": "1"}),
        "panic": ("kernel.panic", {}), "panic_on_warn": ("kernel.panic_on_warn", {}),
        "softlockup_panic": ("kernel.softlockup_panic", {}), "hung_task_panic": ("kernel.hung_task_panic", {}),
        "watchdog_thresh": ("kernel.watchdog_thresh", {}),
    }  # fmt: skip
    said = {}
    for name, value in arguments.items():
        if name.startswith("sysctl."):
            said[name.removeprefix("sysctl.")] = value
        elif name in names:
            sysctl, words = names[name]
            said[sysctl] = words.get(value, value)
    assert said == panic.sysctls(ALL, version, ABLE)


@pytest.mark.parametrize(
    ("version", "without", "lost"),
    [
        ((5, 10), (), ["hard_lockup", "workqueue_stall"]),
        ((6, 1), (), ["hard_lockup", "workqueue_stall"]),
        ((6, 6), (), ["workqueue_stall"]),
        ((6, 12), ("RCU_STALL_COMMON",), ["rcu_stall"]),
        ((6, 12), ("HARDLOCKUP_DETECTOR", "DETECT_HUNG_TASK"), ["hard_lockup", "hung_task"]),
    ],
)
def test_what_a_kernel_cannot_do_is_told_and_not_asked_for(
    version: tuple[int, int], without: tuple[str, ...], lost: list[str]
) -> None:
    config = {name: value for name, value in ABLE.items() if name.removeprefix("CONFIG_") not in without}
    found = panic.missing(ALL, version, config)
    assert [one.condition.key for one in found] == lost
    assert all(one.what.startswith(f"panic.{one.condition.key}: ") for one in found)
    text = " ".join(panic.boot_arguments(ALL, version, config)) + str(panic.sysctls(ALL, version, config))
    for one in found:
        mine = {a for a in one.condition.arguments if "watchdog_thresh={lockup" not in a}
        assert not any(argument.partition("=")[0] in text for argument in mine)


def test_the_sysctl_file_can_be_read_by_anyone() -> None:
    text = panic.sysctl_file(ALL, (6, 12), ABLE, "mine")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9_.]+ = \d+", line) for line in lines)
    values = dict(line.split(" = ") for line in lines)
    assert values == panic.sysctls(ALL, (6, 12), ABLE)


def test_lines_of_the_fragment_come_from_lines_of_the_board_file(tmp_path: Path) -> None:
    found = board(tmp_path, "[panic]\noops = false\nhung_task = 60\nrcu_stall = 30\n").panic
    values = {symbol: (key, value) for key, symbol, value, _ in panic.fragment_values(found)}
    assert values == {
        "DEFAULT_HUNG_TASK_TIMEOUT": ("hung_task", "60"), "RCU_CPU_STALL_TIMEOUT": ("rcu_stall", "30"),
        "PANIC_ON_OOPS": ("oops", "n"), "PANIC_TIMEOUT": ("timeout", "10"),
    }  # fmt: skip
    lines = (tmp_path / "mine.toml").read_text(encoding="utf-8").splitlines()
    for key in ("oops", "hung_task", "rcu_stall"):
        assert lines[found.line(key) - 1].startswith(key)


def test_every_fragment_that_a_condition_or_a_way_names_is_shipped() -> None:
    names = [c.fragment for c in CONDITIONS if c.fragment] + [f"log-{way.replace('_', '-')}" for way in logs.WAYS]
    assert len(names) == 9
    for name in names:
        assert (resources.FRAGMENTS / f"{name}.config").is_file()


def test_all_faults_are_told_with_their_lines(tmp_path: Path) -> None:
    text = """[panic]
hungtask = 5
rcu_stall = 2
soft_lockup = 20
lockup_seconds = 61
[logs]
syslog = true
[logs.ramoops]
memory = "1M@0x60000000"
record = "60K"
[logs.pstore_blk]
device = "/dev/a b"
[logs.netconsole]
source = "board"
target = "10.0.0.1"
mac = "12:34"
[logs.serial]
console = "ttyS1"
loglevel = 9
"""
    told = faults(tmp_path, text)
    for part in (
        "mine.toml:13: panic.hungtask: unknown key\n  hint: did you mean hung_task?",
        "mine.toml:14: panic.rcu_stall: 2 is too short",
        "mine.toml:15: panic.soft_lockup: 20 is not true or false",
        "mine.toml:16: panic.lockup_seconds: 61 is out of range",
        "mine.toml:18: logs.syslog: unknown key",
        "mine.toml:20: logs.ramoops.memory: 0x60000000 to 0x600fffff is not in the board's RAM",
        "mine.toml:21: logs.ramoops.record: 60K is not a power of two of at least 4K",
        "mine.toml:23: logs.pstore_blk.device: '/dev/a b' has a space in it",
        "mine.toml:25: logs.netconsole.source: 'board' is not an IP address",
        "mine.toml:27: logs.netconsole.mac: '12:34' is not a MAC address",
        "mine.toml:30: logs.serial.loglevel: 9 is out of range",
        "logs.pstore_blk: excludes logs.ramoops: the kernel takes one backend of pstore",
    ):  # fmt: skip
        assert any(part in one for one in told), part
    assert len(told) == 12


@pytest.mark.parametrize(
    ("memory", "what"),
    [
        ("1M", "has no address"),
        ("1M@0x40000800", "not multiples of 64K"),
        ("64K@0x40000000", "64K does not hold a record and the console"),
        ("1Q@0x40000000", "is not a size"),
    ],
)
def test_memory_for_ramoops_that_cannot_be_used(tmp_path: Path, memory: str, what: str) -> None:
    told = faults(tmp_path, f'[logs.ramoops]\nmemory = "{memory}"\n')
    assert any(what in one for one in told), told


def test_arguments_of_the_other_ways(tmp_path: Path) -> None:
    text = """[logs]
before_dump = true
[logs.pstore_blk]
device = "/dev/mmcblk0p5"
[logs.mtdoops]
device = "oops"
[logs.netconsole]
source = "10.0.2.15"
target = "10.0.2.2"
[logs.serial]
console = "ttyS1,115200"
"""
    found = board(tmp_path, text).logs
    assert found.picked == ["pstore_blk", "mtdoops", "netconsole", "serial"]
    assert logs.boot_arguments(found) == [
        "pstore_blk.blkdev=/dev/mmcblk0p5", "pstore_blk.best_effort=Y", "pstore_blk.max_reason=2",
        "pstore_blk.kmsg_size=64", "pstore_blk.console_size=64", "mtdoops.mtddev=oops", "mtdoops.record_size=65536",
        "netconsole=6665@10.0.2.15/eth0,6666@10.0.2.2/", "console=ttyS1,115200", "loglevel=7",
        "crash_kexec_post_notifiers=Y",
    ]  # fmt: skip


def test_what_is_traded_is_said() -> None:
    ramoops = logs.Ramoops(0x5FF00000, 1 << 20, 1 << 16, 1 << 17, 16, 2)
    (plain,) = logs.notes(Logs(ramoops=ramoops))
    (first,) = logs.notes(Logs(ramoops=ramoops, before_dump=True))
    assert "no crash record is written" in plain
    assert "costs the dump" in first
    assert logs.notes(Logs(serial=logs.Serial("ttyS0", 7))) == []
