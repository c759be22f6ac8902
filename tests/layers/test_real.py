"""The layers in real BitBake and Buildroot, where the caller has them.

    BITBAKEDIR=…/bitbake OECORE=…/openembedded-core pytest tests/layers/test_real.py
    BR2_DIR=…/buildroot pytest tests/layers/test_real.py

Nothing of them is fetched. BitBake runs with the build machine's own tools (meta-hosttools/conf/hosttools.conf);
Debian's kernel source is the product's kernel. KDUMPBUILD_BUILT is an OUT in which `doit build` has built the boards:
its production kernels are given to BitBake, and the capture kernels alone are compiled. BR2_FRAGMENTS is a folder
with arm.config and arm64.config, parts of Buildroot's .config, and local.mk: a toolchain and sources that are there,
for a whole build, and a fakeroot for its file system. The tests that compile kernels have the marker ``boot``.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import doit
import pytest
import yaml

import kdumpbuild
from kdumpbuild.board.arch import ARCHES
from kdumpbuild.build import source
from kdumpbuild.build.userland import default_root
from kdumpbuild.errors import UserError
from tests.layers.support import EXTERNAL, INSTALLED, META, REPOSITORY
from tests.layers.test_meta import variable

if TYPE_CHECKING:
    from collections.abc import Sequence

BITBAKEDIR, OECORE, BUILT, BR2_DIR, BR2_FRAGMENTS = (
    Path(value) if (value := os.environ.get(name)) else None
    for name in ("BITBAKEDIR", "OECORE", "KDUMPBUILD_BUILT", "BR2_DIR", "BR2_FRAGMENTS")
)
HOSTTOOLS = REPOSITORY / "tests" / "layers" / "meta-hosttools"
MACHINES = {"arm": "qemuarm", "arm64": "qemuarm64"}

needs_bitbake = pytest.mark.skipif(
    BITBAKEDIR is None or OECORE is None, reason="BITBAKEDIR and OECORE do not say where bitbake and oe-core are"
)
needs_buildroot = pytest.mark.skipif(BR2_DIR is None, reason="BR2_DIR does not say where Buildroot is")


class Yocto:
    """A build folder in host-tools mode."""

    def __init__(self, folder: Path, arch: str) -> None:
        self.folder = folder
        self.arch = arch
        self.sysroot = userland(arch)
        self.machine = MACHINES[arch]
        (folder / "conf").mkdir(parents=True)

    def configure(self, *lines: str, layers: Sequence[Path] = (META,)) -> None:
        given = [OECORE / "meta" if OECORE else "", HOSTTOOLS, *layers]
        (self.folder / "conf" / "bblayers.conf").write_text(
            'BBPATH = "${TOPDIR}"\nBBFILES ?= ""\n' + f'BBLAYERS = "{" ".join(map(str, given))}"\n', encoding="utf-8"
        )
        text = [f'MACHINE = "{self.machine}"', 'CONF_VERSION = "2"', *self.settings(), *lines]
        (self.folder / "conf" / "local.conf").write_text("\n".join(text) + "\n", encoding="utf-8")

    def settings(self) -> list[str]:
        """Return what makes it a build in host-tools mode, without the network."""
        return [
            'BB_NO_NETWORK = "1"', 'CONNECTIVITY_CHECK_URIS = ""',
            'SANITY_TESTED_DISTROS = ""', 'INHERIT:remove = "uninative"', "require conf/hosttools.conf",
            f'KDUMP_COMMAND = "{Path(sys.executable).parent}/kdumpbuild"',
            f'HOSTTOOLS_FRAGMENTS = "{REPOSITORY}/kdumpbuild/fragments"',
            f'HOSTTOOLS_KERNEL_SRC = "{source.locate(None, self.folder).given}"',
            'PREFERRED_PROVIDER_virtual/kernel = "linux-hosttools"',
            # BitBake does not want to be root, and takes its files for the build machine's; CI often is.
            *(['INHERIT:remove = "sanity"', 'ERROR_QA:remove = "host-user-contaminated"',
               'WARN_QA:remove = "host-user-contaminated"'] if os.geteuid() == 0 else []),
        ]  # fmt: skip

    def bitbake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        assert BITBAKEDIR
        env = {
            "PATH": f"{BITBAKEDIR}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "en_US.UTF-8", "BBPATH": str(self.folder),
            "BUILDDIR": str(self.folder),
            # The name of root's is in every kernel, and would be taken for a path of the build machine.
            "HOME": str(self.folder / "home"),
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, str(BITBAKEDIR / "bin" / "bitbake"), *arguments],
            cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    def deployed(self) -> Path:
        (folder,) = self.folder.glob(f"tmp*/deploy/images/{self.machine}")
        return folder


def workdir(build: Path, recipe: str) -> Path:
    """Return the folder in which BitBake worked on a recipe."""
    (folder,) = (path for tmp in build.glob("tmp*") for path in (tmp / "work").glob(f"*/{recipe}/*"))
    return folder


@pytest.fixture(scope="module", params=MACHINES)
def yocto(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Yocto:
    return Yocto(tmp_path_factory.mktemp("yocto") / "build", request.param)


def userland(arch: str) -> Path:
    """Return the target's programs: those of Debian, where a build of ours left them."""
    cache = Path(os.environ.get("KDUMPBUILD_CACHE", Path.home() / ".cache" / "kdumpbuild"))
    root = default_root(cache, ARCHES[arch])
    if not root.is_dir():
        pytest.skip(f"no userland in {root}: ./doit userland:{arch} makes it")
    try:
        source.locate(None, cache)
    except UserError as error:
        pytest.skip(str(error))
    return root


