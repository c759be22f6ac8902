"""Kernel sources with patches on top: the tree itself is never written to."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.build.patched import digest, patched_tree
from kdumpbuild.errors import UserError
from kdumpbuild.kconfig.tree import KernelTree
from tests.kernel import support

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("patch") is None, reason="no patch")

PATCH = """A reason.
---
--- a/init/main.c
+++ b/init/main.c
@@ -1 +1 @@
-int before;
+int after;
--- /dev/null
+++ b/init/new.c
@@ -0,0 +1 @@
+int new;
"""


@pytest.fixture
def tree(tmp_path: Path) -> KernelTree:
    path = support.reduced_copy(tmp_path)
    (path / "init/main.c").write_text("int before;\n")
    return KernelTree.open(path)


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    path = tmp_path / "mine.patch"
    path.write_text(PATCH)
    return path


def content(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in sorted(path.rglob("*")) if p.is_file()}


def test_no_patch_is_the_tree_itself(tree: KernelTree, tmp_path: Path) -> None:
    assert patched_tree(tree, "1", [], tmp_path / "cache") is tree
    assert digest([]) == ""
    assert not (tmp_path / "cache").exists()


def test_the_copy_has_the_patch_and_the_tree_has_not(tree: KernelTree, patch: Path, tmp_path: Path) -> None:
    before = content(tree.path)
    copy = patched_tree(tree, "1", [patch], tmp_path / "cache")
    assert content(tree.path) == before
    assert (copy.path / "init/main.c").read_text() == "int after;\n"
    assert (copy.path / "init/new.c").read_text() == "int new;\n"
    assert (copy.path / "init/Kconfig").read_text() == (tree.path / "init/Kconfig").read_text()
    assert (copy.path / "arch").is_symlink()
    assert not (copy.path / "init").is_symlink()
    assert copy.version == tree.version


def test_it_is_made_once_and_again_when_something_changed(tree: KernelTree, patch: Path, tmp_path: Path) -> None:
    copy = patched_tree(tree, "1", [patch], tmp_path / "cache").path
    first = (copy / "init/main.c").stat().st_ino
    assert (patched_tree(tree, "1", [patch], tmp_path / "cache").path / "init/main.c").stat().st_ino == first
    (tree.path / "init/main.c").write_text("int before;\nint more;\n")
    assert "more" not in (copy / "init/main.c").read_text()
    again = patched_tree(tree, "2", [patch], tmp_path / "cache")
    assert (again.path / "init/main.c").read_text() == "int after;\nint more;\n"
    patch.write_text(PATCH.replace("int after", "int other"))
    other = patched_tree(tree, "2", [patch], tmp_path / "cache")
    assert other.path != again.path
    assert "other" in (other.path / "init/main.c").read_text()


def test_a_patch_that_does_not_apply_leaves_nothing(tree: KernelTree, patch: Path, tmp_path: Path) -> None:
    (tree.path / "init/main.c").write_text("int different;\n")
    with pytest.raises(UserError, match="does not apply to Linux") as caught:
        patched_tree(tree, "1", [patch], tmp_path / "cache")
    assert caught.value.faults[0].where == str(patch)
    assert "production.patches" in caught.value.faults[0].hint
    assert list((tmp_path / "cache/patched").iterdir()) == []


def test_a_patch_that_leads_out_of_the_tree_is_refused(tree: KernelTree, patch: Path, tmp_path: Path) -> None:
    patch.write_text(PATCH.replace("init/main.c", "../outside.c"))
    (tmp_path / "outside.c").write_text("int before;\n")
    with pytest.raises(UserError, match="leads out of the kernel tree"):
        patched_tree(tree, "1", [patch], tmp_path / "cache")
    assert (tmp_path / "outside.c").read_text() == "int before;\n"


def test_shipped_patches_say_what_they_are_for() -> None:
    shipped = sorted(resources.PATCHES.glob("*.patch"))
    assert shipped
    for path in shipped:
        reason = path.read_text(encoding="utf-8").partition("\n---\n")[0]
        assert len(reason) > 300
        assert "Applies to Linux 5.10, 6.1, 6.12 and 7.2." in reason
