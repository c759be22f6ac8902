"""Compiling a kernel with its own build system, out of its tree, the same bytes every time."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from kdumpbuild import files, run
from kdumpbuild.board.size import human
from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kdumpbuild.board.arch import Arch
    from kdumpbuild.build.progress import Progress
    from kdumpbuild.kconfig.toolchain import Toolchain

# The build's time, user, host and number are in the kernel's version text. Fixed, so that two builds agree.
_EPOCH = "1577836800"
_OBJECT = re.compile(r"^  (CC|AS)\s")
_DRY_OBJECT = re.compile(r"echo '  (?:CC|AS)  ")
# What the log says when a tool that Kbuild needs is not there, and Debian's package of it.
_MISSING_TOOLS = {
    "gelf.h": "libelf-dev",
    "openssl/": "libssl-dev",
    "flex: not found": "flex",
    "bison: not found": "bison",
    "bc: not found": "bc",
}
# With less than this left where a kernel is compiled, that is why it failed, whatever the compiler said.
_FULL = 16 << 20
_SYMBOL = re.compile(r"(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)")


def build(
    *,
    tree: Path,
    config: Path,
    kbuild: Path,
    arch: Arch,
    toolchain: Toolchain,
    jobs: int,
    log: Path,
    progress: Progress,
) -> None:
    """Compile the kernel of ``config`` in ``kbuild``.

    Before the compiler starts, the config is given to the kernel's own ``make olddefconfig``, which must not change
    a line of it. Raises UserError with the end of the log when the kernel does not build.
    """
    kbuild.mkdir(parents=True, exist_ok=True)
    make = _make(tree, kbuild, toolchain)
    _configure(make, config, kbuild, log)
    targets = [arch.image, "vmlinux"]
    env = _environment(kbuild)

    def hint(log_text: str) -> str:
        return _hint(log_text, shutil.disk_usage(kbuild).free)

    run.run_logged([*make, f"-j{jobs}", "prepare"], what="prepare the kernel's build", log=log, env=env, hint=hint)
    done = 0
    progress.start(_expected(make, targets, env))

    def count(line: str) -> None:
        nonlocal done
        if _OBJECT.match(line):
            done += 1
            progress.update(done)

    run.run_logged(
        [*make, f"-j{jobs}", *targets],
        what=f"build the kernel in {kbuild}", log=log, env=env, on_line=count, hint=hint,
    )  # fmt: skip
    progress.finish(done)
    for product in (kbuild / "arch" / arch.name / "boot" / arch.image, kbuild / "vmlinux"):
        if not product.is_file():
            raise user_error(f"the kernel's build ended well, but there is no {product}", hint=f"see {log}")


def release(kbuild: Path) -> str:
    """Return the built kernel's release, which ``uname -r`` prints when it runs."""
    return (kbuild / "include" / "config" / "kernel.release").read_text(encoding="utf-8").strip()


def symbols(config_text: str) -> dict[str, str]:
    """Return the value of each symbol in a .config; one that is not set has the value ``n``."""
    found = (_SYMBOL.fullmatch(line) for line in config_text.splitlines())
    return {match[1]: "n" if match[2] is None else match[2] for match in found if match}


def _make(tree: Path, kbuild: Path, toolchain: Toolchain) -> list[str]:
    # Debug information and __FILE__ name the folders that were compiled in: mapped away, they are the same anywhere.
    maps = f"-ffile-prefix-map={kbuild}=. -ffile-prefix-map={tree}=."
    return [
        "make", "-C", str(tree), f"O={kbuild}", *toolchain.make_variables(),
        f"KCFLAGS={maps}", f"KAFLAGS={maps}",
    ]  # fmt: skip


def _environment(kbuild: Path) -> dict[str, str]:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", _EPOCH)
    return {
        "KBUILD_BUILD_TIMESTAMP": f"@{epoch}",
        "KBUILD_BUILD_USER": "kdumpbuild",
        "KBUILD_BUILD_HOST": "kdumpbuild",
        "KBUILD_BUILD_VERSION": "1",
        # So that ccache finds in one build folder what it compiled in another.
        "CCACHE_BASEDIR": str(kbuild),
        "CCACHE_NOHASHDIR": "1",
        "CCACHE_SLOPPINESS": "time_macros",
        "CCACHE_COMPRESS": "1",
    }


def _configure(make: Sequence[str], config: Path, kbuild: Path, log: Path) -> None:
    wanted = config.read_text(encoding="utf-8")
    target = kbuild / ".config"
    before = target.read_text(encoding="utf-8") if target.is_file() else ""
    files.write_text(target, wanted)
    run.run_logged([*make, "olddefconfig"], what="run make olddefconfig", log=log, env={"KCONFIG_NOTIMESTAMP": "1"})
    ours, theirs = symbols(wanted), symbols(target.read_text(encoding="utf-8"))
    if ours != theirs:
        differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        lines = [f"{name}: ours {ours.get(name, 'absent')}, the kernel's {theirs.get(name, 'absent')}"
                 for name in differing]  # fmt: skip
        files.write_text(target, before)
        raise user_error(
            "the kernel's own make olddefconfig makes another config of ours",
            where=str(config),
            why="\n".join(lines[:20]),
            hint="this is a fault of kdumpbuild's config engine, or CROSS_COMPILE changed meanwhile; please report it",
        )


def _expected(make: Sequence[str], targets: Sequence[str], env: Mapping[str, str]) -> int:
    """Return how many objects are still to compile: those that make would, if it were not told only to say so."""
    printed = run.output([*make, "-n", "-k", *targets], env=env)
    return len(_DRY_OBJECT.findall(printed))


def _hint(log_text: str, free: int) -> str:
    # A tool that cannot write does not always say why: some end with a signal, others with half a line in the log.
    if free < _FULL or "No space left on device" in log_text:
        return f"no space left, {human(free)} free now: free some, or set OUT to a folder on another file system"
    if "is not clean, please run" in log_text:
        return "KERNEL_SRC was built in: give a clean tree, or run make mrproper there yourself"
    for needle, package in _MISSING_TOOLS.items():
        if needle in log_text:
            return f"a build tool of the kernel is missing; on Debian: apt-get install {package}"
    return "the log holds the compiler's first error; the kernel's own build failed, not kdumpbuild's part"
