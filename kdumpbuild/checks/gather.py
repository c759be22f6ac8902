"""From files and options to facts. Reads; every file that cannot be used is told at once."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdumpbuild.board.arch import ARCHES
from kdumpbuild.board.model import Bank
from kdumpbuild.board.size import format_size, parse_size
from kdumpbuild.checks.facts import Cmdline, Config, Facts, Program, Rootfs, Version, parse_version, show
from kdumpbuild.checks.model import Input
from kdumpbuild.errors import Fault, UserError, nearest, user_error
from kdumpbuild.formats.arm64_image import read_arm64_image
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.formats.elf import needs_of, read_elf, read_vmlinux
from kdumpbuild.formats.initramfs import read_initramfs
from kdumpbuild.formats.reading import MIB, load
from kdumpbuild.formats.zimage import read_zimage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kdumpbuild.board.arch import Arch
    from kdumpbuild.board.model import Board
    from kdumpbuild.formats.dotconfig import DotConfig
    from kdumpbuild.formats.elf import Elf
    from kdumpbuild.formats.initramfs import Initramfs

_TEXT = 4 * MIB
_MAX_PROGRAMS = 1000
_PROGRAMS = ("kexec", "makedumpfile", "busybox", "vmcore-dmesg")
_FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
_SYSCTL_FOLDERS = ("usr/lib/sysctl.d", "lib/sysctl.d", "usr/local/lib/sysctl.d", "etc/sysctl.d")
_PACKAGE_LISTS = ("var/lib/dpkg/status", "var/lib/opkg/status", "usr/lib/opkg/status", "lib/apk/db/installed")


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
        with faults.caught():
            facts = read(given, facts)
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


def facts_from_set(
    folder: Path,
    board: Board,
    *,
    production: Path | None = None,
    dtb: Path | None = None,
    cmdline: str | None = None,
    places: Mapping[str, str] | None = None,
) -> Facts:
    """Return the facts of an image set, read from its files. Raises UserError when it is not whole.

    ``production``: the product's .config, for a set whose production kernel was not built. ``dtb`` and ``cmdline``
    are the product's as well; without a command line the set's own arguments for boot loaders count. ``places``:
    ``file:line`` of the fragment lines behind the capture kernel's config.
    """
    manifest = _manifest(folder)
    values = _shell_values(folder / "kdump-load.conf")
    arguments = shlex.split(values.get("KDUMP_KEXEC_ARGS", ""))
    sizes = [a.partition("=")[2] for a in arguments if a.startswith("--image-size=")]
    own_config = folder / "production" / "config"
    own_vmlinux = folder / "debug" / "vmlinux"
    kernel = folder / board.arch.image
    is_arm = board.arch.name == "arm"
    arguments_file = folder / "boot" / "arguments.txt"
    if cmdline is None and arguments_file.is_file():
        cmdline = f"@{arguments_file}"
    versions = _package_versions(manifest.get("tools", {}).get("userland", []))
    given = Given(
        arch=board.arch.name,
        config=own_config if own_config.is_file() else production,
        capture_config=folder / "capture.config",
        dtb=dtb,
        cmdline=cmdline,
        capture_cmdline=values.get("KDUMP_CMDLINE"),
        zimage=kernel if is_arm else None,
        image=None if is_arm else kernel,
        vmlinux=own_vmlinux if own_vmlinux.is_file() else None,
        initramfs=next(iter(sorted(folder.glob("initramfs.cpio*"))), folder / "initramfs.cpio.gz"),
        kexec_tools=versions.get("kexec-tools"),
        makedumpfile=versions.get("makedumpfile"),
        board=board,
        image_size=sizes[-1] if sizes else ("0" if is_arm else None),
        file_load="-s" in arguments,
    )
    facts = gather(given)
    capture = facts.capture
    if capture is not None and places:
        capture = replace(capture, places=places)
    return replace(facts, capture=capture, makedumpfile_options=board.arch.makedumpfile)


# -- the inputs, one after the other ------------------------------------------------------------------------------


def _configs(given: Given, facts: Facts) -> Facts:
    faults = _Faults()
    banner: dict[str, DotConfig] = {}
    for key, path in (("production", given.config), ("capture", given.capture_config)):
        if path is not None:
            with faults.caught():
                banner[key] = read_dotconfig(path)
    if faults.found:
        raise UserError(*faults.found)
    versions = {key: parse_version(found.version) for key, found in banner.items() if found.version}
    return replace(
        facts,
        production=config_of(banner["production"]) if "production" in banner else None,
        capture=config_of(banner["capture"]) if "capture" in banner else None,
        kernel=versions.get("production"),
        capture_kernel=versions.get("capture"),
    )


def _texts(given: Given, facts: Facts) -> Facts:
    return replace(
        facts,
        cmdline=_cmdline(given.cmdline, Input.CMDLINE),
        capture_cmdline=_cmdline(given.capture_cmdline, Input.CAPTURE_CMDLINE),
    )


def _cmdline(text: str | None, option: Input) -> Cmdline | None:
    if text is None:
        return None
    if not text.startswith("@"):
        return Cmdline(text.strip(), option.value)
    name = text[1:]
    data = load(Path(name), limit=_TEXT).decode("utf-8", errors="replace")
    return Cmdline(" ".join(data.replace("\0", " ").split()), name)


def _versions(given: Given, facts: Facts) -> Facts:
    faults: list[Fault] = []

    def version(text: str | None, option: Input) -> Version | None:
        if text is None:
            return None
        try:
            return parse_version(text)
        except ValueError as error:
            faults.append(Fault(str(error), where=option.value, hint="give numbers with dots, 2.0.29 for example"))
            return None

    kernel = version(given.kernel_version, Input.KERNEL)
    kexec_tools = version(given.kexec_tools, Input.KEXEC_TOOLS)
    makedumpfile = version(given.makedumpfile, Input.MAKEDUMPFILE)
    ram = _ram(given.ram, faults)
    image_size = None
    if given.image_size is not None:
        try:
            image_size = int(given.image_size, 0)
        except ValueError:
            faults.append(Fault(f"{given.image_size!r} is not a number", where="--image-size"))
    if faults:
        raise UserError(*faults)
    return replace(
        facts,
        kernel=kernel or facts.kernel,
        kexec_tools=kexec_tools,
        makedumpfile=makedumpfile,
        ram=ram,
        image_size=image_size,
    )


def _ram(text: str | None, faults: list[Fault]) -> tuple[Bank, ...]:
    banks: list[Bank] = []
    for part in (text or "").split(","):
        if not part:
            continue
        size, _, base = part.partition("@")
        try:
            banks.append(Bank(parse_size(base), parse_size(size)))
        except ValueError as error:
            faults.append(Fault(f"{part!r}: {error}", where=Input.RAM.value, hint="write SIZE@BASE: 512M@0x40000000"))
    return tuple(banks)


def _images(given: Given, facts: Facts) -> Facts:
    faults = _Faults()
    zimage = image = vmlinux = None
    with faults.caught():
        zimage = read_zimage(given.zimage) if given.zimage is not None else None
    with faults.caught():
        image = read_arm64_image(given.image) if given.image is not None else None
    with faults.caught():
        vmlinux = read_vmlinux(given.vmlinux) if given.vmlinux is not None else None
    if given.zimage is not None and given.image is not None:
        faults.found.append(Fault("--zimage and --image exclude each other", hint="zImage is arm's, Image is arm64's"))
    if faults.found:
        raise UserError(*faults.found)
    name = str(given.zimage or given.image or "")
    if facts.kernel is None and vmlinux is not None and vmlinux.version:
        facts = replace(facts, kernel=parse_version(vmlinux.version))
    return replace(facts, zimage=zimage, image=image, vmlinux=vmlinux, image_name=name)


def _trees(given: Given, facts: Facts) -> Facts:
    return replace(facts, dtb=read_devicetree(given.dtb) if given.dtb is not None else None)


def _userland(given: Given, facts: Facts) -> Facts:
    if given.initramfs is not None:
        initramfs = read_initramfs(given.initramfs)
        programs, damaged = _programs(initramfs)
        facts = replace(
            facts, initramfs=initramfs, initramfs_programs=programs, damaged_programs=damaged
        )
    if given.rootfs is not None:
        rootfs, versions = read_rootfs(given.rootfs)
        facts = replace(
            facts,
            rootfs=rootfs,
            kexec_tools=facts.kexec_tools or versions.get("kexec-tools"),
            makedumpfile=facts.makedumpfile or versions.get("makedumpfile"),
        )
    return facts


def _programs(initramfs: Initramfs) -> tuple[tuple[Program, ...], tuple[tuple[str, str], ...]]:
    """Return the ELF programs and libraries of an initramfs, and the damaged ones."""
    programs: list[Program] = []
    damaged: list[tuple[str, str]] = []
    for entry in initramfs.entries[: 200 * _MAX_PROGRAMS]:
        if not entry.is_file or not entry.data.startswith(b"\x7fELF") or len(programs) >= _MAX_PROGRAMS:
            continue
        try:
            elf = read_elf(entry.data, where=f"{initramfs.name}: /{entry.name}")
        except UserError as error:
            damaged.append((entry.name, error.faults[0].why))
            continue
        if elf.type in ("ET_EXEC", "ET_DYN"):
            programs.append(_program(entry.name, elf))
    return tuple(programs), tuple(damaged)


def _program(path: str, elf: Elf) -> Program:
    return Program(path, needs_of(elf), elf.interpreter, elf.needed)


def read_rootfs(folder: Path) -> tuple[Rootfs, dict[str, Version]]:
    """Read what matters of a target's root directory, and the versions its package list gives.

    Raises UserError when it is none.
    """
    if not any((folder / name).is_dir() for name in ("bin", "usr/bin", "etc")):
        raise user_error("not a root directory", where=str(folder), why="it has neither bin, usr/bin nor etc")
    programs = []
    for name in _PROGRAMS:
        for shown in (f"{f}/{name}" for f in _FOLDERS):
            path = _inside(folder, shown)
            if path is not None and _is_elf(path):
                programs.append(_program(shown, read_elf(path)))
                break
    return Rootfs(str(folder), tuple(programs), _sysctls(folder)), _installed(folder)


def _inside(folder: Path, name: str) -> Path | None:
    """Return the file called ``name`` on the target, its symbolic links followed as the target would; or None."""
    parts = name.split("/")
    done: list[str] = []
    for _ in range(200):
        if not parts:
            path = folder.joinpath(*done)
            return path if path.is_file() else None
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        path = folder.joinpath(*done, part)
        if path.is_symlink():
            target = str(path.readlink())
            done = [] if target.startswith("/") else done
            parts = [*target.split("/"), *parts]
        else:
            done.append(part)
    return None


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False


def _sysctls(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the sysctls set at boot, in the order of sysctl.d(5): by file name, folders of /etc before others."""
    files: dict[str, Path] = {}
    for name in _SYSCTL_FOLDERS:
        for path in sorted((folder / name).glob("*.conf")):
            files[path.name] = path
    paths = [files[name] for name in sorted(files)]
    paths.append(folder / "etc" / "sysctl.conf")
    paths = [path for path in paths if not path.is_symlink()]  # usually to a file that is here already
    found: dict[str, tuple[str, str]] = {}
    for path in paths:
        if not path.is_file():
            continue
        text = load(path, limit=_TEXT).decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            key, separator, value = line.partition("=")
            name = key.strip().lstrip("-").replace("/", ".")
            if separator and not name.startswith(("#", ";")):
                found[name] = (value.strip(), f"{path}:{number}")
    return found


