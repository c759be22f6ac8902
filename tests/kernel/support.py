"""What the tests of kernel configs share: the reduced tree, a compiler that is a script, and the kernel's own conf."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kdumpbuild.kconfig import KernelKconfig, KernelTree, Toolchain
from kdumpbuild.kconfig.adapter import kbuild_environment
from kdumpbuild.run import run

DATA = Path(__file__).resolve().parent.parent / "data/kconfig"


def without_spaces(tree: Path) -> Path:
    """Return the tree, or a copy elsewhere: this checkout may be in a path with a space, a kernel tree may not."""
    if not re.search(r"[\s:]", str(tree)):
        return tree
    folder = tempfile.mkdtemp(prefix="kdumpbuild-reduced-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(shutil.copytree(tree, Path(folder) / tree.name))


REDUCED = without_spaces(DATA / "linux")
KERNELS = "KDUMPBUILD_KERNELS"
"""Variable that names a folder with unpacked kernel trees; tests/kernel/fetch.py fills one."""

COMPILER = """#!/bin/sh
# A compiler as far as Kconfig asks one: what it is, and which options it takes.
case "$1" in
-dumpmachine) echo {machine} ;;
--version) echo "arm-test-gcc 12.2.0" ;;
*) case " $* " in *" -fno-such-option "*) exit 1 ;; esac ;;
esac
"""


def fake_toolchain(folder: Path, arch: str, *, machine: str = "") -> Toolchain:
    """Write a compiler into the folder and return the toolchain that consists of it."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = folder / f"{arch}-gcc"
    compiler.write_text(COMPILER.format(machine=machine or {"arm": "arm-test-linux", "arm64": "aarch64-test"}[arch]))
    compiler.chmod(0o755)
    return Toolchain(arch, f"{folder}/{arch}-")


def reduced(folder: Path, arch: str = "arm") -> KernelKconfig:
    """Return the reduced tree, read."""
    return KernelKconfig(KernelTree.open(REDUCED), fake_toolchain(folder, arch))


def reduced_copy(folder: Path) -> Path:
    """Return a copy of the reduced tree that a test may change."""
    return Path(shutil.copytree(REDUCED, folder / "linux"))


@dataclass(frozen=True)
class Case:
    """An input for the reduced tree and what the kernel's own conf makes of it."""

    path: Path
    arch: str
    base: str
    """allnoconfig, or olddefconfig for an input that is a .config of its own."""

    @property
    def golden(self) -> Path:
        return self.path.with_suffix(".config")


def cases() -> list[Case]:
    """Return the cases in tests/data/kconfig/cases; the first line of each says ``# arch base``."""
    found = []
    for path in sorted((DATA / "cases").glob("*.in")):
        _, arch, base = path.read_text().splitlines()[0].split()
        found.append(Case(path, arch, base))
    return found


def run_conf(conf: Path, case: Case, folder: Path) -> str:
    """Return the .config that the kernel's own conf makes of a case."""
    toolchain = fake_toolchain(folder / "bin", case.arch)
    out = folder / ".config"
    env = kbuild_environment(KernelTree.open(REDUCED), toolchain) | {"KCONFIG_CONFIG": str(out)}
    if case.base == "allnoconfig":
        env["KCONFIG_ALLCONFIG"] = str(case.path)
    else:
        shutil.copy(case.path, out)
    run([conf, f"--{case.base}", "Kconfig"], what="run the kernel's conf", cwd=folder, env=env)
    return out.read_text()


def real_trees() -> list[Path]:
    """Return the kernel trees that the variable KDUMPBUILD_KERNELS names a folder of."""
    folder = os.environ.get(KERNELS)
    if not folder:
        return []
    return sorted(path.parent for path in Path(folder).glob("*/Kconfig"))
