"""The test machine: QEMU with the board's own arguments, one disk, one serial console, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.crashtest.console import Console
from kdumpbuild.errors import user_error
from kdumpbuild.files import writing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kdumpbuild.board.model import Board, Machine


@dataclass(frozen=True)
class Boot:
    """What the machine is started with."""

    kernel: Path
    """The production kernel."""
    initramfs: Path
    """The production system."""
    disk: Path
    """Raw image of the dump target, where that is not a server."""
    dtb: Path | None = None
    """Device tree, for machines that make none themselves."""
    crashkernel: str = ""
    """Value of ``crashkernel=``; empty for none."""
    cmdline: str = ""
    """Further arguments of the production kernel."""
    args: tuple[str, ...] = ()
    """Further arguments for QEMU."""
    arguments: str = ""
    """The kernel arguments that the image set gives to boot loaders; empty for an older set, which gives none."""
    overlay: Path | None = None
    """Source of a device tree overlay that the image set gives to boot loaders."""
    plan: Path | None = None
    """Raw image of the test's own disk, beside a dump target that the host cannot fill or read."""
    qemu: Path | None = None
    """The folder of QEMU's programs; default: ``PATH``."""


def machine_of(board: Board) -> Machine:
    """Return the board's QEMU machine. Raises UserError when it has none."""
    if board.machine is None:
        raise user_error(
            f"the board {board.name} has no [machine]: it cannot be crash-tested in QEMU", where=str(board.path),
            hint='describe the QEMU machine that comes nearest: [machine] machine = "virt", cpu, disk',
        )  # fmt: skip
    return board.machine


def ram_of(board: Board) -> int:
    """Return the bytes of RAM that the machine has."""
    return machine_of(board).ram or board.memory.total


def qemu_program(board: Board, folder: Path | None) -> str:
    """Return QEMU's program for the board, in ``folder`` or on ``PATH``."""
    return str(folder / board.arch.qemu) if folder else board.arch.qemu


def qemu_version(board: Board, folder: Path | None) -> tuple[int, ...]:
    """Return the version of the QEMU that there is. Raises UserError when there is none."""
    program = qemu_program(board, folder)
    said = run.run([program, "--version"], what="ask QEMU for its version")
    match = re.search(r"version (\d+)\.(\d+)\.(\d+)", said)
    if match is None:
        raise user_error(f"{program} does not say which version it is", why=run.tail(said), hint="is it QEMU?")
    return tuple(int(number) for number in match.groups())


def too_old(board: Board, folder: Path | None) -> str:
    """Return in one sentence that the board's machine needs a newer QEMU than there is; empty when it does not."""
    machine = machine_of(board)
    version = qemu_version(board, folder)
    if version >= machine.qemu:
        return ""
    return f"{board.name} needs QEMU {dotted(machine.qemu)} or newer, and this is {dotted(version)}"


def has_watchdog(board: Board, folder: Path | None) -> bool:
    """Whether the board's product has a watchdog running, and this QEMU resets the machine when nobody feeds it."""
    machine = machine_of(board)
    modelled = bool(machine.watchdog) and qemu_version(board, folder) >= machine.watchdog
    return board.watchdog is not None and modelled


def command_line(board: Board, boot: Boot) -> str:
    """Return the production kernel's arguments. Raises UserError when they are longer than the kernel takes."""
    # A product that wants dumps panics on an oops, and reboots where there is no capture kernel.
    arguments = boot.arguments or f"oops=panic panic=5 {board.production.cmdline}"
    words = (
        f"console={board.capture.console}",
        f"crashkernel={boot.crashkernel}" if boot.crashkernel else "",
        *(word for word in arguments.split() if not word.startswith("crashkernel=")),
        machine_of(board).cmdline,
        boot.cmdline,
    )
    text = " ".join(word for word in words if word)
    if len(text) >= board.arch.command_line_size:
        raise user_error(
            f"the kernel's command line has {len(text)} characters", where=board.where("machine", "cmdline"),
            why=f"{board.arch.name} takes {board.arch.command_line_size - 1}", hint="shorten [machine] cmdline",
        )  # fmt: skip
    return text


