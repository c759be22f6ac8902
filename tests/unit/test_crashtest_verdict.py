"""The verdict over what a machine left on its disk, and the report that tells it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from kdumpbuild import resources
from kdumpbuild.analysis import Crash, Frame
from kdumpbuild.analysis.report import FRAMES
from kdumpbuild.board.loader import load_board
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.userland import Userland
from kdumpbuild.crashtest import TRIGGERS, run_crashtest, to_junit
from kdumpbuild.crashtest.console import Console, Times
from kdumpbuild.crashtest.diagnose import Diagnosis, Witness
from kdumpbuild.crashtest.dumps import find_dumps
from kdumpbuild.crashtest.protocol import BootRecord
from kdumpbuild.crashtest.report import render
from kdumpbuild.crashtest.runner import Work
from kdumpbuild.crashtest.verdict import RESULT_FORMAT, Check, Evidence, Verdict, judge
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

FIRST = BootRecord(
    release="6.12.117", boot_id="a", reserved=16 << 20, load_status=0, loaded=True, no_trigger=False, returned=False
)
SECOND = replace(FIRST, boot_id="b", load_status=None, loaded=False)
DMESG = "[    2.1] Kernel panic - not syncing: sysrq triggered crash\n"


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """A run in which everything went well, but for the vmcore, which is no dump."""
    dump = tmp_path / "kdump" / "0002"
    dump.mkdir(parents=True)
    (dump / "dmesg.txt").write_text(DMESG)
    (dump / "vmcore").write_bytes(b"not a dump")
    (dump / "status").write_text("format=1\ndmesg=ok\nvmcore=filtered\n")
    return Evidence(
        witness=Witness(
            console=Console(), first=FIRST, second=SECOND, load_log="", attempt={}, crashkernel=16 << 20,
            in_time=True, seconds=20.0, status=0,
        ),
        dumps=tuple(find_dumps(tmp_path / "kdump")),
        earlier=({"vmcore": "1"}, {"vmcore": "1"}),
        vmlinux=tmp_path / "vmlinux",
        trigger=TRIGGERS["sysrq"],
        marker="kdb-1",
    )  # fmt: skip


def outcome(evidence: Evidence) -> tuple[dict[str, bool | None], str]:
    checks, failure, _ = judge(evidence)
    return {check.name: check.ok for check in checks}, failure.code if failure else ""


def with_witness(evidence: Evidence, **changes: object) -> Evidence:
    return replace(evidence, witness=replace(evidence.witness, **changes))  # type: ignore[arg-type]


def test_a_dump_that_does_not_open_fails_and_hides_nothing_else(evidence: Evidence) -> None:
    checks, code = outcome(evidence)
    assert code == "dump-unreadable"
    assert checks == {
        "production system up": True, "memory reserved": True, "capture kernel loaded": True, "dump committed": True,
        "saved dmesg tells the cause": True, "dump opens": False, "crashed task is the test's": None,
        "stack holds the trigger": None, "dmesg in the dump tells the cause": None, "earlier dumps unharmed": True,
        "machine back in production": True,
    }  # fmt: skip


def test_the_first_failure_is_the_one_that_is_told(evidence: Evidence) -> None:
    facts = with_witness(evidence, first=replace(FIRST, reserved=0, loaded=False, load_status=6), second=None)
    checks, code = outcome(replace(facts, dumps=()))
    assert code == "no-reservation"
    assert (checks["memory reserved"], checks["capture kernel loaded"], checks["dump committed"]) == (False,) * 3
    assert checks["machine back in production"] is None


def test_no_record_means_no_production_system(evidence: Evidence) -> None:
    checks, code = outcome(replace(with_witness(evidence, first=None, second=None), dumps=()))
    assert code == "no-boot"
    assert checks["production system up"] is False
    assert "memory reserved" not in checks


def test_a_part_of_a_vmcore_is_no_dump(evidence: Evidence) -> None:
    saved = evidence.dumps[0]
    (saved.folder / "vmcore").rename(saved.folder / "vmcore.part")
    facts = with_witness(evidence, attempt={"stage": "vmcore", "reason": "no space for the raw memory"})
    checks, failure, _ = judge(facts)
    assert failure is not None
    assert failure.code != "dump-unreadable"
    assert {c.name: c.ok for c in checks}["dump committed"] is False


def test_a_log_of_another_crash_is_not_ours(evidence: Evidence) -> None:
    (evidence.dumps[0].folder / "dmesg.txt").write_text("[    1.0] Kernel panic - not syncing: Fatal exception\n")
    checks, code = outcome(evidence)
    assert checks["saved dmesg tells the cause"] is False
    assert code == "wrong-dump"


def test_a_watchdog_that_is_expected_has_to_run(evidence: Evidence) -> None:
    checks, code = outcome(replace(evidence, watchdog=20))
    assert (checks["watchdog running"], code) == (False, "no-watchdog")
    running = with_witness(evidence, first=replace(FIRST, watchdog=True))
    checks, _ = outcome(replace(running, watchdog=20))
    assert checks["watchdog running"] is True
    checks, _ = outcome(running)
    assert "watchdog running" not in checks


@pytest.mark.parametrize(("seconds", "outlived"), [("20.01", True), ("19.99", False), ("", False), ("soon", False)])
def test_a_held_capture_has_to_take_longer_than_the_watchdog(
    evidence: Evidence, seconds: str, outlived: bool  # noqa: FBT001
) -> None:
    status = evidence.dumps[0].folder / "status"
    status.write_text(f"{status.read_text()}dmesg_seconds={seconds}\n")
    held = replace(evidence, trigger=TRIGGERS["watchdog"], watchdog=20, dumps=tuple(find_dumps(status.parents[1])))
    checks, code = outcome(with_witness(held, first=replace(FIRST, watchdog=True)))
    assert checks["capture outlived the watchdog"] is outlived
    assert code == ("dump-unreadable" if outlived else "not-held")


def test_two_dumps_for_one_crash_are_one_too_many(evidence: Evidence) -> None:
    checks, code = outcome(replace(evidence, dumps=evidence.dumps * 2))
    assert (checks["dump committed"], code) == (False, "wrong-dump")


@pytest.mark.parametrize("after", [{}, {"vmcore": "2"}])
def test_a_harmed_earlier_dump_fails(evidence: Evidence, after: dict[str, str]) -> None:
    checks, _ = outcome(replace(evidence, earlier=({"vmcore": "1"}, after)))
    assert checks["earlier dumps unharmed"] is False


@pytest.mark.parametrize(
    "second", [None, replace(SECOND, boot_id="a"), replace(SECOND, release="6.1.0")], ids=["none", "same", "other"]
)
def test_the_machine_has_to_come_back_to_the_same_kernel(evidence: Evidence, second: BootRecord | None) -> None:
    checks, _ = outcome(with_witness(evidence, second=second))
    assert checks["machine back in production"] is False


@pytest.fixture
def verdict() -> Verdict:
    return Verdict(
        board="arm-virt", trigger="sysrq", marker="kdb-1", passed=True,
        checks=(Check("dump opens", ok=True, detail="Linux 6.12.117, 40 tasks"),), failure=None,
        crash=Crash(
            release="6.12.117", build_id="00" * 20, cause="Kernel panic - not syncing: sysrq triggered crash", pid=83,
            comm="kdb-1", cpu=1, stack=tuple(Frame(f"function_{n}", f"kernel/file.c:{n}", n == 1) for n in range(20)),
            uptime=2.1, tasks=40,
        ),
        times=Times(capture=1.0, dmesg=1.75, vmcore=4.5, back=None, total=20.0), reserved=16 << 20, ram=512 << 20,
        dmesg_size=7000, vmcore_size=19 << 20, form="filtered",
        places={"dump": "/a b/0002", "vmlinux": "/set/vmlinux", "console": "/w/console.log"},
        command=("qemu-system-arm",), qemu="7.2.22", console_tail="",
    )  # fmt: skip


def test_the_report_of_a_pass_tells_cause_stack_times_sizes_and_places(verdict: Verdict) -> None:
    text = render(verdict)
    for part in (
        "sysrq triggered crash", "kdb-1, pid 83", "function_0", "kernel/file.c:11", "(inline)", "1.75 s", "4.50 s",
        "19.0 MiB filtered", "16M of 512.0 MiB", "'/a b/0002/vmcore' /set/vmlinux", "PASS  arm-virt sysrq",
    ):  # fmt: skip
        assert part in text
    assert f"function_{FRAMES}" not in text
    assert f"and {20 - FRAMES} more" in text
    assert "FAIL" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_report_of_a_failure_tells_why_and_what_to_do(verdict: Verdict) -> None:
    failure = Diagnosis("out-of-memory", "the capture kernel ran out of memory", why="write error", hint="one\ntwo")
    text = render(replace(
        verdict, passed=False, crash=None, dmesg_size=None, vmcore_size=None, failure=failure,
        checks=(Check("dump committed", ok=False, detail="none"),), console_tail="| last words",
    ))  # fmt: skip
    for part in ("FAIL  dump committed", "[out-of-memory]", "hint: one", "      two", "| last words", "/w/console.log"):
        assert part in text
    assert text.endswith("FAIL  arm-virt sysrq: the capture kernel ran out of memory\n")
    assert "PASS" not in text


def test_junit_has_a_case_for_each_check_and_tells_why_once(verdict: Verdict) -> None:
    failure = Diagnosis("no-dump", "no dump was committed", why="write error", hint="make room")
    failed = replace(
        verdict, passed=False, trigger="lkdtm-null", failure=failure, console_tail="| \x1b[1mlast\x00 words",
        checks=(Check("booted", ok=True, detail="yes"), Check("dump committed", ok=False, detail="none < 1"),
                Check("dump opens", ok=None, detail="not looked at"), Check("came back", ok=False, detail="no")),
    )  # fmt: skip
    suites = ET.fromstring(to_junit([verdict, failed]))  # noqa: S314  # our own
    first, second = suites
    assert (first.get("name"), first.get("tests"), first.get("failures")) == ("arm-virt sysrq", "1", "0")
    assert (second.get("tests"), second.get("failures"), second.get("skipped")) == ("4", "2", "1")
    told = [(case.get("name"), case[0].tag, case[0].text) for case in second.iter("testcase") if len(case)]
    assert told == [
        ("dump committed", "failure", "no dump was committed [no-dump]\nwrite error\nhint: make room"),
        ("dump opens", "skipped", None),
        ("came back", "failure", None),
    ]
    assert second.findtext("system-out") == "| [1mlast words"


def test_junit_of_a_test_that_failed_before_its_checks_is_a_failure(verdict: Verdict) -> None:
    failed = replace(verdict, passed=False, checks=(), failure=Diagnosis("qemu", "QEMU was lost"))
    (suite,) = ET.fromstring(to_junit([failed]))  # noqa: S314  # our own
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    message = suite.find("testcase/failure")
    assert message is not None
    assert message.get("message") == "QEMU was lost"


def test_the_result_can_be_read_by_programs(verdict: Verdict) -> None:
    read = json.loads(json.dumps(verdict.to_json()))
    assert (read["format"], read["passed"], read["times"]["dmesg"]) == (RESULT_FORMAT, True, 1.75)
    assert read["crash"]["stack"][0]["function"] == "function_0"


def test_an_incomplete_set_is_told_whole_and_before_anything_is_touched(tmp_path: Path) -> None:
    board = load_board(resources.BOARDS / "arm-virt.toml")
    with pytest.raises(UserError) as caught:
        run_crashtest(
            board, SetFiles(tmp_path / "set", board.arch.image), Userland(tmp_path, board.arch), TRIGGERS["sysrq"],
            tmp_path / "work",
        )  # fmt: skip
    assert len(caught.value.faults) == 7
    assert "doit build BOARD=arm-virt" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_clearing_removes_only_what_a_test_leaves(tmp_path: Path) -> None:
    work = Work(tmp_path)
    (tmp_path / "mine.txt").write_text("kept")
    work.console.write_text("old")
    work.target.mkdir()
    work.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
