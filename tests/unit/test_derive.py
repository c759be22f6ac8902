"""From the small tree's board to its drivers: what is found, what is left out, what is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.derive import blobs
from kdumpbuild.derive.off import turned_on
from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import KernelKconfig, parse_fragment, resolve
from tests.unit import derive_toy as toy

if TYPE_CHECKING:
    from kdumpbuild.derive.forboard import BoardDrivers


@pytest.fixture(scope="module")
def kconfig(tmp_path_factory: pytest.TempPathFactory) -> KernelKconfig:
    return toy.toy_kconfig(tmp_path_factory.mktemp("bin"))


@pytest.fixture(scope="module")
def whole(kconfig: KernelKconfig, tmp_path_factory: pytest.TempPathFactory) -> BoardDrivers:
    return toy.derived(tmp_path_factory.mktemp("derive"), toy.toy_board(), kconfig)


def reasons(found: BoardDrivers, symbol: str) -> list[str]:
    return [wanted.reason for wanted in found.derived.wanted if wanted.symbol == symbol]


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ("SOC_TOY1", "/ (acme,board, toy,soc1): the kernel builds this board's device tree under it"),
        ("ARCH_TOY", "/ (acme,board, toy,soc1): arch/arm/mach-toy/toy1.c"),
        ("SMP", "/cpus (enable-method toy,smp): arch/arm/mach-toy/platsmp.c"),
        ("CACHE_L2X0", "/soc/cache-controller@300 (arm,pl310-cache): arch/arm/mm/cache-l2x0.c"),
        ("TOY_TIMER", "/soc/timer@500 (toy,timer): drivers/clocksource/timer-toy.c"),
        ("SERIAL_AMBA_PL011", "/soc/serial@900 (arm,pl011): drivers/tty/serial/amba-pl011.c"),
        ("SERIAL_AMBA_PL011_CONSOLE", "/soc/serial@900 (arm,pl011): what the kernel says goes there"),
        ("MMC_SDHCI_TOY", "/soc/mmc@b00 (toy,soc1-sdhci): drivers/mmc/host/sdhci-toy.c"),
        ("MMC_BLOCK", "/soc/mmc@b00 (toy,soc1-sdhci): cards and eMMC as block devices"),
        (
            "PINCTRL_TOY1",
            "/soc/mmc@b00 -> pinctrl-0 -> /soc/pinctrl@600 (toy,soc1-iomuxc): drivers/pinctrl/pinctrl-toy1.c",
        ),
        ("GPIO_TOY", "/soc/mmc@b00 -> cd-gpios -> /soc/gpio@700 (toy,gpio): drivers/gpio/gpio-toy.c"),
        (
            "REGULATOR_FIXED_VOLTAGE",
            "/soc/mmc@b00 -> vmmc-supply -> /regulator-sd (regulator-fixed): drivers/regulator/fixed.c",
        ),
        (
            "REGULATOR_ACME",
            "/soc/mmc@b00 -> vqmmc-supply -> /soc/i2c@e00/pmic@48 (acme,pmic): drivers/regulator/acme-regulator.c",
        ),
        (
            "I2C_TOY",
            ("/soc/mmc@b00 -> vqmmc-supply -> /soc/i2c@e00/pmic@48 -> parent -> /soc/i2c@e00 (toy,i2c): "
            "drivers/i2c/i2c-toy.c"),
        ),
        ("MFD_SYSCON", "/soc/mmc@b00 -> toy,gpr -> /soc/syscon@d00 (toy,gpr): drivers/mfd/syscon.c"),
        ("TOY_WDT", "/soc/watchdog@800 (toy,wdt): drivers/watchdog/toy_wdt.c"),
        ("POWER_RESET_SYSCON", "/soc/syscon@d00/reboot (syscon-reboot): drivers/power/reset/syscon-reboot.c"),
        ("TOY1_CLK", ("/soc/serial@900 -> clocks -> /soc/prcm@400/clock-controller (toy,soc1-ccm): "
                     "drivers/clk/clk-toy.c")),
    ],
)  # fmt: skip
def test_each_driver_is_found_by_its_way(whole: BoardDrivers, symbol: str, reason: str) -> None:
    assert reason in reasons(whole, symbol) or any(
        reason.partition(" -> ")[2] and r.endswith(reason.partition(" -> ")[2]) for r in reasons(whole, symbol)
    )


def test_both_halves_of_a_device_count(whole: BoardDrivers) -> None:
    sources = {wanted.source for wanted in whole.derived.wanted if wanted.symbol == "TOY_GPC"}
    assert sources == {"drivers/irqchip/irq-toy-gpc.c", "drivers/pmdomain/toy-gpc.c"}


@pytest.mark.parametrize(
    ("symbol", "why"),
    [
        ("MMC_SDHCI_GENERIC", "a fallback, and there is a more specific driver"),
        ("MMC_SDHCI_OTHER", "for another family of SoCs"),
        ("RTC_ACME", "a device of the PMIC that nobody asked for"),
        ("TOY_SDMA", "dmas are optional"),
        ("DRM_TOY", "an input of a clock controller; and a driver in staging"),
        ("TOY_FEC", "not in the way of anything"),
    ],
)
def test_what_is_not_needed_stays_off(whole: BoardDrivers, symbol: str, why: str) -> None:
    assert symbol not in whole.symbols(), why


def test_the_fragment_holds_every_line_and_no_other_family(whole: BoardDrivers, kconfig: KernelKconfig) -> None:
    text = whole.fragment_text(kconfig, "allnoconfig", [])
    resolution = resolve(kconfig, "allnoconfig", [parse_fragment(text, Path("derived.config"))])
    resolution.check()
    assert resolution.needless == ()
    assert all(resolution.enabled(symbol) for symbol in whole.symbols())
    assert resolution.enabled("MMC_SDHCI")
    assert "#@ means\n# Needed for MMC_SDHCI_TOY.\nCONFIG_MMC_SDHCI=y\n" in text
    assert not resolution.enabled("ARCH_OTHER")
    assert not resolution.enabled("COMPILE_TEST")


def test_lines_of_other_fragments_stay(whole: BoardDrivers, kconfig: KernelKconfig) -> None:
    own = parse_fragment("# Not here.\n# CONFIG_TOY_WDT is not set\n", Path("own.config"))
    text = whole.fragment_text(kconfig, "allnoconfig", [own])
    resolution = resolve(kconfig, "allnoconfig", [own, parse_fragment(text, Path("derived.config"))])
    assert [(o.symbol, o.value) for o in resolution.overridden] == []
    resolution.check()
    assert not resolution.enabled("TOY_WDT")


def test_a_parent_without_driver_of_a_clock_that_starts_early_is_no_fault(whole: BoardDrivers) -> None:
    assert whole.told() == []
    assert any("/soc/prcm@400 (toy,prcm): no driver, and none needed" in note for note in whole.derived.notes)


def test_several_drivers_are_told_and_can_be_answered(tmp_path: Path, kconfig: KernelKconfig) -> None:
    (told,) = toy.derived(tmp_path, toy.toy_board(nodes=("/soc/odd@1200",)), kconfig).told()
    assert "/soc/odd@1200 (toy,odd): more than one driver, and nothing tells which" in told
    assert "drivers/net/odd1.c (ODD_ONE)" in told
    assert '"toy,odd" = "CONFIG_X"' in told
    answers = (("toy,odd", "CONFIG_ODD_TWO CONFIG_TOY_FEC"),)
    found = toy.derived(tmp_path, toy.toy_board(nodes=("/soc/odd@1200",), answers=answers), kconfig)
    assert found.told() == []
    assert {"ODD_TWO", "TOY_FEC"} <= found.symbols()
    assert "ODD_ONE" not in found.symbols()


def test_what_the_storage_hangs_on_must_be_mapped(tmp_path: Path, kconfig: KernelKconfig) -> None:
    blob = toy.compiled(
        """/ { compatible = "acme,board", "toy,soc1";
        serial: serial { compatible = "arm,pl011", "arm,primecell"; };
        clk: clock { compatible = "toy,unheard-of"; #clock-cells = <0>; };
        mmc { compatible = "toy,soc1-sdhci"; clocks = <&clk>; };
        };"""
    )
    board = toy.toy_board(storage="/mmc", console="/serial", dtb=str(blob))
    with pytest.raises(UserError) as caught:
        toy.derived(tmp_path, board, kconfig)
    (fault,) = caught.value.faults
    assert str(fault) == (
        "/boards/toy.toml: /clock (toy,unheard-of): no driver in this kernel tree\n"
        "  needed for the storage: /mmc -> clocks -> /clock\n"
        '  hint: answer it in [drivers.answers]: "toy,unheard-of" = "CONFIG_X", or "" when it needs no driver'
    )
    answered = toy.toy_board(storage="/mmc", console="/serial", dtb=str(blob), answers=(("toy,unheard-of", ""),))
    assert "MMC_SDHCI_TOY" in toy.derived(tmp_path, answered, kconfig).symbols()
    left = toy.toy_board(storage="/mmc", console="/serial", dtb=str(blob), without=("/clock",))
    assert "MMC_SDHCI_TOY" in toy.derived(tmp_path, left, kconfig).symbols()


def test_further_storage_is_usable(tmp_path: Path, kconfig: KernelKconfig) -> None:
    blob = toy.compiled(
        """/ { compatible = "acme,board", "toy,soc1";
        serial { compatible = "arm,pl011", "arm,primecell"; };
        spi { compatible = "toy,spi"; flash { compatible = "jedec,spi-nor"; }; };
        mmc { compatible = "toy,soc1-sdhci"; }; };"""
    )
    board = toy.toy_board(storage="/spi", console="/serial", nodes=("/mmc",), dtb=str(blob))
    assert {"MTD_SPI_NOR", "MMC_SDHCI_TOY", "MMC_BLOCK"} <= toy.derived(tmp_path, board, kconfig).symbols()


@pytest.mark.parametrize("storage", ["&bus", "/spi/flash@0"])
def test_flash_is_found_on_its_bus(tmp_path: Path, kconfig: KernelKconfig, storage: str) -> None:
    blob = toy.compiled(
        """/ { compatible = "acme,board", "toy,soc1";
        serial { compatible = "arm,pl011", "arm,primecell"; };
        bus: spi { compatible = "toy,spi"; #address-cells = <1>; #size-cells = <0>;
            flash@0 { compatible = "jedec,spi-nor"; reg = <0>; };
            net@1 { compatible = "toy,fec"; reg = <1>; };
        }; };"""
    )
    found = toy.derived(tmp_path, toy.toy_board(storage=storage, console="/serial", dtb=str(blob)), kconfig).symbols()
    assert {"SPI_TOY", "MTD_SPI_NOR", "MTD_OF_PARTS"} <= found
    assert "TOY_FEC" not in found


def test_a_blob_of_ones_own_finds_its_family_by_its_root(tmp_path: Path, kconfig: KernelKconfig) -> None:
    blob = toy.compiled(
        """/ { compatible = "mine,board", "toy,soc1";
        serial { compatible = "arm,pl011", "arm,primecell"; };
        mmc { compatible = "toy,soc1-sdhci"; }; };"""
    )
    found = toy.derived(tmp_path, toy.toy_board(storage="/mmc", console="/serial", dtb=str(blob)), kconfig)
    assert {"ARCH_TOY", "SOC_TOY1"} <= found.symbols()


def test_all_wrong_names_are_told_at_once(tmp_path: Path, kconfig: KernelKconfig) -> None:
    board = toy.toy_board(storage="mmc7", console="/soc/serial@901", nodes=("&sdd",), watchdogs=("watchdog@80",))
    with pytest.raises(UserError) as caught:
        toy.derived(tmp_path, board, kconfig)
    told = "\n".join(str(fault) for fault in caught.value.faults)
    assert len(caught.value.faults) == 4
    assert "drivers.storage: the device tree" in told
    assert "has no alias mmc7\n  nearest: mmc" in told
    assert "nearest: /soc/serial@900" in told
    assert "has no label &sdd\n  nearest: &sd, " in told


def test_storage_that_is_switched_off(tmp_path: Path, kconfig: KernelKconfig) -> None:
    with pytest.raises(UserError, match="switched off") as caught:
        toy.derived(tmp_path, toy.toy_board(storage="mmc1"), kconfig)
    assert '/soc/mmc@c00 has status = "disabled"' in str(caught.value)


def test_a_named_watchdog_is_the_only_one(tmp_path: Path, kconfig: KernelKconfig) -> None:
    found = toy.derived(tmp_path, toy.toy_board(watchdogs=("&wdt",)), kconfig)
    assert "TOY_WDT" in found.symbols()
    without = toy.derived(tmp_path, toy.toy_board(without=("&wdt",)), kconfig)
    assert "TOY_WDT" not in without.symbols()


def test_what_should_be_off(whole: BoardDrivers, kconfig: KernelKconfig, tmp_path: Path) -> None:
    off = {o.node.path: (o.hazard.what, o.symbols) for o in whole.off}
    assert off["/soc/gpu@1000"] == ("GPU", ())
    assert off["/soc/ethernet@1100"] == ("network", ("TOY_FEC",))
    assert off["/soc/dma-controller@a00"] == ("DMA controller", ("DMADEVICES", "TOY_SDMA"))
    assert "/soc/mmc@b00" not in off
    (line,) = turned_on(whole.off, {"TOY_FEC", "MMC"}, whole.symbols())
    assert line.startswith("CONFIG_TOY_FEC is on in the capture kernel: /soc/ethernet@1100 (network)")
    blobs.bring(kconfig.tree, toy.toy_board(), tmp_path / "b.dtb", tmp_path / "l.dtb")
    (tmp_path / "o.dts").write_text(whole.overlay())
    blobs.compile_overlay(tmp_path / "o.dts", tmp_path / "o.dtbo", tmp_path / "b.dtb")
    assert (tmp_path / "o.dtbo").stat().st_size > 100
    (tmp_path / "o.dts").write_text(whole.overlay().replace("gpu@1000", "gpu@9999"))
    with pytest.raises(UserError, match=r"apply o\.dts to b\.dtb"):
        blobs.compile_overlay(tmp_path / "o.dts", tmp_path / "o.dtbo", tmp_path / "b.dtb")


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("CONFIG_TOY_WDT", "  the device tree needs it:\n    /soc/watchdog@800 (toy,wdt): drivers/watchdog/toy_wdt"),
        ("MMC_SDHCI", "  the device tree needs MMC_SDHCI_TOY, which needs it:\n    /soc/mmc@b00"),
        ("PM_GENERIC_DOMAINS", "  the device tree needs TOY_GPC, which selects it:\n"),
        (
            "TOY_SDMA",
            ("  no node of the device tree that the capture hangs on needs it\n  left out on purpose:\n"
            "    /soc/mmc@b00 -> dmas -> /soc/dma-controller@a00: with no DMA engine"),
        ),
    ],
)
def test_explain(whole: BoardDrivers, kconfig: KernelKconfig, symbol: str, expected: str) -> None:
    fragment = parse_fragment(whole.fragment_text(kconfig, "allnoconfig", []), Path("derived.config"))
    resolve(kconfig, "allnoconfig", [fragment])
    assert whole.explain(kconfig, symbol, fragment).startswith(expected)
