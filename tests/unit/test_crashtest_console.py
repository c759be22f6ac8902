"""The console as a clock, and as a witness of failed tests."""

from __future__ import annotations

import math

import pytest

from kdumpbuild.crashtest.console import MAX_LINES, Console, times
from kdumpbuild.crashtest.diagnose import Witness, diagnose, no_return, out_of_memory
from kdumpbuild.crashtest.protocol import BootRecord

MIB = 1 << 20
PRODUCTION = """\
[    0.000000] Booting Linux on physical CPU 0x0
[    0.726376] Run /init as init process
"""
CRASH = """\
crashtest: trigger sysrq by kdb-2efb7f980d
[    2.173453] sysrq: Trigger a crash
[    2.175755] Kernel panic - not syncing: sysrq triggered crash
[    2.185477] Loading crashdump kernel...
[    2.185746] Bye!
"""
CAPTURE = """\
[    0.000000] Booting Linux on physical CPU 0x1
[    0.726376] Run /init as init process
kdump: capture kernel 6.12.117 of arm-virt
"""
SAVED = """\
kdump: dmesg
kdump: dmesg committed, 7000 bytes
kdump: vmcore
kdump: vmcore committed, 19000000 bytes, filtered
kdump: done
kdump: rebooting
"""
BACK = """\
[    0.000000] Booting Linux on physical CPU 0x0
crashtest: back in production
crashtest: done
"""


def listen(text: str, pace: float = 0.5) -> Console:
    console = Console()
    for number, line in enumerate(text.splitlines()):
        console(number * pace, line)
    return console


def record(**changes: object) -> BootRecord:
    facts: dict[str, object] = {
        "release": "6.12.117", "boot_id": "1", "reserved": 16 * MIB, "load_status": 0, "loaded": True,
        "no_trigger": False, "returned": False,
    }  # fmt: skip
    return BootRecord(**(facts | changes))  # type: ignore[arg-type]


def witness(text: str, *, first: BootRecord | None, **changes: object) -> Witness:
    facts: dict[str, object] = {
        "console": listen(text), "first": first, "second": None, "load_log": "", "attempt": {},
        "crashkernel": 16 * MIB, "in_time": True, "seconds": 300.0, "status": 0,
    }  # fmt: skip
    return Witness(**(facts | changes))  # type: ignore[arg-type]


def test_the_clock_starts_at_the_first_line_of_the_crash() -> None:
    found = times(listen(PRODUCTION + CRASH + CAPTURE + SAVED + BACK), total=20.0)
    # Lines are half a second apart; the panic is the fifth line.
    assert (found.capture, found.dmesg, found.vmcore, found.back) == (1.5, 3.5, 4.5, 6.5)


def test_what_looks_like_a_crash_before_the_trigger_is_none() -> None:
    console = listen(PRODUCTION + "Internal error: in the boot loader's text\n" + CRASH)
    assert console.crash is not None
    assert "sysrq triggered" in console.crash.text


def test_nothing_is_timed_without_a_crash() -> None:
    found = times(listen(PRODUCTION + SAVED + BACK), total=1.0)
    assert (found.capture, found.dmesg, found.vmcore, found.back) == (None, None, None, None)


def test_a_capture_system_that_says_our_words_is_not_production() -> None:
    assert times(listen(PRODUCTION + CRASH + CAPTURE + "crashtest: back in production\n"), total=1.0).back is None


def test_the_console_says_how_long_to_wait() -> None:
    console = Console()
    assert console(0.0, "Booting Linux on physical CPU 0x0") == math.inf
    assert console(1.0, "Kernel panic - not syncing: a word in passing") is None
    assert console(2.0, "crashtest: trigger sysrq by x") is None
    after_crash = console(3.0, "Kernel panic - not syncing: sysrq triggered crash")
    assert after_crash is not None
    assert 10 < after_crash < 300
    assert console(4.0, "Internal error: another one") is None
    assert console(5.0, "Booting Linux on physical CPU 0x0") == math.inf
    assert console(6.0, "Booting Linux on physical CPU 0x0") == math.inf
    assert console(7.0, "crashtest: done") == 3.0
    assert console.stopped == "done"


def test_a_loop_of_boots_and_a_flood_of_lines_end_the_machine() -> None:
    loop = listen(PRODUCTION * 4)
    assert loop.stopped == "loop"
    flood = Console()
    assert [flood(0.0, "x") for _ in range(MAX_LINES + 1)][-1] == 0.0
    assert flood.stopped == "flood"