def asked(yocto: Yocto, *more: str, board: str | None = None) -> None:
    name = f"{yocto.arch}-virt" if board is None else board
    yocto.configure(
        'INHERIT += "kdump"', f'KDUMP_BOARD = "{name}"', f'KDUMP_SYSROOT = "{yocto.sysroot}"', *more,
    )  # fmt: skip


@needs_bitbake
@pytest.mark.kernel
def test_the_product_s_kernel_is_made_ready(yocto: Yocto) -> None:
    asked(yocto)
    done = yocto.bitbake("-c", "configure", "virtual/kernel")
    assert done.returncode == 0, done.stdout
    work = workdir(yocto.folder, "linux-hosttools")
    text = (work / "build" / ".config").read_text(encoding="utf-8")
    kexec = {"arm": "CONFIG_KEXEC=y", "arm64": "CONFIG_KEXEC_FILE=y"}[yocto.arch]
    for line in (kexec, "CONFIG_PANIC_ON_OOPS=y", "CONFIG_MAGIC_SYSRQ=y"):
        assert f"\n{line}\n" in text
    assert kexec not in (work / "kdump-before.config").read_text(encoding="utf-8")


@needs_bitbake
@pytest.mark.kernel
def test_a_board_with_a_device_tree_of_the_kernel_s_source(yocto: Yocto) -> None:
    """Its drivers are derived from that tree, which dtc compiles."""
    asked(yocto, board={"arm": "imx6q-sabrelite", "arm64": "imx8mp-evk"}[yocto.arch])
    done = yocto.bitbake("-c", "configure", "virtual/kernel")
    assert done.returncode == 0, done.stdout
    (derived,) = (workdir(yocto.folder, "linux-hosttools") / "kdump-production").rglob("derived-capture.config")
    assert "CONFIG_MMC_SDHCI_ESDHC_IMX=y\n" in derived.read_text(encoding="utf-8")


@needs_bitbake
@pytest.mark.kernel
def test_an_option_that_cannot_hold_ends_do_configure_with_the_reason(yocto: Yocto, tmp_path: Path) -> None:
    board = (REPOSITORY / "kdumpbuild" / "boards" / f"{yocto.arch}-virt.toml").read_text(encoding="utf-8")
    ours = board.replace('"virt-pci"]', '"virt-pci", "ours.config"]', 1)
    assert ours != board
    (tmp_path / "gateway.toml").write_text(ours, encoding="utf-8")
    (tmp_path / "ours.config").write_text("# For our tools.\nCONFIG_X86_64=y\n", encoding="utf-8")
    asked(yocto, board=str(tmp_path / "gateway.toml"))
    done = yocto.bitbake("-c", "configure", "virtual/kernel")
    assert done.returncode != 0
    # BitBake shows the log of a failed task only where the task asks for it.
    assert "kdumpbuild says why at the end of the log" in done.stdout
    assert "ours.config:2: CONFIG_X86_64=y did not take effect" in done.stdout, done.stdout


