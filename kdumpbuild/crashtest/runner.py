"""One crash test from beginning to end.

    image set, production kernel, userland
          │
          ▼
    disk (plan, earlier dump) + production initramfs ──► QEMU: load, crash, capture, reboot
          │                                                 │
          └──► read back: records, dumps ◄──────────────────┘
                      │
                      ▼
               verdict ──► result.json, report.txt

The machine is told what to do by a file on the disk, and answers in the same way: crashtest/protocol.py.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kdumpbuild import files
from kdumpbuild.analysis.ring import unpack_ring
from kdumpbuild.build.captureroot import SET_FOLDER
from kdumpbuild.build.imageset import reserved
from kdumpbuild.build.initramfs import with_files
from kdumpbuild.build.scripts import OVERLAY
from kdumpbuild.crashtest import disk, report, ring
from kdumpbuild.crashtest.carried import is_carried, make_empty, on_target, why_no_volume
from kdumpbuild.crashtest.console import times
from kdumpbuild.crashtest.diagnose import Witness, tail
from kdumpbuild.crashtest.dumps import EARLIER, find_dumps, read_attempt, write_earlier_dump
from kdumpbuild.crashtest.machine import (
    Boot,
    dotted,
    has_watchdog,
    machine_of,
    qemu_version,
    ram_of,
    run_machine,
    too_old,
    with_overlay,
)
from kdumpbuild.crashtest.protocol import FETCHED, FOLDER, RECORDS, Means, plan_text, read_boot_record
from kdumpbuild.crashtest.server import serving
from kdumpbuild.crashtest.system import PLAN_LABEL, system_conf, write_root, write_system
from kdumpbuild.crashtest.verdict import Evidence, Verdict, judge
from kdumpbuild.errors import Fault, UserError, user_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.layout import SetFiles
    from kdumpbuild.build.userland import Userland
    from kdumpbuild.crashtest.server import Server
    from kdumpbuild.crashtest.standin import StandIn
    from kdumpbuild.crashtest.triggers import Trigger

_MARGIN = 240.0
"""Seconds for two boots of production and one of the capture kernel, on a slow host."""
_PLAN_SIZE = 16 << 20
_BEYOND = 10
"""Seconds that a capture is held beyond the watchdog's timeout."""
TARGET_FOLDER = "usr/lib/kdump"
"""Where the image set lies in the production system."""


@dataclass(frozen=True)
class Options:
    """What a crash test may do otherwise than the board file says."""

    crashkernel: int | None = None
    """Bytes to reserve; the set's own by default."""
    deadline: float | None = None
    """Seconds after which QEMU is ended."""
    cmdline: str = ""
    """Further arguments of the production kernel."""
    qemu_args: tuple[str, ...] = ()
    """Further arguments for QEMU."""
    disk_size: int | None = None
    """Bytes of the dump target."""
    install: Mapping[str, Path] = field(default_factory=dict)
    """Further files for the production system, by their path in it; they win over the image set's."""
    means: Means = field(default_factory=Means)
    """What the production system does besides crashing."""
    keep_disk: bool = False
    """Whether the disk image stays after a test that passed."""
    dtb: Path | None = None
    """Device tree for the machine, in place of the board's."""
    stand_in: StandIn | None = None
    """What it proves when the machine is not the board's."""
    qemu: Path | None = None
    """The folder of QEMU's programs; default: ``PATH``."""


