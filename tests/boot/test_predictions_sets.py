"""What a rule predicts for an image set happens, and does not with the set as it was built.

Each set is the built one with one thing changed, judged by the preflight and then crashed in QEMU. That the sets pass
as they are built is shown by test_crashtest.py; here the rule has to be silent on them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.crashtest import render
from tests.boot.changed import changed
from tests.boot.test_crashtest import Bench, bench_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot

MIB = 1 << 20


@pytest.fixture
def arm(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm-virt", built, tmp_path)


@pytest.fixture
def arm64(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm64-virt", built, tmp_path)


# -- what kexec refuses -------------------------------------------------------------------------------------------


def test_kexec_s_is_not_there_on_arm(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, conf={"KDUMP_KEXEC_ARGS": "-s {}"})
    assert bad.finds("KD041")
    verdict = bad.crash()
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert re.search("not implemented|not supported|not available", bad.console + verdict.failure.why, re.IGNORECASE)
    assert not changed(arm, tmp_path / "good").finds("KD041")


# -- what makes the dump worthless --------------------------------------------------------------------------------


# -- what the capture kernel cannot use ---------------------------------------------------------------------------


# -- memory -------------------------------------------------------------------------------------------------------
