"""What a rule predicts for an image set happens, and does not with the set as it was built.

Each set is the built one with one thing changed, judged by the preflight and then crashed in QEMU. That the sets pass
as they are built is shown by test_crashtest.py; here the rule has to be silent on them.
"""

from __future__ import annotations

import gzip
import re
import subprocess
from typing import TYPE_CHECKING

import drgn
import pytest

from kdumpbuild.analysis import open_dump
from kdumpbuild.board.model import Bank
from kdumpbuild.checks.engine import check_facts
from kdumpbuild.checks.facts import Cmdline, Config, Facts
from kdumpbuild.checks.gather import Given, gather
from kdumpbuild.crashtest import Options, render
from kdumpbuild.errors import UserError
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.formats.elf import read_vmlinux
from kdumpbuild.formats.initramfs import read_initramfs
from kdumpbuild.run import run, watch
from tests.boot.changed import changed, plain_load, with_files
from tests.boot.test_crashtest import Bench, bench_of
from tests.fuzz.readers import cpio, uboot

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


def machine_tree(bench: Bench, folder: Path) -> Path:
    """Return the device tree that QEMU gives the board's kernel."""
    machine = bench.board.machine
    assert machine is not None
    path = folder / "machine.dtb"
    argv = [
        bench.board.arch.qemu, "-M", f"{machine.machine},dumpdtb={path}", "-cpu", machine.cpu, "-smp", str(machine.smp),
        "-m", f"{bench.board.memory.total // MIB}M", "-nic", "none", "-display", "none",
    ]  # fmt: skip
    run(argv, what="ask QEMU for its device tree")
    return path


# -- what kexec refuses -------------------------------------------------------------------------------------------


def test_kexec_s_is_not_there_on_arm(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, conf={"KDUMP_KEXEC_ARGS": "-s {}"})
    assert bad.finds("KD041")
    verdict = bad.crash()
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert re.search("not implemented|not supported|not available", bad.console + verdict.failure.why, re.IGNORECASE)
    assert not changed(arm, tmp_path / "good").finds("KD041")


def test_a_packed_image_is_refused_by_kexec_s(arm64: Bench, tmp_path: Path) -> None:
    image = arm64.image_set.kernel.read_bytes()
    bad = changed(arm64, tmp_path, files={"Image": gzip.compress(image, compresslevel=1)})
    assert bad.finds("KD035")
    verdict = bad.crash()
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert not changed(arm64, tmp_path / "good").finds("KD035")


def test_a_capture_kernel_of_another_architecture_is_refused(arm: Bench, built: Path, tmp_path: Path) -> None:
    config, other = arm.image_set.production_config, built / "arm64-virt/capture.config"
    assert "KD059" in {f.id for f in check_facts(gather(Given(config=config, capture_config=other))).findings}
    verdict = changed(arm, tmp_path, files={"zImage": (built / "arm64-virt/Image").read_bytes()}).crash()
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert not changed(arm, tmp_path / "good").finds("KD059")


@pytest.mark.parametrize(
    ("rule", "argument", "refusal"),
    [
        ("KD011", "sysctl.kernel.kexec_load_disabled=1", "Operation not permitted"),
        ("KD011", "sysctl.kernel.kexec_load_limit_panic=0", "Operation not permitted"),
    ],
)
def test_loading_that_is_switched_off(
    rule: str, argument: str, refusal: str, arm: Bench, tmp_path: Path
) -> None:  # fmt: skip
    as_built = changed(arm, tmp_path)
    assert as_built.finds(rule, cmdline=f"crashkernel=14M {argument}")
    verdict = as_built.crash(Options(cmdline=argument, install=plain_load(tmp_path)))
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert refusal in as_built.console
    # The load script of the set says why.
    verdict = as_built.crash(Options(cmdline=argument))
    assert verdict.failure is not None
    assert "exit code 5" in verdict.failure.what or "exit code 9" in verdict.failure.what, render(verdict)


# -- what makes the dump worthless --------------------------------------------------------------------------------


def first_load(vmcore: Path) -> int:
    """Return the virtual address that the dump's headers give the start of RAM."""
    said = subprocess.run(["readelf", "-lW", str(vmcore)], capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in said.splitlines() if line.split()[:1] == ["LOAD"]]
    return int(min(found, key=lambda words: int(words[3], 16))[2], 16)


