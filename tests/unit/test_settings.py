"""Build variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.settings import VARIABLES, read_settings, refuse_unknown


def test_a_misspelt_variable_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        refuse_unknown(["BAORD", "OUT", "KERNELSRC"])
    assert [f.what for f in caught.value.faults] == ["unknown variable BAORD", "unknown variable KERNELSRC"]
    assert "did you mean BOARD?" in str(caught.value)
    assert "did you mean KERNEL_SRC?" in str(caught.value)


def test_known_variables_are_taken() -> None:
    refuse_unknown(VARIABLES)


def test_relative_paths_start_where_the_user_stands() -> None:
    given = {"OUT": "o", "KERNEL_SRC": "../linux", "BOARD": "a,b c", "BOARD_PATH": "boards:/else", "JOBS": "3"}
    settings = read_settings(given.get, Path("/here"))
    assert settings.out == Path("/here/o")
    assert settings.kernel_src == Path("/linux")
    assert settings.boards == ("a", "b", "c")
    assert settings.board_path == (Path("/here/boards"), Path("/else"))
    assert settings.jobs == 3


def test_all_unusable_values_are_told() -> None:
    with pytest.raises(UserError) as caught:
        read_settings({"JOBS": "many", "OUT": "", "SYSROOT": ""}.get, Path("/here"))
    assert {f.where for f in caught.value.faults} == {"JOBS", "OUT", "SYSROOT"}