@pytest.mark.parametrize(
    "line",
    [
        "[    0.5] Initramfs unpacking failed: write error",
        "[    0.5] Initramfs unpacking failed: XZ decompressor ran out of memory",
        "[    0.5] Out of memory: Killed process 70 (makedumpfile) total-vm:9000kB",
        "[    0.5] Kernel panic - not syncing: System is deadlocked on memory",
        "[    0.5] swapper/0: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL)",
        "[    0.5] makedumpfile invoked oom-killer: gfp_mask=0x140cca",
        "sh: can't fork: Cannot allocate memory",
    ],
)
def test_a_lack_of_memory_is_named_as_such(line: str) -> None:
    assert out_of_memory([line]) == line
    found = diagnose(witness(PRODUCTION + CRASH + CAPTURE + line + "\n" + BACK, first=record(), in_time=False))
    assert found.code == "out-of-memory"
    assert line in found.why
    assert "crashkernel=" in found.hint
    assert "16M" in found.hint


def test_memory_of_the_production_kernel_is_another_matter() -> None:
    text = PRODUCTION + "Out of memory: Killed process 1\n" + CRASH + CAPTURE + "kdump: failed: vmcore: no space\n"
    assert diagnose(witness(text, first=record())).code == "capture-failed"


def test_no_init_without_a_lack_of_memory_is_another_fault() -> None:
    text = PRODUCTION + CRASH + CAPTURE + "Kernel panic - not syncing: No working init found.\n" + BACK
    found = diagnose(witness(text, first=record()))
    assert found.code == "capture-panic"
    assert "ARM_THUMB" in found.hint


CASES: list[tuple[str, str, dict[str, object]]] = [
    ("no-boot", "", {"first": None, "in_time": False}),
    ("no-boot", PRODUCTION, {"first": None, "in_time": False}),
    ("no-boot", PRODUCTION + "Kernel panic - not syncing: VFS: Unable to mount root fs\n", {"first": None}),
    ("no-dump-target", PRODUCTION + "crashtest: no dump target /dev/vda\n", {"first": None}),
    ("machine-lost", PRODUCTION, {"first": None, "status": -11}),
    ("no-reservation", PRODUCTION, {"first": record(reserved=0, load_status=6, loaded=False)}),
    ("load-failed", PRODUCTION, {"first": record(load_status=4, loaded=False), "load_log": "kdump-load: not it"}),
    ("load-failed", PRODUCTION, {"first": record(load_status=None, loaded=False)}),
    ("no-trigger", PRODUCTION, {"first": record(no_trigger=True)}),
    ("trigger-returned", PRODUCTION, {"first": record(returned=True)}),
    ("no-crash", PRODUCTION + "crashtest: trigger sysrq by kdb-1\n", {"first": record(), "in_time": False}),
    ("machine-lost", PRODUCTION + CRASH, {"first": record(), "status": -9}),
    ("no-capture-kernel", PRODUCTION + CRASH, {"first": record(), "in_time": False}),
    ("no-capture-kernel", PRODUCTION + CRASH + BACK, {"first": record()}),
    (
        "stuck-cpu",
        PRODUCTION + CRASH + "kernel BUG at arch/arm/kernel/machine_kexec.c:154!\n" + BACK,
        {"first": record()},
    ),
    ("no-dump-target", PRODUCTION + CRASH + CAPTURE + "kdump: failed: dump target /dev/vda: not there\n" + BACK,
     {"first": record()}),
    ("capture-panic", PRODUCTION + CRASH + CAPTURE + "Kernel panic - not syncing: Fatal exception\n",
     {"first": record()}),
    ("capture-failed", PRODUCTION + CRASH + CAPTURE,
     {"first": record(), "attempt": {"stage": "vmcore", "reason": "no space for the raw memory"}}),
    ("deadline", PRODUCTION + CRASH + CAPTURE, {"first": record(), "in_time": False}),
    ("machine-lost", PRODUCTION + CRASH + CAPTURE, {"first": record(), "status": 1}),
    ("no-dump", PRODUCTION + CRASH + CAPTURE + BACK, {"first": record()}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text", "facts"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_each_way_to_fail_has_its_name(code: str, text: str, facts: dict[str, object]) -> None:
    found = diagnose(witness(text, **facts))  # type: ignore[arg-type]
    assert found.code == code
    assert found.what


def test_what_the_load_script_said_is_told() -> None:
    found = diagnose(
        witness(PRODUCTION, first=record(load_status=4, loaded=False), load_log="kdump-load: this is Linux 6.1\n")
    )
    assert "exit code 4" in found.what
    assert "this is Linux 6.1" in found.why


@pytest.mark.parametrize(
    ("code", "text", "facts"),
    [
        ("no-reboot", PRODUCTION + CRASH + CAPTURE + SAVED, {"in_time": False}),
        ("no-production", PRODUCTION + CRASH + CAPTURE + SAVED + PRODUCTION, {"in_time": False}),
        ("machine-lost", PRODUCTION + CRASH + CAPTURE + SAVED, {"status": -6}),
    ],
)
def test_a_machine_that_stays_away_after_the_dump(code: str, text: str, facts: dict[str, object]) -> None:
    assert no_return(witness(text, first=record(), **facts)).code == code
