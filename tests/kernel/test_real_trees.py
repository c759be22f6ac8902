"""Real kernel trees: the .config that we write is, byte for byte, the one that the kernel's own conf writes.

Set KDUMPBUILD_KERNELS to a folder with unpacked trees; ``python -m tests.kernel.fetch FOLDER`` fills one from
Debian's packages. Needs the cross compilers, since Kconfig asks them. KDUMPBUILD_ALL_DEFCONFIGS=1 takes every defconfig
of each tree instead of ten (an hour or more).
"""

from __future__ import annotations

import functools
import os
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.build.patched import patched_tree
from kdumpbuild.kconfig import KernelKconfig, KernelTree, Toolchain, load_config, read_fragment, resolve
from kdumpbuild.kconfig.explain import explain
from kdumpbuild.kconfig.minimal import minimal
from kdumpbuild.run import environment, run
from tests.kernel import support

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.kernel

PRODUCTION = ("production", "production-{arch}")
PANIC = ("panic-soft-lockup", "panic-hard-lockup", "panic-hung-task", "panic-workqueue-stall")
LOGS = ("log-ramoops", "log-mtdoops", "log-netconsole", "log-serial")
VIRT_PRODUCTION = (*PRODUCTION, *PANIC, *LOGS, "product", "virt", "virt-pci")
CAPTURE = ("capture", "capture-{arch}", "capture-ext4", "capture-virt")
FUZZED = 3
"""Random configs for each tree and architecture."""


@dataclass(frozen=True)
class Kernel:
    """A tree and an architecture, and a build folder for the kernel's own conf."""

    kconfig: KernelKconfig
    out: Path

    @property
    def arch(self) -> str:
        return self.kconfig.toolchain.arch

    def make(self, target: str, **variables: str) -> None:
        tree = self.kconfig.tree.path
        arguments = [*self.kconfig.toolchain.make_variables(), *(f"{k}={v}" for k, v in variables.items())]
        run(["make", "-s", "-C", tree, f"O={self.out}", *arguments, target], what=f"make {target}")

    def config(self) -> str:
        return (self.out / ".config").read_text()

    def olddefconfig(self, text: str) -> str:
        (self.out / ".config").write_text(text)
        self.make("olddefconfig")
        return self.config()


@functools.cache
def _parsed(tree: Path, arch: str) -> KernelKconfig:
    return KernelKconfig(KernelTree.open(tree), Toolchain(arch, ARCHES[arch].cross_compile))


FOUND: list[tuple[Path, str] | None] = [(tree, arch) for tree in support.real_trees() for arch in ARCHES]


@pytest.fixture(
    scope="module",
    params=FOUND or [None],
    ids=lambda found: f"{found[0].name}-{found[1]}" if found else "no-trees",
)
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    if request.param is None:
        pytest.skip(f"no kernel trees: fetch some with `python -m tests.kernel.fetch FOLDER`, set {support.KERNELS}")
    tree, arch = request.param
    out = tmp_path_factory.mktemp("out")
    yield Kernel(_parsed(tree, arch), out)
    shutil.rmtree(out)


def defconfigs(kernel: Kernel) -> list[str]:
    """Return allnoconfig and the defconfigs that products of this architecture begin with, or all there are."""
    folder = kernel.kconfig.tree.path / "arch" / kernel.arch / "configs"
    if os.environ.get("KDUMPBUILD_ALL_DEFCONFIGS"):
        return ["allnoconfig", *sorted(path.name for path in folder.glob("*defconfig"))]
    wanted = ("bcm2835", "imx_v6_v7", "multi_v7", "omap2plus", "sunxi", "at91_dt", "stm32", "aspeed_g5")
    return ["allnoconfig", "defconfig", *(f"{n}_defconfig" for n in wanted if (folder / f"{n}_defconfig").exists())]


def fragments(kernel: Kernel, names: tuple[str, ...]) -> list[str]:
    return [name.format(arch=kernel.arch) for name in names]


def test_defconfigs(kernel: Kernel) -> None:
    differing = []
    for name in defconfigs(kernel):
        ours = resolve(kernel.kconfig, name, []).config_text
        kernel.make(name)
        differing += [name] if ours != kernel.config() else []
    assert not differing


