"""``docs/rules/proofs.md``: how each rule of the preflight is shown to be right. Found in the tests, not kept by hand.

python -m tests.proofs
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.checks.docs import DEFCONFIGS
from kdumpbuild.checks.engine import all_rules
from kdumpbuild.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs/rules/proofs.md"
_RULE = re.compile(r"KD\d{3}")
_INTRO = f"""\
<!-- Made by `python -m tests.proofs`. Change the tests, not this page. -->
# How each rule is proved

Every rule has an example on which it fires and one on which it is silent (`tests/unit/test_checks_rules.py`). Beyond
that:

- **crash**: a test boots or crashes what the rule objects to in QEMU, shows that what it predicts happens, and that it
  does not once its advice is followed (`tests/boot`; those in `test_predictions_kernels.py` compile kernels:
  `./doit predictions`);
- **config**: the rule fires on a configuration that a kernel or a distribution comes with
  ([{DEFCONFIGS}]({DEFCONFIGS}));
- neither: the rule rests on its source. Why there is no crash stands in its place, in italics.

"""
NOT_CRASHED = {
    "KD008": "tried with another VMSPLIT: a filtered dump opened all the same",
    "KD026": "tried with regions that end inside of a block: no bad page map was seen",
    "KD030": "tried: of 16 MiB, 8 were lent to the initramfs, 12 could not be set aside; both captured",
    "KD032": "a kernel that is bound to an address is for one platform; QEMU's virt is none of these",
    "KD033": "takes a kexec-tools before 2.0.22",
    "KD034": "tried: an LPAE capture kernel of Linux 6.12 captured with the header at even and at odd MiB",
    "KD037": "takes a kexec-tools before 2.0.24",
    "KD040": "takes an EFI firmware for 32-bit ARM",
    "KD052": "needs an oops with a lock held; others end the task, and the capture goes on",
    "KD075": "needs init to wait for what was killed; the one that ships does not",
    "KD082": "QEMU's spin-table lets the CPUs go on, and captures",
    "KD084": "QEMU models none of these watchdogs",
    "KD087": "happens now and then: an interrupt has to be pending at the moment of the crash",
    "KD107": "the crash test's own production system mounts the target",
}
"""Why a rule has no boot test."""


def crashes() -> dict[str, list[str]]:
    """Return the boot tests that name each rule, as ``file: test``."""
    found: dict[str, list[str]] = {}
    for path in sorted((REPOSITORY / "tests/boot").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for rule in sorted(set(_rules(node))):
                    found.setdefault(rule, []).append(f"{path.stem.removeprefix('test_')}: {node.name}")
    return found


def _rules(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and _RULE.fullmatch(part.value):
            yield part.value


def configs() -> dict[str, int]:
    """Return on how many configurations each rule fires."""
    lines = (REPOSITORY / "docs/rules" / DEFCONFIGS).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    head, _, *rows = rows
    return {
        rule[0]: sum(bool(row[column]) for row in rows)
        for column, cell in enumerate(head)
        if (rule := _RULE.search(cell))
    }


def page() -> str:
    """Return the page."""
    crashed, found = crashes(), configs()
    rows = ["| Rule | What it finds | crash | config |", "|---|---|---|---|"]
    for rule in all_rules():
        tests = "<br>".join(f"`{name}`" for name in crashed.get(rule.id, ())) or f"*{NOT_CRASHED[rule.id]}*"
        count = found.get(rule.id, 0)
        rows.append(
            f"| [{rule.id}]({rule.subject}.md#{rule.id.lower()}) | {rule.title} | {tests} "
            f"| {f'{count} configurations' if count else ''} |"
        )
    number = len(all_rules())
    proved = sum(rule.id in crashed for rule in all_rules())
    either = sum(rule.id in crashed or bool(found.get(rule.id)) for rule in all_rules())
    told = f"{proved} of {number} rules have a crash, {either} a crash or a real configuration.\n\n"
    return _INTRO + told + "\n".join(rows) + "\n"


if __name__ == "__main__":
    write_text(PAGE, page())
