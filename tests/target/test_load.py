"""kdump-load under BusyBox and dash, with a machine as it may be found: every cause has its own exit code."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.board.memory import CrashKernel
from kdumpbuild.build import captureroot, cpio
from kdumpbuild.build.scripts import load_conf
from tests.target.conftest import BUSYBOX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CMDLINE = "console=ttyAMA0 panic=5 rdinit=/init"
RESERVED = "sys/kernel/kexec_crash_size"
LOADED = "sys/kernel/kexec_crash_loaded"
LOCKDOWN = "sys/kernel/security/lockdown"
BLOCK = "sys/class/block/{}"
KPTR = "proc/sys/kernel/kptr_restrict"
SHELLS = {"busybox": [str(BUSYBOX), "sh"], "dash": ["/bin/dash"]}
# The kernel's side of kexec: it notes what it was given and that something is loaded.
KEXEC = """#!/bin/sh
printf '%s\\n' "$@" >"$KDUMP_ROOT/kexec.args"
case " $* " in
*" -u "*) echo 0 >"$KDUMP_ROOT/sys/kernel/kexec_crash_loaded" ;;
*) echo 1 >"$KDUMP_ROOT/sys/kernel/kexec_crash_loaded" ;;
esac
"""


@dataclass
class Target:
    """A product that an image set was installed on, in a folder."""

    root: Path
    shell: list[str]
    said: str = ""
    board: str = "arm-virt"
    values: dict[str, str] = field(default_factory=dict)
    folder: str = "usr/lib/kdump build"

    @property
    def set(self) -> Path:
        """Where the image set is."""
        return self.root / self.folder

    def write(self, name: str, text: str) -> None:
        """Write one of the files of /proc or /sys."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def install(self, *, release: str = "", dtb: str = "") -> None:
        """Put an image set there."""
        board = load_board(resources.BOARDS / f"{self.board}.toml")
        size = None if board.arch.kexec_file_load else 0x1D8F000
        conf = load_conf(
            board, crashkernel=CrashKernel(14 << 20), release=release, image_size=size, kernel=board.arch.image,
            initramfs="initramfs.cpio.gz", cmdline=CMDLINE, dtb=dtb,
        )  # fmt: skip
        self.set.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resources.TEMPLATES / "target/kdump-load", self.set / "kdump-load")
        (self.set / "kdump-load.conf").write_text(conf, encoding="utf-8")
        sums = ""
        for name in (board.arch.image, "initramfs.cpio.gz", "debug/vmlinux"):
            data = f"the {name}".encode()
            if "/" not in name:
                (self.set / name).write_bytes(data)
            sums += f"{hashlib.sha256(data).hexdigest()}  {name}\n"
        (self.set / "SHA256SUMS").write_text(sums, encoding="utf-8")

    def kexec(self, script: str) -> None:
        """Put a kexec on the PATH."""
        path = self.root / "bin/kexec"
        path.parent.mkdir(exist_ok=True)
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)

    def run(self, *words: str, script: Path | None = None) -> int:
        """Run kdump-load; return its exit code."""
        env = {"PATH": f"{self.root}/bin:/usr/bin:/bin", "KDUMP_ROOT": str(self.root), **self.values}
        done = subprocess.run(
            [*self.shell, str(script or self.set / "kdump-load"), *words],
            env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        return done.returncode

    @property
    def arguments(self) -> list[str] | None:
        """What kexec was given, or None when it was not called."""
        path = self.root / "kexec.args"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else None


@pytest.fixture(params=SHELLS)
def target(tmp_path: Path, request: pytest.FixtureRequest) -> Target:
    """Return a product on which everything is as it should be."""
    shell = SHELLS[request.param]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"needs {shell[0]}")
    made = Target(tmp_path / "product root", shell)
    made.write(RESERVED, f"{14 << 20}\n")
    made.write(LOADED, "0\n")
    made.write(KPTR, "1\n")
    made.write("proc/sys/kernel/kexec_load_disabled", "0\n")
    made.write("proc/sys/kernel/random/boot_id", "11111111-2222\n")
    made.write("proc/cmdline", "console=ttyAMA0 crashkernel=14M root=/dev/vda\n")
    (made.root / "run").mkdir()
    made.kexec(KEXEC)
    made.install()
    return made


