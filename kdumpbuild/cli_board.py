"""``kdumpbuild boards`` and ``kdumpbuild board``: the boards there are, and a new one.

Exit codes: 0 done, 1 done but questions are left (or a listed file has faults), 3 the input is not usable.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import resources, steps
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.loader import UNANSWERED, find_board, find_boards, load_board
from kdumpbuild.board.size import format_size
from kdumpbuild.checks.facts import parse_version
from kdumpbuild.crashtest import standin
from kdumpbuild.errors import Exit, Fault, UserError, user_error
from kdumpbuild.formats.fdt import read_fdt
from kdumpbuild.newboard import kernel
from kdumpbuild.newboard.draft import Answers, draft
from kdumpbuild.newboard.hardware import Hardware
from kdumpbuild.newboard.probe import read_probe
from kdumpbuild.newboard.write import check_name, relative, write_board
from kdumpbuild.settings import read_settings

if TYPE_CHECKING:
    import argparse

    from kdumpbuild.board.model import Board
    from kdumpbuild.newboard.draft import Draft

HELP_BOARDS = "list the boards that ship with kdumpbuild and those in BOARD_PATH"
HELP_BOARD = "a board of your own: write a first board file; print what its production kernel needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands below ``kdumpbuild board``."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = commands.add_parser("new", help="write NAME.toml from a device tree, or from what a running board tells")
    new.add_argument("name", metavar="NAME")
    new.add_argument(
        "--dtb", metavar="FILE", help="the product's device tree (/sys/firmware/fdt), or a name in the kernel's build"
    )
    new.add_argument("--probe", type=Path, metavar="FILE", help="what kdump-probe wrote on the board")
    new.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where to write; default: here")
    answers = new.add_argument_group("answers to what neither of them tells")
    answers.add_argument("--arch", choices=sorted(ARCHES), default="", help="of the kernel, where the core runs both")
    answers.add_argument("--ram", default="", metavar="SIZE@BASE,…", help="banks of RAM: 512M@0x80000000")
    answers.add_argument("--console", default="", metavar="TTY", help="as on the kernel command line: ttyS0,115200")
    answers.add_argument("--storage", default="", metavar="NODE", help="path or alias of the dump target's controller")
    answers.add_argument("--dump", default="", metavar="DEVICE", help="/dev/mmcblk0p4, LABEL=, UUID=, PARTLABEL=")
    answers.add_argument("--filesystem", default="", choices=("ext4", "f2fs", "vfat"), help="on the dump target")
    new.set_defaults(run=run_new)
    config = commands.add_parser("config", help="print what the production kernel's config needs, for a build system")
    config.add_argument("board", metavar="BOARD", help="name of a board, or path of a board file")
    config.add_argument("--kernel", required=True, metavar="VERSION", help="the production kernel's version: 6.12")
    config.set_defaults(run=run_config)
    script = commands.add_parser("probe-script", help="print the script that collects what --probe reads")
    script.set_defaults(run=run_script)


def run_config(args: argparse.Namespace) -> Exit:
    """Print the lines of a board's production fragments that are meant for a kernel; of two for a symbol the last."""
    try:
        version = parse_version(args.kernel)
    except ValueError as error:
        raise user_error(
            "is no kernel version", where=f"--kernel {args.kernel}", hint="--kernel 6.12, for example"
        ) from error
    board = load_board(find_board(args.board, find_boards(_board_path()), Path.cwd()))
    lines: dict[str, str] = {}
    for fragment in steps.wanted_fragments(board)["production"]:
        for line in fragment.active(version, board.arch.name):
            lines.pop(line.symbol, None)
            lines[line.symbol] = line.text
    print("\n".join(lines.values()))
    return Exit.CLEAN


def run_script(args: argparse.Namespace) -> Exit:
    """Print kdump-probe."""
    del args
    sys.stdout.write((resources.TEMPLATES / "target" / "kdump-probe").read_text(encoding="utf-8"))
    return Exit.CLEAN