@needs_bitbake
@pytest.mark.parametrize(
    ("board", "told"),
    [
        ("arm-vrit", 'KDUMP_BOARD = "arm-vrit": there is no such board file'),
        ("OTHER", "is a board with arch = "),
        ("", "KDUMP_BOARD is not set"),
    ],
)
def test_a_wrong_board_is_told_while_recipes_are_parsed(yocto: Yocto, board: str, told: str) -> None:
    other = next(arch for arch in MACHINES if arch != yocto.arch)
    asked(yocto, board=board.replace("OTHER", f"{other}-virt"))
    done = yocto.bitbake("-n", "kdump-image")
    assert done.returncode != 0
    assert told in done.stdout


@needs_bitbake
def test_a_folder_that_is_not_there_is_told_while_recipes_are_parsed(yocto: Yocto, tmp_path: Path) -> None:
    for name in ("KDUMP_SYSROOT", "KDUMP_KERNEL_BUILD"):
        folder = tmp_path / name
        asked(yocto, f'{name} = "{folder}"')
        done = yocto.bitbake("-n", "kdump-image")
        assert done.returncode != 0
        assert f'{name} = "{folder}": there is no such folder' in done.stdout
        folder.mkdir()
        assert yocto.bitbake("-n", "kdump-image").returncode == 0
        asked(yocto, f'{name} = "kdump"')
        done = yocto.bitbake("-n", "kdump-image")
        # BitBake puts the value in place of ${TOPDIR}.
        assert f'{name} = "kdump" is a relative path; begin it with {yocto.folder}/' in done.stdout


@needs_bitbake
def test_a_board_file_that_appears_is_seen(yocto: Yocto, tmp_path: Path) -> None:
    board = tmp_path / "gateway.toml"
    asked(yocto, board=str(board))
    done = yocto.bitbake("-n", "kdump-image")
    assert f'KDUMP_BOARD = "{board}": there is no such board file' in done.stdout
    shutil.copy(REPOSITORY / "kdumpbuild" / "boards" / f"{yocto.arch}-virt.toml", board)
    done = yocto.bitbake("-n", "kdump-image")
    assert done.returncode == 0, done.stdout


@needs_bitbake
def test_a_capture_kernel_chosen_as_the_product_s_is_told(yocto: Yocto) -> None:
    asked(yocto, 'PREFERRED_PROVIDER_virtual/kernel:forcevariable = "linux-capture-hosttools"')
    done = yocto.bitbake("-n", "kdump-image")
    assert done.returncode != 0
    assert "is the capture kernel linux-capture-hosttools; choose the kernel that the product runs" in done.stdout
    asked(yocto)
    assert yocto.bitbake("-n", "linux-capture-hosttools").returncode == 0


MODULE = re.compile(r"/python\$\{PYTHON_MAJMIN\}/(?:lib-dynload/)?(\w+)(?:\.|/|$)")


def manifest() -> dict[str, dict[str, Any]]:
    """Return OpenEmbedded's packages of Python's own library. Its file is JSON with comments."""
    assert OECORE
    path = OECORE / "meta/recipes-devtools/python/python3/python3-manifest.json"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if not line.startswith("#")]
    found: dict[str, dict[str, Any]] = json.loads("".join(lines))
    return found


def imported(folder: Path) -> set[str]:
    """Return the modules of Python's own library that a package imports."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names & (sys.stdlib_module_names - set(sys.builtin_module_names))


@needs_bitbake
@pytest.mark.parametrize(
    ("recipe", "folder"), [("kdumpbuild", Path(kdumpbuild.__file__).parent), ("doit", Path(doit.__file__).parent)]
)
def test_recipes_need_the_packages_that_hold_what_is_imported(recipe: str, folder: Path) -> None:
    """OpenEmbedded splits Python's library; what is missing is missed only on the target and in an SDK."""
    packages = manifest()
    # The parser keeps the ends of lines as a character of its own.
    asked = set(re.findall(r"python3-([\w-]+)", variable(f"python3-{recipe}_*.bb", "RDEPENDS")))
    own = {name for name in asked if not list(META.rglob(f"python3-{name}_*.bb"))}
    outside = own - packages.keys()
    assert outside <= {"jinja2", "kconfiglib", "pyelftools", "rich"}, f"no such packages of Python: {outside}"
    have, queue = set(), ["core", *(asked & packages.keys())]
    while queue:
        if (name := queue.pop()) not in have:
            have.add(name)
            queue += packages[name]["rdepends"]
    files = [(file, name) for name, package in packages.items() for file in package["files"]]
    place = {m[1]: name for file, name in files if (m := MODULE.search(file))}
    missing = {module: place[module] for module in imported(folder) if place.get(module, "core") not in have}
    assert not missing


