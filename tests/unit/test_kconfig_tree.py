"""What is taken for a kernel tree, and what is said about everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import KernelTree
from tests.kernel import support

if TYPE_CHECKING:
    from pathlib import Path


def test_a_tree() -> None:
    tree = KernelTree.open(support.REDUCED)
    assert tree.version == (7, 2, 0)
    assert tree.release == "7.2.0-reduced"
    assert tree.name == "Linux 7.2.0-reduced"
    assert tree.path.is_absolute()


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        KernelTree.open(path)
    text = str(caught.value)
    assert str(path) in text
    assert "hint:" in text
    return text


def test_missing(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "linux")


@pytest.mark.parametrize("name", ["linux-6.12.tar.xz", "linux.tar", "linux.tgz"])
def test_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "tar -xf" in refused(tmp_path / name)


def test_file(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(b"")
    assert "a file, not a folder" in refused(tmp_path / "vmlinux")


def test_empty_folder(tmp_path: Path) -> None:
    assert "it has no Makefile, Kconfig, arch, scripts/kconfig, kernel" in refused(tmp_path)


def test_folder_above(tmp_path: Path) -> None:
    tree = support.reduced_copy(tmp_path)
    (tree / "MAINTAINERS").touch()
    assert "but linux/ in it looks like one" in refused(tmp_path)


def test_u_boot(tmp_path: Path) -> None:
    tree = support.reduced_copy(tmp_path)
    (tree / "cmd").mkdir()
    (tree / "cmd/bootm.c").touch()
    assert "U-Boot" in refused(tree)


def test_kernel_headers(tmp_path: Path) -> None:
    for name in ("Makefile", "Kconfig", "arch", "scripts/kconfig", "include/generated/autoconf.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert "package of kernel headers" in refused(tmp_path)


@pytest.mark.parametrize("trace", [".config", "include/config/auto.conf", "arch/arm/include/generated/asm/x.h"])
def test_built_in_place(tmp_path: Path, trace: str) -> None:
    tree = support.reduced_copy(tmp_path)
    (tree / trace).parent.mkdir(parents=True, exist_ok=True)
    (tree / trace).touch()
    assert "mrproper" in refused(tree)


def test_path_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "my kernels"
    folder.mkdir()
    assert "a space or a colon" in refused(support.reduced_copy(folder))


def test_makefile_without_version(tmp_path: Path) -> None:
    tree = support.reduced_copy(tmp_path)
    (tree / "Makefile").write_text("VERSION = six\n")
    assert "cannot read the kernel's version" in refused(tree)


def test_defconfig_names() -> None:
    tree = KernelTree.open(support.REDUCED)
    assert tree.defconfig("arm", "multi_v7_defconfig").name == "multi_v7_defconfig"
    assert tree.defconfig("arm", "multi_v7").name == "multi_v7_defconfig"
    assert tree.defconfig("arm", "defconfig").name == "multi_v7_defconfig"
    assert tree.defconfig("arm64", "defconfig").name == "defconfig"
    with pytest.raises(UserError, match="did you mean multi_v7_defconfig"):
        tree.defconfig("arm", "multi_v8_defconfig")
