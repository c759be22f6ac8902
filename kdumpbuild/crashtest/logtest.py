"""The other ways to keep a log, each proved: crash, reset, and a look for the record.

A way passes when what it kept names this very crash: the line with the test's name, or the panic that followed it.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import files
from kdumpbuild.analysis.dump import find_cause
from kdumpbuild.crashtest.protocol import SAY_TRIGGER, Means
from kdumpbuild.crashtest.runner import Options, run_crashtest
from kdumpbuild.crashtest.triggers import TRIGGERS
from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.board.model import Board
    from kdumpbuild.build.layout import SetFiles
    from kdumpbuild.build.userland import Userland

_NO_PANIC = "oops=continue sysctl.kernel.panic_on_oops=0"
_DISK = 8 << 20
_FLASH = 64 << 20
"""What QEMU's virt boards take for one of their two flash chips."""


@dataclass(frozen=True)
class Case:
    """One crash that a way has to keep something of."""

    way: str
    trigger: str
    kdump: bool
    record: str
    """What the record's name begins with; ``net`` and ``console`` are whole names, and not on the machine."""
    cmdline: str = ""

    def keeps(self, name: str) -> bool:
        """Whether a record of that name is the one that the way promises."""
        return name == self.record if self.record in {"net", "console"} else name.startswith(self.record)

    @property
    def title(self) -> str:
        """What is tried, in words."""
        what = "an oops that does not panic" if self.cmdline else "a panic"
        return f"{self.way}: {what}, {'beside kdump' if self.kdump else 'alone'}"

    @property
    def name(self) -> str:
        """A folder's name for it."""
        return f"{self.way}-{'oops' if self.cmdline else 'panic'}-{'kdump' if self.kdump else 'alone'}"


CASES: tuple[Case, ...] = (
    Case("ramoops", "lkdtm-panic", kdump=False, record="dmesg-ramoops"),
    Case("ramoops", "lkdtm-panic", kdump=True, record="console-ramoops"),
    # Of a panic nothing is kept that came in its last half minute: writes wait in the page cache (fs/pstore/blk.c).
    Case("pstore_blk", "lkdtm-null", kdump=False, record="dmesg-pstore_blk", cmdline=_NO_PANIC),
    # QEMU's flash is of the Intel kind, whose driver cannot write in a panic (drivers/mtd/chips/cfi_cmdset_0001.c).
    Case("mtdoops", "lkdtm-null", kdump=False, record="mtd-", cmdline=_NO_PANIC),
    Case("netconsole", "lkdtm-panic", kdump=True, record="net"),
    Case("serial", "lkdtm-panic", kdump=True, record="console"),
)


@dataclass(frozen=True)
class Proof:
    """What became of one case."""

    board: str
    case: str
    record: str
    """The name of the record; empty when there is none of this crash."""
    said: str
    """The line by which it names the crash."""
    others: tuple[str, ...]
    """Names of all records that were there."""

    @property
    def ok(self) -> bool:
        """Whether something was kept."""
        return bool(self.record)


def cases(board: Board) -> list[Case]:
    """Return the cases of the ways that the board picks. Raises UserError when it picks none."""
    found = [case for case in CASES if case.way in board.logs.picked]
    if not found:
        raise user_error(
            f"the board {board.name} picks no other way to keep a log", where=board.where("logs"),
            hint="add [logs.ramoops], [logs.netconsole] …: docs/logs.md",
        )  # fmt: skip
    return found


def prove(board: Board, image_set: SetFiles, userland: Userland, work: Path, case: Case) -> Proof:
    """Crash the board's machine, and look for what the way kept."""
    work.mkdir(parents=True, exist_ok=True)
    options = Options(
        cmdline=case.cmdline, qemu_args=_hardware(board, case.way, work),
        means=Means(
            kdump=case.kdump, reset=bool(case.cmdline), mtd=board.logs.mtdoops.device if board.logs.mtdoops else ""
        ),
    )  # fmt: skip
    with _listening(board, case.way) as heard:
        verdict = run_crashtest(board, image_set, userland, TRIGGERS[case.trigger], work, options)
    texts = {name: Path(path).read_text(encoding="utf-8", errors="replace") for name, path in verdict.records.items()}
    if case.record == "net":
        texts["net"] = b"".join(heard).decode(errors="replace")
        files.write_text(work / "netconsole.log", texts["net"])
    if case.record == "console":
        texts["console"] = Path(verdict.places["console"]).read_text(encoding="utf-8", errors="replace")
    sign = f"{SAY_TRIGGER}{case.trigger} by {verdict.marker}"
    found = [name for name, text in texts.items() if case.keeps(name) and sign in text]
    text = texts[found[0]] if found else ""
    proof = Proof(
        board=board.name, case=case.title, record=found[0] if found else "",
        # A record of pstore has each line's level before its time.
        said=find_cause(re.sub(r"^<\d+>", "", text[text.find(sign):], flags=re.MULTILINE)), others=tuple(sorted(texts)),
    )  # fmt: skip
    files.write_text(work / "proof.json", json.dumps(asdict(proof), indent=1) + "\n")
    if proof.ok:
        for name in ("disk.img", "log.img", "flash.img"):
            (work / name).unlink(missing_ok=True)
    return proof


def _hardware(board: Board, way: str, work: Path) -> tuple[str, ...]:
    """Return QEMU's arguments for what a way writes to."""
    if way == "pstore_blk":
        _image(work / "log.img", _DISK)
        return (
            "-drive", f"if=none,id=log,format=raw,file={_option(work / 'log.img')}",
            "-device", "virtio-blk-pci,drive=log",
        )  # fmt: skip
    if way == "mtdoops":
        _image(work / "flash.img", _FLASH)
        return ("-drive", f"if=pflash,unit=1,format=raw,file={_option(work / 'flash.img')}")
    if way == "netconsole" and board.logs.netconsole is not None:
        return ("-netdev", "user,id=log,restrict=off", "-device", "virtio-net-pci,netdev=log,romfile=")
    return ()


def _image(path: Path, size: int) -> None:
    with files.writing(path), path.open("wb") as stream:
        stream.truncate(size)


def _option(path: Path) -> str:
    return str(path).replace(",", ",,")


@contextmanager
def _listening(board: Board, way: str) -> Iterator[list[bytes]]:
    """Yield what comes in on netconsole's port of this machine's loopback, where QEMU's user network ends."""
    heard: list[bytes] = []
    net = board.logs.netconsole
    if way != "netconsole" or net is None:
        yield heard
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        try:
            receiver.bind(("127.0.0.1", net.port))
        except OSError as error:
            raise user_error(
                f"cannot listen to UDP port {net.port} of 127.0.0.1: {error.strerror}",
                where=board.where("logs", "netconsole", "port"),
                hint="end what listens there, or give logs.netconsole another port",
            ) from error  # fmt: skip
        receiver.settimeout(0.5)
        done = threading.Event()

        def receive() -> None:
            while not done.is_set():
                try:
                    heard.append(receiver.recv(65536))
                except TimeoutError:
                    continue

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            done.set()
            thread.join()
