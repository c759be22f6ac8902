"""The Yocto layer without BitBake: style, facts, its shell under dash, its Python with a stand-in for the datastore."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from kas.configschema import CONFIGSCHEMA
from oelint_parser.cls_stash import Stash

from kdumpbuild import __version__, resources
from kdumpbuild.build import captureroot, cpio, imageset
from kdumpbuild.settings import VARIABLES
from tests.layers.support import EXTERNAL, INSTALLED, META, REPOSITORY, expand, run_dash, shell_functions

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = sorted(path.stem for path in resources.BOARDS.glob("*.toml"))
RECIPES = sorted(path for path in META.rglob("*") if path.suffix in (".bb", ".bbappend", ".inc", ".bbclass"))
# What the linter holds against us, and why it stays.
ACCEPTED = {
    "oelint.vars.homepageping": "asks the network",
    "oelint.vars.mispell.unknown": "our own variables",
    "oelint.task.noanonpython": "depending on KDUMP_BOARD is what they are for",
    "oelint.task.docstrings": "none is a task that somebody runs by name",
    "oelint.vars.layerconf": "UNPACKDIR for scarthgap, and the checkout's place, which only the layer knows",
    "oelint.vars.fileextrapaths": "the tool comes from the checkout that the layer is in",
    "oelint.vars.outofcontext": "the same",
    "oelint.vars.noncoreoverride": "a BBCLASSEXTEND adds variants and changes none",
    "oelint.var.suggestedvar.BUGTRACKER": "there is none to name",
    "oelint.var.suggestedvar.CVE_PRODUCT": "an image has none",
    "oelint.var.suggestedvar.SECTION": "an image has none",
    "oelint.var.bbclassextend": "a kernel is not built for the build machine",
    "oelint.var.licenseremotefile": "there is no remote file",
    "oelint.vars.multilineident": "text is not indented",
}


def variable(recipe: str, name: str) -> str:
    """Return a recipe's variable, expanded."""
    (path,) = META.rglob(recipe)
    stash = Stash(quiet=True)
    stash.AddFile(str(path))
    stash.Finalize()
    found = [item for item in stash.GetItemsFor(filename=str(path)) if getattr(item, "VarName", "") == name]
    return " ".join(stash.ExpandTerm(str(path), item.VarValueStripped) for item in found)


