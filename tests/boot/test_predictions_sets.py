"""What a rule predicts for an image set happens, and the rule is silent on the set as it was built.

The set is the built one with one thing changed, judged by the preflight and then crashed in QEMU. That sets pass as
they are built is shown by test_crashtest.py.
"""

from __future__ import annotations

import gzip
import re
import struct
from dataclasses import replace
from pathlib import Path

import drgn
import pytest

from kdumpbuild.board.model import Watchdog
from kdumpbuild.build.imageset import reserved
from kdumpbuild.checks.engine import check_facts
from kdumpbuild.checks.gather import Given, gather
from kdumpbuild.checks.userland import read_rootfs
from kdumpbuild.crashtest import Options, render
from kdumpbuild.crashtest.protocol import Means
from kdumpbuild.errors import UserError
from kdumpbuild.formats.initramfs import read_initramfs
from kdumpbuild.run import run
from tests.boot.changed import changed, plain_load, with_files
from tests.boot.test_crashtest import Bench, bench_of
from tests.fuzz.readers import cpio, uboot

pytestmark = pytest.mark.boot

MIB = 1 << 20
SOFT_LOCKUP_ALONE = "sysctl.kernel.panic_on_rcu_stall=0 workqueue.panic_on_stall=0"
"""Which detector of the board's is the first to notice a loop depends on the host."""


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


def test_kexec_s_is_not_there_on_arm(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, conf={"KDUMP_KEXEC_ARGS": "-s {}"})
    assert bad.finds("KD041")
    verdict = bad.crash()
    assert verdict.failure is not None
    assert verdict.failure.code == "load-failed", render(verdict)
    assert re.search("not implemented|not supported|not available", bad.console + verdict.failure.why, re.IGNORECASE)
    assert not changed(arm, tmp_path / "good").finds("KD041")


# -- loading ------------------------------------------------------------------------------------------------------


def test_loading_is_switched_off(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path)
    argument = "sysctl.kernel.kexec_load_disabled=1"
    assert bad.finds("KD011", cmdline=f"crashkernel=16M {argument}")
    verdict = bad.crash(Options(cmdline=argument, install=plain_load(tmp_path)))
    assert verdict.failure is not None, render(verdict)
    assert verdict.failure.code == "load-failed", render(verdict)
    assert "Operation not permitted" in bad.console


def test_a_capture_kernel_for_another_architecture(arm: Bench, arm64: Bench, tmp_path: Path) -> None:
    other = arm64.image_set
    files = {"zImage": other.kernel.read_bytes(), "capture.config": other.capture_config.read_bytes()}
    bad = changed(arm, tmp_path, files=files)
    report = check_facts(gather(Given(config=arm.image_set.production_config, capture_config=other.capture_config)))
    assert "KD059" in {finding.id for finding in report.findings}
    with pytest.raises(UserError, match="different architectures"):
        bad.judge()
    verdict = bad.crash(Options(deadline=60))
    assert verdict.failure is not None, render(verdict)
    assert verdict.failure.code == "no-capture-kernel", render(verdict)
    assert not changed(arm, tmp_path / "good").finds("KD059")


@pytest.mark.parametrize("form", ["gzip", "zboot"])
def test_forms_of_the_kernel_that_kexec_cannot_read(arm64: Bench, tmp_path: Path, form: str) -> None:
    """Debian 12 has kexec-tools 2.0.25: it unpacks Image.gz itself, for kexec -s as well, and knows no zboot."""
    packed = gzip.compress(arm64.image_set.kernel.read_bytes())
    if form == "zboot":  # as in drivers/firmware/efi/libstub/zboot-header.S, as far as loaders look
        head = struct.pack("<4s4sII8s8sI", b"MZ\0\0", b"zimg", 64, len(packed), b"", b"gzip", 0)
        packed = head.ljust(64, b"\0") + packed
    given = changed(arm64, tmp_path, files={"Image": packed})
    fires = given.finds("KD035", kexec_tools=(2, 0, 25))
    assert fires is (form == "zboot")
    verdict = given.crash()
    assert verdict.passed is not fires, render(verdict)
    if fires:
        assert verdict.failure is not None
        assert verdict.failure.code == "load-failed", render(verdict)


