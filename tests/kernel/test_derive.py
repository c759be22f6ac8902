"""Real boards' device trees and real kernel trees: the drivers that everyone knows these boards by are found.

Each derived fragment is put on top of the capture base and proved like any other. Set KDUMPBUILD_KERNELS as for
test_real_trees.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.model import Board, Capture, Drivers, Dump, Memory, Production
from kdumpbuild.derive import blobs
from kdumpbuild.derive.forboard import BoardDrivers, derive_board
from kdumpbuild.kconfig import (
    KernelKconfig,
    KernelTree,
    Toolchain,
    open_kconfig,
    parse_fragment,
    read_fragment,
    resolve,
)
from tests.kernel import support

if TYPE_CHECKING:
    from kdumpbuild.kconfig import Resolution

pytestmark = pytest.mark.kernel


@dataclass(frozen=True)
class Known:
    """A board and what must be found for it."""

    dtb: str
    arch: str
    storage: str
    console: str
    """``console=`` of the capture kernel."""
    symbols: str
    since: tuple[int, int] = (5, 10)
    """The first version whose device tree has the storage switched on."""


BOARDS = (
    Known("imx6q-sabrelite.dtb", "arm", "mmc2", "ttymxc1",
          "SOC_IMX6Q SERIAL_IMX SERIAL_IMX_CONSOLE MMC_SDHCI_ESDHC_IMX MMC_BLOCK IMX2_WDT PINCTRL_IMX6Q GPIO_MXC "
          "REGULATOR_FIXED_VOLTAGE HAVE_IMX_GPC ARM_GIC CACHE_L2X0"),
    Known("imx6ul-14x14-evk.dtb", "arm", "mmc0", "ttymxc0",
          "SOC_IMX6UL SERIAL_IMX_CONSOLE MMC_SDHCI_ESDHC_IMX IMX2_WDT PINCTRL_IMX6UL GPIO_MXC REGULATOR_FIXED_VOLTAGE"),
    Known("imx7d-sdb.dtb", "arm", "mmc0", "ttymxc0",
          "SOC_IMX7D SERIAL_IMX_CONSOLE MMC_SDHCI_ESDHC_IMX IMX2_WDT PINCTRL_IMX7D GPIO_MXC IMX_GPCV2"),
    Known("aspeed-ast2600-evb.dtb", "arm", "&emmc", "ttyS4",
          "MACH_ASPEED_G6 SERIAL_8250_CONSOLE SERIAL_8250_DW MMC_SDHCI_OF_ASPEED ASPEED_WATCHDOG MFD_SYSCON"),
    Known("sun8i-h3-orangepi-pc.dtb", "arm", "&mmc0", "ttyS0",
          "MACH_SUN8I SUN8I_H3_CCU PINCTRL_SUN8I_H3 MMC_SUNXI SERIAL_8250_CONSOLE SERIAL_8250_DW SUNXI_WATCHDOG"),
    Known("vexpress-v2p-ca9.dtb", "arm", "mmci@5000", "ttyAMA0",
          "ARCH_VEXPRESS SERIAL_AMBA_PL011_CONSOLE MMC_ARMMMCI ARM_TIMER_SP804 GPIO_GENERIC_PLATFORM "
          "POWER_RESET_VEXPRESS CLK_VEXPRESS_OSC ARM_SP805_WATCHDOG HAVE_ARM_TWD"),
    Known("bcm2836-rpi-2-b.dtb", "arm", "&sdhost", "ttyAMA0",
          "ARCH_BCM2835 SERIAL_AMBA_PL011_CONSOLE MMC_BCM2835 PINCTRL_BCM2835 CLK_BCM2835 BCM2835_WDT"),
    Known("am335x-boneblack.dtb", "arm", "mmc1", "ttyS0",
          "SOC_AM33XX SERIAL_8250_CONSOLE PINCTRL_SINGLE TI_SYSC OMAP_WATCHDOG OMAP_DM_TIMER"),
    Known("stm32mp157c-dk2.dtb", "arm", "&sdmmc1", "ttySTM0",
          "ARCH_STM32 MACH_STM32MP157 SERIAL_STM32_CONSOLE MMC_ARMMMCI PINCTRL_STM32MP157 STM32_WATCHDOG "
          "REGULATOR_FIXED_VOLTAGE ARM_ARCH_TIMER"),
    Known("bcm2837-rpi-3-b.dtb", "arm64", "&sdhost", "ttyS1",
          "ARCH_BCM2835 MMC_BCM2835 SERIAL_8250_BCM2835AUX SERIAL_8250_CONSOLE CLK_BCM2835 BCM2835_WDT"),
    Known("imx8mp-evk.dtb", "arm64", "mmc1", "ttymxc1",
          "ARCH_MXC SERIAL_IMX_CONSOLE MMC_SDHCI_ESDHC_IMX CLK_IMX8MP PINCTRL_IMX8MP GPIO_MXC IMX2_WDT ARM_GIC_V3 "
          "REGULATOR_FIXED_VOLTAGE ARM_PSCI_FW"),
    Known("imx8mm-evk.dtb", "arm64", "mmc1", "ttymxc1",
          "ARCH_MXC SERIAL_IMX_CONSOLE MMC_SDHCI_ESDHC_IMX CLK_IMX8MM PINCTRL_IMX8MM GPIO_MXC IMX2_WDT"),
    Known("rk3399-rockpro64.dtb", "arm64", "&sdmmc", "ttyS2",
          "ARCH_ROCKCHIP MMC_DW_ROCKCHIP SERIAL_8250_DW SERIAL_8250_CONSOLE PINCTRL_ROCKCHIP REGULATOR_RK808 "
          "I2C_RK3X DW_WATCHDOG COMMON_CLK_ROCKCHIP"),
    Known("bcm2711-rpi-4-b.dtb", "arm64", "&emmc2", "ttyS1",
          "ARCH_BCM2835 MMC_SDHCI_IPROC SERIAL_8250_CONSOLE CLK_BCM2835 BCM2835_WDT PINCTRL_BCM2835 ARM_GIC"),
)  # fmt: skip


def board_of(known: Known) -> Board:
    """Return a board record with nothing but what deriving looks at."""
    return Board(
        name="board", path=Path("board.toml"), description="", soc="", arch=ARCHES[known.arch], dtb=known.dtb,
        memory=Memory((), 0), production=Production("defconfig", (), build=False),
        capture=Capture("own", (), known.console, ""), dump=Dump("/dev/mmcblk0p1", "ext4", "kdump", 31, 300, 20),
        drivers=Drivers(known.storage, "", (), (), (), ()),
    )  # fmt: skip


def kept(kind: str) -> Path | None:
    """Return where builds keep what they read of a tree, if the caller says: it is never out of date."""
    cache = os.environ.get("KDUMPBUILD_CACHE")
    return Path(cache) / kind if cache else None


@functools.cache
def kconfig_of(tree: Path, arch: str) -> KernelKconfig:
    toolchain = Toolchain(arch, ARCHES[arch].cross_compile)
    return open_kconfig(KernelTree.open(tree), toolchain, kept("kconfig"))


@functools.cache
def derived_for(tree: Path, known: Known, folder: Path) -> tuple[BoardDrivers, Resolution]:
    kconfig = kconfig_of(tree, known.arch)
    board = board_of(known)
    plain, labelled = folder / tree.name / known.dtb, folder / tree.name / "labels" / known.dtb
    blobs.bring(kconfig.tree, board, plain, labelled)
    found = derive_board(board, kconfig, labelled, kept("drivers") or folder / "index")
    names = ("capture", f"capture-{known.arch}", "capture-ext4")
    below = [read_fragment(resources.FRAGMENTS / f"{name}.config") for name in names]
    own = parse_fragment(found.fragment_text(kconfig, "allnoconfig", below), folder / "derived.config")
    overlay = plain.with_suffix(".dts")
    overlay.write_text(found.overlay())
    blobs.compile_overlay(overlay, plain.with_suffix(".dtbo"), plain)
    return found, resolve(kconfig, "allnoconfig", [*below, own])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("derive")


@pytest.mark.parametrize("known", BOARDS, ids=lambda known: known.dtb.removesuffix(".dtb"))
@pytest.mark.parametrize("tree", support.real_trees() or [None], ids=lambda tree: tree.name if tree else "no-trees")
def test_known_drivers_are_found(tree: Path | None, known: Known, folder: Path) -> None:
    if tree is None:
        pytest.skip(f"no kernel trees: fetch some with `python -m tests.kernel.fetch FOLDER`, set {support.KERNELS}")
    found, resolution = derived_for(tree, known, folder)
    resolution.check()
    assert found.told() == []
    missing = [symbol for symbol in known.symbols.split() if not resolution.enabled(symbol)]
    assert missing == []
    # Nothing of another family of SoCs came along.
    assert sorted(symbol for symbol in found.others if resolution.enabled(symbol)) == []
