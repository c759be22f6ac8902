"""The adapter on the reduced tree: every element of the language, values as the kernel's own conf gives them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import KernelKconfig, KernelTree, Toolchain, load_config
from tests.kernel import support

if TYPE_CHECKING:
    from pathlib import Path

ARCHES = ("arm", "arm64")


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, KernelKconfig]:
    folder = tmp_path_factory.mktemp("compilers")
    return {arch: support.reduced(folder, arch) for arch in ARCHES}


@pytest.mark.parametrize("case", support.cases(), ids=lambda case: case.path.stem)
def test_config_is_what_conf_writes(parsed: dict[str, KernelKconfig], case: support.Case) -> None:
    """The golden files were written by the conf of Linux 7.2; tests/kernel proves that they still are its output."""
    kconfig = parsed[case.arch]
    kconfig.reset()
    load_config(kconfig, case.path)
    if case.base == "allnoconfig":
        kconfig.assign_no_to_rest()
    assert kconfig.config_text() == case.golden.read_text()


def test_writing_again_changes_nothing(parsed: dict[str, KernelKconfig], tmp_path: Path) -> None:
    for case in support.cases():
        kconfig = parsed[case.arch]
        kconfig.reset()
        load_config(kconfig, case.golden)
        assert kconfig.config_text() == case.golden.read_text(), case.path


def test_one_parse_serves_many_configs(parsed: dict[str, KernelKconfig]) -> None:
    """What one config assigned is forgotten in the next, choices included."""
    texts = []
    for _ in range(2):
        for case in support.cases():
            if case.arch == "arm":
                parsed["arm"].reset()
                load_config(parsed["arm"], case.path)
                texts.append(parsed["arm"].config_text())
    assert texts[: len(texts) // 2] == texts[len(texts) // 2 :]


def test_trying_leaves_no_trace(parsed: dict[str, KernelKconfig]) -> None:
    kconfig = parsed["arm"]
    kconfig.reset()
    kconfig.assign(kconfig.syms["CC_OPTIMIZE_FOR_SIZE"], "y")
    before = kconfig.config_text()
    with kconfig.trying():
        kconfig.assign(kconfig.syms["CC_OPTIMIZE_FOR_PERFORMANCE"], "y")
        kconfig.assign(kconfig.syms["SMP"], "y")
        assert kconfig.config_text() != before
    assert kconfig.config_text() == before


def test_environment_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the caller that kconfiglib would heed have no effect, and stay as they are."""
    monkeypatch.setenv("CONFIG_", "KONFIG_")
    monkeypatch.setenv("srctree", "/nowhere")
    monkeypatch.setenv("ARCH", "x86")
    monkeypatch.setenv("KCONFIG_CONFIG_HEADER", "# mine\n")
    before = dict(os.environ)
    text = support.reduced(tmp_path).config_text()
    assert dict(os.environ) == before
    assert "KONFIG_" not in text
    assert text.startswith("#\n# Automatically generated file; DO NOT EDIT.\n# Linux/arm 7.2.0-reduced Kernel")


def test_environment_after_a_fault(tmp_path: Path) -> None:
    tree = support.reduced_copy(tmp_path)
    (tree / "Kconfig").write_text("frobnicate\n")
    before = dict(os.environ)
    with pytest.raises(UserError):
        KernelKconfig(KernelTree.open(tree), support.fake_toolchain(tmp_path / "bin", "arm"))
    assert dict(os.environ) == before


