"""Commands on pipelines: audit, init, list, show and data."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import FAILED, OK, Device, Format, Plugins, app, load_plugins
from antivenom.core.errors import AntivenomError, ScenarioError, StoreError, did_you_mean


@app.command("audit")
def audit_command(
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario file; without it, the embedded one on digits.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for records and report. An audit in it continues.")] = Path(
        "audit-out"
    ),
    jobs: Annotated[
        int,
        typer.Option(
            min=0, help="Number of processes; 0: one per core, or on a GPU one that interleaves 32 federations."
        ),
    ] = 0,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.CPU,
    seeds: Annotated[int | None, typer.Option(min=1, help="Run the seeds 0 to N-1 instead of the file's.")] = None,
    plugin: Plugins = [],  # noqa: B006 - typer copies it
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict line only.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every trial.")] = False,
) -> None:
    """Attack the pipeline of a scenario file and judge the results.

    Exit codes: 0 within the limits or no goal gated, 1 breach, 2 the audit is incomplete or failed, 3 not enough evidence, 4 usage,
    130 interrupted. An interrupted or killed audit continues when it is started again.
    """
    if dry_run and not (out / "records.jsonl").exists():
        raise typer.Exit(_outline(scenario, seeds, plugin))
    from antivenom.audit.workers import start_early

    if not dry_run:
        start_early(jobs, device)
    from antivenom.audit import terminal
    from antivenom.audit.checking import check
    from antivenom.audit.executors import executor, runner
    from antivenom.audit.plan import read_plan
    from antivenom.audit.records import Store
    from antivenom.audit.run import audit, counts_from, missing

    load_plugins(plugin)
    _check_device(device)
    plan = read_plan(scenario)
    plan = plan if seeds is None else plan.with_seeds(seeds)
    check(plan)
    if dry_run:
        store = Store(out)
        asked = plan.asked(counts_from(plan, store.trials()))
        terminal.print_plan(plan, len(missing(plan, store)), len(asked))
        raise typer.Exit(OK)
    with Store(out, write=True) as store, _ended_by_sigterm():
        execute = executor(jobs, [str(path) for path in plugin], device, plan.timeout)
        todo = len(missing(plan, store))
        run = runner(device, plan.timeout, str(out / "progress"))
        steps = audit(plan, store, execute, run, shlex.join(["antivenom", *sys.argv[1:]]))
        try:
            for _ in terminal.watch(steps, todo, quiet or as_json, verbose):
                pass
        except KeyboardInterrupt:
            _finish(out, as_json, quiet)
            raise
    raise typer.Exit(_finish(out, as_json, quiet))


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which service managers and CI send, end the block as Ctrl-C does, so that the report is written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _outline(scenario: Path | None, seeds: int | None, plugin: list[Path]) -> int:
    """Show what would run in a new folder. Plugins are imported only if there are plugins of third parties."""
    from antivenom.audit import catalogue, terminal
    from antivenom.audit.plan import read_plan

    with catalogue.known(plugin) as checked:
        plan = read_plan(scenario)
        plan = plan if seeds is None else plan.with_seeds(seeds)
        if checked:
            from antivenom.audit.checking import check

            check(plan)
        terminal.print_plan(plan, plan.size, plan.size)
    if not checked:
        typer.echo("Names, fields and types are valid; ranges of values are checked when the audit starts.")
    return OK


def _finish(folder: Path, as_json: bool, quiet: bool) -> int:
    """Write the report, print the results, and return the exit code."""
    from antivenom.audit import terminal
    from antivenom.audit.records import Store, uncollected
    from antivenom.audit.report import write_page
    from antivenom.audit.summary import summary_of

    store = Store(folder)
    with uncollected():
        summary = summary_of(store)
        files = [str(store.path), str(write_page(store, summary))]
    if as_json:
        terminal.print_json(summary, files)
    elif quiet:
        terminal.print_quiet(summary)
    else:
        terminal.print_summary(summary, files)
    return summary.exit_code


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
        path.write_bytes(resources.files("antivenom.audit").joinpath("digits.yaml").read_bytes())
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
    from antivenom.audit import catalogue

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
    from antivenom.audit import catalogue

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


def _check_device(device: Device) -> None:
    if device is Device.CUDA:
        import torch

        if not torch.cuda.is_available():
            raise ScenarioError("a CUDA device", "none that torch sees", "use --device cpu")
