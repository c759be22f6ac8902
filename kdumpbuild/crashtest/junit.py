"""The verdict in the form of JUnit, which CI systems show as tests: a suite for each trigger, a case for each check."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdumpbuild.crashtest.verdict import Verdict

# Characters that no XML may hold, however written; a console prints them.
_FORBIDDEN = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF))


def to_junit(verdicts: Iterable[Verdict]) -> str:
    """Return the verdicts as one document."""
    suites = ET.Element("testsuites", name="kdumpbuild crash test")
    for verdict in verdicts:
        _suite(suites, verdict)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _suite(suites: ET.Element, verdict: Verdict) -> None:
    failed = sum(check.ok is False for check in verdict.checks)
    # A test that failed before anything could be looked at has no check that says so.
    alone = not verdict.passed and not failed
    suite = ET.SubElement(
        suites, "testsuite", name=f"{verdict.board} {verdict.trigger}",
        tests=str(len(verdict.checks) + alone), failures=str(failed + alone), errors="0",
        skipped=str(sum(check.ok is None for check in verdict.checks)),
    )  # fmt: skip
    told = False
    for check in verdict.checks:
        case = ET.SubElement(suite, "testcase", classname=f"{verdict.board}.{verdict.trigger}", name=check.name)
        if check.ok is None:
            ET.SubElement(case, "skipped", message=_clean(check.detail))
        elif not check.ok:
            failure = ET.SubElement(case, "failure", message=_clean(check.detail))
            if not told:
                failure.text = _why(verdict)
                told = True
    if alone:
        case = ET.SubElement(suite, "testcase", classname=f"{verdict.board}.{verdict.trigger}", name="crash test")
        what = verdict.failure.what if verdict.failure else "failed"
        ET.SubElement(case, "failure", message=_clean(what)).text = _why(verdict)
    ET.SubElement(suite, "system-out").text = _clean(verdict.console_tail)


def _why(verdict: Verdict) -> str:
    failure = verdict.failure
    if failure is None:
        return ""
    hint = f"hint: {failure.hint}" if failure.hint else ""
    return _clean("\n".join(part for part in (f"{failure.what} [{failure.code}]", failure.why, hint) if part))


def _clean(text: str) -> str:
    return text.translate(_FORBIDDEN)
