"""Audits of rows and a model of the user's own, from the options of the command line."""

from __future__ import annotations

import contextlib
import importlib.util
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from antivenom.cli.app import OK, Device, load_plugins
from antivenom.cli.ending import check_device, ended_by_sigterm, finish
from antivenom.cli.rows import RowOptions, source_from
from antivenom.core.apart import foreign
from antivenom.core.errors import PluginError, ScenarioError, StoreError
from antivenom.core.garbage import uncollected

if TYPE_CHECKING:
    from antivenom.pipelines.request import Prepared

_LEAST_S = 60.0  # that rows and model may take to be read, if the audit may take less


@dataclass(frozen=True)
class ModelOptions:
    """The options of `antivenom audit` that describe the user's model."""

    estimator: str
    model: str
    train: str
    epochs: int


@dataclass(frozen=True)
class FederationOptions:
    """The options of `antivenom audit` that describe a Flower app."""

    folder: str
    clients: int
    malicious: int


def audit_own(
    preparing: Callable[[], Prepared],
    within: str,
    out: Path,
    baseline: Path | None,
    jobs: int,
    device: Device,
    plugin: list[Path],
    write: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Audit what is prepared within its time, or only write its scenario file, and return the exit code.

    Args:
        preparing: reads what the user gave and chooses what is tried; it runs code of the user.
        within: the time that the audit may take, such as "5m".
        out, baseline, jobs, device, plugin, write, dry_run, as_json, quiet, verbose: as the options of those names.
    """
    since = time.monotonic()
    from antivenom.auditing.workers import start_early

    if write is None and not dry_run:
        start_early(jobs, device)
    with uncollected():
        from antivenom.auditing.records import Store
        from antivenom.core.fingerprint import also_import_from
        from antivenom.pipelines.planning import written
        from antivenom.pipelines.request import seconds_of
        from antivenom.pipelines.running import Means, perform
        from antivenom.pipelines.saying import Progressing, print_choice

    check_device(device)
    also_import_from(Path.cwd())
    with foreign("the reading of rows and model", max(_LEAST_S, seconds_of(within))):
        load_plugins(plugin)
        prepared = preparing()
    if write is not None:
        return _write(write, written(prepared.choice.groups, prepared.request))
    if not (quiet or as_json):
        print_choice(prepared)
    if dry_run:
        return OK
    means = Means(jobs, device, tuple(map(str, plugin)), shlex.join(["antivenom", *sys.argv[1:]]), since)
    silent = quiet or as_json

    with Store(out, write=True) as store, ended_by_sigterm():
        try:
            with Progressing(silent, verbose) as shows:
                perform(prepared, store, means, shows)
        except KeyboardInterrupt:
            with contextlib.suppress(StoreError):  # nothing was planned yet
                finish(out, as_json, quiet, baseline)
            raise
    return finish(out, as_json, quiet, baseline)


def _write(path: Path, text: str) -> int:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ScenarioError("a new file", f"{path}, which exists", "choose another name") from error
    except OSError as error:
        raise StoreError(f"a place to write {path}", f"{error.strerror}", "choose another path") from error
    typer.echo(f"{path} written: antivenom audit {path}")
    return OK


def prepared_rows(rows: RowOptions, model: ModelOptions, asked: Mapping[str, Any]) -> Prepared:
    """What is tried against a model that is trained on rows. `asked` holds the other arguments of `request_of`.

    Raises:
        AntivenomError: options that contradict each other, or rows or a model that cannot be used.
    """
    from antivenom.pipelines.request import prepare

    return prepare(request_from(rows, model, asked))


def prepared_federation(app: FederationOptions, asked: Mapping[str, Any]) -> Prepared:
    """What is tried against a Flower app. `asked` holds arguments of `request_of`, as for rows.

    Raises:
        AntivenomError: flwr is not installed, the app cannot be read, or an option does not suit a federation.
    """
    if importlib.util.find_spec("flwr") is None:
        raise PluginError("the package flwr", "an installation without it", "pip install 'antivenom[flower]'")
    from antivenom.core.registry import Kind, build
    from antivenom.integrations.flower.choosing import prepared
    from antivenom.pipelines.request import seconds_of

    deployed = asked["deployed"]
    defence = None if deployed in (None, "none") else build(deployed, Kind.AGGREGATOR, Kind.CLIENT_DETECTOR)
    fitting = {name: asked[name] for name in ("goals", "target", "trials", "search", "timeout", "fail_if")}
    return prepared(
        app.folder,
        app.clients,
        app.malicious,
        **fitting,
        seconds=seconds_of(asked["time"]),
        deployed=defence,
    )


def request_from(rows: RowOptions, model: ModelOptions, asked: Mapping[str, Any]) -> Any:
    """The request that the options describe. `asked` holds the other arguments of `request_of`.

    Raises:
        AntivenomError: options that contradict each other, or a value that cannot be used.
    """
    from antivenom.models.training import Training
    from antivenom.pipelines.choosing import training_for
    from antivenom.pipelines.request import request_of

    models = [value for value in (model.estimator, model.model, model.train) if value]
    if len(models) > 1:
        raise ScenarioError("one of --estimator, --model and --train", f"{len(models)} of them", "give one")
    source = source_from(rows, "tokens" if model.model else "raw")
    training = None
    if model.epochs:
        training = Training(epochs=model.epochs, batch_size=training_for(10_000).batch_size)
    named = model.estimator or model.model or None
    return request_of(source, named, train=model.train or None, training=training, **asked)
