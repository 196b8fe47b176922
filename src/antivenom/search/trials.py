"""The trials of one search: paired with clean twins, counted and timed, and listed with their errors."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from antivenom.auditing.executors import processes
from antivenom.auditing.identity import Identity, identity_of
from antivenom.auditing.trial import Record, Trial, job_of, run_trial
from antivenom.core.errors import AntivenomError, text_of
from antivenom.core.goals import Metrics
from antivenom.core.threat import Goal
from antivenom.scenarios.central import Central
from antivenom.search.space import Aimed, label_of

MOST = 2_000  # trials, where only the time is limited
CHUNK = 4  # trials for each process between two looks at the clock
TIMEOUT = 3600.0  # seconds for one trial


@dataclass(frozen=True)
class Attempt:
    """One trial of the search.

    Fields:
        attack: the attack, or None for the clean twin.
        seed: seed of the trial; trials with the same seed are paired.
        harm: harm of the attack compared with the clean twin of the same seed; nan if the trial failed.
        metrics: the judge's metrics; empty if the trial failed.
        stage: twin, explore, refine, confirm or curve.
        error: the reason why the harm is not known, or None.
        key: identifies the trial with everything that its result depends on; empty for a scenario or a plugin that is not
            registered.
        seconds: how long the trial took; 0 if its result was known.
    """

    attack: object
    seed: int
    harm: float
    metrics: dict[str, float]
    stage: str
    error: str | None = None
    key: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)

    def record(self) -> Record:
        """The attempt in plain JSON, from which another search knows its result; see `worst_case`, argument `known`."""
        return {
            "attack": label_of(self.attack),
            "share": _finite(self.metrics.get("poisoned_rate", math.nan)) or 0.0,
            "rows": int(_finite(self.metrics.get("poisoned_rows", math.nan)) or 0),
            "harm": _finite(self.harm),
            "seed": self.seed,
            "stage": self.stage,
            "key": self.key,
            "metrics": {name: _finite(value) for name, value in self.metrics.items()},
            "error": self.error,
            "seconds": round(self.seconds, 3),
        }


Progress = Callable[[int, int, Attempt], None]
Asked = tuple[Any, int]  # an attack and a seed


@dataclass(frozen=True)
class Limits:
    """How much a search may spend, and where its trials run.

    Fields:
        trials: the most trials.
        seconds: the most seconds of the clock, or None.
        jobs: processes that run trials, each watched and killed if it takes too long; 0 runs them in this process.
        timeout: the most seconds of one trial, in a process of its own.
        device: the torch device to train on.
        plugins: plugin files that the processes load.
    """

    trials: int
    seconds: float | None = None
    jobs: int = 0
    timeout: float = TIMEOUT
    device: str = "cpu"
    plugins: tuple[str, ...] = ()


class Trials:
    """Runs trials and lists them. The clean twin of each seed, with the same defence, is run once.

    An attack with an aim of its own (`Aimed`) is compared with a twin of that aim. Backdoors without a defence need no twins:
    the attack's own trial measures the trigger on the clean model.

    Args:
        defence: the defence, or None.
        scenario: the scenario of all trials.
        limits: how much may be spent.
        known: records of attempts of an earlier search, which are not run again.
        progress: called as progress(done, most, attempt) after every trial.

    Attributes:
        attempts: all trials, in order.
    """

    def __init__(
        self,
        defence: object,
        scenario: Any,
        limits: Limits,
        known: Iterable[Mapping[str, Any]] = (),
        progress: Progress | None = None,
    ) -> None:
        self.defence, self.scenario, self.limits, self.progress = defence, scenario, limits, progress
        self.attempts: list[Attempt] = []
        self._known = {each["key"]: each for each in known if each.get("key")}
        self._twins: dict[tuple[str, int], Metrics] = {}
        self._data: dict[int, str] = {}  # fingerprints
        self._identities: dict[str, Identity | None] = {}
        self._began = time.monotonic()
        self._ran, self._first_end = 0, self._began

    @property
    def left(self) -> int:
        """How many more trials may be run; with a limit of time, as many as fit at the speed of those before."""
        number = self.limits.trials - len(self.attempts)
        if self.limits.seconds is None or not self._ran:
            return number
        return max(min(number, int(self.seconds_left / max(self._each, 1e-3))), 0)

    @property
    def _each(self) -> float:
        """Seconds of the clock for each trial. The start of the first process is left out, because it happens once."""
        if self._ran == 1:
            return self.attempts[-1].seconds
        return (time.monotonic() - self._first_end) / (self._ran - 1)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; infinite without one."""
        if self.limits.seconds is None:
            return math.inf
        return self.limits.seconds - (time.monotonic() - self._began)

    def usable(self, seeds: Iterable[int]) -> list[int]:
        """Run the clean twins, and return the seeds at which harm is defined: not where the twin failed or is at chance.

        Where every trial measures its twin itself (`self_paired`), all seeds are usable.
        """
        seeds = list(seeds)
        if self.self_paired:
            return seeds
        for _ in self._ran_all([(None, seed) for seed in seeds if ("", seed) not in self._twins], "twin", 0):
            pass
        return [seed for seed in seeds if not math.isnan(self._harm(None, self._twins.get(("", seed), {}), seed))]

    def pair(self, attempt: Attempt) -> tuple[Metrics, Metrics] | None:
        """The metrics of a trial and of its twin; None if the trial failed."""
        twin = self._twin(attempt.attack, attempt.metrics, attempt.seed)
        return None if math.isnan(attempt.harm) or twin is None else (attempt.metrics, twin)

    def run(self, asked: Iterable[Asked], stage: str, reserve: int = 0) -> Iterator[tuple[int, Attempt]]:
        """Run attacks at usable seeds, and yield (place in `asked`, attempt) as the trials end.

        It stops when only `reserve` trials are left. With processes, `asked` is read as a whole before anything runs;
        without, one by one.
        """
        yield from self._ran_all(asked, stage, reserve)

    def _ran_all(self, asked: Iterable[Asked], stage: str, reserve: int) -> Iterator[tuple[int, Attempt]]:
        if not self.limits.jobs:
            for place, (attack, seed) in enumerate(asked):
                if self.left - reserve < self.price(attack, seed):
                    return
                if self._needs_twin(attack, seed):
                    self._add(_Ask(self, _twin_of(attack), seed, "twin"), None)
                yield place, self._add(_Ask(self, attack, seed, stage), None)
            return
        waiting = list(enumerate(asked))
        while waiting:
            size = self.limits.jobs * CHUNK if self.limits.seconds is not None else len(waiting)
            chunk, waiting = waiting[:size], waiting[size:]
            yield from self._contained(chunk, stage, reserve)
            if self.left <= reserve:
                return

    def _contained(self, asked: list[tuple[int, Asked]], stage: str, reserve: int) -> Iterator[tuple[int, Attempt]]:
        """Run trials in watched processes; their twins first where they need some."""
        asks: list[tuple[int, _Ask]] = []
        twins: dict[tuple[str, int], _Ask] = {}
        for place, (attack, seed) in asked:
            needs = self._needs_twin(attack, seed) and (self._aim(attack), seed) not in twins
            if self.left - reserve - len(asks) - len(twins) < 1 + needs:
                break
            if needs:
                twins[self._aim(attack), seed] = _Ask(self, _twin_of(attack), seed, "twin")
            asks.append((place, _Ask(self, attack, seed, stage)))
        for ask, record in self._records(twins.values()):
            self._add(ask, record)
        places = {id(ask): place for place, ask in asks}
        for ask, record in self._records([ask for _, ask in asks]):
            yield places[id(ask)], self._add(ask, record)

    def _records(self, asks: Iterable[_Ask]) -> Iterator[tuple[_Ask, Record | None]]:
        """The records of trials from processes; None for a trial whose result is known."""
        waiting: dict[str, list[_Ask]] = {}
        for ask in asks:
            if ask.key in self._known:
                yield ask, None
            else:
                waiting.setdefault(ask.key, []).append(ask)
        if not waiting:
            return
        limit = min(self.limits.timeout, max(self.seconds_left, 1.0))
        execute = processes(self.limits.jobs, self.limits.plugins, limit)
        run = _Running(self.limits.device)
        for record in execute(run, [job_of(same[0].identity) for same in waiting.values()]):
            for ask in waiting.pop(record["key"], []):
                yield ask, record

    def _add(self, ask: _Ask, record: Record | None) -> Attempt:
        """Run the trial here unless there is a record of it, and list it."""
        known = self._known.get(ask.key) if ask.key else None
        begun = time.monotonic()
        if known is not None:
            metrics, error = _numbers(known["metrics"]), known["error"]
        elif record is not None:
            metrics = _numbers(record["metrics"]) if record["status"] == "ok" else {}
            error = None if record["status"] == "ok" else record["error"] or record["status"]
        else:
            metrics, error = ask.run(self.limits.device)
        seconds = record["seconds"] if record is not None else time.monotonic() - begun
        if aimed(self.scenario, ask.attack)[1] is None:
            self._twins[self._aim(ask.attack), ask.seed] = metrics
        harm = math.nan if error is not None and not metrics else self._harm(ask.attack, metrics, ask.seed)
        if error is None and math.isnan(harm):
            error = f"no harm is defined: {self.scenario.goal} was not measured, or the clean twin is at chance"
        attempt = Attempt(ask.attack, ask.seed, harm, metrics, ask.stage, error, ask.key, seconds)
        self.attempts.append(attempt)
        if known is None:
            self._ran += 1
            self._first_end = time.monotonic() if self._ran == 1 else self._first_end
        if self.progress is not None:
            most = self.limits.trials if self.limits.seconds is None else len(self.attempts) + self.left
            self.progress(len(self.attempts), most, attempt)
        return attempt

    def price(self, attack: object, seed: int) -> int:
        """How many trials it takes to learn the harm of an attack: 2 if a clean twin is to be run, too."""
        return 1 + self._needs_twin(attack, seed)

    def _needs_twin(self, attack: object, seed: int) -> bool:
        """Whether a twin of the attack's own aim is to be run first."""
        aim = self._aim(attack)
        return bool(aim) and not self.self_paired and (aim, seed) not in self._twins

    @property
    def self_paired(self) -> bool:
        """Whether every trial also measures its clean twin: backdoors of a central pipeline without a defence."""
        return self.defence is None and isinstance(self.scenario, Central) and self.scenario.goal is Goal.BACKDOOR

    def _aim(self, attack: object) -> str:
        """What the attack's aim changes in the scenario's; empty if it changes nothing."""
        if not isinstance(attack, Aimed):
            return ""
        return repr([(name, value) for name, value in attack.aim.items() if value != getattr(self.scenario, name)])[
            2:-2
        ]

    def _twin(self, attack: object, metrics: Metrics, seed: int) -> Metrics | None:
        """The metrics of the clean twin with the attack's aim."""
        if self.self_paired:
            return {"asr": metrics.get("asr_clean", math.nan)}
        return self._twins.get((self._aim(attack), seed))

    def _harm(self, attack: object, metrics: Metrics, seed: int) -> float:
        twin = self._twin(attack, metrics, seed)
        return math.nan if not metrics or twin is None else float(self.scenario.goal.metric.value(metrics, twin))

    def identity(self, attack: object, seed: int) -> Identity | None:
        """The identity of a trial; None if the scenario or a plugin is not registered."""
        name = repr(attack)
        if name not in self._identities:
            scenario, plain = aimed(self.scenario, attack)
            trial = Trial(scenario, plain, self.defence, 0)
            try:
                self._identities[name] = identity_of(trial.spec, trial.parts, self._data)
            except (AntivenomError, TypeError, AttributeError):
                self._identities[name] = None
        found = self._identities[name]
        return None if found is None else dataclasses.replace(found, spec={**found.spec, "seed": seed})