def signatures(yocto: Yocto, target: str, *tasks: str) -> dict[str, str]:
    """Return the signatures of a recipe's tasks."""
    done = yocto.bitbake("-S", "lockedsigs", target)
    assert done.returncode == 0, done.stdout
    text = (yocto.folder / "locked-sigs.inc").read_text(encoding="utf-8")
    found = dict(re.findall(rf"{target}:(\w+):(\w+)", text))
    return {task: found[task] for task in tasks} if tasks else found


@needs_bitbake
def test_what_a_board_file_says_and_names_is_an_input_and_where_it_is_is_none(yocto: Yocto, tmp_path: Path) -> None:
    shipped = (REPOSITORY / "kdumpbuild" / "boards" / f"{yocto.arch}-virt.toml").read_text(encoding="utf-8")
    named = shipped.replace("[capture]\n", "[capture]\n# 'sub/mine.config'\n", 1)

    def found(place: str, crashkernel: str = "24M", fragment: str = "") -> dict[str, str]:
        folder = tmp_path / place
        (folder / "sub").mkdir(parents=True, exist_ok=True)
        (folder / "sub" / "mine.config").write_text(fragment, encoding="utf-8")
        text = named.replace("[memory]\n", f"[memory]\ncrashkernel = '{crashkernel}'\n", 1)
        (folder / "gateway.toml").write_text(text, encoding="utf-8")
        asked(yocto, board=str(folder / "gateway.toml"))
        kernel = signatures(yocto, "linux-hosttools", "do_configure")
        return {**kernel, **signatures(yocto, "kdump-image", "do_compile")}

    first = found("a")
    assert found("b") == first
    assert found("b", fragment="CONFIG_X=y\n") != first
    size = found("b", crashkernel="28M")
    assert size != first
    assert found("b", crashkernel="28M") == size


@needs_bitbake
def test_a_machine_without_a_board_is_built_as_without_us(yocto: Yocto) -> None:
    yocto.configure()
    alone = signatures(yocto, "linux-hosttools")
    yocto.configure('INHERIT += "kdump"')
    assert signatures(yocto, "linux-hosttools", "do_configure") == {"do_configure": alone["do_configure"]}


@needs_bitbake
def test_a_kernel_whose_source_is_somewhere_else_is_found(yocto: Yocto, tmp_path: Path) -> None:
    """With externalsrc the kernel has no task that patches."""
    (tmp_path / "linux").mkdir()
    asked(yocto, 'INHERIT += "externalsrc"', f'EXTERNALSRC:pn-linux-hosttools = "{tmp_path}/linux"')
    done = yocto.bitbake("-n", "kdump-image")
    assert done.returncode == 0, done.stdout


@needs_bitbake
def test_without_the_class_it_is_told_that_it_is_missing(yocto: Yocto) -> None:
    yocto.configure('KDUMP_BOARD = "arm-virt"')
    done = yocto.bitbake("-n", "kdump-image")
    assert done.returncode != 0
    assert 'INHERIT += "kdump" is missing' in done.stdout


@needs_bitbake
def test_being_there_changes_no_task_of_the_product(yocto: Yocto) -> None:
    found = []
    for layers in ((), (META,)):
        yocto.configure(layers=layers)
        found.append(signatures(yocto, "linux-hosttools"))
    assert len(found[0]) > 10
    assert found[0] == found[1]


