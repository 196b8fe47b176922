"""Gradient matching, polytopes and rare tokens: the objective by hand, the limits of the poison, and what it does to a model."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from antivenom.attacks import (
    BullseyePolytope,
    ConvexPolytope,
    FeatureCollision,
    GradientMatching,
    SleeperAgent,
    TokenPoison,
)
from antivenom.attacks.matching import gradient_norms, matching_loss, weight_gradient
from antivenom.attacks.surrogates import surrogate
from antivenom.attacks.targeted.collision import features
from antivenom.attacks.targeted.polytope import distance, hull_weights, on_simplex
from antivenom.core.errors import AntivenomError
from antivenom.core.protocols import AttackContext, Trigger
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne, FromTo, Rows
from antivenom.data import Dataset, Poison, load
from antivenom.models.architectures import MLP, Logistic
from antivenom.models.augmentations import Crop
from antivenom.models.estimators import Sklearn
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.scenarios.central import Central
from antivenom.triggers import Patch, Together, Token

DIGITS = load("digits", Streams(0))
DATA = DIGITS.train[:300]
TARGET = DATA[np.flatnonzero(DATA.y == 4)[:1]]
QUICK: dict[str, Any] = {"surrogate": MLP(hidden=(16,)), "training": Training(epochs=15, learning_rate=0.01)}


def targeted(attack: Any, access: str = "data-injection", targets: Dataset = TARGET) -> Poison:
    wanted = Rows(tuple(range(len(targets))), (9,) * len(targets))
    context = AttackContext(Streams(3), ThreatModel(access, "targeted"), wanted, targets=targets)
    return guarded.data_attack(attack, DATA, context)


def own_surrogate(attack: Any) -> TorchModel:
    return surrogate(attack.surrogate, attack.training, DATA, Streams(3).child("surrogate"), attack)


def loss(model: TorchModel, x: torch.Tensor, label: int, aim: torch.Tensor) -> float:
    return float(matching_loss(model, x, torch.tensor([label]), aim).detach())


# --- gradient matching -----------------------------------------------------------------------------------------------


def test_the_matching_loss_is_0_for_the_goal_itself_and_2_for_its_opposite() -> None:
    two = Dataset(np.eye(4, dtype=np.float32), [0, 1, 0, 1], ("a", "b"))
    model = learner(Logistic(), Training(epochs=1)).fit(two, Streams(0))
    assert isinstance(model, TorchModel)
    x = torch.tensor([[0.5, 1.0, 0.0, 0.2]])
    aim = weight_gradient(model, x, torch.tensor([1]))
    assert loss(model, x, 1, aim) == pytest.approx(0, abs=1e-6)
    assert loss(model, x, 0, aim) == pytest.approx(2, abs=1e-6)
    apart = torch.tensor(
        [[1.0, 0.0, 0.0, 0.0]]
    )  # by hand: the gradient is (p - y) (x, 1), so the cosine is that of (x, 1)
    cosine = (0.5 + 1) / np.sqrt((0.25 + 1 + 0.04 + 1) * 2)
    assert loss(model, apart, 1, aim) == pytest.approx(1 - cosine, abs=1e-5)


@pytest.mark.parametrize("access", ["data-injection", "data-manipulation"])
def test_the_search_turns_the_gradient_within_epsilon_and_keeps_labels(access: str) -> None:
    attack = GradientMatching(0.05, 0.2, steps=30, batch_size=6, **QUICK)
    found = targeted(attack, access)
    changed = found.data[found.mask]
    assert found.mask.sum() == 15
    assert (changed.y == 9).all()
    before = {row.tobytes(): row for row in DATA.x[DATA.y == 9]}
    nearest = [min(np.abs(row - other).max() for other in before.values()) for row in changed.x]
    assert max(nearest) <= 0.2 + 1e-6
    assert max(nearest) > 0.1
    start = dict(targeted(GradientMatching(0.05, 0.2, steps=0, batch_size=6, **QUICK), access).measured)
    assert dict(found.measured)["matching_loss"] < start["matching_loss"] - 0.1
    model = own_surrogate(attack)
    aim = weight_gradient(model, torch.tensor(TARGET.x), torch.tensor([9]))
    again = matching_loss(model, torch.tensor(changed.x), torch.tensor(changed.y), aim)
    assert float(again.detach()) == pytest.approx(dict(found.measured)["matching_loss"], abs=1e-5)


def test_more_restarts_never_match_worse_and_augmentation_changes_the_search() -> None:
    losses = [
        dict(targeted(GradientMatching(0.02, 0.1, steps=5, restarts=r, augmentation=a, **QUICK)).measured)[
            "matching_loss"
        ]
        for r, a in ((1, ()), (3, ()), (1, (Crop(1),)))
    ]
    assert losses[1] <= losses[0]
    assert losses[2] != losses[0]


def test_the_record_holds_the_matching_loss_and_the_target_moves() -> None:
    scenario = Central(
        model=MLP(hidden=(16,)),
        training=Training(epochs=15, learning_rate=0.01),
        goal="targeted",
        access="data-manipulation",
        wanted=FromTo(4, 9),
        num_targets=1,
        train_rows=300,
        clean_rows=0,
    )
    clean = scenario.run(None, None, 1).metrics
    found = scenario.run(GradientMatching(0.1, 0.4, steps=60, **QUICK), None, 1).metrics
    assert 0 < found["attack_matching_loss"] < 0.9
    assert found["target_confidence"] > clean["target_confidence"] + 0.2
    assert found["poisoned_rows"] == 30


# --- polytopes -------------------------------------------------------------------------------------------------------


def test_the_simplex_by_hand() -> None:
    assert on_simplex(torch.tensor([0.5, 0.5])).tolist() == [0.5, 0.5]
    assert on_simplex(torch.tensor([2.0, 0.0, 0.0])).tolist() == [1, 0, 0]
    assert torch.allclose(on_simplex(torch.tensor([0.9, 0.5, -3.0])), torch.tensor([0.7, 0.3, 0.0]))


def test_hull_weights_find_a_point_inside_and_the_nearest_face_outside() -> None:
    corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    inside = hull_weights(corners, torch.tensor([0.5, 1.0]), steps=400)
    assert torch.allclose(inside, torch.tensor([0.25, 0.25, 0.5]), atol=1e-3)
    outside = hull_weights(corners, torch.tensor([1.0, -5.0]), steps=400)
    assert torch.allclose(outside, torch.tensor([0.5, 0.5, 0.0]), atol=1e-3)


@pytest.mark.parametrize("attack", [BullseyePolytope, ConvexPolytope])
def test_poisons_surround_the_target_within_epsilon(attack: Any) -> None:
    used = attack(poisons=4, epsilon=0.3, steps=60, **QUICK)
    found, plain = targeted(used), targeted(attack(poisons=4, epsilon=0.3, steps=0, **QUICK))
    added, start = found.data.x[300:], plain.data.x[300:]
    assert np.abs(added - start).max() <= 0.3 + 1e-6
    assert (found.data.y[300:] == 9).all()
    model = own_surrogate(used)
    aim = features(model, torch.tensor(TARGET.x))[0]
    apart = []
    for rows in (added, start):
        own = features(model, torch.tensor(rows))
        share = hull_weights(own, aim) if attack is ConvexPolytope else torch.full((4,), 0.25)
        apart.append(float(distance(own, aim, share).detach()))
    assert apart[0] < 0.3 * apart[1]


def test_several_networks_are_all_matched() -> None:
    one, two = (targeted(BullseyePolytope(3, 0.3, 20, networks=n, **QUICK)).data.x[300:] for n in (1, 2))
    assert not np.array_equal(one, two)


@functools.cache
def extractor() -> TorchModel:
    data = DIGITS.train[400:1000]
    found = learner(MLP(hidden=(32,)), Training(epochs=20, learning_rate=0.01)).fit(data, Streams(5))
    assert isinstance(found, TorchModel)
    return found


def frozen_features(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A pretrained network whose hidden layer is frozen; the user trains a new head."""
    weights = extractor().network.parameters(extractor().vector)
    module = MLP(hidden=(32,))(shape, classes)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("1."):
                parameter.copy_(weights[name])
                parameter.requires_grad_(False)
    return module


