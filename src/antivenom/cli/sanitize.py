"""The command `sanitize`: did it happen already, in this data?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import Plugins, app, load_plugins


@app.command("sanitize")
def sanitize_command(
    table: Annotated[Path, typer.Argument(help="A CSV, TSV or Parquet file. It is read, never written.")],
    label: Annotated[str, typer.Option(help="The column that holds the class.")],
    sanitizer: Annotated[str, typer.Option(help="A sanitizer; see antivenom list defences.")] = "KNNSanitizer",
    share: Annotated[float | None, typer.Option(help="Its field `share`, 0 to 1, if it has one.")] = None,
    trusted: Annotated[Path | None, typer.Option(help="A file of rows you trust, with the same columns.")] = None,
    groups: Annotated[str | None, typer.Option(help="The column that names each row's source.")] = None,
    ignore: Annotated[list[str], typer.Option(help="A column to leave out, such as an id. Repeatable.")] = [],  # noqa: B006
    delimiter: Annotated[str, typer.Option(help="Character between cells; default: found in the first line.")] = "",
    decimal: Annotated[str, typer.Option(help="The decimal sign: . or a comma.")] = ".",
    encoding: Annotated[str, typer.Option(help="Such as utf-8, latin-1 or cp1252.")] = "utf-8",
    out: Annotated[Path, typer.Option(help="Folder for kept.csv and suspects.csv.")] = Path("sanitized"),
    seed: Annotated[int, typer.Option(help="Seed of the sanitizer's randomness.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the results of an earlier run.")] = False,
    plugin: Plugins = [],  # noqa: B006 - typer copies it
) -> None:
    """Split a table into the rows to keep and the suspects, which are ranked and explained. Nothing is deleted.

    Exit codes: 0 done, 2 the table cannot be used, 4 usage.
    """
    from antivenom.data import TableFile
    from antivenom.defences.tables import sanitize_table

    load_plugins(plugin)
    source = TableFile(
        str(table),
        label,
        ignore=tuple(ignore),
        group=groups or "",
        delimiter=delimiter,
        decimal=decimal,
        encoding=encoding,
    )
    typer.echo(sanitize_table(source, sanitizer, share, trusted, out, seed, force))