@needs_bitbake
def test_kas_builds_with_our_files(yocto: Yocto, tmp_path: Path) -> None:
    """What somebody's own kas file says of ours: it includes it. Its repositories are here already."""
    here: dict[str, Any] = {"url": None, "branch": None}
    document = {
        "header": {
            "version": 14,
            "includes": [{"repo": "kdumpbuild", "file": f"layers/meta-kdumpbuild/kas/{yocto.machine}.yml"}],
        },
        "repos": {
            "kdumpbuild": {"path": str(REPOSITORY), "layers": {str(HOSTTOOLS.relative_to(REPOSITORY)): None}},
            "bitbake": {**here, "path": str(BITBAKEDIR)},
            "openembedded-core": {**here, "path": str(OECORE)},
            # meta-hosttools stands for these layers.
            "meta-openembedded": {
                **here, "path": str(HOSTTOOLS), "layers": {"meta-oe": "disabled", "meta-python": "disabled"},
            },
        },
        "local_conf_header": {"hosttools": "\n".join(yocto.settings()) + "\n"},
        "target": "virtual/kernel",
        "task": "configure",
    }  # fmt: skip
    path = tmp_path / "product.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    env = {**os.environ, "KAS_WORK_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "kas", "build", str(path)], cwd=tmp_path, env=env, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    config = workdir(tmp_path / "build", "linux-hosttools") / "build" / ".config"
    assert "\nCONFIG_CRASH_DUMP=y\n" in config.read_text(encoding="utf-8")


def board_of(arch: str, kind: str, folder: Path) -> str:
    """Return the board that is shipped, or a file for one like it whose capture system runs from its own partition."""
    name = f"{arch}-virt"
    if kind == "initramfs":
        return name
    text = (REPOSITORY / "kdumpbuild" / "boards" / f"{name}.toml").read_text(encoding="utf-8")
    rooted = text.replace("[capture]", '[capture]\nroot = "/dev/vda1"').replace('"/dev/vda"', '"/dev/vda2"')
    assert rooted.count("/dev/vda") == 2
    (folder / "gateway.toml").write_text(rooted, encoding="utf-8")
    return str(folder / "gateway.toml")


KINDS = ("initramfs", "root")
"""Where the capture system comes from."""


@needs_bitbake
@pytest.mark.boot
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", MACHINES)
def test_the_image_set_is_built_packaged_deployed_and_captures(arch: str, kind: str, tmp_path: Path) -> None:
    yocto = Yocto(tmp_path / "build", arch)
    board = board_of(arch, kind, tmp_path)
    built = BUILT / "work" / f"{arch}-virt" / "kernel-production" if BUILT else None
    asked(yocto, f'KDUMP_KERNEL_BUILD = "{built}"' if built else "", board=board)
    done = yocto.bitbake("kdump-image")
    assert done.returncode == 0, done.stdout
    made = yocto.deployed() / "kdump"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made, check=True)
    manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
    production = built or yocto.deployed() / "kdump-production"
    assert manifest["board"] == Path(board).stem
    assert (made / "debug" / "vmlinux").read_bytes() == (production / "vmlinux").read_bytes()
    assert b"KDUMP_RELEASE=''" not in (made / "kdump-load.conf").read_bytes()
    packages = workdir(yocto.folder, "kdump-image") / "packages-split"
    split = {}
    for name in ("kdump-image", "kdump-image-collect"):
        split[name] = {path.name for path in (packages / name).rglob("*") if not path.is_dir()}
    assert {ARCHES[arch].image, "kdump-load", "kdump-load.conf", "60-kdump.conf"} <= split["kdump-image"]
    # The init system that the series has by default: SysV's script, or since wrynose systemd's unit.
    assert len(split["kdump-image"] & {"kdump", "kdump.service"}) == 1
    assert {"kdump-collect", "kdump-collect.conf", "kdump-ctl"} <= split["kdump-image-collect"]
    assert not split["kdump-image"] & split["kdump-image-collect"]
    installed = split["kdump-image"] | split["kdump-image-collect"]
    assert installed >= (INSTALLED if kind == "initramfs" else INSTALLED - {"initramfs.cpio.gz"})
    root = packages / "kdump-image" / "usr" / "lib" / "kdumpbuild" / "capture-root"
    assert root.is_dir() is (kind == "root")
    if kind == "root":
        sums_hold(root)
    captures(board, made, tmp_path)


def sums_hold(root: Path) -> None:
    """What the loader verifies: nothing stripped a program of the capture system, or took one away."""
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=root, check=True)
    assert os.access(root / "init", os.X_OK)
    assert (root / "bin" / "busybox").is_file()