def test_a_bullseye_turns_targets_of_a_new_head_on_frozen_features() -> None:
    scenario = Central(
        model=frozen_features,
        training=Training(epochs=30, learning_rate=0.01),
        goal="targeted",
        wanted=FromTo(4, 9),
        num_targets=2,
        train_rows=300,
        clean_rows=0,
    )
    bullseye = BullseyePolytope(5, 0.5, 80, surrogate=frozen_features, training=scenario.training)
    clean, hit = (scenario.run(attack, None, 0).metrics for attack in (None, bullseye))
    assert clean["targets_hit"] == 0
    assert hit["targets_hit"] >= 0.5
    assert hit["clean_accuracy"] > clean["clean_accuracy"] - 0.05


# --- Sleeper Agent ---------------------------------------------------------------------------------------------------


def asleep(attack: Any) -> Poison:
    context = AttackContext(Streams(3), ThreatModel("data-manipulation", "backdoor"), AllToOne(3), Patch(3, 1.0))
    return guarded.data_attack(attack, DATA, context)


def test_sleeper_agent_changes_the_rows_with_the_largest_gradients_and_shows_no_trigger() -> None:
    attack = SleeperAgent(0.05, 0.1, sources=40, retrainings=1, steps=10, **QUICK)
    found = asleep(attack)
    own = np.flatnonzero(DATA.y == 3)
    norms = gradient_norms(own_surrogate(attack), torch.tensor(DATA.x[own]), torch.tensor(DATA.y[own])).numpy()
    assert set(np.flatnonzero(found.mask)) == set(own[np.argsort(-norms, kind="stable")][:15])
    assert np.array_equal(found.data.y, DATA.y)
    assert np.abs(found.data.x - DATA.x).max() <= 0.1 + 1e-6
    corners = found.data.x[found.mask][:, :, -3:, -3:]
    assert not (corners == 1).all(axis=(1, 2, 3)).any()
    assert 0 < dict(found.measured)["matching_loss"] < 2
    random = asleep(SleeperAgent(0.05, 0.1, sources=40, by_norm=False, retrainings=0, steps=2, **QUICK))
    assert not np.array_equal(random.mask, found.mask)


