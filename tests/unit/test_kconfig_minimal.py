"""The smallest fragment for a product's .config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import KernelKconfig, parse_fragment, resolve
from kdumpbuild.kconfig.minimal import Minimal, minimal
from tests.kernel import support

if TYPE_CHECKING:
    from collections.abc import Sequence

WANTED = """\
# The dump.
CONFIG_CRASH_DUMP=y

# Loading.
CONFIG_KEXEC=y

#@ means
# SMP needs suspend.
CONFIG_SUSPEND=y

# Types. CONFIG_DEBUG_INFO has no prompt.
CONFIG_DEBUG_INFO=y

#@ means
# Types from DWARF.
CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y

# Whole types.
# CONFIG_DEBUG_INFO_REDUCED is not set

# Reboot.
CONFIG_PANIC_TIMEOUT=10
"""


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


def product(folder: Path, text: str) -> Path:
    path = folder / "product.config"
    path.write_text(text)
    return path


def smallest(kconfig: KernelKconfig, base: Path | str, wanted: str = WANTED, waivers: Sequence[Waiver] = ()) -> Minimal:
    return minimal(kconfig, base, [parse_fragment(wanted, Path("wanted.config"))], waivers)


def asked(done: Minimal) -> set[str]:
    return {line.text for line in done.lines}


def test_only_what_lacks(arm: KernelKconfig, tmp_path: Path) -> None:
    base = product(tmp_path, "CONFIG_SMP=y\nCONFIG_SUSPEND=y\nCONFIG_KEXEC=y\nCONFIG_DEBUG_KERNEL=y\n"
                             "CONFIG_DEBUG_INFO_DWARF5=y\nCONFIG_DEBUG_INFO_REDUCED=y\n")  # fmt: skip
    done = smallest(arm, base)
    done.check()
    assert asked(done) == {"# CONFIG_DEBUG_INFO_REDUCED is not set", "CONFIG_PANIC_TIMEOUT=10"}
    assert {line.symbol for line in done.satisfied} == {"CRASH_DUMP", "KEXEC", "DEBUG_INFO"}
    assert done.resolution.values["DEBUG_INFO_DWARF5"] == "y"


def test_means_are_taken_where_they_are_needed(arm: KernelKconfig, tmp_path: Path) -> None:
    done = smallest(arm, product(tmp_path, "CONFIG_SMP=y\n# CONFIG_SUSPEND is not set\nCONFIG_DEBUG_KERNEL=y\n"))
    done.check()
    assert asked(done) == {
        "CONFIG_KEXEC=y", "CONFIG_SUSPEND=y", "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y", "CONFIG_PANIC_TIMEOUT=10",
    }  # fmt: skip
    assert {line.symbol for line in done.implied} == {"CRASH_DUMP", "DEBUG_INFO"}


def test_means_are_left_out_where_they_are_not(arm: KernelKconfig, tmp_path: Path) -> None:
    """Without SMP, KEXEC needs no suspend."""
    done = smallest(arm, product(tmp_path, "# CONFIG_SMP is not set\n# CONFIG_SUSPEND is not set\n"))
    done.check()
    assert "CONFIG_SUSPEND=y" not in asked(done)


def test_what_no_fragment_names_is_searched_for(arm: KernelKconfig, tmp_path: Path) -> None:
    done = smallest(arm, product(tmp_path, "# CONFIG_DEBUG_KERNEL is not set\n"))
    done.check()
    assert "CONFIG_DEBUG_KERNEL=y" in asked(done)
    assert "# Needed for DEBUG_INFO=y.\nCONFIG_DEBUG_KERNEL=y" in done.text


def test_refused_line_is_asked_for_even_if_it_is_the_default(arm: KernelKconfig, tmp_path: Path) -> None:
    done = smallest(arm, product(tmp_path, "CONFIG_KEXEC=y\n# CONFIG_CRASH_DUMP is not set\n"))
    assert "CONFIG_CRASH_DUMP=y" in asked(done)


def test_nothing_lacks(arm: KernelKconfig, tmp_path: Path) -> None:
    first = smallest(arm, "defconfig")
    base = product(tmp_path, first.resolution.config_text)
    again = smallest(arm, base)
    assert not again.lines
    assert all(line.startswith("#") for line in again.text.splitlines())
    assert again.resolution.config_text == first.resolution.config_text


def test_result_is_what_the_fragment_says(arm: KernelKconfig, tmp_path: Path) -> None:
    """The text, read as a fragment by itself, gives the resolution; each line stands below its reason."""
    base = product(tmp_path, "CONFIG_SMP=y\n# CONFIG_SUSPEND is not set\n")
    done = smallest(arm, base)
    fragment = parse_fragment(done.text, tmp_path / "out.cfg")
    assert all(line.reason for line in fragment.lines)
    again = resolve(arm, base, [fragment])
    again.check()
    assert again.config_text == done.resolution.config_text


def test_smallest_means_smallest(arm: KernelKconfig, tmp_path: Path) -> None:
    """Without any one of its lines the fragment does not do."""
    base = product(tmp_path, "CONFIG_SMP=y\n# CONFIG_SUSPEND is not set\n")
    done = smallest(arm, base)
    goals = [line for line in parse_fragment(WANTED, Path("w")).lines if not line.means]
    for line in done.lines:
        rest = "".join(f"{other.text}\n" for other in done.lines if other is not line)
        values = resolve(arm, base, [parse_fragment(rest, Path("rest"))]).values
        assert any(values[goal.symbol] != goal.value for goal in goals), line


def test_comments_name_no_symbol_with_its_prefix(arm: KernelKconfig, tmp_path: Path) -> None:
    """merge_config.sh takes any line with CONFIG_X in it for one about X."""
    done = smallest(arm, product(tmp_path, "CONFIG_SMP=y\n"))
    comments = [line for line in done.text.splitlines() if line.startswith("#") and not line.endswith("is not set")]
    assert comments
    assert not [line for line in comments if "CONFIG_" in line]


def test_member_of_a_choice_is_named(arm64: KernelKconfig, tmp_path: Path) -> None:
    """``is not set`` on the default member would leave it to each kernel version what is taken instead."""
    wanted = "# Not 52.\n# CONFIG_ARM64_VA_BITS_52 is not set\n\n#@ means\n# So 48.\nCONFIG_ARM64_VA_BITS_48=y\n"
    done = smallest(arm64, product(tmp_path, ""), wanted)
    assert asked(done) == {"CONFIG_ARM64_VA_BITS_48=y"}
    done = smallest(arm64, product(tmp_path, "CONFIG_ARM64_VA_BITS_39=y\n"), wanted)
    assert not done.lines


def test_what_cannot_be_reached(arm: KernelKconfig, tmp_path: Path) -> None:
    wanted = "# a\nCONFIG_PROC_KCORE=y\n\n# b\nCONFIG_CRASH_CORE=y\n\n# c\nCONFIG_HIGHMEM=y\n"
    done = smallest(arm, product(tmp_path, ""), wanted)
    assert {unmet.kind for unmet in done.unmet} == {"dependency", "unknown"}
    assert asked(done) == {"CONFIG_HIGHMEM=y"}
    with pytest.raises(UserError, match="CONFIG_PROC_KCORE=y did not take effect"):
        done.check()


def test_waived(arm: KernelKconfig, tmp_path: Path) -> None:
    wanted = "# a\nCONFIG_PROC_KCORE=y\n"
    done = smallest(arm, product(tmp_path, ""), wanted, [Waiver("CONFIG_PROC_KCORE", "CONFIG_ARM has none")])
    done.check()
    assert not done.lines
    assert "# PROC_KCORE=y is waived: ARM has none" in done.text


def test_product_stays_the_product_it_is(arm: KernelKconfig, tmp_path: Path) -> None:
    """Kexec needs an MMU; a product for a CPU that has none is told so, and not made into another one."""
    text = "# CONFIG_MMU is not set\nCONFIG_ARM_SINGLE_ARMV7M=y\n"
    done = smallest(arm, product(tmp_path, text), "# a\nCONFIG_KEXEC=y\n")
    (unmet,) = done.unmet
    assert "needs MMU [=n]" in unmet.why
    assert not done.lines
    done = smallest(arm, product(tmp_path, "# CONFIG_MMU is not set\n"), "# a\nCONFIG_KEXEC=y\n")
    assert "CONFIG_MMU=y" in asked(done)