def test_hidden_addresses_spoil_the_headers(arm: Bench, tmp_path: Path) -> None:
    argument = "sysctl.kernel.kptr_restrict=2"
    as_built = changed(arm, tmp_path)
    assert as_built.finds("KD009", cmdline=f"crashkernel=14M {argument}")
    plain = plain_load(tmp_path)
    verdict = as_built.crash(Options(install=plain))
    assert verdict.passed, render(verdict)
    (dump,) = arm.work.glob("target/**/vmcore")
    good = first_load(dump)
    as_built.crash(Options(cmdline=argument, install=plain))
    assert [first_load(path) for path in arm.work.glob("target/**/vmcore")] != [good]
    # The load script of the set does not let it come to that.
    verdict = as_built.crash(Options(cmdline=argument))
    assert verdict.failure is not None
    assert "exit code 5" in verdict.failure.what, render(verdict)


def test_a_region_that_ends_inside_a_page_block(arm: Bench, tmp_path: Path) -> None:
    initramfs = arm.image_set.initramfs.read_bytes()
    conf = kdump_conf(initramfs).replace("--non-mmap", "")
    mapped = changed(arm, tmp_path, files={"initramfs.cpio.gz": with_conf(initramfs, conf)})
    assert mapped.finds("KD026", makedumpfile_options=("-E",), cmdline="crashkernel=14M")
    mapped.crash()
    assert "Bad page map" in mapped.console
    assert not mapped.finds("KD026", makedumpfile_options=("-E",), cmdline="crashkernel=16M")
    verdict = mapped.crash(Options(crashkernel=16 * MIB))
    assert verdict.passed, render(verdict)
    assert "Bad page map" not in mapped.console
    assert not mapped.finds("KD026", makedumpfile_options=("-E", "--non-mmap"), cmdline="crashkernel=14M")


def test_a_compressed_dump_of_arm_is_not_for_drgn_itself(arm: Bench, tmp_path: Path) -> None:
    initramfs = arm.image_set.initramfs.read_bytes()
    conf = kdump_conf(initramfs).replace("-E --non-mmap", "-l --non-mmap")
    bad = changed(arm, tmp_path, files={"initramfs.cpio.gz": with_conf(initramfs, conf)})
    assert bad.finds("KD072", makedumpfile_options=("-l", "--non-mmap"))
    bad.crash()
    (vmcore,) = arm.work.glob("target/**/vmcore")
    assert vmcore.read_bytes()[:8] == b"KDUMP   "
    with pytest.raises((ValueError, LookupError, OSError, drgn.FaultError)):
        drgn_alone(vmcore, arm.image_set.production_vmlinux)
    assert not changed(arm, tmp_path / "good").finds("KD072")


def drgn_alone(vmcore: Path, vmlinux: Path) -> int:
    """Open a dump as drgn does without help, and read something out of it."""
    program = drgn.Program()
    program.set_core_dump(str(vmcore))
    program.load_debug_info([str(vmlinux)])
    return int(program["init_task"].pid) + len(program.crashed_thread().stack_trace())


def test_without_makedumpfile_everything_is_written(arm: Bench, tmp_path: Path) -> None:
    entries = read_initramfs(arm.image_set.initramfs).entries
    kept = [(e.name, e.mode, e.data) for e in entries if not e.name.endswith("bin/makedumpfile")]
    assert len(kept) < len(entries)
    bad = changed(arm, tmp_path, files={"initramfs.cpio.gz": gzip.compress(cpio(kept))})
    assert bad.finds("KD068")
    verdict = bad.crash()
    assert verdict.form == "raw", render(verdict)
    assert verdict.vmcore_size is not None
    assert verdict.vmcore_size > 400 * MIB
    assert not changed(arm, tmp_path / "good").finds("KD068")


def test_a_vmlinux_without_debug_information_opens_nothing(arm: Bench, tmp_path: Path) -> None:
    assert arm.crash().passed
    (vmcore,) = arm.work.glob("target/**/vmcore")
    whole, stripped = arm.image_set.production_vmlinux, tmp_path / "vmlinux"
    run(["arm-linux-gnueabihf-objcopy", "--strip-debug", whole, stripped], what="strip a vmlinux")
    assert "KD006" in {f.id for f in check_facts(Facts(vmlinux=read_vmlinux(stripped))).findings}
    with pytest.raises(UserError, match="no debug info"):
        open_dump(vmcore, stripped)
    assert "KD006" in check_facts(Facts(vmlinux=read_vmlinux(whole))).passed
    assert open_dump(vmcore, whole).crash().stack