def _installed(folder: Path) -> dict[str, Version]:
    """Return the versions of the packages that rules ask for, from the package manager's list."""
    found: dict[str, Version] = {}
    for name in _PACKAGE_LISTS:
        path = folder / name
        if not path.is_file():
            continue
        text = load(path, limit=64 * MIB).decode("utf-8", errors="replace")
        pattern = r"^(?:Package: |P:)(kexec-tools|kexec|makedumpfile)\n(?:(?!\n\n).)*?^(?:Version: |V:)(?:\d+:)?(\S+)"
        for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
            try:
                found["makedumpfile" if match[1] == "makedumpfile" else "kexec-tools"] = parse_version(match[2])
            except ValueError:
                continue
    return found


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


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        found = json.loads(load(path, limit=_TEXT))
    except ValueError as error:
        raise user_error("not a manifest", where=str(path), why=str(error), hint="build the set again") from error
    if not isinstance(found, dict):
        raise user_error("not a manifest", where=str(path), hint="build the set again")
    return found


def _shell_values(path: Path) -> dict[str, str]:
    """Return the assignments of a shell file that only assigns."""
    text = load(path, limit=_TEXT).decode("utf-8", errors="replace")
    found = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            try:
                found[name] = "".join(shlex.split(value))
            except ValueError:
                continue
    return found


def _package_versions(packages: object) -> dict[str, str]:
    """Return upstream versions from ``name version`` lines of a manifest."""
    found = {}
    for line in packages if isinstance(packages, list) else []:
        name, _, version = str(line).partition(" ")
        match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)+)", version.strip())
        if match:
            found[name] = match[1]
    return found


def describe(facts: Facts) -> str:
    """Return in one line what was judged."""
    parts = [facts.board.name if facts.board is not None else "", facts.arch.name if facts.arch is not None else ""]
    parts.append(f"Linux {show(facts.kernel)}" if facts.kernel is not None else "")
    parts.append(" + ".join(format_size(bank.size) for bank in facts.ram))
    return ", ".join(part for part in parts if part)
