"""Image sets with one thing changed: what a rule is shown to object to, and then booted with."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdumpbuild.build import cpio
from kdumpbuild.build.initramfs import MTIME
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.checks.engine import check_facts
from kdumpbuild.checks.from_set import facts_from_set
from kdumpbuild.crashtest import TRIGGERS, Options, Verdict, run_crashtest
from kdumpbuild.crashtest.runner import TARGET_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
    """Return an initramfs with files put over its own: the kernel unpacks one archive after the other."""
    entries = [cpio.file(name, data) for name, data in files.items()]
    return initramfs + gzip.compress(cpio.archive(entries, mtime=MTIME), mtime=0)
