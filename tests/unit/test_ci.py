"""Job files for CI: valid for their system, every command in them real, and bad input refused."""

from __future__ import annotations

import re
import shlex
import shutil
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


def github_steps() -> list[dict[str, Any]]:
    document: dict[str, Any] = yaml.safe_load(render("github"))
    steps: list[dict[str, Any]] = document["jobs"]["kdump"]["steps"]
    return steps


def rendered_boards(boards: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what ``BOARD=`` is given in the file that the command prints."""
    assert main(["ci", "github", "--boards", boards]) == 0
    document = yaml.safe_load(capsys.readouterr().out)
    return [job["board"] for job in document["jobs"]["kdump"]["strategy"]["matrix"]["include"]]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a product's repository with a board ``boards/gateway.toml``; the test stands at its root."""
    root = tmp_path / "product"
    board = root / "boards" / "gateway.toml"
    board.parent.mkdir(parents=True)
    shutil.copy(resources.BOARDS / "arm-virt.toml", board)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    monkeypatch.chdir(root)
    return root


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


def test_gitlab_keeps_the_stages_of_the_project() -> None:
    """An included ``stages:`` takes the place of the default ones, or loses against the project's own."""
    document = yaml.safe_load(render("gitlab"))
    assert "stages" not in document
    jobs = [job for name, job in document.items() if not name.startswith(".")]
    assert {job["stage"] for job in jobs} == {"build", "test"}


def test_submodules_are_checked_out() -> None:
    """actions/checkout takes an archive, which has none, where git is not there before it."""
    assert yaml.safe_load(render("gitlab"))[".kdump"]["variables"]["GIT_SUBMODULE_STRATEGY"] == "normal"
    before, checkout, *after = github_steps()
    assert {"git", "ca-certificates"} <= set(before["run"].split())
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"] == {"submodules": True}
    assert any('safe.directory "$GITHUB_WORKSPACE"' in step.get("run", "") for step in after)


def test_no_board_reads_the_cache_of_another() -> None:
    """GitHub takes the newest cache whose key begins with a restore key, so that no key may begin with another's."""
    (cache,) = [step["with"] for step in github_steps() if step.get("uses", "").startswith("actions/cache@")]
    keys = {
        board: cache["key"].replace("${{ matrix.name }}", board).replace("${{ github.sha }}", "0123")
        for board in ("arm-virt", "arm-virt-flash", "arm-virt.flash")
    }
    restored = cache["restore-keys"].replace("${{ matrix.name }}", "arm-virt")
    assert [board for board, key in keys.items() if key.startswith(restored)] == ["arm-virt"]


def test_findings_that_cannot_be_shown_fail_no_job() -> None:
    """The upload may fail (code scanning is off); the check itself may not, and the findings are kept in any case."""
    steps = {step.get("uses", step.get("name", "")).partition("@")[0]: step for step in github_steps()}
    assert steps["github/codeql-action/upload-sarif"]["continue-on-error"] is True
    assert "continue-on-error" not in steps["check"]
    assert "out/check" in steps["actions/upload-artifact"]["with"]["path"].split()
    assert yaml.safe_load(render("github"))["permissions"] == {
        "contents": "read", "actions": "read", "security-events": "write",
    }  # fmt: skip


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


def test_a_board_file_is_named_as_seen_from_the_root(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rendered_boards("./boards/gateway.toml,arm-virt", capsys) == ["boards/gateway.toml", "arm-virt"]
    assert rendered_boards(str(repository / "boards" / "gateway.toml"), capsys) == ["boards/gateway.toml"]
    monkeypatch.chdir(repository / "boards")
    assert rendered_boards("arm-virt gateway.toml", capsys) == ["arm-virt", "boards/gateway.toml"]
    assert rendered_boards("../boards/gateway.toml", capsys) == ["boards/gateway.toml"]


def test_a_board_file_that_no_runner_has_is_refused(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside of the repository: by an absolute path, by a relative one, and by a link whose target is not in it."""
    for name in ("one", "two", "three"):
        shutil.copy(repository / "boards" / "gateway.toml", repository.parent / f"{name}.toml")
    (repository / "linked.toml").symlink_to("../three.toml")
    outside = [str(repository.parent / "one.toml"), "../two.toml", "linked.toml"]
    assert main(["ci", "gitlab", "--boards", ",".join([*outside, "arm-vrit"]), "--set", "JOBS=abc"]) == 3
    told = capsys.readouterr().err
    for choice in outside:
        assert f"error: --boards {choice}: lies outside of the repository\n" in told
    assert told.count(f"nothing but what is in {repository}\n") == 3
    assert "did you mean arm-virt?" in told
    assert "'abc' is not a number of jobs" in told


def test_a_board_file_in_a_folder_with_a_blank_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """BOARD= takes several boards with blanks between them."""
    monkeypatch.chdir((repository / "boards").rename(repository / "our boards"))
    assert main(["ci", "gitlab", "--boards", "gateway.toml"]) == 3
    assert "BOARD=our boards/gateway.toml would name several boards" in capsys.readouterr().err


def test_without_a_repository_its_root_is_the_current_folder(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(repository / ".git")
    assert rendered_boards("boards/gateway.toml", capsys) == ["boards/gateway.toml"]
    monkeypatch.chdir(repository / "boards")
    assert rendered_boards("gateway.toml", capsys) == ["gateway.toml"]
    (repository / "docs").mkdir()
    monkeypatch.chdir(repository / "docs")
    assert main(["ci", "github", "--boards", "../boards/gateway.toml"]) == 3
    assert "lies outside of the repository" in capsys.readouterr().err


def test_values_of_variables_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["OFFLINE", "JOBS=abc", "SYSROOT=", "TRIGGER=sysrq,oops-a-daisy", "KERNELSRC=linux", "CACHE="]
    assert main(["ci", "gitlab", "--boards", "arm-vrit", *(f"--set={pair}" for pair in given)]) == 3
    told = capsys.readouterr().err
    for fault in (
        "--set OFFLINE: has no value",
        "JOBS: 'abc' is not a number of jobs",
        "SYSROOT: is empty",
        "TRIGGER: there is no trigger oops-a-daisy",
        "did you mean KERNEL_SRC?",
        "--set CACHE=…: is set by the jobs themselves",
        "did you mean arm-virt?",
    ):
        assert told.count(fault) == 1
    assert told.count("error: ") == 7


def test_what_is_only_on_the_runner_is_not_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Paths, the home of a user that this machine has not, and what OFFLINE=1 needs: the runner may have it."""
    given = {"KERNEL_SRC": "no/such/linux", "SYSROOT": "~no-such-user/target", "OFFLINE": "1", "KERNEL_CC": "cc -DA=b"}
    assert main(["ci", "gitlab", "--boards", "arm-virt", *(f"--set={n}={v}" for n, v in given.items())]) == 0
    (build,) = [line for line in capsys.readouterr().out.splitlines() if "doit build" in line]
    assert dict(word.split("=", 1) for word in shlex.split(build)[3:]) == {"BOARD": "arm-virt", **given}


def test_the_file_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / ".github" / "workflows" / "kdump.yml"
    assert main(["ci", "github", "--boards", "arm-virt", "--output", str(path)]) == 0
    assert capsys.readouterr().out == ""
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["name"] == "kdump"
