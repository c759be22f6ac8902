"""Reading fragments: lines, reasons, conditions, faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import parse_fragment, read_fragment
from kdumpbuild.kconfig.fragment import Condition

FILE = Path("my.config")
TEXT = """\
# A fragment.

# First reason,
# in two lines.
CONFIG_A=y
# CONFIG_B is not set

CONFIG_C=m
# Reason of D.
CONFIG_D="a \\"b\\" \\\\ c"
CONFIG_E=-3
CONFIG_F=0x10

#@ kernel >= 6.9
# New kernels.
#@ arch arm arm64
CONFIG_G=1

#@ kernel < 6.9
#@ means
CONFIG_G=y
"""


def faults(text: str) -> list[tuple[str, str]]:
    with pytest.raises(UserError) as caught:
        parse_fragment(text, FILE)
    return [(fault.where, fault.what) for fault in caught.value.faults]


def test_lines_and_reasons() -> None:
    lines = parse_fragment(TEXT, FILE).lines
    assert [(line.symbol, line.value, line.number) for line in lines] == [
        ("A", "y", 5), ("B", "n", 6), ("C", "m", 8), ("D", 'a "b" \\ c', 10), ("E", "-3", 11), ("F", "0x10", 12),
        ("G", "1", 17), ("G", "y", 21),
    ]  # fmt: skip
    assert lines[0].reason == lines[1].reason == "First reason,\nin two lines."
    assert lines[2].reason == ""
    assert lines[3].reason == lines[5].reason == "Reason of D."
    assert lines[6].reason == "New kernels."
    assert lines[0].where == "my.config:5"


def test_text_is_what_a_config_has() -> None:
    lines = parse_fragment(TEXT, FILE).lines
    assert [line.text for line in lines[:4]] == [
        "CONFIG_A=y", "# CONFIG_B is not set", "CONFIG_C=m", 'CONFIG_D="a \\"b\\" \\\\ c"',
    ]  # fmt: skip


def test_conditions() -> None:
    fragment = parse_fragment(TEXT, FILE)
    assert [line.text for line in fragment.active((6, 9, 0), "arm")][-1] == "CONFIG_G=1"
    assert [line.text for line in fragment.active((6, 8, 12), "arm")][-1] == "CONFIG_G=y"
    assert [line.text for line in fragment.active((6, 12), "riscv")][-1] == "CONFIG_F=0x10"
    assert str(fragment.lines[6].condition) == "kernel >= 6.9, arch arm arm64"
    assert [line.means for line in fragment.lines[6:]] == [False, True]


def test_conditions_for_the_whole_file() -> None:
    fragment = parse_fragment("# About it.\n#@ arch arm\n\nCONFIG_A=y\n\n#@ kernel >= 6.0\nCONFIG_B=y\n", FILE)
    assert not fragment.active((6, 1), "arm64")
    assert [line.symbol for line in fragment.active((5, 10), "arm")] == ["A"]


def test_conditions_of_two_bounds() -> None:
    fragment = parse_fragment("#@ kernel >= 5.18\n#@ kernel < 6.9\nCONFIG_A=y\n", FILE)
    assert [bool(fragment.active(v, "arm")) for v in ((5, 17), (5, 18), (6, 8), (6, 9))] == [False, True, True, False]


def test_meeting_conditions() -> None:
    old, new = Condition(high=(6, 9)), Condition(low=(6, 9))
    assert not old.meets(new)
    assert old.meets(Condition())
    assert not Condition(arches=frozenset({"arm"})).meets(Condition(arches=frozenset({"arm64"})))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("CONFIG_A\n", "not a line of a .config"),
        ("A=y\n", "not a line of a .config"),
        ("CONFIG_A=\n", "has no value"),
        ("CONFIG_A=yes\n", "no value that a .config can have"),
        ("CONFIG_A=y # why\n", "no value that a .config can have"),
        ('CONFIG_A="open\n', "does not end with its quote"),
        ("# CONFIG_A not set\n", "reads like a request"),
        ("# CONFIG_A = n\n", "reads like a request"),
        ("#@ kernel > 6.9\nCONFIG_A=y\n", "cannot read the version condition"),
        ("#@ kernel >= six\nCONFIG_A=y\n", "cannot read the version condition"),
        ("#@ kernel >= 6.9\n#@ kernel < 6.6\nCONFIG_A=y\n", "no kernel version fulfils"),
        ("#@ kernl >= 6.9\nCONFIG_A=y\n", "unknown condition"),
        ("#@ arch\nCONFIG_A=y\n", "unknown condition"),
        ("CONFIG_A=y\n\n#@ arch arm\n\nCONFIG_B=y\n", "without a line that it is for"),
        ("CONFIG_A=y\nCONFIG_A=m\n", "line 1 asks for y"),
    ],
)
def test_faults(text: str, what: str) -> None:
    ((where, said),) = faults(text)
    assert what in said
    assert where.startswith("my.config:")


def test_all_faults_at_once() -> None:
    found = faults("CONFIG_A\n\nCONFIG_B=y\nCONFIG_B=m\n#@ what\nCONFIG_C=\n")
    assert [where for where, _ in found] == ["my.config:1", "my.config:4", "my.config:5", "my.config:6"]


def test_contradiction_under_conditions_that_exclude_each_other() -> None:
    text = "#@ kernel >= 6.19\nCONFIG_A=1\n\n#@ kernel < 6.19\nCONFIG_A=y\n"
    assert len(parse_fragment(text, FILE).lines) == 2


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the fragment"):
        read_fragment(tmp_path / "none.config")
    (tmp_path / "binary.config").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read the fragment"):
        read_fragment(tmp_path / "binary.config")
