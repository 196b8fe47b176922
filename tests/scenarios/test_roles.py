"""Attacker, defender and judge are kept apart: each attempt to cross over is an error of one line, or has no effect."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from antivenom.attacks import BadNets, RIPPLe
from antivenom.core.errors import AntivenomError, PluginError, ThreatError
from antivenom.core.goals import Backdoor
from antivenom.core.outcome import Outcome
from antivenom.core.registry import (
    attack,
    evasion,
    gate,
    logic_attack,
    mitigation,
    model_attack,
    model_detector,
    robust_learner,
    sanitizer,
)
from antivenom.core.streams import Streams
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.core.wanted import AllToAll, AllToOne, FromTo, Rows
from antivenom.data import Dataset, Poison, load
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.copies import copied
from antivenom.scenarios.transfer import Transfer
from antivenom.triggers import Patch

QUICK = Training(epochs=5, batch_size=50, learning_rate=0.01)
SMALL: dict[str, Any] = {"model": MLP(hidden=(16,)), "training": QUICK, "train_rows": 500}
BACKDOOR = Central(**SMALL, wanted=2)
HARM = Central(**SMALL, access="data-injection", goal="availability")  # type: ignore[arg-type]
MOVED = Transfer(**SMALL, wanted=2, fine_tune_epochs=2)
SEEN: dict[str, Any] = {}

pytestmark = pytest.mark.usefixtures("plugins")


def refused(call: Callable[[], Outcome], says: str, kind: type = PluginError) -> None:
    with pytest.raises(kind, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def through_torch(data: Dataset) -> None:
    torch.from_numpy(data.x).zero_()


def through_the_flag(data: Dataset) -> None:
    data.x.flags.writeable = True
    data.x[:] = 0


def into_the_labels(data: Dataset) -> None:
    data.y.flags.writeable = True
    data.y[:] = 0


def past_the_freeze(data: Dataset) -> None:
    object.__setattr__(data, "x", np.zeros_like(data.x))


WRITES = [through_torch, through_the_flag, into_the_labels, past_the_freeze]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writ")
@pytest.mark.parametrize("write", WRITES)
def test_an_attack_that_writes_into_its_input_is_an_error(write: Callable[[Dataset], None]) -> None:
    @attack(access=("data-injection",), goal="availability", cite="none")
    class Writes:
        """Writes into the clean rows. Weakness: is caught."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            SEEN["before"] = data
            write(data)
            return Poison.none(data)

    refused(lambda: HARM.run(Writes(), None, 0), "Writes to leave its inputs alone")


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writ")
@pytest.mark.parametrize("write", WRITES)
def test_a_defence_that_writes_into_its_input_is_an_error(write: Callable[[Dataset], None]) -> None:
    @sanitizer(goal="backdoor", cite="none")
    class Scrubs:
        """Writes into the rows. Weakness: is caught."""

        def __call__(self, data: Dataset, context: Any) -> Verdict:
            write(data)
            return Verdict(np.zeros(len(data)), np.zeros(len(data), dtype=bool))

    @mitigation(goal="backdoor", cite="none")
    class Spoils:
        """Writes into the trusted rows. Weakness: is caught."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> Any:
            write(context.trusted)
            return model

    refused(lambda: BACKDOOR.run(None, Scrubs(), 0), "Scrubs to leave its inputs alone")
    refused(lambda: BACKDOOR.run(None, Spoils(), 0), "Spoils to leave its inputs alone")


def test_what_an_attack_wrote_into_and_hid_does_not_reach_the_pipeline() -> None:
    """It puts the rows back before it returns, or writes after it returned: there is nothing of the pipeline to reach."""

    @attack(access=("data-injection",), goal="backdoor", cite="none")
    class Late:
        """Keeps its input and the rows that it returned, and writes into them when it is asked about its trigger."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            SEEN["clean"], SEEN["poison"] = data, BadNets()(data, context)
            return SEEN["poison"]

    @sanitizer(goal="backdoor", cite="none")
    class Idle:
        """Writes into what the attack kept, and flags nothing."""

        def __call__(self, data: Dataset, context: Any) -> Verdict:
            for name in ("clean", "poison"):
                kept = SEEN[name].data if name == "poison" else SEEN[name]
                kept.x.flags.writeable = True
                kept.x[:] = 0
            return Verdict(np.zeros(len(data)), np.zeros(len(data), dtype=bool))

    honest = BACKDOOR.run(BadNets(), None, 0).metrics
    late = BACKDOOR.run(Late(), Idle(), 0).metrics
    for name in ("clean_accuracy", "asr", "asr_clean", "robust_accuracy"):
        assert late[name] == honest[name], name