def test_a_command_line_that_is_too_long(arm: Bench, tmp_path: Path) -> None:
    bad = changed(arm, tmp_path, conf={"KDUMP_CMDLINE": "{} " + "x" * 1000})
    assert bad.finds("KD055")
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)
    assert not changed(arm, tmp_path / "good").finds("KD055")


@pytest.mark.parametrize("arch", ["arm", "arm64"])
def test_a_device_tree_without_memory(request: pytest.FixtureRequest, tmp_path: Path, arch: str) -> None:
    """kexec tells a capture kernel on arm by mem= where its memory is; on arm64 it only narrows what the tree says."""
    bench: Bench = request.getfixturevalue(arch)
    tree = machine_tree(bench, tmp_path)
    run(["fdtput", "-r", tree, "/memory@40000000"], what="take the memory out of a device tree")
    run(["fdtput", "-d", tree, "/chosen", "kaslr-seed"], what="take the seed out of a device tree")
    conf = {"KDUMP_DTB": tree.name, "KDUMP_KEXEC_ARGS": "-c" if arch == "arm64" else "{}"}
    bad = changed(bench, tmp_path, conf=conf, files={tree.name: tree.read_bytes()})
    fires = bad.finds("KD039", dtb=tree)
    assert fires is (arch == "arm64")
    verdict = bad.crash(Options(deadline=60))
    assert verdict.passed is not fires, render(verdict)


# -- the capture system -------------------------------------------------------------------------------------------


def test_an_initramfs_that_is_wrapped_for_u_boot(arm: Bench, tmp_path: Path) -> None:
    data = arm.image_set.initramfs.read_bytes()
    bad = changed(arm, tmp_path, files={arm.image_set.initramfs.name: uboot(data)})
    assert bad.finds("KD060")
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)
    assert "invalid magic at start of compressed archive" in bad.console
    assert not changed(arm, tmp_path / "good").finds("KD060")


def test_an_initramfs_that_cannot_filter(arm: Bench, tmp_path: Path) -> None:
    """All of memory is what is left, and it takes its time."""
    entries = read_initramfs(arm.image_set.initramfs).entries
    kept = [(entry.name, entry.mode, entry.data) for entry in entries if entry.name != "bin/makedumpfile"]
    assert len(kept) == len(entries) - 1
    bad = changed(arm, tmp_path, files={arm.image_set.initramfs.name: gzip.compress(cpio(kept))})
    assert bad.finds("KD068")
    verdict = bad.crash()
    assert verdict.form == "raw", render(verdict)
    good = changed(arm, tmp_path / "good")
    assert not good.finds("KD068")
    assert good.crash().form == "filtered"


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("KD086", "console=ttyAMA0", "console=ttyS0"),
        ("KD088", "console=ttyAMA0", "console=@CONSOLE@"),  # as by a template that was not filled in
        ("KD054", "panic=", "quiet panic="),  # passed on from the product
    ],
)
def test_a_capture_kernel_that_nobody_hears(arm: Bench, tmp_path: Path, rule: str, old: str, new: str) -> None:
    """The dump is there, and of the capture kernel nothing is on the console."""
    tree = machine_tree(arm, tmp_path)
    starts = "Run /init as init process"
    good = changed(arm, tmp_path / "good")
    assert not good.finds(rule, dtb=tree)
    assert good.crash().passed
    heard = good.console.count(starts)
    cmdline = capture_cmdline(arm)
    assert old in cmdline
    bad = changed(arm, tmp_path, conf={"KDUMP_CMDLINE": cmdline.replace(old, new)})
    assert bad.finds(rule, dtb=tree)
    verdict = bad.crash()
    assert verdict.passed, render(verdict)
    assert bad.console.count(starts) == heard - 1


