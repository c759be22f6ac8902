"""kdumpbuild board new: what is found, what is asked, and what is refused."""

from __future__ import annotations

import gzip
import re
import shutil
import tarfile
import tomllib
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.loader import load_board
from kdumpbuild.board.model import Bank
from kdumpbuild.cli import main
from kdumpbuild.errors import UserError
from kdumpbuild.formats.fdt import read_fdt
from kdumpbuild.newboard.hardware import Hardware
from kdumpbuild.newboard.text import _toml
from kdumpbuild.resources import BOARDS, TEMPLATES
from kdumpbuild.run import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("dtc") is None, reason="no dtc")

TREE = """/dts-v1/;
/ {
    #address-cells = <1>; #size-cells = <1>;
    model = "Acme Gateway"; compatible = "acme,gateway", "fsl,imx6ul";
    aliases { serial0 = "/soc/serial@2020000"; mmc0 = "/soc/mmc@2190000"; mmc1 = "/soc/mmc@2194000"; };
    chosen { stdout-path = "serial0:115200n8"; };
    memory@80000000 { device_type = "memory"; reg = <0x80000000 0x10000000>; };
    cpus { #address-cells = <1>; #size-cells = <0>;
        cpu@0 { device_type = "cpu"; compatible = "arm,cortex-a7"; reg = <0>; }; };
    reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges;
        ramoops@8f000000 { compatible = "ramoops"; reg = <0x8f000000 0x100000>; };
        linux,cma { compatible = "shared-dma-pool"; reusable; size = <0x2000000>; }; };
    soc { #address-cells = <1>; #size-cells = <1>; compatible = "simple-bus"; ranges;
        serial@2020000 { compatible = "fsl,imx6ul-uart", "fsl,imx6q-uart"; reg = <0x2020000 0x4000>; };
        serial@21e8000 { compatible = "fsl,imx6ul-uart", "fsl,imx6q-uart"; reg = <0x21e8000 0x4000>;
            status = "disabled"; };
        mmc@2190000 { compatible = "fsl,imx6ul-usdhc"; reg = <0x2190000 0x4000>; cd-gpios = <0>; status = "disabled"; };
        mmc@2194000 { compatible = "fsl,imx6ul-usdhc"; reg = <0x2194000 0x4000>; non-removable; };
        watchdog@20bc000 { compatible = "fsl,imx6ul-wdt", "fsl,imx21-wdt"; reg = <0x20bc000 0x4000>;
            timeout-sec = <60>; };
        i2c@21a0000 { compatible = "fsl,imx21-i2c"; reg = <0x21a0000 0x4000>; };
    };
};
"""
MMC = "/soc/mmc@2194000"


def compiled(folder: Path, source: str, name: str = "product") -> Path:
    (folder / f"{name}.dts").write_text(source, encoding="utf-8")
    run(["dtc", "-q", "-O", "dtb", "-o", folder / f"{name}.dtb", folder / f"{name}.dts"], what="make a device tree")
    return folder / f"{name}.dtb"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOARD_PATH", raising=False)
    return tmp_path


def new(*arguments: str | Path) -> int:
    return main(["board", "new", *map(str, arguments)])


