"""The br2-external tree without Buildroot: its makefile under real GNU make, its menu under kconfiglib."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import kconfiglib
import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.build import captureroot, cpio
from kdumpbuild.settings import VARIABLES
from tests.layers.support import EXTERNAL, INSTALLED, REPOSITORY

# As much of Buildroot as the makefile uses: functions that it calls are taken down word by word.
HARNESS = """
all:
host-python-kdumpbuild:
qstrip = $(strip $(subst ",,$(1)))
define sep


endef
SHARP_SIGN := \\#
RSYNC_VCS_EXCLUSIONS = --exclude .git
KCONFIG_ENABLE_OPT = enable:$(strip $(1))
KCONFIG_SET_OPT = set:$(strip $(1))=$(strip $(2))
KCONFIG_DISABLE_OPT = disable:$(strip $(1))
pkgname = $(notdir $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST)))))
generic-package = $(eval PACKAGES += $(pkgname))$(eval KDUMPBUILD_TARGET_BUILD = $(KDUMPBUILD_STAMP))
host-python-package = $(eval PACKAGES += $(pkgname))
TARGET_DIR = /o/target
HOST_DIR = /o/host
BINARIES_DIR = /o/images
LINUX_DIR = /o/build/linux-6.12
KERNEL_ARCH = arm
TARGET_CROSS = /o/host/bin/arm-linux-
TARGET_CC = /o/host/bin/arm-linux-gcc
HOSTCC = /usr/bin/gcc
INSTALL = install
PARALLEL_JOBS = 3
HOST_MAKE_ENV = PATH="/o/host/bin"
LINUX_KCONFIG_DEPENDENCIES = toolchain
KDUMPBUILD_STAMP = /o/build/kdumpbuild/.stamp_built
$(LINUX_DIR)/.stamp_dotconfig $(KDUMPBUILD_STAMP):
	$(info made $@)
	@touch $@
include $(BR2_EXTERNAL_KDUMPBUILD_PATH)/external.mk
@D = /o/build/kdumpbuild
all:
	$(info PACKAGES=$(strip $(PACKAGES)))
	$(info DEPENDENCIES=$(KDUMPBUILD_DEPENDENCIES))
	$(info ==build)
	$(info $(KDUMPBUILD_BUILD_CMDS))
	$(info ==target)
	$(info $(KDUMPBUILD_INSTALL_TARGET_CMDS))
	$(info ==rootfs)
	$(foreach hook,$(KDUMPBUILD_ROOTFS_PRE_CMD_HOOKS),$(info $($(hook))))
	$(info ==linux)
	$(info $(KDUMPBUILD_LINUX_CONFIG_FIXUPS))
	$(info ==shown)
	$(foreach name,$(SHOWN),$(info $($(name))))
	@:
