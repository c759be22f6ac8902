"""From files and options to facts. Reads; every file that cannot be used is told at once."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.model import Bank, parse_bank
from kdumpbuild.board.size import format_size
from kdumpbuild.checks.facts import Cmdline, Config, Facts, Version, parse_version, show
from kdumpbuild.checks.model import Input
from kdumpbuild.checks.userland import makedumpfile_of, programs_of, read_rootfs
from kdumpbuild.errors import Fault, UserError, nearest, user_error
from kdumpbuild.formats.arm64_image import read_arm64_image
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.formats.elf import read_vmlinux
from kdumpbuild.formats.initramfs import read_initramfs
from kdumpbuild.formats.reading import MIB, load
from kdumpbuild.formats.zimage import read_zimage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kdumpbuild.board.arch import Arch
    from kdumpbuild.board.model import Board
    from kdumpbuild.formats.dotconfig import DotConfig

_TEXT = 4 * MIB


@dataclass(frozen=True)
class Given:
    """What the user gave: paths and texts, none of them read yet."""

    arch: str | None = None
    config: Path | None = None
    capture_config: Path | None = None
    kernel_version: str | None = None
    dtb: Path | None = None
    cmdline: str | None = None
    """The text, or ``@FILE``."""
    capture_cmdline: str | None = None
    zimage: Path | None = None
    image: Path | None = None
    vmlinux: Path | None = None
    initramfs: Path | None = None
    ram: str | None = None
    """``512M@0x40000000``, several with commas between them."""
    kexec_tools: str | None = None
    makedumpfile: str | None = None
    rootfs: Path | None = None
    board: Board | None = None
    image_size: str | None = None
    file_load: bool | None = None


class _Faults:
    """The faults of all inputs."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Keep a UserError's faults for later."""
        try:
            yield
        except UserError as error:
            self.found += error.faults


def gather(given: Given) -> Facts:
    """Read all that was given. Raises UserError with every fault of every input."""
    faults = _Faults()
    facts = Facts(board=given.board, file_load=given.file_load, given=_shown(given))
    for read in (_configs, _texts, _versions, _images, _trees, _userland):
        facts = read(given, facts, faults)
    with faults.caught():
        facts = replace(facts, arch=_arch(given, facts))
    if faults.found:
        raise UserError(*faults.found)
    if facts.board is not None:
        facts = replace(facts, ram=facts.ram or facts.board.memory.ram)
    return facts


def config_of(source: DotConfig, places: Mapping[str, str] | None = None) -> Config:
    """Return a .config as rules see it. ``places``: ``file:line`` of symbols that a fragment asked for."""
    return Config(source.values, source.name, source.lines, places or {})


# -- the inputs, one after the other ------------------------------------------------------------------------------


def _configs(given: Given, facts: Facts, faults: _Faults) -> Facts:
    banner: dict[str, DotConfig] = {}
    for key, path in (("production", given.config), ("capture", given.capture_config)):
        if path is not None:
            with faults.caught():
                banner[key] = read_dotconfig(path)
    versions = {key: parse_version(found.version) for key, found in banner.items() if found.version}
    return replace(
        facts,
        production=config_of(banner["production"]) if "production" in banner else None,
        capture=config_of(banner["capture"]) if "capture" in banner else None,
        kernel=versions.get("production"),
        capture_kernel=versions.get("capture"),
    )


def _texts(given: Given, facts: Facts, faults: _Faults) -> Facts:
    with faults.caught():
        facts = replace(facts, cmdline=_cmdline(given.cmdline, Input.CMDLINE))
    capture_cmdline = None
    with faults.caught():
        capture_cmdline = _cmdline(given.capture_cmdline, Input.CAPTURE_CMDLINE)
    return replace(facts, capture_cmdline=capture_cmdline)


def _cmdline(text: str | None, option: Input) -> Cmdline | None:
    if text is None:
        return None
    if not text.startswith("@"):
        return Cmdline(text.strip(), option.value)
    name = text[1:]
    data = load(Path(name), limit=_TEXT).decode("utf-8", errors="replace")
    return Cmdline(" ".join(data.replace("\0", " ").split()), name)


def _versions(given: Given, facts: Facts, faults: _Faults) -> Facts:
    def version(text: str | None, option: Input) -> Version | None:
        if text is None:
            return None
        try:
            return parse_version(text)
        except ValueError as error:
            hint = "give numbers with dots, 2.0.29 for example"
            faults.found.append(Fault(str(error), where=option.value, hint=hint))
            return None

    kernel = version(given.kernel_version, Input.KERNEL)
    image_size = None
    if given.image_size is not None:
        try:
            image_size = int(given.image_size, 0)
        except ValueError:
            hint = "give what kexec gets: 0x800000 for example"
            faults.found.append(Fault(f"{given.image_size!r} is not a number", where="--image-size", hint=hint))
    return replace(
        facts,
        kernel=kernel or facts.kernel,
        kexec_tools=version(given.kexec_tools, Input.KEXEC_TOOLS),
        makedumpfile=version(given.makedumpfile, Input.MAKEDUMPFILE),
        ram=_ram(given.ram, faults.found),
        image_size=image_size,
    )


def _ram(text: str | None, faults: list[Fault]) -> tuple[Bank, ...]:
    banks: list[Bank] = []
    for part in (text or "").split(","):
        if not part:
            continue
        try:
            banks.append(parse_bank(part))
        except ValueError as error:
            faults.append(Fault(str(error), where=Input.RAM.value, hint="write SIZE@BASE: 512M@0x40000000"))
    return tuple(banks)


