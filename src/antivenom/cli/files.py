"""The command that scans model files."""

from __future__ import annotations

import enum
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antivenom.cli.app import app
from antivenom.scan.allow import Tier

if TYPE_CHECKING:
    from antivenom.scan import Report


class Output(enum.StrEnum):
    """How to print a report."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"


@app.command("allow")
def allow_command(
    names: Annotated[
        list[str], typer.Argument(help="Dotted names, such as package.module.Class or package.module:Outer.inner.")
    ],
    to: Annotated[Path, typer.Option(help="Your team's allow list, a TOML file. It is made if it is not there.")],
    note: Annotated[str, typer.Option(help="Who reviewed the names, and what was found.")],
    call: Annotated[bool, typer.Option("--call", help="Files can also call the names, with any argument.")] = False,
) -> None:
    """Add names that you have reviewed to your team's allow list, for scan, convert, screen, inspect and guard.

    Without --call, files can refer to a name, or create an empty object and give it its state. A name that is known to run
    code, open files or reach the network is refused.

    Exit codes: 0 written, 4 a name or the list is refused.
    """
    from antivenom.scan.allow import add_names

    add_names(to, names, note, call)
    typer.echo(f"{to}: {len(names)} name{'s' if len(names) != 1 else ''} added")


@app.command()
def scan(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, archives; - for standard input.")],
    format: Annotated[Output, typer.Option(help="How to print the report.")] = Output.TABLE,
    tier: Annotated[Tier, typer.Option(help="Which globals a pickle may import.")] = Tier.VETTED,
    allow: Annotated[list[Path], typer.Option(help="A TOML file that allows more globals. Repeatable.")] = [],  # noqa: B006
    baseline: Annotated[Path | None, typer.Option(help="A file of accepted findings, which are not reported.")] = None,
    write_baseline: Annotated[Path | None, typer.Option(help="Accept all findings: write them to this file.")] = None,
    bom: Annotated[
        Path | None, typer.Option(help="Write a bill of materials to this file: CycloneDX 1.6, JSON.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=0, help="Number of processes; 0 means one per core.")] = 0,
    unpacked: Annotated[int, typer.Option(min=1, help="Limit: MiB of a file's decompressed parts.")] = 1024,
    opcodes: Annotated[int, typer.Option(min=1, help="Limit: pickle opcodes per file.")] = 5_000_000,
    seconds: Annotated[float, typer.Option(min=0.01, help="Limit: seconds of processor time per file.")] = 120.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict line only, and no progress.")] = False,
) -> None:
    """Report what model files would execute when they are loaded. Nothing in them is executed, imported or written.

    Run it as `antivenom`: `python -m antivenom` inside a downloaded folder imports modules from that folder first.

    Exit codes: 0 safe or accepted, 1 unsafe, 2 a file could not be read, 3 cannot tell, 4 usage, 5 nothing to scan.
    """
    from antivenom.cli import scan_table
    from antivenom.core.terminal import watch
    from antivenom.scan import Limits, allow_list
    from antivenom.scan import scan as run_scan
    from antivenom.scan.baseline import read_baseline, without
    from antivenom.scan.baseline import write_baseline as accept
    from antivenom.scan.output import as_json, as_sarif

    accepted = read_baseline(baseline) if baseline else ()
    report = run_scan(
        *paths,
        limits=Limits(unpacked=unpacked << 20, opcodes=opcodes, seconds=seconds),
        allow=allow_list(tier).extended(allow),
        jobs=jobs,
        digests=bom is not None,
        watch=None if quiet else lambda reports, total: watch(reports, total, "scanning"),
    )
    if write_baseline:
        accept(write_baseline, report, accepted)
        count = sum(len(file.findings) for file in report.files if file.sha256)
        typer.echo(f"{write_baseline} written: {count} findings accepted", err=True)
        raise typer.Exit(2 if report.errors else 0)
    report = without(report, accepted)
    if bom:
        _write_bom(bom, report)
    if format is Output.TABLE:
        scan_table.print_report(report, quiet)
    else:
        content = as_json(report) if format is Output.JSON else as_sarif(report)
        json.dump(content, sys.stdout, indent=1)
        print()
    raise typer.Exit(report.exit_code)


def _write_bom(path: Path, report: Report) -> None:
    from antivenom.core.errors import StoreError
    from antivenom.core.regular import write_whole
    from antivenom.scan.bom import as_cyclonedx

    try:
        write_whole(path, json.dumps(as_cyclonedx(report), indent=1).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"a place to write {path}", f"{error.strerror}", "choose another path") from error
