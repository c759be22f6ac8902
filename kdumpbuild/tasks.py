"""The build as a graph of doit tasks. Loading this module reads board files and nothing else.

    source ──► config:B ──► kernel:B-production ─┐
       │           │  └───► kernel:B-capture ────┤
       │           └──────────────┐              ├──► image:B ──► crashtest:B
    userland:A ──────────────► initramfs:B ──────┘       │
                                                       build

Every board B has sub-tasks of its own, for an architecture A. ``BOARD`` only selects, so that going from one board
to another builds nothing again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit import get_initial_workdir, get_var
from doit.exceptions import InvalidDodoFile, TaskFailed
from doit.reporter import ConsoleReporter

from kdumpbuild import files, resources, steps, steps_crash
from kdumpbuild.board.loader import find_board, find_boards, fragment_path, load_board
from kdumpbuild.build import imageset, source, userland
from kdumpbuild.build.layout import Layout
from kdumpbuild.crashtest import standin
from kdumpbuild.errors import Fault, UserError, user_error
from kdumpbuild.settings import Settings, read_settings, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kdumpbuild.board.model import Board

    Task = dict[str, Any]

__all__ = [
    "doit_config", "task_build", "task_calibrate", "task_check", "task_config",
    "task_crashtest", "task_image", "task_initramfs", "task_kernel", "task_logtest", "task_matrix",
    "task_predictions", "task_source", "task_test", "task_test_boards", "task_userland",
]  # fmt: skip


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit has no types
    """doit's own report, but a failure is told once, in the words of the one who knows."""

    desc = "one line a task; a failure told once"
    failures: list[dict[str, Any]]

    def _write_failure(self, result: dict[str, Any], write_exception: bool = True) -> None:  # noqa: FBT001, FBT002
        failure = result["exception"]
        if not isinstance(failure, TaskFailed):
            super()._write_failure(result, write_exception)
            return
        self.outstream.flush()
        sys.stderr.write(f"error: {failure.message}\n")

    def complete_run(self) -> None:
        """Say nothing twice."""
        self.failures = [f for f in self.failures if not isinstance(f["exception"], TaskFailed)]
        super().complete_run()


_STAND_IN = "+virt"
"""Behind a board's name in the tasks of its stand-in. No board's name has a plus in it."""


@dataclass(frozen=True)
class Context:
    """What the command line and the environment say."""

    settings: Settings
    boards: dict[str, Board]
    selected: tuple[str, ...]

    @property
    def wanted(self) -> list[str]:
        """The boards that have tasks. The project's own tests take what they need, whatever BOARD says."""
        tests = any(argument.startswith(("test", "predictions")) for argument in sys.argv[1:])
        return sorted(self.selected if self.selected and not tests else self.boards)

    def layout(self, name: str) -> Layout:
        """Return the folders of a board's build."""
        settings = self.settings
        return Layout(settings.out, settings.cache, self.boards[name], settings.kernel_build, settings.image_set)

    def stand_in(self, name: str) -> Layout | None:
        """Return the folders of what stands in for a board without a machine; None for all others."""
        board = self.boards[name]
        if board.machine is not None or standin.why_not(board):
            return None
        return steps.stand_in_layout(self.settings, self.layout(name))

    def builds(self) -> Iterator[tuple[str, Layout]]:
        """Yield the name in tasks and the folders of all that is built: each board, and what stands in for it.

        With BOARD only those that it names: ``doit config BOARD=x`` neither waits for other boards nor stops at them.
        """
        for name in self.wanted:
            yield name, self.layout(name)
            standing = self.stand_in(name)
            if standing is not None:
                yield f"{name}{_STAND_IN}", standing


@functools.cache
def context() -> Context:
    """Read variables and board files. A mistake in them ends doit with its exit code 3 and our message."""
    try:
        refuse_unknown(arg.split("=", 1)[0] for arg in sys.argv[1:] if "=" in arg and not arg.startswith("-"))
        settings = read_settings(_variable, Path(get_initial_workdir() or Path.cwd()))
        known = find_boards(settings.board_path)
        chosen = [find_board(choice, known, settings.base) for choice in settings.boards]
        boards = {path.stem: load_board(path) for path in chosen}
        for board in boards.values():
            steps.check_product(settings, board)
        # A fault in a board that nobody chose stops nobody.
        for name, path in known.items():
            if name not in boards:
                try:
                    boards[name] = load_board(path)
                except UserError:
                    continue
        return Context(settings, boards, tuple(path.stem for path in chosen))
    except UserError as error:
        raise InvalidDodoFile(str(error)) from error


def _variable(name: str) -> str | None:
    value = get_var(name, None)
    return os.environ.get(name) if value is None else str(value)