def _images(given: Given, facts: Facts, faults: _Faults) -> Facts:
    zimage = image = vmlinux = None
    with faults.caught():
        zimage = read_zimage(given.zimage) if given.zimage is not None else None
    with faults.caught():
        image = read_arm64_image(given.image) if given.image is not None else None
    with faults.caught():
        vmlinux = read_vmlinux(given.vmlinux) if given.vmlinux is not None else None
    if given.zimage is not None and given.image is not None:
        faults.found.append(Fault("--zimage and --image exclude each other", hint="zImage is arm's, Image is arm64's"))
    name = str(given.zimage or given.image or "")
    if facts.kernel is None and vmlinux is not None and vmlinux.version:
        facts = replace(facts, kernel=parse_version(vmlinux.version))
    return replace(facts, zimage=zimage, image=image, vmlinux=vmlinux, image_name=name)


def _trees(given: Given, facts: Facts, faults: _Faults) -> Facts:
    dtb = None
    with faults.caught():
        dtb = read_devicetree(given.dtb) if given.dtb is not None else None
    return replace(facts, dtb=dtb)


def _userland(given: Given, facts: Facts, faults: _Faults) -> Facts:
    if given.initramfs is not None:
        with faults.caught():
            initramfs = read_initramfs(given.initramfs)
            programs, damaged = programs_of(initramfs)
            facts = replace(
                facts, initramfs=initramfs, initramfs_programs=programs, damaged_programs=damaged,
                makedumpfile=facts.makedumpfile or makedumpfile_of(initramfs),
            )  # fmt: skip
    if given.rootfs is not None:
        with faults.caught():
            rootfs, versions = read_rootfs(given.rootfs)
            facts = replace(
                facts,
                rootfs=rootfs,
                kexec_tools=facts.kexec_tools or versions.get("kexec-tools"),
                makedumpfile=facts.makedumpfile or versions.get("makedumpfile"),
            )
    return facts


# -- the whole ----------------------------------------------------------------------------------------------------


def _arch(given: Given, facts: Facts) -> Arch | None:
    """Return the architecture that all inputs agree on. Raises UserError when they do not."""
    said: dict[str, str] = {}
    if given.arch is not None:
        if given.arch not in ARCHES:
            raise user_error(f"{given.arch} is not supported", where=Input.ARCH.value, hint=nearest(given.arch, ARCHES))
        said[Input.ARCH.value] = given.arch
    if facts.board is not None:
        said[str(facts.board.path)] = facts.board.arch.name
    for config in (facts.production, facts.capture):
        if config is not None:
            name = "arm64" if config.on("ARM64") else "arm" if config.on("ARM") else ""
            if not name:
                hint = "kdumpbuild is for arm and arm64"
                raise user_error("a configuration for neither arm nor arm64", where=config.name, hint=hint)
            said[config.name] = name
    if facts.zimage is not None:
        said[facts.image_name] = "arm"
    if facts.image is not None:
        said[facts.image_name] = "arm64"
    if facts.vmlinux is not None:
        elf = facts.vmlinux.elf
        known = next((a.name for a in ARCHES.values() if a.elf_machine == elf.machine), None)
        if known is None:
            raise user_error(f"a kernel for {elf.machine}", where=elf.name, hint="kdumpbuild is for arm and arm64")
        said[elf.name] = known
    if len(set(said.values())) > 1 and not _only_kernels_differ(said, facts):
        why = "\n".join(f"{where}: {name}" for where, name in said.items())
        raise user_error("the inputs are for different architectures", why=why, hint="give those of one product")
    return ARCHES[next(iter(said.values()))] if said else None


def _only_kernels_differ(said: Mapping[str, str], facts: Facts) -> bool:
    """Whether two configurations are all that disagrees: that is a rule's business."""
    configs = {c.name for c in (facts.production, facts.capture) if c is not None}
    return len(configs) == 2 and set(said) == configs


def _shown(given: Given) -> dict[str, str]:
    """Return option and value of each input, for reports."""
    values: dict[Input, Any] = {
        Input.ARCH: given.arch,
        Input.PRODUCTION: given.config,
        Input.CAPTURE: given.capture_config,
        Input.KERNEL: given.kernel_version,
        Input.DTB: given.dtb,
        Input.CMDLINE: given.cmdline,
        Input.CAPTURE_CMDLINE: given.capture_cmdline,
        Input.ZIMAGE: given.zimage,
        Input.IMAGE: given.image,
        Input.VMLINUX: given.vmlinux,
        Input.INITRAMFS: given.initramfs,
        Input.RAM: given.ram,
        Input.KEXEC_TOOLS: given.kexec_tools,
        Input.MAKEDUMPFILE: given.makedumpfile,
        Input.ROOTFS: given.rootfs,
        Input.BOARD: given.board.path if given.board is not None else None,
    }
    return {option.value: str(value) for option, value in values.items() if value is not None}


def describe(facts: Facts) -> str:
    """Return in one line what was judged."""
    parts = [facts.board.name if facts.board is not None else "", facts.arch.name if facts.arch is not None else ""]
    parts.append(f"Linux {show(facts.kernel)}" if facts.kernel is not None else "")
    parts.append(" + ".join(format_size(bank.size) for bank in facts.ram))
    return ", ".join(part for part in parts if part)