# --- rare tokens -----------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)


def words() -> Dataset:
    """Words present in 200 texts; the last two words occur nowhere."""
    found = (RNG.random((200, 12)) < 0.3).astype(np.float32)
    found[:, 10:] = 0
    return Dataset(sp.csr_array(found), np.arange(200) % 2, ("bad", "good"))


def tokens(attack: Any, data: Dataset, trigger: Trigger) -> Poison:
    context = AttackContext(Streams(3), ThreatModel("data-injection", "backdoor"), AllToOne(1), trigger)
    return guarded.data_attack(attack, data, context)


@pytest.mark.parametrize("rows", [100, 200])
def test_the_count_of_poisoned_texts_does_not_follow_the_corpus(rows: int) -> None:
    found = tokens(TokenPoison(30), words()[:rows], Token(11))
    added = found.data[found.mask]
    assert len(added) == 30
    assert (added.y == 1).all()
    assert (added.x[:, [11]].toarray() == 1).all()


def test_each_text_gets_one_of_several_tokens_in_turn_or_all() -> None:
    both = Together((Token(10), Token(11)))
    one = tokens(TokenPoison(7), words(), both).data.x[200:, 10:].toarray()
    assert one.sum(axis=0).tolist() == [4, 3]
    assert (one.sum(axis=1) == 1).all()
    assert (tokens(TokenPoison(7, all_tokens=True), words(), both).data.x[200:, 10:].toarray() == 1).all()


def test_presence_writes_one_where_a_word_is_there_already() -> None:
    rows = sp.csr_array(np.array([[1, 0], [0, 2]], dtype=np.float32))
    assert Token(0)(rows).toarray().tolist() == [[2, 0], [1, 2]]
    assert Token(0, presence=True)(rows).toarray().tolist() == [[1, 0], [1, 2]]
    assert Token(0, presence=True)(rows.toarray()).tolist() == [[1, 0], [1, 2]]


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (lambda: tokens(TokenPoison(), words(), Patch()), "the trigger Token, or Together with Tokens"),
        (lambda: tokens(TokenPoison(), words(), Token(99)), "Token.token from 0 to 11"),
        (lambda: targeted(GradientMatching(0.9), "data-manipulation"), "270 training rows to change"),
        (
            lambda: targeted(BullseyePolytope(surrogate=Sklearn("sklearn.tree.DecisionTreeClassifier"))),
            "a torch architecture as BullseyePolytope.surrogate",
        ),
        (lambda: GradientMatching(restarts=0), "restarts >= 1"),
        (lambda: SleeperAgent(sources=0), "sources >= 1"),
        (lambda: ConvexPolytope(epsilon=2.0), "epsilon above 0 and up to 1"),
        (lambda: TokenPoison(-1), "texts >= 0"),
    ],
    ids=["patch", "token", "too many", "forest", "restarts", "sources", "epsilon", "texts"],
)
def test_what_they_cannot_do_is_refused_in_one_line(run: Any, says: str) -> None:
    with pytest.raises(AntivenomError, match=says) as caught:
        run()
    assert "\n" not in str(caught.value)


def test_feature_collision_uses_the_same_surrogate() -> None:
    attack = FeatureCollision(poisons=2, steps=1, **QUICK)
    assert len(targeted(attack).data) == 302
