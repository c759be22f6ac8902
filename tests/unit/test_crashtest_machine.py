"""Running the test machine: arguments, and every way in which a machine can end. Its QEMU is a shell script here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources, run
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.model import Watchdog
from kdumpbuild.crashtest.machine import Boot, command_line, has_watchdog, qemu_command, run_machine, too_old
from kdumpbuild.crashtest.system import system_conf
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board


@pytest.fixture(params=["arm-virt", "arm64-virt"])
def board(request: pytest.FixtureRequest) -> Board:
    return load_board(resources.BOARDS / f"{request.param}.toml")


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    return Boot(
        kernel=tmp_path / "zImage", initramfs=tmp_path / "initramfs", disk=tmp_path / "a, b.img",
        arguments="crashkernel=99M oops=panic panic=10\n",
    )  # fmt: skip


def fake_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("qemu-system-arm", "qemu-system-aarch64"):
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_machine_has_a_disk_a_console_and_nothing_else(board: Board, boot: Boot) -> None:
    command = qemu_command(board, boot)
    text = " ".join(command)
    assert command[0] == board.arch.qemu
    for part in ("-nic none", "-display none", "-monitor none", "werror=report", "a,, b.img", "-m 512M", "-smp 2"):
        assert part in text
    assert "-no-reboot" not in command
    append = command[command.index("-append") + 1]
    for part in ("oops=panic", "panic=10", "console=ttyAMA0"):
        assert part in append


def test_the_reservation_is_what_it_is_asked_for(board: Board, boot: Boot) -> None:
    assert "crashkernel=24M " in command_line(board, replace(boot, crashkernel="24M"))
    assert "crashkernel" not in command_line(board, boot)


def test_a_line_that_is_too_long_is_refused(board: Board, boot: Boot) -> None:
    with pytest.raises(UserError, match="takes"):
        command_line(board, replace(boot, cmdline="x" * 2048))


def test_a_board_without_a_machine_is_refused(board: Board, boot: Boot) -> None:
    with pytest.raises(UserError, match="cannot be crash-tested in QEMU"):
        qemu_command(replace(board, machine=None), boot)


def test_a_card_is_in_the_slot_and_the_console_is_the_port_of_the_board(board: Board, boot: Boot) -> None:
    assert board.machine is not None
    machine = replace(board.machine, cpu="", disk=(), drive="if=sd,index=2", serial=1, ram=1 << 30)
    production = replace(board.production, cmdline="nr_cpus=1")
    board = replace(board, machine=machine, production=production)
    command = qemu_command(board, replace(boot, qemu=boot.kernel.parent, arguments=""))
    text = " ".join(command)
    assert command[0] == str(boot.kernel.parent / board.arch.qemu)
    assert "-drive if=sd,index=2,id=dump,format=raw,file=" in text
    assert "werror" not in text
    assert "-serial null -serial chardev:console" in text
    assert "-m 1024M" in text
    assert "-cpu" not in command
    assert "nr_cpus=1" in command[command.index("-append") + 1].split()


@pytest.mark.parametrize(("said", "old"), [("10.0.2", False), ("10.1.0", False), ("9.2.1", True), ("7.2.22", True)])
def test_a_qemu_that_is_too_old_is_told_in_one_sentence(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, old: bool  # noqa: FBT001
) -> None:
    fake_qemu(tmp_path, monkeypatch, f"echo 'QEMU emulator version {said} (Debian 1:{said})'")
    assert board.machine is not None
    machine = replace(board.machine, qemu=(10, 0), watchdog=(9, 0))
    newer = replace(board, machine=machine, watchdog=Watchdog("/dev/w", 20))
    sentence = f"{board.name} needs QEMU 10.0 or newer, and this is {said}"
    assert too_old(newer, None) == (sentence if old else "")
    assert too_old(newer, tmp_path / "bin") == (sentence if old else "")
    assert too_old(board, None) == ""
    assert has_watchdog(newer, None) == (said != "7.2.22")
    assert not has_watchdog(replace(newer, watchdog=None), None)
    assert not has_watchdog(board, None)


def test_a_program_that_is_not_qemu_is_the_users_error(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(tmp_path, monkeypatch, "echo hello")
    with pytest.raises(UserError, match=r"does not say which version(.|\n)*hello"):
        too_old(board, None)


def test_the_first_process_gets_what_it_needs(board: Board) -> None:
    odd = replace(board, dump=replace(board.dump, device="LABEL=crash dumps"))
    conf = system_conf(odd, "/usr/lib/kdump/kdump-load")
    shell = subprocess.run(
        ["sh", "-c", f'{conf}\nprintf "%s|%s|%s" "$DEVICE" "$FILESYSTEM" "$LOAD"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shell.stdout == "LABEL=crash dumps|ext4|/usr/lib/kdump/kdump-load"


def test_what_the_machine_prints_is_kept_raw(
    board: Board, boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(tmp_path, monkeypatch, r"printf 'Booting Linux on physical CPU 0x0\r\n\377\000 odd\r\nlast, without end'")
    ran = run_machine(board, boot, log=tmp_path / "log", deadline=20)
    assert (ran.status, ran.in_time) == (0, True)
    assert ran.console.boots == 1
    assert (tmp_path / "log").read_bytes().endswith(b"\xff\x00 odd\r\nlast, without end")
    assert ran.console.lines[0].text == "Booting Linux on physical CPU 0x0"


def test_a_machine_that_hangs_is_ended_at_the_deadline(
    board: Board, boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(tmp_path, monkeypatch, "echo Booting Linux on physical CPU 0x0; exec sleep 1000")
    ran = run_machine(board, boot, log=tmp_path / "log", deadline=0.5)
    assert not ran.in_time
    assert ran.seconds < 10
    assert ran.console.boots == 1


def test_a_machine_that_is_done_gets_a_moment_to_power_off(
    board: Board, boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdumpbuild.crashtest.console._GRACE", 0.3)
    fake_qemu(tmp_path, monkeypatch, "echo Booting Linux on physical CPU 0x0; echo crashtest: done; exec sleep 1000")
    ran = run_machine(board, boot, log=tmp_path / "log", deadline=100)
    assert ran.seconds < 20
    assert ran.console.stopped == "done"


def test_a_machine_that_crashes_is_lost_and_says_how(
    board: Board, boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(tmp_path, monkeypatch, "echo Booting Linux on physical CPU 0x0; kill -SEGV $$")
    ran = run_machine(board, boot, log=tmp_path / "log", deadline=20)
    assert (ran.in_time, ran.status) == (True, -signal.SIGSEGV)


def test_arguments_that_qemu_refuses_are_the_users_error(
    board: Board, boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(tmp_path, monkeypatch, "echo 'qemu: unsupported machine type' >&2; exit 1")
    with pytest.raises(UserError, match=r"QEMU could not run(.|\n)*unsupported machine type"):
        run_machine(board, boot, log=tmp_path / "log", deadline=20)


def test_a_machine_that_cannot_attach_the_test_s_own_disk_is_told_what_to_write(board: Board, tmp_path: Path) -> None:
    assert board.machine is not None
    machine = replace(board.machine, machine="raspi2b", cpu="", smp=4, drive="if=sd", disk=(), ram=1 << 30)
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    boot = Boot(kernel=image, initramfs=image, disk=image, plan=image)
    with pytest.raises(UserError, match=r"No 'virtio-bus' bus found(.|\n)*a disk of its own(.|\n)*plan = \[") as caught:
        run_machine(replace(board, machine=machine), boot, log=tmp_path / "log", deadline=20)
    (fault,) = caught.value.faults
    assert "-M help" not in str(fault)


def test_a_missing_qemu_is_named_with_its_package(
    board: Board, boot: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"qemu-system-\w+ is missing(.|\n)*apt-get install qemu-system-arm"):
        run_machine(board, boot, log=tmp_path / "log", deadline=20)


def test_the_machine_ends_when_we_are_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = """
import sys
from pathlib import Path
from kdumpbuild import run
run.watch(["sh", "-c", 'echo $$ > "$0"; exec sleep 1000', sys.argv[1]],
          what="test", log=Path(sys.argv[2]), deadline=1000, on_line=lambda at, text: None)
