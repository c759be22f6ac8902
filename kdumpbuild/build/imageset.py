"""The image set: all that one board needs, in one folder that is complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from kdumpbuild import __version__, files, resources
from kdumpbuild.board import logs, panic
from kdumpbuild.board.memory import CrashKernel
from kdumpbuild.build import kernel, scripts
from kdumpbuild.build.initramfs import MTIME
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.reservation import reserve
from kdumpbuild.checks.facts import parse_version
from kdumpbuild.formats import elf
from kdumpbuild.formats.zimage import read_zimage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.layout import Layout
    from kdumpbuild.build.reservation import Reservation
    from kdumpbuild.kconfig.toolchain import Toolchain

MANIFEST_FORMAT = 1
_PACKAGES = ("doit", "jinja2", "kconfiglib")
SCRIPTS = (
    "kdump-load", "kdump.service", "S10kdump",
    "kdump-collect", "kdump-collect.service", "S11kdump-collect",
    "kdump-ctl",
)  # fmt: skip
"""What the target runs, from templates/target; the layers install it."""
SHARED = {"kdump-device.sh": "device.sh", "kdump-slots.sh": "slots.sh"}
"""Parts of the capture system that the production side sources as well, by their names in the set."""


@dataclass(frozen=True)
class Ingredients:
    """What a set is made from, besides the files of the build."""

    source: Mapping[str, str]
    """What pins the kernel source down: :func:`kdumpbuild.build.source.identity`."""
    toolchain: Toolchain
    userland: tuple[str, ...]
    """``name version`` of each package of the userland."""
    waived: tuple[str, ...]
    """Fragment lines that do not hold and need not, each with its reason."""


def capture_role(board: Board) -> str:
    """Return which of the two kernels of a build captures."""
    return "capture" if board.capture.kernel == "own" else "production"


def assemble(layout: Layout, ingredients: Ingredients, reservation: Reservation | None = None) -> None:
    """Put the set together beside its place and rename it there.

    ``reservation``: what is to be reserved for it, instead of what the board file or the set's own sizes say.
    """
    board = layout.board
    with files.new_directory(layout.set.folder) as folder:
        made = SetFiles(folder, board.arch.image)
        _copy_files(layout, made)
        reservation = reservation or _reserve(layout, made)
        _write_scripts(layout, made, reservation.crash)
        manifest = _manifest(layout, made, ingredients, reservation)
        files.write_text(made.manifest, json.dumps(manifest, indent=1) + "\n")
        sums = {name: facts["sha256"] for name, facts in manifest["files"].items()}
        sums[made.manifest.name] = files.sha256(made.manifest)
        files.write_text(made.checksums, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))
        for path in sorted(folder.rglob("*")):
            os.utime(path, (MTIME, MTIME))


def read_manifest(made: SetFiles) -> dict[str, Any]:
    """Return a set's manifest."""
    return dict(json.loads(made.manifest.read_text(encoding="utf-8")))


def reserved(made: SetFiles) -> CrashKernel:
    """Return what has to be reserved for a set, as its manifest says."""
    asked = read_manifest(made)["crashkernel"]
    return CrashKernel(asked["bytes"], asked.get("base"))


def _reserve(layout: Layout, made: SetFiles) -> Reservation:
    board = layout.board
    return reserve(
        board,
        kernel=made.kernel,
        initramfs=made.initramfs,
        production=layout.config("production"),
        dtb=layout.dtb if board.dtb else None,
    )


def _copy_files(layout: Layout, made: SetFiles) -> None:
    board, role = layout.board, capture_role(layout.board)
    wanted = {
        made.kernel: layout.kernel(role),
        made.initramfs: layout.initramfs,
        made.capture_config: layout.config(role),
        made.capture_vmlinux: layout.vmlinux(role),
        made.production_fragment: layout.fragment,
    }
    if layout.has_production:
        wanted |= {
            made.production_kernel: layout.kernel("production"),
            made.production_config: layout.production_config,
            made.production_vmlinux: layout.vmlinux("production"),
        }
    if board.capture.root:
        wanted[made.capture_root] = layout.capture_root
    if board.dtb:
        wanted[made.folder / board.dtb.rpartition("/")[2]] = layout.dtb
    if board.drivers:
        wanted |= {made.folder / "boot" / path.name: path for path in (layout.overlay, layout.overlay_blob)}
    for target, source in wanted.items():
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o644)


