"""``kdumpbuild ci``: the job file of a CI system, for a list of boards."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.ci import DEFAULT_IMAGE, DEFAULT_PACKAGE, SYSTEMS, Pipeline, render_pipeline
from kdumpbuild.crashtest.triggers import find_triggers
from kdumpbuild.errors import Exit, Fault, UserError
from kdumpbuild.files import write_text
from kdumpbuild.settings import refuse_unknown, value_faults

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

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
    faults: list[Fault] = []
    variables = _variables(args.variables, faults)
    boards = _boards(_split(args.boards), faults)
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


def _variables(pairs: Sequence[str], faults: list[Fault]) -> dict[str, str]:
    """Return the builds' variables; what is wrong goes to ``faults``. Paths are the runner's: none is looked for."""
    faults += [
        Fault("has no value", where=f"--set {pair}", hint=f"write --set {pair}=VALUE")
        for pair in pairs
        if "=" not in pair
    ]
    variables = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    faults += [
        Fault("is set by the jobs themselves", where=f"--set {name}=…", hint="leave it out")
        for name in _OURS
        if name in variables
    ]
    with _collected(faults):
        refuse_unknown(pair.partition("=")[0] for pair in pairs)
    given = {name: value for name, value in variables.items() if name not in _OURS}
    faults += value_faults(given.get)
    with _collected(faults):
        find_triggers(_split(given.get("TRIGGER", "")))
    return variables


def _boards(choices: Sequence[str], faults: list[Fault]) -> list[tuple[str, Board]]:
    """Return what ``BOARD=`` is given for each choice, and its board; what is wrong with them goes to ``faults``."""
    if not choices:
        faults.append(Fault("is empty", where="--boards", hint="kdumpbuild boards lists those that ship"))
    known, here = find_boards(), Path.cwd()
    root = _root(here)
    boards: list[tuple[str, Board]] = []
    for choice in choices:
        with _collected(faults):
            file = find_board(choice, known, here)
            place = choice if choice in known else _place(choice, file, root, faults)
            boards.append((place, load_board(file)))
    names = [board.name for _, board in boards]
    faults += [
        Fault(f"two boards are called {name}", where="--boards", why="their jobs and results would be one",
              hint="a board's name is its file's: rename one")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]  # fmt: skip
    return boards


def _root(here: Path) -> Path:
    """Return the root of the repository around ``here``, where the jobs run; where there is none, ``here``.

    Git itself is not asked: it may be missing, or refuse a repository of another user.
    """
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def _place(choice: str, file: Path, root: Path, faults: list[Fault]) -> str:
    """Return the path of a board file from the repository's root; when a runner cannot use it, ``faults`` says why."""
    # The file's own name stays, link or not: it is the board's name.
    place = os.path.relpath(file.parent.resolve() / file.name, root)
    if place.startswith("../") or not file.resolve().is_relative_to(root):
        faults.append(
            Fault("lies outside of the repository", where=f"--boards {choice}",
                  why=f"a runner has nothing but what is in {root}",
                  hint="copy the board file, and what it names, into the repository; a shipped board has a name")
        )  # fmt: skip
    elif _split(place) != [place]:
        faults.append(
            Fault("has a blank or a comma in its path", where=f"--boards {choice}",
                  why=f"BOARD={place} would name several boards", hint="rename the folder")
        )  # fmt: skip
    return place


def _split(names: str) -> list[str]:
    return names.replace(",", " ").split()


@contextlib.contextmanager
def _collected(faults: list[Fault]) -> Iterator[None]:
    """Add the faults of a UserError to ``faults`` instead of ending at it."""
    try:
        yield
    except UserError as error:
        faults += error.faults
