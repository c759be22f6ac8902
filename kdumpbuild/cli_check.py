"""``kdumpbuild check``: the preflight of any product, whoever built it.

Exit codes: 0 clean, 1 warnings, 2 errors, 3 the input is not usable (:class:`kdumpbuild.errors.Exit`).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.checks.engine import all_rules, check_facts, exit_code, find_rule
from kdumpbuild.checks.gather import Given, describe, gather
from kdumpbuild.checks.output import print_report, print_rule, to_json
from kdumpbuild.checks.sarif import to_sarif
from kdumpbuild.errors import Exit, user_error
from kdumpbuild.files import write_text

if TYPE_CHECKING:
    import argparse

    from kdumpbuild.board.model import Board
    from kdumpbuild.checks.model import Report

_WIDTH = 160

HELP = "check a product's configs, images, device tree and command lines for what is known to break kdump"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    given = parser.add_argument_group("what to judge by; all optional, what is missing is said")
    given.add_argument("--config", type=Path, metavar="FILE", help="the production kernel's .config")
    given.add_argument("--capture-config", type=Path, metavar="FILE", help="the capture kernel's .config")
    given.add_argument("--kernel-version", metavar="X.Y", help="the production kernel's version; default: the config's")
    given.add_argument("--arch", choices=sorted(ARCHES), help="default: what the files say")
    given.add_argument("--dtb", type=Path, metavar="FILE", help="the device tree; best /sys/firmware/fdt of the board")
    given.add_argument("--cmdline", metavar="TEXT", help="the production kernel's command line, or @FILE")
    given.add_argument("--capture-cmdline", metavar="TEXT", help="what is given to kexec --command-line, or @FILE")
    given.add_argument("--zimage", type=Path, metavar="FILE", help="the capture kernel (arm)")
    given.add_argument("--image", type=Path, metavar="FILE", help="the capture kernel (arm64)")
    given.add_argument("--image-size", metavar="BYTES", help="what is given to kexec --image-size (arm)")
    given.add_argument("--vmlinux", type=Path, metavar="FILE", help="the production kernel with debug information")
    given.add_argument("--initramfs", type=Path, metavar="FILE", help="the crash initramfs")
    given.add_argument("--ram", metavar="SIZE@BASE,…", help="banks of RAM: 512M@0x40000000; default: the device tree's")
    given.add_argument("--kexec-tools", metavar="X.Y.Z", help="version on the target; default: --rootfs's packages")
    given.add_argument("--makedumpfile", metavar="X.Y.Z", help="version that saves the dump; default: --initramfs's")
    given.add_argument("--rootfs", type=Path, metavar="DIR", help="the product's root file system, unpacked")
    given.add_argument("--board", metavar="NAME", help="a board file, or the name of a shipped board")
    load = given.add_mutually_exclusive_group()
    load.add_argument("--file-load", action="store_true", default=None, help="it is loaded with kexec -s")
    load.add_argument("--no-file-load", dest="file_load", action="store_false", help="it is loaded with kexec_load")
    output = parser.add_argument_group("output")
    output.add_argument("--format", choices=("page", "json", "sarif"), default="page", help="default: page")
    output.add_argument("--output", type=Path, metavar="FILE", help="write there instead of to standard output")
    output.add_argument("--verbose", action="store_true", help="say what to do, and name what was not judged")
    output.add_argument("--explain", metavar="KD0nn", help="tell a rule's story, and do nothing else")
    output.add_argument("--list", action="store_true", help="list the rules, and do nothing else")


def run(args: argparse.Namespace) -> Exit:
    """Run the command. Raises UserError for input that is not usable."""
    console = Console(highlight=False)
    if args.explain:
        print_rule(find_rule(args.explain), console)
        return Exit.CLEAN
    if args.list:
        for rule in all_rules():
            console.print(f"{rule.id}  {rule.severity.value:7}  {rule.title}", markup=False)
        return Exit.CLEAN
    given = _given(args)
    facts = gather(given)
    if not facts.given:
        raise user_error("nothing to check", hint="give a config, a command line, an image …; kdumpbuild check --help")
    report = check_facts(facts)
    _write(report, args.format, args.output, title=describe(facts), verbose=args.verbose)
    return exit_code(report)


def _given(args: argparse.Namespace) -> Given:
    return Given(
        arch=args.arch,
        config=args.config,
        capture_config=args.capture_config,
        kernel_version=args.kernel_version,
        dtb=args.dtb,
        cmdline=args.cmdline,
        capture_cmdline=args.capture_cmdline,
        zimage=args.zimage,
        image=args.image,
        vmlinux=args.vmlinux,
        initramfs=args.initramfs,
        ram=args.ram,
        kexec_tools=args.kexec_tools,
        makedumpfile=args.makedumpfile,
        rootfs=args.rootfs,
        board=_board(args.board) if args.board else None,
        image_size=args.image_size,
        file_load=args.file_load,
    )


def _board(choice: str) -> Board:
    return load_board(find_board(choice, find_boards(), Path.cwd()))


def _write(report: Report, form: str, path: Path | None, *, title: str, verbose: bool) -> None:
    if form == "page":
        if path is None:
            terminal = Console(highlight=False)
            if not terminal.is_terminal:  # a log of CI, not a window of 80 columns
                terminal = Console(highlight=False, width=_WIDTH)
            print_report(report, terminal, title=title, verbose=verbose)
            return
        console = Console(highlight=False, record=True, width=_WIDTH, file=io.StringIO())
        print_report(report, console, title=title, verbose=verbose)
        text = console.export_text()
    else:
        text = to_json(report) if form == "json" else to_sarif(report, Path.cwd())
    if path is None:
        sys.stdout.write(text)
    else:
        write_text(path, text)
