"""The command `compare`: what changed between two audits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import Plugins, app


@app.command("compare")
def compare_command(
    before: Annotated[Path, typer.Argument(help="The folder of the earlier audit, or its records.jsonl.")],
    after: Annotated[Path, typer.Argument(help="The folder of the later audit, or its records.jsonl.")],
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Additional mean harm, 0 to 1, up to which nothing is called worse.")
    ] = 0.0,
    plugin: Plugins = [],  # noqa: B006 - typer copies it
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict line only.")] = False,
) -> None:
    """What got worse between two audits, what got better, and what is no longer measured.

    Harms are compared within shared seeds, and a difference counts only if its interval excludes 0.

    Exit codes: 0 nothing is shown to be worse, 1 something is, 2 the audits cannot be compared or the later one is
    incomplete, 4 usage.
    """
    from antivenom.auditing import catalogue
    from antivenom.auditing.changes import counted
    from antivenom.auditing.comparing import compare

    with catalogue.known(plugin):
        found = compare(before, after, tolerance)
        if as_json:
            typer.echo(json.dumps(found.record(), indent=1))
        else:
            typer.echo(f"{counted(found)}; exit {found.exit_code}" if quiet else str(found))
    raise typer.Exit(found.exit_code)
