"""Build variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.settings import VARIABLES, read_settings, refuse_unknown, value_faults


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


def test_the_home_of_a_user_who_is_not_here_is_left_as_it_is() -> None:
    given = {"SYSROOT": "~no-such-user/target", "BOARD_PATH": "~no-such-user/boards"}
    settings = read_settings(given.get, Path("/here"))
    assert settings.sysroot == Path("/here/~no-such-user/target")
    assert settings.board_path == (Path("/here/~no-such-user/boards"),)


def test_offline_takes_no_default_and_names_every_variable_that_is_missing() -> None:
    with pytest.raises(UserError) as caught:
        read_settings({"OFFLINE": "1", "KERNEL_SRC": "/linux"}.get, Path("/here"))
    assert {f.where for f in caught.value.faults} == {"CROSS_COMPILE", "SYSROOT"}
    given = {"OFFLINE": "1", "KERNEL_SRC": "/linux", "CROSS_COMPILE": "arm-", "SYSROOT": "/target"}
    assert read_settings(given.get, Path("/here")).offline


def test_offline_with_a_finished_set_needs_no_kernel() -> None:
    given = {"OFFLINE": "1", "IMAGE_SET": "set", "SYSROOT": "/target"}
    assert read_settings(given.get, Path("/here")).image_set == Path("/here/set")


def test_offline_is_0_or_1() -> None:
    with pytest.raises(UserError, match="'yes' is neither 0 nor 1"):
        read_settings({"OFFLINE": "yes"}.get, Path("/here"))


def test_the_product_s_build_folder_brings_its_config() -> None:
    assert read_settings({"KERNEL_BUILD": "b"}.get, Path("/here")).kernel_config == Path("/here/b/.config")
    given = {"KERNEL_BUILD": "b", "KERNEL_CONFIG": "c"}
    assert read_settings(given.get, Path("/here")).kernel_config == Path("/here/c")


def test_a_compiler_with_flags_is_kept_whole() -> None:
    settings = read_settings({"KERNEL_CC": " arm-gcc  -marm -ffile-prefix-map=/a=/b "}.get, Path("/here"))
    assert settings.kernel_cc == "arm-gcc  -marm -ffile-prefix-map=/a=/b"


def test_all_unusable_values_are_told() -> None:
    with pytest.raises(UserError) as caught:
        read_settings({"JOBS": "many", "OUT": "", "SYSROOT": ""}.get, Path("/here"))
    assert {f.where for f in caught.value.faults} == {"JOBS", "OUT", "SYSROOT"}


def test_values_alone_are_told_without_what_a_build_here_would_miss() -> None:
    faults = value_faults({"JOBS": "0", "OFFLINE": "1", "QEMU": "", "KERNEL_SRC": "not/here"}.get)
    assert {f.where for f in faults} == {"JOBS", "QEMU"}
