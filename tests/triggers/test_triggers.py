"""Triggers: two paths with one set of numbers, three forms of rows, files without pickle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from antivenom.attacks import BadNets
from antivenom.core.errors import AntivenomError, FileError, ScenarioError
from antivenom.core.protocols import AttackContext, Trigger
from antivenom.core.registry import Kind, build, describe
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import Dataset
from antivenom.models.estimators import Sklearn
from antivenom.scenarios.central import Central
from antivenom.triggers import (
    Blend,
    Patch,
    Perturbation,
    Recovered,
    Stamp,
    Token,
    load_trigger,
    on_tensor,
    save_trigger,
)

IMAGES = np.random.default_rng(0).random((5, 1, 4, 4), dtype=np.float32)
TABLE = np.random.default_rng(1).random((5, 6), dtype=np.float32)
RECOVERED = Recovered(np.full((1, 4, 4), 0.25), np.ones((1, 4, 4)))
ON_IMAGES: list[Trigger] = [
    Patch(2),
    Patch(1, 0.5, "top-left"),
    Blend(0.3, 7),
    Perturbation(IMAGES[0] - 0.5),
    RECOVERED,
]
EVERY = [*ON_IMAGES, Stamp((1, 4), 2.0), Token(3)]


@pytest.mark.parametrize("trigger", [*ON_IMAGES, Stamp((1, 4), 2.0)], ids=repr)
def test_both_paths_give_the_same_numbers(trigger: Trigger) -> None:
    x = TABLE if isinstance(trigger, Stamp) else IMAGES
    before = x.copy()
    assert np.allclose(on_tensor(trigger, torch.tensor(x)).numpy(), trigger(x), atol=1e-7)
    assert np.array_equal(x, before)


def test_gradients_pass_through_a_trigger() -> None:
    x = torch.tensor(IMAGES, requires_grad=True)
    (gradient,) = torch.autograd.grad(on_tensor(Patch(2), x).sum(), x)
    assert gradient[:, :, 2:, 2:].abs().sum() == 0
    assert (gradient[:, :, :2, :] == 1).all()
    (gradient,) = torch.autograd.grad(on_tensor(Blend(0.3), x).sum(), x)
    assert torch.allclose(gradient, torch.full_like(gradient, 0.7))


def test_a_trigger_without_a_tensor_path_is_wrapped() -> None:
    class Brighter:
        def __call__(self, x: np.ndarray) -> np.ndarray:
            return x + 1

    found = on_tensor(Brighter(), torch.tensor(IMAGES))
    assert torch.equal(found, torch.tensor(IMAGES + 1))


def test_what_triggers_do_by_hand() -> None:
    assert np.allclose(RECOVERED(IMAGES), 0.75 * IMAGES + 0.25)
    added = Perturbation(np.full((1, 4, 4), 0.9))(IMAGES)
    assert np.allclose(added, np.minimum(IMAGES + 0.9, 1))
    tokens = np.arange(6).reshape(2, 3)
    assert Token(9, position=1)(tokens).tolist() == [[0, 9, 2], [3, 9, 5]]
    assert Token(9, position=-1)(tokens).tolist() == [[0, 1, 9], [3, 4, 9]]


@pytest.mark.parametrize("trigger", [Patch(2), Patch(2, 0.0), Stamp((0, 3), 4.0), Stamp((2,), 0.0), Token(3)], ids=repr)
def test_sparse_rows_get_what_dense_ones_get(trigger: Trigger) -> None:
    dense = TABLE * (TABLE > 0.4)
    found = trigger(sp.csr_array(dense))
    assert isinstance(found, sp.csr_array)
    assert found.dtype == np.float32
    assert np.array_equal(found.toarray(), trigger(dense))
    assert found.has_canonical_format


@pytest.mark.parametrize("trigger", EVERY, ids=repr)
def test_a_trigger_comes_back_from_its_files_and_its_record(trigger: Trigger, tmp_path: Path) -> None:
    assert load_trigger(save_trigger(trigger, tmp_path / "kept")) == trigger
    assert build(describe(trigger), Kind.TRIGGER) == trigger
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names <= {"trigger.json", "arrays.safetensors"}


@pytest.mark.parametrize("text", [None, "{", '{"trigger": "Krum", "fields": {}, "arrays": []}', '{"trigger": "Patch"}'])
def test_files_that_hold_no_trigger(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "trigger.json").write_text(text)
    with pytest.raises(FileError, match="a trigger saved in") as caught:
        load_trigger(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trigger", "rows"),
    [
        (Blend(), TABLE),
        (Stamp(), IMAGES),
        (Patch(9), IMAGES),
        (RECOVERED, TABLE),
        (Token(99), TABLE),
        (Token(1, position=7), np.zeros((2, 3), dtype=np.int64)),
    ],
)
def test_rows_that_a_trigger_is_not_for(trigger: Trigger, rows: np.ndarray) -> None:
    with pytest.raises(AntivenomError) as caught:
        trigger(rows)
    assert "\n" not in str(caught.value)


def test_a_trigger_for_another_modality_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(ScenarioError, match="image rows for Blend"):
        Central(data="breast-cancer", trigger=Blend()).run(None, None, 0)  # type: ignore[arg-type]


def texts(n: int = 300) -> Dataset:
    """Counts of 30 words; the first ten go with one class."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    rate = np.full((n, 30), 0.3)
    rate[y == 1, :10] = 1.0
    rate[:, 29] = 0
    return Dataset(sp.csr_array(rng.poisson(rate).astype(np.float32)), y, ("bad", "good"))


def test_badnets_works_on_sparse_counts() -> None:
    context = AttackContext(Streams(0), ThreatModel("data-injection", "backdoor"), AllToOne(1), Token(29))
    data = texts()
    poison = BadNets(0.1)(data, context)
    added = poison.data[poison.mask]
    assert added.is_sparse
    assert (added.x[:, [29]].toarray() == 1).all()
    assert (added.y == 1).all()
    scenario = Central(
        data=texts(),  # type: ignore[arg-type]
        model=Sklearn("sklearn.linear_model.LogisticRegression"),
        wanted=AllToOne(1),
        trigger=Token(29),
        clean_rows=20,
    )
    found = scenario.run(BadNets(0.2), None, 0).metrics
    assert found["asr"] > found["asr_clean"] + 0.3
    assert found["poisoned_rows"] > 0