@dataclass(frozen=True)
class Work:
    """The folder of one crash test, and what lies in it."""

    folder: Path

    @property
    def console(self) -> Path:
        """Everything that the machine printed."""
        return self.folder / "console.log"

    @property
    def disk(self) -> Path:
        """The dump target."""
        return self.folder / "disk.img"

    @property
    def plan(self) -> Path:
        """The test's own disk, beside a dump target that the host cannot fill or read."""
        return self.folder / "plan.img"

    @property
    def reading(self) -> Path:
        """What the machine printed when it was started again, only to read the dump target."""
        return self.folder / "reading.log"

    @property
    def initramfs(self) -> Path:
        """The production system."""
        return self.folder / "production.cpio.gz"

    @property
    def capture(self) -> Path:
        """The crash initramfs, where it is not the image set's own."""
        return self.folder / "capture.cpio.gz"

    @property
    def checksums(self) -> Path:
        """Its set's checksums."""
        return self.folder / "SHA256SUMS"

    @property
    def load_conf(self) -> Path:
        """The load script's configuration, where it is not the image set's own."""
        return self.folder / "kdump-load.conf"

    @property
    def content(self) -> Path:
        """What the dump target holds before the start."""
        return self.folder / "before"

    @property
    def target(self) -> Path:
        """What the dump target holds afterwards."""
        return self.folder / "target"

    @property
    def result(self) -> Path:
        """The verdict, for programs."""
        return self.folder / "result.json"

    @property
    def report(self) -> Path:
        """The verdict, for people."""
        return self.folder / "report.txt"

    def clear(self) -> None:
        """Remove what an earlier test left, and nothing else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.content, self.target):
            shutil.rmtree(folder, ignore_errors=True)
        wanted = (
            self.console, self.disk, self.plan, self.initramfs, self.capture, self.checksums, self.load_conf,
            self.result, self.report, self.reading,
        )  # fmt: skip
        for file in wanted:
            file.unlink(missing_ok=True)


def run_crashtest(
    board: Board,
    image_set: SetFiles,
    userland: Userland,
    trigger: Trigger,
    work_folder: Path,
    options: Options | None = None,
) -> Verdict:
    """Crash the board's machine and return the verdict; ``result.json`` and ``report.txt`` hold it too.

    A test that fails is a verdict, not an exception. Raises UserError when the test cannot be made: the image set
    is incomplete, QEMU, drgn or another program is missing, there is no space, the board has no machine.
    """
    options = options or Options()
    _check_machine(board, trigger, options.qemu)
    check_set(board, image_set)
    if faults := disk_faults(board):
        raise UserError(*faults)
    work = Work(work_folder.resolve())
    with files.writing(work.result):
        work.clear()
        verdict = _run(board, image_set, userland, trigger, work, options)
        files.write_text(work.result, json.dumps(verdict.to_json(), indent=1, default=str) + "\n")
        files.write_text(work.report, report.render(verdict))
    return verdict


def _check_machine(board: Board, trigger: Trigger, qemu: Path | None) -> None:
    old = too_old(board, qemu)
    if old:
        hint = "docs/crashtest.md says where to get one; QEMU= names its folder"
        raise user_error(old, where=board.where("machine", "qemu"), hint=hint)
    if trigger.outlives_watchdog and not has_watchdog(board, qemu):
        raise user_error(
            f"there is no watchdog to outlive on the board {board.name}", where=board.where("watchdog"),
            why="the product has no [watchdog], or this QEMU has none that resets the machine ([machine] watchdog)",
            hint="use another TRIGGER",
        )  # fmt: skip


def check_set(board: Board, image_set: SetFiles) -> None:
    """Raise UserError for every file that the test needs of the image set and that is not there."""
    wanted = [
        image_set.kernel, image_set.initramfs, image_set.load_script, image_set.load_conf, image_set.manifest,
        image_set.production_kernel, image_set.production_vmlinux,
        *([image_set.capture_root] if board.capture.root else []),
    ]  # fmt: skip
    missing = [
        Fault("the image set has no such file", where=str(path), hint=f"doit build BOARD={board.name}")
        for path in wanted
        if not path.is_file()
    ]
    if missing:
        raise UserError(*missing)


def _run(
    board: Board, image_set: SetFiles, userland: Userland, trigger: Trigger, work: Work, options: Options
) -> Verdict:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(board)) if board.dump.network else None
        return _run_with(server, board, image_set, userland, trigger, work, options)


def _run_with(
    server: Server | None, board: Board, image_set: SetFiles, userland: Userland, trigger: Trigger, work: Work,
    options: Options,
) -> Verdict:  # fmt: skip
    marker = f"kdb-{secrets.token_hex(5)}"
    earlier = _prepare(server, board, image_set, userland, trigger, marker, work, options)
    region = reserved(image_set)
    if options.crashkernel is not None:
        region = replace(region, size=options.crashkernel)
    dtb = options.dtb or (image_set.folder / board.dtb.rpartition("/")[2] if board.dtb else None)
    overlay = image_set.boot / OVERLAY
    boot = Boot(
        kernel=image_set.production_kernel, initramfs=work.initramfs, disk=work.disk, dtb=dtb,
        crashkernel=region.argument if region.size else "", cmdline=options.cmdline,
        args=(*_watchdog(board, options), *(server.qemu_args if server else ()), *options.qemu_args),
        qemu=options.qemu,
        arguments=_text(image_set.boot_arguments), overlay=overlay if overlay.is_file() else None,
        plan=None if on_target(board) else work.plan,
    )  # fmt: skip
    boot = with_overlay(board, boot, work.folder)
    deadline = options.deadline or board.dump.deadline + _MARGIN
    ran = run_machine(board, boot, log=work.console, deadline=deadline)
    dumps_folder = work.target / board.dump.directory
    after = _read_target(server, board, work, dumps_folder)
    first, second = (read_boot_record(work.target / FOLDER / f"boot-{number}") for number in (1, 2))
    if first is not None and is_carried(board) and not (work.target / FOLDER / FETCHED).exists():
        # The machine did not come back to do it.
        run_machine(board, boot, log=work.reading, deadline=_MARGIN)
        after = _read_target(server, board, work, dumps_folder)
    dumps = find_dumps(dumps_folder)
    witness = Witness(
        console=ran.console,
        first=first,
        second=second,
        load_log=_text(work.target / FOLDER / "load.log"),
        attempt=read_attempt(dumps_folder),
        crashkernel=region.size,
        in_time=ran.in_time,
        seconds=ran.seconds,
        status=ran.status,
        root=board.capture.root,
    )
    new = tuple(dump for dump in dumps if dump.name != EARLIER)
    evidence = Evidence(
        witness=witness, dumps=new, earlier=(earlier, after),
        vmlinux=image_set.production_vmlinux, trigger=trigger, marker=marker,
        watchdog=board.watchdog.timeout if board.watchdog and has_watchdog(board, options.qemu) else 0,
    )  # fmt: skip
    checks, failure, crash = judge(evidence)
    passed = failure is None and all(check.ok for check in checks)
    if passed and not options.keep_disk:
        work.disk.unlink(missing_ok=True)
        work.plan.unlink(missing_ok=True)
    saved = next((dump for dump in new if dump.vmcore), new[0] if new else None)
    return Verdict(
        board=board.name,
        trigger=trigger.name,
        marker=marker,
        passed=passed,
        checks=checks,
        failure=failure,
        crash=crash,
        times=times(ran.console, ran.seconds),
        reserved=first.reserved if first else 0,
        ram=ram_of(board),
        dmesg_size=saved.dmesg.stat().st_size if saved and saved.dmesg else None,
        vmcore_size=saved.vmcore.stat().st_size if saved and saved.vmcore else None,
        form=saved.form if saved else "",
        places={
            **({"dump": str(saved.folder)} if saved else {}),
            "vmlinux": str(image_set.production_vmlinux),
            "console": str(work.console),
            "result": str(work.result),
            **({"disk": str(work.disk)} if work.disk.exists() else {}),
        },
        records={
            path.name: str(path) for path in sorted((work.target / FOLDER / RECORDS).glob("*")) if path.is_file()
        },
        by_watchdog=witness.second is not None and witness.second.by_watchdog,
        command=ran.command,
        qemu=dotted(qemu_version(board, options.qemu)),
        console_tail=tail(ran.console, failure.boot if failure else 0),
        stand_in=options.stand_in,
    )


def _prepare(
    server: Server | None, board: Board, image_set: SetFiles, userland: Userland, trigger: Trigger, marker: str,
    work: Work, options: Options,
) -> dict[str, str]:  # fmt: skip
    """Make disk and production system. Return the digests of the earlier dump."""
    plan = work.content / FOLDER / "plan"
    plan.parent.mkdir(parents=True)
    plan.write_text(plan_text(trigger, marker, options.means), encoding="utf-8")
    size = options.disk_size or machine_of(board).disk_size or disk.disk_size(ram_of(board))
    if server is not None:
        earlier = _fill_server(server, board, work, marker)
    else:
        earlier = _make_ring(board, work, marker, size) if board.dump.is_ring else _make_disk(board, work, marker, size)
    shutil.rmtree(work.content)
    install = {
        f"{TARGET_FOLDER}/{path.relative_to(image_set.folder)}": path
        for path in (image_set.kernel, image_set.initramfs, image_set.load_script, image_set.load_conf,
                     image_set.manifest, image_set.checksums, *image_set.collecting)
        if path.is_file()
    }  # fmt: skip
    if server is not None and server.behind:
        work.capture.write_bytes(with_files(image_set.initramfs.read_bytes(), server.behind))
        sums = image_set.checksums.read_text(encoding="utf-8")
        own, new = (files.sha256(path) for path in (image_set.initramfs, work.capture))
        work.checksums.write_text(sums.replace(own, new), encoding="utf-8")
        install[f"{TARGET_FOLDER}/{image_set.initramfs.name}"] = work.capture
        install[f"{TARGET_FOLDER}/{image_set.checksums.name}"] = work.checksums
    install |= options.install
    hold = f"kdump.hold={board.watchdog.timeout + _BEYOND}" if trigger.outlives_watchdog and board.watchdog else ""
    more = " ".join(filter(None, (machine_of(board).capture_cmdline, hold)))
    if more:
        place = f"{TARGET_FOLDER}/{image_set.load_conf.name}"
        text = install[place].read_text(encoding="utf-8")
        work.load_conf.write_text(f'{text}KDUMP_CMDLINE="$KDUMP_CMDLINE {more}"\n', encoding="utf-8")
        install[place] = work.load_conf
    folder = f"/{TARGET_FOLDER}"
    if board.capture.root:
        folder = f"/product/{SET_FOLDER}"
        install = _make_root(board, image_set, userland, work, install)
    write_system(work.initramfs, userland, system_conf(board, f"{folder}/{image_set.load_script.name}"), install)
    return earlier


def _make_root(
    board: Board, image_set: SetFiles, userland: Userland, work: Work, install: Mapping[str, Path]
) -> dict[str, Path]:
    """Make the product's file system, with the image set on it. Return what is left for the production system."""
    own = {name: path for name, path in install.items() if name.startswith(f"{TARGET_FOLDER}/")}
    write_root(work.content, userland, image_set.capture_root)
    for name, path in own.items():
        target = work.content / SET_FOLDER / name.removeprefix(f"{TARGET_FOLDER}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    filesystem = board.capture.root_filesystem
    disk.make_root(work.disk, work.content, filesystem=filesystem, place=_place(board))
    shutil.rmtree(work.content)
    return {name: path for name, path in install.items() if name not in own}


def _place(board: Board) -> disk.Place:
    """Return where on the disk the dump's file system is."""
    beside = disk.place_beside(board.capture.root, board.dump.device) if board.capture.root else None
    return beside or disk.place_of(board.dump.device)


def disk_faults(board: Board) -> list[Fault]:
    """Return what keeps the crash test from making the disk of a board that has a machine."""
    what = f"the crash test cannot make the disk of {board.name}"
    faults = []
    if why := disk.why_no_root(board):
        hint = (
            'give a copy of the board file root = "/dev/vda1", root_filesystem = "ext4" and, for the dumps,\n'
            'device = "/dev/vda2"; or leave capture.root out for the test'
        )
        faults.append(Fault(what, where=board.where("capture", "root"), why=why, hint=hint))
    if why := why_no_volume(board):
        hint = 'device = "ubi0:dumps", and for the machine drive = "if=pflash,unit=1", erase_size = "256K"'
        faults.append(Fault(what, where=board.where("dump", "device"), why=why, hint=hint))
    return faults


def _watchdog(board: Board, options: Options) -> tuple[str, ...]:
    if not options.means.watchdog:
        return ()
    arguments = machine_of(board).reset
    if not arguments:
        raise user_error(
            f"the board {board.name} names no hardware watchdog for its QEMU machine",
            where=board.where("machine", "reset"),
            hint='write [machine] reset = ["-device", "i6300esb"], and build its driver into the production kernel',
        )  # fmt: skip
    return arguments


def _make_disk(board: Board, work: Work, marker: str, size: int) -> dict[str, str]:
    """Make a dump target with a file system, the plan and an earlier dump on it. Return the dump's digests."""
    dumps = work.content / board.dump.directory
    write_earlier_dump(dumps, marker)
    earlier = disk.tree_digest(dumps / EARLIER)
    if is_carried(board):
        make_empty(board, work.disk, size, _place(board))
        _make_plan(work, _PLAN_SIZE + size)
    else:
        place = _place(board)
        disk.make_disk(work.disk, work.content, filesystem=board.dump.filesystem, size=size, place=place)
    return earlier


def _make_plan(work: Work, size: int) -> None:
    """Make the test's own disk, of ``size`` bytes or more."""
    place = disk.Place(label=PLAN_LABEL)
    disk.make_disk(work.plan, work.content, filesystem="ext4", size=disk.power_of_two(size), place=place)


def _make_ring(board: Board, work: Work, marker: str, size: int) -> dict[str, str]:
    """Make a dump target that is a ring of slots, an earlier dump in one, and a disk for the plan."""
    erase = machine_of(board).erase_size
    flash = board.dump.target == "mtd"
    ring.make_ring(work.disk, slots=board.dump.slots, size=size, erase=erase, marker=marker, flash=flash)
    _make_plan(work, _PLAN_SIZE)
    return ring.slot_digest(work.disk, board.dump.slots, erase)


def _fill_server(server: Server, board: Board, work: Work, marker: str) -> dict[str, str]:
    """Put an earlier dump on the server, and make a disk for the plan. Return the dump's digests."""
    write_earlier_dump(server.dumps(board), marker)
    _make_plan(work, _PLAN_SIZE)
    return disk.tree_digest(server.dumps(board) / EARLIER)


def _read_target(server: Server | None, board: Board, work: Work, dumps: Path) -> dict[str, str]:
    """Copy records and dumps into the work folder. Return the digests of the earlier dump."""
    if server is not None:
        disk.read_disk(work.plan, (FOLDER,), work.target)
        server.fetch(board, dumps)
        return disk.tree_digest(dumps / EARLIER)
    if not board.dump.is_ring:
        carried = is_carried(board)
        source, place = (work.plan, None) if carried else (work.disk, _place(board))
        disk.read_disk(source, (FOLDER, board.dump.directory), work.target, place)
        return disk.tree_digest(dumps / EARLIER)
    disk.read_disk(work.plan, (FOLDER,), work.target)
    with contextlib.suppress(UserError):  # no slot holds a dump: the verdict says what that means
        unpack_ring(work.disk, dumps)
    return ring.slot_digest(work.disk, board.dump.slots, machine_of(board).erase_size)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