def act(function: Callable[..., None], *args: object) -> tuple[Callable[[], TaskFailed | None], list[Any]]:
    """Return an action for doit: a mistake of the user's and an interrupt become a failure, not a traceback."""

    def action() -> TaskFailed | None:
        try:
            with files.writing(context().settings.out / "log"):
                function(*args)
        except UserError as error:
            return TaskFailed(str(error))
        except KeyboardInterrupt:
            return TaskFailed("interrupted; the same command goes on from here")
        return None

    return (action, [])


class Unchanged:
    """Up to date as long as the facts that ``facts()`` returns are those of the last run. Asked for late."""

    def __init__(self, facts: Callable[[], object]) -> None:
        self._facts = facts

    def __call__(self, task: Any, values: dict[str, Any]) -> bool:
        """Return whether the facts are those saved with the task's last success."""
        try:
            text = json.dumps(self._facts(), sort_keys=True, default=str)
        except UserError:
            return False
        digest = hashlib.sha256(text.encode()).hexdigest()
        task.value_savers.append(lambda: {"facts": digest})
        return values.get("facts") == digest


_VIRT = ("image:arm-virt", "image:arm64-virt")
_QUIET = {"io": {"capture": False}, "verbosity": 2}


def task_source() -> Task:
    """Unpack the kernel source and check that it is one."""
    ctx = context()

    def facts() -> object:
        found = source.locate(ctx.settings.kernel_src, ctx.settings.cache)
        return [str(found.given), str(found.tree), found.packed and found.stamp.exists()]

    return {"actions": [act(steps.prepare_source, ctx.settings)], "uptodate": [Unchanged(facts)], **_QUIET}


def task_userland() -> Iterator[Task]:
    """Extract the target's BusyBox, makedumpfile and kexec, or check those in SYSROOT."""
    ctx = context()
    for arch in {ctx.boards[name].arch.name: ctx.boards[name].arch for name in ctx.wanted}.values():
        stamp = userland.stamp_of(userland.default_root(ctx.settings.cache, arch))
        yield {
            "name": arch.name,
            "doc": f"the userland for {arch.name}",
            "actions": [act(steps.prepare_userland, ctx.settings, arch)],
            "uptodate": [Unchanged(functools.partial(_userland_facts, ctx.settings, stamp))],
            **_QUIET,
        }


def _userland_facts(settings: Settings, stamp: Path) -> object:
    return [settings.sysroot, stamp.exists()]


def task_config() -> Iterator[Task]:
    """Resolve, verify and emit the production and capture configs."""
    ctx = context()
    for name, layout in ctx.builds():
        board = layout.board
        fragments = steps.fragments(board)
        own = [ctx.settings.kernel_config] if ctx.settings.kernel_config else []
        if "/" in board.production.base:
            own.append(fragment_path(board.production.base, board.path))
        if board.own_dtb is not None:
            own.append(board.own_dtb)
        yield {
            "name": name,
            "doc": f"configs of {name}",
            "actions": [act(steps.resolve_configs, ctx.settings, layout)],
            "file_dep": [
                str(p) for p in (*fragments["production"], *fragments["capture"], *own, *steps.patch_files(board))
            ],
            "task_dep": ["source"],
            "targets": [str(path) for path in steps.config_files(layout)],
            "uptodate": [Unchanged(functools.partial(steps.config_facts, ctx.settings, board))],
            "clean": [(_remove, [layout.work])],
            **_QUIET,
        }


def task_kernel() -> Iterator[Task]:
    """Compile the capture kernel, and the production kernel of a board that the crash test boots."""
    ctx = context()
    for name, layout in ctx.builds():
        for role in steps.roles(layout.board, ctx.settings):
            products = [layout.kernel(role), layout.vmlinux(role)]
            yield {
                "name": f"{name}-{role}",
                "doc": f"the {role} kernel of {name}",
                "actions": [act(steps.build_kernel, ctx.settings, layout, role)],
                "file_dep": [str(layout.config(role))],
                "task_dep": ["source"],
                "targets": [str(path) for path in products],
                "uptodate": [Unchanged(functools.partial(steps.kernel_facts, ctx.settings, layout.board))],
                "clean": [(_remove, [layout.kbuild(role)])],
                **_QUIET,
            }


def task_initramfs() -> Iterator[Task]:
    """Pack the crash initramfs: init, its configuration, BusyBox, makedumpfile, vmcore-dmesg."""
    ctx = context()
    for name, layout in ctx.builds():
        board = layout.board
        if name.endswith(_STAND_IN):
            yield _stand_in_initramfs(name, ctx.layout(board.name), layout)
            continue
        config = layout.config(imageset.capture_role(board))
        templates = sorted(path for path in (resources.TEMPLATES / "initramfs").rglob("*") if path.is_file())
        yield {
            "name": name,
            "doc": f"the crash initramfs of {name}",
            "actions": [act(steps.build_initramfs, ctx.settings, layout)],
            "file_dep": [*map(str, templates), str(config)],
            "task_dep": [f"userland:{board.arch.name}"],
            "targets": [str(layout.initramfs), *([str(layout.capture_root)] if board.capture.root else [])],
            "uptodate": [Unchanged(functools.partial(steps.initramfs_facts, ctx.settings, board))],
            "clean": True,
            **_QUIET,
        }


