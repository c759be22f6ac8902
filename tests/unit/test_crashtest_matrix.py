"""The crash matrix and the tests of other ways to keep a log, as far as no machine is needed."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.logs import Logs, Netconsole
from kdumpbuild.crashtest import TRIGGERS, logtest, matrix
from kdumpbuild.crashtest.console import Times
from kdumpbuild.crashtest.diagnose import Diagnosis
from kdumpbuild.crashtest.matrix import CAUSES, CPUS, RECORD, RETURNED, ROWS, VMCORE, Cell
from kdumpbuild.crashtest.protocol import Means, parse_pairs, plan_text
from kdumpbuild.crashtest.verdict import Verdict
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdumpbuild.analysis import Crash

PAGE = Path(__file__).resolve().parents[2] / "docs/crash-matrix.md"
CELL = Cell(
    board="arm-virt", arch="arm", cpus="SMP", kernel="6.12.117", trigger="sysrq", outcome=VMCORE, expected=VMCORE,
    said="Kernel panic - not syncing: sysrq triggered crash", by_watchdog=False,
)  # fmt: skip


def verdict(records: Mapping[str, str], failure: Diagnosis | None = None, crash: Crash | None = None) -> Verdict:
    return Verdict(
        board="arm-virt", trigger="lkdtm-hardlockup", marker="kdb-1", passed=failure is None, checks=(),
        failure=failure, crash=crash, times=Times(None, None, None, None, 1.0), reserved=0, ram=0, dmesg_size=None,
        vmcore_size=None, form="", places={}, records=records, command=(), qemu="7.2.22", console_tail="",
    )  # fmt: skip


def test_every_cause_has_rows_and_every_row_a_trigger() -> None:
    assert {row.cause for row in ROWS} == set(CAUSES) == {1, 2, 3, 4, 5}
    assert {row.trigger for row in ROWS} == set(TRIGGERS) - {"watchdog", "kdump-ctl"}
    for row in ROWS:
        assert set(row.expected) <= {f"{arch} {cpus}" for arch in ("arm", "arm64") for cpus in CPUS}
        assert bool(row.expected) == bool(row.why), row.trigger


def test_rows_can_be_chosen() -> None:
    assert matrix.rows([]) == list(ROWS)
    assert [row.trigger for row in matrix.rows(["oom", "sysrq"])] == ["sysrq", "oom"]
    with pytest.raises(UserError, match="not in the matrix: nothing"):
        matrix.rows(["nothing"])


def test_what_is_left_is_told_by_the_record_of_this_very_crash(tmp_path: Path) -> None:
    lost = Diagnosis("stuck-cpu", "another processor did not stop")
    mine = tmp_path / "console-ramoops-0"
    mine.write_text(
        "[ 1.0] Kernel panic - not syncing: an earlier one\n[ 2.0] crashtest: trigger lkdtm-hardlockup by kdb-1\n"
        "[ 9.0] Kernel panic - not syncing: Hard LOCKUP\n"
    )
    assert matrix._left(verdict({"a": str(mine)}, lost)) == (RECORD, "Kernel panic - not syncing: Hard LOCKUP")
    mine.write_text(
        "[ 2.0] crashtest: trigger lkdtm-hardlockup by kdb-1\n[ 3.0] lkdtm: Performing direct entry\n"
        "\nECC: No errors detected\n"
    )
    assert matrix._left(verdict({"a": str(mine)}, lost)) == (RECORD, "lkdtm: Performing direct entry")
    mine.write_text("[ 2.0] crashtest: trigger lkdtm-hardlockup by kdb-0\n")
    assert matrix._left(verdict({"a": str(mine)}, lost)) == ("stuck-cpu", "")
    returned = Diagnosis("trigger-returned", "the trigger came back")
    assert matrix._left(verdict({}, returned)) == (RETURNED, "")


def test_a_patched_kernel_is_told_apart(tmp_path: Path) -> None:
    board = load_board(resources.BOARDS / "arm-virt.toml")
    row = next(row for row in ROWS if row.trigger == "lkdtm-hardlockup")
    assert row.left(board, "SMP") == RECORD
    patched = replace(board, production=replace(board.production, patches=("arm-kexec-stuck-cpu",)))
    assert row.left(patched, "SMP") == VMCORE
    assert row.left(patched, "UP") == RECORD
    plain = replace(CELL, trigger="lkdtm-hardlockup", outcome=RECORD, expected=RECORD)
    better = replace(CELL, trigger="lkdtm-hardlockup", patches=("arm-kexec-stuck-cpu",), said="Hard LOCKUP")
    folder = tmp_path / "arm-virt" / "lkdtm-hardlockup-SMP"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps(asdict(better)))
    text = matrix.page([plain, *matrix.read_cells([tmp_path / "arm-virt"])])
    assert "| `lkdtm-hardlockup` | arm SMP | arm-kexec-stuck-cpu | vmcore | `Hard LOCKUP` |" in text
    assert "| log, panic | not run | not run | not run |" in text


def test_the_page_shows_every_cell_and_marks_what_is_less_than_possible() -> None:
    bad = replace(CELL, arch="arm64", board="arm64-virt", trigger="lkdtm-hardlockup", outcome="no-crash", said="")
    log = replace(CELL, trigger="lkdtm-hardlockup", outcome=RECORD, expected=RECORD, by_watchdog=True, said="last")
    text = matrix.page([CELL, bad, log])
    assert "| `sysrq` | panic through SysRq | vmcore | not run | not run | not run |" in text
    assert "| a loop with interrupts off | log, watchdog | not run | no-crash (!) | not run |" in text
    assert "- arm SMP: `last`" in text
    assert not bad.ok
    assert log.ok


def test_cells_are_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "arm-virt" / "sysrq-SMP"
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(json.dumps(asdict(CELL)))
    assert matrix.read_cells([tmp_path / "arm-virt"]) == [CELL]


def test_the_documented_matrix_has_every_row() -> None:
    text = PAGE.read_text(encoding="utf-8")
    plain, _, patched = text.partition("## With a patched production kernel")
    shown = re.findall(r"^\| `([a-z-]+)` \|", plain, re.MULTILINE)
    assert shown == [row.trigger for row in sorted(ROWS, key=lambda row: row.cause)]
    with_patch = re.findall(r"^\| `([a-z-]+)` \|", patched, re.MULTILINE)
    assert {"lkdtm-hardlockup", "lkdtm-smp-call-lockup"} <= set(with_patch)
    assert "(!)" not in text.replace("| (!) | less than is possible |", "")


def test_the_plan_says_what_else_to_do() -> None:
    means = Means(watchdog=90, kdump=False, reset=True, cpu=0, mtd="oops")
    plan = parse_pairs(plan_text(TRIGGERS["oom"], "kdb-1", means))
    assert plan["how"] == "fill"
    assert (plan["watchdog"], plan["kdump"], plan["reset"], plan["mtd"]) == ("90", "0", "1", "oops")
    assert plan["cpu"] == "0"
    plain = parse_pairs(plan_text(TRIGGERS["sysrq"], "kdb-1"))
    assert (plain["watchdog"], plain["kdump"], plain["reset"], plain["mtd"]) == ("0", "1", "0", "")
    assert plain["cpu"] == ""


def test_each_way_has_a_case_and_a_board_gets_those_that_it_picks() -> None:
    board = load_board(resources.BOARDS / "arm-virt.toml")
    assert {case.way for case in logtest.CASES} == {"ramoops", "pstore_blk", "mtdoops", "netconsole", "serial"}
    assert {case.way for case in logtest.cases(board)} == {"ramoops"}
    assert len({case.name for case in logtest.CASES}) == len(logtest.CASES)
    with pytest.raises(UserError, match="picks no other way"):
        logtest.cases(replace(board, logs=Logs()))


def test_what_one_way_kept_does_not_count_for_another() -> None:
    names = {"ramoops": ["console-ramoops-0", "dmesg-ramoops-0"], "serial": ["console"], "netconsole": ["net"]}
    for case in logtest.CASES:
        others = [name for way, kept in names.items() if way != case.way for name in kept]
        assert not [name for name in others if case.keeps(name)], case
    assert [case.way for case in logtest.CASES if case.keeps("console")] == ["serial"]


def test_what_arrives_by_udp_is_heard() -> None:
    board = load_board(resources.BOARDS / "arm-virt.toml")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    net = replace(board, logs=Logs(netconsole=Netconsole("eth0", "10.0.2.15", 6665, "10.0.2.2", port, "")))
    with logtest._listening(net, "netconsole") as heard:
        with pytest.raises(UserError, match=f"cannot listen to UDP port {port}"), logtest._listening(net, "netconsole"):
            pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"a message\n", ("127.0.0.1", port))
        while not heard:
            pass
    assert heard == [b"a message\n"]
