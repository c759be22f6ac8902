"""From what is known of a board to the values of its file, and questions where something is not known."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kdumpbuild.board.loader import UNANSWERED
from kdumpbuild.board.memory import ARM_VMALLOC_SIZE, arm_lowmem_end
from kdumpbuild.board.model import Bank
from kdumpbuild.board.size import format_size, human
from kdumpbuild.errors import Fault, UserError, user_error
from kdumpbuild.formats.devicetree import facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdumpbuild.formats.devicetree import DeviceTree
    from kdumpbuild.newboard.hardware import Hardware, Storage
    from kdumpbuild.newboard.probe import BlockDevice, Probe

_FILESYSTEMS = ("ext4", "f2fs", "vfat")
_FOR_DUMPS = re.compile(r"(k?dump|crash(dump|log)?|coredump)s?", re.IGNORECASE)
_PAGE_OFFSET = 0xC0000000


@dataclass(frozen=True)
class Answers:
    """What the user said on the command line. Empty where nothing was said."""

    arch: str = ""
    ram: tuple[str, ...] = ()
    console: str = ""
    storage: str = ""
    device: str = ""
    filesystem: str = ""


@dataclass(frozen=True)
class Value:
    """A key's value, or the question that has to be answered for it."""

    value: str | list[str]
    note: str = ""
    """Where it is from."""
    question: str = ""
    number: int = 0
    """Of the question, from 1."""
    candidates: tuple[str, ...] = ()
    """Lines that help to answer it."""


@dataclass
class Draft:
    """All that goes into the file."""

    name: str
    description: str
    arch: str
    soc: str
    about: list[str]
    """Lines for the head of the file."""
    ram: Value
    memory_notes: list[str]
    console: Value
    console_node: str
    storage: Value
    storages: list[str]
    device: Value
    filesystem: Value
    watchdog: Value | None
    watchdog_notes: list[str]
    watchdog_device: str
    watchdog_timeout: int
    questions: list[Value] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else the user should be told."""


def draft(name: str, hardware: Hardware, probe: Probe | None, answers: Answers) -> Draft:
    """Return a board file's content. Raises UserError with every answer that cannot be right."""
    hardware.check_is_a_board()
    maker = _Maker(hardware, probe, answers)
    return maker.make(name)