class _Ask:
    """A trial that was asked for."""

    def __init__(self, trials: Trials, attack: object, seed: int, stage: str) -> None:
        self.trials, self.attack, self.seed, self.stage = trials, attack, seed, stage
        found = trials.identity(attack, seed)
        self.key = "" if found is None else found.key

    @property
    def identity(self) -> Identity:
        """The trial's identity, which a process needs.

        Raises:
            AntivenomError: the scenario or a plugin is not registered.
        """
        scenario, plain = aimed(self.trials.scenario, self.attack)
        return (
            self.trials.identity(self.attack, self.seed)
            or Trial(scenario, plain, self.trials.defence, self.seed).identity
        )

    def run(self, device: str) -> tuple[dict[str, float], str | None]:
        """The metrics of the trial, run in this process, and its error."""
        scenario, plain = aimed(self.trials.scenario, self.attack)
        try:
            return dict(scenario.run(plain, self.trials.defence, self.seed, device).metrics), None
        except Exception as error:  # the user's model or data may raise anything
            return {}, text_of(error)


@dataclass(frozen=True)
class _Running:
    """Runs a trial in another process, to which it can be pickled."""

    device: str

    def __call__(self, job: Mapping[str, Any]) -> Record:
        return run_trial(job, self.device)


def aimed(scenario: Any, attack: object) -> tuple[Any, Any]:
    """The scenario with the attack's aim, and the attack without it."""
    if not isinstance(attack, Aimed):
        return scenario, attack
    return dataclasses.replace(scenario, **attack.aim), attack.attack


def _twin_of(attack: object) -> object:
    """The clean twin with the attack's aim."""
    return dataclasses.replace(attack, attack=None) if isinstance(attack, Aimed) else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics from a record, which holds null where a number was not finite."""
    return {name: math.nan if value is None else float(value) for name, value in metrics.items()}