def run_new(args: argparse.Namespace) -> Exit:
    """Write a new board and tell what is left to answer."""
    check_name(args.name, find_boards(_board_path()))
    settings = read_settings(os.environ.get, Path.cwd())
    if args.dtb is None and args.probe is None:
        raise user_error(
            "nothing to make a board from",
            hint="give --dtb product.dtb, or --probe kdump-probe.tar; see docs/tutorial.md",
        )
    probe = read_probe(args.probe) if args.probe is not None else None
    if args.dtb is None and probe is not None and not probe.tree:
        raise user_error(
            "there is no device tree in it", where=str(args.probe), why="sys/firmware/fdt is missing",
            hint="give one with --dtb as well; the board's own is /sys/firmware/fdt, which only root can read",
        )  # fmt: skip
    named = args.dtb or ""
    if named and kernel.is_name(named):
        tree = kernel.tree_named(named, settings)
    elif named:
        tree = read_fdt(Path(named))
        named = relative(Path(named), args.folder)
    else:
        tree = read_fdt(probe.tree if probe else b"", where=str(args.probe))
    answers = Answers(
        arch=args.arch, ram=tuple(part for part in args.ram.split(",") if part), console=args.console,
        storage=args.storage, device=args.dump, filesystem=args.filesystem,
    )  # fmt: skip
    made = draft(args.name, Hardware(tree), probe, answers)
    source = kernel.unpacked(settings) if not kernel.is_name(args.dtb or "") else None
    if source is not None:
        made.notes += kernel.differences(tree, source, made.arch, probe.release if probe else "")
    written = write_board(
        made, args.folder, dtb=named, tree=probe.tree if probe else b"", config=probe.config if probe else ""
    )
    try:
        load_board(written[0])
    except UserError as error:
        faults = [fault for fault in error.faults if "not answered yet" not in fault.what]
        if faults:  # an answer that the file's own reader refuses
            for path in written:
                path.unlink()
            raise UserError(*faults) from error
    _tell(made, written)
    return Exit.WARNINGS if made.questions else Exit.CLEAN


def _tell(made: Draft, written: list[Path]) -> None:
    board = written[0]
    print(f"{made.description}: {made.arch}, {made.soc or 'SoC not known'}")
    for path in written:
        print(f"  written: {path}")
    for label, value in (
        ("RAM", made.ram), ("console", made.console), ("storage", made.storage), ("dump", made.device),
        ("watchdog", made.watchdog),
    ):  # fmt: skip
        if value is not None and not value.question:
            text = value.value if isinstance(value.value, str) else ", ".join(value.value)
            print(f"  {label}: {text}{f' ({value.note})' if value.note else ''}")
    for note in made.notes:
        print(f"  note: {note}")
    if made.questions:
        what = "one question is" if len(made.questions) == 1 else f"{len(made.questions)} questions are"
        print(f'\n{what} left; the answers take the place of "{UNANSWERED}" in the file:')
        for value in made.questions:
            print(f"  {value.number}. {value.question}")
            for line in value.candidates:
                print(f"       {line}")
    shown = board if board.is_absolute() else f"./{board}"
    print(f"\nnext: doit build BOARD={shown}")


def run_boards(args: argparse.Namespace) -> Exit:
    """List all boards. A file with faults is listed as such, and what is wrong is told behind the list."""
    found: list[dict[str, object]] = []
    rows: list[tuple[str, ...]] = [("board", "arch", "SoC", "crashkernel", "tested", "")]
    faults: list[Fault] = []
    for name, path in sorted(find_boards(_board_path()).items()):
        try:
            board = load_board(path)
        except UserError as error:
            questions = sum("not answered yet" in fault.what for fault in error.faults)
            left = f"not finished, {questions} questions left" if questions else "cannot be read"
            rows.append((name, "", "", "", left, ""))
            faults += error.faults
            continue
        asked = board.memory.crashkernel
        reserved = "computed" if asked is None else format_size(asked)
        rows.append((name, board.arch.name, board.soc or "-", reserved, _tested(board), board.description))
        found.append({
            "name": name, "arch": board.arch.name, "soc": board.soc, "crashkernel": asked, "tested": _tested(board),
            "crashtest": board.machine is not None, "description": board.description, "file": str(path),
        })  # fmt: skip
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for row in rows:
            cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
            print("  ".join([*cells, row[5]]).rstrip())
    if faults:
        print(file=sys.stderr)
        for fault in faults:
            print(f"error: {fault}", file=sys.stderr)
    return Exit.WARNINGS if faults else Exit.CLEAN


def _tested(board: Board) -> str:
    if board.machine is not None:
        return f"crash test in QEMU {board.machine.machine.split(',')[0]}"
    return "built and checked" if standin.why_not(board) else "crash test on virt in its place"


def _board_path() -> list[Path]:
    return [Path(p) for p in os.environ.get("BOARD_PATH", "").split(":") if p]
