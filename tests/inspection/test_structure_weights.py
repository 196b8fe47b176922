"""Units, rows and layers that stand out, in constructed weights, in honest networks and after an edit of dormant units."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from antivenom.attacks import DormantUnits
from antivenom.core.errors import ModelError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.wanted import AllToOne
from antivenom.data import load
from antivenom.inspection.structure import Bounds, inspect_weights
from antivenom.models.architectures import MLP
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel, learner
from antivenom.scenarios import guarded
from antivenom.triggers import Patch

DIGITS = load("digits", Streams(0))
Tensors = dict[str, np.ndarray]


def honest(seed: int = 0, width: int = 64) -> Tensors:
    """A network 20 - width - width - 10 with normal weights and small biases."""
    rng = np.random.default_rng(seed)
    shapes = {"a": (width, 20), "b": (width, width), "head": (10, width)}
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = rng.normal(0, shape[1] ** -0.5, shape).astype(np.float32)
        found[f"{name}.bias"] = rng.normal(0, 0.05, shape[0]).astype(np.float32)
    return found


def checks(state: Tensors) -> list[str]:
    return [trace.check for trace in inspect_weights(state) if trace.suspicious]


@pytest.mark.parametrize("seed", range(3))
def test_normal_weights_have_no_trace(seed: int) -> None:
    assert inspect_weights(honest(seed)) == []


def test_a_unit_for_one_vector_is_found_with_the_height_of_its_threshold() -> None:
    state = honest()
    vector = np.linspace(0, 1, 20, dtype=np.float32)
    state["a.weight"][5] = 10 * vector  # fires if 10 v.x > 9.9 |v|^2
    state["a.bias"][5] = -9.9 * np.square(vector).sum()
    (trace,) = inspect_weights(state)
    assert (trace.check, trace.where) == ("exact-unit", "a.weight")
    height = 0.99 * np.linalg.norm(vector)  # 9.9 |v|^2 / (10 |v|)
    assert (
        f"Unit 5 of a.weight has a bias so low that only inputs close to one direction pass, {height:.2f} times"
        in trace.what
    )
    gains = np.linalg.norm(state["a.weight"], axis=1) * np.linalg.norm(state["b.weight"], axis=0)
    assert trace.value == pytest.approx(gains[5] / np.median(gains))


def test_a_dead_unit_is_a_note() -> None:
    state = honest()
    state["a.bias"][5] = -50
    assert [(trace.check, trace.suspicious) for trace in inspect_weights(state)] == [("silent-units", False)]


def test_a_filter_of_a_convolution_for_one_patch_is_found() -> None:
    rng = np.random.default_rng(1)
    state = {
        "c.weight": rng.normal(0, 0.1, (16, 3, 3, 3)).astype(np.float32),
        "c.bias": rng.normal(0, 0.01, 16).astype(np.float32),
        "head.weight": rng.normal(0, 0.1, (10, 16)).astype(np.float32),
    }
    assert checks(state) == []
    state["c.weight"][2], state["c.bias"][2] = 1.0, -26.5  # at least 26.5 of 27 numbers in [0, 1]
    assert checks(state) == ["exact-unit"]


def test_a_unit_that_leads_to_one_class_is_found() -> None:
    state = honest()
    state["head.weight"][:, 7] = 0
    assert checks(state) == []  # a pruned unit
    state["head.weight"][3, 7] = 5.0
    traces = inspect_weights(state)
    assert [trace.check for trace in traces] == ["class-unit", "head-row"]
    assert traces[0].what.startswith("Unit 7 before head.weight leads to class 3 only")
    assert traces[0].value == pytest.approx(5 / np.median(np.abs(state["head.weight"]).max(axis=0)))


def test_a_far_too_large_weight_is_found_although_its_unit_serves_other_classes() -> None:
    state = honest()
    state["head.weight"][:, 7] = 1.0
    state["head.weight"][3, 7] = 4.5
    assert checks(state) == ["class-weight"]


def test_copies_and_units_that_read_one_input_are_found() -> None:
    state = honest()
    state["b.weight"][1] = state["b.weight"][0]
    state["b.weight"][9] = 0
    state["b.weight"][9, 4] = 1.0
    assert checks(state) == ["duplicate-rows"]  # sparse honest networks have such units
    state["b.weight"][9, 4] = 10.0
    assert checks(state) == ["duplicate-rows", "one-input-unit"]


def blocks(number: int) -> Tensors:
    rng = np.random.default_rng(2)
    return {f"blocks.{i}.lin.weight": rng.normal(0, 0.1, (32, 32)).astype(np.float32) for i in range(number)}


def test_a_layer_unlike_all_of_its_kind_is_found() -> None:
    state = blocks(8)
    assert checks(state) == []
    state["blocks.3.lin.weight"][:] = np.eye(32, dtype=np.float32)
    assert set(checks(state)) == {"odd-layer"}
    where = {trace.where for trace in inspect_weights(state)}
    assert where == {"blocks.3.lin.weight"}


def test_a_layer_that_only_one_block_in_the_middle_has_is_found() -> None:
    state = blocks(6)
    state["blocks.0.bias_table.weight"] = state["blocks.0.lin.weight"][:, :4]  # honest first blocks have more
    assert checks(state) == []
    state["blocks.2.extra.weight"] = state["blocks.2.lin.weight"][:, :2]
    (trace,) = inspect_weights(state)
    assert trace.what == "Block 2 of blocks has extra.weight, which no other of the 6 blocks has."


def test_nan_is_found_and_odd_values_are_one_line() -> None:
    state = honest()
    state["a.weight"][0, 0] = np.nan
    assert checks(state) == ["non-finite"]
    with pytest.raises(ModelError, match=r"a\.weight: expected an array of numbers, got "):
        inspect_weights({"a.weight": "text"})
    assert (
        inspect_weights(
            {
                "n": np.array(3),
                "f": np.array(3.0),
                "empty": np.empty((0, 4), np.float32),
                "half": torch.ones(2, 2).half(),
            }
        )
        == []
    )


@pytest.mark.parametrize("seed", [201, 202, 203])
def test_honest_networks_pass_and_edited_dormant_units_are_found(seed: int) -> None:
    model = learner(MLP((32,)), Training(epochs=10, learning_rate=0.01)).fit(DIGITS.train, Streams(seed))
    assert isinstance(model, TorchModel)
    assert not any(trace.suspicious for trace in inspect_weights(model.network.parameters(model.vector)))
    context = AttackContext(Streams(seed), ThreatModel("transfer-learning", "backdoor"), AllToOne(3), Patch(2))
    edited, _ = guarded.model_attack(DormantUnits(units=2), model, DIGITS.train, context)
    assert isinstance(edited, TorchModel)
    traces = inspect_weights(edited.network.parameters(edited.vector))
    assert {"class-unit", "head-row"} <= {trace.check for trace in traces}
    changed = edited.network.parameters(edited.vector)["1.weight"] != model.network.parameters(model.vector)["1.weight"]
    named = {int(trace.what.split()[1]) for trace in traces if trace.check == "class-unit"}
    assert named == set(torch.flatten(changed.any(dim=1).nonzero()).tolist())


def test_bounds_can_be_raised() -> None:
    state = honest()
    state["head.weight"][3] *= 5
    assert checks(state) == ["head-row"]
    assert inspect_weights(state, Bounds(row=6.0)) == []
