"""Power cuts: a machine that loses power again and again while it saves dumps, always on the same storage.

Each round boots production from scratch, loads the capture kernel, crashes, and ends QEMU at a random moment after the
crash. Then the host looks at the storage: what was whole before is whole and the same, and whatever is shown as a
complete dump opens. That the next round comes to its crash proves that the machine is back.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.analysis import open_dump
from kdumpbuild.analysis.ring import unpack_ring
from kdumpbuild.build.imageset import reserved
from kdumpbuild.crashtest import disk, ring
from kdumpbuild.crashtest.carried import is_carried, make_empty
from kdumpbuild.crashtest.dumps import EARLIER, find_dumps, write_earlier_dump
from kdumpbuild.crashtest.machine import Boot, machine_of, run_machine
from kdumpbuild.crashtest.protocol import FETCHED, FOLDER, plan_text
from kdumpbuild.crashtest.system import PLAN_LABEL, system_conf, write_system
from kdumpbuild.crashtest.triggers import TRIGGERS
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.layout import SetFiles
    from kdumpbuild.build.userland import Userland
    from kdumpbuild.crashtest.console import Console

BOOT_TIME = 600.0
"""Seconds that a machine may take to come to its crash, on a busy host."""
_STAGE = re.compile(r"kdump: (dump target|dmesg committed|dmesg|vmcore committed|vmcore|done|rebooting)")
_BEGIN = "kdump: capture kernel"
"""The first words of the capture system."""
_INSTALL = "usr/lib/kdump"


@dataclass
class Rounds:
    """What is known after each round."""

    board: Board
    image_set: SetFiles
    userland: Userland
    folder: Path
    seed: int = 1
    cuts: Counter[str] = field(default_factory=Counter)
    """How often power was cut after which words of the capture system."""
    known: dict[str, dict[str, str]] = field(default_factory=dict)
    """Every dump that was ever seen complete, with the digests of its files."""
    complete: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311  # no secret
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage = self.folder / "dump.img"
        content = self.folder / "content"
        if self.board.dump.is_ring:
            ring.make_ring(self.storage, slots=self.board.dump.slots, size=self.board.dump.slots << 26,
                           erase=machine_of(self.board).erase_size, marker="cuts")  # fmt: skip
        else:
            write_earlier_dump(content / self.board.dump.directory, "cuts")
            if is_carried(self.board):
                size = machine_of(self.board).disk_size or 256 << 20
                make_empty(self.board, self.storage, size, disk.place_of(self.board.dump.device))
            else:
                disk.make_disk(self.storage, content, filesystem=self.board.dump.filesystem, size=256 << 20)
        conf = system_conf(self.board, f"/{_INSTALL}/{self.image_set.load_script.name}")
        conf += f"DEVICE=LABEL={PLAN_LABEL}\nFILESYSTEM=ext4\n"
        install = {
            f"{_INSTALL}/{path.name}": path
            for path in (self.image_set.kernel, self.image_set.initramfs, self.image_set.load_script,
                         self.image_set.load_conf, self.image_set.checksums)
        }  # fmt: skip
        write_system(self.folder / "production.cpio.gz", self.userland, conf, install)
        if is_carried(self.board):
            self._carry(content)
        self.known = self._seen()

    def run(self, after: float | None, *, begin: str = _BEGIN) -> Console:
        """Boot and crash; cut the power so many seconds after a line with ``begin``, or never. Return the console."""
        content = self._new_plan()
        (content / FOLDER / "plan").write_text(plan_text(TRIGGERS["sysrq"], "kdb-cuts"), encoding="utf-8")
        ran = run_machine(
            self.board, self._boot(content), log=self.folder / "console.log", deadline=BOOT_TIME,
            watch=None if after is None else lambda console: after if begin in console.lines[-1].text else None,
        )
        assert ran.console.crash is not None, f"the machine did not come back: see {self.folder / 'console.log'}"
        return ran.console

    def _new_plan(self) -> Path:
        content = self.folder / "plan"
        shutil.rmtree(content, ignore_errors=True)
        (content / FOLDER).mkdir(parents=True)
        return content

    def _boot(self, content: Path) -> Boot:
        plan = self.folder / "plan.img"
        disk.make_disk(plan, content, filesystem="ext4", size=256 << 20, place=disk.Place(label=PLAN_LABEL))
        return Boot(
            kernel=self.image_set.production_kernel, initramfs=self.folder / "production.cpio.gz",
            disk=self.storage, plan=plan, crashkernel=reserved(self.image_set).argument,
        )  # fmt: skip

    def _carry(self, dumps: Path | None = None) -> None:
        """Let the production system put dumps on the storage, if any, and copy what is there to the plan's disk."""
        content = self._new_plan()
        if dumps is not None:
            shutil.copytree(dumps, content, dirs_exist_ok=True)
        # As if it came back from a crash.
        (content / FOLDER / "boot-1").touch()
        run_machine(self.board, self._boot(content), log=self.folder / "reading.log", deadline=BOOT_TIME)
        disk.read_disk(self.folder / "plan.img", (FOLDER, self.board.dump.directory), self.folder / "target")
        assert (self.folder / "target" / FOLDER / FETCHED).exists(), f"not read: see {self.folder / 'reading.log'}"

    def cut(self, longest: float) -> str:
        """Lose power at a random moment of a capture that takes ``longest`` seconds. Return how far it had come.

        One in eight is lost between the crash and the first word of the capture system.
        """
        early = self.random.random() < 1 / 8
        begin = "Kernel panic - not syncing" if early else _BEGIN
        console = self.run(self.random.uniform(0, longest / 4 if early else longest), begin=begin)
        words = [m[1] for line in console.lines if (m := _STAGE.search(line.text))]
        stage = words[-1] if words else "before the capture system"
        self.cuts[stage] += 1
        self.check()
        return stage

    def whole(self) -> float:
        """Let one capture end. Return the seconds from its first words to its last line."""
        console = self.run(None)
        before = self.complete
        self.check()
        assert self.complete > before, "a capture that was left alone is not complete"
        said = [line.at for line in console.lines if line.boot == 2]
        begin = next(line.at for line in console.lines if _BEGIN in line.text)
        return said[-1] - begin

    def through(self, cuts: int) -> None:
        """Lose power so many times, between two captures that are left alone."""
        longest = self.whole()
        for _ in range(cuts):
            self.cut(longest)
        self.whole()

    def check(self) -> None:
        """Raise AssertionError when a dump that was complete has changed, or one that is shown complete is not."""
        now = self._seen()
        # An older one may have been rotated out, but only by a newer one that is complete.
        newest = max(self.known, default="")
        assert newest in now or max(now, default="") > newest, f"the newest complete dump {newest} is gone"
        for name, files in now.items():
            if name in self.known:
                assert files == self.known[name], f"the dump {name} has changed"
        self.complete += sum(name not in self.known for name in now)
        self.known = now

    def _seen(self) -> dict[str, dict[str, str]]:
        """Return every dump that is shown as complete, after opening it."""
        target = self.folder / "target"
        shutil.rmtree(target, ignore_errors=True)
        dumps = target / self.board.dump.directory
        if self.board.dump.is_ring:
            unpack_ring(self.storage, dumps)
        elif is_carried(self.board):
            self._carry()
        else:
            disk.read_disk(self.storage, (self.board.dump.directory,), target)
        found = {}
        for dump in find_dumps(dumps):
            if dump.status.get("vmcore") == "damaged" or dump.status.get("dmesg") == "damaged":
                raise AssertionError(f"{dump.name} is shown as a dump and damaged: {dump.status['reason']}")
            if dump.name != EARLIER and dump.name not in self.known:
                self._open(dump.vmcore, dump.dmesg)
            if dump.vmcore:
                found[dump.name] = {k: v for k, v in disk.tree_digest(dump.folder).items() if k != "status"}
        return found

    def _open(self, vmcore: Path | None, dmesg: Path | None) -> None:
        assert dmesg is not None, "a dump without a log"
        text = dmesg.read_text(encoding="utf-8", errors="replace")
        assert "sysrq triggered crash" in text, f"{dmesg} is not whole"
        if vmcore is None:
            return
        try:
            crash = open_dump(vmcore, self.image_set.production_vmlinux).crash()
        except UserError as error:
            raise AssertionError(f"{vmcore} is shown as complete and does not open: {error}") from error
        assert crash.comm == "kdb-cuts"
