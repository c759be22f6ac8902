"""Every shell script of the repository, and what is rendered for one, is shellcheck-clean and parsed by BusyBox."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Where scripts may be. Not the whole checkout: a build's results and a virtual environment may lie in it.
PLACES = (".ci", "benchmarks", "docs", "doit", "kdumpbuild", "layers", "templates", "tests")
SHEBANGS = (b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash", b"#!/usr/bin/env sh")
RENDERED = sorted((ROOT / "tests/golden").glob("*/kdump*.conf"))


def scripts() -> list[Path]:
    """Return the files that begin as a shell script does."""
    found = []
    for place in PLACES:
        top = ROOT / place
        inside = sorted(Path(folder, name) for folder, _, names in os.walk(top) for name in names)
        for path in [top] if top.is_file() else inside:
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as stream:
                first = stream.readline(80)
            if path.suffix == ".sh" or first.strip().startswith(SHEBANGS):
                found.append(path)
    return found


SCRIPTS = scripts()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def check(path: Path, *options: str) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("needs shellcheck")
    # Parts that a script sources are named by their path in the repository.
    command = [shellcheck, "--external-sources", *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scripts_are_found() -> None:
    names = {name_of(path) for path in SCRIPTS}
    assert {"doit", "templates/initramfs/init", "templates/target/kdump-load", "templates/target/S10kdump"} <= names


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_script(path: Path) -> None:
    check(path)


@pytest.mark.parametrize("path", RENDERED, ids=name_of)
def test_rendered(path: Path) -> None:
    check(path, "--shell=sh", "--exclude=SC2034")  # set here, used by the script that reads it


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if "templates" in path.parts] + RENDERED, ids=name_of
)
def test_busybox_parses_what_runs_on_the_target(path: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox-static")
    assert not (path.parts and b"bash" in path.read_bytes().split(b"\n", 1)[0])
    done = subprocess.run([busybox, "sh", "-n", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
