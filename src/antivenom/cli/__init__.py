"""The command line."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click
import typer

from antivenom.cli import files, pipelines, recommend, use  # noqa: F401 - they register their commands
from antivenom.cli.app import FAILED, INTERRUPTED, OK, USAGE, app
from antivenom.core.errors import AntivenomError, NotApplicable, PluginError, ScanError, ScenarioError

_AUDIT = ("torch", "scipy", "sklearn", "pandas", "PIL", "jinja2", "matplotlib", "pooch", "safetensors")
EXTRAS = {**dict.fromkeys(_AUDIT, "audit"), "cryptography": "sign", "numba": "fast", "pyarrow": "parquet"}


def main() -> None:
    """Run the command line; every expected failure is one line on stderr and the exit code that means it."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of a command line."""
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="antivenom", standalone_mode=False)
        if code == INTERRUPTED:  # typer's word for Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else OK
    except click.ClickException as error:
        return _say(error.format_message(), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted: what was finished is kept, the same command goes on", INTERRUPTED)
    except (ScenarioError, PluginError, NotApplicable, ScanError) as error:
        return _say(str(error), USAGE)
    except AntivenomError as error:
        return _say(str(error), FAILED)
    except BrokenPipeError:  # the reader of stdout went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            return _crashed(error)
        return _say(f"this command needs the extra `{extra}` ({error.name}): pip install 'antivenom[{extra}]'", USAGE)
    except Exception as error:  # a crash must never leave with 1, which means "breach"
        return _crashed(error)


def _crashed(error: Exception) -> int:
    traceback.print_exception(error)
    return _say(f"internal error, please report it: {type(error).__name__}: {error}", FAILED)


def _say(message: str, code: int) -> int:
    line = "".join(c if c.isprintable() else " " for c in message)
    print(f"antivenom: {line}", file=sys.stderr)
    return code