"""


def make(folder: Path, *goals: str, **values: str) -> subprocess.CompletedProcess[str]:
    makefile = folder / "Makefile"
    makefile.write_text(HARNESS, encoding="utf-8")
    given = {
        "BR2_EXTERNAL_KDUMPBUILD_PATH": str(EXTERNAL), "BR2_PACKAGE_KDUMPBUILD": "y", "BR_BUILDING": "y",
        "BR2_PACKAGE_KDUMPBUILD_BOARD": '"arm-virt"', "BR2_PACKAGE_KDUMPBUILD_LINUX_OPTIONS": "y", **values,
    }  # fmt: skip
    return subprocess.run(
        ["make", "-s", "-f", str(makefile), *(f"{name}={value}" for name, value in given.items()), *goals],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def sections(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith("=="):
            name = line[2:]
            found[name] = []
        elif line.strip():
            found[name].append(line.strip())
    return found


def test_all_packages_are_made(tmp_path: Path) -> None:
    head = sections(make(tmp_path))[""]
    own = "python-doit python-kconfiglib python-kdumpbuild-rich python-kdumpbuild"
    assert f"PACKAGES=kdumpbuild {own}" in head


def value(folder: Path, name: str, **values: str) -> str:
    """Return a variable as make has it when all files are read."""
    return " ".join(sections(make(folder, SHOWN=name, **values))["shown"])


PYTHON_PACKAGES = sorted(path.parent.name for path in (EXTERNAL / "package").glob("python-*/*.mk"))


@pytest.mark.parametrize("package", PYTHON_PACKAGES)
def test_what_a_package_downloads_is_downloaded_and_known(package: str, tmp_path: Path) -> None:
    """Buildroot downloads nothing, whatever a package asks for, where its source is a folder."""
    prefix = package.upper().replace("-", "_")
    given = {
        name: value(tmp_path, f"{prefix}_{name}", PYTHON_JINJA2_SITE="https://pypi/packages/df/bf/f7da")
        for name in ("SITE", "SITE_METHOD", "SOURCE", "LICENSE_FILES")
    }
    hashes = (EXTERNAL / "package" / package / f"{package}.hash").read_text(encoding="utf-8")
    known = {line.split()[2]: line.split()[1] for line in hashes.splitlines() if not line.startswith("#")}
    wanted = {given["LICENSE_FILES"]}
    if given["SITE_METHOD"] == "local":
        for name in ("EXTRA_DOWNLOADS", "PATCH"):
            assert value(tmp_path, f"{prefix}_{name}") == value(tmp_path, f"HOST_{prefix}_{name}") == ""
        licence = (REPOSITORY / given["LICENSE_FILES"]).read_bytes()
        assert known[given["LICENSE_FILES"]] == hashlib.sha256(licence).hexdigest()
    else:
        assert given["SITE"].startswith("https://pypi/packages/source/")
        wanted.add(given["SOURCE"])
    assert known.keys() == wanted


def test_the_tool_has_every_python_package_that_it_needs(tmp_path: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=]", text)[0] for text in project["dependencies"]}
    asked = value(tmp_path, "HOST_PYTHON_KDUMPBUILD_DEPENDENCIES").split()
    assert {name.removeprefix("host-python-").removeprefix("kdumpbuild-") for name in asked} == needed


@pytest.mark.skipif(shutil.which("rsync") is None, reason="no rsync, without which Buildroot does not run")
def test_of_the_checkout_the_tool_is_copied_and_nothing_else(tmp_path: Path) -> None:
    """Buildroot takes this variable of the host package by that name alone, and legal-info asks for none."""
    checkout, build = tmp_path / "checkout", tmp_path / "build"
    used = ("kdumpbuild", "templates", "debian-packages.txt", "pyproject.toml", "README.md", "LICENSE")
    checkout.mkdir()
    for name in used:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, checkout / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, checkout / name)
    for name in (".venv/lib", "out/arm-virt", ".git", "my-out", "tests", "kdumpbuild/__pycache__"):
        (checkout / name).mkdir(parents=True)
        (checkout / name / "file").touch()
    for name in (".stamp_configured", "kdumpbuild/gone.py"):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).touch()
    options = value(tmp_path, "HOST_PYTHON_KDUMPBUILD_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS")
    command = f"rsync -au --chmod=u=rwX,go=rX {options} --exclude .git {checkout}/ {build}"
    subprocess.run(["sh", "-c", command], check=True)
    assert {path.name for path in build.iterdir()} == {*used, ".stamp_configured"}
    assert not [path for path in build.rglob("*") if not path.exists()]  # links to what was not copied
    had, copied = ({str(path.relative_to(top)) for path in top.glob("kdumpbuild/**/*")} for top in (checkout, build))
    assert copied == {name for name in had if "__pycache__" not in name}
    assert value(tmp_path, "PYTHON_KDUMPBUILD_REDISTRIBUTE") == "NO"


def test_the_kernel_s_own_host_folder_has_the_tool(tmp_path: Path) -> None:
    """With BR2_PER_PACKAGE_DIRECTORIES what is no dependency of linux is in another one."""
    own = "host-python-kdumpbuild"
    assert value(tmp_path, "LINUX_KCONFIG_DEPENDENCIES").split() == ["toolchain", own]
    for name, given in (("PACKAGE_KDUMPBUILD", ""), ("PACKAGE_KDUMPBUILD_LINUX_OPTIONS", ""),
                        ("PACKAGE_KDUMPBUILD_COMMAND", '"/opt/kdumpbuild"')):  # fmt: skip
        assert value(tmp_path, "LINUX_KCONFIG_DEPENDENCIES", **{f"BR2_{name}": given}) == "toolchain"


def test_what_a_board_may_take_from_the_target_is_there_before(tmp_path: Path) -> None:
    def needed(**values: str) -> set[str]:
        return set(value(tmp_path, "KDUMPBUILD_DEPENDENCIES", **values).split())

    both = {"BR2_PACKAGE_DROPBEAR": "y", "BR2_PACKAGE_MTD": "y"}
    assert needed(**both) - needed() == {"dropbear", "mtd"}
    assert not needed(**both, BR2_PACKAGE_KDUMPBUILD_SYSROOT=f'"{tmp_path}"') & {"dropbear", "mtd", "makedumpfile"}
    assert "host-dtc" in needed()


@pytest.mark.parametrize("shipped", [True, False])
def test_a_changed_board_file_makes_kernel_s_config_and_set_again(tmp_path: Path, shipped: bool) -> None:  # noqa: FBT001
    board = resources.BOARDS / "arm-virt.toml"
    given = "arm-virt"
    if not shipped:
        given = str(shutil.copy(board, tmp_path / "gateway.toml"))
        board = Path(given)
    stamps = [tmp_path / "linux/.stamp_dotconfig", tmp_path / "kdumpbuild/.stamp_built"]
    values = {
        "BR2_PACKAGE_KDUMPBUILD_BOARD": f'"{given}"', "LINUX_DIR": str(stamps[0].parent),
        "KDUMPBUILD_STAMP": str(stamps[1]),
    }  # fmt: skip

    def made(**others: str) -> list[str]:
        done = make(tmp_path, *map(str, stamps), **values, **others)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[1::2]

    changed = board.stat().st_mtime
    for stamp in stamps:
        stamp.parent.mkdir()
        stamp.touch()
        os.utime(stamp, (changed + 1, changed + 1))
    assert made() == []
    for stamp in stamps:
        os.utime(stamp, (changed - 1, changed - 1))
    assert made(BR2_PACKAGE_KDUMPBUILD="") == []
    assert made() == [str(stamp) for stamp in stamps]
    assert made() == []


def test_the_tool_is_given_all_by_name(tmp_path: Path) -> None:
    found = sections(make(tmp_path))
    (call,) = [line for line in found["build"] if " doit build " in line]
    names = set(re.findall(r" ([A-Z_]+)=", call.partition(" doit build")[2]))
    assert names == {
        "OFFLINE", "BOARD", "KERNEL_SRC", "KERNEL_BUILD", "CROSS_COMPILE", "KERNEL_CC", "HOSTCC", "SYSROOT", "OUT",
        "CACHE", "JOBS",
    }  # fmt: skip
    assert names <= VARIABLES.keys()
    assert "SYSROOT=/o/target " in call
    assert "/o/host/bin/kdumpbuild doit" in call
    assert "env -u MAKEFLAGS" in call
    assert "makedumpfile" in found[""][1]
    assert "host-python-kdumpbuild" in found[""][1]


def test_what_is_given_is_not_built(tmp_path: Path) -> None:
    found = sections(make(tmp_path, BR2_PACKAGE_KDUMPBUILD_SYSROOT=f'"{tmp_path}"',
                          BR2_PACKAGE_KDUMPBUILD_COMMAND='"/opt/kdumpbuild"'))  # fmt: skip
    assert found[""][1] == "DEPENDENCIES=linux busybox kexec"
    (call,) = [line for line in found["build"] if " doit build " in line]
    assert f"SYSROOT={tmp_path} " in call
    assert " /opt/kdumpbuild doit build " in call


@pytest.mark.parametrize(("arch", "values", "image"), [("arm", {}, "zImage"), ("arm64", {"BR2_aarch64": "y"}, "Image")])
def test_files_for_the_target(arch: str, values: dict[str, str], image: str, tmp_path: Path) -> None:
    found = sections(make(tmp_path, BR2_PACKAGE_KDUMPBUILD_BOARD=f'"{arch}-virt"', **values))
    lines = [line for line in found["target"] if line.startswith("install ")]
    installed = {line.split()[-1] for line in lines}
    set_files = {f"/o/target/usr/lib/kdumpbuild/{name}" for name in (image, *INSTALLED)}
    assert installed == {*set_files, "/o/target/etc/sysctl.d/60-kdump.conf"}
    assert {line.split()[-1].rpartition("/")[2] for line in lines if "0755" in line} == {
        "kdump-load", "kdump-collect", "kdump-ctl",
    }  # fmt: skip
    assert all(f"/out/{arch}-virt/" in line for line in lines)
    # With a dump target by SSH it holds the private key.
    (initramfs,) = [line for line in lines if line.endswith("initramfs.cpio.gz")]
    assert " 0600 " in initramfs
    assert all(" 0644 " in line or " 0755 " in line for line in lines if line != initramfs)


@pytest.mark.parametrize("rooted", [True, False])
def test_a_capture_root_comes_into_the_file_system_as_it_was_made(tmp_path: Path, rooted: bool) -> None:  # noqa: FBT001
    """Whoever unpacked it before Buildroot strips all programs would find other checksums."""
    images, target = tmp_path / "images", tmp_path / "target"
    (images / "kdump").mkdir(parents=True)
    target.mkdir()
    if rooted:
        entries = [
            cpio.file("init", b"#!/bin/sh\n", executable=True), cpio.link("bin/sh", "busybox"),
            cpio.secret("etc/kdump.key", b"key"),
        ]  # fmt: skip
        (images / "kdump/capture-root.tar").write_bytes(captureroot.archive(entries))
    hook = sections(make(tmp_path, BINARIES_DIR=str(images), TARGET_DIR=str(target)))["rootfs"]
    subprocess.run(["sh", "-e"], input="\n".join(hook), text=True, check=True)
    folder = target / captureroot.FOLDER
    assert folder.is_dir() == rooted
    if rooted:
        assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "bin", "etc", "init"]
        assert stat.S_IMODE((folder / "etc/kdump.key").stat().st_mode) == 0o600
        assert (folder / "bin/sh").is_symlink()


def test_the_kernel_gets_what_the_board_needs(tmp_path: Path) -> None:
    """The fixups are run as make would run them, with the real command, on a config that says otherwise."""
    linux = tmp_path / "linux"
    linux.mkdir()
    (linux / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n", encoding="utf-8")
    before = "# CONFIG_KEXEC is not set\nCONFIG_KEXEC_SIG=y\nCONFIG_DETECT_HUNG_TASK=n\nCONFIG_OTHER=y\n"
    (linux / ".config").write_text(before, encoding="utf-8")
    command = tmp_path / "kdumpbuild"  # make's own rule: no path of Buildroot's may have a space, the checkout's may
    command.symlink_to(Path(sys.executable).parent / "kdumpbuild")
    values = {"BR2_PACKAGE_KDUMPBUILD_COMMAND": f'"{command}"', "LINUX_DIR": str(linux), "HOST_MAKE_ENV": ""}
    fixups = sections(make(tmp_path, **values))["linux"]
    subprocess.run(["sh", "-e"], input="\n".join(fixups).replace("$$", "$"), text=True, check=True)
    asked = subprocess.run(
        [str(command), "board", "config", "arm-virt", "--kernel", "6.12"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    after = (linux / ".config").read_text(encoding="utf-8").splitlines()
    assert set(after) == {"CONFIG_KEXEC_SIG=y", "CONFIG_OTHER=y", *asked}
    assert {"CONFIG_KEXEC=y", "CONFIG_DETECT_HUNG_TASK=y", "CONFIG_PSTORE_RAM=y"} <= set(after)
    assert len(after) == len(set(after))
    assert sections(make(tmp_path, BR2_PACKAGE_KDUMPBUILD_LINUX_OPTIONS="")).get("linux") == []


def test_a_makedumpfile_that_loses_slab_pages_gets_a_kernel_of_which_it_loses_none(tmp_path: Path) -> None:
    def asked(version: str, **values: str) -> bool:
        fixups = sections(make(tmp_path, MAKEDUMPFILE_VERSION=version, **values))["linux"]
        return "disable:CONFIG_SLUB_CPU_PARTIAL" in fixups

    assert asked("1.7.5")
    assert not asked("1.7.8")
    assert not asked("1.7.5", BR2_PACKAGE_KDUMPBUILD_SYSROOT=f'"{tmp_path}"')
    assert not asked("1.7.5", BR2_PACKAGE_KDUMPBUILD_LINUX_OPTIONS="")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"BR2_PACKAGE_KDUMPBUILD_BOARD": '""'}, "BR2_PACKAGE_KDUMPBUILD_BOARD is empty"),
        ({"BR2_PACKAGE_KDUMPBUILD_BOARD": '"arm-vrit"'}, "there is no board file arm-vrit; boards that ship"),
        ({"BR2_PACKAGE_KDUMPBUILD_SYSROOT": '"/nowhere"'}, "KDUMPBUILD_SYSROOT: there is no folder /nowhere"),
    ],
)
def test_wrong_options_are_told_before_anything_is_built(values: dict[str, str], told: str, tmp_path: Path) -> None:
    done = make(tmp_path, **values)
    assert done.returncode == 2
    assert told in done.stderr
    # Where nothing is built, `make menuconfig` above all, it stops nobody.
    assert make(tmp_path, **values, BR_BUILDING="").returncode == 0


@pytest.fixture(autouse=True)
def _names_as_buildroot_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_", "")


def menu(folder: Path, text: str) -> kconfiglib.Kconfig:
    """Return the menu with Buildroot's symbols beside it, all of them to be set."""
    own = (EXTERNAL / "package" / "kdumpbuild" / "Config.in").read_text(encoding="utf-8")
    others = sorted(set(re.findall(r"BR2_\w+", own)) - set(re.findall(r"^config (BR2_\w+)", own, re.MULTILINE)))
    symbols = "".join(f'config {name}\n\tbool "{name}"\n' for name in others if name != "BR2_EXTERNAL_FOO_PATH")
    top = folder / "Config.in"
    top.write_text(symbols + own, encoding="utf-8")
    config = folder / "config"
    config.write_text(text, encoding="utf-8")
    kconfig = kconfiglib.Kconfig(str(top), warn_to_stderr=False)
    kconfig.load_config(str(config))
    return kconfig


