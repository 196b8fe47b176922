"""Machine-readable reports: antivenom's own JSON, and SARIF 2.1.0 for code-scanning services."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from urllib.parse import quote

from antivenom.scan.findings import FileReport, Finding, Report, allow_commands
from antivenom.scan.rules import RULES, Rule, Status

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def as_json(report: Report) -> dict[str, object]:
    """The complete report."""
    return {
        "antivenom": metadata.version("antivenom"),
        "status": report.status,
        "exit_code": report.exit_code,
        "files": [
            {
                "path": file.path,
                "status": file.status,
                "format": file.format,
                "size": file.size,
                "sha256": file.sha256,
                "error": file.error,
                "findings": [_finding(finding) for finding in file.findings],
            }
            for file in report.files
        ],
        "accepted": [_finding(finding) for finding in report.accepted],
        "review": allow_commands(report.findings),
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "status": finding.status,
        "where": finding.where,
        "offset": finding.offset,
        "name": finding.name,
        "what": finding.what,
        "why": finding.why,
        "remedy": finding.remedy,
    }


def as_sarif(report: Report) -> dict[str, object]:
    """The report as one SARIF run. Accepted findings appear as suppressed results."""
    ids = list(RULES)
    results = [_result(file.path, f, ids, file.sha256) for file in report.files for f in file.findings]
    accepted = [_result(f.where.partition("!")[0], f, ids) for f in report.accepted]
    for result in accepted:
        result["suppressions"] = [{"kind": "external", "justification": "accepted in a baseline"}]
    driver = {
        "name": "antivenom",
        "version": metadata.version("antivenom"),
        "rules": [_rule(rule) for rule in RULES.values()],
    }
    invocation = {
        "executionSuccessful": not report.errors,
        "exitCode": report.exit_code,
        "toolExecutionNotifications": list(_notifications(report.errors)),
    }
    run = {"tool": {"driver": driver}, "invocations": [invocation], "results": results + accepted}
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _level(status: Status) -> str:
    return "error" if status is Status.UNSAFE else "warning"


def _rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.id.replace("-", " ")},
        "fullDescription": {"text": f"{rule.why}."},
        "help": {"text": f"{rule.remedy}."},
        "defaultConfiguration": {"level": _level(rule.status)},
    }


def _result(path: str, finding: Finding, ids: list[str], sha256: str = "") -> dict[str, object]:
    region: dict[str, object] = {"startLine": 1}  # some services require a line even for binary files
    if finding.offset is not None and not finding.inner:
        region["byteOffset"] = finding.offset
    where = {
        "physicalLocation": {"artifactLocation": {"uri": quote(path)}, "region": region},
        "logicalLocations": [{"fullyQualifiedName": finding.where}],
    }
    found: dict[str, object] = {
        "ruleId": finding.rule,
        "ruleIndex": ids.index(finding.rule),
        "level": _level(finding.status),
        "message": {"text": f"{finding.what} ({finding.where}): {finding.why}. To do: {finding.remedy}."},
        "locations": [where],
    }
    if sha256:
        found["partialFingerprints"] = {"sha256/v1": sha256}
    return found


def _notifications(errors: Iterable[FileReport]) -> Iterable[dict[str, object]]:
    for file in errors:
        location = {"physicalLocation": {"artifactLocation": {"uri": quote(file.path)}}}
        yield {"level": "error", "message": {"text": f"{file.path}: {file.error}"}, "locations": [location]}
