"""What a check is made of: rules, the inputs they judge by, what they find."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kdumpbuild.checks.facts import Case


class Severity(Enum):
    """How bad it is. The values are what outputs show."""

    ERROR = "error"
    """No dump, or none that can be read."""
    WARNING = "warning"
    """No dump in some cases, or a poorer one."""
    INFO = "info"
    """A limit to know of; nothing to mend."""

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


class Input(Enum):
    """What can be given to a check. The values are the options of ``kdumpbuild check``."""

    ARCH = "--arch"
    PRODUCTION = "--config"
    CAPTURE = "--capture-config"
    KERNEL = "--kernel-version"
    DTB = "--dtb"
    CMDLINE = "--cmdline"
    CAPTURE_CMDLINE = "--capture-cmdline"
    ZIMAGE = "--zimage"
    IMAGE = "--image"
    VMLINUX = "--vmlinux"
    INITRAMFS = "--initramfs"
    RAM = "--ram"
    KEXEC_TOOLS = "--kexec-tools"
    MAKEDUMPFILE = "--makedumpfile"
    ROOTFS = "--rootfs"
    BOARD = "--board"


@dataclass(frozen=True)
class Hit:
    """What a rule's check yields: one thing that is wrong."""

    what: str
    where: str = ""
    """``file`` or ``file:line``."""
    why: str = ""
    advice: str = ""
    """What to do; empty for the rule's own advice."""
    severity: Severity | None = None
    """None for the rule's own severity."""


@dataclass(frozen=True)
class Rule:
    """One known way in which kdump fails."""

    id: str
    """``KD0nn``; never used again for another rule."""
    severity: Severity
    subject: str
    """The heading it belongs under: the name of its module."""
    title: str
    story: str
    advice: str
    source: str
    """Kernel commit or file, thread, or experiment."""
    needs: tuple[Input, ...]
    """What it cannot do without; for inputs that stand in for each other, the first."""
    arches: tuple[str, ...]
    check: Callable[[Case], Iterable[Hit]]


@dataclass(frozen=True)
class Finding:
    """One result of a check."""

    id: str
    severity: Severity
    subject: str
    title: str
    what: str
    where: str
    why: str
    advice: str
    source: str
    own_advice: bool = False
    """Whether the advice is for this very case, not the rule's."""
    waived: str = ""
    """The board file's reason for accepting it; empty when it is not waived."""

    @property
    def file(self) -> str:
        """The file that ``where`` names."""
        head, _, tail = self.where.rpartition(":")
        return head if tail.isdigit() else self.where

    @property
    def line(self) -> int | None:
        """The line that ``where`` names, or None."""
        tail = self.where.rpartition(":")[2]
        return int(tail) if tail.isdigit() and tail != self.where else None


@dataclass(frozen=True)
class NotJudged:
    """A rule that could not be judged."""

    id: str
    title: str
    missing: tuple[Input, ...]


@dataclass(frozen=True)
class Report:
    """What a check came to."""

    findings: tuple[Finding, ...]
    """Worst first; waived ones last."""
    not_judged: tuple[NotJudged, ...]
    passed: tuple[str, ...]
    """Ids of the rules that were judged and found nothing."""
    unused_waivers: tuple[tuple[str, str], ...] = ()
    """Rule id and place of each waiver for a rule that found nothing."""
    inputs: dict[str, str] = field(default_factory=dict)
    """What was given: option and value."""

    @property
    def open(self) -> tuple[Finding, ...]:
        """Findings that are not waived."""
        return tuple(finding for finding in self.findings if not finding.waived)

    @property
    def waived(self) -> tuple[Finding, ...]:
        """Findings that are."""
        return tuple(finding for finding in self.findings if finding.waived)

    def count(self, severity: Severity) -> int:
        """Return how many open findings have that severity."""
        return sum(finding.severity is severity for finding in self.open)


class Missing(Exception):  # noqa: N818  # not an error: the engine turns it into "not judged"
    """A rule asked for an input that was not given."""

    def __init__(self, *inputs: Input) -> None:
        super().__init__(*inputs)
        self.inputs = inputs


def rule(
    name: str,
    severity: Severity,
    title: str,
    *,
    needs: Iterable[Input],
    advice: str,
    source: str,
    arches: tuple[str, ...] = ("arm", "arm64"),
) -> Callable[[Callable[[Case], Iterator[Hit]]], Rule]:
    """Make a rule of the check function below it, whose docstring is the rule's story."""

    def made(check: Callable[[Case], Iterator[Hit]]) -> Rule:
        story = " ".join((check.__doc__ or "").split())
        if not story:
            raise ValueError(f"rule {name} has no story")
        subject = check.__module__.rpartition(".")[2]
        return Rule(name, severity, subject, title, story, advice, source, tuple(needs), arches, check)

    return made
