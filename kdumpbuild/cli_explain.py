"""The command ``kdumpbuild explain``: why a kernel option is on or off, and which node of a board's tree needs it."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import steps
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.build import source, toolchain
from kdumpbuild.build.layout import Layout
from kdumpbuild.errors import Exit, Fault, UserError, user_error
from kdumpbuild.kconfig.cache import open_kconfig
from kdumpbuild.kconfig.explain import explain
from kdumpbuild.kconfig.fragment import read_fragment
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.settings import read_settings, refuse_unknown

if TYPE_CHECKING:
    import argparse

    from kdumpbuild.settings import Settings

HELP = "why a kernel option is on or off, what would turn it on, and which node of the device tree needs it"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    command.add_argument("symbol", help="CONFIG_X, or X")
    command.add_argument("variables", nargs="*", metavar="BOARD=x", help="the board whose capture kernel is meant")
    command.add_argument("--board", help="the same as BOARD=: a shipped name, or the path of a board file")
    command.add_argument("--arch", choices=sorted(ARCHES), help="without a board: the architecture")
    command.add_argument("--config", type=Path, help="a .config, or the name of a defconfig; default: defconfig")
    command.add_argument("--kernel-src", type=Path, help="a kernel source tree or tarball; default: as for a build")
    command.add_argument("--cross-compile", help="prefix of the cross compiler; default: Debian's")


def run(args: argparse.Namespace) -> Exit:
    """Explain one symbol. Raises UserError when it is not known, or when the question is not clear."""
    settings = _settings(args)
    if args.board is None and not settings.boards:
        if args.arch is None:
            raise user_error("explain wants a board or an architecture", hint="add BOARD=x, or --arch arm")
        sys.stdout.write(_explain_config(args, settings))
        return Exit.CLEAN
    if args.config or args.arch:
        raise user_error(
            "--config and --arch have no meaning together with a board",
            why="the board file says both: what is explained is the config of its capture kernel",
            hint="leave them out, or leave out the board",
        )
    known = find_boards(settings.board_path)
    for choice in [args.board] if args.board else settings.boards:
        sys.stdout.write(_explain_board(args, settings, find_board(choice, known, settings.base)))
    return Exit.CLEAN


def _settings(args: argparse.Namespace) -> Settings:
    given = dict(text.partition("=")[::2] for text in args.variables)
    strange = [Fault(f"{text!r} is no variable", hint="write BOARD=x") for text in args.variables if "=" not in text]
    if strange:
        raise UserError(*strange)
    refuse_unknown(given)
    settings = read_settings(lambda name: given.get(name, os.environ.get(name)), Path.cwd())
    own = {"kernel_src": args.kernel_src, "cross_compile": args.cross_compile}
    return replace(settings, **{name: value for name, value in own.items() if value is not None})


def _explain_config(args: argparse.Namespace, settings: Settings) -> str:
    tree = source.prepare(source.locate(settings.kernel_src, settings.cache), settings.cache / "log" / "source.log")
    kconfig = open_kconfig(tree, toolchain.find(ARCHES[args.arch], settings), settings.cache / "kconfig")
    # A defconfig's name has no slash; a file in this folder gets one.
    config = args.config or "defconfig"
    resolve(kconfig, str(config.absolute()) if isinstance(config, Path) and config.is_file() else str(config), [])
    return explain(kconfig, args.symbol)


def _explain_board(args: argparse.Namespace, settings: Settings, path: Path) -> str:
    """Return the page for a board's capture config, and which node of its device tree needs the symbol."""
    board = load_board(path)
    with tempfile.TemporaryDirectory(prefix="kdumpbuild-explain-") as folder:
        layout = Layout(Path(folder), settings.cache, board)
        tree = source.prepare(source.locate(settings.kernel_src, settings.cache), layout.log("source"))
        kconfig = open_kconfig(tree, toolchain.find(board.arch, settings), settings.cache / "kconfig")
        capture = {"capture": [read_fragment(file) for file in steps.fragments(board)["capture"]]}
        derived = steps.add_derived(settings, layout, kconfig, capture)
        resolve(kconfig, "allnoconfig", capture["capture"], board.waivers)
        page = explain(kconfig, args.symbol)
        return page + (derived.explain(kconfig, args.symbol, capture["capture"][-1]) if derived else "")
