"""The application with which commands register. Commands import heavy modules when they run, so that --help is fast."""

from __future__ import annotations

import enum
import shlex
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import click
import typer
import typer.core
from typer.core import TyperGroup

from antivenom.core.errors import did_you_mean

OK, FAILED, USAGE, INTERRUPTED = 0, 2, 4, 130
PIPE = 141  # as shells call a command that nobody reads
# The commands in the order of --help, the ones to begin with first. Others follow.
_ORDER = ("audit", "report", "compare", "sanitize", "scan", "inspect", "list", "show", "init", "data", "recommend")
_GREETING = """\
antivenom finds out how a machine-learning pipeline can be poisoned, and what stops it.

  antivenom audit --data train.csv --label COLUMN       How can my model be poisoned?
  antivenom sanitize train.csv --label COLUMN           Did it happen already, in these rows?
  antivenom scan model.pt                               What would this file run when it is loaded?

All commands: antivenom --help. Without data at hand: antivenom audit, on handwritten digits."""


typer.core.HAS_RICH = False  # otherwise its plain help shows escapes that rich would remove, as in "\\[required]"


class _Commands(TyperGroup):
    """The commands, in an order of ours, and with an answer of ours to a command that does not exist."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        named = [name for name in _ORDER if name in self.commands]
        return [*named, *(name for name in self.commands if name not in named)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise click.UsageError(f"expected a command, got {args[0]!r}: {self._remedy(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def _remedy(self, given: str) -> str:
        from antivenom.auditing.mistaken import taken_by

        path = Path(given)
        if given and path.exists():
            found = taken_by(path)
            return f"antivenom audit {shlex.quote(given)}" if found is None else found[1]
        return did_you_mean(given, self.commands)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find out how a machine-learning pipeline can be poisoned, and what stops it.",
)
Plugins = Annotated[
    list[Path], typer.Option("--plugin", help="A Python file with plugins; its code is run. Repeatable.")
]


def command_line() -> Any:
    """The command line as a click command, whose arguments have their help.

    click 8.5 removes the help of an argument that typer 0.20 has set, so that it is set again here. Both would then list
    the arguments, so that click's list is left out.
    """
    group: Any = typer.main.get_command(app)
    for info in app.registered_commands:
        assert info.callback is not None
        hints = get_type_hints(info.callback, include_extras=True)
        command = group.commands[info.name or info.callback.__name__]
        command.format_arguments = lambda context, formatter: None
        for param in command.params:
            if isinstance(param, typer.core.TyperArgument):
                param.help = next(each.help for each in hints[param.name or ""].__metadata__ if hasattr(each, "help"))
    return group


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


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find out how a machine-learning pipeline can be poisoned, and what stops it."""
    if context.invoked_subcommand is None:
        typer.echo(_GREETING)
