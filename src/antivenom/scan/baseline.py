"""Findings that a team has reviewed and accepted. A file that changes by one byte must be reviewed again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from antivenom.core.errors import ScanError, StoreError
from antivenom.scan.findings import FileReport, Finding, Report


@dataclass(frozen=True)
class Accepted:
    """One accepted finding.

    Fields:
        sha256: digest of the whole file.
        rule, inner, what: the fields of the finding; `inner` is its path within the file.
        note: who accepted it, and why.
    """

    sha256: str
    rule: str
    inner: str
    what: str
    note: str = ""

    def covers(self, file: FileReport, finding: Finding) -> bool:
        return (self.sha256, self.rule, self.inner, self.what) == (
            file.sha256,
            finding.rule,
            finding.inner,
            finding.what,
        )


def read_baseline(path: Path) -> tuple[Accepted, ...]:
    """The accepted findings of a baseline file. Raises ScanError."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return tuple(Accepted(**entry) for entry in content["accepted"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScanError(
            "a baseline that --write-baseline wrote", f"{type(error).__name__}: {error}", "write the baseline again"
        ).at(str(path)) from error


def write_baseline(path: Path, report: Report, old: Iterable[Accepted] = ()) -> None:
    """Accept all findings of a report, in addition to earlier ones with their notes. Raises StoreError."""
    notes = {(a.sha256, a.rule, a.inner, a.what): a.note for a in old}
    keys = [(f.sha256, g.rule, g.inner, g.what) for f in report.files if f.sha256 for g in f.findings]
    entries = [
        {"sha256": sha256, "rule": rule, "inner": inner, "what": what, "note": note}
        for (sha256, rule, inner, what), note in sorted({**dict.fromkeys(keys, ""), **notes}.items())
    ]
    try:
        path.write_text(json.dumps({"accepted": entries}, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise StoreError(f"a place to write {path}", f"{error.strerror}", "choose another path") from error


def without(report: Report, accepted: Iterable[Accepted]) -> Report:
    """The report with its accepted findings moved to the separate list."""
    known = {each for each in accepted if each.sha256}  # without a digest, an entry would fit every file
    if not known:
        return report
    by_digest: dict[str, list[Accepted]] = {}
    for each in known:
        by_digest.setdefault(each.sha256, []).append(each)
    files, taken = [], []
    for file in report.files:
        covered = [f for f in file.findings if any(a.covers(file, f) for a in by_digest.get(file.sha256, ()))]
        taken += covered
        left = tuple(f for f in file.findings if f not in covered)
        files.append(replace(file, findings=left, accepted=tuple(covered)))
    return Report(tuple(files), tuple(taken))