def _write_scripts(layout: Layout, made: SetFiles, crashkernel: CrashKernel) -> None:
    board, role = layout.board, capture_role(layout.board)
    values = kernel.symbols(layout.config(role).read_text(encoding="utf-8"))
    image_size = read_zimage(made.kernel).image_size_for_kexec() if board.arch.image == "zImage" else None
    version = parse_version(kernel.release(layout.kbuild(role)))
    conf = scripts.load_conf(
        board,
        crashkernel=crashkernel,
        release=kernel.release(layout.kbuild("production")) if layout.has_production else "",
        image_size=image_size,
        kernel=made.kernel.name,
        initramfs="" if board.capture.root else made.initramfs.name,
        cmdline=scripts.capture_cmdline(board, values, version),
        dtb="",
    )
    files.write_text(made.load_conf, conf)
    for name in SCRIPTS:
        text = (resources.TEMPLATES / "target" / name).read_text(encoding="utf-8")
        files.write_text(made.folder / name, text, mode=0o644 if name.endswith(".service") else 0o755)
    for name, part in SHARED.items():
        files.write_text(made.folder / name, (resources.TEMPLATES / "initramfs/lib" / part).read_text(encoding="utf-8"))
    files.write_text(made.folder / "kdump-collect.conf", scripts.collect_conf(board))
    config = kernel.symbols(layout.config("production").read_text(encoding="utf-8"))
    for name, text in scripts.boot_snippets(board, crashkernel, version, config).items():
        files.write_text(made.boot / name, text)
    files.write_text(made.sysctl, panic.sysctl_file(board.panic, version, config, board.name))


def _manifest(
    layout: Layout, made: SetFiles, ingredients: Ingredients, reservation: Reservation
) -> dict[str, Any]:
    board, role = layout.board, capture_role(layout.board)
    values = kernel.symbols(layout.config("production").read_text(encoding="utf-8"))
    build_ids = {"capture": elf.build_id(made.capture_vmlinux)}
    if layout.has_production:
        build_ids["production"] = elf.build_id(made.production_vmlinux)
    return {
        "format": MANIFEST_FORMAT,
        "board": board.name,
        "arch": board.arch.name,
        "kernel": {"release": kernel.release(layout.kbuild(role)), "source": dict(ingredients.source)},
        "build-ids": build_ids,
        "crashkernel": {
            "bytes": reservation.crash.size,
            "base": reservation.crash.base,
            "argument": f"crashkernel={reservation.crash.argument}",
            "from": reservation.origin,
        },
        "analysis": {
            "page-offset": values.get("CONFIG_PAGE_OFFSET", ""),
            "phys-offset": f"{board.memory.ram[0].base:#x}",
            "va-bits": values.get("CONFIG_ARM64_VA_BITS", ""),
        },
        "waived": list(ingredients.waived),
        "patches": list(board.production.patches),
        "notes": _notes(layout),
        "tools": {
            "kdumpbuild": __version__,
            **{name: version(name) for name in _PACKAGES},
            "compiler": ingredients.toolchain.check(),
            "userland": list(ingredients.userland),
        },
        "reproduce": f"doit build BOARD={board.name}",
        "files": {
            str(path.relative_to(made.folder)): {"size": path.stat().st_size, "sha256": files.sha256(path)}
            for path in sorted(made.folder.rglob("*"))
            if path.is_file()
        },
    }


def _notes(layout: Layout) -> list[str]:
    """Return what the user has to know of this set: conditions that the kernel cannot turn into a panic, and trades."""
    board = layout.board
    config = kernel.symbols(layout.config("production").read_text(encoding="utf-8"))
    version = parse_version(kernel.release(layout.kbuild(capture_role(board))))
    lost = panic.missing(board.panic, version, config)
    return [*(f"{one.what} ({board.path.name}:{one.line})" for one in lost), *logs.notes(board.logs)]
