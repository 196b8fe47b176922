"""A trial is one cell of the grid with one seed. Running it gives a record, also if a plugin fails or takes too long."""

from __future__ import annotations

import datetime
import functools
import math
import os
import platform
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from antivenom.auditing.identity import Identity, code_in, identity_of, version
from antivenom.auditing.pictures import encoded
from antivenom.auditing.samples import encoded_samples
from antivenom.core.errors import (
    LINE,
    AntivenomError,
    NotApplicable,
    PluginError,
    ScenarioError,
    TrialTimeout,
    did_you_mean,
    shortened,
    text_of,
)
from antivenom.core.lockstep import Abandoned, limited, seconds
from antivenom.core.outcome import Outcome
from antivenom.core.progress import kept_in
from antivenom.core.protocols import Scenario
from antivenom.core.registry import (
    ATTACKS,
    DEFENCES,
    Entry,
    Kind,
    build,
    describe,
    entries,
    entry_of,
    fill,
    join_fields,
    split_fields,
)

TRACEBACK = 20_000  # characters of a traceback in a record
SCHEMA = 1  # version of the format of records; a reader refuses records of a newer one
# Keys of a scenario's mapping that are not its fields. A field with such a name is written below `fields`.
RESERVED = ("kind", "name", "attacks", "defences", "deployed", "fields")
Record = dict[str, Any]


def scenario_entry(name: object) -> Entry:
    """The registered scenario of that name.

    Raises:
        ScenarioError: no scenario has that name; the message holds the most similar one.
    """
    known = {entry.name: entry for entry in entries(Kind.SCENARIO)}
    if not isinstance(name, str) or name not in known:
        raise ScenarioError("the name of a scenario", repr(name), did_you_mean(str(name), known))
    return known[name]


@dataclass(frozen=True)
class Trial:
    """One scenario with one attack or none, one defence or none, and one seed.

    Fields:
        scenario: a value of a registered kind of scenario.
        attack: a plugin, or None for the clean twin.
        defence: a plugin, or None for the undefended pipeline.
        seed: the seed of all random streams.
    """

    scenario: Scenario
    attack: Any
    defence: Any
    seed: int

    @property
    def spec(self) -> Record:
        """The trial in plain JSON, from which `from_spec` makes it again."""
        described = split_fields(describe(self.scenario))
        return {
            "scenario": {"kind": entry_of(self.scenario).name, **join_fields(described, RESERVED)},
            "attack": None if self.attack is None else describe(self.attack),
            "defence": None if self.defence is None else describe(self.defence),
            "seed": self.seed,
        }

    @property
    def identity(self) -> Identity:
        """Everything that the result depends on."""
        return identity_of(self.spec, self.parts)

    @property
    def parts(self) -> dict[str, object]:
        """Scenario, attack and defence by these names."""
        return {"scenario": self.scenario, "attack": self.attack, "defence": self.defence}

    @property
    def key(self) -> str:
        """The identity's 16 hexadecimal digits. Two trials with equal keys have equal results."""
        return self.identity.key

    @classmethod
    def from_spec(cls, spec: Job) -> Trial:
        """The trial that a specification describes.

        Raises:
            AntivenomError: a plugin is unknown here or cannot be built.
        """
        kind = scenario_entry(spec["scenario"]["kind"])
        return cls(
            scenario=fill(kind.cls, split_fields(spec["scenario"], RESERVED)),
            attack=None if spec["attack"] is None else build(spec["attack"], *ATTACKS),
            defence=None if spec["defence"] is None else build(spec["defence"], *DEFENCES),
            seed=int(spec["seed"]),
        )


Job = Mapping[str, Any]  # a specification; if its identity is known, the identity's other parts are under "identity"


def job_of(identity: Identity) -> Job:
    """A specification that carries its identity, so that a worker need not hash the data again."""
    return {**identity.spec, "identity": identity.parts}


def identity_in(job: Job) -> Identity:
    """The identity that a job carries, or else the one computed here.

    Raises:
        AntivenomError: the job carries no identity, and its trial cannot be built.
    """
    spec = {name: value for name, value in job.items() if name != "identity"}
    return Identity(spec, **job["identity"]) if "identity" in job else Trial.from_spec(spec).identity


def key_of(job: Job) -> str:
    """The key of the record that the job will produce."""
    return identity_in(job).key


