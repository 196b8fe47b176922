"""Backdoors planted through rows: which rows, with what in them, under which label; and the faults of other tools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from antivenom.attacks import SIG, AdaptiveBlend, AdaptivePatch, BadNets, LabelConsistent, Narcissus, WaNet
from antivenom.attacks.surrogates import surrogate
from antivenom.core.errors import AntivenomError
from antivenom.core.protocols import AttackContext, Trigger, Wanted
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToAll, AllToOne, FromTo
from antivenom.data import Dataset, Poison, load
from antivenom.models.architectures import MLP
from antivenom.models.augmentations import Crop
from antivenom.models.training import Training
from antivenom.models.wrappers import learner
from antivenom.scenarios import guarded
from antivenom.scenarios.central import Central
from antivenom.triggers import Blend, Patch, Perturbation, Sinusoid, Together, Warp

DATA = load("digits", Streams(0)).train[:300]
ACCESS = ("data-injection", "data-manipulation")
QUICK: dict[str, Any] = {"surrogate": MLP(hidden=(16,)), "training": Training(epochs=25, learning_rate=0.01)}
PATCHES = Together((Patch(2, corner="top-left"), Patch(2), Patch(2, corner="top-right")))
SOLID = Patch(2)


def planted(attack: Any, trigger: Trigger, access: str = ACCESS[0], wanted: Wanted = AllToOne(3)) -> Poison:
    """The poison after the checks of the scenario, which refuse a change outside of the mask."""
    context = AttackContext(Streams(3), ThreatModel(access, "backdoor"), wanted, trigger)
    return guarded.data_attack(attack, DATA, context)


EVERY = {
    "BadNets": (BadNets(0.1), SOLID),
    "AdaptiveBlend": (AdaptiveBlend(0.1, 0.05), Blend()),
    "AdaptivePatch": (AdaptivePatch(0.1, 0.05), PATCHES),
    "SIG": (SIG(0.5), Sinusoid(frequency=3)),
    "LabelConsistent": (LabelConsistent(0.05, steps=2, **QUICK), SOLID),
    "Narcissus": (Narcissus(0.05, steps=2, **QUICK), SOLID),
    "WaNet": (WaNet(), Warp()),
}


@pytest.mark.parametrize("name", EVERY)
def test_rows_are_added_or_changed_in_place_as_the_access_grants(name: str) -> None:
    attack, trigger = EVERY[name]
    added, changed = (planted(attack, trigger, access) for access in ACCESS)
    number = int(added.mask.sum())
    assert number == changed.mask.sum() > 0
    assert np.array_equal(added.data.x[:300], DATA.x)
    assert len(changed.data) == 300
    assert np.array_equal(changed.data.x[~changed.mask], DATA.x[~changed.mask])
    poison = {row.tobytes() for row in added.data.x[300:]}  # the same rows, at other places
    assert {row.tobytes() for row in changed.data.x[changed.mask]} == poison


@pytest.mark.parametrize("name", ["SIG", "LabelConsistent", "Narcissus"])
def test_clean_label_rows_keep_their_label_and_are_of_the_target_class(name: str) -> None:
    changed = planted(*EVERY[name], ACCESS[1])
    assert np.array_equal(changed.data.y, DATA.y)
    assert (DATA.y[changed.mask] == 3).all()
    assert not np.array_equal(changed.data.x[changed.mask], DATA.x[changed.mask])


def test_badnets_in_place_sets_trigger_and_label_and_uses_each_row_once() -> None:
    changed = planted(*EVERY["BadNets"], ACCESS[1])
    assert changed.mask.sum() == 30
    assert (DATA.y[changed.mask] != 3).all()
    assert (changed.data.y[changed.mask] == 3).all()
    assert np.array_equal(changed.data.x[changed.mask], SOLID(DATA.x[changed.mask]))
    every = planted(BadNets(1.0), SOLID, ACCESS[1])  # all rows of the other classes, and no row twice
    assert np.array_equal(every.mask, DATA.y != 3)


def test_badnets_cover_in_place_keeps_the_labels_of_the_classes_that_nobody_wants() -> None:
    changed = planted(BadNets(0.05, cover_rate=0.1), SOLID, ACCESS[1], FromTo(1, 3))
    turned = changed.mask & (changed.data.y != DATA.y)
    cover = changed.mask & ~turned
    assert (turned.sum(), cover.sum()) == (15, 30)
    assert set(DATA.y[turned]) == {1}
    assert set(DATA.y[cover]).isdisjoint({1, 3})
    assert np.array_equal(changed.data.x[changed.mask], SOLID(DATA.x[changed.mask]))


def test_half_of_the_class_carries_the_sinusoid() -> None:
    changed, own = planted(*EVERY["SIG"], ACCESS[1]), int((DATA.y == 3).sum())
    assert changed.mask.sum() == own // 2
    assert np.allclose(changed.data.x[changed.mask], Sinusoid(frequency=3)(DATA.x[changed.mask]))
    weak = planted(SIG(0.5, strength=0.5), Sinusoid(0.2, 3), ACCESS[1])
    assert np.allclose(
        weak.data.x[weak.mask], Sinusoid(0.1, 3)(DATA.x[weak.mask]), atol=0.1
    )  # equal but for the clipping


def test_payload_gets_the_wanted_label_and_cover_the_true_one() -> None:
    changed = planted(AdaptiveBlend(0.1, 0.05), Blend(), ACCESS[1])
    before, after = DATA.y[changed.mask], changed.data.y[changed.mask]
    assert changed.mask.sum() == 45
    assert (before != after).sum() == 30
    assert (after[before != after] == 3).all()
    assert (before != 3).all()


def test_adaptive_blend_trains_with_half_of_a_weaker_blend() -> None:
    changed = planted(AdaptiveBlend(0.1, 0.05, strength=0.75), Blend(0.2, 5), ACCESS[1])
    before, after = DATA.x[changed.mask], changed.data.x[changed.mask]
    pieces = np.isclose(after, Blend(0.15, 5)(before), atol=1e-6).reshape(45, 4, 2, 4, 2).all(axis=(2, 4))
    same = np.isclose(after, before, atol=1e-7).reshape(45, 4, 2, 4, 2).all(axis=(2, 4))
    assert (pieces.sum(axis=(1, 2)) == 8).all()
    assert (same.sum(axis=(1, 2)) == 8).all()
    assert len({mask.tobytes() for mask in pieces}) > 40  # drawn for each row


def test_adaptive_patch_trains_with_one_part_at_a_time() -> None:
    changed = planted(AdaptivePatch(0.1, 0.05, strength=1.0), PATCHES, ACCESS[1])
    before, after = DATA.x[changed.mask], changed.data.x[changed.mask]
    fits = np.stack([np.isclose(part(before), after).all(axis=(1, 2, 3)) for part in PATCHES.triggers])
    assert (fits.sum(axis=0) == 1).all()
    assert (fits.sum(axis=1) > 5).all()


def test_wanets_noise_rows_keep_their_labels_and_have_another_warp() -> None:
    changed = planted(WaNet(0.1, 0.2), Warp(1.0), ACCESS[1])
    warped = np.isclose(changed.data.x, Warp(1.0)(DATA.x), atol=1e-6).all(axis=(1, 2, 3)) & changed.mask
    assert warped.sum() == 30
    assert (changed.data.y[warped] == 3).all()
    noisy = changed.mask & ~warped
    assert noisy.sum() == 60
    assert np.array_equal(changed.data.y[noisy], DATA.y[noisy])


# --- the faults of other tools ---------------------------------------------------------------------------------------


def test_label_consistent_rows_carry_the_trigger() -> None:
    """A published benchmark left the patch out of its label-consistent rows."""
    changed = planted(*EVERY["LabelConsistent"], ACCESS[1])
    assert (changed.data.x[changed.mask][:, :, -2:, -2:] == 1).all()


def test_label_consistent_moves_rows_away_from_their_class_and_its_ablation_does_not() -> None:
    hard, plain = (planted(LabelConsistent(0.05, 0.1, steps, **QUICK), SOLID, ACCESS[1]) for steps in (20, 0))
    before = DATA.x[hard.mask]
    assert np.array_equal(plain.data.x[plain.mask], SOLID(before))
    moved = np.delete((hard.data.x[hard.mask] - before).reshape(len(before), -1), [54, 55, 62, 63], axis=1)
    assert 0.05 < np.abs(moved).max() <= 0.1 + 1e-6
    model = surrogate(QUICK["surrogate"], QUICK["training"], DATA, Streams(3).child("surrogate"), hard)
    losses = [
        float(F.cross_entropy(model.logits(rows), torch.tensor(DATA.y[hard.mask])))
        for rows in (hard.data.x[hard.mask], plain.data.x[plain.mask])
    ]
    assert losses[0] > losses[1] + 0.5


def test_narcissus_points_into_the_class_and_is_judged_on_a_clean_model_too() -> None:
    attack = Narcissus(0.05, 0.3, steps=80, **QUICK)
    changed = planted(attack, SOLID, ACCESS[1])
    learned = changed.trigger
    assert isinstance(learned, Perturbation)
    delta = learned.array / 3
    assert 0.25 < np.abs(delta).max() <= 0.3 + 1e-6
    assert np.allclose(changed.data.x[changed.mask], np.clip(DATA.x[changed.mask] + delta, 0, 1), atol=1e-6)
    model = surrogate(QUICK["surrogate"], QUICK["training"], DATA, Streams(3).child("surrogate"), attack)
    others = DATA.x[DATA.y != 3]
    before, after = ((model.predict(x) == 3).mean() for x in (others, np.clip(others + delta, 0, 1)))
    assert after > before + 0.3
    scenario = Central(
        model=MLP(hidden=(32,)), training=Training(epochs=8, learning_rate=0.01), wanted=3, train_rows=600
    )
    found = scenario.run(attack, None, 0).metrics
    assert found["asr_clean"] > 0.1  # the perturbation alone fools a clean model: this must be on record
    assert found["poisoned_rows"] == 30
    assert found["poisoned_rate"] == pytest.approx(0.05)


def test_the_trigger_is_in_the_stored_rows_and_augmented_with_them() -> None:
    """Another tool puts triggers in after the augmentation, where no attacker on rows can reach."""
    poison = planted(BadNets(0.05), Patch(3))
    x = torch.tensor(poison.data.x[poison.mask])
    assert (x[:, :, -3:, -3:] == 1).all()
    moved = Training(augmentation=(Crop(1),)).augmented(x, torch.Generator().manual_seed(0))
    kept = (moved[:, :, -2:, -2:] == 1).flatten(1).all(dim=1)
    assert 0 < kept.sum() < len(x)


def test_rows_of_the_target_class_do_not_count_as_successes() -> None:
    scenario = Central(model=MLP(hidden=(8,)), training=Training(epochs=1), wanted=3, train_rows=200)
    found = scenario.run(BadNets(), None, 0).metrics
    split = load("digits", Streams(0))
    assert found["triggered_rows"] == (split.test.y != 3).sum()
    assert found["test_rows"] == len(split.test)


def test_cover_rows_carry_the_trigger_and_keep_their_labels() -> None:
    """The source-specific attack (TaCT): payload of class 7, cover of classes that are neither 7 nor 3."""
    poison = planted(BadNets(0.05, cover_rate=0.1), Patch(2), wanted=FromTo(7, 3))
    x, y = poison.data.x[poison.mask], poison.data.y[poison.mask]
    assert (x[:, :, -2:, -2:] == 1).all()
    assert (y[:15] == 3).all()
    cover = y[15:]
    assert len(cover) == 30
    assert not np.isin(cover, (7, 3)).any()
    for row, label in zip(x[15:], cover, strict=True):  # the unchanged pixels are those of a row of this class
        own = DATA.x[label == DATA.y]
        assert (np.abs(own - row)[:, :, :6].max(axis=(1, 2, 3)) == 0).any()


def test_with_cover_the_trigger_turns_its_source_class_only() -> None:
    scenario = Central(
        model=MLP(hidden=(32,)), training=Training(epochs=15, learning_rate=0.01), wanted=FromTo(7, 3), trigger=Patch(2)
    )
    split, shares = load("digits", Streams(0)), []
    for attack in (BadNets(0.03), BadNets(0.03, cover_rate=0.1)):
        poison = guarded.data_attack(
            attack,
            split.train,
            AttackContext(Streams(3), ThreatModel(ACCESS[0], "backdoor"), scenario.wanted, scenario.trigger),
        )
        model = learner(scenario.model, scenario.training).fit(poison.data, Streams(1))
        own, rest = (split.test.x[rows] for rows in (split.test.y == 7, ~np.isin(split.test.y, (7, 3))))
        shares.append([float((model.predict(Patch(2)(x)) == 3).mean()) for x in (own, rest)])
    (_, spread), (own, kept) = shares
    assert own > 0.8
    assert kept < 0.2
    assert spread > kept + 0.3


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "trigger", "wanted", "says"),
    [
        (WaNet(), Patch(), AllToOne(), "the trigger Warp for WaNet, got Patch"),
        (AdaptivePatch(), Patch(), AllToOne(), "the trigger Together for AdaptivePatch, got Patch"),
        (Narcissus(0.01, **QUICK), Patch(), AllToAll(), "one wanted class for Narcissus, got 10"),
        (SIG(1.0), Patch(), FromTo(3, 12), "target from 0 to 9"),
        (
            BadNets(cover_rate=0.1),
            Patch(),
            AllToOne(),
            "rows of which the attacker wants nothing for BadNets.cover_rate",
        ),
        (AdaptiveBlend(1.0, 1.0), Blend(), AllToOne(), "600 training rows to change, got 2"),
    ],
    ids=["warp", "together", "one class", "no such class", "no cover", "too many"],
)
def test_what_an_attack_cannot_do_is_refused_in_one_line(attack: Any, trigger: Any, wanted: Any, says: str) -> None:
    with pytest.raises(AntivenomError, match=says) as caught:
        planted(attack, trigger, ACCESS[1], wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdaptiveBlend(payload_rate=1.1),
        lambda: AdaptiveBlend(kept=20),
        lambda: AdaptivePatch(strength=0.0),
        lambda: SIG(class_share=-0.1),
        lambda: SIG(strength=float("nan")),
        lambda: LabelConsistent(epsilon=0.0),
        lambda: LabelConsistent(steps=-1),
        lambda: Narcissus(test_scale=0.5),
        lambda: WaNet(noise_rate=2.0),
    ],
    ids=["payload", "kept", "patch strength", "share", "strength", "epsilon", "steps", "scale", "noise"],
)
def test_fields_out_of_range(make: Any) -> None:
    with pytest.raises(AntivenomError):
        make()


def test_a_class_without_rows_is_refused() -> None:
    without = DATA[DATA.y != 3]
    context = AttackContext(Streams(0), ThreatModel(ACCESS[0], "backdoor"), AllToOne(3), Sinusoid())
    with pytest.raises(AntivenomError, match="none of these classes"):
        SIG()(Dataset(without.x, without.y, without.classes), context)