def capture_cmdline(bench: Bench) -> str:
    found = re.search(r"^KDUMP_CMDLINE='(.*)'$", bench.image_set.load_conf.read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_other_cpus_are_started(arm: Bench, tmp_path: Path) -> None:
    cmdline = capture_cmdline(arm)
    assert "nr_cpus=1 " in cmdline
    as_built = changed(arm, tmp_path / "good")
    assert not as_built.finds("KD053")
    as_built.crash()
    assert "failed to boot" not in as_built.console
    bad = changed(arm, tmp_path, conf={"KDUMP_CMDLINE": cmdline.replace("nr_cpus=1 ", "")})
    assert bad.finds("KD053")
    bad.crash()
    assert "failed to boot" in bad.console


def test_a_region_that_the_capture_system_does_not_fit_into(arm: Bench, tmp_path: Path) -> None:
    """Half of what the set asks for: it still loads, with a script that does not look."""
    small = reserved(arm.image_set).size // 2 // MIB * MIB
    bad = changed(arm, tmp_path)
    assert bad.finds("KD029", cmdline=f"crashkernel={small // MIB}M", reserved=None)
    verdict = bad.crash(Options(crashkernel=small, install=plain_load(tmp_path)))
    assert verdict.failure is not None
    assert not verdict.vmcore_size, render(verdict)
    assert not bad.finds("KD029")


def test_a_filter_that_wants_a_vmlinux(arm: Bench, tmp_path: Path) -> None:
    initramfs = arm.image_set.initramfs
    (script,) = (e.data for e in read_initramfs(initramfs).entries if e.name == "lib/kdump/target.sh")
    asks = script.replace(b"limited \"$share\" makedumpfile ", b"limited \"$share\" makedumpfile -x /boot/vmlinux ")
    assert asks != script
    bad = changed(
        arm, tmp_path, files={initramfs.name: with_files(initramfs.read_bytes(), {"lib/kdump/target.sh": asks})}
    )
    assert bad.finds("KD074")
    verdict = bad.crash()
    assert verdict.form == "raw", render(verdict)
    assert not changed(arm, tmp_path / "good").finds("KD074")


# -- what the product does ----------------------------------------------------------------------------------------


def test_addresses_that_are_hidden_from_kexec(arm: Bench, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc/sysctl.d").mkdir(parents=True)
    (rootfs / "etc/sysctl.d/50-hardening.conf").write_text("kernel.kptr_restrict = 2\n")
    as_built = changed(arm, tmp_path)
    assert as_built.finds("KD009", rootfs=read_rootfs(rootfs)[0])
    verdict = as_built.crash(Options(cmdline="sysctl.kernel.kptr_restrict=2"))
    assert not verdict.passed, render(verdict)
    (rootfs / "etc/sysctl.d/50-hardening.conf").write_text("kernel.kptr_restrict = 1\n")
    assert not as_built.finds("KD009", rootfs=read_rootfs(rootfs)[0])
    verdict = as_built.crash(Options(cmdline="sysctl.kernel.kptr_restrict=1"))
    assert verdict.passed, render(verdict)


def test_a_panic_that_the_command_line_takes_back(arm: Bench, tmp_path: Path) -> None:
    """The loop goes on until the machine's watchdog ends it. The board's other detectors look away here."""
    as_built = changed(arm, tmp_path)
    line = f"crashkernel=16M {arm.image_set.boot_arguments.read_text().strip()}"
    one_cpu = Options(means=Means(watchdog=40), qemu_args=("-smp", "1"))
    assert as_built.finds("KD102", cmdline=f"{line} nosoftlockup")
    verdict = as_built.crash(replace(one_cpu, cmdline=f"{SOFT_LOCKUP_ALONE} nosoftlockup"), trigger="lkdtm-softlockup")
    assert verdict.by_watchdog, render(verdict)
    assert not verdict.vmcore_size
    assert not as_built.finds("KD102", cmdline=line)
    verdict = as_built.crash(replace(one_cpu, cmdline=SOFT_LOCKUP_ALONE), trigger="lkdtm-softlockup")
    assert verdict.passed, render(verdict)


def test_a_watchdog_that_is_faster_than_the_detectors(arm: Bench, tmp_path: Path) -> None:
    """The CPU that loops is the only one, and so the one that feeds it."""
    one = ("-smp", "1")
    for timeout, captured in ((10, False), (60, True)):
        board = replace(arm.board, watchdog=Watchdog("/dev/watchdog", timeout))
        made = changed(replace(arm, board=board), tmp_path / str(timeout))
        assert made.finds("KD101") is not captured
        # The machine's own watchdog, not one of the board's: no capture has to feed it.
        verdict = changed(arm, tmp_path / f"{timeout}-crash").crash(
            Options(cmdline=SOFT_LOCKUP_ALONE, means=Means(watchdog=timeout), qemu_args=one), trigger="lkdtm-softlockup"
        )
        assert verdict.passed is captured, render(verdict)
        assert verdict.by_watchdog is not captured


@pytest.mark.parametrize("arch", ["arm", "arm64"])
def test_ramoops_without_its_memory(request: pytest.FixtureRequest, tmp_path: Path, arch: str) -> None:
    bench: Bench = request.getfixturevalue(arch)
    plain = machine_tree(bench, tmp_path)
    bad = changed(bench, tmp_path)
    bad.files.boot.joinpath("ramoops.dtso").unlink()
    assert bad.finds("KD104", dtb=plain)
    alone = Options(means=Means(kdump=False))
    assert not [name for name in bad.crash(alone, trigger="lkdtm-panic").records if "ramoops" in name]
    # What a boot loader gives, with the overlay on it, is beside the result of the crash test.
    good = changed(bench, tmp_path / "good")
    verdict = good.crash(alone, trigger="lkdtm-panic")
    assert [name for name in verdict.records if name.startswith("dmesg-ramoops")], render(verdict)
    assert not good.finds("KD104", dtb=bench.work / "machine.dtb")


def test_kdump_or_a_record_of_the_panic(arm: Bench, tmp_path: Path) -> None:
    """What is traded: beside kdump ramoops has the console, and no record, unless records come first."""
    as_built = changed(arm, tmp_path)
    assert as_built.finds("KD103")
    for first, records in (("", False), ("crash_kexec_post_notifiers", True)):
        verdict = as_built.crash(Options(cmdline=first), trigger="lkdtm-panic")
        assert verdict.passed, render(verdict)
        assert bool([name for name in verdict.records if name.startswith("dmesg-ramoops")]) is records
        assert [name for name in verdict.records if name.startswith("console-ramoops")]


# -- reading the dump ---------------------------------------------------------------------------------------------


def test_a_vmlinux_without_debug_information(arm: Bench, tmp_path: Path) -> None:
    stripped = tmp_path / "vmlinux"
    vmlinux = arm.image_set.production_vmlinux
    command: list[str | Path] = ["arm-linux-gnueabihf-objcopy", "--strip-debug", vmlinux, stripped]
    run(command, what="strip a vmlinux")
    bad = changed(arm, tmp_path, files={"debug/vmlinux": stripped.read_bytes()})
    assert bad.finds("KD006")
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)
    assert not changed(arm, tmp_path / "good").finds("KD006")


def test_compressed_dumps_of_arm_are_not_for_drgn_itself(arm: Bench, tmp_path: Path) -> None:
    as_built = changed(arm, tmp_path)
    assert as_built.finds("KD072", makedumpfile_options=("-z", "-d", "31"))
    assert not as_built.finds("KD072")
    verdict = as_built.crash()
    assert verdict.passed, render(verdict)
    vmcore = Path(verdict.places["dump"]) / "vmcore"
    program = drgn.Program()
    with pytest.raises(drgn.FaultError):
        read(program, vmcore, as_built.files.production_vmlinux)


def read(program: drgn.Program, vmcore: Path, vmlinux: Path) -> str:
    """Return the name of the first task, as drgn alone finds it."""
    program.set_core_dump(vmcore)
    program.load_debug_info([vmlinux])
    return str(program["init_task"].comm.string_())
