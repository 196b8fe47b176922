"""The command `sanitize`: which rows have probably a wrong label?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import Plugins, app, load_plugins
from antivenom.cli.rows import RowOptions, source_from
from antivenom.core.errors import ScenarioError


@app.command("sanitize")
def sanitize_command(
    table: Annotated[Path | None, typer.Argument(help="A CSV, TSV or Parquet file. It is read, never written.")] = None,
    label: Annotated[str, typer.Option(help="The column that holds the class; for --text, the key or column.")] = "",
    text: Annotated[str, typer.Option(help="Texts instead: a .jsonl file, a table, or a folder per class.")] = "",
    images: Annotated[str, typer.Option(help="Images instead: a folder with one folder per class.")] = "",
    npz: Annotated[str, typer.Option(help="Arrays instead: a file of numpy.")] = "",
    column: Annotated[str, typer.Option(help="The key or column of the text, or the array of rows.")] = "",
    size: Annotated[
        int, typer.Option(min=0, help="Pixels to which images are scaled; 0: their own, or 32 if they are large.")
    ] = 0,
    false_alarms: Annotated[
        float | None, typer.Option(help="Largest share of honest rows that may be flagged; default 0.01.")
    ] = None,
    sanitizer: Annotated[str, typer.Option(help="A sanitizer; see antivenom list defences.")] = "LabelNoiseModel",
    share: Annotated[float | None, typer.Option(help="Its field `share`, 0 to 1, if it has one.")] = None,
    trusted: Annotated[Path | None, typer.Option(help="A file of rows you trust, with the same columns.")] = None,
    groups: Annotated[str | None, typer.Option(help="The column that names each row's source.")] = None,
    ignore: Annotated[list[str], typer.Option(help="A column to leave out, such as an id. Repeatable.")] = [],  # noqa: B006
    delimiter: Annotated[str, typer.Option(help="Character between cells; default: found in the first line.")] = "",
    decimal: Annotated[str, typer.Option(help="The decimal sign: . or a comma; default: found in the cells.")] = "",
    encoding: Annotated[str, typer.Option(help="Such as utf-8, latin-1 or cp1252.")] = "utf-8",
    out: Annotated[Path, typer.Option(help="Folder for kept.csv and suspects.csv.")] = Path("sanitized"),
    seed: Annotated[int, typer.Option(help="Seed of the sanitizer's randomness.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the results of an earlier run.")] = False,
    plugin: Plugins = [],  # noqa: B006 - typer copies it
) -> None:
    """Find rows whose label is probably wrong. Write the rows to keep and the suspects, ranked and explained.

    Nothing is deleted. Exit codes: 0 no suspects, 1 suspects, 2 the rows cannot be used, 3 the result is implausible, 4 usage.
    """
    given = [value for value in (table, text, images, npz) if value]
    if len(given) != 1:
        raise ScenarioError("one of a table file, --text, --images and --npz", f"{len(given)} of them")
    load_plugins(plugin)
    if table is None:
        from antivenom.defences.listings import sanitize_source

        if sanitizer != "LabelNoiseModel" or share is not None or trusted is not None or groups is not None:
            raise ScenarioError(
                "--sanitizer, --share, --trusted and --groups with a table only", "texts, images or arrays"
            )
        options = RowOptions(
            images=images, text=text, npz=npz, label=label, column=column, size=size, encoding=encoding
        )
        source = source_from(options)
        said, code = sanitize_source(source, out, seed, force, 0.01 if false_alarms is None else false_alarms)
    else:
        from antivenom.data import TableFile
        from antivenom.defences.tables import sanitize_table

        if not label:
            raise ScenarioError("--label, the column with the class", "none")
        rows = TableFile(
            str(table),
            label,
            ignore=tuple(ignore),
            group=groups or "",
            delimiter=delimiter,
            decimal=decimal,
            encoding=encoding,
        )
        said, code = sanitize_table(rows, sanitizer, share, trusted, out, seed, force, false_alarms)
    typer.echo(said)
    raise typer.Exit(code)