def test_the_plain_slip_is_one_line_with_its_remedy() -> None:
    @attack(access=("data-injection",), goal="availability", cite="none")
    class Slips:
        """Writes into the rows without a copy."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            data.x[0] = 1
            return Poison.none(data)

    refused(lambda: HARM.run(Slips(), None, 0), "Slips to run, got ValueError: .*read-only: .*work on a copy")


@pytest.mark.parametrize("error", [RuntimeError("boom\nsecond line"), SystemExit(0), MemoryError()])
def test_whatever_a_plugin_raises_names_it(error: BaseException) -> None:
    @sanitizer(goal="backdoor", cite="none")
    class Fails:
        """Fails."""

        def __call__(self, data: Dataset, context: Any) -> Verdict:
            raise error

    refused(lambda: BACKDOOR.run(None, Fails(), 0), "Fails to run, got")


def test_an_attack_cannot_raise_its_own_budget_or_change_the_trigger_that_is_judged() -> None:
    @attack(access=("data-injection",), goal="backdoor", cite="none")
    class Greedy:
        """Rewrites its threat model, the trigger and the classes wanted."""

        rate: float = 0.1

        def __call__(self, data: Dataset, context: Any) -> Poison:
            honest = BadNets(self.rate)(data, context)
            object.__setattr__(context.threat, "max_poisoned_rate", 1.0)
            object.__setattr__(context.trigger, "size", 8)
            object.__setattr__(context.wanted, "target", 7)
            return Poison(honest.data, honest.mask)

    small = Central(**SMALL, wanted=2, max_poisoned_rate=0.05)
    refused(lambda: small.run(Greedy(), None, 0), "max_poisoned_rate", ThreatError)
    assert BACKDOOR.run(Greedy(), None, 0).metrics == BACKDOOR.run(BadNets(), None, 0).metrics


def shows_the_target(x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(SEEN["image"], x.shape).copy()


def test_a_trigger_that_shows_an_image_of_the_target_wins_nothing() -> None:
    """ASR was 1.0 with clean rows: the judge used the trigger that the attack returned."""

    def idle(data: Dataset, context: Any) -> Poison:
        SEEN["image"] = data.x[data.y == 2][0]
        return Poison(data, np.zeros(len(data), dtype=bool), shows_the_target)

    @attack(access=("data-injection",), goal="backdoor", cite="none")
    class Sly:
        """Shows an image of the target class."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            return idle(data, context)

    @attack(access=("data-injection",), goal="backdoor", cite="none", learns_trigger=True)
    class Learns:
        """The same, declared as a trigger that it learned."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            return idle(data, context)

    refused(lambda: BACKDOOR.run(Sly(), None, 0), "the scenario's own trigger from Sly")
    found = BACKDOOR.run(Learns(), None, 0).metrics
    assert found["asr"] == found["asr_clean"] == 1
    assert found["robust_accuracy"] == 0
    assert found["learned_trigger"] == 1
    assert Backdoor()(found, BACKDOOR.run(None, None, 0).metrics) == 0


def test_a_sanitizer_cannot_rebuild_the_arrival_order() -> None:
    """With the root seed, `streams.numpy("arrival")` says which rows came last; it found every poisoned row."""

    @sanitizer(goal="backdoor", cite="none")
    class Rebuilds:
        """Sorts the rows back by the stream that mixed them, and flags those that came last."""

        def __call__(self, data: Dataset, context: Any) -> Verdict:
            root = Streams(context.streams.seed)
            order = root.numpy("arrival").permutation(len(data))
            return Verdict(order, order >= len(data) * 10 / 11)

    refused(lambda: BACKDOOR.run(BadNets(), Rebuilds(), 0), "Rebuilds to run, got AttributeError")


def test_neither_side_can_reach_the_root_of_the_streams() -> None:
    """Not through its stream, and not through what the closures of `fit` and `refit` hold."""

    def roots(value: object, depth: int = 6) -> list[Streams]:
        found, seen, level = [], set(), [value]
        for _ in range(depth):
            level = [
                part
                for each in level
                for part in gc.get_referents(each)
                if id(part) not in seen and not isinstance(part, type) and not hasattr(part, "__file__")
            ]
            seen.update(map(id, level))
            found += [part for part in level if type(part) is Streams]
        return found

    @sanitizer(goal="backdoor", cite="none")
    class Digs:
        """Looks for open streams in its context."""

        def __call__(self, data: Dataset, context: Any) -> Verdict:
            functions = [
                getattr(f, "__closure__", None) or getattr(f, "__self__", None) for f in (context.fit, context.refit)
            ]
            SEEN["roots"] = roots(context.streams, 3) + roots(functions, 3)
            return Verdict(np.zeros(len(data)), np.zeros(len(data), dtype=bool))

    @attack(access=("data-injection",), goal="backdoor", cite="none")
    class Reloads:
        """Loads the test set with the seed of its stream."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            test = load("digits", Streams(context.streams.seed)).test
            return Poison(data.extend(test.x, test.y), np.arange(len(data) + len(test)) >= len(data))

    BACKDOOR.run(None, Digs(), 0)
    assert SEEN["roots"] == []
    refused(lambda: BACKDOOR.run(Reloads(), None, 0), "Reloads to run, got AttributeError")


