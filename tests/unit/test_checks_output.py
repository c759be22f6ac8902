"""Gathering facts from files, and reports as page, JSON and SARIF."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from kdumpbuild import cli_check
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.model import Waiver
from kdumpbuild.checks.defconfigs import Row, row_of, table
from kdumpbuild.checks.docs import DEFCONFIGS, PROOFS, pages
from kdumpbuild.checks.engine import all_rules, check_facts, exit_code, find_rule
from kdumpbuild.checks.facts import Cmdline, parse_version
from kdumpbuild.checks.from_set import facts_from_set
from kdumpbuild.checks.gather import Given, gather
from kdumpbuild.checks.model import Severity
from kdumpbuild.checks.output import print_report, print_rule, to_json
from kdumpbuild.checks.sarif import to_sarif
from kdumpbuild.checks.userland import read_rootfs
from kdumpbuild.cli import main
from kdumpbuild.errors import Exit, UserError
from kdumpbuild.resources import BOARDS
from kdumpbuild.run import run as start
from tests import proofs
from tests.fuzz.readers import cpio, zimage

if TYPE_CHECKING:
    from kdumpbuild.checks.model import Report

GOOD = """# Linux/arm 6.12.1 Kernel Configuration
CONFIG_ARM=y
CONFIG_KEXEC=y
CONFIG_CRASH_DUMP=y
CONFIG_PANIC_ON_OOPS=y
CONFIG_PANIC_TIMEOUT=10
CONFIG_DEBUG_INFO=y
CONFIG_KALLSYMS=y
CONFIG_RTC_HCTOSYS=y
"""
EFI = "chosen { linux,uefi-system-table = <0 0x40000000>; };"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "rules"


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def report(tmp_path: Path, text: str = GOOD, **given: Any) -> Report:
    return check_facts(gather(Given(config=write(tmp_path / "c.config", text), **given)))


def run(*argv: str) -> Exit:
    parser = argparse.ArgumentParser()
    cli_check.add_arguments(parser)
    return cli_check.run(parser.parse_args(argv))


def test_arch_and_version_come_from_the_config(tmp_path: Path) -> None:
    facts = gather(Given(config=write(tmp_path / "c", GOOD)))
    assert facts.arch is not None
    assert facts.arch.name == "arm"
    assert facts.kernel == (6, 12, 1)


def test_every_fault_of_every_input_at_once(tmp_path: Path) -> None:
    given = Given(
        config=write(tmp_path / "c", "nonsense\n"),
        dtb=write(tmp_path / "d", b"\xd0\x0d\xfe\xed"),
        zimage=tmp_path / "absent",
        initramfs=write(tmp_path / "i", b"MZ"),
        capture_cmdline=f"@{tmp_path / 'absent'}",
        vmlinux=Path("/bin/sh"),
        rootfs=tmp_path,
        kexec_tools="new",
        ram="512M",
        image_size="8M",
    )
    with pytest.raises(UserError) as caught:
        gather(given)
    assert len(caught.value.faults) == 10
    assert all(fault.where for fault in caught.value.faults)


def test_inputs_of_different_architectures_are_refused(tmp_path: Path) -> None:
    arm64 = write(tmp_path / "c", "CONFIG_ARM64=y\n")
    with pytest.raises(UserError, match="different architectures"):
        gather(Given(config=arm64, zimage=write(tmp_path / "z", zimage())))
    with pytest.raises(UserError, match="neither arm nor arm64"):
        gather(Given(config=write(tmp_path / "x", "CONFIG_X86=y\n")))


def test_a_root_directory(tmp_path: Path) -> None:
    write(tmp_path / "etc/sysctl.conf", "# kernel.kptr_restrict=1\nkernel.kptr_restrict = 2\n")
    write(tmp_path / "usr/lib/sysctl.d/50-default.conf", "kernel/panic = 10\nkernel.kptr_restrict=1\n")
    status = "Package: bash\nVersion: 5\n\nPackage: kexec-tools\nStatus: ok\nVersion: 1:2.0.25-3\n\n"
    write(tmp_path / "var/lib/dpkg/status", status + "Package: makedumpfile\nVersion: 1:1.7.2-1\n")
    rootfs, versions = read_rootfs(tmp_path)
    assert rootfs.sysctls["kernel.kptr_restrict"] == ("2", f"{tmp_path}/etc/sysctl.conf:2")
    assert rootfs.sysctls["kernel.panic"][0] == "10"
    assert versions == {"kexec-tools": (2, 0, 25), "makedumpfile": (1, 7, 2)}
    assert "KD009" in {f.id for f in check_facts(gather(Given(arch="arm", rootfs=tmp_path))).findings}
    with pytest.raises(UserError, match="not a root directory"):
        read_rootfs(tmp_path / "var")


def test_makedumpfile_itself_says_its_version_where_no_package_list_does(tmp_path: Path) -> None:
    said = b"\x7fELF\0makedumpfile: version 1.7.5 (released on 11 Apr 2024)\n\0"
    packed = write(tmp_path / "initramfs.cpio", cpio([("bin/makedumpfile", 0o100755, said)]))
    assert gather(Given(arch="arm", initramfs=packed)).makedumpfile == (1, 7, 5)
    assert gather(Given(arch="arm", initramfs=packed, makedumpfile="1.7.7")).makedumpfile == (1, 7, 7)


def test_a_config_that_is_fine_is_clean(tmp_path: Path) -> None:
    found = report(tmp_path)
    assert [f.id for f in found.findings if f.severity is not Severity.INFO] == []
    assert exit_code(found) is Exit.CLEAN
    assert found.not_judged


def test_exit_codes(tmp_path: Path) -> None:
    assert exit_code(report(tmp_path, GOOD.replace("PANIC_ON_OOPS", "OTHER"))) is Exit.WARNINGS
    assert exit_code(report(tmp_path, GOOD.replace("CRASH_DUMP", "OTHER"))) is Exit.ERRORS


def test_a_waiver_takes_a_finding_out_of_the_count_and_shows_its_reason(tmp_path: Path) -> None:
    board = load_board(BOARDS / "arm-virt.toml")
    waivers = (Waiver("KD001", "there is a patch", 7), Waiver("KD002", "once needed", 8))
    facts = gather(Given(config=write(tmp_path / "c", GOOD.replace("CRASH_DUMP", "OTHER")), board=board))
    open_report = check_facts(facts)
    assert open_report.count(Severity.ERROR) == 1
    waived = check_facts(replace(facts, board=replace(board, waivers=waivers)))
    assert waived.count(Severity.ERROR) == 0
    assert [f.waived for f in waived.waived] == ["there is a patch"]
    assert waived.unused_waivers == (("KD002", f"{board.path}:8"),)
    for text in (page(waived), to_json(waived), to_sarif(waived, tmp_path)):
        assert "there is a patch" in text
    assert "KD002 is not needed" in page(waived)


def test_a_waiver_of_no_rule_is_refused() -> None:
    board = replace(load_board(BOARDS / "arm-virt.toml"), waivers=(Waiver("KD1", "typo", 9),))
    with pytest.raises(UserError, match=r"arm-virt.toml:9: no rule is called KD1"):
        check_facts(gather(Given(board=board)))


def test_links_of_a_root_directory_stay_in_it(tmp_path: Path) -> None:
    """An absolute link means a file of the target, not of this machine."""
    compiler = shutil.which("arm-linux-gnueabihf-gcc")
    if compiler is None:
        pytest.skip("no arm-linux-gnueabihf-gcc")
    write(tmp_path / "s.c", "void _start(void) { for (;;); }")
    (tmp_path / "root/opt/dump").mkdir(parents=True)
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    static = ["-nostdlib", "-static", "-o"]
    start([compiler, *static, tmp_path / "root/opt/dump/makedumpfile", tmp_path / "s.c"], what="compile a program")
    (tmp_path / "root/bin").symlink_to("/usr/bin")
    (tmp_path / "root/usr/bin/makedumpfile").symlink_to("/opt/dump/makedumpfile")
    (tmp_path / "root/usr/bin/busybox").symlink_to("/bin/busybox")  # a loop there, a program here
    with (tmp_path / "root/opt/dump/makedumpfile").open("ab") as file:
        file.write(b"makedumpfile: version 1.7.5 (released on 11 Apr 2024)\n")
    rootfs, versions = read_rootfs(tmp_path / "root")
    assert [program.path for program in rootfs.programs] == ["bin/makedumpfile"]
    assert versions == {"makedumpfile": (1, 7, 5)}


def page(found: Report, *, verbose: bool = False) -> str:
    console = Console(file=io.StringIO(), width=160, record=True)
    print_report(found, console, title="test", verbose=verbose)
    return console.export_text()


def test_the_page_has_the_worst_first_and_says_what_was_not_judged(tmp_path: Path) -> None:
    text = page(report(tmp_path, GOOD.replace("CRASH_DUMP", "OTHER").replace("PANIC_ON_OOPS", "OTHER")))
    assert text.index("KD001") < text.index("KD003")
    assert "c.config" in text
    assert "needs --initramfs" in text
    assert "1 error, 1 warning" in text


def test_the_story_of_each_rule_can_be_printed() -> None:
    for rule in all_rules():
        console = Console(file=io.StringIO(), width=80, record=True)
        print_rule(rule, console)
        assert rule.id in console.export_text()
    assert find_rule("kd001").id == "KD001"
    with pytest.raises(UserError, match="KD001"):
        find_rule("KD0001")


def test_json_is_the_same_each_time_and_whole(tmp_path: Path) -> None:
    found = report(tmp_path, GOOD.replace("CRASH_DUMP", "OTHER"))
    text = to_json(found)
    assert text == to_json(found)
    body = json.loads(text)
    assert body["format"] == 1
    assert body["counts"]["error"] == 1
    finding = next(f for f in body["findings"] if f["id"] == "KD001")
    assert finding["where"] == f"{tmp_path}/c.config:3"
    found_ids = {f["id"] for f in body["findings"]}
    assert len(body["passed"]) + len(body["not-judged"]) + len(found_ids) <= len(all_rules())


def test_sarif_puts_findings_at_their_line(tmp_path: Path) -> None:
    found = report(tmp_path, GOOD.replace("CRASH_DUMP", "OTHER"))
    log = json.loads(to_sarif(found, tmp_path))
    assert log["version"] == "2.1.0"
    (run_,) = log["runs"]
    rules = run_["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.id for rule in all_rules()]
    result = next(r for r in run_["results"] if r["ruleId"] == "KD001")
    assert rules[result["ruleIndex"]]["id"] == "KD001"
    assert result["level"] == "error"
    location = result["locations"][0]["physicalLocation"]
    assert location == {
        "artifactLocation": {"uri": "c.config", "uriBaseId": "ROOT"},
        "region": {"startLine": 3},
    }


def test_sarif_has_what_its_schema_requires(tmp_path: Path) -> None:
    log = json.loads(to_sarif(report(tmp_path, GOOD.replace("PANIC", "OTHER")), tmp_path))
    assert set(log) == {"$schema", "version", "runs"}
    for result in log["runs"][0]["results"]:
        assert {"ruleId", "ruleIndex", "level", "message", "partialFingerprints"} <= set(result)
        assert result["level"] in ("error", "warning", "note")
        assert isinstance(result["message"]["text"], str)
        for location in result.get("locations", ()):
            assert location["physicalLocation"]["region"]["startLine"] >= 1
    for rule in log["runs"][0]["tool"]["driver"]["rules"]:
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert rule["shortDescription"]["text"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path / "c", GOOD)
    init = write(tmp_path / "i", cpio([("init", 0o100755, b"\x7fELF")]))
    out = tmp_path / "report"
    assert run("--config", str(config)) is Exit.CLEAN
    both = ["--config", str(config), "--initramfs", str(init)]
    assert run(*both, "--format", "json", "--output", str(out)) is Exit.ERRORS
    assert json.loads(out.read_text())["inputs"]["--initramfs"] == str(init)
    assert run("--config", str(config), "--output", str(out)) is Exit.CLEAN
    assert "rules judged" in out.read_text()
    assert run("--explain", "KD031") is Exit.CLEAN
    assert run("--list") is Exit.CLEAN
    assert "KD031" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing to check"):
        run()


def test_a_reader_that_stops_is_no_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kdumpbuild", "check", "--list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


def test_a_command_line_from_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "cmdline", 'console=ttyS0 dyndbg="file a.c +p" crashkernel=64M\n')
    facts = gather(Given(arch="arm", cmdline=f"@{path}"))
    assert facts.cmdline is not None
    assert facts.cmdline.arguments == ("console=ttyS0", "dyndbg=file a.c +p", "crashkernel=64M")
    assert facts.cmdline.name == str(path)


def test_arguments_as_the_kernel_reads_them() -> None:
    line = Cmdline("quiet nr-cpus=1 panic=1 panic=5 -- init=x")
    assert line.value("nr_cpus") == "1"
    assert line.value("panic") == "5"
    assert line.value("quiet") == ""
    assert line.value("init") is None
    assert "quiet" in line


@pytest.mark.parametrize(
    ("text", "version"), [("6.12.117-rt1", (6, 12, 117)), ("v5.10", (5, 10)), ("2.0.29", (2, 0, 29))]
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_the_pages_of_the_rules_are_current() -> None:
    """Made again by: python -m kdumpbuild.checks.docs."""
    made = pages()
    assert {path.name: path.read_text() for path in DOCS.glob("*.md") if path.name not in (DEFCONFIGS, PROOFS)} == made
    for rule in all_rules():
        assert rule.id in made["README.md"]
        assert rule.story in made[f"{rule.subject}.md"]


def test_the_page_of_proofs_is_current() -> None:
    """Made again by: python -m tests.proofs."""
    text = (DOCS / PROOFS).read_text(encoding="utf-8")
    assert text == proofs.page()
    assert all(f"[{rule.id}]" in text for rule in all_rules())
    assert len(proofs.crashes()["KD060"]) == 1
    assert proofs.NOT_CRASHED.keys() == {rule.id for rule in all_rules()} - proofs.crashes().keys()


def test_the_table_has_a_line_for_all_versions_of_a_configuration() -> None:
    both, old = ("KD003", "warning"), ("KD050", "error")
    text = table([
        Row("6.12.117", "arm", "multi_v7_defconfig", (both,)),
        Row("5.10.223", "arm", "multi_v7_defconfig", (both, old)),
        Row("6.12.117", "arm64", "defconfig", (("KD031", "info"),)),
    ])  # fmt: skip
    assert "Kernels: 5.10.223, 6.12.117." in text
    assert "| arm multi_v7_defconfig | 5.10 6.12 | W |  | E 5.10 |\n" in text
    assert "| arm64 defconfig | 6.12 |  | i |  |\n" in text


def test_the_table_of_defconfigs_names_rules_that_exist() -> None:
    known = {rule.id for rule in all_rules()}
    assert set(re.findall(r"KD\d{3}", (DOCS / DEFCONFIGS).read_text())) <= known


def image_set(folder: Path, *, image_size: str = "0x800000") -> Path:
    """Write what the preflight reads of an image set, with the names of a real one."""
    capture = "CONFIG_ARM=y\nCONFIG_CRASH_DUMP=y\nCONFIG_PROC_VMCORE=y\nCONFIG_PANIC_ON_OOPS=y\nCONFIG_RD_XZ=y\n"
    write(folder / "capture.config", "# Linux/arm 6.12.2 Kernel Configuration\n" + capture)
    write(folder / "production/config", GOOD)
    write(folder / "zImage", zimage(textofs=0x208000))
    packed = lzma.compress(cpio([("init", 0o100755, b"#!/bin/sh\n")]), check=lzma.CHECK_CRC32)
    write(folder / "initramfs.cpio.gz", packed)
    conf = f"KDUMP_CMDLINE='console=ttyAMA0 panic=5'\nKDUMP_KEXEC_ARGS=--image-size={image_size}\n"
    write(folder / "kdump-load.conf", conf)
    manifest = {"format": 1, "tools": {"userland": ["makedumpfile 1:1.7.2-1", "kexec-tools 1:2.0.25-3+b1"]}}
    write(folder / "manifest.json", json.dumps(manifest))
    return folder


def test_facts_of_an_image_set(tmp_path: Path) -> None:
    board = load_board(BOARDS / "arm-virt.toml")
    facts = facts_from_set(image_set(tmp_path), board, places={"BLK_DEV_INITRD": "capture.config:9"})
    assert facts.makedumpfile == (1, 7, 2)
    assert facts.kexec_tools == (2, 0, 25)
    assert facts.capture_kernel == (6, 12, 2)
    assert facts.image_size == 0x800000
    assert facts.file_load is False
    assert facts.ram == board.memory.ram
    found = check_facts(facts)
    assert "KD031" in found.passed
    assert {"KD061", "KD064", "KD066", "KD071"} <= {f.id for f in found.findings} | set(found.passed)
    missing = next(f for f in found.findings if f.id == "KD061")
    assert missing.where == "capture.config:9"
    small = check_facts(facts_from_set(image_set(tmp_path, image_size="0x8000"), board))
    assert "KD031" in {f.id for f in small.findings}


def test_the_sets_own_device_tree_lacks_what_the_boot_loader_puts_in(tmp_path: Path) -> None:
    """Two CPUs that nothing can stop: said. What only the boot loader can have put there: not judged."""
    board = load_board(BOARDS / "imx6ul-evk.toml")
    folder = image_set(tmp_path)
    cpus = "".join(f'cpu@{i} {{ device_type = "cpu"; reg = <{i}>; }}; ' for i in range(2))
    root = f'compatible = "arm,vexpress,v2p-ca9"; {EFI} cpus {{ #address-cells = <1>; #size-cells = <0>; {cpus} }};'
    write(folder / "t.dts", f"/dts-v1/; / {{ {root} }};")
    dtb = folder / "imx6ul-14x14-evk.dtb"
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", dtb, folder / "t.dts"], check=True)
    write(folder / "production/config", GOOD + "CONFIG_SMP=y\nCONFIG_HOTPLUG_CPU=y\n")
    found = check_facts(facts_from_set(folder, board, cmdline="crashkernel=16M"))
    assert "KD080" in {f.id for f in found.findings}
    assert "KD040" in {rule.id for rule in found.not_judged}
    given = check_facts(facts_from_set(folder, board, dtb=dtb))
    assert "KD040" in {f.id for f in given.findings}


def test_a_set_that_is_not_whole(tmp_path: Path) -> None:
    board = load_board(BOARDS / "arm-virt.toml")
    with pytest.raises(UserError, match=r"manifest.json: cannot be read"):
        facts_from_set(tmp_path, board)
    image_set(tmp_path)
    (tmp_path / "zImage").unlink()
    (tmp_path / "capture.config").unlink()
    with pytest.raises(UserError) as caught:
        facts_from_set(tmp_path, board)
    assert len(caught.value.faults) == 2
    write(tmp_path / "manifest.json", "[]")
    with pytest.raises(UserError, match="not a manifest"):
        facts_from_set(tmp_path, board)


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--config", "absent"], 3, "absent: cannot be read"),
        (["--ram", "lots"], 3, "write SIZE@BASE"),
        (["--ram", "1Gb"], 3, "--ram: '1Gb' has no address"),
        (["--ram", "1Gb@0x40000000"], 3, "--ram: '1Gb' is not a size"),
        (["--board", "arm-vort"], 3, "did you mean arm-virt?"),
        (["--explain", "KD999"], 3, "no rule is called KD999"),
        (["--cmdline", "quiet", "--arch", "arm"], 2, ""),
        (["--cmdline", "crashkernel=64M", "--arch", "arm"], 0, ""),
    ],
)
def test_exit_codes_of_the_command(argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *argv]) == code
    assert said in capsys.readouterr().err


def test_a_row_for_a_distributions_config(tmp_path: Path) -> None:
    row = row_of(write(tmp_path / "config-6.12.1-armmp", GOOD))
    assert (row.kernel, row.arch, row.name) == ("6.12.1", "arm", "armmp")
    assert ("KD050", "error") in row.found
    with pytest.raises(UserError, match=r"not a whole .config"):
        row_of(write(tmp_path / "c", "CONFIG_ARM=y\n"))


def test_a_packed_config(tmp_path: Path) -> None:
    facts = gather(Given(config=write(tmp_path / "config.gz", gzip.compress(GOOD.encode()))))
    assert facts.kernel == (6, 12, 1)
