"""Which conditions end in a panic, and so in a dump: the board file's ``[panic]``, and how a kernel is told.

One table, :data:`CONDITIONS`, has each condition with the fragment that makes the kernel able to find it, the boot
arguments and the sysctls that make it panic. All that is written for a board comes from it: fragment lines, boot
arguments, the sysctl.d file.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdumpbuild.board.tables import Table

Version = tuple[int, ...]


@dataclass(frozen=True)
class Panic:
    """The conditions. Seconds are 0 where the board does not ask for one."""

    oops: bool = True
    warn: bool = False
    oom: bool = False
    soft_lockup: bool = False
    hard_lockup: bool = False
    lockup_seconds: int = 10
    """The kernel's ``watchdog_thresh``: a hard lockup after these, a soft one after twice as many."""
    hung_task: int = 0
    rcu_stall: int = 0
    workqueue_stall: int = 0
    timeout: int = 10
    """Seconds after which a panic for which no capture kernel is loaded reboots."""
    lines: tuple[tuple[str, int], ...] = ()
    """The line of each key in the board file, 0 for the file as a whole."""

    def asks_for(self, condition: Condition) -> bool:
        """Whether the board asks for a condition."""
        return bool(getattr(self, condition.key))

    def line(self, key: str) -> int:
        """Return a key's line in the board file; 1 where it is not written there."""
        return dict(self.lines).get(key, 1)

    @property
    def slowest(self) -> int:
        """Seconds until the slowest detector of a CPU that is stuck, by which user space is not served, has acted."""
        soft = 2 * self.lockup_seconds if self.soft_lockup else 0
        hard = self.lockup_seconds if self.hard_lockup else 0
        # The detector looks five times in a period of its own.
        return max(soft, hard) + (2 * self.lockup_seconds // 5 if soft or hard else 0)


@dataclass(frozen=True)
class Condition:
    """One condition. ``{…}`` in texts stands for the value of a key of ``[panic]``."""

    key: str
    """The key of ``[panic]`` that asks for it."""
    title: str
    fragment: str = ""
    """Name of the shipped fragment with the detector; empty where every kernel has it."""
    symbol: str = ""
    """The option that a kernel's config has when it can find the condition."""
    default: str = ""
    """The option that says whether it panics where neither command line nor sysctl does."""
    setting: str = ""
    """An option whose value is the key's number of seconds."""
    reason: str = ""
    """Why ``setting`` is asked for."""
    arguments: tuple[str, ...] = ()
    """Boot arguments."""
    sysctls: tuple[tuple[str, str], ...] = ()
    since: Version = ()
    """The first kernel on ARM in which it can panic."""
    missing: str = ""
    """What is so before that, or without ``symbol``."""


# Read in Linux 5.10, 6.1, 6.12 and 7.2: kernel/panic.c, watchdog.c, hung_task.c, workqueue.c, rcu/tree_stall.h,
# mm/oom_kill.c. hung_task_panic= is an alias in fs/proc/proc_sysctl.c; nothing is called hardlockup_panic=.
CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "oops", "an oops", default="PANIC_ON_OOPS",
        arguments=("oops=panic",), sysctls=(("kernel.panic_on_oops", "1"),),
    ),
    Condition("warn", "a warning", arguments=("panic_on_warn=1",), sysctls=(("kernel.panic_on_warn", "1"),)),
    Condition(
        "oom", "running out of memory",
        arguments=("sysctl.vm.panic_on_oom=1",), sysctls=(("vm.panic_on_oom", "1"),),
    ),
    Condition(
        "soft_lockup", "a soft lockup", "panic-soft-lockup", "SOFTLOCKUP_DETECTOR", "BOOTPARAM_SOFTLOCKUP_PANIC",
        arguments=("softlockup_panic=1", "watchdog_thresh={lockup_seconds}"),
        sysctls=(("kernel.softlockup_panic", "1"), ("kernel.watchdog_thresh", "{lockup_seconds}")),
        missing="the kernel has no soft-lockup detector",
    ),
    Condition(
        "hard_lockup", "a hard lockup", "panic-hard-lockup", "HARDLOCKUP_DETECTOR", "BOOTPARAM_HARDLOCKUP_PANIC",
        arguments=("nmi_watchdog=panic", "watchdog_thresh={lockup_seconds}"),
        sysctls=(("kernel.hardlockup_panic", "1"), ("kernel.watchdog_thresh", "{lockup_seconds}")),
        # Linux kernel commit 1f423c905a6b ("watchdog/hardlockup: detect hard lockups using secondary (buddy) CPUs")
        # (in v6.5).
        since=(6, 5), missing="ARM has no hard-lockup detector before Linux 6.5, and later only with SMP",
    ),
    Condition(
        "hung_task", "a hung task", "panic-hung-task", "DETECT_HUNG_TASK", "BOOTPARAM_HUNG_TASK_PANIC",
        "DEFAULT_HUNG_TASK_TIMEOUT", "Seconds after which a task that sleeps uninterruptibly hangs.",
        arguments=("hung_task_panic=1", "sysctl.kernel.hung_task_timeout_secs={hung_task}"),
        sysctls=(("kernel.hung_task_panic", "1"), ("kernel.hung_task_timeout_secs", "{hung_task}")),
        missing="the kernel has no hung-task detector",
    ),
    Condition(
        "rcu_stall", "an RCU stall", "", "RCU_STALL_COMMON", "",
        "RCU_CPU_STALL_TIMEOUT", "Seconds after which a CPU that holds up RCU is reported.",
        arguments=("rcupdate.rcu_cpu_stall_timeout={rcu_stall}", "sysctl.kernel.panic_on_rcu_stall=1"),
        sysctls=(("kernel.panic_on_rcu_stall", "1"),),
        missing="the RCU of a kernel for one CPU (TINY_RCU) finds no stalls",
    ),
    Condition(
        "workqueue_stall", "a workqueue stall", "panic-workqueue-stall", "WQ_WATCHDOG", "BOOTPARAM_WQ_STALL_PANIC",
        arguments=("workqueue.watchdog_thresh={workqueue_stall}", "workqueue.panic_on_stall=1"),
        # kernel/workqueue.c: panic_on_stall is there in 6.12 and not in 6.1.
        since=(6, 12), missing="workqueue.panic_on_stall= came with Linux 6.12; before that a stall is only reported",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Missing:
    """A condition that the board asks for and a kernel cannot turn into a panic."""

    condition: Condition
    line: int
    """Its line in the board file."""

    @property
    def what(self) -> str:
        """Say so."""
        return f"panic.{self.condition.key}: {self.condition.title} does not panic: {self.condition.missing}"


def missing(panic: Panic, version: Version, config: Mapping[str, str]) -> list[Missing]:
    """Return what a kernel of this version and config (``CONFIG_X`` to value) cannot do of what the board asks for."""
    return [
        Missing(condition, panic.line(condition.key))
        for condition in CONDITIONS
        if panic.asks_for(condition) and not _possible(condition, version, config)
    ]


def boot_arguments(panic: Panic, version: Version, config: Mapping[str, str]) -> list[str]:
    """Return the boot arguments for a kernel: of what it cannot do, none."""
    found = [text for condition in _active(panic, version, config) for text in condition.arguments]
    found = [argument.format_map(_values(panic)) for argument in found]
    return list(dict.fromkeys([*found, f"panic={panic.timeout}"]))


def sysctls(panic: Panic, version: Version, config: Mapping[str, str]) -> dict[str, str]:
    """Return the sysctls, by name, for a kernel: each one that it has."""
    found = [pair for condition in _active(panic, version, config) for pair in condition.sysctls]
    values = {name: value.format_map(_values(panic)) for name, value in found}
    return values | {"kernel.panic": str(panic.timeout)}


def sysctl_file(panic: Panic, version: Version, config: Mapping[str, str], board: str) -> str:
    """Return the sysctl.d file: one line for each sysctl, below what it is for."""
    lines = [f"# What ends in a panic, and so in a dump. Made by kdumpbuild from the board file {board}."]
    written: set[str] = set()
    values = sysctls(panic, version, config)
    for condition in _active(panic, version, config):
        names = [name for name, _ in condition.sysctls if name not in written]
        lines += [f"# {condition.title}"] * bool(names)
        lines += [f"{name} = {values[name]}" for name in names]
        written |= set(names)
    lines += ["# seconds until a panic without a capture kernel reboots", f"kernel.panic = {panic.timeout}"]
    return "\n".join(lines) + "\n"


def fragment_names(panic: Panic) -> list[str]:
    """Return the shipped fragments that the board's conditions need."""
    return [c.fragment for c in CONDITIONS if c.fragment and panic.asks_for(c)]


def fragment_values(panic: Panic) -> list[tuple[str, str, str, str]]:
    """Return the options whose value the board file itself gives: key, option, value, reason."""
    found = [
        (c.key, c.setting, str(getattr(panic, c.key)), c.reason)
        for c in CONDITIONS
        if c.setting and panic.asks_for(c)
    ]
    if not panic.oops:
        found.append(("oops", "PANIC_ON_OOPS", "n", "The board file says that an oops does not panic."))
    found.append(("timeout", "PANIC_TIMEOUT", str(panic.timeout), "Seconds until a panic without a dump reboots."))
    return found


def read_panic(table: Table | None) -> Panic:
    """Read ``[panic]``. Without the table an oops panics, and nothing else does."""
    if table is None:
        return Panic()
    keys = [field.name for field in fields(Panic) if field.name != "lines"]
    panic = Panic(
        oops=table.boolean("oops", default=True),
        warn=table.boolean("warn", default=False),
        oom=table.boolean("oom", default=False),
        soft_lockup=table.boolean("soft_lockup", default=False),
        hard_lockup=table.boolean("hard_lockup", default=False),
        # The ranges are the kernel's own: kernel/watchdog.c, kernel/rcu/Kconfig.debug.
        lockup_seconds=table.integer("lockup_seconds", default=10, low=1, high=60),
        hung_task=table.integer("hung_task", default=0, low=0, high=86400),
        rcu_stall=table.integer("rcu_stall", default=0, low=0, high=300),
        workqueue_stall=table.integer("workqueue_stall", default=0, low=0, high=86400),
        timeout=table.integer("timeout", default=10, low=1, high=3600),
        lines=tuple((key, table.line(key)) for key in keys),
    )
    if 0 < panic.rcu_stall < 3:
        table.fault("rcu_stall", f"{panic.rcu_stall} is too short", "the kernel takes 3 to 300 seconds; 0 is off")
    table.end()
    return panic


def _possible(condition: Condition, version: Version, config: Mapping[str, str]) -> bool:
    present = not condition.symbol or config.get(f"CONFIG_{condition.symbol}", "n") == "y"
    return present and version >= condition.since


def _active(panic: Panic, version: Version, config: Mapping[str, str]) -> list[Condition]:
    return [c for c in CONDITIONS if panic.asks_for(c) and _possible(c, version, config)]


def _values(panic: Panic) -> dict[str, int]:
    return {field.name: getattr(panic, field.name) for field in fields(Panic) if field.name != "lines"}
