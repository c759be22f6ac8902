"""The command ``kdumpbuild``: what is not a build. Exit codes are those of :class:`kdumpbuild.errors.Exit`.

0 clean, 1 warnings, 2 errors, 3 the input is not usable. ``kdumpbuild doit`` has the exit codes of doit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kdumpbuild import __version__, cli_board, cli_check, cli_ci, cli_explain, files
from kdumpbuild.analysis import open_dump
from kdumpbuild.analysis.report import crash_lines
from kdumpbuild.analysis.ring import unpack_ring
from kdumpbuild.errors import Exit, UserError, user_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdumpbuild.analysis.dump import Dump


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what was wrong and leave with our exit code for unusable input."""
        self.print_usage(sys.stderr)
        self.exit(Exit.UNUSABLE, f"error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["doit"]:
        return _doit(arguments[1:])
    if argv is None:
        # Ends as other programs do when nobody reads on (`kdumpbuild check … | head`), not with the code for warnings.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    args = _parser().parse_args(arguments)
    try:
        return int(args.run(args))
    except UserError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)  # what this module is for
        return Exit.UNUSABLE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="kdumpbuild", description="Build, check and prove kdump for ARM boards.")
    parser.add_argument("--version", action="version", version=f"kdumpbuild {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    boards = commands.add_parser("boards", help=cli_board.HELP_BOARDS)
    boards.add_argument("--json", action="store_true", help="for programs: a list of objects")
    boards.set_defaults(run=cli_board.run_boards)

    cli_board.add_arguments(commands.add_parser("board", help=cli_board.HELP_BOARD))

    check = commands.add_parser("check", help=cli_check.HELP)
    cli_check.add_arguments(check)
    check.set_defaults(run=cli_check.run)

    jobs = commands.add_parser("ci", help=cli_ci.HELP)
    cli_ci.add_arguments(jobs)
    jobs.set_defaults(run=cli_ci.run)

    why = commands.add_parser("explain", help=cli_explain.HELP)
    cli_explain.add_arguments(why)
    why.set_defaults(run=cli_explain.run)

    for name, function, about in (
        ("report", _report, "say what a dump holds: the cause, the crashed task, its stack"),
        ("open", _open, "open a dump in drgn, to look around in it"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("vmcore", type=Path)
        command.add_argument("vmlinux", type=Path, help="of the kernel that crashed, with debug information")
        command.set_defaults(run=function)
        if function is _report:
            command.add_argument("--dmesg", action="store_true", help="print the kernel log as well")
            command.add_argument("--json", action="store_true", help="for programs: one object")
        else:
            elf = "write the dump as an ELF file, for drgn itself and other readers"
            command.add_argument("--elf", type=Path, metavar="FILE", help=elf)

    ring = commands.add_parser("extract", help="make folders of the dumps in an image of a raw partition or of flash")
    ring.add_argument("image", type=Path, help="of the partition that is [dump] device, from its first byte")
    ring.add_argument("folder", type=Path, help="where each dump gets a folder, named after its sequence")
    ring.set_defaults(run=_extract)

    commands.add_parser("doit", help="run a task of the build: kdumpbuild doit build BOARD=arm-virt", add_help=False)
    return parser


def _report(args: argparse.Namespace) -> Exit:
    dump = open_dump(args.vmcore, args.vmlinux)
    if args.json:
        print(json.dumps(asdict(dump.crash()) | ({"dmesg": dump.dmesg} if args.dmesg else {}), indent=1))
        return Exit.CLEAN
    print("\n".join(crash_lines(dump.crash())))
    if args.dmesg:
        print(f"\n{dump.dmesg}")
    return Exit.CLEAN


def _extract(args: argparse.Namespace) -> Exit:
    try:
        slots = unpack_ring(args.image, args.folder)
    except OSError as error:
        raise user_error(f"cannot be read: {error.strerror}", where=str(error.filename or args.image)) from error
    damaged = False
    for slot in slots:
        folder = args.folder / f"{slot.sequence:04}"
        damaged |= folder.is_dir() and "=damaged" in (folder / "status").read_text(encoding="utf-8")
        told = {"torn": "cut off before its log was durable", "log": "the log alone", "memory": "log and memory"}
        print(f"slot {slot.number}  {slot.sequence:04}  {told[slot.state]}  {slot.status['reason']}".rstrip())
    if damaged:
        print("what is damaged was left out; the status files say what", file=sys.stderr)
    return Exit.ERRORS if damaged else Exit.CLEAN


def _open(args: argparse.Namespace) -> Exit:
    dump = open_dump(args.vmcore, args.vmlinux)  # tells what is wrong better than drgn's command would
    return _run_drgn(dump, args) if args.elf is None else _save_elf(dump, args)


def _save_elf(dump: Dump, args: argparse.Namespace) -> Exit:
    if dump.converted is None:
        print(f"drgn opens {args.vmcore} as it is; nothing was written")
    else:
        files.copy_new(dump.converted, args.elf)
        print(f"written: {args.elf}")
    return Exit.CLEAN


def _run_drgn(dump: Dump, args: argparse.Namespace) -> NoReturn:
    vmcore = str(args.vmcore)
    if dump.converted is not None:
        # A file without a name: drgn's command inherits it.
        os.set_inheritable(dump.converted.fileno(), True)
        vmcore = f"/proc/self/fd/{dump.converted.fileno()}"
    os.execv(sys.executable, [sys.executable, "-m", "drgn", "-c", vmcore, "-s", str(args.vmlinux)])  # noqa: S606


def _doit(arguments: list[str]) -> int:
    from doit.cmd_base import ModuleTaskLoader  # noqa: PLC0415  # takes time, and is needed here only
    from doit.doit_cmd import DoitMain  # noqa: PLC0415

    from kdumpbuild import tasks  # noqa: PLC0415

    class Loader(ModuleTaskLoader):  # type: ignore[misc]  # doit has no types
        """Takes the configuration late: it depends on the variables of the command line."""

        def load_doit_config(self) -> dict[str, object]:
            return tasks.doit_config()

    try:
        return int(DoitMain(Loader(tasks)).run(arguments) or 0)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
