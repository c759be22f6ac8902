"""``kdumpbuild ci``: the job file of a CI system, for a list of boards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.ci import DEFAULT_IMAGE, DEFAULT_PACKAGE, SYSTEMS, Pipeline, render_pipeline
from kdumpbuild.errors import Exit, Fault, UserError
from kdumpbuild.files import write_text
from kdumpbuild.settings import refuse_unknown

if TYPE_CHECKING:
    import argparse

    from kdumpbuild.board.model import Board

HELP = "render the job file of a CI system: build, check and crash-test a list of boards"
_OURS = ("BOARD", "OUT", "CACHE", "IMAGE_SET")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--boards", required=True, metavar="A,B", help="names of boards, or paths in the repository")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="variables",
        help="a variable of each build, KERNEL_SRC=linux for example; may be given several times",
    )  # fmt: skip
    parser.add_argument("--image", default=DEFAULT_IMAGE, help=f"container, a Debian; default: {DEFAULT_IMAGE}")
    parser.add_argument("--package", default=DEFAULT_PACKAGE, help=f"what pip installs; default: {DEFAULT_PACKAGE}")
    parser.add_argument("--ccache", default="", metavar="URL", help="remote storage of ccache that all runners share")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to standard output")


def run(args: argparse.Namespace) -> Exit:
    """Run the command. Raises UserError with everything that is wrong with the boards and the variables."""
    variables = dict(pair.partition("=")[::2] for pair in args.variables)
    refuse_unknown(variables)
    faults = [
        Fault("is set by the jobs themselves", where=f"--set {name}=…", hint="leave it out")
        for name in _OURS
        if name in variables
    ]
    boards: list[tuple[str, Board]] = []
    known = find_boards()
    for choice in args.boards.replace(",", " ").split():
        try:
            boards.append((choice, load_board(find_board(choice, known, Path.cwd()))))
        except UserError as error:
            faults += error.faults
    names = [board.name for _, board in boards]
    faults += [
        Fault(f"two boards are called {name}", where="--boards", why="their jobs and results would be one",
              hint="a board's name is its file's: rename one")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]  # fmt: skip
    if not args.boards.replace(",", " ").split():
        faults.append(Fault("is empty", where="--boards", hint="kdumpbuild boards lists those that ship"))
    if faults:
        raise UserError(*faults)
    text = render_pipeline(
        args.system,
        Pipeline(boards, variables, image=args.image, package=args.package, ccache=args.ccache),
    )
    if args.output is None:
        sys.stdout.write(text)
    else:
        write_text(args.output, text)
    return Exit.CLEAN
