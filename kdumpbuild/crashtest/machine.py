"""The test machine: QEMU with the board's own arguments, one disk, one serial console, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.board.size import format_size
from kdumpbuild.crashtest.console import Console
from kdumpbuild.errors import user_error
from kdumpbuild.files import writing

if TYPE_CHECKING:
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
    """Raw image of the dump target."""
    dtb: Path | None = None
    """Device tree, for machines that make none themselves."""
    crashkernel: int | None = None
    """Bytes to reserve; the board's own by default."""
    cmdline: str = ""
    """Further arguments of the production kernel."""
    args: tuple[str, ...] = ()
    """Further arguments for QEMU."""
    arguments: str = ""
    """The kernel arguments that the image set gives to boot loaders."""
    overlay: Path | None = None
    """Source of a device tree overlay that the image set gives to boot loaders."""


def machine_of(board: Board) -> Machine:
    """Return the board's QEMU machine. Raises UserError when it has none."""
    if board.machine is None:
        raise user_error(
            f"the board {board.name} has no [machine]: it cannot be crash-tested in QEMU", where=str(board.path),
            hint='describe the QEMU machine that comes nearest: [machine] machine = "virt", cpu, disk',
        )  # fmt: skip
    return board.machine


def command_line(board: Board, boot: Boot) -> str:
    """Return the production kernel's arguments. Raises UserError when they are longer than the kernel takes."""
    size = board.memory.crashkernel if boot.crashkernel is None else boot.crashkernel
    words = (
        f"console={board.capture.console}",
        f"crashkernel={format_size(size)}" if size else "",
        *(word for word in boot.arguments.split() if not word.startswith("crashkernel=")),
        machine_of(board).cmdline,
        boot.cmdline,
    )
    text = " ".join(word for word in words if word)
    if len(text) >= board.arch.command_line_size:
        raise user_error(
            f"the kernel's command line has {len(text)} characters", where=str(board.path),
            why=f"{board.arch.name} takes {board.arch.command_line_size - 1}", hint="shorten [machine] cmdline",
        )  # fmt: skip
    return text


def qemu_command(board: Board, boot: Boot) -> list[str]:
    """Return QEMU's program and arguments (7.2 and later)."""
    machine = machine_of(board)
    drive = f"if=none,id=dump,format=raw,werror=report,rerror=report,file={_option(str(boot.disk))}"
    return [
        board.arch.qemu,
        "-no-user-config",
        "-name", _option(f"kdumpbuild-{board.name}"),
        "-M", machine.machine, "-cpu", machine.cpu, "-smp", str(machine.smp), "-m", f"{board.memory.total >> 20}M",
        "-nic", "none", "-display", "none", "-monitor", "none", "-parallel", "none",
        "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
        "-kernel", str(boot.kernel), "-initrd", str(boot.initramfs), "-append", command_line(board, boot),
        *(["-dtb", str(boot.dtb)] if boot.dtb else []),
        # A disk that is full on the host is an error for the guest; by default QEMU would stop and wait.
        "-drive", drive, *machine.disk,
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


def run_machine(board: Board, boot: Boot, *, log: Path, deadline: float) -> Run:
    """Run the machine until it powers off, has no more to say, or ``deadline`` seconds are over.

    Raises UserError when QEMU is missing, or refuses its arguments before any kernel runs.
    """
    command = qemu_command(board, boot)
    console = Console()
    with writing(log):
        ended = run.watch(command, what="run the crash test", log=log, deadline=deadline, on_line=console)
    if ended.in_time and ended.status > 0 and not console.boots:
        said = log.read_text(encoding="utf-8", errors="replace")
        raise user_error(
            f"QEMU could not run the board {board.name}: exit code {ended.status}", where=str(board.path),
            why=run.tail(said), hint=f"look at [machine] in the board file, and at `{command[0]} -M help`",
        )  # fmt: skip
    return Run(console, tuple(command), ended.seconds, ended.status, ended.in_time)


def _option(text: str) -> str:
    """Return a value as QEMU's option lists want it: a comma is doubled."""
    return text.replace(",", ",,")
