"""Where everything of a build lies. No path of these is put together anywhere else."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.board.model import Board

_ODD = re.compile(r"[\s:]")


@dataclass(frozen=True)
class SetFiles:
    """The files of an image set, by their names in it."""

    folder: Path
    image: str

    @property
    def kernel(self) -> Path:
        """The capture kernel: ``zImage`` or ``Image``."""
        return self.folder / self.image

    @property
    def initramfs(self) -> Path:
        """The crash initramfs."""
        return self.folder / "initramfs.cpio.gz"

    @property
    def capture_root(self) -> Path:
        """What the initramfs holds, to be unpacked in the product's file system, for a board with ``capture.root``."""
        return self.folder / "capture-root.tar"

    @property
    def manifest(self) -> Path:
        """What the set holds and what it was made from."""
        return self.folder / "manifest.json"

    @property
    def checksums(self) -> Path:
        """SHA-256 of every file, as ``sha256sum -c`` reads it."""
        return self.folder / "SHA256SUMS"

    @property
    def load_script(self) -> Path:
        """The program that loads the capture kernel on the target."""
        return self.folder / "kdump-load"

    @property
    def load_conf(self) -> Path:
        """What the load script has to know of this board."""
        return self.folder / "kdump-load.conf"

    @property
    def collecting(self) -> tuple[Path, ...]:
        """What files dumps after the reboot, what shows them, and the parts of both."""
        names = ("kdump-collect", "kdump-collect.conf", "kdump-ctl", "kdump-device.sh", "kdump-slots.sh")
        return tuple(self.folder / name for name in names)

    @property
    def boot(self) -> Path:
        """What boot loaders are told."""
        return self.folder / "boot"

    @property
    def boot_arguments(self) -> Path:
        """The production kernel's further arguments, on one line."""
        return self.boot / "arguments.txt"

    @property
    def sysctl(self) -> Path:
        """The sysctls of the production system, for ``/etc/sysctl.d``."""
        return self.folder / "60-kdump.conf"

    @property
    def production_fragment(self) -> Path:
        """The production kernel's options, for ``merge_config.sh``, Yocto and Buildroot."""
        return self.folder / "production.cfg"

    @property
    def capture_config(self) -> Path:
        """The capture kernel's whole config."""
        return self.folder / "capture.config"

    @property
    def production_vmlinux(self) -> Path:
        """The production kernel with its debug information, to open a dump with."""
        return self.folder / "debug" / "vmlinux"

    @property
    def capture_vmlinux(self) -> Path:
        """The capture kernel with its symbols."""
        return self.folder / "debug" / "vmlinux-capture"

    @property
    def production_kernel(self) -> Path:
        """The production kernel, where kdumpbuild built it."""
        return self.folder / "production" / self.image

    @property
    def production_config(self) -> Path:
        """The production kernel's whole config, where kdumpbuild built it."""
        return self.folder / "production" / "config"


@dataclass(frozen=True)
class Layout:
    """The folders of one board's build."""

    out: Path
    cache: Path
    board: Board
    product: Path | None = None
    """``KERNEL_BUILD``: where the product's kernel was built, by somebody else."""
    given: Path | None = None
    """``IMAGE_SET``: a set that was built elsewhere."""

    @property
    def set(self) -> SetFiles:
        """The image set."""
        return SetFiles(self.given or self.out / self.board.name, self.board.arch.image)

    @property
    def has_production(self) -> bool:
        """Whether the production kernel is at hand, so that the set can hold it."""
        return self.board.production.build or self.product is not None

    @property
    def work(self) -> Path:
        """What a build leaves behind to be quick the next time."""
        return self.out / "work" / self.board.name

    @property
    def report(self) -> Path:
        """What config resolution found: waived lines, versions."""
        return self.work / "config.json"

    def config(self, role: str) -> Path:
        """Return the emitted config; ``role`` is ``production`` or ``capture``."""
        return self.work / f"{role}.config"

    @property
    def production_config(self) -> Path:
        """The whole config that the production kernel was built with."""
        return self.config("production") if self.product is None else self.product / ".config"

    @property
    def fragment(self) -> Path:
        """Return the production kernel's options as one fragment."""
        return self.work / "production.cfg"

    def kbuild(self, role: str) -> Path:
        """Return the kernel's build folder, Kbuild's ``O=``.

        It is beside the other work, unless that path has a space or colon, which Kbuild refuses (Linux, Makefile).
        """
        if role == "production" and self.product is not None:
            return self.product
        if not _ODD.search(str(self.work)):
            return self.work / f"kernel-{role}"
        key = hashlib.sha256(str(self.out).encode()).hexdigest()[:12]
        return self.cache / "kbuild" / key / self.board.name / f"kernel-{role}"

    def kernel(self, role: str) -> Path:
        """Return the built bootable kernel."""
        arch = self.board.arch
        return self.kbuild(role) / "arch" / arch.name / "boot" / arch.image

    def vmlinux(self, role: str) -> Path:
        """Return the built kernel's ELF file."""
        return self.kbuild(role) / "vmlinux"

    @property
    def dtb(self) -> Path:
        """The board's device tree, compiled from the kernel's source or copied from the user's."""
        return self.work / "dtb" / self.board.dtb.rpartition("/")[2]

    @property
    def labelled_dtb(self) -> Path:
        """The same with the labels of its source, where it is compiled from the kernel's."""
        return self.work / "dtb" / "labels" / self.board.dtb.rpartition("/")[2]

    @property
    def overlay(self) -> Path:
        """The source of the overlay for the capture kernel's device tree."""
        return self.work / "capture-overlay.dts"

    @property
    def overlay_blob(self) -> Path:
        """The same, compiled."""
        return self.work / "capture-overlay.dtbo"

    def derived(self, role: str) -> Path:
        """Return the fragment that was derived from the device tree."""
        return self.work / f"derived-{role}.config"

    @property
    def initramfs(self) -> Path:
        """The built crash initramfs."""
        return self.work / "initramfs.cpio.gz"

    @property
    def capture_root(self) -> Path:
        """The same, to be unpacked in the product's file system, for a board with ``capture.root``."""
        return self.work / "capture-root.tar"

    @property
    def crashtest(self) -> Path:
        """Disks, logs and results of crash tests, a folder for each trigger."""
        return self.out / "crashtest" / self.board.name

    @property
    def matrix(self) -> Path:
        """Results of the crash matrix, a folder for each row and column."""
        return self.out / "matrix" / self.board.name

    @property
    def logtest(self) -> Path:
        """Results of the tests of other ways to keep a log, a folder for each."""
        return self.out / "logtest" / self.board.name

    @property
    def matrix_page(self) -> Path:
        """The matrix of all boards, for people."""
        return self.out / "crash-matrix.md"

    @property
    def junit(self) -> Path:
        """The verdicts of the last crash test, as CI systems read them."""
        return self.crashtest / "junit.xml"

    def check(self, form: str) -> Path:
        """Return the findings of the check in a machine-readable form: ``json`` or ``sarif``."""
        return self.out / "check" / f"{self.board.name}.{form}"

    @property
    def logs(self) -> Path:
        """The logs of all long steps."""
        return self.out / "log"

    def log(self, name: str) -> Path:
        """Return the log of a long step."""
        return self.logs / f"{self.board.name}-{name}.log"
