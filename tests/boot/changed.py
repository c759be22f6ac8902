"""Image sets with one thing changed: what a rule is shown to object to, and then booted with."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdumpbuild import resources
from kdumpbuild.build import cpio, kernel, patched, source, toolchain
from kdumpbuild.build.initramfs import with_files as over_its_own
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.progress import Progress
from kdumpbuild.checks.engine import check_facts
from kdumpbuild.checks.from_set import facts_from_set
from kdumpbuild.crashtest import TRIGGERS, Options, Verdict, run_crashtest
from kdumpbuild.crashtest.runner import TARGET_FOLDER
from kdumpbuild.kconfig.cache import open_kconfig
from kdumpbuild.kconfig.fragment import parse_fragment
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdumpbuild.checks.model import Report
    from tests.boot.test_crashtest import Bench

PLAIN_LOAD = f"""#!/bin/sh
# Loads as the shortest of scripts would: no look at anything before.
. /{TARGET_FOLDER}/kdump-load.conf
cd /{TARGET_FOLDER} || exit
kexec $KDUMP_KEXEC_ARGS -p "$KDUMP_KERNEL" --initrd="$KDUMP_INITRAMFS" --command-line="$KDUMP_CMDLINE" \\
    ${{KDUMP_DTB:+--dtb="$KDUMP_DTB"}}
"""


@dataclass(frozen=True)
class Changed:
    """An image set of its own: a copy of a bench's, with the changes."""

    bench: Bench
    files: SetFiles

    def judge(self, **more: Any) -> Report:
        """Return what the preflight finds in the set; ``more`` as for ``facts_from_set``, or facts by name."""
        given = {name: more.pop(name) for name in ("dtb", "cmdline", "production") if name in more}
        facts = facts_from_set(self.files.folder, self.bench.board, **given)
        return check_facts(replace(facts, **more))

    def finds(self, rule: str, **more: Any) -> bool:
        """Whether a rule fires. One that could not be judged is a mistake of the test's."""
        report = self.judge(**more)
        assert rule not in {skipped.id for skipped in report.not_judged}, f"{rule} was not judged"
        return rule in {finding.id for finding in report.findings}

    def crash(self, options: Options | None = None, trigger: str = "sysrq") -> Verdict:
        """Crash the machine with it."""
        options = options or Options()
        extra = {f"{TARGET_FOLDER}/{path.name}": path for path in self.files.folder.glob("*.dtb")}
        return run_crashtest(
            self.bench.board, self.files, self.bench.userland, TRIGGERS[trigger], self.bench.work,
            replace(options, install={**extra, **options.install}),
        )  # fmt: skip

    @property
    def console(self) -> str:
        """What the machine printed."""
        return (self.bench.work / "console.log").read_text(errors="replace")


def changed(
    bench: Bench, folder: Path, *, conf: Mapping[str, str] | None = None, files: Mapping[str, bytes] | None = None
) -> Changed:
    """Copy a bench's image set into a folder and change it.

    ``conf``: values of kdump-load.conf, in which ``{}`` stands for what was there. ``files``: contents by name; their
    checksums follow.
    """
    target = SetFiles(folder / "set", bench.image_set.image)
    shutil.copytree(bench.image_set.folder, target.folder)
    lines = target.load_conf.read_text().splitlines()
    for name, value in (conf or {}).items():
        number = next(i for i, line in enumerate(lines) if line.startswith(f"{name}="))
        before = lines[number].partition("=")[2].strip("'")
        lines[number] = f"{name}='{value.format(before)}'"
    target.load_conf.write_text("\n".join(lines) + "\n")
    sums = target.checksums.read_text()
    for name, data in (files or {}).items():
        path = target.folder / name
        if path.exists():
            sums = sums.replace(hashlib.sha256(path.read_bytes()).hexdigest(), hashlib.sha256(data).hexdigest())
        path.write_bytes(data)
    target.checksums.write_text(sums)
    return Changed(bench, target)


def plain_load(folder: Path) -> dict[str, Path]:
    """Return what to install so that the set is loaded without kdump-load's own checks."""
    script = folder / "plain-load"
    script.write_text(PLAIN_LOAD)
    script.chmod(0o755)
    return {f"{TARGET_FOLDER}/kdump-load": script}


def with_files(initramfs: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return an initramfs with files put over its own."""
    return over_its_own(initramfs, [cpio.file(name, data) for name, data in files.items()])


@dataclass(frozen=True)
class Compiled:
    """A kernel that was built for a test."""

    config: bytes
    image: bytes
    vmlinux: bytes

    def as_production(self, bench: Bench) -> dict[str, bytes]:
        """Return the files of a set that has it for its production kernel."""
        image = f"production/{bench.board.arch.image}"
        return {"production/config": self.config, image: self.image, "debug/vmlinux": self.vmlinux}

    def as_capture(self, bench: Bench) -> dict[str, bytes]:
        """Return the files of a set that has it for its capture kernel."""
        return {"capture.config": self.config, bench.board.arch.image: self.image}


def compiled(bench: Bench, role: str, name: str, fragment: str, patch: str = "") -> Compiled:
    """Compile a kernel of the board with a few options changed, or a shipped patch. The next run finds it."""
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    out = bench.image_set.folder.parent / "work" / "predictions" / f"{bench.board.name}-{name}"
    out.mkdir(parents=True, exist_ok=True)
    found = source.locate(None, cache)
    tree = source.prepare(found, out / "source.log")
    patches = [resources.PATCHES / f"{patch}.patch"] if patch else []
    tree = patched.patched_tree(tree, source.fingerprint(found), patches, cache)
    chain = toolchain.find(bench.board.arch, read_settings(os.environ.get, Path.cwd()))
    base = bench.image_set.production_config if role == "production" else bench.image_set.capture_config
    done = resolve(open_kconfig(tree, chain, cache / "kconfig"), str(base), [parse_fragment(fragment, Path(name))])
    done.check()
    config = out / "config"
    config.write_text(done.config_text)
    with Progress(f"{bench.board.name}: {role} kernel {name}", "files") as progress:
        kernel.build(
            tree=tree.path, config=config, kbuild=out / "kernel", arch=bench.board.arch, toolchain=chain,
            jobs=len(os.sched_getaffinity(0)), log=out / "kernel.log", progress=progress,
        )  # fmt: skip
    arch = bench.board.arch
    image = out / "kernel/arch" / arch.name / "boot" / arch.image
    return Compiled(config.read_bytes(), image.read_bytes(), (out / "kernel/vmlinux").read_bytes())
