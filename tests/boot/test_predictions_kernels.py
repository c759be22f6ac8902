"""What a rule predicts for a kernel happens, and does not after its advice is followed.

Each kernel is the board's own with a few options changed, compiled below OUT and kept there: ``./doit predictions``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import drgn
import pytest
from drgn.helpers.linux.mm import PageSlab, for_each_page, page_to_virt

from kdumpbuild.analysis.dump import open_dump
from kdumpbuild.board.loader import load_board
from kdumpbuild.checks.model import Severity
from kdumpbuild.crashtest import Options, render
from kdumpbuild.crashtest.protocol import Means
from kdumpbuild.resources import STUCK_CPU_PATCH
from tests.boot.changed import Changed, changed, compiled, plain_load
from tests.boot.test_crashtest import Bench, bench_of
from tests.boot.test_predictions_sets import SOFT_LOCKUP_ALONE, machine_tree

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board
    from kdumpbuild.build.layout import SetFiles
    from kdumpbuild.crashtest import Verdict

pytestmark = [pytest.mark.boot, pytest.mark.slow]

MIB = 1 << 20


@pytest.fixture
def arm(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm-virt", built, tmp_path)


@pytest.fixture
def arm64(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm64-virt", built, tmp_path)


def arguments(files: SetFiles) -> str:
    """Return what a set's load script gives to kexec."""
    return next(
        line.partition("=")[2].strip("'")
        for line in files.load_conf.read_text().splitlines()
        if line.startswith("KDUMP_KEXEC_ARGS=")
    )


def said(verdict: Verdict, words: str) -> bool:
    """Whether ramoops kept the words."""
    kept = [Path(path) for name, path in verdict.records.items() if "ramoops" in name]
    return any(words.encode() in path.read_bytes() for path in kept)


def failed(verdict: Verdict, code: str) -> None:
    assert verdict.failure is not None, render(verdict)
    assert verdict.failure.code == code, render(verdict)


# -- production kernels -------------------------------------------------------------------------------------------


def test_smp_without_suspend_reserves_and_loads_nothing(arm: Bench, tmp_path: Path) -> None:
    """One line less in a config that asks for CRASH_DUMP and KEXEC."""
    lost = compiled(arm, "production", "no-suspend", "# CONFIG_SUSPEND is not set\n")
    bad = changed(arm, tmp_path, files=lost.as_production(arm))
    assert bad.finds("KD001")
    assert bad.finds("KD002")
    failed(bad.crash(), "no-reservation")
    assert "no kexec, or no crash dump support" in bad.console
    good = changed(arm, tmp_path / "good")
    assert not good.finds("KD001")
    assert not good.finds("KD002")


def test_an_oops_that_ends_a_task_only(arm: Bench, tmp_path: Path) -> None:
    mild = compiled(arm, "production", "mild", "# CONFIG_PANIC_ON_OOPS is not set\n# CONFIG_RTC_CLASS is not set\n")
    bad = changed(arm, tmp_path, files=mild.as_production(arm))
    assert bad.finds("KD003", cmdline="crashkernel=14M")
    assert not bad.finds("KD003", cmdline="crashkernel=14M oops=panic")
    assert bad.finds("KD073")
    # Takes back the board's own oops=panic, for which there is no counterpart on the command line.
    failed(bad.crash(Options(cmdline="sysctl.kernel.panic_on_oops=0"), trigger="lkdtm-null"), "trigger-returned")
    verdict = bad.crash(trigger="lkdtm-null")
    assert verdict.passed, render(verdict)


def test_kexec_load_and_the_kaslr_seed(arm64: Bench, tmp_path: Path) -> None:
    """QEMU gives a seed, this kernel has no KASLR to use it up, and kexec_load refuses; kexec -s does not care."""
    options = "CONFIG_SUSPEND=y\nCONFIG_KEXEC=y\n# CONFIG_RANDOMIZE_BASE is not set\n"
    files = compiled(arm64, "production", "kexec-load", options).as_production(arm64)
    tree = machine_tree(arm64, tmp_path)
    as_built = changed(arm64, tmp_path, files=files)
    assert "-s" in arguments(as_built.files).split()
    loads = arguments(as_built.files).replace("-s", "-c")
    bad = changed(arm64, tmp_path / "bad", conf={"KDUMP_KEXEC_ARGS": loads}, files=files)
    assert bad.finds("KD038", dtb=tree)
    failed(bad.crash(), "load-failed")
    assert "kaslr-seed" in bad.console
    assert not as_built.finds("KD038", dtb=tree)
    verdict = as_built.crash()
    assert verdict.passed, render(verdict)


