"""The report of a scan as text: files that are not safe first, then the reasons and remedies."""

from __future__ import annotations

import sys
import textwrap

from rich.console import Console

from antivenom.core.terminal import console
from antivenom.scan.findings import FileReport, Finding, Report, allow_commands
from antivenom.scan.part import printable
from antivenom.scan.rules import REVIEWABLE, RULES, Status

STYLE = {Status.SAFE: "bold blue", Status.ACCEPTED: "blue", Status.UNKNOWN: "yellow", Status.UNSAFE: "bold magenta"}
_LISTED = 20  # most safe files that are listed one by one
_PER_FILE = 8  # most findings that are printed for one file


def print_report(report: Report, quiet: bool) -> None:
    """Print the files that are not safe with their findings, a few safe files, and a line with the counts.

    Args:
        report: the scan's report.
        quiet: whether to print the last line only.
    """
    out = console(sys.stdout)
    if not quiet:
        ranked = sorted(report.files, key=lambda file: list(Status).index(file.status), reverse=True)
        shown = [file for file in ranked if file.status is not Status.SAFE]
        safe = [file for file in ranked if file.status is Status.SAFE]
        for file in shown + (safe if len(safe) <= _LISTED else []):
            _print_file(out, file)
        _print_rules(out, report)
    counts = {status: sum(file.status is status for file in report.files) for status in reversed(Status)}
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    files = f"{len(report.files)} file" + ("s" if len(report.files) != 1 else "")
    tail = f"; {len(report.accepted)} accepted by the baseline" if report.accepted else ""
    what = ", ".join(parts) or "nothing was scanned"
    out.print(f"{files}: {what}{tail}", style=STYLE[report.status])


def _print_file(out: Console, file: FileReport) -> None:
    out.print(f"{file.status:<12}", style=STYLE[file.status], end="")
    out.print(f"{printable(file.path)}  ({file.format}, {_size(file.size)})", soft_wrap=True)
    if file.error:
        _wrapped(out, f"could not be read: {file.error}")
    for finding in file.findings[:_PER_FILE]:
        _wrapped(out, f"{finding.rule}{_place(finding)}: {finding.what}")
    if len(file.findings) > _PER_FILE:
        _wrapped(out, f"and {len(file.findings) - _PER_FILE} more (--format json lists all)")


def _print_rules(out: Console, report: Report) -> None:
    """Explain each violated rule once."""
    broken = dict.fromkeys(finding.rule for finding in report.findings)
    if broken:
        out.print()
    for rule in broken:
        out.print(rule, style="bold")
        _wrapped(out, f"why: {RULES[rule].why}", "    ")
        _wrapped(out, f"do: {RULES[rule].remedy}", "    ")
    commands = allow_commands(report.findings)
    if commands:
        names = len({f.name for f in report.findings if RULES[f.rule] in REVIEWABLE})
        out.print()
        out.print(f"review {names} name{'s' if names != 1 else ''}; then allow them, and scan with --allow allow.toml:")
        for command in commands:
            out.print(f"    {command}", soft_wrap=True, style="bold")


def _place(finding: Finding) -> str:
    inner = f" in {finding.inner}" if finding.inner else ""
    return inner + (f" at byte {finding.offset}" if finding.offset is not None else "")


def _wrapped(out: Console, text: str, indent: str = "            ") -> None:
    for line in textwrap.wrap(text, out.width, initial_indent=indent, subsequent_indent=indent + "  "):
        out.print(line, soft_wrap=True)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
