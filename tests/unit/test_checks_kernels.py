"""The rules on what real kernels make of their own configurations, from 5.10 on."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.model import Bank
from kdumpbuild.checks.defconfigs import judge
from kdumpbuild.checks.engine import check_facts
from kdumpbuild.checks.facts import Cmdline, Config, Facts
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.kconfig.adapter import KernelKconfig
from kdumpbuild.kconfig.fragment import parse_fragment
from kdumpbuild.kconfig.resolve import resolve
from kdumpbuild.kconfig.toolchain import Toolchain
from kdumpbuild.kconfig.tree import KernelTree
from kdumpbuild.run import run
from tests.kernel.support import KERNELS, real_trees

if TYPE_CHECKING:
    from collections.abc import Mapping

TREES = [path for path in real_trees() if (path / "arch/arm/configs").is_dir()]

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not TREES, reason=f"{KERNELS} names no folder with kernel trees"),
]

trees = pytest.mark.parametrize("folder", TREES, ids=lambda path: path.name)


@cache
def kernel(folder: Path, arch: str) -> KernelKconfig:
    return KernelKconfig(KernelTree.open(folder), Toolchain(arch, ARCHES[arch].cross_compile))


@cache
def values(folder: Path, arch: str, name: str, fragment: str = "") -> Mapping[str, str]:
    fragments = [parse_fragment(fragment, Path("test.config"))] if fragment else []
    return resolve(kernel(folder, arch), name, fragments).values


def version(folder: Path) -> tuple[int, ...]:
    return KernelTree.open(folder).version


def found(folder: Path, arch: str, name: str, fragment: str = "") -> set[str]:
    return {rule for rule, _ in judge(values(folder, arch, name, fragment), arch, version(folder), name)}


@trees
@pytest.mark.parametrize(
    ("rule", "fires", "silent"),
    [
        ("KD001", "sunxi", "multi_v7"),
        ("KD002", "sunxi", "multi_v7"),
        ("KD003", "multi_v7", "aspeed_g5"),
        ("KD004", "multi_v7", "aspeed_g5"),
        ("KD005", "multi_v7", "bcm2835"),
        ("KD008", "omap1", "multi_v7"),
        ("KD031", "multi_v7", "imx_v6_v7"),
        ("KD032", "footbridge", "multi_v7"),
        ("KD050", "sunxi", "bcm2835"),
        ("KD052", "multi_v7", "aspeed_g5"),
        ("KD056", "multi_v7", "imx_v6_v7"),
        ("KD057", "exynos", "bcm2835"),
        ("KD061", "dove", "multi_v7"),
        ("KD073", "bcm2835", "multi_v7"),
        ("KD081", "multi_v7", "bcm2835"),
    ],
)
def test_defconfigs_of_every_kernel(folder: Path, rule: str, fires: str, silent: str) -> None:
    assert rule in found(folder, "arm", f"{fires}_defconfig")
    assert rule not in found(folder, "arm", f"{silent}_defconfig")


@trees
def test_multi_v7(folder: Path) -> None:
    rules = found(folder, "arm", "multi_v7_defconfig")
    assert {"KD003", "KD004", "KD031", "KD056", "KD081"} <= rules
    assert not {"KD001", "KD002", "KD032", "KD085"} & rules
    assert ("KD050" in rules) == (version(folder) < (6, 12))  # CRASH_DUMP became the default in between


@trees
@pytest.mark.parametrize("name", ["sunxi_defconfig", "exynos_defconfig", "socfpga_defconfig"])
def test_configs_without_kexec(folder: Path, name: str) -> None:
    assert {"KD001", "KD002", "KD050"} <= found(folder, "arm", name)


@trees
def test_smp_without_suspend_loses_kexec(folder: Path) -> None:
    assert "KD002" not in found(folder, "arm", "bcm2835_defconfig")
    raspberry_pi_2 = "# CONFIG_ARCH_MULTI_V6 is not set\nCONFIG_ARCH_MULTI_V7=y\nCONFIG_SMP=y\n"
    rules = found(folder, "arm", "bcm2835_defconfig", raspberry_pi_2)
    assert {"KD001", "KD002"} <= rules
    assert ("KD050" in rules) == (version(folder) >= (6, 9))  # only then does CRASH_DUMP go with it


@trees
def test_a_kernel_made_for_one_address(folder: Path) -> None:
    fragment = "CONFIG_MMU=y\nCONFIG_ARCH_MULTI_V7=y\nCONFIG_EXPERT=y\n"
    # Older kernels do not show the switches that allnoconfig turns off here.
    assert ("KD032" in found(folder, "arm", "allnoconfig", fragment)) == (version(folder) >= (6, 1))


@trees
def test_lpae(folder: Path) -> None:
    lpae = "# CONFIG_ARCH_MULTI_V6 is not set\nCONFIG_ARM_LPAE=y\n"
    config = Config(values(folder, "arm", "multi_v7_defconfig", lpae), "multi_v7_lpae")
    assert config.on("ARM_LPAE")
    facts = Facts(
        arch=ARCHES["arm"], production=config, kernel=version(folder), ram=(Bank(0x80000000, 4 << 30),),
        kexec_tools=(2, 0, 28),
    )  # fmt: skip
    assert {"KD028", "KD034"} <= {finding.id for finding in check_facts(facts).findings}


@trees
def test_arm64(folder: Path) -> None:
    config = Config(values(folder, "arm64", "defconfig"), "defconfig")
    facts = Facts(
        arch=ARCHES["arm64"], production=config, kernel=version(folder), makedumpfile=(1, 7, 9), file_load=False
    )
    rules = {finding.id for finding in check_facts(facts).findings}
    assert not {"KD001", "KD002"} & rules
    assert "KD007" in rules  # PROC_KCORE is off
    assert ("KD070" in rules) == (version(folder) >= (6, 9))  # VA_BITS 52
    assert "KD007" not in found(folder, "arm64", "defconfig")  # it has KEXEC_FILE


def compiled(folder: Path, arch: str, name: str, tmp_path: Path) -> Path:
    """Compile a device tree of the kernel as Kbuild does, with the preprocessor and dtc."""
    dts = folder / "arch" / arch / "boot/dts"
    source = next(dts.rglob(f"{name}.dts"))
    folders = (folder / "include", folder / "scripts/dtc/include-prefixes", dts, source.parent)
    includes = [f"-I{path}" for path in folders]
    cpp = ["gcc", "-E", "-nostdinc", *includes, "-undef", "-D__DTS__", "-x", "assembler-with-cpp", "-P", "-o"]
    run([*cpp, tmp_path / "t.dts", source], what="preprocess a device tree")
    run(["dtc", "-q", "-@", "-O", "dtb", "-o", tmp_path / "t.dtb", tmp_path / "t.dts"], what="compile a device tree")
    return tmp_path / "t.dtb"


@trees
@pytest.mark.parametrize(
    ("arch", "name", "rule", "fires"),
    [
        ("arm", "bcm2836-rpi-2-b", "KD080", True),
        ("arm", "vexpress-v2p-ca9", "KD080", True),
        ("arm", "exynos4412-odroidx2", "KD080", True),
        ("arm", "ls1021a-twr", "KD080", True),
        ("arm", "aspeed-ast2600-evb", "KD080", True),
        ("arm", "imx6q-sabrelite", "KD080", False),
        ("arm", "imx7d-sdb", "KD080", False),
        ("arm", "exynos5422-odroidxu4", "KD080", False),
        ("arm", "zynq-zc702", "KD083", True),
        ("arm", "imx6q-sabrelite", "KD084", False),
        ("arm64", "bcm2837-rpi-3-b", "KD082", True),
        ("arm64", "imx8mq-evk", "KD082", False),
        ("arm64", "bcm2837-rpi-3-b", "KD030", True),
        ("arm64", "imx8mq-evk", "KD083", False),
    ],
)
def test_device_trees_of_boards(
    folder: Path, arch: str, name: str, rule: str, fires: bool, tmp_path: Path,  # noqa: FBT001
) -> None:  # fmt: skip
    if shutil.which("dtc") is None:
        pytest.skip("no dtc")
    defconfig = {"arm": "multi_v7_defconfig", "arm64": "defconfig"}[arch]
    config = Config(values(folder, arch, defconfig), defconfig)
    dtb = read_devicetree(compiled(folder, arch, name, tmp_path))
    facts = Facts(
        arch=ARCHES[arch], production=config, capture=config, dtb=dtb, kernel=version(folder),
        cmdline=Cmdline("crashkernel=128M"), capture_cmdline=Cmdline("nr_cpus=1"),
    )  # fmt: skip
    report = check_facts(facts)
    assert (rule in {finding.id for finding in report.findings}) is fires
    assert rule not in {skipped.id for skipped in report.not_judged}