def test_a_plugin_that_writes_into_a_model_is_an_error() -> None:
    @model_detector(goal="backdoor", cite="none")
    class Breaks:
        """Zeroes the model that it looks at."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> ModelVerdict:
            model.vector.zero_()
            return ModelVerdict(0.0, False)

    @gate(goal="backdoor", cite="none")
    class Opens:
        """Zeroes the model that it guards."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> Any:
            model.vector.zero_()
            return lambda x: Verdict(np.zeros(len(x)), np.zeros(len(x), dtype=bool))

    @model_attack(goal="backdoor", cite="none")
    class Zeroes:
        """Zeroes the provider's own model."""

        def __call__(self, model: Any, data: Dataset, context: Any) -> Any:
            model.vector.zero_()
            return model, Poison.none(data)

    for name in (Breaks(), Opens()):
        refused(lambda name=name: BACKDOOR.run(None, name, 0), "to leave its inputs alone")
    refused(lambda: MOVED.run(Zeroes(), None, 0), "Zeroes to leave its inputs alone")


def test_a_model_cannot_change_the_rows_that_it_is_judged_on() -> None:
    class Cheats:
        """Answers 0 and makes all inputs and labels 0."""

        num_classes = 10

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return np.eye(10)[self.predict(x)]

        def predict(self, x: np.ndarray) -> np.ndarray:
            x.flags.writeable = True
            x[:] = 0
            return np.zeros(len(x), dtype=int)

    @robust_learner(goal="backdoor", cite="none")
    class Learner:
        """Returns a model that writes into its inputs."""

        def __call__(self, data: Dataset, context: Any) -> Any:
            return Cheats()

    refused(lambda: BACKDOOR.run(None, Learner(), 0), "Cheats to leave its inputs alone")