def test_recipes_are_in_the_style_of_their_house() -> None:
    accepted = [argument for name in ACCEPTED for argument in ("--suppress", name)]
    done = subprocess.run(
        [sys.executable, "-m", "oelint_adv", "--quiet", "--release", "wrynose", *accepted, *map(str, RECIPES),
         str(META / "conf" / "layer.conf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.strip() == ""


def test_recipes_of_ours_have_our_version() -> None:
    assert {path.stem.partition("_")[2] for path in META.rglob("*kdump*_*.bb")} == {__version__}
    for name in ("kdumpbuild", "python-kdumpbuild"):
        text = (EXTERNAL / "package" / name / f"{name}.mk").read_text(encoding="utf-8")
        assert f"_VERSION = {__version__}\n" in text


def test_every_file_that_is_taken_from_the_checkout_is_there() -> None:
    entries = re.findall(r"file://([^;\s]+)", variable("python3-kdumpbuild_*.bb", "SRC_URI"))
    assert len(entries) == 6
    for entry in entries:
        assert (REPOSITORY / entry).exists(), entry
    # Of what hatchling reads nothing is left out: the link in the package leads to a folder that comes too.
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert {project["project"]["readme"], project["project"]["license"]["file"]} <= set(entries)
    for path in (REPOSITORY / "kdumpbuild").iterdir():
        if path.is_symlink():
            assert path.resolve().relative_to(REPOSITORY).parts[0] in entries, f"{path} leads out of what is taken"


def test_the_recipe_needs_what_the_package_needs() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {re.split(r"[<>=\[]", line)[0] for line in project["project"]["dependencies"]}
    assert {f"python3-{name}" for name in wanted} <= set(variable("python3-kdumpbuild_*.bb", "RDEPENDS").split())


@pytest.mark.parametrize(("recipe", "name"), [("python3-doit_*.bb", "doit")])
def test_the_checksum_is_that_of_the_release(recipe: str, name: str, tmp_path: Path) -> None:
    """Fetch the sdist with pip, which refuses another one, and look at the checksums of both layers and the licence."""
    (path,) = META.rglob(recipe)
    version = path.stem.partition("_")[2]
    text = path.read_text(encoding="utf-8")
    sha = re.search(r'sha256sum\] = "(\w+)"', text)
    md5 = re.search(r"LICENSE;md5=(\w+)", text)
    assert sha
    assert md5
    requirement = tmp_path / "requirement.txt"
    requirement.write_text(f"{name}=={version} --hash=sha256:{sha[1]}\n", encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes",
         "--dest", str(tmp_path), "--requirement", str(requirement)],
        check=True,
    )  # fmt: skip
    subprocess.run(["tar", "-xf", str(tmp_path / f"{name}-{version}.tar.gz"), "-C", str(tmp_path)], check=True)
    licence = tmp_path / f"{name}-{version}" / "LICENSE"
    printed = subprocess.run(["md5sum", str(licence)], capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == md5[1]
    hashes = (EXTERNAL / "package" / f"python-{name}" / f"python-{name}.hash").read_text(encoding="utf-8")
    assert f"sha256  {sha[1]}  {name}-{version}.tar.gz" in hashes


def test_the_licence_is_ours() -> None:
    text = next(META.rglob("python3-kdumpbuild_*.bb")).read_text(encoding="utf-8")
    printed = subprocess.run(["md5sum", str(REPOSITORY / "LICENSE")], capture_output=True, text=True, check=True).stdout
    assert f"LICENSE;md5={printed.split()[0]}" in text
    assert (META / "COPYING.MIT").read_text(encoding="utf-8") == (REPOSITORY / "LICENSE").read_text(encoding="utf-8")


def test_the_layer_says_its_series() -> None:
    text = (META / "conf" / "layer.conf").read_text(encoding="utf-8")
    match = re.search(r'LAYERSERIES_COMPAT_kdumpbuild = "(.*)"', text)
    assert match
    assert {"scarthgap", "wrynose"} <= set(match[1].split())


@pytest.mark.parametrize("path", sorted((META / "kas").glob("*.yml")), ids=lambda path: path.name)
def test_kas_takes_the_file(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, CONFIGSCHEMA)
    for include in document["header"].get("includes", []):
        assert (REPOSITORY / include).is_file()


# The shell of the classes.


def class_value(name: str) -> str:
    """Return a variable of kdumpbuild.bbclass as it is written."""
    text = (META / "classes-recipe" / "kdumpbuild.bbclass").read_text(encoding="utf-8")
    match = re.search(rf'^{name} = "(.*)"$', text, re.MULTILINE)
    assert match, name
    return match[1]


VALUES = {
    "KDUMP_COMMAND": "kdumpbuild", "KDUMP_BOARD": "/bsp/my board.toml", "KDUMP_BOARD_NAME": "my board",
    "KDUMP_BOARD_PATH": "", "STAGING_KERNEL_DIR": "/k", "TARGET_PREFIX": "arm-",
    "KERNEL_CC": "arm-gcc  -marm -fuse-ld=bfd -ffile-prefix-map=/a=/b", "KERNEL_LD": "arm-ld.bfd  ",
    "BUILD_CC": "gcc ", "BUILD_CFLAGS": "-O2 -isystem/x", "BUILD_LDFLAGS": "-L/y", "KDUMP_SYSROOT": "/target",
    "KDUMP_KERNEL_BUILD": "", "KDUMP_IMAGE": "zImage", "KDUMP_DIR": "/usr/lib/kdumpbuild", "sysconfdir": "/etc",
    "KDUMP_FILES": class_value("KDUMP_FILES").replace("${KDUMP_IMAGE}", "zImage"),
    "KDUMP_SCRIPTS": class_value("KDUMP_SCRIPTS"), "sbindir": "/usr/sbin",
    "systemd_system_unitdir": "/usr/lib/systemd/system", "MACHINE": "gateway", "PN": "linux-x",
    "@oe.utils.parallel_make(d) or 1": "4",
    "@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)": "true",
}  # fmt: skip
FAKE = """#!/bin/sh
printf '%s\\n' "$@" >"$CALLS"
exit "${STATUS:-0}"
"""


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, str]:
    """A kdumpbuild that notes what it is given; the environment in which it is found."""
    program = tmp_path / "bin" / "kdumpbuild"
    program.parent.mkdir()
    program.write_text(FAKE, encoding="utf-8")
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin", "CALLS": str(tmp_path / "calls")}


def script(name: str, folder: Path, **more: str) -> str:
    """Return a function of the classes with all values in it, and its call."""
    functions = shell_functions("kdump_tool", "kdumpbuild", "kdump_production")
    values = {
        **VALUES, "B": str(folder / "b"), "D": str(folder / "d"), "DEPLOYDIR": str(folder / "deploy"),
        "WORKDIR": str(folder / "work"), "DEPLOY_DIR_IMAGE": str(folder / "images"),
        "KERNEL_CONFIG_COMMAND": "true", **more,
    }  # fmt: skip
    parts = [f"{n}() {{\n{expand(functions[n], values)}}}" for n in ("kdump_tool", name)]
    return "\n".join([*parts, name])


def test_the_tool_is_given_all_by_name_and_whole(tmp_path: Path, fake: dict[str, str]) -> None:
    (tmp_path / "b").mkdir()
    done = run_dash(script("do_compile", tmp_path), **fake)
    assert done.returncode == 0, done.stderr
    called = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert called[:2] == ["doit", "build"]
    given = dict(argument.split("=", 1) for argument in called[2:])
    assert given.keys() <= VARIABLES.keys()
    assert given["KERNEL_CC"] == VALUES["KERNEL_CC"]
    assert given["HOSTCC"] == "gcc  -O2 -isystem/x -L/y"
    assert given["BOARD"] == "/bsp/my board.toml"
    assert given["OFFLINE"] == "1"
    assert given["SYSROOT"] == "/target"
    assert "KERNEL_BUILD" not in given


def test_a_production_kernel_that_is_at_hand_is_given(tmp_path: Path, fake: dict[str, str]) -> None:
    (tmp_path / "b").mkdir()
    done = run_dash(script("do_compile", tmp_path, KDUMP_KERNEL_BUILD="/images/kdump-production"), **fake)
    assert done.returncode == 0, done.stderr
    assert "KERNEL_BUILD=/images/kdump-production" in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


def test_the_userland_comes_from_its_image(tmp_path: Path, fake: dict[str, str]) -> None:
    for folder in ("b/userland/old", "images", "root/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root" / "bin" / "busybox").touch()
    archive = tmp_path / "images" / "kdump-userland-image-gateway.tar"
    subprocess.run(["tar", "-cf", str(archive), "-C", str(tmp_path / "root"), "."], check=True)
    done = run_dash(script("do_compile", tmp_path, KDUMP_SYSROOT=""), **fake)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "b" / "userland").iterdir()] == ["bin"]
    assert f"SYSROOT={tmp_path}/b/userland" in (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("function", ["do_compile", "kdump_production_configure"])
def test_a_failure_of_the_tool_ends_the_task(function: str, tmp_path: Path, fake: dict[str, str]) -> None:
    for folder in ("b", "work"):
        (tmp_path / folder).mkdir()
    (tmp_path / "b" / ".config").touch()
    done = run_dash(script(function, tmp_path), **fake, STATUS="1")
    assert done.returncode == 1
    assert "kdumpbuild says why at the end of the log" in done.stderr


def production(folder: Path, asked: str, result: str) -> None:
    """Lay out what `doit config` leaves."""
    made = folder / "work" / "kdump-production" / "work" / "my board"
    made.mkdir(parents=True)
    (made / "production.cfg").write_text(asked, encoding="utf-8")
    (made / "production.config").write_text(result, encoding="utf-8")
    (folder / "b").mkdir()
    (folder / "b" / ".config").write_text("CONFIG_A=y\n", encoding="utf-8")


def test_the_production_config_becomes_the_resolved_one(tmp_path: Path, fake: dict[str, str]) -> None:
    result = "CONFIG_A=y\nCONFIG_KEXEC=y\n# CONFIG_X is not set\n"
    production(tmp_path, "# why\nCONFIG_KEXEC=y\n# CONFIG_X is not set\n", result)
    done = run_dash(script("kdump_production_configure", tmp_path), **fake)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b" / ".config").read_text(encoding="utf-8") == result
    called = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert called[:2] == ["doit", "config:my board"]
    assert f"KERNEL_CONFIG={tmp_path / 'work' / 'kdump-before.config'}" in called


def test_a_line_that_the_kernel_takes_back_ends_do_configure(tmp_path: Path, fake: dict[str, str]) -> None:
    production(tmp_path, "CONFIG_KEXEC=y\n", "CONFIG_KEXEC=y\n")
    command = f"sed -i s/CONFIG_KEXEC=y// {tmp_path}/b/.config"
    done = run_dash(script("kdump_production_configure", tmp_path, KERNEL_CONFIG_COMMAND=command), **fake)
    assert done.returncode == 1
    assert "took this line back: CONFIG_KEXEC=y" in done.stderr


def image_set(folder: Path) -> Path:
    made = folder / "b" / "out" / "my board"
    (made / "debug").mkdir(parents=True)
    for name in ("zImage", "60-kdump.conf", "debug/vmlinux", *imageset.SCRIPTS, *INSTALLED):
        (made / name).write_text(name, encoding="utf-8")
    return made


def test_what_the_target_needs_is_installed_and_no_more(tmp_path: Path) -> None:
    image_set(tmp_path)
    done = run_dash(script("do_install", tmp_path))
    assert done.returncode == 0, done.stderr
    installed = {
        path.relative_to(tmp_path / "d").as_posix(): path.stat().st_mode & 0o777
        for path in (tmp_path / "d").rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    scripts = {"kdump-load", "kdump-collect", "kdump-ctl"}
    assert installed == {
        **{f"usr/lib/kdumpbuild/{name}": 0o755 if name in scripts else 0o644 for name in {"zImage", *INSTALLED}},
        # With target = "ssh" it holds a key.
        "usr/lib/kdumpbuild/initramfs.cpio.gz": 0o600,
        "etc/init.d/kdump": 0o755,
        "etc/init.d/kdump-collect": 0o755,
        "etc/sysctl.d/60-kdump.conf": 0o644,
        "usr/lib/systemd/system/kdump.service": 0o644,
        "usr/lib/systemd/system/kdump-collect.service": 0o644,
    }
    assert (tmp_path / "d" / "usr" / "sbin" / "kdump-ctl").readlink().as_posix() == "/usr/lib/kdumpbuild/kdump-ctl"


def test_a_capture_root_is_unpacked_beside_the_set(tmp_path: Path) -> None:
    init = cpio.file("init", b"#!/bin/sh\n", executable=True)
    entries = [init, cpio.link("bin/sh", "busybox"), cpio.directory("mnt")]
    (image_set(tmp_path) / "capture-root.tar").write_bytes(captureroot.archive(entries))
    done = run_dash(script("do_install", tmp_path))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "d" / captureroot.FOLDER
    assert (folder / "init").stat().st_mode & 0o777 == 0o755
    assert (folder / "bin/sh").readlink().as_posix() == "busybox"
    assert (folder / "mnt").is_dir()
    assert (folder / captureroot.CHECKSUMS).is_file()


def test_the_whole_set_is_deployed(tmp_path: Path) -> None:
    made = image_set(tmp_path)
    done = run_dash(script("do_deploy", tmp_path))
    assert done.returncode == 0, done.stderr
    deployed = tmp_path / "deploy" / "kdump"
    there, here = ({p.relative_to(folder) for p in folder.rglob("*")} for folder in (deployed, made))
    assert there == here


@pytest.mark.parametrize("name", ["kdump_tool", "kdumpbuild", "kdump_production"])
def test_the_shell_of_the_classes_is_clean(name: str) -> None:
    values = {
        **VALUES, **dict.fromkeys(("B", "D", "DEPLOYDIR", "WORKDIR", "DEPLOY_DIR_IMAGE"), "/f"),
        "KERNEL_CONFIG_COMMAND": "true", "KERNEL_PACKAGE_NAME": "kernel", "KERNEL_OUTPUT_DIR": "arch/arm/boot",
    }  # fmt: skip
    for function, body in shell_functions(name).items():
        stubs = "#!/bin/sh\nbbfatal() { exit 1; }\nbbfatal_log() { exit 1; }\nkdump_tool() { :; }\n"
        text = stubs + expand(body, values)
        # Values stand where variables were: comparing constants, and words that need no quotes, are right here.
        done = subprocess.run(
            ["shellcheck", "-e", "SC2050,SC2086,SC2157,SC2317,SC2194,SC2043", "-"], input=text, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{function}\n{done.stdout}"


# The Python of the class that is inherited by everything.


class Datastore:
    """As much of BitBake's datastore as the functions use."""

    def __init__(self, **values: str) -> None:
        self.values = values
        self.marked: list[str] = []

    def getVar(self, name: str) -> str | None:  # noqa: N802  # BitBake's name
        return self.values.get(name)


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    names = ("global/kdump", "recipe/kdump_tool", "recipe/kdumpbuild")
    classes = [f"classes-{name}.bbclass" for name in names]
    text = "".join((META / name).read_text(encoding="utf-8") for name in classes)
    bb = SimpleNamespace(parse=SimpleNamespace(mark_dependency=lambda store, path: store.marked.append(path)))
    found: dict[str, Any] = {"os": os, "bb": bb}
    exec(textwrap.dedent("".join(re.findall(r"^def .*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL))), found)  # noqa: S102
    return found


def datastore(functions: dict[str, Any], **values: str) -> Datastore:
    store = Datastore(**{"KDUMPBUILD_TOP": str(REPOSITORY), "TARGET_ARCH": "arm", "MACHINE": "qemuarm", **values})
    store.values["KDUMP_BOARD_FILE"] = functions["kdump_board_file"](store)
    return store


def test_a_board_is_found_by_name_by_path_and_in_folders(functions: dict[str, Any], tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text('arch = "arm"\n[memory]\ncrashkernel = "20M@0x48000000"\n', encoding="utf-8")
    for values in ({"KDUMP_BOARD": str(own)}, {"KDUMP_BOARD": "mine", "KDUMP_BOARD_PATH": f"/nowhere:{tmp_path}"}):
        store = datastore(functions, **values)
        assert store.getVar("KDUMP_BOARD_FILE") == str(own)
        assert functions["kdump_board_fault"](store) == ""
        assert functions["kdump_crashkernel"](store) == "20M@0x48000000"


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("[memory]\n  crashkernel = '24M'", "24M"),
        ('memory.crashkernel = "0x1800000"', "0x1800000"),
        ('memory = { ram = ["512M@0x40000000"], crashkernel = "24M" }', "24M"),
        ('[memory]\ncrashkernel = "auto"', ""),
        ('[memory]\n# crashkernel = "24M"', ""),
    ],
)
def test_crashkernel_is_read_in_whatever_way_it_is_written(
    functions: dict[str, Any], tmp_path: Path, line: str, size: str
) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(f"arch = 'arm'\n{line}\n", encoding="utf-8")
    store = datastore(functions, KDUMP_BOARD=str(own))
    assert functions["kdump_board_fault"](store) == ""
    assert functions["kdump_crashkernel"](store) == size
    # What has it is parsed again when the file changes.
    assert str(own) in store.marked


def test_what_the_board_file_names_is_an_input(functions: dict[str, Any], tmp_path: Path) -> None:
    own = tmp_path / "bsp" / "mine.toml"
    own.parent.mkdir()
    for name in ("keys/device", "known hosts", "common/more.config", "./board.dtb", "fix.patch", "loose.txt"):
        (own.parent / name).parent.mkdir(exist_ok=True)
        (own.parent / name).touch()
    own.write_text(
        "dtb = './board.dtb'\n[capture]\nfragments = ['common/more.config', \"virt\"]\nconsole = 'ttyS0'\n"
        '[dump.network]\nkey = "keys/device"\n[production]\npatches = ["fix.patch"]\n', encoding="utf-8"
    )  # fmt: skip
    store = datastore(functions, KDUMP_BOARD=str(own))
    inputs = {path.removeprefix(f"{own.parent}/") for path in functions["kdump_board_checksums"](store).split()}
    assert inputs == {
        "mine.toml:True", "*.config:True", "*.cfg:True", "./board.dtb:True", "common/more.config:True",
        "keys/device:True", "fix.patch:True",
    }  # fmt: skip
    # A shipped one is an input of the tool's recipe.
    assert functions["kdump_board_checksums"](datastore(functions, KDUMP_BOARD="arm-virt")) == ""


def test_what_is_taken_from_other_folders_is_an_input(functions: dict[str, Any], tmp_path: Path) -> None:
    places = {"TMPDIR": str(tmp_path / "tmp"), "DEPLOY_DIR": str(tmp_path / "deploy")}
    store = Datastore(**places, KDUMP_SYSROOT="/rootfs", KDUMP_KERNEL_BUILD="/linux")
    inputs = functions["kdump_given_checksums"](store).split()
    assert {"/rootfs/usr/sbin/makedumpfile:True", "/linux/vmlinux:True", "/linux/.config:True"} <= set(inputs)
    own = Datastore(**places, KDUMP_SYSROOT="", KDUMP_KERNEL_BUILD=f"{tmp_path}/deploy/images/qemuarm/kdump-production")
    assert functions["kdump_given_checksums"](own) == ""


def test_busybox_gets_nothing_from_a_layer_that_is_only_there() -> None:
    folder = META / "recipes-core" / "busybox"
    (append,) = folder.glob("*.bbappend")
    lines = [line for line in append.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    # An expression in SRC_URI would be in the signature of every BusyBox.
    assert lines == ["require ${@'busybox-kdump.inc' if bb.data.inherits_class('kdump', d) else ''}"]
    fragment = (folder / "busybox" / "kdump.cfg").read_text(encoding="utf-8")
    given = set(re.findall(r"^CONFIG_(\w+)=y$", fragment, re.MULTILINE))
    makefile = (EXTERNAL / "package" / "kdumpbuild" / "kdumpbuild.mk").read_text(encoding="utf-8")
    fixups = makefile.partition("define KDUMPBUILD_BUSYBOX_CONFIG_FIXUPS")[2].partition("endef")[0]
    assert given == set(re.findall(r"KCONFIG_ENABLE_OPT,CONFIG_(\w+)\)", fixups))


@pytest.mark.parametrize(
    ("board", "told"),
    [
        ("", f"KDUMP_BOARD is not set; give the path of a board file, or one of: {', '.join(SHIPPED)}"),
        ("arm-vrit", 'KDUMP_BOARD = "arm-vrit": there is no such board file; give'),
        ("./x.toml", 'KDUMP_BOARD = "./x.toml" is a relative path; begin it with ${TOPDIR}/'),
        ("/nowhere/x.toml", 'KDUMP_BOARD = "/nowhere/x.toml": there is no such board file'),
        ("arm64-virt", 'is a board with arch = "arm64"; MACHINE = "qemuarm" is arm'),
    ],
)
def test_a_wrong_board_is_told(functions: dict[str, Any], board: str, told: str) -> None:
    store = datastore(functions, KDUMP_BOARD=board)
    assert told in functions["kdump_board_fault"](store)
    # BitBake parses again when the file appears or changes.
    assert store.marked == functions["kdump_board_candidates"](store)


@pytest.mark.parametrize("name", ["KDUMP_SYSROOT", "KDUMP_KERNEL_BUILD"])
def test_a_wrong_folder_is_told(functions: dict[str, Any], name: str, tmp_path: Path) -> None:
    def fault(folder: str) -> str:
        places = {"TMPDIR": str(tmp_path / "tmp"), "DEPLOY_DIR": str(tmp_path / "deploy")}
        answer: str = functions["kdump_folder_fault"](Datastore(**places, **{name: folder}))
        return answer

    assert fault("rootfs") == f'{name} = "rootfs" is a relative path; begin it with ${{TOPDIR}}/'
    assert fault("/nowhere") == f'{name} = "/nowhere": there is no such folder'
    # The build makes it, later.
    assert not fault(str(tmp_path / "tmp" / "kernel"))
    assert not fault(str(tmp_path))
    assert not fault("")
