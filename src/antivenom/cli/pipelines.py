"""Commands around audits: init, list, show and data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import FAILED, OK, Format, Plugins, app
from antivenom.core.errors import AntivenomError, ScenarioError, StoreError, did_you_mean


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Write a commented scenario file to start from."""
    from importlib import resources

    if path.is_dir():
        raise ScenarioError(
            "the name of a file to write", f"{path}, a folder", f"antivenom init {path / 'scenario.yaml'}"
        )
    if path.exists() and not force:
        raise ScenarioError("a new file", f"{path}, which exists", "choose another name or add --force")
    try:
        path.write_bytes(resources.files("antivenom.auditing").joinpath("digits.yaml").read_bytes())
    except OSError as error:
        raise StoreError(f"a place to write {path}", f"{error.strerror}", "choose another path") from error
    typer.echo(f"{path} written: antivenom audit {path}")


@app.command("list")
def list_command(
    what: Annotated[str, typer.Argument(help="attacks, defences, data, models or all.")] = "all",
    access: Annotated[str | None, typer.Option(help="Only plugins for this access level.")] = None,
    goal: Annotated[str | None, typer.Option(help="Only plugins for this goal.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Only this kind, with access and reference: aggregator, reducer, detector, agent..."),
    ] = None,
    format: Annotated[Format, typer.Option(help="text or json.")] = Format.TEXT,
    plugin: Plugins = [],  # noqa: B006 - typer copies it
) -> None:
    """List attacks, defences, data sets and models."""
    from antivenom.auditing import catalogue

    with catalogue.known(plugin):
        rows = catalogue.rows(what, access, goal, kind)
    if format is Format.JSON:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        typer.echo(f"{row['kind']:<16} {row['name']:<24} {row['about']}")
        if kind is not None:
            typer.echo(f"{'':<41} {', '.join(row['access']) or 'any access'}; {row['reference']}")
    if not rows:
        typer.echo("nothing matches", err=True)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A plugin or a data set.")], plugin: Plugins = []) -> None:  # noqa: B006
    """Show one attack, defence, model or data set in full."""
    from antivenom.auditing import catalogue

    with catalogue.known(plugin):
        typer.echo(catalogue.page(name))


@app.command()
def data(name: Annotated[str | None, typer.Argument(help="A data set; without it, all of them.")] = None) -> None:
    """Load data sets, download missing files, and print the numbers of rows."""
    from antivenom.data import DATASETS, load

    if name is not None and name not in DATASETS:
        raise ScenarioError("the name of a data set", repr(name), did_you_mean(name, DATASETS))
    absent = 0
    for each in list(DATASETS) if name is None else [name]:
        try:
            split = load(each)
            typer.echo(f"{each:<14} {len(split.train)} + {len(split.test)} rows of shape {split.train.shape}")
        except AntivenomError as error:
            absent += 1
            typer.echo(f"{each:<14} {error}", err=True)
    raise typer.Exit(FAILED if absent else OK)
