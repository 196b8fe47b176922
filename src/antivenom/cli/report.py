"""The command `report`: views of an audit's records, made without running a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import Plugins, app
from antivenom.core.errors import ScenarioError


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of an audit.")],
    replay: Annotated[
        str, typer.Option(metavar="ID", help="Print a scenario file that runs the pair of this record id alone.")
    ] = "",
    card: Annotated[bool, typer.Option("--card", help="Write model-card.md, a section for a model card.")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the report in a browser of this machine, also while the audit runs.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of --serve; 0 means any free one.")] = 0,
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier audit's folder, with which the page compares this one.")
    ] = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies it
) -> None:
    """Write report.html again from an audit's records. Only goals that a plugin file defines need --plugin.

    Exit codes: 0 done, 2 there are no records, or it cannot be written, 4 usage.
    """
    if bool(replay) + card + serve > 1:
        raise ScenarioError("one of --replay, --card and --serve", "several", "leave out all but one")
    from antivenom.auditing import catalogue
    from antivenom.auditing.report import write_report
    from antivenom.auditing.report.model_card import write_card
    from antivenom.auditing.report.replay import replay_in
    from antivenom.auditing.report.serving import serve as serve_report

    with catalogue.known(plugin):
        if serve:
            serve_report(folder, port, typer.echo)
        elif replay:
            typer.echo(replay_in(folder, replay), nl=False)
        else:
            typer.echo(write_card(folder) if card else write_report(folder, baseline))
