"""The fragments that come with kdumpbuild, as far as no kernel tree is needed to judge them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpbuild import resources
from kdumpbuild.kconfig import read_fragment
from kdumpbuild.kconfig.fragment import _LOOKS_UNSET

SHIPPED = sorted(resources.FRAGMENTS.glob("*.config"))
VERSIONS = ((5, 10), (5, 15), (5, 18), (6, 1), (6, 6), (6, 12), (6, 18), (7, 0), (7, 2))


@pytest.fixture(params=SHIPPED, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_every_line_has_a_reason(path: Path) -> None:
    lines = read_fragment(path).lines
    assert lines
    for line in lines:
        assert len(line.reason) > 3, line.where
        assert line.reason.endswith((".", "?")), line.where


def test_comments_name_no_symbol_with_its_prefix(path: Path) -> None:
    """merge_config.sh takes every line with CONFIG_X in it, comments too, for one about X."""
    for text in path.read_text().splitlines():
        if text.startswith("#") and not text.endswith(" is not set"):
            assert "CONFIG_" not in text
            assert not _LOOKS_UNSET.match(text)


def test_no_symbol_twice_in_one_kernel(path: Path) -> None:
    fragment = read_fragment(path)
    for version in VERSIONS:
        for arch in ("arm", "arm64"):
            names = [line.symbol for line in fragment.active(version, arch)]
            assert len(names) == len(set(names)), (version, arch)


def test_lines_are_short(path: Path) -> None:
    assert max(map(len, path.read_text().splitlines())) <= 118


def test_versions_name_the_commit_that_made_the_difference(path: Path) -> None:
    """Each bound that a group has is explained by a kernel commit there or in the group of the other side."""
    text = path.read_text()
    for line in read_fragment(path).lines:
        for major, minor in (line.condition.low, line.condition.high):
            if (0, 0) < (major, minor) < (100, 0):
                assert f"(in v{major}.{minor})" in text, line.where
