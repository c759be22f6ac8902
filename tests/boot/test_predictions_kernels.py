"""What a rule predicts for a kernel happens, and does not after its advice is followed.

Each kernel is the board's own with a few options changed, compiled below OUT and kept there: ``./doit predictions``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.loader import load_board
from kdumpbuild.build import kernel, source, toolchain
from kdumpbuild.build.layout import SetFiles
from kdumpbuild.build.progress import Progress
from kdumpbuild.crashtest import Options, render
from kdumpbuild.kconfig.cache import open_kconfig
from kdumpbuild.kconfig.fragment import parse_fragment
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.settings import read_settings
from tests.boot.changed import Changed, changed
from tests.boot.test_crashtest import Bench, bench_of
from tests.boot.test_graph import doit
from tests.boot.test_predictions_sets import machine_tree

if TYPE_CHECKING:
    from kdumpbuild.board.model import Board
    from kdumpbuild.crashtest import Verdict

pytestmark = [pytest.mark.boot, pytest.mark.slow]

MIB = 1 << 20


@pytest.fixture
def arm(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm-virt", built, tmp_path)


@pytest.fixture
def arm64(built: Path, tmp_path: Path) -> Bench:
    return bench_of("arm64-virt", built, tmp_path)


@dataclass(frozen=True)
class Compiled:
    """A kernel that was built for a test."""

    config: bytes
    image: bytes
    vmlinux: bytes

    def as_production(self, bench: Bench) -> dict[str, bytes]:
        """Return the files of a set that has it for its production kernel."""
        image = f"production/{bench.board.arch.image}"
        return {"production/config": self.config, image: self.image, "debug/vmlinux": self.vmlinux}

    def as_capture(self, bench: Bench) -> dict[str, bytes]:
        """Return the files of a set that has it for its capture kernel."""
        return {"capture.config": self.config, bench.board.arch.image: self.image}


def compiled(bench: Bench, role: str, name: str, fragment: str) -> Compiled:
    """Compile a kernel of the board with a few options changed. The next run finds it."""
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", "~/.cache/kdumpbuild")).expanduser()
    out = bench.image_set.folder.parent / "work" / "predictions" / f"{bench.board.name}-{name}"
    out.mkdir(parents=True, exist_ok=True)
    tree = source.prepare(source.locate(None, cache), out / "source.log")
    chain = toolchain.find(bench.board.arch, read_settings(os.environ.get, Path.cwd()))
    base = bench.image_set.production_config if role == "production" else bench.image_set.capture_config
    done = resolve(open_kconfig(tree, chain, cache / "kconfig"), str(base), [parse_fragment(fragment, Path(name))])
    done.check()
    config = out / "config"
    config.write_text(done.config_text)
    with Progress(f"{bench.board.name}: {role} kernel {name}", "files") as progress:
        kernel.build(
            tree=tree.path, config=config, kbuild=out / "kernel", arch=bench.board.arch, toolchain=chain,
            jobs=len(os.sched_getaffinity(0)), log=out / "kernel.log", progress=progress,
        )  # fmt: skip
    arch = bench.board.arch
    image = out / "kernel/arch" / arch.name / "boot" / arch.image
    return Compiled(config.read_bytes(), image.read_bytes(), (out / "kernel/vmlinux").read_bytes())


def arguments(files: SetFiles) -> str:
    """Return what a set's load script gives to kexec."""
    return next(
        line.partition("=")[2].strip("'")
        for line in files.load_conf.read_text().splitlines()
        if line.startswith("KDUMP_KEXEC_ARGS=")
    )


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
    files = compiled(arm, "production", "lpae", "CONFIG_ARM_LPAE=y\n").as_production(arm)
    banks = load_board_with(arm, tmp_path, ('"512M@0x40000000"', '"4G@0x40000000"'), (",highmem=off", ""))
    big = replace(arm, board=banks)
    bad = changed(big, tmp_path, files=files)
    assert bad.finds("KD028", cmdline="crashkernel=14M")
    verdict = bad.crash()
    assert not verdict.passed, render(verdict)
    assert not bad.finds("KD028", cmdline="crashkernel=14M mem=1G")
    verdict = bad.crash(Options(cmdline="mem=1G"))
    assert verdict.passed, render(verdict)


