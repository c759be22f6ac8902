"""``docs/rules``: one page for each subject and a list, made from the rules themselves.

python -m kdumpbuild.checks.docs [FOLDER]
"""

from __future__ import annotations

import importlib
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.checks import rules as rules_package
from kdumpbuild.checks.engine import all_rules
from kdumpbuild.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdumpbuild.checks.model import Rule

DEFCONFIGS = "defconfigs.md"
"""The page that :mod:`kdumpbuild.checks.defconfigs` makes from kernel trees."""

PROOFS = "proofs.md"
"""The page that the project's tests make: how each rule is shown to be right."""

_MADE = "<!-- Made by `python -m kdumpbuild.checks.docs`. Change the rule, not this page. -->\n"


def pages() -> dict[str, str]:
    """Return each page's text by its file name."""
    by_subject = sorted(all_rules(), key=lambda rule: (rule.subject, rule.id))
    found = {f"{subject}.md": _page(subject, list(group)) for subject, group in groupby(by_subject, _subject)}
    return {"README.md": _list(), **found}


def _subject(rule: Rule) -> str:
    return rule.subject


def _list() -> str:
    rows = [
        f"| [{rule.id}]({rule.subject}.md#{rule.id.lower()}) | {rule.severity.value} | {', '.join(rule.arches)} "
        f"| {_cell(rule.title)} | {' '.join(f'`{i.value}`' for i in rule.needs)} |"
        for rule in all_rules()
    ]
    head = "| Rule | Severity | For | What it finds | Needs |\n|---|---|---|---|---|\n"
    intro = (
        f"What they find in the kernels' own configurations: [{DEFCONFIGS}]({DEFCONFIGS}). How each is proved: "
        f"[{PROOFS}]({PROOFS})."
    )
    return f"{_MADE}# The rules of the preflight\n\n{intro}\n\n{head}" + "\n".join(rows) + "\n"


def _page(subject: str, rules: Iterable[Rule]) -> str:
    module = importlib.import_module(f"{rules_package.__name__}.{subject}")
    title = (module.__doc__ or subject).strip().rstrip(".")
    return f"{_MADE}# {title}\n" + "".join(_section(rule) for rule in rules)


def _section(rule: Rule) -> str:
    return f"""
<a id="{rule.id.lower()}"></a>
## {rule.id} {rule.title}

{rule.severity.value}, for {' and '.join(rule.arches)}; needs {', '.join(f'`{i.value}`' for i in rule.needs)}

{rule.story}

**What to do:** {rule.advice}

**Source:** {rule.source}
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(folder: Path) -> None:
    """Write the pages, and remove those that no rule stands behind any more."""
    made = pages()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        write_text(folder / name, text)
    for path in folder.glob("*.md"):
        if path.name not in made and path.name not in (DEFCONFIGS, PROOFS):
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/rules"))
