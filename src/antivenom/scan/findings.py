"""What a scan says: findings, gathered per file, gathered per call."""

from __future__ import annotations

from dataclasses import dataclass

from antivenom.scan.rules import RULES, Status


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a file from being safe.

    Fields:
        rule: the id of its rule, which says why it matters and what to do.
        where: file!member!member, the path to the part it lies in.
        what: what was found, one line.
        offset: byte offset within that part; None if it concerns the whole part.
        name: the global (`module.name`), operation or type it is about; empty if none.
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
        return RULES[self.rule].remedy

    @property
    def inner(self) -> str:
        """The path within the file; empty for the file itself."""
        return self.where.partition("!")[2]


@dataclass(frozen=True)
class FileReport:
    """One scanned file.

    Fields:
        path: as it was given or found.
        format: what its content is, as `zip`, `pickle`, `safetensors`.
        size: bytes.
        findings: what keeps it from being safe.
        sha256: of its content, if there are findings; empty otherwise.
        error: why it could not be read; empty if it could.
    """

    path: str
    format: str
    size: int
    findings: tuple[Finding, ...] = ()
    sha256: str = ""
    error: str = ""

    @property
    def status(self) -> Status:
        found = {finding.status for finding in self.findings}
        if Status.UNSAFE in found:
            return Status.UNSAFE
        return Status.UNKNOWN if found or self.error else Status.SAFE


@dataclass(frozen=True)
class Report:
    """All files of one scan.

    Fields:
        files: one report per file, in the order of their paths.
        accepted: findings that a baseline accepted, which no file report lists.
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
        """The worst of its files; nothing scanned is not safe."""
        found = {file.status for file in self.files}
        for status in (Status.UNSAFE, Status.UNKNOWN):
            if status in found:
                return status
        return Status.SAFE if self.files else Status.UNKNOWN

    @property
    def exit_code(self) -> int:
        """0 safe, 1 unsafe, 2 a file could not be read, 3 cannot tell."""
        if self.status is Status.UNSAFE:
            return 1
        return 2 if self.errors else 0 if self.status is Status.SAFE else 3
