"""Running programs: the only module that imports :mod:`subprocess`.

Argument lists only, no shell, no standard input, a small explicit environment. What a program prints goes to a
log file or is returned; a failure is a :class:`~kdumpbuild.errors.UserError` with the end of what it printed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.errors import user_error

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping, Sequence

# Debian package that brings a program, for the hint when it is missing.
_PACKAGE_OF = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "arm-linux-gnueabihf-gcc": "gcc-arm-linux-gnueabihf",
    "debugfs": "e2fsprogs",
    "dropbearconvert": "dropbear-bin",
    "dropbearkey": "dropbear-bin",
    "dtc": "device-tree-compiler",
    "fdtoverlay": "device-tree-compiler",
    "ganesha.nfsd": "nfs-ganesha and nfs-ganesha-vfs",
    "e2fsck": "e2fsprogs",
    "mke2fs": "e2fsprogs",
    "mkfs.f2fs": "f2fs-tools",
    "mkfs.ubifs": "mtd-utils",
    "mkfs.vfat": "dosfstools",
    "mksquashfs": "squashfs-tools",
    "dumpe2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-arm": "qemu-system-arm",
    "sfdisk": "fdisk",
    "sload.f2fs": "f2fs-tools",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "ubinize": "mtd-utils",
    "xz": "xz-utils",
}

# What a child may see of the caller's environment; everything else is given by name.
_PASSED_ON = (
    "HOME", "PATH", "TMPDIR", "USER", "LOGNAME", "TERM",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "SOURCE_DATE_EPOCH", "LD_LIBRARY_PATH",
)  # fmt: skip
_PASSED_ON_PREFIXES = ("CCACHE_",)

TAIL_LINES = 25


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment a child gets: a few variables of the caller's, a fixed locale, and ``extra``."""
    env = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith(_PASSED_ON_PREFIXES)}
    env |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    return env | dict(extra or {})