def test_a_device_tree_and_three_answers_make_a_board(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dtb = compiled(folder, TREE)
    assert new("gateway", "--dtb", dtb, "--dump", "/dev/mmcblk1p4", "--filesystem", "ext4") == 0
    said = capsys.readouterr().out
    assert "Acme Gateway: arm, fsl,imx6ul" in said
    assert "question" not in said
    board = load_board(folder / "gateway.toml")
    assert (board.arch.name, board.soc, board.description) == ("arm", "fsl,imx6ul", "Acme Gateway")
    assert board.memory.ram == (Bank(0x80000000, 256 << 20),)
    assert board.memory.crashkernel is None
    assert board.capture.console == "ttymxc0,115200"
    assert board.dump.device == "/dev/mmcblk1p4"
    assert board.watchdog is not None
    assert board.watchdog.timeout == 60
    text = (folder / "gateway.toml").read_text(encoding="utf-8")
    assert 'dtb = "./product.dtb"' in text
    assert f'storage = "{MMC}"' in text
    assert "#   /soc/mmc@2190000  alias mmc0  SD card  fsl,imx6ul-usdhc  DISABLED" in text
    assert "# Low memory ends at 0x90000000" in text
    assert "# 0x8f000000    1.0 MiB  /reserved-memory/ramoops@8f000000" in text
    assert "#   anywhere   32.0 MiB  /reserved-memory/linux,cma (CMA)" in text


def test_what_is_not_answered_is_asked_in_the_file_and_by_its_reader(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = TREE.replace("reg = <0x80000000 0x10000000>", "reg = <0 0>")
    assert new("gateway", "--dtb", compiled(folder, source)) == 1
    said = capsys.readouterr().out
    assert "3 questions are left" in said
    assert "  1. How much RAM, and where? (the boot loader fills it in)" in said
    assert "/dev/mmcblk1p1" in said
    with pytest.raises(UserError) as caught:
        load_board(folder / "gateway.toml")
    told = [str(fault) for fault in caught.value.faults]
    assert len(told) == 3
    lines = (folder / "gateway.toml").read_text(encoding="utf-8").splitlines()
    for text, key, question in (
        (told[0], 'ram = ["?"]', "memory.ram: not answered yet: How much RAM, and where?"),
        (told[1], 'device = "?"', "dump.device: not answered yet: Which partition takes the dump?"),
        (told[2], 'filesystem = "?"', "dump.filesystem: not answered yet: With which file system? ext4, f2fs, vfat"),
    ):
        assert question in text
        assert f"gateway.toml:{lines.index(key) + 1}: " in text
    assert "size@address of each bank" in told[0]
    # Answered in the file, it loads.
    text = "\n".join(lines).replace('["?"]', '["256M@0x80000000"]').replace('device = "?"', 'device = "LABEL=dump"')
    (folder / "gateway.toml").write_text(text.replace('"?"', '"vfat"'), encoding="utf-8")
    assert load_board(folder / "gateway.toml").dump.filesystem == "vfat"


def test_several_controllers_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = TREE.replace('cd-gpios = <0>; status = "disabled"', "cd-gpios = <0>")
    assert new("gateway", "--dtb", compiled(folder, source), "--dump", "LABEL=dump", "--filesystem", "ext4") == 1
    said = capsys.readouterr().out
    assert "one question is left" in said
    assert "Which storage controller" in said
    assert "/soc/mmc@2190000  alias mmc0  SD card  fsl,imx6ul-usdhc" in said
    assert f"{MMC}  alias mmc1  eMMC  fsl,imx6ul-usdhc" in said
    # The number of the block device is the alias.
    assert new("other", "--dtb", folder / "product.dtb", "--dump", "/dev/mmcblk0p2", "--filesystem", "ext4") == 0
    assert 'storage = "/soc/mmc@2190000"' in (folder / "other.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (["--storage", "/soc/mmc@2195000"], "nearest: /soc/mmc@2194000"),
        (["--storage", "mmc7"], "has no alias mmc7"),
        (["--storage", "mmc0"], '/soc/mmc@2190000 is switched off'),
        (["--storage", "/soc/i2c@21a0000"], "/soc/i2c@21a0000 is no storage that is known"),
        (["--dump", "mmcblk1p4", "--filesystem", "ext4"], "'mmcblk1p4' is not a block device"),
        (["--ram", "256M", "--dump", "LABEL=d", "--filesystem", "ext4"], "'256M' has no address"),
        (["--arch", "arm64"], "not a board for arm64"),
    ],
)
def test_answers_that_cannot_be_right(
    folder: Path, answers: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dtb = compiled(folder, TREE)
    assert new("gateway", "--dtb", dtb, *answers) == 3
    assert told in capsys.readouterr().err
    assert sorted(p.name for p in folder.iterdir()) == ["product.dtb", "product.dts"]


def test_a_node_that_is_off_names_those_that_are_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = TREE.replace('compatible = "simple-bus"; ranges;', 'compatible = "simple-bus"; ranges; status = "fail";')
    new("gateway", "--dtb", compiled(folder, source), "--storage", "mmc1")
    assert 'status of /soc is "fail"' in capsys.readouterr().err
    new("gateway", "--dtb", compiled(folder, TREE), "--storage", "mmc0")
    said = capsys.readouterr().err
    assert 'status of /soc/mmc@2190000 is "disabled"' in said
    assert f"these are on:\n  {MMC}" in said


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("arm-virt", "there is a board named arm-virt"),
        ("Gateway", "'Gateway' is not usable as a board's name"),
        ("a b", "is not usable"),
        ("../x", "is not usable"),
        ("gateway.toml", "without .toml"),
        ("", "is not usable"),
    ],
)
def test_names(folder: Path, name: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(name, "--dtb", compiled(folder, TREE)) == 3
    assert told in capsys.readouterr().err
    assert list(folder.glob("**/*.toml")) == []


def test_what_is_there_is_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dtb = compiled(folder, TREE)
    (folder / "gateway.toml").write_text("mine", encoding="utf-8")
    assert new("gateway", "--dtb", dtb) == 3
    assert "gateway.toml: is there already" in capsys.readouterr().err
    assert (folder / "gateway.toml").read_text(encoding="utf-8") == "mine"
    (folder / "gateway.toml").unlink()
    (folder / "gateway.toml").symlink_to("nowhere")
    assert new("gateway", "--dtb", dtb) == 3
    # A name of a board in BOARD_PATH is taken as well.
    other = folder / "other"
    other.mkdir()
    (other / "mine.toml").write_text("", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOARD_PATH", str(other))
        assert new("mine", "--dtb", dtb) == 3


def test_a_folder_that_cannot_be_written_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dtb = compiled(folder, TREE)
    (folder / "file").write_text("", encoding="utf-8")
    assert new("gateway", "--dtb", dtb, "--folder", folder / "file" / "x") == 3
    assert "Traceback" not in capsys.readouterr().err
    assert not (folder / "gateway.toml").exists()


def test_the_folder_is_made_and_the_tree_named_from_there(folder: Path) -> None:
    assert new("gateway", "--dtb", compiled(folder, TREE), "--folder", "boards/ours") == 1
    assert 'dtb = "../../product.dtb"' in (folder / "boards/ours/gateway.toml").read_text(encoding="utf-8")


# -- device trees that are none ---------------------------------------------------------------------------------------


def test_a_truncated_tree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dtb = compiled(folder, TREE)
    whole = dtb.read_bytes()
    for size in (0, 3, 40, len(whole) // 2, len(whole) - 1):
        dtb.write_bytes(whole[:size])
        assert new("gateway", "--dtb", dtb) == 3
        said = capsys.readouterr().err
        assert "device tree blob" in said
        assert "product.dtb" in said
    assert not (folder / "gateway.toml").exists()


@pytest.mark.parametrize(
    ("core", "told"),
    [
        ("sifive,u74", "a device tree of RISC-V"),
        ("riscv", "a device tree of RISC-V"),
        ("PowerPC,e500", "a device tree of PowerPC"),
        ("intel,ce4100", "a device tree of x86"),
        ("unknown,core", "cannot tell whether its kernel is arm or arm64"),
    ],
)
def test_a_tree_of_another_architecture(
    folder: Path, core: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new("gateway", "--dtb", compiled(folder, TREE.replace("arm,cortex-a7", core))) == 3
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("core", "arch"),
    [
        ("arm,cortex-a9", "arm"), ("arm,arm1176jzf-s", "arm"), ("arm,arm926ej-s", "arm"), ("qcom,krait", "arm"),
        ("arm,cortex-a53", "arm64"), ("arm,cortex-a72", "arm64"), ("arm,cortex-a76", "arm64"), ("arm,armv8", "arm64"),
        ("arm,cortex-a510", "arm64"), ("arm,cortex-x1", "arm64"), ("arm,neoverse-n1", "arm64"),
        ("apple,icestorm", "arm64"), ("nvidia,denver", "arm64"), ("qcom,kryo385", "arm64"),
        ("arm,cortex-a15", "arm"), ("arm,cortex-a17", "arm"),
    ],
)  # fmt: skip
def test_architectures_by_core(tmp_path: Path, core: str, arch: str) -> None:
    tree = read_fdt(compiled(tmp_path, TREE.replace("arm,cortex-a7", core)))
    assert Hardware(tree).arch() == arch


def test_an_overlay_is_no_board(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = '/dts-v1/; / { compatible = "acme,gateway"; fragment@0 { target-path = "/soc"; __overlay__ { x; }; }; };'
    assert new("gateway", "--dtb", compiled(folder, overlay)) == 3
    said = capsys.readouterr().err
    assert "a device tree overlay, not a board's tree" in said
    assert "fdtoverlay -i BASE.dtb" in said


def test_neither_tree_nor_probe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new("gateway") == 3
    assert "nothing to make a board from" in capsys.readouterr().err
    assert new("gateway", "--dtb", "nowhere.dtb") == 3
    assert "nowhere.dtb" in capsys.readouterr().err


# -- from a running board ---------------------------------------------------------------------------------------------

FACTS = """# kdump-probe\t1
system\tmachine\tname\tarmv7l
block\tmmcblk1\tsectors\t15269888
block\tmmcblk1\tnode\t/soc/mmc@2194000
block\tmmcblk1p2\tsectors\t1048576
block\tmmcblk1p2\tpartition\t2
block\tmmcblk1p2\tpartname\trootfs
block\tmmcblk1p2\tnode\t/soc/mmc@2194000
block\tmmcblk1p4\tsectors\t614400
block\tmmcblk1p4\tpartition\t4
block\tmmcblk1p4\tpartname\tcrash
block\tmmcblk1p4\tnode\t/soc/mmc@2194000
watchdog\twatchdog0\tthere\tyes
watchdog\twatchdog0\tidentity\timx2+ watchdog
watchdog\twatchdog0\tstate\tactive
watchdog\twatchdog0\ttimeout\t45
watchdog\twatchdog0\tnode\t/soc/watchdog@20bc000
console\tttymxc0\tactive\tyes
console\tttymxc0\tnode\t/soc/serial@2020000
"""


@pytest.fixture
def probe(folder: Path) -> Path:
    files: dict[str, bytes] = {
        "sys/firmware/fdt": compiled(folder, TREE).read_bytes(),
        "proc/iomem": b"80000000-8fffffff : System RAM\n  80008000-80ffffff : Kernel code\n",
        "proc/cmdline": b"console=tty0 console=ttymxc0,57600 root=/dev/mmcblk1p2\n",
        "proc/version": b"Linux version 5.15.71-gateway (x@y) (gcc) #1 SMP\n",
        "proc/mounts": b"/dev/mmcblk1p2 / ext4 ro 0 0\n/dev/mmcblk1p4 /var/crash ext4 rw 0 0\n",
        "proc/config.gz": gzip.compress(b"# Linux/arm 5.15.71 Kernel Configuration\nCONFIG_ARM=y\n"),
        "facts": FACTS.encode(),
    }
    for name, data in files.items():
        path = folder / "probe" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "probe"


def test_a_running_board_leaves_no_question(folder: Path, probe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new("gateway", "--probe", probe, "--folder", "out") == 0
    assert "question" not in capsys.readouterr().out
    board = load_board(folder / "out/gateway.toml")
    assert board.capture.console == "ttymxc0,57600"
    assert (board.dump.device, board.dump.filesystem) == ("PARTLABEL=crash", "ext4")
    assert board.production.base == "./gateway.config"
    assert board.watchdog is not None
    assert board.watchdog.timeout == 45
    text = (folder / "out/gateway.toml").read_text(encoding="utf-8")
    assert 'dtb = "./gateway.dtb"' in text
    assert "# probed while it ran 5.15.71-gateway" in text
    assert f'storage = "{MMC}"    # where mmcblk1p4 is' in text
    assert (folder / "out/gateway.dtb").read_bytes() == (probe / "sys/firmware/fdt").read_bytes()
    assert "CONFIG_ARM=y" in (folder / "out/gateway.config").read_text(encoding="utf-8")


def test_nothing_is_written_when_one_of_the_files_is_there(
    folder: Path, probe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gateway.config").write_text("mine", encoding="utf-8")
    assert new("gateway", "--probe", probe) == 3
    assert "gateway.config: is there already" in capsys.readouterr().err
    assert not (folder / "gateway.toml").exists()
    assert not (folder / "gateway.dtb").exists()


def test_missing_parts_become_questions_and_notes(
    folder: Path, probe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("facts", "proc/cmdline", "proc/config.gz", "proc/mounts", "proc/version", "proc/iomem"):
        (probe / name).unlink()
    assert new("gateway", "--probe", probe) == 1
    said = capsys.readouterr().out
    assert "note: missing in" in said
    for part in ("proc/cmdline: the console in use", "facts: partitions", "proc/config.gz: the product's kernel"):
        assert part in said
    assert "Which partition takes the dump?" in said
    assert "console: ttymxc0,115200 (from stdout-path)" in said


def test_without_a_tree_it_is_asked_for(folder: Path, probe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (probe / "sys/firmware/fdt").unlink()
    assert new("gateway", "--probe", probe) == 3
    assert "there is no device tree in it" in capsys.readouterr().err
    assert new("gateway", "--probe", probe, "--dtb", folder / "product.dtb") == 0


def test_partitions_are_listed_when_none_is_named_for_dumps(
    folder: Path, probe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (probe / "facts").write_text(FACTS.replace("crash", "data"), encoding="utf-8")
    assert new("gateway", "--probe", probe) == 1
    said = capsys.readouterr().out
    assert '/dev/mmcblk1p2  512.0 MiB  "rootfs"  ext4  mounted on /  /soc/mmc@2194000' in said
    assert new("other", "--probe", probe, "--dump", "/dev/mmcblk1p9") == 3
    assert "the board had no /dev/mmcblk1p9" in capsys.readouterr().err
    assert new("other", "--probe", probe, "--dump", "PARTLABEL=data") == 0


def test_an_archive_and_what_is_none(folder: Path, probe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(folder / "board.tar", "w") as archive:
        archive.add(probe, arcname=".")
    whole = (folder / "board.tar").read_bytes()
    assert new("one", "--probe", folder / "board.tar") == 0
    (folder / "cut.tar").write_bytes(whole[:700])
    assert new("two", "--probe", folder / "cut.tar") == 3
    assert "neither a folder nor a whole tar archive" in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert new("two", "--probe", folder / "empty") == 3
    assert "nothing of a running board in it" in capsys.readouterr().err
    (probe / "facts").write_text(FACTS.replace("kdump-probe\t1", "kdump-probe\t2"), encoding="utf-8")
    assert new("two", "--probe", probe) == 3
    assert "an archive of form 2; this kdumpbuild reads 1" in capsys.readouterr().err


def test_a_32_bit_kernel_on_a_64_bit_core(folder: Path, probe: Path) -> None:
    source = TREE.replace("arm,cortex-a7", "arm,cortex-a53")
    (probe / "sys/firmware/fdt").write_bytes(compiled(folder, source).read_bytes())
    assert new("gateway", "--probe", probe) == 0
    assert load_board(folder / "gateway.toml").arch.name == "arm"
    answers = ("--arch", "arm", "--dump", "LABEL=d", "--filesystem", "ext4")
    assert new("other", "--dtb", folder / "product.dtb", *answers) == 0
    assert load_board(folder / "other.toml").arch.name == "arm"


def test_text_of_the_tree_cannot_break_the_file(folder: Path) -> None:
    model = r'a\" # b\n[dump]\t\\ \x1b[31m'
    source = TREE.replace('"Acme Gateway"', f'"{model}"')
    assert new("gateway", "--dtb", compiled(folder, source), "--dump", "LABEL=d", "--filesystem", "ext4") == 0
    board = load_board(folder / "gateway.toml")
    assert board.description.startswith('a" # b?[dump]')
    assert "\x1b" not in (folder / "gateway.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["\x00\x1f\x7f\x80", 'a"\\b', "ü€"])
def test_every_text_is_written_as_toml_reads_it(text: str) -> None:
    assert tomllib.loads(f"one = {_toml(text)}\nlist = {_toml([text])}") == {"one": text, "list": [text]}


# -- the list of boards -----------------------------------------------------------------------------------------------


def test_boards_are_listed_with_how_they_are_tested(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dtb = compiled(folder, TREE)
    new("whole", "--dtb", dtb, "--folder", "mine", "--dump", "LABEL=d", "--filesystem", "ext4")
    monkeypatch.setenv("BOARD_PATH", str(folder / "mine"))
    capsys.readouterr()
    assert main(["boards"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "crash test in QEMU virt" in rows["arm-virt"]
    assert "fsl,imx6ul" in rows["whole"]
    assert "computed" in rows["whole"]
    assert "crash test on virt in its place" in rows["whole"]
    new("half", "--dtb", dtb, "--folder", "mine")
    capsys.readouterr()
    assert main(["boards"]) == 1
    out = capsys.readouterr()
    assert "not finished, 2 questions left" in out.out
    assert "half.toml" in out.err


def test_the_script_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "probe-script"]) == 0
    assert capsys.readouterr().out == (TEMPLATES / "target/kdump-probe").read_text(encoding="utf-8")


def config(*arguments: object) -> int:
    return main(["board", "config", *map(str, arguments)])


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A board file whose own fragment takes back what [panic] asks for."""
    shipped = (BOARDS / "arm-virt.toml").read_text(encoding="utf-8")
    listed = 'fragments = ["product", "virt", "virt-pci"]'
    assert "hung_task = 120" in shipped
    assert listed in shipped
    path = tmp_path / "gateway.toml"
    path.write_text(shipped.replace(listed, 'fragments = ["our.config"]'), encoding="utf-8")
    (tmp_path / "our.config").write_text("CONFIG_DEFAULT_HUNG_TASK_TIMEOUT=30\n", encoding="utf-8")
    return path


def test_the_production_config_of_a_board_is_printed_for_its_kernel(
    product: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for kernel in ("5.10", "6.12.117-rt1"):
        assert config(product, "--kernel", kernel) == 0
        said[kernel] = capsys.readouterr().out.splitlines()
        symbols = [re.sub(r"^(?:# )?CONFIG_(\w+).*", r"\1", line) for line in said[kernel]]
        assert len(symbols) == len(set(symbols))
        assert "CONFIG_DETECT_HUNG_TASK=y" in said[kernel]
        # In the order in which the build applies them: the product's own fragment is the last.
        assert "CONFIG_DEFAULT_HUNG_TASK_TIMEOUT=30" in said[kernel]
    assert "CONFIG_CRASH_DUMP=y" in said["6.12.117-rt1"]
    assert said["5.10"] != said["6.12.117-rt1"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["arm-virt", "--kernel", "new"], "--kernel new: is no kernel version"),
        (["arm-vrit", "--kernel", "6.12"], "did you mean arm-virt?"),
    ],
)
def test_a_wrong_question_for_a_config_is_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert config(*arguments) != 0
    out, error = capsys.readouterr()
    assert told in error
    assert not out