def test_loads_with_the_boards_arguments(target: Target) -> None:
    assert target.run("load") == 0
    assert target.arguments == [
        "--image-size=0x1d8f000", "-p", f"{target.set}/zImage", f"--initrd={target.set}/initramfs.cpio.gz",
        f"--command-line={CMDLINE}",
    ]  # fmt: skip
    assert "kdump-load: loaded: arm-virt, 14680064 bytes reserved" in target.said


def test_arm64_loads_by_file(target: Target) -> None:
    target.board = "arm64-virt"
    target.install()
    target.write(RESERVED, f"{32 << 20}\n")
    target.write(KPTR, "2\n")  # the kernel needs no addresses from user space then
    assert target.run() == 0
    assert target.arguments is not None
    assert target.arguments[:2] == ["-s", "-p"]
    assert "--dtb" not in " ".join(target.arguments)


def test_crashkernel_is_never_passed_on(target: Target) -> None:
    target.run()
    assert target.arguments is not None
    assert "crashkernel=" not in " ".join(target.arguments)
    assert "--reuse-cmdline" not in target.arguments


@pytest.mark.parametrize("dtb", ["board.dtb", "/boot/board.dtb"])
def test_a_device_tree_of_ones_own(target: Target, dtb: str) -> None:
    target.install(dtb=dtb)
    target.run()
    assert target.arguments is not None
    path = dtb if dtb.startswith("/") else f"{target.set}/{dtb}"
    assert target.arguments[-1] == f"--dtb={path}"


def test_loading_twice_does_nothing(target: Target) -> None:
    target.run()
    (target.root / "kexec.args").unlink()
    # What a hardened product does once the capture kernel is loaded.
    target.write("proc/sys/kernel/kexec_load_disabled", "1\n")
    assert target.run() == 0
    assert target.arguments is None
    assert "loaded already: arm-virt" in target.said


@pytest.mark.parametrize("change", ["another boot", "another set", "not known"])
def test_what_may_be_another_set_is_replaced(target: Target, change: str) -> None:
    target.run()
    (target.root / "kexec.args").unlink()
    if change == "another boot":
        target.write("proc/sys/kernel/random/boot_id", "99999999-8888\n")
    elif change == "another set":
        target.install(dtb="new.dtb")
    else:
        (target.root / "run/kdump-load").unlink()
    assert target.run() == 0
    assert target.arguments is not None
    assert "another capture kernel is loaded; replacing it" in target.said


def test_unloads(target: Target) -> None:
    target.run()
    assert target.run("status") == 0
    assert "loaded, 14680064 bytes" in target.said
    assert target.run("unload") == 0
    assert target.arguments == ["-p", "-u"]
    assert target.run("status") == 8
    assert target.run("unload") == 0


def test_verify_loads_nothing(target: Target) -> None:
    assert target.run("verify") == 0
    assert target.arguments is None


def test_found_through_a_link(target: Target) -> None:
    link = target.root / "bin/kdump-load"
    link.symlink_to(target.set / "kdump-load")
    assert target.run("verify", script=link) == 0


def test_usage(target: Target) -> None:
    assert target.run("lod") == 1
    assert "usage" in target.said


def test_configuration_missing(target: Target) -> None:
    (target.set / "kdump-load.conf").unlink()
    assert target.run() == 2


@pytest.mark.parametrize("file", ["zImage", "initramfs.cpio.gz", "SHA256SUMS"])
def test_file_missing(target: Target, file: str) -> None:
    (target.set / file).unlink()
    assert target.run() == 3
    assert target.arguments is None


def test_file_damaged(target: Target) -> None:
    (target.set / "initramfs.cpio.gz").write_bytes(b"the initramfs.cpio.gy")
    assert target.run() == 3
    assert "initramfs.cpio.gz is damaged" in target.said


def test_another_kernel_runs(target: Target) -> None:
    target.install(release="6.12.0-of-another-build")
    assert target.run() == 4
    assert f"this is Linux {os.uname().release}, the image set is for 6.12.0-of-another-build" in target.said


def test_the_sets_kernel_runs(target: Target) -> None:
    target.install(release=os.uname().release)
    assert target.run() == 0


def test_kernel_without_kexec(target: Target) -> None:
    (target.root / LOADED).unlink()
    assert target.run() == 5
    assert "CONFIG_CRASH_DUMP" in target.said


def test_kexec_load_disabled(target: Target) -> None:
    target.write("proc/sys/kernel/kexec_load_disabled", "1\n")
    assert target.run() == 5
    assert "kexec_load_disabled is 1" in target.said


