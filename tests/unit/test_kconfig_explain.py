"""``explain`` and the search for what turns a symbol on."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import KernelKconfig, parse_fragment, resolve
from kdumpbuild.kconfig.explain import explain
from kdumpbuild.kconfig.solve import reach
from tests.kernel import support


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> KernelKconfig:
    return support.reduced(tmp_path_factory.mktemp("compiler"), "arm")


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> KernelKconfig:
    return support.reduced(tmp_path_factory.mktemp("compiler"), "arm64")


BOARD = "CONFIG_MMU=y\nCONFIG_ARCH_MULTI_V7=y\n"


def state(kconfig: KernelKconfig, text: str = "", base: str = "allnoconfig") -> KernelKconfig:
    resolve(kconfig, base, [parse_fragment(text, Path("x.config"))])
    return kconfig


def test_page_of_a_symbol_that_is_off(arm: KernelKconfig) -> None:
    page = explain(state(arm, f"{BOARD}CONFIG_SMP=y\n# CONFIG_SUSPEND is not set\n"), "CONFIG_KEXEC")
    assert page == (
        "CONFIG_KEXEC is n: what it needs is not there\n"
        "  Linux 7.2.0-reduced, arm; type bool\n"
        '  defined at kernel/Kconfig.kexec:6, "Enable kexec system call"\n'
        "  needs:\n"
        "    - ARCH_SUPPORTS_KEXEC [=n]\n"
        "    because:\n"
        "      needs ARCH_SUPPORTS_KEXEC [=n] (arch/arm/Kconfig:44)\n"
        "        ARCH_SUPPORTS_KEXEC has no prompt; it is on when"
        " (!SMP [=y] || PM_SLEEP_SMP [=n]) && MMU [=y]\n"
        "          needs !SMP [=y] || PM_SLEEP_SMP [=n]\n"
        "            PM_SLEEP_SMP has no prompt; it is on when SMP [=y] && PM_SLEEP [=n]\n"
        "              needs PM_SLEEP [=n] (arch/arm/Kconfig:54)\n"
        "                PM_SLEEP has no prompt; it is on when SUSPEND [=n]\n"
        "                  needs SUSPEND [=n] (arch/arm/Kconfig:50)\n"
        "  to turn it on, tried and found enough:\n"
        "    CONFIG_KEXEC=y\n"
        "    # CONFIG_SMP is not set\n"
    )


def test_page_of_a_selected_symbol(arm: KernelKconfig) -> None:
    page = explain(state(arm, f"{BOARD}CONFIG_KEXEC=y\n"), "KEXEC_CORE")
    assert page.startswith("CONFIG_KEXEC_CORE is y: selected by KEXEC\n")
    assert "+ KEXEC [=y] (kernel/Kconfig.kexec:6)" in page
    assert "- KEXEC_FILE [=n] (kernel/Kconfig.kexec:11)" in page
    assert "to turn it off, tried and found enough:\n    # CONFIG_KEXEC is not set" in page


def test_page_of_an_implied_symbol(arm: KernelKconfig) -> None:
    page = explain(state(arm, "CONFIG_MTD=y\n", base="multi_v7"), "MTD_NAND")
    assert "implied by:\n    + MTD [=y] (drivers/Kconfig:6)" in page


def test_page_of_a_choice_member(arm64: KernelKconfig) -> None:
    page = explain(state(arm64), "ARM64_VA_BITS_39")
    assert "is n: its choice takes another member" in page
    assert "taken: ARM64_VA_BITS_52" in page
    assert "CONFIG_ARM64_VA_BITS_39=y" in page
    page = explain(arm64, "ARM64_VA_BITS_52")
    assert "is y: the member that its choice takes" in page


def test_page_of_a_number(arm: KernelKconfig) -> None:
    page = explain(state(arm, f"{BOARD}CONFIG_SMP=y\nCONFIG_NR_CPUS=8\n"), "NR_CPUS")
    assert page.startswith("CONFIG_NR_CPUS is 8: as the configuration says\n")
    assert "2 to 16 if MODULES [=n]" in page
    assert "2 to 32 if" in page


def test_page_of_a_transitional_symbol(arm: KernelKconfig) -> None:
    assert "transitional: it is read from old configs" in explain(state(arm), "OLD_DRIVER")


@pytest.mark.parametrize(
    ("symbol", "start"),
    [
        ("SYSFS", "is y: its default; what it needs to be set is not there"),
        ("SUSPEND", "is n: as the configuration says"),
        ("PM_SLEEP", "is n: computed from other symbols"),
        ("PAGE_OFFSET", "is 0x40000000: computed from other symbols"),
        ("MTD_TESTS", "is n: what it needs is not there"),
        ("LOCALVERSION", "is empty: its default"),
    ],
)
def test_where_a_value_comes_from(arm: KernelKconfig, symbol: str, start: str) -> None:
    assert explain(state(arm), symbol).startswith(f"CONFIG_{symbol} {start}")


def test_every_symbol_has_a_page(arm: KernelKconfig, arm64: KernelKconfig) -> None:
    for kconfig in (state(arm), state(arm64)):
        before = kconfig.config_text()
        for sym in kconfig.unique_defined_syms:
            page = explain(kconfig, sym.name)
            assert page.startswith(f"CONFIG_{sym.name} is ")
            assert "Kconfig" in page
        assert kconfig.config_text() == before


def test_unknown_symbol(arm: KernelKconfig) -> None:
    with pytest.raises(UserError, match="did you mean KEXEC"):
        explain(arm, "KEXXEC")
    with pytest.raises(UserError, match="nothing defines it: it is always n"):
        explain(arm, "S390")
    with pytest.raises(UserError, match="without CONFIG_"):
        explain(arm, "frobnicate")


@pytest.mark.parametrize(
    ("text", "symbol", "wanted", "found"),
    [
        ("", "MMU", "y", {"MMU": "y"}),
        ("CONFIG_MMU=y\n", "MMU", "y", {}),
        ("CONFIG_MMU=y\nCONFIG_ARCH_MULTI_V7=y\n", "HARDLOCKUP_DETECTOR", "y",
         {"HARDLOCKUP_DETECTOR": "y", "DEBUG_KERNEL": "y", "SMP": "y"}),
        ("CONFIG_MMU=y\n", "PROC_VMCORE", "y", {"PROC_VMCORE": "y", "CRASH_DUMP": "y", "KEXEC": "y"}),
        ("", "DEBUG_INFO", "y", {"DEBUG_KERNEL": "y", "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT": "y"}),
        ("", "DEBUG_INFO_REDUCED", "y",
         {"DEBUG_INFO_REDUCED": "y", "DEBUG_KERNEL": "y", "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT": "y"}),
        ("CONFIG_MODULES=y\n", "MTD_TESTS", "m", {"MTD_TESTS": "m"}),
        ("", "PROC_KCORE", "y", None),
        ("", "KEXEC_FILE", "y", None),
        ("CONFIG_MMU=y\nCONFIG_KEXEC=y\n", "KEXEC_CORE", "n", {"KEXEC": "n"}),
        ("CONFIG_MMU=y\n", "SECRET", "y", {}),
        ("CONFIG_MMU=y\n", "SECRET", "n", {"EXPERT": "y", "SECRET": "n"}),
    ],
)  # fmt: skip
def test_search(arm: KernelKconfig, text: str, symbol: str, wanted: str, found: dict[str, str] | None) -> None:
    before = state(arm, text).config_text()
    assert reach(arm, symbol, wanted) == found
    assert arm.config_text() == before