def qemu_command(board: Board, boot: Boot) -> list[str]:
    """Return QEMU's program and arguments (7.2 and later)."""
    machine = machine_of(board)
    place = machine.drive or "if=none"
    # A disk that is full on the host is an error for the guest; by default QEMU would stop and wait. SD cards and
    # flash do not stop, and QEMU refuses these options for them.
    policy = "" if machine.drive else ",werror=report,rerror=report"
    drive = f"{place},id=dump,format=raw{policy},file={_option(str(boot.disk))}"
    plan = ["-drive", f"if=none,id=plan,format=raw,file={_option(str(boot.plan))}", *machine.plan] if boot.plan else []
    return [
        qemu_program(board, boot.qemu),
        "-no-user-config",
        "-name", _option(f"kdumpbuild-{board.name}"),
        "-M", machine.machine, *(["-cpu", machine.cpu] if machine.cpu else []), "-smp", str(machine.smp),
        "-m", f"{ram_of(board) >> 20}M",
        "-nic", "none", "-display", "none", "-monitor", "none", "-parallel", "none",
        "-chardev", "stdio,id=console,signal=off", *["-serial", "null"] * machine.serial, "-serial", "chardev:console",
        "-kernel", str(boot.kernel), "-initrd", str(boot.initramfs), "-append", command_line(board, boot),
        *(["-dtb", str(boot.dtb)] if boot.dtb else []),
        # The plan comes first: Linux finds virtio disks of the virt machines from the last to the first.
        *plan,
        *([] if machine.network else ["-drive", drive, *machine.disk]),
        *machine.args,
        *boot.args,
    ]  # fmt: skip


def with_overlay(board: Board, boot: Boot, folder: Path) -> Boot:
    """Return the boot with a device tree of its own, the overlay on it, as a boot loader would: made in ``folder``."""
    if boot.overlay is None:
        return boot
    base, compiled, merged = (folder / name for name in ("base.dtb", "overlay.dtbo", "machine.dtb"))
    if boot.dtb is None:
        dump = [*qemu_command(board, boot), "-machine", f"dumpdtb={_option(str(base))}"]
        with writing(base):
            run.run(dump, what="ask QEMU for the machine's device tree")
    run.which("dtc", needed_for="to put ramoops into the device tree")
    run.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", compiled, boot.overlay], what="compile the overlay")
    run.run(["fdtoverlay", "-i", boot.dtb or base, "-o", merged, compiled], what="apply the overlay")
    return replace(boot, dtb=merged)


@dataclass(frozen=True)
class Run:
    """What a run of the machine left in memory."""

    console: Console
    command: tuple[str, ...]
    seconds: float
    status: int
    in_time: bool


def run_machine(
    board: Board, boot: Boot, *, log: Path, deadline: float, watch: Callable[[Console], float | None] | None = None
) -> Run:
    """Run the machine until it powers off, has no more to say, or ``deadline`` seconds are over.

    ``watch`` gets the console after each line, and may return the seconds that are left, once.

    Raises UserError when QEMU is missing, or refuses its arguments before any kernel runs.
    """
    command = qemu_command(board, boot)
    console = Console()
    told: list[float] = []

    def on_line(at: float, text: str) -> float | None:
        left = console(at, text)
        if watch is None or told:
            return None if told else left
        asked = watch(console)
        told.extend([] if asked is None else [asked])
        return left if asked is None else asked

    with writing(log):
        ended = run.watch(command, what="run the crash test", log=log, deadline=deadline, on_line=on_line)
    if ended.in_time and ended.status > 0 and not console.boots:
        said = log.read_text(encoding="utf-8", errors="replace")
        hint = f"look at [machine] in the board file, and at `{command[0]} -M help`"
        plan = " ".join(machine_of(board).plan)
        if boot.plan is not None and plan and f"{plan}: " in said:
            hint = (
                "the test needs a disk of its own beside this dump target: attach the drive plan in a way that the\n"
                'machine has, with a driver in the production kernel: plan = ["-device", "usb-storage,drive=plan"]'
            )
        raise user_error(
            f"QEMU could not run the board {board.name}: exit code {ended.status}", where=board.where("machine"),
            why=run.tail(said), hint=hint,
        )  # fmt: skip
    return Run(console, tuple(command), ended.seconds, ended.status, ended.in_time)


def dotted(version: tuple[int, ...]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def _option(text: str) -> str:
    """Return a value as QEMU's option lists want it: a comma is doubled."""
    return text.replace(",", ",,")