def blank(job: Job) -> Record:
    """The record of a trial that has not run: status "error", no error message, no metrics."""
    try:
        identity = identity_in(job)
    except AntivenomError:  # the trial cannot be built, so its record will hold that error
        identity = Identity(dict(job), {}, {}, version())
    return {
        "schema": SCHEMA,
        "type": "trial",
        "key": identity.key,
        "spec": dict(identity.spec),
        **identity.parts,
        "status": "error",
        "error": None,
        "metrics": {},
        "curves": {},
        "notes": [],
        "pictures": {},
        "samples": [],
        "versions": versions(),
        "seconds": 0.0,
    }


def run_trial(job: Job, device: str = "cpu", timeout: float | None = None, progress: str | None = None) -> Record:
    """Run the trial that `job` describes and return its record. Failures of plugins, data and models do not raise.

    The record's status is "ok", "not-applicable" (the combination makes no sense; `error` says why), "timeout", or "error"
    (`error` is one line; `traceback` is added if the error is not antivenom's own, or came from inside a plugin).

    Args:
        job: the trial's specification.
        device: "cpu", "cuda" or another torch device.
        timeout: the most seconds that a trial may take which is interleaved with others (see `lockstep.in_step`), where
            work that is done for several of them counts in equal shares. Nothing here limits the time of other trials,
            because code can only be stopped from outside its process, which `executors.processes` does.
        progress: folder in which a long trial keeps its progress, in a file that is named by its key. A trial that finds such
            a file goes on from it, and removes it when it succeeds.
    """
    started = datetime.datetime.now(datetime.UTC)
    begun = seconds()
    record = blank(job) | {"started": started.isoformat(timespec="seconds"), "device": device}
    try:
        if timeout is not None:
            limited(timeout, functools.partial(_expire, timeout))
        trial = Trial.from_spec(record["spec"])
        _as_planned(record["code"], code_in(trial.parts))
        file = None if progress is None else Path(progress) / f"{record['key']}.safetensors"
        with kept_in(file):
            outcome: Outcome = trial.scenario.run(trial.attack, trial.defence, trial.seed, device)
        if file is not None:
            file.unlink(missing_ok=True)
        notes = [shortened(str(note), LINE) for note in outcome.notes]
        record |= {"status": "ok", "metrics": outcome.metrics, "curves": outcome.curves, "notes": notes}
        if trial.seed == 0:  # pictures and samples of other seeds would show the same and make the file longer
            record["pictures"] = {str(name): encoded(image) for name, image in outcome.pictures.items()}
            record["samples"] = encoded_samples(outcome.samples)
    except NotApplicable as error:
        record |= {"status": "not-applicable", "error": text_of(error)}
    except TrialTimeout as error:
        record |= {"status": "timeout", "error": text_of(error)}
    except (KeyboardInterrupt, Abandoned):
        raise
    except BaseException as error:  # also SystemExit and GeneratorExit, which a plugin may raise
        record |= failure(error)
    record["seconds"] = round(seconds() - begun, 3)
    return plain(record)  # type: ignore[no-any-return]


def failure(error: BaseException) -> Record:
    """The fields of a record that say which error ended its trial, within LINE and TRACEBACK characters."""
    found: Record = {"status": "error", "error": text_of(error)}
    own = isinstance(error, AntivenomError)
    if not own or (isinstance(error, PluginError) and error.__cause__ is not None):  # for the plugin's author
        found["traceback"] = shortened("".join(traceback.format_exception(error)), TRACEBACK)
    return found


def _as_planned(planned: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse to run if the plugins' code has changed since the plan, whose key would then be wrong for the result."""
    for name in sorted(planned.keys() | here.keys()):
        if planned.get(name) != here.get(name):
            raise PluginError(
                f"the code of {name} as it was planned", "another, because a file was edited", "start the audit again"
            )


def plain(value: object) -> Any:
    """The value as plain JSON; a number that is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def versions() -> dict[str, str]:
    """The machine and the versions of the libraries that compute numbers, noted in the record."""
    names = ("antivenom", "torch", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        **{name: metadata.version(name) for name in names},
    }


def _expire(limit_s: float) -> None:
    raise overran(limit_s)


def overran(limit_s: float) -> TrialTimeout:
    """The error of a trial that took longer than `limit_s` seconds."""
    return TrialTimeout(
        f"an end within {limit_s:g} s (timeout)", "a trial still running", "raise timeout or shrink the trial"
    )
