"""The command `inspect`: is this model backdoored?"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antivenom.cli.app import app
from antivenom.cli.use import printable, refused
from antivenom.core.errors import DataError, ScenarioError, UnsafeFile

if TYPE_CHECKING:
    from rich.console import Console

    from antivenom.inspection import Inspection


@app.command("inspect")
def inspect_command(
    model: Annotated[
        Path, typer.Argument(help="A state dict, safetensors, ONNX, pickled scikit-learn model or folder.")
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Clean rows: an .npz, .csv or .parquet file, a folder of images, a data set or module:function."
        ),
    ] = "",
    label: Annotated[str, typer.Option(help="The column with the class, for a table.")] = "",
    arch: Annotated[str, typer.Option(help="The network of a state dict: module:name, or a registered model.")] = "",
    shape: Annotated[
        str, typer.Option(help="Shape of a row, such as 1,28,28, if there is no --data or for images.")
    ] = "",
    only: Annotated[
        str, typer.Option(help="The part of a checkpoint with the weights: a key, with dots if nested.")
    ] = "",
    reference: Annotated[
        list[Path],
        typer.Option(help="A clean model of the same kind. One is compared, four or more calibrate. Repeatable."),
    ] = [],  # noqa: B006
    references: Annotated[int, typer.Option(min=0, help="Clean models to train on --data; 0 for none.")] = 9,
    training: Annotated[str, typer.Option(help="How they are trained, as in a scenario: '{epochs: 6}'.")] = "",
    repair: Annotated[Path | None, typer.Option(help="Repair the model and write it to this safetensors file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the result in JSON and the recovered triggers.")
    ] = None,
    time: Annotated[str, typer.Option(help="Begin no further check after this time, such as 60s or 5m.")] = "60s",
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    allow: Annotated[list[Path], typer.Option(help="A team's allow list. Repeatable.")] = [],  # noqa: B006
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file of --repair.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Is this model backdoored? Scan it, examine its structure, search for triggers, and compare it with clean references.

    Without references the answer is "uncalibrated": the rate of false alarms is unknown, and the exit code stays 0.

    Exit codes: 0 no backdoor found or uncalibrated, 1 suspicious or a file not known to be safe, 2 it cannot be read,
    3 cannot tell, 4 usage.
    """
    from antivenom.inspection import References, inspect
    from antivenom.inspection.drawing import document, write
    from antivenom.scan import allow_list

    size = _shape(shape)
    try:
        found = inspect(
            model,
            _rows(data, label, size) if data else None,
            arch=arch or None,
            shape=size,
            only=only,
            reference=reference,
            train=References(references, *_training(training)),
            repair=repair,
            seconds=_seconds(time),
            seed=seed,
            allow=allow_list().extended(allow),
            force=force,
        )
    except UnsafeFile as error:
        raise refused(error) from error
    paths = write(found, out) if out else []
    if as_json:
        typer.echo(json.dumps(document(found), indent=1))
    else:
        _print(found, paths)
    raise typer.Exit(found.exit_code)


def _shape(text: str) -> tuple[int, ...] | None:
    parts = [part for part in text.replace("x", ",").split(",") if part]
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ScenarioError("--shape of whole numbers from 1, such as 1,28,28", repr(text))
    return tuple(int(part) for part in parts) or None


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    try:
        found = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise ScenarioError("--time such as 60s, 5m or 1h", repr(text))
    return found


def _training(text: str) -> tuple[Any, ...]:
    """The training of the references from a mapping in YAML, as one value or none."""
    if not text:
        return ()
    import yaml

    from antivenom.core.registry import fill
    from antivenom.models.training import Training

    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError("--training as a mapping, such as '{epochs: 6}'", f"{error}") from error
    if not isinstance(said, dict):
        raise ScenarioError("--training as a mapping, such as '{epochs: 6}'", repr(text))
    return (fill(Training, said),)


def _rows(data: str, label: str, shape: tuple[int, ...] | None) -> object:
    """The source of the rows."""
    from antivenom.data import ImageFolder, NpzFile, TableFile, TextFile

    path = Path(data)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return NpzFile(data)
    if suffix in (".csv", ".tsv", ".parquet"):
        if not label:
            raise DataError("--label, the column with the class", "none", f"name a column of {data}")
        return TableFile(data, label)
    if suffix == ".jsonl":
        return TextFile(data)
    if path.is_dir():
        if shape is None or len(shape) != 3:
            raise DataError("--shape of the images, such as 3,32,32", "none" if shape is None else f"{shape}")
        return ImageFolder(data, shape[1:], shape[0])
    return data


def _print(found: Inspection, paths: list[Path]) -> None:
    from antivenom.core.terminal import console

    to = console(sys.stdout)
    right = "" if math.isnan(found.accuracy) else f", right on {found.accuracy:.1%} of held-out clean rows"
    to.print(printable(f"{found.path}: {found.form}{right}"))
    to.print("scan: safe")
    traces = [trace for trace in found.traces if trace.suspicious]
    for trace in found.traces:
        mark = "TRACE" if trace.suspicious else "note "
        to.print(printable(f"{mark} {trace.check} {trace.where}: {trace.what}"))
    if not traces:
        to.print("structure: no trace of a backdoor")
    _print_checks(found, to)
    for suspect in found.suspects:
        beside = (
            "" if math.isnan(suspect.reference_rate) else f", {suspect.reference_rate:.0%} of them on the references"
        )
        named = "class" if suspect.flagged else "most suspicious class"
        to.print(
            printable(
                f"{named} {suspect.name}: a {suspect.form} of size {suspect.size:.3g} turns {suspect.rate:.0%} of held-out "
                f"clean rows into it{beside}"
            )
        )
    if found.repaired is not None:
        _print_repair(found, to)
    for note in found.notes:
        to.print(printable(f"note: {note}"))
    for path in paths:
        to.print(printable(f"{path} written"))
    to.print(printable(f"{str(found.answer).upper()}: {found.reason}"))


def _print_checks(found: Inspection, to: Console) -> None:
    for check in found.checks:
        if check.verdict is None:
            to.print(printable(f"{check.name:<22} did not run: {check.why}"))
            continue
        rank = "uncalibrated" if check.verdict.p_value is None else f"p = {check.verdict.p_value:.2g}"
        opinion = "" if check.decides else ", a second opinion"
        to.print(f"{check.name:<22} score {check.verdict.score:.1f}, {rank}{opinion}, {check.seconds:.1f} s")


def _print_repair(found: Inspection, to: Console) -> None:
    repaired = found.repaired
    assert repaired is not None
    to.print(f"{'repair':<20} {'accuracy':>9} {'trigger':>9} {'clean twin':>11}")
    for one in (repaired.before, *repaired.candidates):
        twin = "" if math.isnan(one.clean_accuracy) else f"{one.clean_accuracy:.1%}"
        rate = "" if math.isnan(one.rate) else f"{one.rate:.1%}"
        mark = " *" if one.name == repaired.chosen else ""
        to.print(f"{one.name:<20} {one.accuracy:>9.1%} {rate:>9} {twin:>11}{mark}")
    for name in repaired.skipped:
        to.print(printable(f"{name} was not tried"))
    to.print(
        printable(f"{repaired.path} written, repaired by {repaired.chosen}")
        if repaired.path
        else "no repair kept the accuracy within 5 points: nothing was written"
    )
