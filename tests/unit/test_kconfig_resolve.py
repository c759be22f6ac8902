"""Composing configs on the reduced tree: what took effect, and what is said of what did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import KernelKconfig, Resolution, Unmet, parse_fragment, resolve
from tests.kernel import support

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Waiver:
    name: str
    reason: str


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> KernelKconfig:
    return support.reduced(tmp_path_factory.mktemp("compiler"), "arm")


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> KernelKconfig:
    return support.reduced(tmp_path_factory.mktemp("compiler"), "arm64")


BOARD = "CONFIG_MMU=y\nCONFIG_ARCH_MULTI_V7=y\n"


def compose(kconfig: KernelKconfig, *texts: str, base: str = "allnoconfig") -> Resolution:
    from pathlib import Path

    fragments = [parse_fragment(text, Path(f"{number}.config")) for number, text in enumerate(texts)]
    if kconfig.toolchain.arch == "arm":
        fragments.insert(0, parse_fragment(BOARD, Path("board.config")))
    return resolve(kconfig, base, fragments)


def only(resolution: Resolution) -> Unmet:
    (unmet,) = resolution.unmet
    return unmet


def test_values_and_text(arm: KernelKconfig) -> None:
    done = compose(arm, 'CONFIG_SMP=y\nCONFIG_PHYS_OFFSET=0x60000000\nCONFIG_LOCALVERSION="-x"\n')
    done.check()
    assert done.values["SMP"] == "y"
    assert done.values["LOCALVERSION"] == "-x"
    assert done.values["HIGHMEM"] == "n"
    assert "CONFIG_PHYS_OFFSET=0x60000000\n" in done.config_text
    assert done.enabled("SMP")
    assert not done.enabled("HIGHMEM")
    assert not done.enabled("NO_SUCH")
    assert (done.kernel, done.arch, done.base) == ("Linux 7.2.0-reduced", "arm", "allnoconfig")


def test_allnoconfig_turns_off_what_nobody_asked_for(arm: KernelKconfig) -> None:
    """Also what becomes visible only by the fragment, as merge_config.sh -n does."""
    done = compose(arm, "CONFIG_EXPERT=y\n")
    assert done.values["SYSFS"] == "n"
    assert compose(arm, "CONFIG_EXPERT=y\n", base="multi_v7").values["SYSFS"] == "y"


def test_defconfig_base(arm: KernelKconfig) -> None:
    done = compose(arm, base="defconfig")
    assert done.values["MTD"] == "m"
    assert done.values["NR_CPUS"] == "16"
    assert done.values["NEW_DRIVER"] == "y"


def test_config_file_base(arm: KernelKconfig, tmp_path: Path) -> None:
    (tmp_path / "product.config").write_text("CONFIG_HIGHMEM=y\n# CONFIG_PRINTK is not set\n")
    assert resolve(arm, tmp_path / "product.config", []).values["HIGHMEM"] == "y"
    (tmp_path / "notes.txt").write_text("hello\n")
    with pytest.raises(UserError, match="not a kernel config"):
        resolve(arm, tmp_path / "notes.txt", [])
    with pytest.raises(UserError, match="cannot read the config"):
        resolve(arm, tmp_path / "none", [])


def test_later_fragment_overrides(arm: KernelKconfig) -> None:
    done = compose(arm, "CONFIG_HIGHMEM=y\n", "# CONFIG_HIGHMEM is not set\n")
    done.check()
    assert done.values["HIGHMEM"] == "n"
    assert [line.where for line in done.overridden] == ["0.config:1"]


def test_later_fragment_takes_another_member_of_a_choice(arm64: KernelKconfig) -> None:
    done = compose(arm64, "CONFIG_ARM64_VA_BITS_48=y\n", "CONFIG_ARM64_VA_BITS_39=y\n")
    done.check()
    assert done.values["ARM64_VA_BITS"] == "39"
    assert [line.symbol for line in done.overridden] == ["ARM64_VA_BITS_48"]


def test_unknown_symbol(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "# why\nCONFIG_KEXEC_FIL=y\n"))
    assert (unmet.kind, unmet.actual, unmet.definition) == ("unknown", "", "")
    text = str(unmet.fault())
    assert "0.config:2: CONFIG_KEXEC_FIL=y did not take effect: it does not exist" in text
    assert "no such symbol in Linux 7.2.0-reduced for arm" in text
    assert "#@ kernel" in text
    assert "wanted because: why" in text


def test_unknown_symbol_turned_off_is_told_as_well(arm: KernelKconfig) -> None:
    assert only(compose(arm, "# CONFIG_HIGHMEN is not set\n")).hint.startswith("did you mean CONFIG_HIGHMEM?")


def test_symbol_that_only_dependencies_name(arm: KernelKconfig) -> None:
    assert only(compose(arm, "CONFIG_S390=y\n")).kind == "unknown"


def test_dependency_down_to_what_can_be_set(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "CONFIG_SMP=y\n# CONFIG_SUSPEND is not set\nCONFIG_KEXEC=y\n"))
    assert unmet.kind == "dependency"
    assert unmet.definition == "kernel/Kconfig.kexec:6"
    assert unmet.why.splitlines() == [
        "needs ARCH_SUPPORTS_KEXEC [=n] (arch/arm/Kconfig:44)",
        "  ARCH_SUPPORTS_KEXEC has no prompt; it is on when (!SMP [=y] || PM_SLEEP_SMP [=n]) && MMU [=y]",
        "    needs !SMP [=y] || PM_SLEEP_SMP [=n]",
        "      PM_SLEEP_SMP has no prompt; it is on when SMP [=y] && PM_SLEEP [=n]",
        "        needs PM_SLEEP [=n] (arch/arm/Kconfig:54)",
        "          PM_SLEEP has no prompt; it is on when SUSPEND [=n]",
        "            needs SUSPEND [=n] (arch/arm/Kconfig:50)",
    ]


def test_dependency_on_what_the_tree_does_not_define(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "CONFIG_KEXEC_FILE=y\n"))
    assert unmet.why == "needs ARCH_SUPPORTS_KEXEC_FILE, which Linux 7.2.0-reduced does not define for arm"


def test_dependency_negated(arm: KernelKconfig) -> None:
    assert only(compose(arm, "CONFIG_PROC_KCORE=y\n")).why == "needs !ARM [=y]"


def test_selected(arm64: KernelKconfig) -> None:
    unmet = only(compose(arm64, "CONFIG_KEXEC_FILE=y\n# CONFIG_KEXEC_CORE is not set\n"))
    assert unmet.kind == "promptless"
    assert "selected by KEXEC_FILE [=y] (kernel/Kconfig.kexec:11)" in unmet.why


def test_selected_although_it_has_a_prompt(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "CONFIG_SMP=y\nCONFIG_SUSPEND=y\n# CONFIG_HOTPLUG_CPU is not set\n"))
    assert unmet.kind == "selected"
    assert unmet.why == "selected by PM_SLEEP_SMP [=y] (arch/arm/Kconfig:58)"


def test_promptless(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "CONFIG_CRASH_RESERVE=y\n"))
    assert unmet.kind == "promptless"
    assert "has no prompt" in unmet.why
    assert "selected by CRASH_DUMP [=n]" in unmet.why


def test_promptless_that_came_true_is_fine(arm: KernelKconfig) -> None:
    compose(arm, "CONFIG_KEXEC=y\nCONFIG_CRASH_DUMP=y\nCONFIG_CRASH_RESERVE=y\n").check()


def test_choice_that_another_member_won(arm64: KernelKconfig) -> None:
    unmet = only(compose(arm64, "CONFIG_ARM64_VA_BITS_48=y\nCONFIG_ARM64_VA_BITS_39=y\n"))
    assert (unmet.line.symbol, unmet.kind) == ("ARM64_VA_BITS_48", "choice")
    assert "takes ARM64_VA_BITS_39" in unmet.why


def test_choice_that_is_not_visible(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "CONFIG_DEBUG_INFO_DWARF5=y\n"))
    assert unmet.kind == "dependency"
    assert unmet.why.splitlines() == [
        'needs the choice "Debug information" (lib/Kconfig.debug:9)',
        "  needs DEBUG_KERNEL [=n] (lib/Kconfig.debug:3)",
    ]


def test_module_without_modules(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "CONFIG_MTD=m\n"))
    assert (unmet.kind, unmet.actual) == ("modules", "y")
    assert "CONFIG_MODULES" in unmet.hint


def test_range(arm: KernelKconfig) -> None:
    unmet = only(compose(arm, "CONFIG_SMP=y\nCONFIG_NR_CPUS=99\n"))
    assert (unmet.kind, unmet.actual, unmet.why) == ("range", "32", "its range is 2 to 32")


@pytest.mark.parametrize(
    "line",
    ["CONFIG_SMP=m", "CONFIG_SMP=1", "CONFIG_NR_CPUS=y", 'CONFIG_NR_CPUS="4"', "CONFIG_LOCALVERSION=y",
     "CONFIG_PHYS_OFFSET=y", 'CONFIG_SMP="y"'],
)  # fmt: skip
def test_wrong_type(arm: KernelKconfig, line: str) -> None:
    assert only(compose(arm, line)).kind == "type"


def test_hex_in_another_spelling_is_the_same(arm: KernelKconfig) -> None:
    compose(arm, "CONFIG_PAGE_OFFSET=0xc0000000\n").check()


def test_lines_for_other_kernels_are_not_asked_for(arm: KernelKconfig) -> None:
    compose(arm, "#@ kernel < 6.9\nCONFIG_CRASH_CORE=y\n\n#@ arch arm64\nCONFIG_EFI=y\n").check()


def test_every_fault_at_once(arm: KernelKconfig) -> None:
    with pytest.raises(UserError) as caught:
        compose(arm, "CONFIG_PROC_KCORE=y\nCONFIG_NO_SUCH=y\nCONFIG_MTD=m\n").check()
    assert [fault.where for fault in caught.value.faults] == ["0.config:1", "0.config:2", "0.config:3"]


def test_waiver(arm: KernelKconfig) -> None:
    from pathlib import Path

    fragment = parse_fragment(f"{BOARD}CONFIG_PROC_KCORE=y\nCONFIG_NO_SUCH=y\nCONFIG_HIGHMEM=y\n", Path("x.config"))
    waivers = [Waiver("CONFIG_PROC_KCORE", "not on this arch"), Waiver("HIGHMEM", "unneeded")]
    done = resolve(arm, "allnoconfig", [fragment], waivers)
    assert [(w.unmet.line.symbol, w.reason) for w in done.waived] == [("PROC_KCORE", "not on this arch")]
    assert only(done).line.symbol == "NO_SUCH"
    assert done.values["HIGHMEM"] == "y"


def test_means_without_effect_are_told_only_if_they_are_missed(arm: KernelKconfig) -> None:
    """A uniprocessor kernel keeps KEXEC without PM_SLEEP_SMP, an SMP kernel does not."""
    means = "CONFIG_KEXEC=y\n\n#@ means\n# For KEXEC.\nCONFIG_PM_SLEEP_SMP=y\n"
    done = compose(arm, means)
    done.check()
    assert [unmet.line.symbol for unmet in done.needless] == ["PM_SLEEP_SMP"]
    done = compose(arm, f"CONFIG_SMP=y\n# CONFIG_SUSPEND is not set\n{means}")
    assert [unmet.line.symbol for unmet in done.unmet] == ["KEXEC", "PM_SLEEP_SMP"]
    assert not done.needless


def test_base_beside_the_caller(arm: KernelKconfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "product.config").write_text("CONFIG_HIGHMEM=y\n")
    monkeypatch.chdir(tmp_path)
    assert resolve(arm, "product.config", []).values["HIGHMEM"] == "y"
