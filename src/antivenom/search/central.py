"""The families of attacks on a central pipeline, by access level, goal, form of the rows and kind of model.

The attacker's budget is a fixed limit: every attack uses all rows that it may use. Against a defence, some families also
search a smaller number, because a filter may miss a few rows and find many, and wrong labels are also placed close together.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from antivenom.attacks import (
    BPP,
    LIRA,
    SIG,
    AdaptiveBlend,
    AdaptivePatch,
    AdversarialPoison,
    BadNets,
    BlindBackdoor,
    BullseyePolytope,
    ClassMeanShift,
    DictionaryAttack,
    FeatureCollision,
    FlippedPoints,
    FocusedAttack,
    GradientMatching,
    InfluenceAttack,
    InputAware,
    InputInstanceKey,
    LabelConsistent,
    LabelFlipping,
    MinMax,
    Narcissus,
    Pseudospam,
    RegressionPoisoning,
    SeparableShortcuts,
    StatP,
    StingRay,
    SVMPoisoning,
    TokenPoison,
    WaNet,
)
from antivenom.attacks.availability.labels import CHOICES, CLUSTERED, LOGISTIC_REGRESSION
from antivenom.core.errors import AntivenomError, ScenarioError
from antivenom.core.registry import Kind, entry_of
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.models.estimators import Sklearn
from antivenom.models.own import BlackBox, is_torch
from antivenom.scenarios.central import Central
from antivenom.scenarios.checks import check_aim
from antivenom.scenarios.grants import Aim
from antivenom.search.aims import Fields, together, triggers_for, wanted_of
from antivenom.search.budgets import RATES, rows_of, with_rows
from antivenom.search.space import Aimed, Axis, Choices, Family, Range
from antivenom.triggers import Blend, Patch, Quantised, Warp

FOREST = Sklearn("sklearn.ensemble.RandomForestClassifier", (("n_estimators", 50),))
WORDS = 20_000  # of a dictionary for texts, whose words are not counted beforehand
FEWEST = 0.1  # of the rows that a family uses against a defence


@dataclass(frozen=True, eq=False)
class Setting:
    """What decides which families fit.

    Fields:
        scenario: the scenario.
        defence: the defence, or None.
        data: the clean training rows of seed 0.
        rows: the number of rows that the attacker may change or add.
    """

    scenario: Central
    defence: Any
    data: Dataset
    rows: int

    @property
    def injects(self) -> bool:
        """Whether the attacker adds rows."""
        return self.scenario.access is Access.DATA_INJECTION

    @property
    def is_torch(self) -> bool:
        """Whether the model is trained by gradients, so that its training code can be corrupted."""
        return is_torch(self.scenario.model)

    @property
    def dense(self) -> bool:
        """Whether the rows are arrays of numbers from 0 to 1, which gradient attacks move."""
        if self.data.is_frame or self.data.is_sparse or self.data.is_tokens:
            return False
        x = self.data.dense
        return bool(x.min() >= 0 and x.max() <= 1)

    @property
    def has_text(self) -> bool:
        """Whether a column holds free text, which cannot be encoded as numbers."""
        return bool(self.data.columns.texts)

    @property
    def writes_text(self) -> bool:
        """Whether the attacker can write a column of free text."""
        return bool(self.data.columns.writable_texts)

    @property
    def counts(self) -> bool:
        """Whether the rows count words."""
        return self.data.columns.modality == "text" and not self.data.is_frame and not self.data.is_tokens

    def family(self, attack: Any, fields: dict[str, Axis] | None = None) -> Family:
        """A family whose attacks use the whole budget."""
        targets = self.scenario.num_targets if self.scenario.goal is Goal.TARGETED else 1
        settle = functools.partial(with_rows, rows=self.rows, data=self.data, targets=targets)
        return Family(attack, fields or {}, settle)


def families(scenario: Central, defence: object) -> tuple[Family, ...]:
    """The families to search for the scenario's access level and goal, against this defence.

    Raises:
        ScenarioError: no attack fits the access level, the goal, the rows and the model.
        DataError: the data cannot be read.
    """
    scenario, data = with_fitting_trigger(scenario), rows_of(scenario)
    setting = Setting(scenario, defence, data, max(int(scenario.max_poisoned_rate * len(data) + 1e-9), 1))
    listed: dict[Goal, Callable[[Setting], Iterator[Family]]] = {
        Goal.AVAILABILITY: _availability,
        Goal.TARGETED: _targeted,
        Goal.BACKDOOR: _backdoor,
    }
    fitting = [] if isinstance(scenario.model, BlackBox) else list(listed[scenario.goal](setting))
    found = [each for each in fitting if scenario.access in entry_of(_attack(each.attack)).access]
    if defence is not None:
        found = [*_few(found), *_close(setting, found), *found]
    if not found:
        raise ScenarioError(
            "an attack that fits",
            f"none for {scenario.access}, {scenario.goal}, {_form(data)} and this model",
            "pass `families`",
        )
    return tuple(found)


def with_fitting_trigger(scenario: Central) -> Central:
    """The scenario with a trigger that suits its rows, if the goal is a backdoor and its own trigger does not."""
    if scenario.goal is not Goal.BACKDOOR:
        return scenario
    data = rows_of(scenario)
    try:
        check_aim(data, Aim(scenario.threat, scenario.wanted, scenario.trigger))
    except AntivenomError:
        found = triggers_for(data)
        return dataclasses.replace(scenario, trigger=found[0][0]) if found else scenario
    return scenario


def _availability(setting: Setting) -> Iterator[Family]:
    data = setting.data
    if data.is_regression:
        yield setting.family(
            RegressionPoisoning(),
            {
                "alpha": Choices((0.0, 0.1, 1.0)),
                "start": Choices(("b-flip", "inv-flip")),
                "responses": Choices((True, False)),
            },
        )
        yield setting.family(StatP())
        return
    classes: Axis = Choices((None, *range(min(data.num_classes, 20))))
    surrogates: Axis = Choices((LOGISTIC_REGRESSION, FOREST))
    if setting.has_text:  # a surrogate needs numbers
        yield setting.family(LabelFlipping(), {"source": classes})
    else:
        yield setting.family(
            LabelFlipping(choice="lowest-loss"),
            {"choice": Choices(CHOICES), "source": classes, "surrogate": surrogates},
        )
    yield setting.family(FlippedPoints(), {"label": classes})
    two = data.num_classes == 2
    if (setting.counts and two) or setting.writes_text:
        most = max(data.shape[0], 11) if setting.counts else WORDS
        labels = Choices(tuple(range(min(data.num_classes, 20))))
        listed: dict[str, Axis] = {"size": Range(10, most, log=True, whole=True), "label": labels}
        yield setting.family(DictionaryAttack(words="ham-frequent", size=most), listed)
        if setting.counts:
            yield setting.family(DictionaryAttack(), {"label": labels})
        if two:
            yield setting.family(FocusedAttack(), {"guess_rate": Range(0.1, 1.0)})
            yield setting.family(Pseudospam())
    if two and not data.is_tokens and not data.is_image and not setting.has_text:
        yield setting.family(MinMax(), {"rho_squared": Range(0.1, 10.0, log=True), "percentile": Range(50.0, 99.0)})
        yield setting.family(
            InfluenceAttack(), {"positive": Range(0.1, 0.9), "weight_decay": Range(0.001, 0.3, log=True)}
        )
    if setting.dense:
        noise: dict[str, Axis] = {"epsilon": Range(0.05, 0.5)}
        yield setting.family(ClassMeanShift(), {"targets": Choices(("next", "nearest")), **noise})
        if data.is_image:
            yield setting.family(SeparableShortcuts(), noise)
        yield setting.family(AdversarialPoison(), noise)
    if two and setting.dense and not data.is_image:
        yield setting.family(SVMPoisoning(), {"kernel": Choices(("linear", "rbf"))})


def _targeted(setting: Setting) -> Iterator[Family]:
    wanted = wanted_of(setting.scenario, setting.data)

    def aimed(attack: Any, fields: dict[str, Axis]) -> Family:
        inner = {f"attack.{name}": axis for name, axis in fields.items()}
        if wanted is None:
            return setting.family(Aimed(attack), inner)
        return setting.family(Aimed(attack, wanted=setting.scenario.wanted), {"wanted": wanted, **inner})

    yield aimed(InputInstanceKey(), {"noise": Range(0.0, 0.1)} if setting.data.is_image else {})
    if not setting.data.is_image:
        yield aimed(StingRay(), {"share": Range(0.1, 1.0)})
    if setting.dense:
        epsilon: dict[str, Axis] = {"epsilon": Range(0.02, 0.3)}
        yield aimed(FeatureCollision(), {"opacity": Range(0.0, 0.6)})
        yield aimed(BullseyePolytope(), epsilon)
        yield aimed(GradientMatching(), epsilon)


def _backdoor(setting: Setting) -> Iterator[Family]:
    data = setting.data
    triggers = triggers_for(data)
    if not triggers:
        return
    first = triggers[0]
    if setting.scenario.access is Access.LOGIC_CORRUPTION:
        if setting.is_torch:
            yield from _logic(setting, triggers)
        return
    for each in triggers:
        if setting.counts or data.is_tokens:
            yield _planted(setting, TokenPoison(), each, {"all_tokens": Choices((True, False))})
        yield _planted(setting, BadNets(), each, {})
        if not data.is_tokens:
            yield _planted(setting, SIG(), each, {"strength": Range(0.3, 3.0, log=True)} if data.is_image else {})
    own = setting.scenario.trigger
    searched = [value for _, fields in triggers for value in getattr(fields.get(""), "values", ())]
    if own != Patch() and own not in searched and all(type(own) is not type(trigger) for trigger, _ in triggers):
        yield _planted(setting, BadNets(), (own, {}), {})
    if not setting.dense:
        return
    yield _planted(setting, LabelConsistent(), first, {"epsilon": Range(0.05, 0.5)})
    if data.is_image:
        cover: dict[str, Axis] = {"cover_rate": Range(0.0, 0.006), "strength": Range(0.3, 1.0)}
        yield _planted(setting, AdaptivePatch(), (together(data), {}), cover)
        if min(data.shape[1:]) >= 4:
            yield _planted(setting, AdaptiveBlend(), (Blend(), {"share": Range(0.05, 0.3)}), cover)
        yield _planted(setting, WaNet(), (Warp(), {"strength": Range(0.25, 1.0)}), {"noise_rate": Range(0.0, 0.3)})
        yield _planted(setting, Narcissus(), first, {"epsilon": Range(0.03, 0.3), "test_scale": Range(1.0, 4.0)})


def _logic(setting: Setting, triggers: list[tuple[Any, Fields]]) -> Iterator[Family]:
    """Corrupted training code. It touches no rows, so that no budget limits it."""
    share: dict[str, Axis] = {"share": Range(0.05, 0.5)}
    for each in triggers:
        yield _planted(setting, BlindBackdoor(), each, {**share, "balance": Choices(("fixed", "mgda"))}, budget=False)
    if setting.data.is_image:
        rates: dict[str, Axis] = {"poisoned_rate": Range(0.02, 0.3), "negative_rate": Range(0.0, 0.3)}
        yield _planted(setting, BPP(), (Quantised(), {"levels": Range(3, 16, whole=True)}), rates, budget=False)
        yield _planted(setting, LIRA(), triggers[0], {**share, "epsilon": Range(0.03, 0.3)}, budget=False)
        yield _planted(setting, InputAware(), triggers[0], {"poisoned_rate": Range(0.02, 0.3)}, budget=False)


def _planted(
    setting: Setting, attack: Any, trigger: tuple[Any, Fields], fields: dict[str, Axis], budget: bool = True
) -> Family:
    """A family of backdoors whose attacker also chooses the trigger and the wanted class."""
    shown, own = trigger
    paths: dict[str, Axis] = {f"trigger.{name}" if name else "trigger": axis for name, axis in own.items()}
    wanted = wanted_of(setting.scenario, setting.data)
    if wanted is not None:
        paths["wanted"] = wanted
    paths |= {f"attack.{name}": axis for name, axis in fields.items()}
    aimed = Aimed(attack, shown, setting.scenario.wanted)
    return setting.family(aimed, paths) if budget else Family(aimed, paths)


def _few(found: list[Family]) -> Iterator[Family]:
    """For each family with a share of all rows, one that also searches a smaller share, down to a tenth of the budget."""
    for family in found:
        own = family.own
        inner, path = (own.attack, "attack.") if isinstance(own, Aimed) else (own, "")
        name = next((name for name in RATES if getattr(inner, name, 0) > 0), None)
        if name is not None and entry_of(inner).kind is not Kind.LOGIC_ATTACK and "source" not in family.fields:
            most = getattr(inner, name)
            fields = {path + name: Range(FEWEST * most, most, log=True)}
            yield Family(own, {**family.fields, **fields})


def _close(setting: Setting, found: list[Family]) -> Iterator[Family]:
    """Wrong labels that lie close together, which filters that ask the neighbours of a row keep; for rows with distances."""
    if setting.has_text or setting.data.is_tokens or setting.data.is_regression:
        return
    for family in found:
        if isinstance(family.attack, LabelFlipping):
            yield setting.family(
                dataclasses.replace(family.attack, choice=CLUSTERED), {"source": family.fields["source"]}
            )
        if isinstance(family.attack, FlippedPoints):
            clustered = dataclasses.replace(family.attack, choice=CLUSTERED, repeats=3)
            yield setting.family(clustered, {**family.fields, "repeats": Range(1, 20, log=True, whole=True)})


def _attack(attack: Any) -> Any:
    return attack.attack if isinstance(attack, Aimed) else attack


def _form(data: Dataset) -> str:
    if data.is_frame:
        return "a table of mixed columns"
    return (
        "images"
        if data.is_image
        else "token rows"
        if data.is_tokens
        else "sparse rows"
        if data.is_sparse
        else "numbers"
    )
