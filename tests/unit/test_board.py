"""Board files: what is read from them, and how each mistake in one is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.loader import find_board, find_boards, load_board
from kdumpbuild.board.size import format_size, human, parse_size
from kdumpbuild.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
format = 1
description = "a board"
arch = "arm"

[memory]
ram = ["512M@0x40000000"]
crashkernel = "24M"

[production]
base = "multi_v7_defconfig"

[capture]
console = "ttyS0,115200"

[dump]
device = "/dev/mmcblk0p4"
filesystem = "ext4"
"""


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load_board(write(folder, text))
    return [str(fault) for fault in caught.value.faults]


def test_a_good_board_is_read_whole(tmp_path: Path) -> None:
    board = load_board(write(tmp_path, GOOD))
    assert board.name == "mine"
    assert board.arch.image == "zImage"
    assert (board.memory.ram[0].base, board.memory.total, board.memory.crashkernel) == (1 << 30, 512 << 20, 24 << 20)
    assert board.dump.level == 31
    assert board.machine is None
    assert board.watchdog is None


@pytest.mark.parametrize("name", sorted(find_boards()))
def test_every_shipped_board_loads(name: str) -> None:
    board = load_board(find_boards()[name])
    assert board.name == name
    assert board.description


def test_all_faults_are_told_at_once_with_line_and_key(tmp_path: Path) -> None:
    text = GOOD.replace('arch = "arm"', 'arch = "amr"').replace('"24M"', '"lots"').replace("console", "consle")
    told = faults(tmp_path, text)
    assert len(told) == 4
    assert any("mine.toml:3: arch: 'amr' is not known" in t and "valid: arm, arm64" in t for t in told)
    assert any("mine.toml:7: memory.crashkernel: 'lots' is not a size" in t for t in told)
    assert any("mine.toml:13: capture.consle: unknown key" in t and "did you mean console?" in t for t in told)
    assert any("capture.console: missing" in t for t in told)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format = 1", "format = 2", "reads format 1, not 2"),
        ("format = 1", 'format = "1"', "is not a whole number"),
        ('description = "a board"', "", "description: missing"),
        ('["512M@0x40000000"]', '["512M"]', "has no address"),
        ('["512M@0x40000000"]', '["512M@0x40000000", "1G@0x50000000"]', "overlap"),
        ('"24M"', '"300M"', "cannot work with 512M"),
        ('"24M"', '"4500K"', "not a multiple of 1M"),
        ('"24M"', '"24M@0x48000800"', "not a multiple of 1M"),
        ('"24M"', '"24M@"', "is not a size"),
        ('"24M"', "24", "24 is not a text"),
        ("[dump]", "[[dump]]", "is not a table"),
        ('"/dev/mmcblk0p4"', '"mmcblk0p4"', "is not a block device"),
        ('"/dev/mmcblk0p4"', '"LABEL=kernel-crash-dump"', "longer than a LABEL of ext4 can be"),
        ('"/dev/mmcblk0p4"', f'"PARTLABEL={"p" * 37}"', "longer than a PARTLABEL can be"),
        ('"ext4"', '"ext5"', "did you mean ext4?"),
        ('filesystem = "ext4"', 'filesystem = "ext4"\ndirectory = "../x"', "is not usable"),
        ('filesystem = "ext4"', 'filesystem = "ext4"\nlevel = 32', "out of range"),
        ('base = "multi_v7_defconfig"', 'fragments = ["virtt"]', "did you mean virt?"),
        ('base = "multi_v7_defconfig"', "build = 1", "is not true or false"),
        ('base = "multi_v7_defconfig"', "fragments = [3]", "is not a text"),
        ("[capture]", "[captur]", "captur: unknown key"),
        ("[capture]", '[machine]\nmachine = "virt"\n[capture]', "machine.disk: either disk or drive is wanted"),
        ("[capture]", '[machine]\nmachine = "x"\ndrive = "sd0"\n[capture]', "machine.drive: 'sd0' is no place"),
        ("[capture]", '[machine]\nmachine = "x"\nqemu = "10"\n[capture]', "machine.qemu: '10' is not a version"),
        ("[capture]", '[[waive]]\nname = "CONFIG_X"\n[capture]', "waive.reason: missing"),
    ],
)
def test_each_mistake_has_its_message(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert any(message in told for told in faults(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("filesystem", "device", "known"),
    [
        ("ext4", "LABEL=" + "l" * 16, True),
        ("vfat", "LABEL=" + "l" * 11, True),
        ("vfat", "LABEL=" + "l" * 12, False),
        ("f2fs", "LABEL=" + "l" * 99, True),
        ("f2fs", "PARTLABEL=" + "l" * 36, True),
        ("ext4", "UUID=f7c2c9d2-5a6e-4b8f-9a52-0c7a6d3f1e44", True),
        ("ext4", "/dev/disk/by-partlabel/" + "l" * 40, True),
    ],
)
def test_a_label_is_no_longer_than_it_can_be(tmp_path: Path, filesystem: str, device: str, known: bool) -> None:  # noqa: FBT001
    text = GOOD.replace('"/dev/mmcblk0p4"', f'"{device}"').replace('"ext4"', f'"{filesystem}"')
    if known:
        assert load_board(write(tmp_path, text)).dump.device == device
    else:
        (told,) = faults(tmp_path, text)
        assert "11 characters at most" in told


@pytest.mark.parametrize(
    ("line", "size", "base"),
    [
        ('crashkernel = "auto"', None, None),
        ("", None, None),
        ('crashkernel = "16M@0x48000000"', 16 << 20, 0x48000000),
    ],
)
def test_crashkernel_may_be_left_out_or_have_an_address(
    tmp_path: Path, line: str, size: int | None, base: int | None
) -> None:
    memory = load_board(write(tmp_path, GOOD.replace('crashkernel = "24M"', line))).memory
    assert (memory.crashkernel, memory.crash_base) == (size, base)


def test_an_open_question_is_told_with_what_stands_above_it(tmp_path: Path) -> None:
    text = GOOD.replace('console = "ttyS0,115200"', '# Question 2: Which console?\n#   ttyS0 or ttyS1\nconsole = "?"')
    (told,) = faults(tmp_path, text)
    assert "capture.console: not answered yet: Which console?" in told
    assert "hint: ttyS0 or ttyS1" in told
    (told,) = faults(tmp_path, GOOD.replace('"ext4"', '"?"'))
    assert 'dump.filesystem: not answered yet: "?" stands there' in told


def test_malformed_toml_names_the_line(tmp_path: Path) -> None:
    (told,) = faults(tmp_path, GOOD.replace("[memory]", "[memory"))
    assert "mine.toml:5: not valid TOML" in told


def test_waivers_know_their_line(tmp_path: Path) -> None:
    text = GOOD + '\n[[waive]]\nname = "CONFIG_A"\nreason = "r"\n\n[[waive]]\nname = "CONFIG_B"\nreason = "s"\n'
    board = load_board(write(tmp_path, text))
    assert [(w.name, w.line) for w in board.waivers] == [("CONFIG_A", 20), ("CONFIG_B", 24)]
    waiver = board.waiver("CONFIG_B")
    assert waiver is not None
    assert waiver.reason == "s"


def test_two_boards_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "arm-virt.toml")
    with pytest.raises(UserError, match="two boards are named arm-virt"):
        find_boards([tmp_path])
    with pytest.raises(UserError, match="two boards are named arm-virt"):
        find_board(str(tmp_path / "arm-virt.toml"), find_boards(), tmp_path)


def test_a_board_is_found_by_name_in_board_path_and_by_file(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert find_board("mine", find_boards([tmp_path]), tmp_path) == path
    assert find_board("./mine.toml", find_boards(), tmp_path).resolve() == path


def test_an_unknown_board_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean arm-virt") as caught:
        find_board("arm-vrit", find_boards(), tmp_path)
    assert "BOARD_PATH" in str(caught.value)
    with pytest.raises(UserError, match="no such board file"):
        find_board("./nowhere.toml", find_boards(), tmp_path)


def test_a_missing_folder_in_board_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_boards([tmp_path / "nowhere"])


@pytest.mark.parametrize(("text", "size"), [("16M", 16 << 20), ("0x1000", 4096), ("2G", 2 << 30), ("12", 12)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "M", "1.5G", "-1", "16m", "16MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_sizes_for_people() -> None:
    assert [human(s) for s in (10, 4096, 5 << 20, 3 << 30)] == ["10 B", "4 KiB", "5.0 MiB", "3.0 GiB"]


DRIVERS = GOOD.replace('arch = "arm"', 'arch = "arm"\ndtb = "imx6q-sabrelite.dtb"')


def test_the_drivers_table(tmp_path: Path) -> None:
    text = DRIVERS + """
[drivers]
storage = "mmc2"
watchdog = ["/soc/wdt@1", "/soc/wdt@2"]
nodes = ["&sdma"]

[drivers.answers]
"vendor,thing" = "CONFIG_A CONFIG_B"
"vendor,other" = ""
"""
    drivers = load_board(write(tmp_path, text)).drivers
    assert drivers is not None
    assert (drivers.storage, drivers.console, drivers.watchdogs) == ("mmc2", "", ("/soc/wdt@1", "/soc/wdt@2"))
    assert drivers.answers == (("vendor,thing", "CONFIG_A CONFIG_B"), ("vendor,other", ""))


def test_faults_of_the_drivers_table(tmp_path: Path) -> None:
    text = GOOD + '\n[drivers]\nstorge = "mmc2"\n\n[drivers.answers]\n"vendor,thing" = "I2C"\n'
    told = "\n".join(faults(tmp_path, text))
    assert "drivers.storage: missing" in told
    assert "drivers.storge: unknown key" in told
    assert "drivers.answers.vendor,thing: 'I2C' names no symbol" in told
    assert "drivers: there is no device tree to derive from" in told


@pytest.mark.parametrize(
    ("dtb", "expected"),
    [("./gone.dtb", "dtb: there is no file"), ("imx6q-sabrelite.dts", "is no name in the kernel's build")],
)
def test_a_dtb_that_cannot_be(tmp_path: Path, dtb: str, expected: str) -> None:
    (told,) = faults(tmp_path, GOOD.replace('arch = "arm"', f'arch = "arm"\ndtb = "{dtb}"'))
    assert expected in told
