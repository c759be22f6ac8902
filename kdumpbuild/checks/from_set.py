"""The facts of an image set, read from its files."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdumpbuild.board.memory import CrashKernel
from kdumpbuild.checks.gather import Given, gather
from kdumpbuild.errors import user_error
from kdumpbuild.formats.reading import MIB, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.checks.facts import Facts

_TEXT = 4 * MIB


def facts_from_set(
    folder: Path,
    board: Board,
    *,
    production: Path | None = None,
    dtb: Path | None = None,
    cmdline: str | None = None,
    places: Mapping[str, str] | None = None,
) -> Facts:
    """Return the facts of an image set, read from its files. Raises UserError when it is not whole.

    ``production``: the product's .config, for a set whose production kernel was not built. ``dtb`` and ``cmdline``
    are the product's as well; without them the set's own count: its device tree, which lacks what the boot loader puts
    in unless the board file names a blob, and its arguments for boot loaders. ``places``:
    ``file:line`` of the fragment lines behind the capture kernel's config.
    """
    manifest = _manifest(folder)
    reserved = _reserved(manifest, folder)
    values = _shell_values(folder / "kdump-load.conf")
    arguments = shlex.split(values.get("KDUMP_KEXEC_ARGS", ""))
    sizes = [a.partition("=")[2] for a in arguments if a.startswith("--image-size=")]
    own_config = folder / "production" / "config"
    own_vmlinux = folder / "debug" / "vmlinux"
    kernel = folder / board.arch.image
    is_arm = board.arch.name == "arm"
    boot_arguments = folder / "boot" / "arguments.txt"
    if cmdline is None and boot_arguments.is_file():
        cmdline = f"@{boot_arguments}"
    from_build = dtb is None and board.dtb != "" and board.own_dtb is None
    if dtb is None and board.dtb:
        dtb = folder / board.dtb.rpartition("/")[2]
    versions = _package_versions(manifest.get("tools", {}).get("userland", []))
    given = Given(
        arch=board.arch.name,
        config=own_config if own_config.is_file() else production,
        capture_config=folder / "capture.config",
        dtb=dtb,
        cmdline=cmdline,
        capture_cmdline=values.get("KDUMP_CMDLINE"),
        zimage=kernel if is_arm else None,
        image=None if is_arm else kernel,
        vmlinux=own_vmlinux if own_vmlinux.is_file() else None,
        initramfs=next(iter(sorted(folder.glob("initramfs.cpio*"))), folder / "initramfs.cpio.gz"),
        kexec_tools=versions.get("kexec-tools"),
        makedumpfile=versions.get("makedumpfile"),
        board=board,
        image_size=sizes[-1] if sizes else ("0" if is_arm else None),
        file_load="-s" in arguments,
    )
    facts = gather(given)
    capture = facts.capture
    if capture is not None and places:
        capture = replace(capture, places=places)
    return replace(facts, capture=capture, makedumpfile_options=board.makedumpfile, reserved=reserved,
                   dtb_from_build=from_build)  # fmt: skip


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        found = json.loads(load(path, limit=_TEXT))
    except ValueError as error:
        raise user_error("not a manifest", where=str(path), why=str(error), hint="build the set again") from error
    if not isinstance(found, dict):
        raise user_error("not a manifest", where=str(path), hint="build the set again")
    return found


def _reserved(manifest: Mapping[str, Any], folder: Path) -> CrashKernel | None:
    """Return what a set's manifest says is to be reserved, or None when it says nothing."""
    asked = manifest.get("crashkernel")
    if asked is None:
        return None
    try:
        return CrashKernel(int(asked["bytes"]), asked.get("base"))
    except (AttributeError, KeyError, TypeError, ValueError):
        where = str(folder / "manifest.json")
        raise user_error(f"{asked!r} is no crashkernel", where=where, hint="build the set again") from None


def _shell_values(path: Path) -> dict[str, str]:
    """Return the assignments of a shell file that only assigns."""
    text = load(path, limit=_TEXT).decode("utf-8", errors="replace")
    found = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:
                continue
    return found


def _package_versions(packages: object) -> dict[str, str]:
    """Return upstream versions from ``name version`` lines of a manifest."""
    found = {}
    for line in packages if isinstance(packages, list) else []:
        name, _, version = str(line).partition(" ")
        match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)+)", version.strip())
        if match:
            found[name] = match[1]
    return found
