"""What a device tree says about the things that matter when a kernel crashes: memory, CPUs, /chosen, watchdogs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild.formats.fdt import read_fdt

if TYPE_CHECKING:
    from kdumpbuild.formats.fdt import Fdt, Node
    from kdumpbuild.formats.reading import Source


@dataclass(frozen=True)
class Range:
    """A range of physical addresses, in bytes."""

    base: int
    size: int
    name: str = ""

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.base + self.size

    def overlaps(self, base: int, end: int) -> bool:
        """Whether it has an address in common with [base, end)."""
        return self.base < end and base < self.end


@dataclass(frozen=True)
class Pool:
    """A node below /reserved-memory that the kernel places itself, or a reusable (CMA) one."""

    name: str
    size: int
    cma: bool


@dataclass(frozen=True)
class DeviceTree:
    """The facts taken from a device tree."""

    name: str
    size: int
    """Of the blob, in bytes."""
    model: str
    compatible: tuple[str, ...]
    memory: tuple[Range, ...]
    """RAM. Empty when no node describes any, or all have size 0 for the boot loader to fill in."""
    memory_nodes: int
    reserved: tuple[Range, ...]
    """The reservation block and the fixed nodes of /reserved-memory."""
    pools: tuple[Pool, ...]
    cpus: tuple[str, ...]
    """``enable-method`` of each CPU that is not disabled; empty text when it has none."""
    psci: bool
    has_chosen: bool
    bootargs: str
    stdout_path: str
    """``stdout-path`` as written, with any alias still in it."""
    stdout_compatible: tuple[str, ...]
    """``compatible`` of the console's node; empty when there is none."""
    kaslr_seed: bool
    """Whether /chosen has a kaslr-seed that is not 0."""
    ramoops: tuple[str, ...]
    """Paths of the ramoops nodes."""
    ubi: tuple[str, ...]
    """Paths of the flash partitions that the kernel attaches to UBI by itself (drivers/mtd/ubi/build.c)."""
    watchdogs: tuple[tuple[str, tuple[str, ...]], ...]
    """Path and ``compatible`` of each node that looks like a watchdog and is enabled."""
    efi: bool
    """Whether the kernel was booted through EFI: /chosen names the system table."""
    linux_crash: tuple[str, ...]
    """Properties that kexec itself adds: the tree was taken from a kernel started by kexec."""


def read_devicetree(source: Source, *, where: str = "") -> DeviceTree:
    """Read a device tree blob and return its facts. Raises UserError as :func:`~kdumpbuild.formats.fdt.read_fdt`."""
    return facts_of(read_fdt(source, where=where))


def facts_of(tree: Fdt) -> DeviceTree:
    """Return the facts of a device tree."""
    root = tree.root
    # Linux, drivers/of/fdt.c: an arm root without the properties counts as 1 and 1.
    cells = root.cell("#address-cells", 1), root.cell("#size-cells", 1)
    memory_nodes = [n for n in root.children if n.string("device_type") == "memory" or n.name == "memory"]
    memory = tuple(
        Range(base, size, node.path)
        for node in memory_nodes
        if node.enabled
        for base, size in node.reg("reg", *cells)
        if size
    )
    chosen = root.child("chosen")
    reserved, pools = _reserved(tree, cells)
    stdout = chosen.string("stdout-path") or chosen.string("linux,stdout-path") if chosen else ""
    console = _resolve(tree, stdout)
    cpus = root.child("cpus")
    all_nodes = list(root.walk())
    return DeviceTree(
        name=tree.name,
        size=tree.size,
        model=root.string("model"),
        compatible=root.strings("compatible"),
        memory=memory,
        memory_nodes=len(memory_nodes),
        reserved=reserved,
        pools=pools,
        cpus=tuple(_enable_method(cpu, cpus) for cpu in cpus.children if _is_cpu(cpu)) if cpus else (),
        psci=any(c.startswith("arm,psci") for n in root.children for c in n.strings("compatible")),
        has_chosen=chosen is not None,
        bootargs=chosen.string("bootargs") if chosen else "",
        stdout_path=stdout,
        stdout_compatible=console.strings("compatible") if console else (),
        kaslr_seed=bool(chosen and chosen.properties.get("kaslr-seed", b"").strip(b"\0")),
        ramoops=tuple(n.path for n in all_nodes if "ramoops" in n.strings("compatible") and n.enabled),
        ubi=tuple(n.path for n in all_nodes if "linux,ubi" in n.strings("compatible") and n.enabled),
        watchdogs=tuple((n.path, n.strings("compatible")) for n in all_nodes if _is_watchdog(n)),
        efi=bool(chosen and "linux,uefi-system-table" in chosen.properties),
        linux_crash=tuple(
            p for p in ("linux,elfcorehdr", "linux,usable-memory-range") if chosen and p in chosen.properties
        ),
    )


def _reserved(tree: Fdt, cells: tuple[int, int]) -> tuple[tuple[Range, ...], tuple[Pool, ...]]:
    ranges = [Range(base, size, "memory reservation block") for base, size in tree.reservations]
    pools: list[Pool] = []
    parent = tree.root.child("reserved-memory")
    if parent is None:
        return tuple(ranges), ()
    width = parent.cell("#address-cells", cells[0]), parent.cell("#size-cells", cells[1])
    for node in parent.children:
        if not node.enabled:
            continue
        cma = "shared-dma-pool" in node.strings("compatible") and "reusable" in node.properties
        fixed = node.reg("reg", *width)
        ranges += [Range(base, size, node.path) for base, size in fixed if size]
        size = sum(size for _, size in fixed)
        if not fixed:
            asked = node.cells("size")
            size = asked[-1] | (asked[-2] << 32 if len(asked) > 1 else 0) if asked else 0
        if cma or not fixed:
            pools.append(Pool(node.path, size, cma))
    return tuple(ranges), tuple(pools)


def _resolve(tree: Fdt, path: str) -> Node | None:
    """Return the node of a stdout-path, whose options behind ``:`` do not count and which may start with an alias."""
    path = path.partition(":")[0]
    if not path:
        return None
    if not path.startswith("/"):
        aliases = tree.root.child("aliases")
        path = aliases.string(path) if aliases else ""
    return tree.node(path) if path else None


def _is_cpu(node: Node) -> bool:
    # "disabled" is what a CPU that waits in a spin-table says as well; Linux starts it all the same.
    return node.string("device_type") == "cpu" or node.base_name == "cpu"


def _enable_method(cpu: Node, cpus: Node) -> str:
    return cpu.string("enable-method") or cpus.string("enable-method")


def _is_watchdog(node: Node) -> bool:
    if not node.enabled:
        return False
    return node.base_name in ("watchdog", "wdt", "wdog") or any(
        c.endswith(("-wdt", "-watchdog", ",wdt")) for c in node.strings("compatible")
    )
