"""The worst case for a user's pipeline: a search at each access level, how few rows suffice, and attackers who know the defence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from antivenom.auditing.clock import Clock
from antivenom.auditing.grid import label
from antivenom.auditing.records import Store
from antivenom.auditing.results import CellResult, LevelResult, State, Summary
from antivenom.auditing.trial import SCHEMA, Record
from antivenom.core.errors import AntivenomError
from antivenom.core.threat import Access
from antivenom.pipelines.choosing import Group
from antivenom.scenarios.central import Central
from antivenom.search import Aimed, Attempt, WorstCase, worst_case
from antivenom.search.smallest import smallest_budget
from antivenom.search.trials import Progress

SEEDS = tuple(
    range(1_000_000, 1_000_004)
)  # of searches; a verdict rests on other seeds, for which nothing was selected
SHARE, FEWEST, KNOWING = (
    0.35,
    0.3,
    0.4,
)  # of the time that is left: worst cases, fewest rows, attackers who know the defence
CURVE = 24  # trials without which a curve over the number of rows is not worth its time
WIDER, MOST_SHARE = 10, 0.3  # how far beyond the attacker's budget the fewest rows are searched
LEAST = 12  # trials without which a search is not worth its time
_SAVED = 10  # attempts after which an unfinished search is written down
_SUFFIX = ", by an attacker who knows the defence"

Said = Callable[[str], None]


@dataclass(frozen=True)
class Searcher:
    """Searches within the time and writes down what it tried, so that a killed audit does not try it again.

    Fields:
        store: where the records go, open for writing.
        clock: the time of the audit.
        device, plugins, timeout: as for trials of the audit; see `antivenom.search.worst_case`.
        say: told what is being done, in one line.
        show: shows a trial; see `antivenom.search.trials.Progress`.
        trials: the most trials of one search, or None.
        seconds: how long each trial so far took; grows with every search.
    """

    store: Store
    clock: Clock
    device: str
    plugins: tuple[str, ...]
    timeout: float
    say: Said
    show: Progress
    trials: int | None = None
    seconds: list[float] = field(default_factory=list)

    def worst(self, groups: Sequence[Group]) -> tuple[Group, ...]:
        """The groups, each with the worst attack that was found there in front of the attacks that need no search."""
        found = list(groups)
        number = self._affordable(SHARE, len(groups))
        for place, group in enumerate(groups[:number]):
            attack = self._search(group, None, SHARE * self.clock.left / (number - place))
            found[place] = group if attack is None else _with(group, attack)
        return tuple(found)

    def smallest(self, groups: Sequence[Group], summary: Summary) -> None:
        """For the worst attack of each level on rows: with how few of them it breaches what is deployed.

        An attack that does not breach it with the attacker's budget is tried with up to `WIDER` times as many rows.
        """
        chosen = [pair for level in summary.levels if (pair := _worst(level, groups)) is not None]
        number = self._affordable(FEWEST, len(chosen), CURVE)
        for place, (group, scenario, attack, cell) in enumerate(chosen[:number]):
            seconds = FEWEST * self.clock.left / (number - place)
            breached = cell.state is State.BREACHED
            share = scenario.max_poisoned_rate if breached else min(WIDER * scenario.max_poisoned_rate, MOST_SHARE)
            self.say(f"searching how few rows suffice for {seconds:.0f} s: {group.name}")
            before = self._lines(group.name)
            known = [attempt for each in before for attempt in each["attempts"]]
            tried: list[Attempt] = []
            try:
                found = smallest_budget(
                    attack,
                    _deployed(group, cell),
                    scenario,
                    cell.limit,
                    share=share,
                    trials=self.trials,
                    deadline_seconds=seconds,
                    known=known,
                    progress=self._noting(tried),
                    jobs=self.clock.jobs,
                    timeout=self.timeout,
                    plugins=self.plugins,
                    device=self.device,
                )
            except AntivenomError as error:
                self.say(f"no curve at {group.name}: {error}")
                continue
            line = before[-1] if before else self._line(group, group.name, _deployed(group, cell), None, ())
            attempts = [*line["attempts"], *(attempt.record() for attempt in found.attempts)]
            self.store.append({**line, "attempts": attempts, "trials": len(attempts), **found.record()})

    def _lines(self, name: str) -> list[Record]:
        return [each for each in self.store.beside("search") if each["group"] == name]

    def _noting(self, tried: list[Attempt], save: Callable[[], None] | None = None) -> Progress:
        """Progress of a search, which notes the attempts and saves them now and then."""

        def progress(done: int, most: int, attempt: Attempt) -> None:
            tried.append(attempt)
            self.seconds.append(attempt.seconds)
            self.show(done, most, attempt)
            if save is not None and len(tried) % _SAVED == 0:
                save()

        return progress

    def _affordable(self, share: float, wanted: int, least: int = LEAST) -> int:
        """How many searches of so many trials each fit into this share of the time that is left."""
        number = min(wanted, int(share * self.clock.left / (least * self.clock.pace)))
        if number < wanted:
            self.say(f"{number} of {wanted} searches fit into the time")
        return number

    def knowing(self, groups: Sequence[Group], summary: Summary) -> tuple[Group, ...]:
        """One more group for each level: the worst attack of somebody who knows the deployed defence or, without one, the best."""
        chosen = [pair for level in summary.levels if (pair := _known(level, groups)) is not None]
        chosen, added = chosen[: self._affordable(KNOWING, len(chosen))], []
        for place, (group, defence) in enumerate(chosen):
            attack = self._search(group, defence, KNOWING * self.clock.left / (len(chosen) - place))
            if attack is not None:
                own = replace(group, name=group.name + _SUFFIX, attacks=(), defences=(defence,))
                added.append(_with(own, attack))
        return tuple(added)

    def _search(self, group: Group, defence: Any, seconds: float) -> Any:
        """The worst attack that was found, or None. A search that fails costs the audit only itself."""
        name = group.name if defence is None else group.name + _SUFFIX
        known = [attempt for each in self._lines(name) for attempt in each["attempts"]]
        tried: list[Attempt] = []

        def save() -> None:
            self.store.append(self._line(group, name, defence, None, tried))

        self.say(f"searching the worst case for {seconds:.0f} s: {name}")
        try:
            found = worst_case(
                defence,
                group.scenario,
                trials=self.trials,
                deadline_seconds=seconds,
                seeds=SEEDS,
                confirm=(),
                finalists=1,
                known=known,
                progress=self._noting(tried, save),
                jobs=self.clock.jobs,
                timeout=self.timeout,
                plugins=self.plugins,
                device=self.device,
            )
        except AntivenomError as error:
            self.say(f"no search at {name}: {error}")
            return None
        line = self._line(group, name, defence, found, found.attempts)
        keys = {attempt["key"] for attempt in line["attempts"]}
        kept = [attempt for attempt in known if attempt["key"] not in keys]  # of the curve, which is not tried again
        self.store.append({**line, "attempts": [*line["attempts"], *kept]})
        return found.attack

    def _line(
        self, group: Group, name: str, defence: object, found: WorstCase | None, tried: Sequence[Attempt]
    ) -> dict[str, Any]:
        """The line "search" of records.jsonl."""
        return {
            "schema": SCHEMA,
            "type": "search",
            "group": name,
            "level": group.scenario.level,
            "goal": str(group.scenario.goal),
            "defence": label(defence),
            "trials": len(tried),
            "worst": found.finalists[0].record() if found is not None and found.finalists else None,
            "attempts": [attempt.record() for attempt in tried],
            "smallest": None,
            "curve": [],
        }


def _with(group: Group, attack: Any) -> Group:
    """The group with this attack in front; if its attacker also chose trigger and class, with those in the scenario."""
    scenario = group.scenario
    if isinstance(attack, Aimed):
        trigger, wanted = attack.trigger or scenario.trigger, attack.wanted or scenario.wanted
        scenario = replace(scenario, trigger=trigger, wanted=wanted)  # type: ignore[arg-type]  # of either kind
        attack = attack.attack
    return replace(group, scenario=scenario, attacks=tuple(_once((attack, *group.attacks))))


def _once(attacks: Sequence[object]) -> Iterator[object]:
    """Each attack once, by its label."""
    yield from {label(attack): attack for attack in attacks}.values()


def _worst(level: LevelResult, groups: Sequence[Group]) -> tuple[Group, Central, Any, CellResult] | None:
    """The group, scenario and attack of the level's worst cell with what is deployed, if it is an attack on rows."""
    cell = level.deployed
    for group in groups if cell is not None else ():
        for attack in group.attacks:
            if cell is not None and (group.name, label(attack)) == (cell.group, cell.attack):
                scenario = group.scenario
                if isinstance(scenario, Central) and scenario.access is not Access.LOGIC_CORRUPTION:
                    return group, scenario, attack, cell
    return None


def _deployed(group: Group, cell: CellResult) -> Any:
    """The defence of the cell, or None."""
    return next((each for each in group.defences if label(each) == cell.defence), None)


def _known(level: LevelResult, groups: Sequence[Group]) -> tuple[Group, Any] | None:
    """The defence of a level that an attacker knows, and its group: the deployed one or, if none is deployed, the best."""
    cell = level.deployed if level.deployed is not None and level.deployed.defence != "none" else level.best
    if cell is None:
        return None
    for group in groups:
        for defence in group.defences:
            if (group.name, label(defence)) == (cell.group, cell.defence):
                return group, defence
    return None