def test_threads_may_parse_at_once(tmp_path: Path) -> None:
    texts: dict[int, str] = {}
    tree = KernelTree.open(support.REDUCED)
    toolchains = [support.fake_toolchain(tmp_path, arch) for arch in ARCHES]

    def parse(number: int) -> None:
        texts[number] = KernelKconfig(tree, toolchains[number % 2]).config_text()

    threads = [threading.Thread(target=parse, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [texts[n].splitlines()[2] for n in range(6)] == [
        f"# Linux/{ARCHES[n % 2]} 7.2.0-reduced Kernel Configuration" for n in range(6)
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("config A\n\tbool\n\tfrobnicate y\n", 3, "frobnicate"),
        ("config A\n\tbool\n\toptional_depends on B\n", 3, "optional_depends"),
        ("config A\n\tbool \"a\"\n\tdepends on B if\n", 3, "depends on B if"),
        ("config A\n\tbool \"a\"\n\tdepends on B || \n", 3, "depends on B"),
        ("config A\n\tdepends on B unless C\n", 2, "unless"),
        ("choice\n\ttransitional\n\tprompt \"c\"\nendchoice\n", 2, "only symbols can be transitional"),
        ("menu \"m\"\nconfig A\n\tbool\n", 3, "endmenu"),
        ("source \"no/such/Kconfig\"\n", 1, "no/such/Kconfig"),
        ("$(error-if,y,this compiler is too old)\n", 1, "too old"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    tree = support.reduced_copy(tmp_path)
    (tree / "drivers/Kconfig").write_text(text)
    with pytest.raises(UserError) as caught:
        KernelKconfig(KernelTree.open(tree), support.fake_toolchain(tmp_path / "bin", "arm"))
    (fault,) = caught.value.faults
    assert said in fault.what
    if said != "endmenu":
        assert fault.where == f"{tree}/drivers/Kconfig:{line}"
    assert "Linux 7.2.0-reduced" in fault.what


def test_two_names_for_modules_are_no_problem(tmp_path: Path) -> None:
    """Kernels before 5.13 say ``option modules``."""
    tree = support.reduced_copy(tmp_path)
    init = tree / "init/Kconfig"
    init.write_text(init.read_text().replace("\tmodules\n", "\toption modules\n"))
    kconfig = KernelKconfig(KernelTree.open(tree), support.fake_toolchain(tmp_path / "bin", "arm"))
    kconfig.assign(kconfig.syms["MODULES"], "y")
    kconfig.assign(kconfig.syms["MTD"], "m")
    assert "CONFIG_MTD=m" in kconfig.config_text()


def test_compiler_for_another_architecture(tmp_path: Path) -> None:
    toolchain = support.fake_toolchain(tmp_path, "arm", machine="aarch64-linux-gnu")
    with pytest.raises(UserError, match="compiles for aarch64-linux-gnu, not for arm") as caught:
        KernelKconfig(KernelTree.open(support.REDUCED), toolchain)
    assert "CROSS_COMPILE" in str(caught.value)


def test_compiler_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such-gcc is missing"):
        KernelKconfig(KernelTree.open(support.REDUCED), Toolchain("arm", f"{tmp_path}/no-such-"))


def test_compiler_behind_ccache(tmp_path: Path) -> None:
    real = support.fake_toolchain(tmp_path, "arm")
    ccache = tmp_path / "ccache"
    ccache.write_text('#!/bin/sh\nexec "$@"\n')
    ccache.chmod(0o755)
    wrapped = Toolchain("arm", real.cross_compile, cc=f"{ccache} {real.compiler}")
    tree = KernelTree.open(support.REDUCED)
    assert KernelKconfig(tree, wrapped).config_text() == KernelKconfig(tree, real).config_text()
    assert wrapped.make_variables() == ["ARCH=arm", f"CROSS_COMPILE={real.cross_compile}", f"CC={wrapped.cc}"]


def test_a_c_library_that_is_installed_later_is_another_toolchain(tmp_path: Path) -> None:
    """Linux asks whether the compiler can link (CC_CAN_LINK), so the config has to be resolved again."""
    gcc = tmp_path / "arm-gcc"
    gcc.write_text(
        '#!/bin/sh\ncase $1 in\n-dumpmachine) echo arm-linux ;;\n--version) echo "gcc 12" ;;\n'
        f'-print-file-name=*) file=${{1#*=}}; [ ! -e "{tmp_path}/$file" ] || file="{tmp_path}/$file"; echo "$file" ;;\n'
        "esac\n"
    )
    gcc.chmod(0o755)
    toolchain = Toolchain("arm", f"{tmp_path}/arm-")
    before = toolchain.fingerprint()
    assert toolchain.fingerprint() == before
    (tmp_path / "libc.so").touch()
    assert toolchain.fingerprint() != before