def test_addresses_of_52_bits(arm64: Bench, tmp_path: Path) -> None:
    wide = compiled(arm64, "production", "va-52", "CONFIG_ARM64_VA_BITS_52=y\n# CONFIG_ARM64_VA_BITS_48 is not set\n")
    bad = changed(arm64, tmp_path, files=wide.as_production(arm64))
    if not bad.finds("KD070"):
        pytest.skip("this makedumpfile is new enough")
    verdict = bad.crash()
    assert verdict.form != "filtered", render(verdict)
    assert not changed(arm64, tmp_path / "good").finds("KD070")


def test_lpae_with_ram_above_4_gib(arm: Bench, tmp_path: Path) -> None:
    """Without HIGHMEM such a kernel leaves that RAM alone, and its dumps are as good as any: seen here once."""
    files = compiled(arm, "production", "lpae", "CONFIG_ARM_LPAE=y\nCONFIG_HIGHMEM=y\n").as_production(arm)
    banks = load_board_with(arm, tmp_path, ('"512M@0x40000000"', '"4G@0x40000000"'), (",highmem=off", ""))
    big = replace(arm, board=banks)
    bad = changed(big, tmp_path, files=files)
    assert bad.finds("KD028", cmdline="crashkernel=14M")
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)
    assert not bad.finds("KD028", cmdline="crashkernel=14M mem=1G")
    verdict = bad.crash(Options(cmdline="mem=1G"))
    assert verdict.passed, render(verdict)


def test_a_product_that_is_locked_down(arm: Bench, tmp_path: Path) -> None:
    options = "CONFIG_SECURITY=y\nCONFIG_SECURITY_LOCKDOWN_LSM=y\nCONFIG_SECURITY_LOCKDOWN_LSM_EARLY=y\n"
    locked = changed(arm, tmp_path, files=compiled(arm, "production", "lockdown", options).as_production(arm))
    assert locked.finds("KD010", cmdline="crashkernel=16M lockdown=integrity")
    failed(locked.crash(Options(cmdline="lockdown=integrity", install=plain_load(tmp_path))), "load-failed")
    assert "Operation not permitted" in locked.console
    assert not locked.finds("KD010", cmdline="crashkernel=16M")
    verdict = locked.crash()
    assert verdict.passed, render(verdict)


def test_slabs_that_makedumpfile_takes_for_user_pages(arm: Bench, tmp_path: Path) -> None:
    """The dump is there and says nothing of it. Whether it opens depends on which pages are gone."""
    partial = compiled(arm, "production", "cpu-partial", "CONFIG_SLUB_CPU_PARTIAL=y\n")
    bad, as_built = changed(arm, tmp_path, files=partial.as_production(arm)), changed(arm, tmp_path / "good")
    if not told(bad, "KD071", Severity.ERROR):
        pytest.skip("this makedumpfile is new enough")
    assert not told(as_built, "KD071", Severity.ERROR)
    for made, whole in ((bad, False), (as_built, True)):
        verdict = made.crash()
        assert verdict.form == "filtered", render(verdict)
        dump = open_dump(Path(verdict.places["dump"]) / "vmcore", made.files.production_vmlinux)
        there, gone = slab_pages(dump.program)
        assert there
        assert (gone == 0) is whole, (there, gone)


def slab_pages(program: drgn.Program) -> tuple[int, int]:
    """Return how many slab pages a dump has, and how many it should have and has not."""
    there = gone = 0
    for page in for_each_page(program):
        try:
            if not PageSlab(page):
                continue
        except drgn.FaultError:  # no page descriptor: a hole in the memory map
            continue
        try:
            program.read(page_to_virt(page).value_(), 1)
        except drgn.FaultError:
            gone += 1
        else:
            there += 1
    return there, gone


def told(made: Changed, rule: str, severity: Severity) -> bool:
    return any(found.id == rule and found.severity is severity for found in made.judge().findings)


