"""The result of a scan: findings per file, and file reports per call."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from antivenom.scan.rules import REVIEWABLE, RULES, UNREVIEWED_CALL, Status


@dataclass(frozen=True)
class Finding:
    """One reason why a file is not safe.

    Fields:
        rule: the id of its rule, which explains why it matters and what to do.
        where: path to the part that contains it, as file!member!member.
        what: one line that describes it.
        offset: byte offset within that part; None if it concerns the whole part.
        name: the global (`module.name`), operation or type that it concerns; may be empty.
    """

    rule: str
    where: str
    what: str
    offset: int | None = None
    name: str = ""

    @property
    def status(self) -> Status:
        return RULES[self.rule].status

    @property
    def why(self) -> str:
        return RULES[self.rule].why

    @property
    def remedy(self) -> str:
        commands = allow_commands([self])
        return f"{RULES[self.rule].remedy}: {commands[0]}" if commands else RULES[self.rule].remedy

    @property
    def inner(self) -> str:
        """The path within the file; empty for the file itself."""
        return self.where.partition("!")[2]


_NAME = re.compile(r"[^\W\d]\w*(?:[.:][^\W\d]\w*)+")


def allow_commands(findings: Iterable[Finding]) -> list[str]:
    """The commands that add the names that nobody has reviewed to a team's allow list, after a review.

    Names that a file only creates or refers to come first, and those that it calls follow, because a call asks for more.
    """
    names: dict[bool, dict[str, None]] = {False: {}, True: {}}
    for each in findings:
        if RULES[each.rule] in REVIEWABLE and _NAME.fullmatch(each.name):
            names[each.rule == UNREVIEWED_CALL.id][each.name] = None
    return [
        f"antivenom allow {' '.join(wanted)}{' --call' if call else ''} --to allow.toml --note 'WHO REVIEWED IT'"
        for call, wanted in names.items()
        if wanted
    ]


@dataclass(frozen=True)
class FileReport:
    """One scanned file.

    Fields:
        path: path of the file, as given or as found in a folder.
        format: format of its content, such as `zip`, `pickle` or `safetensors`.
        size: bytes.
        findings: the reasons why it is not safe.
        sha256: digest of its content if there are findings or it was asked for; empty otherwise, and if the time ended.
        error: why it could not be read; empty if it was read.
        accepted: findings that a baseline accepted.
    """

    path: str
    format: str
    size: int
    findings: tuple[Finding, ...] = ()
    sha256: str = ""
    error: str = ""
    accepted: tuple[Finding, ...] = ()

    @property
    def status(self) -> Status:
        found = {finding.status for finding in self.findings}
        if Status.UNSAFE in found:
            return Status.UNSAFE
        if found or self.error:
            return Status.UNKNOWN
        return Status.ACCEPTED if self.accepted else Status.SAFE


@dataclass(frozen=True)
class Report:
    """All files of one scan.

    Fields:
        files: one report per file, in the order of their paths.
        accepted: findings that a baseline accepted; they are not in the file reports.
    """

    files: tuple[FileReport, ...]
    accepted: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for file in self.files for finding in file.findings)

    @property
    def errors(self) -> tuple[FileReport, ...]:
        return tuple(file for file in self.files if file.error)

    @property
    def status(self) -> Status:
        """The worst status of its files. A scan of no files at all is not safe."""
        found = {file.status for file in self.files}
        for status in (Status.UNSAFE, Status.UNKNOWN, Status.ACCEPTED):
            if status in found:
                return status
        return Status.SAFE if self.files else Status.UNKNOWN

    @property
    def exit_code(self) -> int:
        """0 safe or accepted, 1 unsafe, 2 some file could not be read, 3 cannot tell, 5 there was nothing to scan."""
        if not self.files:
            return 5
        if self.status is Status.UNSAFE:
            return 1
        return 2 if self.errors else 0 if self.status in (Status.SAFE, Status.ACCEPTED) else 3
