"""The application with which commands register. Commands import heavy modules when they run, so that --help is fast."""

from __future__ import annotations

import enum
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find out how a machine-learning pipeline can be poisoned, and what stops it.",
)
OK, FAILED, USAGE, INTERRUPTED = 0, 2, 4, 130
Plugins = Annotated[
    list[Path], typer.Option("--plugin", help="A Python file with plugins; its code is run. Repeatable.")
]


class Device(enum.StrEnum):
    """Where to compute."""

    CPU = "cpu"
    CUDA = "cuda"


class Format(enum.StrEnum):
    """How to print a list."""

    TEXT = "text"
    JSON = "json"


def load_plugins(files: list[Path]) -> None:
    """Run plugin files, so that their plugins are registered."""
    from antivenom.core.registry import load_file

    for path in files:
        load_file(path)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"antivenom {metadata.version('antivenom')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find out how a machine-learning pipeline can be poisoned, and what stops it."""