def _stand_in_initramfs(name: str, own: Layout, standing: Layout) -> Task:
    conf = resources.TEMPLATES / "initramfs" / "kdump.conf.j2"
    return {
        "name": name,
        "doc": f"the crash initramfs of {own.board.name}, for the machine that stands in for it",
        "actions": [act(steps.extend_initramfs, own, standing)],
        "file_dep": [str(own.initramfs), str(conf)],
        "targets": [str(standing.initramfs)],
        "uptodate": [Unchanged(functools.partial(steps.stand_in_facts, standing))],
        "clean": True,
        **_QUIET,
    }


def task_image() -> Iterator[Task]:
    """Put the image set together: kernel, initramfs, scripts, debug files, manifest."""
    ctx = context()
    for name, layout in ctx.builds():
        board, assemble = layout.board, act(steps.assemble_set, ctx.settings, layout)
        if layout.given is not None:
            yield {
                "name": name,
                "doc": f"look at the image set {layout.given}",
                "actions": [act(steps.check_given_set, layout)],
                "task_dep": [f"userland:{board.arch.name}"],
                **_QUIET,
            }
            continue
        parts = [layout.initramfs, layout.fragment, layout.config("production"), *([layout.dtb] if board.dtb else [])]
        parts += [layout.overlay, layout.overlay_blob] if board.drivers else []
        parts += [layout.capture_root] if board.capture.root else []
        if layout.product is not None:
            parts += [layout.kernel("production"), layout.vmlinux("production")]
        if name.endswith(_STAND_IN):
            own = ctx.layout(board.name)
            parts.append(own.set.manifest)
            assemble = act(steps.assemble_stand_in, ctx.settings, own, layout)
        for role in steps.roles(board, ctx.settings):
            parts += [layout.config(role), layout.kernel(role), layout.vmlinux(role)]
        parts += sorted(p for folder in ("target", "boot") for p in (resources.TEMPLATES / folder).iterdir())
        yield {
            "name": name,
            "doc": f"the image set of {name}, in {layout.set.folder}",
            "actions": [assemble],
            "file_dep": [str(path) for path in parts],
            "targets": [str(path) for path in steps.set_files(layout)],
            "uptodate": [Unchanged(functools.partial(steps.set_facts, ctx.settings, layout))],
            "clean": [(_remove, [layout.set.folder])],
            **_QUIET,
        }


def task_build() -> Task:
    """Build the image set of BOARD and say where it is."""
    ctx = context()
    return {
        "actions": [act(_say_built, ctx)],
        "task_dep": [f"image:{name}" for name in ctx.selected],
        "clean": [(_clean, [ctx])],
        **_QUIET,
    }


def task_calibrate() -> Task:
    """Find the smallest crashkernel= with which BOARD still captures, by real crashes."""
    ctx = context()
    return {
        "actions": [act(_for_each, ctx, steps_crash.calibrate)],
        "task_dep": [f"image:{name}" for name in ctx.selected],
        **_QUIET,
    }


def task_check() -> Task:
    """Check the image set of BOARD for all that is known to break kdump."""
    ctx = context()
    return {
        "actions": [act(_for_each, ctx, steps.check)],
        "task_dep": [f"image:{name}" for name in ctx.selected],
        **_QUIET,
    }


def task_crashtest() -> Task:
    """Boot the image set of BOARD in QEMU, crash it for real, capture, open the dump."""
    ctx = context()
    return {
        "actions": [act(_for_each, ctx, steps_crash.crashtest)],
        "task_dep": [f"image:{name}" for name in _crashed(ctx)],
        "clean": [(_remove, [ctx.layout(name).crashtest]) for name in ctx.selected],
        **_QUIET,
    }


def _crashed(ctx: Context) -> list[str]:
    """Return the builds that a crash test of the selected boards needs."""
    wanted = {*ctx.selected, *(f"{name}{_STAND_IN}" for name in ctx.selected)}
    return [name for name, _ in ctx.builds() if name in wanted]


def task_matrix() -> Task:
    """Crash BOARD in QEMU in every known way, on several CPUs and on one, and tell what is left."""
    ctx = context()
    return {
        "actions": [act(_for_each, ctx, steps_crash.matrix)],
        "task_dep": [f"image:{name}" for name in ctx.selected],
        "clean": [(_remove, [ctx.layout(name).matrix]) for name in ctx.selected],
        **_QUIET,
    }