def which(program: str, *, needed_for: str = "", hint: str = "") -> Path:
    """Return the path of ``program`` on PATH, or raise a UserError that says how to get it."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        package = _PACKAGE_OF.get(Path(program).name)
        raise user_error(
            f"the program {program} is missing",
            why=f"needed {needed_for}" if needed_for else "",
            hint=hint or (f"on Debian: apt-get install {package}" if package else f"install {program}"),
        )
    return Path(found)


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """Return the last lines of ``text``, each behind a bar."""
    return "\n".join(f"| {line}" for line in text.rstrip().splitlines()[-lines:])


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    hint: str = "",
    accept: Container[int] = (0,),
    stdin: str = "",
) -> str:
    """Run a program to its end and return its standard output.

    ``what`` says what was being done, for the error; ``accept`` holds the exit statuses that are no failure;
    ``stdin`` is what it reads.
    Raises UserError when the program is missing or fails.
    """
    args = [str(arg) for arg in argv]
    args[0] = str(which(args[0], needed_for=f"to {what}"))
    try:
        done = subprocess.run(
            args, cwd=cwd, env=environment(env), input=stdin, capture_output=True,
            text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise user_error(f"could not {what}: {error}", hint=hint) from error
    if done.returncode not in accept:
        raise user_error(
            f"could not {what}: {Path(args[0]).name} ended with {_status(done.returncode)}",
            why=f"$ {shlex.join(args)}\n{tail(done.stderr or done.stdout)}",
            hint=hint,
        )
    return done.stdout


def output(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> str:
    """Return what a program prints, whatever its exit status: for questions whose answer is only good to know."""
    args = [str(arg) for arg in argv]
    args[0] = str(which(args[0]))
    done = subprocess.run(
        args, env=environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    return done.stdout


def shell(command: str, *, cwd: Path, env: Mapping[str, str]) -> tuple[str, str]:
    """Run a command line of the kernel's Kconfig files (``$(shell,...)``) and return both its outputs.

    The one place where a shell reads a command: Kconfig's language demands it. Its exit status has no meaning.
    """
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    return done.stdout, done.stderr


def run_logged(
    argv: Sequence[str | Path],
    *,
    what: str,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    hint: Callable[[str], str] | None = None,
) -> None:
    """Run a long program, both its outputs into ``log``; ``on_line`` sees each line as it comes.

    ``hint`` gets the end of the log when the program fails and may say what to do. An interrupt ends the
    program's whole process group before it is passed on, so that nothing writes on behind our back.
    """
    args = [str(arg) for arg in argv]
    args[0] = str(which(args[0], needed_for=f"to {what}"))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8", errors="replace", buffering=1) as sink:
        sink.write(f"$ {shlex.join(args)}\n")
        with subprocess.Popen(
            args, cwd=cwd, env=environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        ) as child:  # fmt: skip
            assert child.stdout is not None  # noqa: S101  # PIPE was asked for
            try:
                for line in child.stdout:
                    sink.write(line)
                    if on_line is not None:
                        on_line(line.rstrip("\n"))
                child.wait()
            except BaseException:
                end_group(child)
                raise
    if child.returncode != 0:
        text = log.read_text(encoding="utf-8", errors="replace")
        raise user_error(
            f"could not {what}: {Path(args[0]).name} ended with {_status(child.returncode)}",
            why=f"{tail(text)}\nwhole log: {log}",
            hint=hint(text) if hint else "",
        )


@dataclass(frozen=True)
class Ended:
    """How a watched program came to its end."""

    status: int
    """Its exit status; below zero the signal that ended it, which may have been ours."""
    seconds: float
    """How long it ran."""
    in_time: bool
    """Whether it ended by itself, before its time was up."""


def watch(
    argv: Sequence[str | Path],
    *,
    what: str,
    log: Path,
    deadline: float,
    on_line: Callable[[float, str], float | None],
) -> Ended:
    """Run a program for at most ``deadline`` seconds, its raw output into ``log``.

    ``on_line`` gets each line as it comes and the seconds since the start; the seconds it returns, if any, are what
    the program has left from then on, within the deadline. The program ends when we end, even by SIGKILL. What its
    end means is for the caller to say; only a program that cannot be started raises UserError.
    """
    program = which(str(argv[0]), needed_for=f"to {what}")
    # The kernel sends the signal when the thread that started the program ends (prctl(2), PR_SET_PDEATHSIG).
    args = [str(which("setpriv")), "--pdeathsig", "KILL", "--", str(program), *map(str, argv[1:])]
    start = time.monotonic()
    end = last = start + deadline
    with log.open("wb", buffering=0) as sink, subprocess.Popen(
        args, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        bufsize=0, start_new_session=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None  # noqa: S101  # PIPE was asked for
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(child.stdout, selectors.EVENT_READ)
                line = b""
                while (left := end - time.monotonic()) > 0:
                    if not selector.select(left):
                        continue
                    data = child.stdout.read(1 << 16)
                    if not data:
                        break
                    sink.write(data)
                    *whole, line = (line + data).split(b"\n")
                    if len(line) > 1 << 16:
                        whole, line = [*whole, line], b""
                    for text in whole:
                        now = time.monotonic()
                        left_now = on_line(now - start, text.decode(errors="replace").rstrip("\r"))
                        if left_now is not None:
                            end = min(last, now + left_now)
            in_time = end > time.monotonic()
            if in_time:
                child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            if child.poll() is None:
                end_group(child)
    return Ended(child.returncode, time.monotonic() - start, in_time)


@contextlib.contextmanager
def background(argv: Sequence[str | Path], *, log: Path) -> Iterator[Callable[[], bool]]:
    """Run a program as long as the context lasts, its output into ``log``. Yields what tells whether it still runs.

    The program ends when we end, even by SIGKILL.
    """
    args = [str(which("setpriv")), "--pdeathsig", "KILL", "--", *map(str, argv)]
    with log.open("wb") as sink, subprocess.Popen(
        args, env=environment(), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as child:  # fmt: skip
        try:
            yield lambda: child.poll() is None
        finally:
            end_group(child)


def end_group(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a child started in its own session, and all it started: politely, then for certain."""
    for sig, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(child.pid, sig)
        except ProcessLookupError:
            return
        try:
            child.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
        return


def _status(returncode: int) -> str:
    if returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"