def test_lockups_that_nobody_looks_for_and_ramoops_without_its_console(arm: Bench, tmp_path: Path) -> None:
    """One kernel for both: a watchdog ends the loop, and after a crash that kdump took there is nothing in ramoops."""
    options = (
        "# CONFIG_SOFTLOCKUP_DETECTOR is not set\n# CONFIG_HARDLOCKUP_DETECTOR is not set\n"
        "# CONFIG_DETECT_HUNG_TASK is not set\n# CONFIG_PSTORE_CONSOLE is not set\n"
    )
    blind = changed(arm, tmp_path, files=compiled(arm, "production", "blind", options).as_production(arm))
    as_built = changed(arm, tmp_path / "good")
    for rule in ("KD012", "KD013"):
        assert blind.finds(rule, cmdline="crashkernel=16M")
        assert not as_built.finds(rule, cmdline="crashkernel=16M")
    loop = Options(means=Means(watchdog=40), qemu_args=("-smp", "1"), cmdline=SOFT_LOCKUP_ALONE)
    verdict = blind.crash(loop, trigger="lkdtm-softlockup")
    assert verdict.by_watchdog, render(verdict)
    assert not verdict.vmcore_size
    verdict = as_built.crash(loop, trigger="lkdtm-softlockup")
    assert verdict.passed, render(verdict)
    for made, kept in ((blind, False), (as_built, True)):
        verdict = made.crash(trigger="lkdtm-panic")
        assert verdict.passed, render(verdict)
        assert any("ramoops" in name for name in verdict.records) is kept


def test_a_command_line_that_is_built_in(arm: Bench, tmp_path: Path) -> None:
    """All else that the board gives its kernel is in it, crashkernel= is what the boot loader adds."""
    line = f"console={arm.board.capture.console} panic=5 {arm.image_set.boot_arguments.read_text().strip()}"
    line = " ".join(word for word in line.split() if not word.startswith("crashkernel="))
    options = 'CONFIG_CMDLINE="{}"\nCONFIG_CMDLINE_FORCE=y\n'
    forced = compiled(arm, "production", "forced", options.format(line)).as_production(arm)
    bad = changed(arm, tmp_path, files=forced)
    assert bad.finds("KD014")
    failed(bad.crash(), "no-reservation")
    both = compiled(arm, "production", "forced", options.format(f"{line} crashkernel=16M")).as_production(arm)
    good = changed(arm, tmp_path / "good", files=both)
    assert not good.finds("KD014")
    verdict = good.crash()
    assert verdict.passed, render(verdict)


def test_one_cpu_without_a_neighbour_and_no_debug_information(arm: Bench, tmp_path: Path) -> None:
    """A kernel for one CPU cannot have the panic that its board asks for; its dumps are there, and stay closed."""
    options = "# CONFIG_SMP is not set\nCONFIG_DEBUG_INFO_NONE=y\n# CONFIG_DEBUG_INFO_DWARF5 is not set\n"
    alone = changed(arm, tmp_path, files=compiled(arm, "production", "up", options).as_production(arm))
    as_built = changed(arm, tmp_path / "good")
    for rule in ("KD005", "KD100"):
        assert alone.finds(rule)
        assert not as_built.finds(rule)
    verdict = alone.crash(Options(means=Means(watchdog=40), qemu_args=("-smp", "1")), trigger="lkdtm-hardlockup")
    assert verdict.by_watchdog, render(verdict)
    assert not verdict.vmcore_size
    verdict = alone.crash(Options(qemu_args=("-smp", "1")))
    assert verdict.vmcore_size, render(verdict)
    assert not verdict.passed


def test_kexec_load_without_kcore(arm64: Bench, tmp_path: Path) -> None:
    files = compiled(arm64, "production", "no-kcore", "CONFIG_SUSPEND=y\nCONFIG_KEXEC=y\n").as_production(arm64)
    as_built = changed(arm64, tmp_path, files=files)
    loads = arguments(as_built.files).replace("-s", "-c")
    bad = changed(arm64, tmp_path / "bad", conf={"KDUMP_KEXEC_ARGS": loads}, files=files)
    assert bad.finds("KD007")
    assert not bad.crash(Options(install=plain_load(tmp_path))).passed
    assert not as_built.finds("KD007")
    verdict = as_built.crash()
    assert verdict.passed, render(verdict)