class _Maker:
    def __init__(self, hardware: Hardware, probe: Probe | None, answers: Answers) -> None:
        self.hardware, self.probe, self.answers = hardware, probe, answers
        self.facts: DeviceTree = facts_of(hardware.tree)
        self.questions: list[Value] = []
        self.faults: list[Fault] = []
        self.where = hardware.tree.name

    def ask(self, question: str, candidates: Sequence[str] = (), *, many: bool = False) -> Value:
        value: str | list[str] = [UNANSWERED] if many else UNANSWERED
        asked = Value(value, question=question, number=len(self.questions) + 1, candidates=tuple(candidates))
        self.questions.append(asked)
        return asked

    def make(self, name: str) -> Draft:
        arch = self._arch()
        ram, memory_notes = self._memory(arch)
        console, console_node = self._console()
        target = self._target()
        storage = self._storage(target)
        device, filesystem = self._dump(target, storage)
        dog, dog_notes, dog_device, timeout = self._watchdog()
        if self.faults:
            raise UserError(*self.faults)
        return Draft(
            name=name,
            description=self.hardware.model or name,
            arch=arch,
            soc=self.hardware.soc,
            about=self._about(),
            ram=ram,
            memory_notes=memory_notes,
            console=console,
            console_node=console_node,
            storage=storage,
            storages=[s.line for s in self.hardware.storages()],
            device=device,
            filesystem=filesystem,
            watchdog=dog,
            watchdog_notes=dog_notes,
            watchdog_device=dog_device,
            watchdog_timeout=timeout,
            questions=self.questions,
            notes=self._notes(),
        )

    # -- what it is ---------------------------------------------------------------------------------------------------

    def _arch(self) -> str:
        said = {"the device tree": self.hardware.arch()}
        if self.probe is not None:
            config = self.probe.config
            word = "arm64" if "\nCONFIG_ARM64=y" in config else "arm" if "\nCONFIG_ARM=y" in config else ""
            said["the running kernel's config"] = word
            machine = self.probe.machine
            said["uname -m"] = "arm64" if machine == "aarch64" else "arm" if machine.startswith("armv") else ""
        said = {source: name for source, name in said.items() if name}
        running = {name for source, name in said.items() if source != "the device tree"}
        if self.answers.arch:
            too_old = self.answers.arch == "arm64" and said.get("the device tree") == "arm"
            if too_old or running - {self.answers.arch}:
                self.faults.append(
                    Fault(f"not a board for {self.answers.arch}", where="--arch",
                          why="\n".join(f"{source} says {name}" for source, name in said.items()))
                )  # fmt: skip
            return self.answers.arch
        if len(running) == 1:  # a 32-bit kernel on a 64-bit core: what runs counts
            return running.pop()
        if len(set(said.values())) == 1:
            return next(iter(said.values()))
        raise user_error(
            "cannot tell whether its kernel is arm or arm64", where=self.where,
            why="it has no CPU whose core is known", hint="say it: --arch arm, or --arch arm64",
        )  # fmt: skip

    def _about(self) -> list[str]:
        lines = [f"compatible: {', '.join(self.facts.compatible[:4])}"]
        if self.probe is not None:
            lines.append(f"probed while it ran {self.probe.release or 'an unknown kernel'}")
        if "spin-table" in self.facts.cpus:
            lines.append("CPUs start from a spin table: they do not stop at a crash (kdumpbuild check --explain KD041)")
        return lines

    def _notes(self) -> list[str]:
        notes = [f"missing in {self.probe.name}: {what}" for what in self.probe.missing] if self.probe else []
        if self.facts.linux_crash:
            notes.append(f"the tree is of a capture kernel ({', '.join(self.facts.linux_crash)}): probe in production")
        if self.facts.efi:
            notes.append("it was booted through EFI")
        return notes

    # -- memory -------------------------------------------------------------------------------------------------------

    def _memory(self, arch: str) -> tuple[Value, list[str]]:
        banks = [Bank(r.base, r.size) for r in self.facts.memory]
        note = "from the device tree"
        if not banks and self.probe is not None and self.probe.ram:
            banks, note = list(self.probe.ram), "from /proc/iomem"
        if self.answers.ram:
            value = Value(list(self.answers.ram))
        elif banks:
            value = Value([f"{format_size(bank.size)}@{bank.base:#x}" for bank in banks], note=note)
        else:
            why = "the boot loader fills it in" if self.facts.memory_nodes else "the tree has no /memory"
            value = self.ask(
                f"How much RAM, and where? ({why})",
                ['size@address of each bank: ram = ["512M@0x80000000"]; on the board: grep System /proc/iomem'],
                many=True,
            )
        return value, [*self._lowmem(arch, banks), *self._reserved()]

    def _lowmem(self, arch: str, banks: Sequence[Bank]) -> list[str]:
        if arch != "arm" or not banks:
            return []
        config = self.probe.config if self.probe is not None else ""
        match = re.search(r"^CONFIG_PAGE_OFFSET=(0x[0-9A-Fa-f]+)", config, re.MULTILINE)
        end = arm_lowmem_end(banks, int(match[1], 16) if match else _PAGE_OFFSET, ARM_VMALLOC_SIZE)
        split = f"CONFIG_PAGE_OFFSET={match[1]}" if match else "with the usual 3G/1G split"
        return [f"Low memory ends at {end:#x} ({split}); the crash region has to lie below."]

    def _reserved(self) -> list[str]:
        lines = [f"{r.base:#x}  {human(r.size):>9}  {r.name}" for r in self.facts.reserved]
        lines += [
            f"{'anywhere':>10}  {human(p.size):>9}  {p.name}{' (CMA)' if p.cma else ''}" for p in self.facts.pools
        ]
        return ["Reserved in the device tree, not free for the crash region:", *lines] if lines else []

    # -- console ------------------------------------------------------------------------------------------------------

    def _console(self) -> tuple[Value, str]:
        ports = {port.tty: port for port in self.hardware.ports()}
        if self.answers.console:
            known = ports.get(self.answers.console.partition(",")[0])
            return Value(self.answers.console), known.path if known else ""
        if self.probe is not None:
            for word in reversed(self.probe.cmdline.split()):
                name = word.removeprefix("console=").partition(",")[0]
                if word.startswith("console=tty") and re.fullmatch(r"tty[A-Za-z]+\d+", name):
                    node = self.probe.consoles.get(name, "") or (ports[name].path if name in ports else "")
                    return Value(word.removeprefix("console="), note="from /proc/cmdline"), node
        stdout = self.hardware.stdout()
        if stdout is not None and stdout[0].tty:
            port, speed = stdout
            return Value(f"{port.tty},{speed or '115200'}", note="from stdout-path"), port.path
        if len(ports) == 1:
            port = next(iter(ports.values()))
            return Value(f"{port.tty},115200", note="the only serial port that is on; speed assumed"), port.path
        listed = [f"{port.tty}  {port.path}" for port in ports.values()]
        return self.ask('Which serial console? As on the kernel command line: "ttyS0,115200"', listed), ""

    # -- storage and dump target --------------------------------------------------------------------------------------

    def _target(self) -> BlockDevice | None:
        """Return the probed partition that is to take the dump: the one that was named, or one named for it."""
        if self.probe is None:
            return None
        name = self.answers.device.removeprefix("/dev/")
        label = self.answers.device.removeprefix("PARTLABEL=")
        if self.answers.device:
            return next((b for b in self.probe.blocks if b.name == name or (b.label and b.label == label)), None)
        named = [b for b in self.probe.blocks if b.is_partition and _FOR_DUMPS.fullmatch(b.label)]
        return named[0] if len(named) == 1 else None

    def _storage(self, target: BlockDevice | None) -> Value:
        if self.answers.storage:
            return self._named_storage()
        if target is not None and target.node:
            return Value(target.node, note=f"where {target.name} is")
        usual = self.hardware.usual_storages()
        disk = re.fullmatch(r"/dev/(mmcblk\d+)(p\d+)?", self.answers.device)
        matching = [s for s in usual if disk is not None and s.device == disk[1]]
        if len(matching) == 1:
            return Value(matching[0].path, note=f"alias {matching[0].alias}: {matching[0].device}")
        if len(usual) == 1:
            return Value(usual[0].path, note=f"{usual[0].kind}, the only one that is on")
        candidates = [s.line for s in (usual or self.hardware.storages())]
        return self.ask("Which storage controller is the dump target behind? Its path or alias", candidates)

    def _named_storage(self) -> Value:
        """Return the controller that the user named, if it can be one."""
        try:
            node = self.hardware.nodes.find(self.answers.storage, "--storage")
        except UserError as error:
            self.faults += error.faults
            return Value(UNANSWERED)
        usable = "\n".join(s.line for s in self.hardware.usual_storages()) or "none"
        storage = self.hardware.storage(node)
        if storage is None:
            self.faults.append(
                Fault(f"{node.path} is no storage that is known", where="--storage", why=f"known here:\n{usable}",
                      hint="name the controller, not the partition; if it is one, write it into the file yourself")
            )  # fmt: skip
        elif not storage.enabled:
            off = next((n for n in (node, *self.hardware.nodes.ancestors(node)) if not n.enabled), node)
            self.faults.append(
                Fault(f"{node.path} is switched off in {self.where}", where="--storage",
                      why=f'status of {off.path} is "{off.string("status")}"; these are on:\n{usable}',
                      hint="is it the tree that the product runs? /sys/firmware/fdt of the board tells")
            )  # fmt: skip
        return Value(node.path)

    def _dump(self, target: BlockDevice | None, storage: Value) -> tuple[Value, Value]:
        blocks = self.probe.blocks if self.probe is not None else ()
        if self.answers.device:
            device = Value(self.answers.device)
            if blocks and target is None and self.answers.device.startswith(("/dev/", "PARTLABEL=")):
                listed = "\n".join(_partition(b) for b in blocks) or "none"
                fault = Fault(f"the board had no {self.answers.device}", where="--dump", why=f"it had:\n{listed}")
                self.faults.append(fault)
        elif target is not None:
            device = Value(f"PARTLABEL={target.label}", note=f"named for it; {target.name}, {human(target.size)}")
        else:
            device = self.ask("Which partition takes the dump?", self._partitions(blocks, storage))
        known = target.filesystem if target is not None else ""
        if self.answers.filesystem:
            return device, Value(self.answers.filesystem)
        if known in _FILESYSTEMS:
            return device, Value(known, note="as it was found there")
        found = (f"there is {known} on it, which is not one of them",) if known else ()
        return device, self.ask(f"With which file system? {', '.join(_FILESYSTEMS)}", found)

    def _partitions(self, blocks: Sequence[BlockDevice], storage: Value) -> list[str]:
        if blocks:
            return [_partition(b) for b in blocks if b.is_partition] or [_partition(b) for b in blocks]
        chosen = next((s for s in self.hardware.storages() if s.path == storage.value), None)
        name = _example(chosen)
        return [f'its name when the capture kernel runs: "/dev/{name}", or PARTLABEL=, LABEL=, UUID=']

    # -- watchdog -----------------------------------------------------------------------------------------------------

    def _watchdog(self) -> tuple[Value | None, list[str], str, int]:
        """Return the node, notes, the device and the timeout."""
        dogs = self.hardware.dogs()
        running = self.probe.watchdogs if self.probe is not None else ()
        listed = [f"{dog.path}  {dog.compatible}" for dog in dogs]
        if running:
            one = next((w for w in running if w.active), running[0])
            state = "was fed" if one.active else "was not running"
            note = f"{one.identity or one.name} {state} when the board was probed"
            device = "/dev/watchdog" if one.name == "watchdog0" else f"/dev/{one.name}"
            if one.node:
                return Value(one.node, note=note), [], device, one.timeout or 30
            dogs = dogs if len(dogs) == 1 else []
        elif self.probe is not None and self.probe.has_watchdogs:
            return None, ["The board had no watchdog device when it was probed.", *listed], "", 0
        if not dogs:
            return None, ["No watchdog is switched on in the device tree whose driver is known.", *listed], "", 0
        timeout = next((dog.timeout for dog in dogs if dog.timeout), 30)
        if len(dogs) == 1:
            return Value(dogs[0].path, note=dogs[0].compatible), [], "/dev/watchdog", timeout
        node = self.ask("Which watchdog does the product feed? Its path or alias", listed)
        return node, [], "/dev/watchdog", timeout


def _partition(block: BlockDevice) -> str:
    words = [f"/dev/{block.name}", human(block.size) if block.size else "", block.label and f'"{block.label}"']
    words += [block.filesystem, f"mounted on {block.mounted}" if block.mounted else "", block.node]
    return "  ".join(word for word in words if word)


def _example(storage: Storage | None) -> str:
    if storage is None:
        return "mmcblk0p1"
    if storage.device.startswith("mmcblk"):
        return f"{storage.device}{'' if storage.device[-1].isdigit() else 'N'}p1"
    return {"sd": "sda1", "vd": "vda", "nvme": "nvme0n1p1", "mtd": "mtdblock0"}[storage.device]
