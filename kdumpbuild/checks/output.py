"""A report as a page for people and as JSON for programs."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from kdumpbuild.checks.model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from kdumpbuild.checks.model import Finding, Report, Rule

FORMAT = 1
"""Version of the JSON form."""

_HEADING = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.INFO: "limits"}
_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def print_report(report: Report, console: Console, *, title: str = "", verbose: bool = False) -> None:
    """Print a report: worst first, grouped by severity, one line each, then what is waived and what was not judged."""
    if title:
        console.print(f"[bold]{escape(title)}[/]")
    for severity, findings in groupby(report.open, key=lambda finding: finding.severity):
        console.print()
        console.print(f"[{_STYLE[severity]}]{_HEADING[severity]}[/]")
        console.print(Padding(_table(findings, verbose=verbose), (0, 0, 0, 2), expand=False))
    if report.waived:
        console.print("\n[bold]waived in the board file[/]")
        table = Table.grid(padding=(0, 2))
        for finding in report.waived:
            table.add_row(finding.id, escape(finding.title), escape(f"because: {finding.waived}"))
        console.print(Padding(table, (0, 0, 0, 2), expand=False))
    for name, where in report.unused_waivers:
        console.print(f"\n[yellow]{escape(where)}: the waiver of {name} is not needed: the rule found nothing[/]")
    if report.not_judged:
        _print_not_judged(report, console, verbose=verbose)
    console.print()
    console.print(summary(report))
    if report.findings:
        console.print(f"[dim]what to do, and why: kdumpbuild check --explain {report.findings[0].id}[/]")


def summary(report: Report) -> str:
    """Return the counts in one line."""
    counts = [(report.count(s), s.value if s is not Severity.INFO else "limit") for s in Severity]
    found = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for n, name in counts if n) or "nothing found"
    judged = len(report.passed) + len({finding.id for finding in report.findings})
    rest = f"; {len(report.not_judged)} rules not judged for lack of input" if report.not_judged else ""
    waived = f"; {len(report.waived)} waived" if report.waived else ""
    return f"{found}; {judged} rules judged{waived}{rest}"


def _table(findings: Iterable[Finding], *, verbose: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        line = f"{escape(finding.title)}: {escape(finding.what)}"
        if finding.where:
            line += f"  [dim]({escape(_shortened(finding.where))})[/]"
        table.add_row(f"[{_STYLE[finding.severity]}]{finding.id}[/]", line)
        if finding.own_advice or verbose:
            table.add_row("", f"[dim]→[/] {escape(finding.advice)}")
    return table


def _shortened(where: str) -> str:
    """Return a place relative to the working directory, if it is below it."""
    try:
        return str(Path(where).relative_to(Path.cwd()))
    except ValueError:
        return where


def _print_not_judged(report: Report, console: Console, *, verbose: bool) -> None:
    by_input: dict[str, list[str]] = {}
    for rule in report.not_judged:
        by_input.setdefault(" ".join(i.value for i in rule.missing), []).append(rule.id)
    console.print("\n[bold]not judged[/]")
    table = Table.grid(padding=(0, 2))
    for missing, rules in sorted(by_input.items(), key=lambda item: -len(item[1])):
        table.add_row(f"needs {missing}", escape(" ".join(rules)))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if verbose:
        titles = Table.grid(padding=(0, 2))
        for rule in report.not_judged:
            titles.add_row(rule.id, escape(rule.title))
        console.print(Padding(titles, (1, 0, 0, 2), expand=False))


def print_rule(rule: Rule, console: Console) -> None:
    """Print a rule's story."""
    console.print(f"[{_STYLE[rule.severity]}]{rule.id}[/] [bold]{escape(rule.title)}[/]  ({rule.severity.value})")
    console.print()
    console.print(escape(rule.story))
    console.print()
    table = Table.grid(padding=(0, 2))
    table.add_row("what to do", escape(rule.advice))
    table.add_row("needs", " ".join(i.value for i in rule.needs))
    table.add_row("for", ", ".join(rule.arches))
    table.add_row("source", escape(rule.source))
    console.print(table)


def to_json(report: Report) -> str:
    """Return the report as JSON, the same bytes for the same report."""
    body: dict[str, Any] = {
        "format": FORMAT,
        "inputs": report.inputs,
        "counts": {severity.value: report.count(severity) for severity in Severity},
        "findings": [
            {
                "id": f.id, "severity": f.severity.value, "subject": f.subject, "title": f.title, "what": f.what,
                "where": f.where, "why": f.why, "advice": f.advice, "source": f.source, "waived": f.waived,
            }
            for f in report.findings
        ],
        "not-judged": [
            {"id": n.id, "title": n.title, "missing": [i.value for i in n.missing]} for n in report.not_judged
        ],
        "passed": list(report.passed),
        "unused-waivers": [{"id": name, "where": where} for name, where in report.unused_waivers],
    }  # fmt: skip
    return json.dumps(body, indent=1, sort_keys=True) + "\n"