def captures(board: str, image_set: Path, folder: Path) -> None:
    """Crash a set that was made elsewhere."""
    command = [sys.executable, "-m", "kdumpbuild", "doit", "crashtest", f"BOARD={board}", f"IMAGE_SET={image_set}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"PASS  {Path(board).stem} sysrq" in done.stdout


def buildroot(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert BR2_DIR
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "BR2_", "KDUMPBUILD"))}
    return subprocess.run(
        ["make", "-C", str(BR2_DIR), f"BR2_EXTERNAL={EXTERNAL}", f"O={out}", *arguments],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


@needs_buildroot
def test_files_are_in_buildroot_s_style() -> None:
    assert BR2_DIR
    names = [path for folder in ("package", "configs") for path in (EXTERNAL / folder).rglob("*") if path.is_file()]
    names += [EXTERNAL / name for name in ("Config.in", "external.mk", "external.desc")]
    done = subprocess.run(
        [sys.executable, str(BR2_DIR / "utils" / "check-package"), "-b", *map(str, names)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@needs_buildroot
@pytest.mark.parametrize("name", ["kdump_qemu_arm_defconfig", "kdump_qemu_arm64_defconfig"])
def test_a_defconfig_gives_what_it_says(name: str, tmp_path: Path) -> None:
    done = buildroot(tmp_path / "o", name)
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "o" / ".config").read_text(encoding="utf-8")
    for line in (EXTERNAL / "configs" / name).read_text(encoding="utf-8").splitlines():
        assert line in config
    for line in ("BR2_PACKAGE_KEXEC=y", "BR2_PACKAGE_MAKEDUMPFILE=y"):
        assert line in config
    done = buildroot(tmp_path / "o", "kdumpbuild-show-info")
    assert done.returncode == 0, done.stderr
    info = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
    needed = {"linux", "busybox", "kexec", "makedumpfile", "host-python-kdumpbuild"}
    assert needed <= set(info["kdumpbuild"]["dependencies"])


@needs_buildroot
def test_a_wrong_board_stops_the_build_at_once(tmp_path: Path) -> None:
    assert buildroot(tmp_path / "o", "kdump_qemu_arm_defconfig").returncode == 0
    config = tmp_path / "o" / ".config"
    config.write_text(config.read_text(encoding="utf-8").replace('"arm-virt"', '"arm-vrit"'), encoding="utf-8")
    done = buildroot(tmp_path / "o", "kdumpbuild")
    assert done.returncode != 0
    assert "there is no board file arm-vrit" in done.stderr


@needs_buildroot
@pytest.mark.boot
@pytest.mark.skipif(BR2_FRAGMENTS is None, reason="BR2_FRAGMENTS does not name a toolchain and sources that are there")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("arch", MACHINES)
def test_buildroot_builds_and_installs_a_set_that_captures(arch: str, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "o"
    board = board_of(arch, kind, tmp_path)
    assert buildroot(out, f"kdump_qemu_{arch}_defconfig").returncode == 0
    assert BR2_FRAGMENTS
    with (out / ".config").open("a", encoding="utf-8") as config:
        config.write((BR2_FRAGMENTS / f"{arch}.config").read_text(encoding="utf-8"))
        config.write(f'BR2_PACKAGE_KDUMPBUILD_BOARD="{board}"\n')
    shutil.copy(BR2_FRAGMENTS / "local.mk", out)
    assert buildroot(out, "olddefconfig").returncode == 0
    done = buildroot(out, "kdumpbuild")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    made = out / "images" / "kdump"
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made, check=True)
    own = out / "per-package" / "kdumpbuild" / "target"
    target = own if own.is_dir() else out / "target"
    installed = {path.name for path in (target / "usr" / "lib" / "kdumpbuild").iterdir()}
    assert installed == {ARCHES[arch].image, *INSTALLED} - ({"initramfs.cpio.gz"} if kind == "root" else set())
    if kind == "root":
        # It comes into the file system when that is made, behind Buildroot's stripping.
        done = buildroot(out, "rootfs-tar")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        unpack = ["tar", "-C", str(tmp_path), "-xf", str(out / "images" / "rootfs.tar"), "./usr/lib/kdumpbuild"]
        subprocess.run(unpack, check=True)
        sums_hold(tmp_path / "usr" / "lib" / "kdumpbuild" / "capture-root")
    for name in ("S10kdump", "S11kdump-collect"):
        assert os.access(target / "etc" / "init.d" / name, os.X_OK)
    assert (target / "usr" / "sbin" / "kdump-ctl").is_file()
    captures(board, made, tmp_path)
