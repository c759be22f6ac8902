"""doit's state is on the disk after each task, whole, and a damaged one stops nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def run_doit(state: Path, **actions: Callable[[], object]) -> int:
    """Run tasks one after the other; each is up to date once it has succeeded."""

    def task(action: Callable[[], object], file: str) -> Callable[[], dict[str, Any]]:
        return lambda: {"actions": [lambda: bool(action() or True)], "file_dep": [file]}

    source = state.with_name("source")
    source.write_text("a")
    members: dict[str, Any] = {f"task_{name}": task(action, str(source)) for name, action in actions.items()}
    config = {"dep_file": str(state), "backend": "kdumpbuild", "default_tasks": list(actions), "verbosity": 0}
    return int(DoitMain(ModuleTaskLoader({**members, "DOIT_CONFIG": config})).run([]))


def test_what_was_done_is_noted_before_the_next_task_starts(tmp_path: Path) -> None:
    state = tmp_path / "out" / "state.json"
    state.parent.mkdir()
    seen: list[dict[str, Any]] = []
    assert run_doit(state, first=lambda: None, second=lambda: seen.append(json.loads(state.read_text()))) == 0
    assert list(seen[0]) == ["first"]
    assert list(json.loads(state.read_text())) == ["first", "second"]


def test_a_damaged_state_is_told_and_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state.json"
    ran: list[str] = []
    assert run_doit(state, first=lambda: ran.append("first")) == 0
    assert run_doit(state, first=lambda: ran.append("again")) == 0
    assert ran == ["first"]
    state.write_text(state.read_text()[:-10])
    assert run_doit(state, first=lambda: ran.append("again")) == 0
    assert ran == ["first", "again"]
    assert f"{state} is damaged, starting without it" in capsys.readouterr().err
    assert run_doit(state, first=lambda: ran.append("never")) == 0
    assert ran == ["first", "again"]


def test_a_state_that_cannot_be_written_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "folder" / "state.json"
    state.parent.mkdir()

    def in_the_way() -> None:
        if not state.is_dir():
            state.mkdir()

    assert run_doit(state, first=in_the_way, second=lambda: None) == 0
    assert capsys.readouterr().err.count("warning: what was done could not be noted") == 1