def test_addresses_are_hidden(target: Target) -> None:
    target.write(KPTR, "2\n")
    assert target.run() == 5
    assert "set it to 1 while loading" in target.said


@pytest.mark.parametrize(("mode", "code"), [("[none] integrity", 0), ("none [integrity]", 5), ("[confidentiality]", 5)])
def test_locked_down(target: Target, mode: str, code: int) -> None:
    target.write(LOCKDOWN, f"{mode}\n")
    assert target.run() == code


@pytest.mark.parametrize(
    ("cmdline", "said"),
    [
        ("root=/dev/vda", "add crashkernel=14M to the kernel's command line"),
        ("root=/dev/vda crashkernel=64M@0x10", "crashkernel=64M@0x10 was given, but the kernel could not reserve it"),
    ],
)
def test_nothing_reserved(target: Target, cmdline: str, said: str) -> None:
    target.write(RESERVED, "0\n")
    target.write("proc/cmdline", cmdline)
    assert target.run() == 6
    assert said in target.said


def test_too_little_reserved(target: Target) -> None:
    target.write(RESERVED, f"{8 << 20}\n")
    assert target.run() == 6
    assert "8388608 bytes are reserved, this image set needs 14680064" in target.said


def test_kexec_missing(target: Target) -> None:
    (target.root / "bin/kexec").unlink()
    if shutil.which("kexec", path="/usr/bin:/bin"):
        pytest.skip("this machine has a kexec")
    assert target.run() == 7


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("kexec_load failed: Invalid argument", "boot production with nr_cpus=1"),
        ("setup_2nd_dtb failed.", "kaslr-seed"),
        ("kexec_load failed: Cannot assign requested address", "raise crashkernel="),
        ("Could not find a free area of memory of 0x1d8f000 bytes...", "raise crashkernel="),
        ("kexec_file_load failed: Function not implemented", "CONFIG_KEXEC_FILE is off"),
    ],
)
def test_kexec_refuses(target: Target, error: str, said: str) -> None:
    target.kexec(f"#!/bin/sh\necho '{error}' >&2\nexit 255\n")
    assert target.run() == 9
    assert error in target.said
    assert said in target.said
    assert not (target.root / "run/kdump-load").exists()


def test_kexec_says_nothing_and_loads_nothing(target: Target) -> None:
    target.kexec("#!/bin/sh\nexit 0\n")
    assert target.run() == 9


@pytest.mark.parametrize(("word", "code"), [("start", 0), ("status", 8), ("stop", 0), ("restart", 0), ("strat", 1)])
def test_system_v_script(target: Target, word: str, code: int) -> None:
    (target.set / "kdump-load").chmod(0o755)
    target.values["KDUMP_SET"] = str(target.set)
    assert target.run(word, script=resources.TEMPLATES / "target/S10kdump") == code
    assert (target.arguments is not None) == (word in ("start", "restart"))


