"""Finding the rules, and judging facts by them."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import TYPE_CHECKING

from kdumpbuild.checks import rules as rules_package
from kdumpbuild.checks.facts import Case
from kdumpbuild.checks.model import Finding, Input, Missing, NotJudged, Report, Rule, Severity
from kdumpbuild.errors import Exit, Fault, UserError, nearest, user_error

if TYPE_CHECKING:
    from kdumpbuild.checks.facts import Facts
    from kdumpbuild.checks.model import Hit


@cache
def all_rules() -> tuple[Rule, ...]:
    """Return every rule in the modules of :mod:`kdumpbuild.checks.rules`, by id."""
    found: dict[str, Rule] = {}
    for module in pkgutil.iter_modules(rules_package.__path__):
        for value in vars(importlib.import_module(f"{rules_package.__name__}.{module.name}")).values():
            if isinstance(value, Rule) and found.setdefault(value.id, value) is not value:
                raise ValueError(f"two rules have the id {value.id}")
    return tuple(found[name] for name in sorted(found))


def find_rule(name: str) -> Rule:
    """Return the rule with that id. Raises UserError with the nearest known one."""
    known = {rule.id: rule for rule in all_rules()}
    if name.upper() not in known:
        raise user_error(f"no rule is called {name}", hint=nearest(name.upper(), known))
    return known[name.upper()]


def check_facts(facts: Facts) -> Report:
    """Judge facts by every rule. Reads nothing and changes nothing.

    Raises UserError when the board file waives a rule that does not exist.
    """
    _refuse_unknown_waivers(facts)
    case = Case(facts)
    findings: list[Finding] = []
    not_judged: list[NotJudged] = []
    passed: list[str] = []
    for rule in all_rules():
        if facts.arch is not None and facts.arch.name not in rule.arches:
            continue
        if len(rule.arches) == 1 and facts.arch is None:
            not_judged.append(NotJudged(rule.id, rule.title, (Input.ARCH,)))
            continue
        try:
            hits = list(rule.check(case))
        except Missing as missing:
            not_judged.append(NotJudged(rule.id, rule.title, missing.inputs))
            continue
        findings += [_finding(rule, hit, facts) for hit in hits]
        if not hits:
            passed.append(rule.id)
    return Report(
        findings=tuple(sorted(findings, key=_worst_first)),
        not_judged=tuple(not_judged),
        passed=tuple(passed),
        unused_waivers=_unused(facts, findings),
        inputs=dict(facts.given),
    )


def exit_code(report: Report) -> Exit:
    """Return the exit code of ``kdumpbuild check``: 0 clean, 1 warnings, 2 errors. Waived findings do not count."""
    if report.count(Severity.ERROR):
        return Exit.ERRORS
    return Exit.WARNINGS if report.count(Severity.WARNING) else Exit.CLEAN


def _finding(rule: Rule, hit: Hit, facts: Facts) -> Finding:
    waiver = facts.board.waiver(rule.id) if facts.board is not None else None
    return Finding(
        id=rule.id,
        severity=hit.severity or rule.severity,
        subject=rule.subject,
        title=rule.title,
        what=hit.what,
        where=hit.where,
        why=hit.why,
        advice=hit.advice or rule.advice,
        source=rule.source,
        own_advice=bool(hit.advice),
        waived=waiver.reason if waiver is not None else "",
    )


def _worst_first(finding: Finding) -> tuple[bool, int, str, str]:
    return bool(finding.waived), finding.severity.rank, finding.subject, finding.id


def _refuse_unknown_waivers(facts: Facts) -> None:
    known = {rule.id for rule in all_rules()}
    waivers = facts.board.waivers if facts.board is not None else ()
    faults = [
        Fault(f"no rule is called {w.name}", where=f"{facts.board.path}:{w.line}", hint=nearest(w.name, known))
        for w in waivers
        if facts.board is not None and w.name.startswith("KD") and w.name not in known
    ]
    if faults:
        raise UserError(*faults)


def _unused(facts: Facts, findings: list[Finding]) -> tuple[tuple[str, str], ...]:
    if facts.board is None:
        return ()
    fired = {finding.id for finding in findings}
    return tuple(
        (waiver.name, f"{facts.board.path}:{waiver.line}")
        for waiver in facts.board.waivers
        if waiver.name.startswith("KD") and waiver.name not in fired
    )