def with_conf(initramfs: bytes, conf: str) -> bytes:
    return with_files(initramfs, {"etc/kdump.conf": conf.encode()})


def kdump_conf(initramfs: bytes) -> str:
    entry = read_initramfs(initramfs).entry("etc/kdump.conf")
    assert entry is not None
    return entry.data.decode()


# -- what the capture kernel cannot use ---------------------------------------------------------------------------


def test_an_initramfs_wrapped_for_u_boot(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, files={"initramfs.cpio.gz": uboot(arm.image_set.initramfs.read_bytes())})
    assert bad.finds("KD060")
    verdict = bad.crash()
    assert not verdict.passed
    assert re.search("unpacking failed|Unable to mount root fs", bad.console), render(verdict)
    assert not changed(arm, tmp_path / "good").finds("KD060")


def test_a_tree_without_memory(arm: Bench, tmp_path: Path) -> None:
    tree = machine_tree(arm, tmp_path)
    assert not changed(arm, tmp_path / "good").finds("KD039", dtb=tree)
    run(["fdtput", "-r", tree, "/memory@40000000"], what="take the memory out of a device tree")
    bad = changed(arm, tmp_path, conf={"KDUMP_DTB": "bare.dtb"}, files={"bare.dtb": tree.read_bytes()})
    assert bad.finds("KD039", dtb=tree)
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)


def test_a_console_that_is_not_the_boards(arm: Bench, tmp_path: Path) -> None:
    tree = machine_tree(arm, tmp_path)
    line = arm.image_set.load_conf.read_text().split("KDUMP_CMDLINE=")[1].splitlines()[0].strip("'")
    bad = changed(arm, tmp_path, conf={"KDUMP_CMDLINE": line.replace("console=ttyAMA0", "console=ttyS0")})
    assert bad.finds("KD086", dtb=tree)
    bad.crash()
    assert "vmcore committed" not in bad.console
    good = changed(arm, tmp_path / "good")
    assert not good.finds("KD086", dtb=tree)
    assert good.crash().passed
    assert "vmcore committed" in good.console


def test_a_line_that_is_too_long_for_kexec(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, conf={"KDUMP_CMDLINE": "{} " + "x" * 900})
    assert bad.finds("KD055", cmdline="crashkernel=14M")
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)
    assert not changed(arm, tmp_path / "good").finds("KD055", cmdline="crashkernel=14M")


# -- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "fires"), [("3G", True), ("256M", False)])
def test_a_region_above_the_dma_limit_costs_low_memory_too(
    size: str, fires: bool, arm64: Bench, tmp_path: Path  # noqa: FBT001
) -> None:  # fmt: skip
    source = read_dotconfig(arm64.image_set.production_config)
    facts = Facts(
        arch=arm64.board.arch, production=Config(source.values, source.name), kernel=(6, 12),
        cmdline=Cmdline(f"crashkernel={size}"), ram=(Bank(0x40000000, 6 << 30),),
    )  # fmt: skip
    assert ("KD027" in {f.id for f in check_facts(facts).findings}) is fires
    machine = arm64.board.machine
    assert machine is not None
    (tmp_path / "none").write_bytes(cpio([("other", 0o100644, b"")]))
    argv = [
        arm64.board.arch.qemu, "-M", machine.machine, "-cpu", machine.cpu, "-m", "6G", "-nographic", "-nic", "none",
        "-no-reboot", "-kernel", str(arm64.image_set.production_kernel), "-initrd", str(tmp_path / "none"),
        "-append", f"console=ttyAMA0 panic=1 crashkernel={size}",
    ]  # fmt: skip
    log = tmp_path / "console"
    watch(argv, what="boot", log=log, deadline=90, on_line=lambda _, __: None)
    text = log.read_text(errors="replace")
    assert "crashkernel reserved" in text
    assert ("crashkernel low memory reserved" in text) is fires