def test_the_systemd_unit_is_sound(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    loader = tmp_path / "kdump-load"
    loader.write_text("#!/bin/sh\n", encoding="utf-8")
    loader.chmod(0o755)
    unit = (resources.TEMPLATES / "target/kdump.service").read_text(encoding="utf-8")
    assert "ExecStart=/usr/lib/kdumpbuild/kdump-load load" in unit
    (tmp_path / "kdump.service").write_text(unit.replace("/usr/lib/kdumpbuild", str(tmp_path)), encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / "kdump.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Failed to initialize manager" in done.stderr:
        pytest.skip("systemd-analyze does not work here")
    assert (done.returncode, done.stderr) == (0, "")


# -- from the product's file system -------------------------------------------------------------------------------


@pytest.fixture
def rooted(target: Target) -> Target:
    """Return a product whose capture system is a folder beside the set, on the partition that it starts from."""
    target.folder = "usr/lib/kdumpbuild"
    target.install()
    conf = target.set / "kdump-load.conf"
    text = conf.read_text().replace("KDUMP_INITRAMFS=initramfs.cpio.gz", "KDUMP_INITRAMFS=''")
    conf.write_text(text.replace("rdinit=/init", "root=/dev/mmcblk0p2 ro init=/usr/lib/kdumpbuild/capture-root/init"))
    (target.set / "initramfs.cpio.gz").unlink()
    entries = [
        *(cpio.directory(name) for name in ("dev", "mnt", "proc", "sys", "tmp")), cpio.link("bin/sh", "busybox"),
        cpio.file("init", b"the init", executable=True), cpio.file("bin/busybox", b"programs", executable=True),
    ]  # fmt: skip
    folder = target.set / "capture-root"
    folder.mkdir()
    subprocess.run(["tar", "-C", str(folder), "-xf", "-"], input=captureroot.archive(entries), check=True)
    target.write("bin/sh", "")
    (target.root / "usr/sbin").mkdir(parents=True)
    (target.root / "usr/sbin/chroot").symlink_to("/bin/busybox.nowhere")
    number = folder.stat().st_dev
    target.write(BLOCK.format("mmcblk0p2") + "/dev", f"{os.major(number)}:{os.minor(number)}\n")
    target.write(BLOCK.format("mmcblk0p2") + "/uevent", "DEVNAME=mmcblk0p2\nPARTNAME=system\n")
    return target


def test_what_runs_from_the_file_system_is_loaded_without_an_initramfs(rooted: Target) -> None:
    assert rooted.run() == 0, rooted.said
    assert rooted.arguments is not None
    assert not [word for word in rooted.arguments if word.startswith("--initrd")]
    assert rooted.arguments[-1].endswith("root=/dev/mmcblk0p2 ro init=/usr/lib/kdumpbuild/capture-root/init")
    assert rooted.run("verify") == 0, rooted.said


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: (folder / "init").write_text("another"), "damaged or missing in {}: init"),
        (lambda folder: (folder / "bin/busybox").unlink(), "damaged or missing in {}: "),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "{} is missing"),
        (lambda folder: (folder / "bin/sh").unlink(), "{}/bin/sh is missing"),
        (lambda folder: (folder / "mnt").rmdir(), "{}/mnt is missing"),
        (shutil.rmtree, "{} is missing"),
    ],
    ids=["damaged", "a program is missing", "no checksums", "a link is missing", "a mount point is missing", "nothing"],
)
def test_a_capture_root_that_is_not_whole_is_not_loaded(
    rooted: Target, harm: Callable[[Path], object], told: str
) -> None:
    folder = rooted.set / "capture-root"
    harm(folder)
    assert rooted.run() == 3
    assert told.format(folder) in rooted.said
    assert "unpack capture-root.tar" in rooted.said
    assert rooted.arguments is None


@pytest.mark.parametrize("root", ["/dev/mmcblk0p2", "PARTLABEL=system"])
def test_a_capture_root_that_would_not_be_the_one_is_not_loaded(rooted: Target, root: str) -> None:
    conf = rooted.set / "kdump-load.conf"
    conf.write_text(conf.read_text().replace("/dev/mmcblk0p2", root))
    assert rooted.run("verify") == 0, rooted.said
    rooted.write(BLOCK.format("mmcblk0p2") + "/dev", "179:77\n")
    assert rooted.run() == 3
    assert f"starts from {root} (179:77), and {rooted.set}/capture-root is on another partition" in rooted.said
    shutil.rmtree(rooted.root / BLOCK.format("mmcblk0p2"))
    assert rooted.run() == 3
    assert f"there is no {root}, which the capture system starts from" in rooted.said
    conf.write_text(conf.read_text().replace(root, "PARTUUID=1-02"))
    assert rooted.run() == 0, rooted.said


def test_what_a_capture_root_starts_with_has_to_be_there(rooted: Target) -> None:
    (rooted.root / "usr/sbin/chroot").unlink()
    assert rooted.run() == 3
    assert f"there is no chroot in {rooted.root}" in rooted.said
    (rooted.root / "bin/sh").unlink()
    assert rooted.run() == 3
    assert f"there is no {rooted.root}/bin/sh" in rooted.said
    (rooted.set).rename(rooted.root / "elsewhere")
    assert rooted.run(script=rooted.root / "elsewhere/kdump-load") == 3
    assert f"the image set is in {rooted.root}/elsewhere" in rooted.said


@pytest.mark.parametrize("number", [1, 0x10305, 0xFE02, 0x1234567])
def test_device_numbers_are_taken_apart_as_the_kernel_does(number: int) -> None:
    script = (resources.TEMPLATES / "target/kdump-load").read_text()
    (line,) = [line.strip() for line in script.splitlines() if line.strip().startswith("found=$((number")]
    command = ["sh", "-c", f"number={number}; {line}; echo $found"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{os.major(number)}:{os.minor(number)}"