"""
    child = subprocess.Popen([sys.executable, "-c", script, pid_file, tmp_path / "log"])
    try:
        pid = _wait_for(lambda: int(pid_file.read_text() or 0) if pid_file.exists() else 0)
    finally:
        child.kill()
        child.wait()
    assert _wait_for(lambda: not _alive(pid))


def test_an_interrupt_ends_the_machine_too(tmp_path: Path) -> None:
    def interrupt(at: float, text: str) -> float | None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.watch(
            ["sh", "-c", 'echo $$ > "$0"; echo line; exec sleep 1000', tmp_path / "pid"],
            what="test", log=tmp_path / "log", deadline=1000, on_line=interrupt,
        )  # fmt: skip
    assert not _alive(int((tmp_path / "pid").read_text()))


def test_a_program_has_as_long_as_its_lines_say(tmp_path: Path) -> None:
    answers = {"first": 0.2, "second": 1000.0}
    script = "echo first; echo second; sleep 0.5; echo third"
    ended = run.watch(
        ["sh", "-c", script], what="test", log=tmp_path / "log", deadline=20,
        on_line=lambda at, text: answers.get(text),
    )  # fmt: skip
    assert (ended.in_time, ended.status) == (True, 0)
    ended = run.watch(
        ["sh", "-c", "echo first; exec sleep 1000"], what="test", log=tmp_path / "log", deadline=20,
        on_line=lambda at, text: answers.get(text),
    )  # fmt: skip
    assert not ended.in_time
    assert ended.seconds < 10


def _alive(pid: int) -> bool:
    try:
        stat = open(f"/proc/{pid}/stat").read()  # noqa: PTH123, SIM115
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _wait_for(question: object, patience: float = 10.0) -> int:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        answer = question()  # type: ignore[operator]
        if answer:
            return int(answer)
        time.sleep(0.05)
    return 0