@pytest.mark.parametrize(
    ("base", "names"),
    [("allnoconfig", VIRT_PRODUCTION), ("allnoconfig", CAPTURE), ("defconfig", PRODUCTION)],
    ids=["production", "capture", "defconfig"],
)
def test_shipped_fragments(kernel: Kernel, base: str, names: tuple[str, ...]) -> None:
    """Every line takes effect; olddefconfig has nothing to change; merge_config.sh comes to the same config."""
    files = [resources.FRAGMENTS / f"{name}.config" for name in fragments(kernel, names)]
    done = resolve(kernel.kconfig, base, [read_fragment(file) for file in files])
    done.check()
    assert kernel.olddefconfig(done.config_text) == done.config_text
    applied = kernel.out / "applied.config"
    applied.write_text("".join(f"{line.text}\n" for line in done.requested))
    kernel.make(base)
    if base == "allnoconfig":
        kernel.make(base, KCONFIG_ALLCONFIG=str(applied))
        assert kernel.config() == done.config_text
    else:
        assert kernel.olddefconfig(kernel.config() + applied.read_text()) == done.config_text


def test_random_configs(kernel: Kernel, tmp_path: Path) -> None:
    """Configs with lines lost, turned around, out of range and out of order."""
    for number in range(FUZZED):
        chance = random.Random(number)  # noqa: S311  # reproducible on purpose
        kernel.make("randconfig", KCONFIG_SEED=str(number), KCONFIG_PROBABILITY=chance.choice(("50", "20", "10:30")))
        lines = [damaged(line, chance) for line in kernel.config().splitlines() if chance.random() > number / 4]
        if number % 2:
            chance.shuffle(lines)
        text = "\n".join(lines) + "\n"
        (tmp_path / "in.config").write_text(text)
        kernel.kconfig.reset()
        load_config(kernel.kconfig, tmp_path / "in.config")
        assert kernel.kconfig.config_text() == kernel.olddefconfig(text), number


def damaged(line: str, chance: random.Random) -> str:
    if line.endswith("=y") and chance.random() < 0.03:
        return f"# {line[:-2]} is not set"
    if line.endswith(" is not set") and chance.random() < 0.03:
        return line.split()[1] + chance.choice(("=y", "=m"))
    name, _, value = line.partition("=")
    if value.isdigit() and chance.random() < 0.1:
        return f"{name}={chance.choice((0, 1, 1000000, int(value) + 1))}"
    return line


def test_minimal(kernel: Kernel, tmp_path: Path) -> None:
    """The smallest fragment, merged by merge_config.sh onto each defconfig, makes every requested line hold."""
    wanted = [read_fragment(resources.FRAGMENTS / f"{name}.config") for name in fragments(kernel, PRODUCTION)]
    script = kernel.kconfig.tree.path / "scripts/kconfig/merge_config.sh"
    for name in defconfigs(kernel)[1:]:
        kernel.make(name)
        product = tmp_path / "product.config"
        product.write_text(kernel.config())
        done = minimal(kernel.kconfig, product, wanted)
        if kernel.arch == "arm" and "CONFIG_MMU=y" not in product.read_text():
            # Cortex-M and ARM7 have no MMU, and kexec needs one. Turning it on would make another product.
            assert [unmet.line.symbol for unmet in done.unmet if unmet.kind == "dependency"], name
            continue
        done.check()
        fragment = tmp_path / "kdump.cfg"
        fragment.write_text(done.text)
        # Merge only; then the tree's own olddefconfig, as Yocto and Buildroot do.
        run(["sh", script, "-m", "-O", kernel.out, product, fragment], what="merge", cwd=tmp_path, env=environment())
        merged = kernel.olddefconfig(kernel.config())
        assert merged == done.resolution.config_text, name


def test_explain_never_fails(kernel: Kernel) -> None:
    resolve(kernel.kconfig, "defconfig", [])
    names = [sym.name for sym in kernel.kconfig.unique_defined_syms]
    for name in random.Random(1).sample(names, 150):  # noqa: S311
        assert explain(kernel.kconfig, name).startswith(f"CONFIG_{name} is ")


def test_golden_files_of_the_reduced_tree(kernel: Kernel, tmp_path: Path) -> None:
    if kernel.kconfig.tree.version < (7, 2):
        pytest.skip("the reduced tree speaks the language of Linux 7.2")
    kernel.make("allnoconfig")
    for case in support.cases():
        folder = tmp_path / case.path.stem
        folder.mkdir()
        assert support.run_conf(kernel.out / "scripts/kconfig/conf", case, folder) == case.golden.read_text(), case


def test_shipped_patches_apply(kernel: Kernel, tmp_path: Path) -> None:
    for patch in sorted(resources.PATCHES.glob("*.patch")):
        copy = patched_tree(kernel.kconfig.tree, "", [patch], tmp_path)
        touched = [path for path in copy.path.rglob("*.c") if not path.is_symlink()]
        assert touched
        for path in touched:
            assert path.read_bytes() != (kernel.kconfig.tree.path / path.relative_to(copy.path)).read_bytes()
            assert not path.with_suffix(".c.rej").exists()