FULL = "".join(
    f"{name}=y\n"
    for name in ("BR2_arm", "BR2_LINUX_KERNEL", "BR2_PACKAGE_BUSYBOX", "BR2_TOOLCHAIN_HAS_THREADS", "BR2_USE_WCHAR",
                 "BR2_PACKAGE_KDUMPBUILD")
)  # fmt: skip


def test_the_menu_brings_what_is_needed(tmp_path: Path) -> None:
    kconfig = menu(tmp_path, FULL)
    values = {name: kconfig.syms[f"BR2_PACKAGE_{name}"].str_value for name in ("KDUMPBUILD", "KEXEC", "MAKEDUMPFILE")}
    assert values == {"KDUMPBUILD": "y", "KEXEC": "y", "MAKEDUMPFILE": "y"}
    kconfig = menu(tmp_path, FULL + 'BR2_PACKAGE_KDUMPBUILD_SYSROOT="/target"\n')
    assert kconfig.syms["BR2_PACKAGE_MAKEDUMPFILE"].str_value == "n"


def test_buildroot_s_python_has_the_modules_that_the_tool_imports(tmp_path: Path) -> None:
    """Without these options it is built without bz2 and lzma, and the tool ends before it reads its command line."""
    names = ("HOST_PYTHON3", "HOST_PYTHON3_BZIP2", "HOST_PYTHON3_XZ")
    for more, expected in (("", "y"), ('BR2_PACKAGE_KDUMPBUILD_COMMAND="/opt/kdumpbuild"\n', "n")):
        kconfig = menu(tmp_path, FULL + more)
        assert [kconfig.syms[f"BR2_PACKAGE_{name}"].str_value for name in names] == [expected] * 3
    # All that a Python of Buildroot's with these options, and the tool's packages, have not got.
    code = """
import sys
for name in ("_ssl", "_curses", "_sqlite3", "_dbm", "_gdbm", "readline", "_tkinter", "pygments", "markdown_it"):
    sys.modules[name] = None
from kdumpbuild.cli import main
sys.exit(main())
"""
    command = [sys.executable, "-c", code, "board", "config", "arm-virt", "--kernel", "6.12"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "CONFIG_KEXEC=y" in done.stdout
    command[3:] = ["doit", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("init", "told"), [("BUSYBOX", False), ("SYSTEMD", False), ("OPENRC", False), ("NONE", True)])
def test_the_menu_tells_where_nothing_loads_the_capture_kernel(init: str, told: bool, tmp_path: Path) -> None:  # noqa: FBT001
    kconfig = menu(tmp_path, FULL + f"BR2_INIT_{init}=y\n")
    (comment,) = [node for node in kconfig.node_iter() if node.item == kconfiglib.COMMENT and "init" in node.prompt[0]]
    assert (kconfiglib.expr_value(comment.dep) > 0) is told


@pytest.mark.parametrize("missing", ["BR2_arm", "BR2_LINUX_KERNEL", "BR2_PACKAGE_BUSYBOX", "BR2_USE_WCHAR"])
def test_the_menu_offers_it_only_where_it_works(missing: str, tmp_path: Path) -> None:
    kconfig = menu(tmp_path, FULL.replace(f"{missing}=y\n", ""))
    assert kconfig.syms["BR2_PACKAGE_KDUMPBUILD"].str_value == "n"


def test_the_defconfigs_name_boards_and_files_that_there_are() -> None:
    paths = sorted((EXTERNAL / "configs").iterdir())
    assert [path.name for path in paths] == ["kdump_qemu_arm64_defconfig", "kdump_qemu_arm_defconfig"]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        board = re.search(r'KDUMPBUILD_BOARD="(.*)"', text)
        assert board
        assert (resources.BOARDS / f"{board[1]}.toml").is_file()
        # The kernel has what the board's production kernel has, from the same files.
        lists = re.findall(r'CONFIG\w*_FILES?="(.*)"', text)
        files = [file.partition("PATH)/")[2] for line in lists for file in line.split()]
        folder = REPOSITORY / "kdumpbuild" / "fragments"
        fragments = load_board(resources.BOARDS / f"{board[1]}.toml").production.fragments
        assert {(EXTERNAL / name).resolve() for name in files} == {folder / f"{name}.config" for name in fragments}
        assert all((EXTERNAL / name).is_file() for name in files)
