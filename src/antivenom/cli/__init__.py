"""The command line: runs a command and turns every expected error into one line on stderr and an exit code."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback

import click

from antivenom.cli import audit, compare, files, inspect, pipelines, recommend, report, sanitize, use  # noqa: F401 - they register their commands
from antivenom.cli.app import FAILED, INTERRUPTED, OK, PIPE, USAGE, command_line
from antivenom.core.apart import LATE, Ended, apart
from antivenom.core.errors import (
    AntivenomError,
    NotApplicable,
    PluginError,
    ScanError,
    ScenarioError,
    ThreatError,
    similar,
)
from antivenom.core.unread import unread

# Top-level modules that only an extra installs, and that extra, so that a missing one can be named.
_AUDIT = ("torch", "scipy", "sklearn", "pandas", "PIL", "jinja2", "matplotlib", "pooch", "safetensors")
EXTRAS = {**dict.fromkeys(_AUDIT, "audit"), "cryptography": "sign", "numba": "fast", "pyarrow": "parquet"}


_FOREIGN = ("audit", "inspect", "sanitize")  # the commands that run code of the user


def main() -> None:
    """Run the command line of this process and exit."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in _FOREIGN:
        sys.exit(run(arguments))
    ended = apart(functools.partial(run, arguments))
    if ended.signal == signal.SIGTERM:  # it came before there was anything to write down
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(_code_of(ended))


def _code_of(ended: Ended) -> int:
    """The exit code of a command that was watched, which is never 0 unless the command said so."""
    if ended.code is not None:
        return ended.code
    if ended.signal is not None:
        return _say("interrupted: finished trials are kept, and the same command continues", INTERRUPTED)
    at = f" during {ended.doing}" if ended.doing else ""
    late = ended.why == LATE
    remedy = "raise --time" if late and ended.doing else ""
    return _say(str(AntivenomError("a command that ends by itself", f"a process that {ended.why}{at}", remedy)), FAILED)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    code = _run(arguments)
    registry = sys.modules.get("antivenom.core.registry")  # a command that asks for no plugin does not import it
    for line in registry.broken() if registry is not None else ():
        _say(line, code)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        unread(sys.stdout)
    return code


def _run(arguments: list[str]) -> int:
    command = command_line()
    try:
        code = command.main(args=arguments, prog_name="antivenom", standalone_mode=False)
        if code == INTERRUPTED:  # typer catches Ctrl-C and returns this code
            raise KeyboardInterrupt
        return code if isinstance(code, int) else OK
    except click.ClickException as error:
        return _say(_usage(error), USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted: finished trials are kept, and the same command continues", INTERRUPTED)
    except (ScenarioError, PluginError, NotApplicable, ScanError, ThreatError) as error:
        return _say(str(error), USAGE)
    except AntivenomError as error:
        return _say(str(error), FAILED)
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(
            error.__context__, BrokenPipeError
        ):  # which typer turns into it
            raise
        unread(sys.stdout)
        return PIPE
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            return _crashed(error)
        return _say(f"this command needs the extra `{extra}` ({error.name}): pip install 'antivenom[{extra}]'", USAGE)
    except Exception as error:  # Python's own exit code for a crash is 1, which would mean "breach"
        return _crashed(error)


def _usage(error: click.ClickException) -> str:
    """A mistake in the command line in one line, with the place to look if the message itself has no remedy."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return error.format_message()
    if isinstance(error, click.MissingParameter) and error.param is not None:
        name, about = error.param.opts[0], getattr(error.param, "help", "") or ""
        name = name if name.startswith("-") else name.upper()
        return f"{context.command_path} needs {name}: {about}"
    if isinstance(error, click.NoSuchOption):
        options = [name for param in context.command.params for name in param.opts if name.startswith("--")]
        remedy = similar(error.option_name, options) or f"see {context.command_path} --help"
        return f"expected an option of {context.command_path}, got {error.option_name!r}: {remedy}"
    message = error.format_message()
    return (
        message
        if isinstance(error, click.BadParameter) or context.parent is None
        else f"{message}: see {context.command_path} --help"
    )


def _crashed(error: Exception) -> int:
    traceback.print_exception(error)
    return _say(f"internal error, please report it: {type(error).__name__}: {error}", FAILED)


def _say(message: str, code: int) -> int:
    """Print one line without control characters on stderr and return the exit code."""
    line = "".join(c if c.isprintable() else " " for c in message)
    print(f"antivenom: {line}", file=sys.stderr)
    return code