def load_board_with(bench: Bench, folder: Path, *changes: tuple[str, str]) -> Board:
    text = bench.board.path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / bench.board.path.name
    path.write_text(text, encoding="utf-8")
    return load_board(path)


VEXPRESS = """
format = 1
description = "QEMU vexpress-a9: two CPUs that the kernel cannot switch off"
arch = "arm"
dtb = "arm/vexpress-v2p-ca9.dtb"
[memory]
ram = ["512M@0x60000000"]
crashkernel = "64M"
[production]
base = "allnoconfig"
fragments = ["virt", "./vexpress"]
build = true
[capture]
kernel = "same"
console = "ttyAMA0"
[dump]
device = "/dev/vda"
filesystem = "ext4"
[machine]
machine = "vexpress-a9"
cpu = "cortex-a9"
smp = 2
disk = ["-device", "virtio-blk-device,drive=dump"]
"""


def test_cpus_that_cannot_be_switched_off(built: Path, tmp_path: Path) -> None:
    text = "# The board.\nCONFIG_ARCH_VEXPRESS=y\n"
    (tmp_path / "vexpress.config").write_text(text, encoding="utf-8")
    board = tmp_path / "vexpress-a9.toml"
    board.write_text(VEXPRESS, encoding="utf-8")
    result = doit("image", f"BOARD={board}", OUT=str(built))
    assert result.returncode == 0, result.stdout + result.stderr
    bench = bench_of("arm-virt", built, tmp_path)
    bench = replace(bench, board=load_board(board), image_set=SetFiles(built / "vexpress-a9", "zImage"))
    as_built = Changed(bench, bench.image_set)
    tree = bench.image_set.folder / "vexpress-v2p-ca9.dtb"
    assert as_built.finds("KD080", dtb=tree, cmdline="crashkernel=64M")
    failed(as_built.crash(), "load-failed")
    assert "Invalid argument" in as_built.console
    assert not as_built.finds("KD080", dtb=tree, cmdline="crashkernel=64M nr_cpus=1")
    verdict = as_built.crash(Options(cmdline="nr_cpus=1"))
    assert verdict.passed, render(verdict)


# -- capture kernels ----------------------------------------------------------------------------------------------


def test_a_text_offset_that_kexec_does_not_know(arm: Bench, tmp_path: Path) -> None:
    """As in the kernels of Debian and of multi_v7_defconfig, which know Meson."""
    roomy = Options(crashkernel=32 * MIB)
    files = compiled(arm, "capture", "meson", "CONFIG_ARCH_MESON=y\n").as_capture(arm)
    bad = changed(arm, tmp_path, conf={"KDUMP_KEXEC_ARGS": ""}, files=files)
    (finding,) = [f for f in bad.judge().findings if f.id == "KD031"]
    assert not bad.crash(roomy).passed
    assert re.search("invalid magic at start of compressed archive|unpacking failed", bad.console)
    size = re.search(r"--image-size=0x[0-9a-f]+", finding.advice)
    assert size is not None
    good = changed(arm, tmp_path / "good", conf={"KDUMP_KEXEC_ARGS": size[0]}, files=files)
    assert not good.finds("KD031")
    verdict = good.crash(roomy)
    assert verdict.passed, render(verdict)


@pytest.mark.parametrize(
    ("rule", "name", "fragment", "symptom"),
    [
        ("KD050", "no-vmcore", "# CONFIG_PROC_VMCORE is not set\n", "/proc/vmcore"),
        ("KD058", "no-ext4", "# CONFIG_EXT4_FS is not set\n", "dump target"),
        ("KD061", "no-gzip", "# CONFIG_RD_GZIP is not set\n", "compression method gzip not configured"),
        ("KD066", "no-thumb", "# CONFIG_THUMB2_KERNEL is not set\n# CONFIG_ARM_THUMB is not set\n", "init"),
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
