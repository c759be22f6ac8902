"""A report as SARIF 2.1.0, which code hosts show at the line of the file that a finding is about.

Form: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kdumpbuild import __version__
from kdumpbuild.checks.engine import all_rules
from kdumpbuild.checks.model import Severity

if TYPE_CHECKING:
    from kdumpbuild.checks.model import Finding, Report, Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def to_sarif(report: Report, base: Path) -> str:
    """Return the report as SARIF. Paths below ``base``, the repository's top, are given relative to it."""
    rules = all_rules()
    index = {rule.id: number for number, rule in enumerate(rules)}
    log: dict[str, Any] = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "kdumpbuild",
                        "version": __version__,
                        "rules": [_rule(rule) for rule in rules],
                    }
                },
                "originalUriBaseIds": {"ROOT": {"description": {"text": "The top of the repository"}}},
                "results": [_result(finding, index[finding.id], base) for finding in report.findings],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {
                                "level": "note",
                                "descriptor": {"id": skipped.id},
                                "message": {"text": "not judged: needs " + " ".join(i.value for i in skipped.missing)},
                            }
                            for skipped in report.not_judged
                        ],
                    }
                ],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }
    return json.dumps(log, indent=1) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.story},
        "help": {"text": f"{rule.advice}\n\nSource: {rule.source}"},
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
        "properties": {"tags": [rule.subject, *rule.arches]},
    }


def _result(finding: Finding, index: int, base: Path) -> dict[str, Any]:
    text = f"{finding.what}. {finding.advice}"
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": _LEVEL[finding.severity],
        "message": {"text": f"{text}\n{finding.why}" if finding.why else text},
        "partialFingerprints": {"finding/v1": f"{finding.id}:{finding.what}"},
    }
    if finding.file and not finding.file.startswith("--"):
        result["locations"] = [{"physicalLocation": _location(finding, base)}]
    if finding.waived:
        waiver = {"kind": "external", "status": "accepted", "justification": finding.waived}
        result["suppressions"] = [waiver]
    return result


def _location(finding: Finding, base: Path) -> dict[str, Any]:
    path = Path(finding.file)
    absolute = path if path.is_absolute() else base / path
    if absolute.is_relative_to(base):
        artifact = {"uri": quote(absolute.relative_to(base).as_posix()), "uriBaseId": "ROOT"}
    else:
        artifact = {"uri": absolute.as_uri()}
    location: dict[str, Any] = {"artifactLocation": artifact}
    # Code hosts drop results without a line, so a finding about a whole file stands at its first.
    location["region"] = {"startLine": finding.line or 1}
    return location