def test_a_cpu_that_hangs_with_interrupts_off(arm: Bench, tmp_path: Path) -> None:
    as_built = changed(arm, tmp_path)
    assert as_built.finds("KD081", cmdline="crashkernel=16M")
    hang = Options(means=Means(watchdog=60), cmdline=SOFT_LOCKUP_ALONE)
    verdict = as_built.crash(hang, trigger="lkdtm-hardlockup")
    assert not verdict.vmcore_size, render(verdict)
    production = replace(arm.board.production, patches=(STUCK_CPU_PATCH,))
    files = compiled(arm, "production", "stuck", "", patch=STUCK_CPU_PATCH).as_production(arm)
    good = changed(replace(arm, board=replace(arm.board, production=production)), tmp_path / "good", files=files)
    assert not good.finds("KD081", cmdline="crashkernel=16M")
    verdict = good.crash(hang, trigger="lkdtm-hardlockup")
    assert verdict.passed, render(verdict)


def load_board_with(bench: Bench, folder: Path, *changes: tuple[str, str]) -> Board:
    text = bench.board.path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / bench.board.path.name
    path.write_text(text, encoding="utf-8")
    return load_board(path)


# -- capture kernels ----------------------------------------------------------------------------------------------


def test_a_text_offset_that_kexec_does_not_know(arm: Bench, tmp_path: Path) -> None:
    """As in the kernels of Debian and of multi_v7_defconfig, which know Meson."""
    roomy = Options(crashkernel=32 * MIB)
    files = compiled(arm, "capture", "meson", "CONFIG_ARCH_MESON=y\n").as_capture(arm)
    bad = changed(arm, tmp_path, conf={"KDUMP_KEXEC_ARGS": ""}, files=files)
    (finding,) = [f for f in bad.judge().findings if f.id == "KD031"]
    assert not bad.crash(roomy).passed
    # Overwritten by what unpacks, or by the kernel where that lies then.
    assert re.search("invalid magic at start of compressed archive|INITRD: .* overlaps in-use memory", bad.console)
    size = re.search(r"--image-size=0x[0-9a-f]+", finding.advice)
    assert size is not None
    good = changed(arm, tmp_path / "good", conf={"KDUMP_KEXEC_ARGS": size[0]}, files=files)
    assert not good.finds("KD031")
    verdict = good.crash(roomy)
    assert verdict.passed, render(verdict)


def test_a_capture_kernel_that_takes_ramoops_for_its_own(arm: Bench, tmp_path: Path) -> None:
    """What the crashed kernel said last is gone from there."""
    on = ("MISC_FILESYSTEMS", "PSTORE", "PSTORE_RAM", "PSTORE_CONSOLE", "KALLSYMS")
    files = compiled(arm, "capture", "ramoops", "".join(f"CONFIG_{symbol}=y\n" for symbol in on)).as_capture(arm)
    bad = changed(arm, tmp_path, files=files)
    good = changed(arm, tmp_path / "good", files=files, conf={"KDUMP_CMDLINE": "{} initcall_blacklist=ramoops_init"})
    for made, kept in ((bad, False), (good, True)):
        for rule in ("KD056", "KD105"):
            assert made.finds(rule) is not kept
        verdict = made.crash(trigger="lkdtm-panic")
        assert verdict.passed, render(verdict)
        assert said(verdict, "Kernel panic") is kept


@pytest.mark.parametrize(
    ("rule", "name", "fragment", "symptom"),
    [
        ("KD050", "no-vmcore", "# CONFIG_PROC_VMCORE is not set\n", "/proc/vmcore"),
        ("KD058", "no-ext4", "# CONFIG_EXT4_FS is not set\n", "dump target"),
        ("KD061", "no-gzip", "# CONFIG_RD_GZIP is not set\n", "compression method gzip not configured"),
        ("KD066", "no-thumb", "# CONFIG_THUMB2_KERNEL is not set\n# CONFIG_ARM_THUMB is not set\n", "init"),
        ("KD057", "lockdep", "CONFIG_DEBUG_KERNEL=y\nCONFIG_PROVE_LOCKING=y\n", ""),
        ("KD042", "forced", 'CONFIG_CMDLINE="console=ttyAMA0 panic=5"\nCONFIG_CMDLINE_FORCE=y\n', ""),
    ],
)
def test_capture_kernels_that_lack_something(
    rule: str, name: str, fragment: str, symptom: str, arm: Bench, tmp_path: Path
) -> None:  # fmt: skip
    bad = changed(arm, tmp_path, files=compiled(arm, "capture", name, fragment).as_capture(arm))
    assert bad.finds(rule)
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)
    assert symptom in bad.console
    assert not changed(arm, tmp_path / "good").finds(rule)