def test_a_returned_model_is_out_of_its_makers_hands() -> None:
    @mitigation(goal="backdoor", cite="none")
    class Keeps:
        """Returns the model, keeps it, and breaks it when its trigger is shown."""

        def __call__(self, model: Any, clean: Dataset, context: Any) -> Any:
            SEEN["model"] = model
            return model

    class Remembering(Patch):
        def __call__(self, x: np.ndarray) -> np.ndarray:
            if "model" in SEEN:
                SEEN["model"].vector.zero_()
            return super().__call__(x)

    SEEN.pop("model", None)
    kept = BACKDOOR.run(BadNets(), Keeps(), 0).metrics
    assert kept["asr"] == BACKDOOR.run(BadNets(), None, 0).metrics["asr"]
    SEEN["model"].vector.zero_()
    assert kept["clean_accuracy"] > 0.5


def test_an_evasion_sees_copies_of_the_test_rows() -> None:
    @evasion(goal="availability", cite="none")
    class Blanks:
        """Blanks the judge's rows and returns the true ones."""

        def __call__(self, model: Any, data: Dataset, context: Any) -> Any:
            through_the_flag(data)
            return data.x

    refused(lambda: HARM.run(Blanks(), None, 0), "Blanks to leave its inputs alone")


def test_a_loss_that_is_no_number_is_an_error() -> None:
    @logic_attack(goal="backdoor", cite="none")
    class Vector:
        """Returns a loss per row."""

        def __call__(self, loss: Any, context: Any) -> Any:
            return lambda forward, x, y: forward(x).sum(1)

    corrupted = Central(**SMALL, access="logic-corruption", wanted=2)  # type: ignore[arg-type]
    refused(lambda: corrupted.run(Vector(), None, 0), "one number from the loss of Vector")


def test_copies_share_no_memory() -> None:
    data = load("digits", Streams(0)).train
    other = copied(data)
    assert not np.shares_memory(data.x, other.x)
    assert not np.shares_memory(data.y, other.y)
    assert not other.x.flags.writeable


# --- what is wanted, and the clean twin ------------------------------------------------------------------------------


def test_every_backdoor_outcome_has_the_clean_twins_asr_and_a_count_beside_the_share() -> None:
    bare, hurt = BACKDOOR.run(None, None, 0).metrics, BACKDOOR.run(BadNets(0.1), None, 0).metrics
    assert bare["asr"] == bare["asr_clean"] == hurt["asr_clean"]
    assert hurt["asr"] > hurt["asr_clean"] + 0.5
    assert hurt["robust_accuracy"] <= 1 - hurt["asr"]
    assert (hurt["poisoned_rows"], hurt["poisoned_rate"]) == (50, 0.1)
    moved, planted = MOVED.run(None, None, 0).metrics, MOVED.run(RIPPLe(), None, 0).metrics
    assert moved["asr"] == moved["asr_clean"] == planted["asr_clean"]
    assert planted["asr"] > planted["asr_clean"]


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [
        (AllToOne(2), [2, 2, -1, 2]),
        (AllToAll(), [1, 2, 3, 0]),
        (FromTo(3, 1), [-1, -1, -1, 1]),
        (Rows((0, 3), (3, 1)), [3, -1, -1, 1]),
    ],
)
def test_what_is_wanted_of_each_class(wanted: Any, labels: list[int]) -> None:
    assert wanted(np.arange(4), 4).tolist() == labels


@pytest.mark.parametrize("wanted", [AllToOne(4), AllToAll(8), FromTo(1, 9), Rows((5,), (1,)), Rows((0,), (0,))])
def test_what_cannot_be_wanted_is_one_line(wanted: Any) -> None:
    refused(lambda: wanted(np.arange(4), 4), "expected", AntivenomError)


def test_all_to_all_and_one_source_are_learnt_and_judged() -> None:
    every = Central(**(SMALL | {"train_rows": None}), wanted=AllToAll())  # type: ignore[arg-type]
    assert every.run(BadNets(0.5), None, 0).metrics["asr"] > 0.5 > every.run(None, None, 0).metrics["asr"] + 0.3
    one = Central(**SMALL, wanted=FromTo(7, 1))
    found = one.run(BadNets(0.1), None, 0).metrics
    assert found["triggered_rows"] == (load("digits", Streams(0)).test.y == 7).sum()
    assert found["asr"] > 0.5
    assert found["poisoned_rows"] == 50
