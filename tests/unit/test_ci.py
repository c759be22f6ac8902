"""Job files for CI: valid for their system, every command in them real, and bad input refused."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kdumpbuild import ci, resources, tasks
from kdumpbuild.board.loader import load_board
from kdumpbuild.cli import main
from kdumpbuild.settings import VARIABLES

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = {"gitlab": "vendor.gitlab-ci", "github": "vendor.github-workflows"}
NASTY = "it's $HOME `x` : # {{ y }}"


def render(system: str, **variables: str) -> str:
    boards = [(name, load_board(resources.BOARDS / f"{name}.toml")) for name in ("arm-virt", "arm64-virt")]
    return ci.render_pipeline(system, ci.Pipeline(boards, variables, ccache="http://cache.example/cc"))


def scripts(system: str, text: str) -> list[str]:
    """Return the shell of every job."""
    document: dict[str, Any] = yaml.safe_load(text)
    if system == "gitlab":
        return [
            line
            for job in document.values()
            if isinstance(job, dict)
            for key in ("before_script", "script")
            for line in job.get(key, [])
        ]
    return [step["run"] for job in document["jobs"].values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("system", ci.SYSTEMS)
def test_the_file_is_valid_for_its_system(system: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.yml"
    path.write_text(render(system, KERNEL_SRC=NASTY), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMA[system], str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("system", ci.SYSTEMS)
def test_every_command_is_one_that_there_is(system: str) -> None:
    """Each script is shell; each call of ours names a task and variables that exist, and quotes what it is given."""
    known = {name.removeprefix("task_") for name in tasks.__all__ if name.startswith("task_")}
    seen = set()
    for script in scripts(system, render(system, KERNEL_SRC=NASTY)):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)
        for line in script.splitlines():
            if not line.startswith("kdumpbuild "):
                continue
            _, command, task, *arguments = shlex.split(line)
            assert command == "doit"
            assert task in known
            seen.add(task)
            values = dict(argument.split("=", 1) for argument in arguments)
            assert values.keys() <= VARIABLES.keys()
            assert values["KERNEL_SRC"] == NASTY
    assert seen == {"build", "check", "crashtest"}


def test_a_board_without_a_machine_has_no_crash_test(tmp_path: Path) -> None:
    text = (resources.BOARDS / "arm-virt.toml").read_text(encoding="utf-8")
    path = tmp_path / "gateway.toml"
    path.write_text(text.partition("[machine]")[0], encoding="utf-8")
    pipeline = ci.Pipeline([("boards/gateway.toml", load_board(path))], {})
    assert "crashtest" not in "".join(scripts("gitlab", ci.render_pipeline("gitlab", pipeline)))
    github = yaml.safe_load(ci.render_pipeline("github", pipeline))
    assert github["jobs"]["kdump"]["strategy"]["matrix"]["include"] == [
        {"name": "gateway", "board": "boards/gateway.toml", "crashtest": False}
    ]


def test_packages_are_those_of_the_list() -> None:
    packages = ci.debian_packages()
    assert "qemu-system-arm" in packages
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", package) for package in packages)
    listed = resources.DEBIAN_PACKAGES.read_text(encoding="utf-8")
    assert len(packages) == len([line for line in listed.splitlines() if line and not line.startswith("#")])


def test_all_that_is_wrong_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ci", "gitlab", "--boards", "arm-vrit,arm-virt,arm-virt", "--set", "OUT=x"]) == 3
    told = capsys.readouterr().err
    assert "did you mean arm-virt?" in told
    assert "--set OUT=…: is set by the jobs themselves" in told
    assert "two boards are called arm-virt" in told
    assert main(["ci", "github", "--boards", ",", "--set", "KERNELSRC=x"]) == 3
    assert "did you mean KERNEL_SRC?" in capsys.readouterr().err


def test_the_file_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ".github" / "workflows" / "kdump.yml"
    assert main(["ci", "github", "--boards", "arm-virt", "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == "kdump"
