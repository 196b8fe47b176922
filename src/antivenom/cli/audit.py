"""The command `audit`: of a pipeline of the user's own, or of a scenario file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from antivenom.cli.app import OK, Device, Plugins, app, load_plugins
from antivenom.cli.ending import check_device, ended_by_sigterm, finish, require_baseline
from antivenom.cli.own import FederationOptions, ModelOptions, audit_own, prepared_federation, prepared_rows
from antivenom.cli.rows import RowOptions
from antivenom.core.apart import foreign
from antivenom.core.errors import ScenarioError
from antivenom.core.garbage import uncollected

_ROWS, _MODEL, _FEDERATION, _ATTACKER = "Your rows", "Your model", "Your federation", "What to try"


@app.command("audit")
def audit_command(
    context: typer.Context,
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario file. Without it and without rows, the embedded one on digits.")
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="A CSV, TSV or Parquet file, a folder that datasets has saved to disk, the name of a data set, or module:function.",
            rich_help_panel=_ROWS,
        ),
    ] = "",
    images: Annotated[
        str, typer.Option(help="A folder with one folder of images per class.", rich_help_panel=_ROWS)
    ] = "",
    text: Annotated[
        str,
        typer.Option(
            help="A .jsonl file, a table, or a folder with one folder of .txt files per class.", rich_help_panel=_ROWS
        ),
    ] = "",
    npz: Annotated[str, typer.Option(help="A .npz file with x and y.", rich_help_panel=_ROWS)] = "",
    label: Annotated[str, typer.Option(help="The column or key of the class.", rich_help_panel=_ROWS)] = "",
    column: Annotated[
        str,
        typer.Option(help="The column or key of the text, or the array of rows in a .npz file.", rich_help_panel=_ROWS),
    ] = "",
    size: Annotated[
        int, typer.Option(min=0, help="Pixels to which images are scaled; 0: their own.", rich_help_panel=_ROWS)
    ] = 0,
    test: Annotated[
        str, typer.Option(help="Test rows; without them 30 % of the rows are held out.", rich_help_panel=_ROWS)
    ] = "",
    encoding: Annotated[
        str, typer.Option(help="Of a table or of texts: utf-8, latin-1, cp1252.", rich_help_panel=_ROWS)
    ] = "utf-8",
    ignore: Annotated[
        list[str],
        typer.Option(help="Columns to leave out, such as an id: customer,date. Repeatable.", rich_help_panel=_ROWS),
    ] = [],  # noqa: B006 - typer copies it
    estimator: Annotated[
        str,
        typer.Option(
            help="module:name of a scikit-learn estimator or of a function that makes one.", rich_help_panel=_MODEL
        ),
    ] = "",
    model: Annotated[
        str,
        typer.Option(help="module:name of a torch module or of a function that makes one.", rich_help_panel=_MODEL),
    ] = "",
    train: Annotated[
        str, typer.Option(help="module:name of a function train(rows, labels) -> predict.", rich_help_panel=_MODEL)
    ] = "",
    epochs: Annotated[
        int, typer.Option(min=0, help="Epochs of a torch module; 0: what suits the rows.", rich_help_panel=_MODEL)
    ] = 0,
    deployed: Annotated[
        str,
        typer.Option(
            help="The defence that you run: a name, or '{name: KNNSanitizer, k: 5}'; see antivenom list defences.",
            rich_help_panel=_MODEL,
        ),
    ] = "",
    federation: Annotated[
        str,
        typer.Option(help="The folder of a Flower app, in place of rows and model.", rich_help_panel=_FEDERATION),
    ] = "",
    clients: Annotated[
        int,
        typer.Option(
            min=0, help="The number of its clients; 0: what the app states, or 10.", rich_help_panel=_FEDERATION
        ),
    ] = 0,
    malicious: Annotated[
        int,
        typer.Option(min=0, help="How many of them are malicious; 0: a tenth.", rich_help_panel=_FEDERATION),
    ] = 0,
    access: Annotated[
        list[str],
        typer.Option(help="Only this access level, such as data-injection. Repeatable.", rich_help_panel=_ATTACKER),
    ] = [],  # noqa: B006
    goal: Annotated[
        list[str],
        typer.Option(help="Only this goal: availability, targeted or backdoor. Repeatable.", rich_help_panel=_ATTACKER),
    ] = [],  # noqa: B006
    budget: Annotated[
        float,
        typer.Option(help="Share of the rows that the attacker may change or add.", rich_help_panel=_ATTACKER),
    ] = 0.01,
    editable: Annotated[
        str, typer.Option(help="The columns that the attacker can write: age,comment", rich_help_panel=_ATTACKER)
    ] = "",
    target: Annotated[
        str, typer.Option(help="The class that the attacker wants; the largest one.", rich_help_panel=_ATTACKER)
    ] = "",
    time: Annotated[
        str, typer.Option(help="How long the audit may take: 90s, 5m, 1h.", rich_help_panel=_ATTACKER)
    ] = "5m",
    trials: Annotated[
        int,
        typer.Option(
            min=0,
            help="The most trials, so that any machine gives the same; 0: what the time allows.",
            rich_help_panel=_ATTACKER,
        ),
    ] = 0,
    search: Annotated[
        bool, typer.Option(help="Search for the worst attacks, or only try the usual ones.", rich_help_panel=_ATTACKER)
    ] = True,
    fail_if: Annotated[
        list[str],
        typer.Option(help="GOAL=HARM that makes the exit code 1: backdoor=0.2. Repeatable.", rich_help_panel=_ATTACKER),
    ] = [],  # noqa: B006
    write: Annotated[
        Path | None,
        typer.Option(help="Write the scenario file that stands for this audit, and stop.", rich_help_panel=_ATTACKER),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for records and report. An audit in it continues.")] = Path(
        "audit-out"
    ),
    baseline: Annotated[
        Path | None, typer.Option(help="An earlier audit's folder: say what got worse since, in the exit code too.")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=0, help="Number of processes; 0: one per core, or on a GPU one that interleaves 32 federations."
        ),
    ] = 0,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.CPU,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Run the seeds 0 to N-1 of a scenario file instead of its own.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds per training of your rows; 0: an hour.")] = 0,
    plugin: Plugins = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdict line only.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every trial.")] = False,
) -> None:
    """Attack a pipeline of your own, or that of a scenario file, and judge the results.

    antivenom audit --data train.csv --label target --estimator my_package.train:make_model

    Exit codes: 0 within the limits or no goal gated, 1 breach or worse than the baseline, 2 the audit is incomplete or failed, 3 not enough evidence, 4 usage,
    130 interrupted. An interrupted or killed audit continues when it is started again.
    """
    rows = RowOptions(
        data=data,
        images=images,
        text=text,
        npz=npz,
        label=label,
        column=column,
        size=size,
        test=test,
        ignore=tuple(ignore),
        editable=editable,
        encoding=encoding,
    )
    if baseline is not None:
        require_baseline(baseline, out)
    given = [
        name
        for name, value in (("a scenario file", scenario), ("rows", rows.given), ("--federation", federation))
        if value
    ]
    if len(given) > 1:
        raise ScenarioError(
            "a scenario file, rows of your own, or --federation", " and ".join(given), "give one of them"
        )
    if rows.given or federation:
        asked = {
            "deployed": _defence(deployed),
            "access": tuple(access),
            "goals": tuple(goal),
            "budget": budget,
            "target": target or None,
            "time": time,
            "trials": trials or None,
            "search": search,
            "fail_if": dict(map(_limit, fail_if)),
            "timeout": timeout or None,
        }
        if federation:
            if other := _given(context, (_ROWS, _MODEL), ("budget", "editable", "access"), but="deployed"):
                raise ScenarioError("no options of rows with --federation", ", ".join(other), "leave them out")
            preparing = partial(prepared_federation, FederationOptions(federation, clients, malicious), asked)
        else:
            if other := _given(context, (_FEDERATION,)):
                raise ScenarioError("--federation with these options", f"none beside {', '.join(other)}")
            preparing = partial(prepared_rows, rows, ModelOptions(estimator, model, train, epochs), asked)
        raise typer.Exit(
            audit_own(preparing, time, out, baseline, jobs, device, plugin, write, dry_run, as_json, quiet, verbose)
        )
    if write is not None:
        raise ScenarioError(
            "rows or a federation of your own with --write", "none", f"antivenom init {write} writes an example"
        )
    if needless := _given(context, (_ROWS, _MODEL, _FEDERATION, _ATTACKER), ("timeout",)):
        got = f"none beside {', '.join(needless)}"
        remedy = "add --data, --images, --text, --npz or --federation"
        raise ScenarioError("rows or a federation of your own with these options", got, remedy)
    raise typer.Exit(
        _audit_file(scenario, out, baseline, jobs, device, seeds, plugin, dry_run, as_json, quiet, verbose)
    )


def _limit(text: str) -> tuple[str, float]:
    """(goal, harm) from a text such as "backdoor=0.2". Whether there is such a goal is known when the plugins are loaded."""
    goal, _, harm = text.partition("=")
    try:
        return goal, float(harm)
    except ValueError:
        raise ScenarioError("GOAL=HARM for --fail-if", repr(text), f"write --fail-if {goal}=0.2") from None


def _defence(text: str) -> object:
    """The defence that an option names, with fields if it is a mapping in YAML; None without one."""
    if not text.startswith("{"):
        return text or None
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ScenarioError("a name or a mapping for --deployed", repr(text), "{name: KNNSanitizer, k: 5}") from None


def _given(context: typer.Context, panels: Sequence[str], names: Sequence[str] = (), but: str = "") -> list[str]:
    """The options of these panels, or of these names, that the user gave, except one."""
    found = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        about = getattr(option, "rich_help_panel", None) in panels or option.name in names
        if about and option.name != but and source is not None and source.name != "DEFAULT":
            found.append(option.opts[0])
    return found


def _audit_file(
    scenario: Path | None,
    out: Path,
    baseline: Path | None,
    jobs: int,
    device: Device,
    seeds: int | None,
    plugin: list[Path],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Audit the pipelines of a scenario file, and return the exit code."""
    if dry_run and not (out / "records.jsonl").exists():
        return _outline(scenario, seeds, plugin)
    from antivenom.auditing.workers import start_early

    if not dry_run:
        start_early(jobs, device)
    with uncollected():
        from antivenom.auditing import terminal
        from antivenom.auditing.checking import check
        from antivenom.auditing.executors import executor, runner
        from antivenom.auditing.plan import read_plan
        from antivenom.auditing.records import Store
        from antivenom.auditing.run import audit, counts_from, missing

    check_device(device)
    with foreign("the reading of the scenario and of its plugins"):
        load_plugins(plugin)
        plan = read_plan(scenario)
    plan = plan if seeds is None else plan.with_seeds(seeds)
    check(plan)
    if dry_run:
        store = Store(out)
        asked = plan.asked(counts_from(plan, store.trials()))
        terminal.print_plan(plan, len(missing(plan, store)), len(asked))
        return OK
    with Store(out, write=True) as store, ended_by_sigterm():
        execute = executor(jobs, [str(path) for path in plugin], device, plan.timeout)
        todo = len(missing(plan, store))
        run = runner(device, plan.timeout, str(out / "progress"))
        steps = audit(plan, store, execute, run, shlex.join(["antivenom", *sys.argv[1:]]))
        try:
            for _ in terminal.watch(steps, todo, quiet or as_json, verbose):
                pass
        except KeyboardInterrupt:
            finish(out, as_json, quiet, baseline)
            raise
    return finish(out, as_json, quiet, baseline)


def _outline(scenario: Path | None, seeds: int | None, plugin: list[Path]) -> int:
    """Show what would run in a new folder. Plugins are imported only if there are plugins of third parties."""
    from antivenom.auditing import catalogue, terminal
    from antivenom.auditing.plan import read_plan

    with catalogue.known(plugin) as checked:
        plan = read_plan(scenario)
        plan = plan if seeds is None else plan.with_seeds(seeds)
        if checked:
            from antivenom.auditing.checking import check

            check(plan)
        terminal.print_plan(plan, plan.size, plan.size)
    if not checked:
        typer.echo("Names, fields and types are valid; ranges of values are checked when the audit starts.")
    return OK
