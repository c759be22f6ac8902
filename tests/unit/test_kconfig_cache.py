"""What is kept of a tree is used when it is true, and never when it is not."""

from __future__ import annotations

import os
import pickle
import random
from typing import TYPE_CHECKING

import pytest

from kdumpbuild.kconfig import KernelTree, explain, load_config, open_kconfig
from tests.kernel import support

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.kconfig import KernelKconfig, Toolchain


class Setting:
    """A tree that may change, a compiler that may change, and the folder where things are kept."""

    def __init__(self, folder: Path) -> None:
        self.source = support.reduced_copy(folder)
        self.toolchain: Toolchain = support.fake_toolchain(folder / "bin", "arm")
        self.compiler = folder / "bin/arm-gcc"
        self.cache = folder / "cache"

    def open(self) -> KernelKconfig:
        return open_kconfig(KernelTree.open(self.source), self.toolchain, self.cache)

    def kept(self) -> Path:
        (path,) = self.cache.glob("*.pickle")
        return path

    def mark(self) -> tuple[int, int]:
        """Return what changes when the file is written anew, that is, when the tree was read anew."""
        status = self.kept().stat()
        return status.st_ino, status.st_mtime_ns


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_kept_state_is_used_and_is_the_same(setting: Setting) -> None:
    fresh = setting.open()
    mark = setting.mark()
    kept = setting.open()
    assert setting.mark() == mark
    for case in support.cases():
        if case.arch != "arm":
            continue
        texts = []
        for kconfig in (fresh, kept):
            kconfig.reset()
            load_config(kconfig, case.path)
            if case.base == "allnoconfig":
                kconfig.assign_no_to_rest()
            texts.append(kconfig.config_text())
        assert texts == [case.golden.read_text()] * 2, case
    for sym in fresh.unique_defined_syms:
        assert explain(fresh, sym.name) == explain(kept, sym.name)


def test_state_is_kept_without_assignments(setting: Setting) -> None:
    first = setting.open()
    first.assign(first.syms["SMP"], "y")
    assert setting.open().syms["SMP"].user_value is None


def test_changed_file(setting: Setting) -> None:
    setting.open()
    mark = setting.mark()
    file = setting.source / "lib/Kconfig.debug"
    status = file.stat()
    file.write_text(file.read_text().replace("PANIC_ON_OOPS", "PANIC_ON_OUPS"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "PANIC_ON_OUPS" in setting.open().syms
    assert setting.mark() != mark


def test_compiler_that_can_more(setting: Setting) -> None:
    """Same name, same version, same size, same time: still another answer."""
    assert "# CONFIG_CC_OPTIMIZE_FOR_MAGIC" not in setting.open().config_text()
    status = setting.compiler.stat()
    setting.compiler.write_text(setting.compiler.read_text().replace("exit 1", "exit 0"))
    os.utime(setting.compiler, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "# CONFIG_CC_OPTIMIZE_FOR_MAGIC" in setting.open().config_text()


def test_compiler_of_another_version(setting: Setting) -> None:
    setting.open()
    setting.compiler.write_text(setting.compiler.read_text().replace("12.2.0", "14.2.0"))
    text = setting.open().config_text()
    assert 'CONFIG_CC_VERSION_TEXT="arm-test-gcc 14.2.0"' in text
    assert "CONFIG_CC_VERSION=14" in text


def test_kernel_of_another_version(setting: Setting) -> None:
    setting.open()
    makefile = setting.source / "Makefile"
    makefile.write_text(makefile.read_text().replace("SUBLEVEL = 0", "SUBLEVEL = 1"))
    assert "Linux/arm 7.2.1-reduced" in setting.open().config_text()


def test_damaged_file(setting: Setting) -> None:
    text = setting.open().config_text()
    whole = setting.kept().read_bytes()
    chance = random.Random(1)  # noqa: S311  # reproducible on purpose
    damaged = [b"", b"hello", whole[:100], whole[: len(whole) // 2], whole[:-1]]
    for _ in range(30):
        broken = bytearray(whole)
        for _ in range(20):
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(broken))
    for number, content in enumerate(damaged):
        setting.kept().write_bytes(content)
        assert setting.open().config_text() == text, number
        assert setting.kept().read_bytes() != content


def test_file_of_somebody_else_runs_no_code(setting: Setting, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/evil",)

    text = setting.open().config_text()
    setting.kept().write_bytes(pickle.dumps(Evil()))
    assert setting.open().config_text() == text
    assert not (tmp_path / "evil").exists()


def test_folder_that_cannot_be_written(setting: Setting) -> None:
    setting.cache.write_text("a file in its place")
    assert setting.open().config_text().startswith("#\n")


def test_no_folder(setting: Setting) -> None:
    open_kconfig(KernelTree.open(setting.source), setting.toolchain, None)
    assert not setting.cache.exists()


def test_what_other_files_could_change_is_not_kept(setting: Setting) -> None:
    (setting.source / "Kconfig").open("a").write('osource "arch/arm/Kconfig.local"\n')
    setting.open()
    assert not setting.cache.exists()
    (setting.source / "arch/arm/Kconfig.local").write_text("config LOCAL\n\tbool\n")
    assert "LOCAL" in setting.open().syms


def test_two_trees_and_two_arches_side_by_side(tmp_path: Path) -> None:
    tree = KernelTree.open(support.REDUCED)
    for _ in range(2):
        for arch in ("arm", "arm64"):
            toolchain = support.fake_toolchain(tmp_path / "bin", arch)
            text = open_kconfig(tree, toolchain, tmp_path / "cache").config_text()
            assert f"Linux/{arch} " in text
    assert len(list((tmp_path / "cache").glob("*.pickle"))) == 2