def task_logtest() -> Task:
    """Crash BOARD in QEMU for each other way to keep a log that it picks, and look for the record."""
    ctx = context()
    return {
        "actions": [act(_for_each, ctx, steps_crash.logtest)],
        "task_dep": [f"image:{name}" for name in ctx.selected],
        "clean": [(_remove, [ctx.layout(name).logtest]) for name in ctx.selected],
        **_QUIET,
    }


def task_test() -> Iterator[Task]:
    """Run all tests: lint, types, unit tests, and real crashes of both virt boards."""
    ctx = context()
    jobs = str(ctx.settings.jobs)
    yield {"name": "lint", "doc": "ruff over everything", **_tests("lint", ["ruff", "check", "."])}
    yield {"name": "types", "doc": "mypy over everything", **_tests("types", ["mypy"])}
    fast = ["pytest", "-q", "-n", jobs, "-m", "not boot and not boards"]
    yield {"name": "unit", "doc": "the fast tests, shellcheck among them", **_tests("unit", fast, ["source"])}
    crashes = ["pytest", "-q", "-m", "boot and not slow"]
    yield {"name": "boot", "doc": "real crashes of both virt boards", **_tests("boot", crashes, _VIRT)}
    yield {
        "name": "summary",
        "doc": "say that all passed",
        "actions": [act(steps.say_tested, ctx.settings)],
        "task_dep": [f"test:{name}" for name in ("lint", "types", "unit", "boot")],
        **_QUIET,
    }


def task_predictions() -> Task:
    """Run the tests that take kernels of their own: rules to be proved, the tutorial. `test` leaves them out."""
    return _tests("predictions", ["pytest", "-q", "-m", "slow"], _VIRT)


def task_test_boards() -> Iterator[Task]:
    """Build every shipped board, check it, and crash those that QEMU has. Takes long, and is no part of ``test``."""
    shipped = [name for name, board in sorted(context().boards.items()) if board.path.parent == resources.BOARDS]
    yield {
        "basename": "test:boards",
        "doc": "builds, checks and crashes of all shipped boards: takes long, not part of test",
        **_tests("boards", ["pytest", "-q", "-m", "boards"], [f"image:{name}" for name in shipped]),
    }


def _tests(name: str, command: Sequence[str], needs: Sequence[str] = ()) -> Task:
    here = Path(__file__).resolve().parent.parent
    python = [sys.executable, "-m", *command]
    action = act(steps.run_tests, context().settings, name, python, here)
    built = {"source", *(f"image:{board}" for board, _ in context().builds())}
    return {"actions": [action], "task_dep": [need for need in needs if need in built], **_QUIET}


def _need_board(ctx: Context) -> None:
    if not ctx.selected:
        raise user_error(
            "BOARD is not set",
            why=f"boards: {', '.join(sorted(ctx.boards))}",
            hint="say which: BOARD=arm-virt; or give the path of your own board file",
        )


def _say_built(ctx: Context) -> None:
    _need_board(ctx)
    for name in ctx.selected:
        steps.say_built(ctx.layout(name))


def _for_each(ctx: Context, step: Callable[[Settings, Layout], None]) -> None:
    """Take a step for each selected board; one that fails does not keep the others from theirs."""
    _need_board(ctx)
    faults: list[Fault] = []
    for name in ctx.selected:
        try:
            step(ctx.settings, ctx.layout(name))
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(*faults)


def _clean(ctx: Context) -> None:
    """Remove all that was made for BOARD, or for every board when none is given. The cache stays."""
    for name in ctx.selected or sorted(ctx.boards):
        layout = ctx.layout(name)
        # What came from elsewhere is not ours to remove.
        made = [layout.kbuild(role) for role in steps.roles(layout.board, ctx.settings)]
        made += [layout.work, layout.crashtest, layout.matrix, layout.logtest]
        made += [layout.set.folder] if layout.given is None else []
        standing = ctx.stand_in(name)
        if standing is not None:
            made += [standing.set.folder, standing.work]
            made += [standing.kbuild(role) for role in steps.roles(standing.board, ctx.settings)]
            made += standing.logs.glob(f"{name}-*.log")
        made += [layout.check("json"), layout.check("sarif"), *layout.logs.glob(f"{name}-*.log")]
        for path in made:
            if path.exists():
                print(f"{path} - removing")  # the words that doit itself uses
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def doit_config() -> dict[str, Any]:
    """Return DOIT_CONFIG. The state of what was done lies beside the results that it speaks of."""
    return {
        "default_tasks": ["build"],
        "reporter": Reporter,
        "backend": "kdumpbuild",
        "dep_file": str(context().settings.out / ".doit.json"),
        "verbosity": 2,
    }
