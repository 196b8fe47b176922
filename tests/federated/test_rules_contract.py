"""What every rule and reducer does with input at the edge, and which symmetries and bounds it keeps: over the registry."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.registry import Entry, Kind, entries
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.federated import FLAME, NNM, Chain, Clip, Krum, Mean, MoNNA, TrimmedMean
from antivenom.federated.aggregation import aggregator, reducer, step_of
from antivenom.models.architectures import Logistic
from antivenom.models.network import build

RULES = [entry for entry in entries(Kind.AGGREGATOR) if entry.origin == "antivenom"]
REDUCERS = [entry for entry in entries(Kind.REDUCER) if entry.origin == "antivenom"]
every_rule = pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.name)
every_link = pytest.mark.parametrize("entry", [*RULES, *REDUCERS], ids=lambda entry: entry.name)

ROOTED = {"FLTrust", "MoNNA"}  # need the server's own update
NETWORKED = {"DeepSight"}  # needs an output layer
NOISY = {"CRFL", "FLAME", "WeakDP"}
# What is left out below depends on the origin, on a unit, or on the single coordinates' values as such.
TRANSLATED = {
    *("Mean", "CappedMean", "Median", "TrimmedMean", "Meamed", "Krum", "MultiKrum", "Bulyan", "MDA", "SMEA", "CAF"),
    *("GeometricMedian", "DnC", "Chain"),
}
SCALED = {*TRANSLATED, "SLSGD", "CGE", "RLR", "SignGuard", "FLAME", "FoolsGold", "ClippedClustering", "LASA", "WBC"}
UNBOUNDED = {"Mean", "CappedMean", "RLR", "FoolsGold", "WBC"}  # means in the end: for other attacks than huge rows


def rows(seed: int, n: int, d: int = 6) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def view(updates: Tensor) -> ServerView:
    """A server of a logistic regression (d = 6), with root rows."""
    n = len(updates)
    network = build(Logistic(), (2,), 2, Streams(0))
    x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]], dtype=np.float32)
    data = Dataset(x, np.array([0, 0, 1, 1]), ("a", "b"))
    return ServerView(
        1, torch.zeros(6), updates, tuple(range(n)), torch.full((n,), 1 / n), network, data, streams=Streams(0)
    )


def called(entry: Entry, updates: Tensor, plugin: Any = None) -> Tensor:
    """The aggregate, or the rows that a reducer leaves."""
    result = (plugin or entry.cls())(updates, None, view(updates))
    found: Tensor = result[0] if entry.kind is Kind.REDUCER else result
    return found


def test_the_registry_holds_every_rule_and_reducer() -> None:
    wanted = (
        "Auror Bulyan CAF CGE CappedMean CenteredClipping Chain ClippedClustering DeepSight DnC FLAME FLTrust FoolsGold "
        "GeometricMedian Krum LASA MDA Meamed Mean Median MoNNA MultiKrum RLR SLSGD SMEA SignGuard TrimmedMean WBC"
    )
    assert {entry.name for entry in RULES} >= set(wanted.split())
    assert {entry.name for entry in REDUCERS} >= {"ARC", "NNM", "Bucketing", "Clip", "WeakDP"}


@every_link
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_rows_that_are_not_finite_are_refused_by_number(entry: Entry, value: float) -> None:
    updates = rows(0, 9)
    updates[3, 2] = value
    with pytest.raises(PluginError, match=r"finite updates for \w+, got NaN or infinity in row 3") as caught:
        called(entry, updates)
    assert "\n" not in str(caught.value)


@every_link
def test_any_number_of_clients_gives_a_finite_result_or_one_line(entry: Entry) -> None:
    outcomes = []
    for n in range(1, 13):
        try:
            outcomes.append(called(entry, rows(n, n)))
        except PluginError as error:
            outcomes.append(str(error))
    few = sum(isinstance(outcome, str) for outcome in outcomes)
    assert all(isinstance(line, str) and f"n = {n}" in line for n, line in enumerate(outcomes[:few], 1))
    assert all(isinstance(found, Tensor) and found.isfinite().all() for found in outcomes[few:])
    assert few < 8


@every_link
def test_zeros_stay_zeros(entry: Entry) -> None:
    result = called(entry, torch.zeros(9, 6))
    assert (result.abs() <= 0.04).all() if entry.name in NOISY else not result.any()


@every_link
def test_equal_rows_are_a_tie_without_consequence(entry: Entry) -> None:
    same = rows(1, 1).repeat(9, 1)
    result = called(entry, same)
    assert result.isfinite().all()
    if entry.name in TRANSLATED:
        torch.testing.assert_close(result, same[0])


@every_link
def test_updates_without_coordinates(entry: Entry) -> None:
    if entry.name in ROOTED | NETWORKED:
        with pytest.raises(NotApplicable):
            entry.cls()(torch.zeros(9, 0))
        return
    result = entry.cls()(torch.zeros(9, 0))
    assert (result[0] if entry.kind is Kind.REDUCER else result).shape[-1] == 0


@every_link
def test_scalars_are_refused_with_a_remedy(entry: Entry) -> None:
    with pytest.raises(PluginError, match=r"an \(n, d\) matrix .* got shape \(3,\): one update per row"):
        entry.cls()([1.0, 2.0, 3.0])


@every_link
def test_single_precision_arrays_and_large_values(entry: Entry) -> None:
    updates = rows(2, 9).float() * 1e30
    result = called(entry, updates)
    assert result.dtype == torch.float32
    assert result.isfinite().all()


EXTREMES = {
    "one huge": [1e38],
    "huge both ways": [3e38, -3e38, 1e-40],
    "tiny and nothing": [-1e-300, 0.0],
    "as large as double precision squares": [1e150, 1e-150],
}


@every_link
@pytest.mark.parametrize("values", EXTREMES.values(), ids=EXTREMES)
def test_finite_input_never_ends_in_a_crash(entry: Entry, values: list[float]) -> None:
    # A hostile client may send any finite number; an exception or a warning would end the training.
    updates = rows(3, 11)
    updates[: len(values)] = torch.tensor(values, dtype=torch.float64)[:, None]
    assert called(entry, updates).isfinite().all()
    updates[len(values) :] = updates[-1]
    assert called(entry, updates).isfinite().all()


@every_rule
def test_the_order_of_the_clients_does_not_matter(entry: Entry) -> None:
    if entry.name in NOISY:
        return
    for seed in range(3):
        updates = rows(seed, 11)
        order = torch.randperm(11, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(called(entry, updates[order]), called(entry, updates), rtol=1e-5, atol=1e-8)


@every_rule
def test_shift_and_scale_go_through_where_the_definition_says_so(entry: Entry) -> None:
    plugin = FLAME(noise=0.0) if entry.name == "FLAME" else entry.cls()
    for seed in range(3):
        updates = rows(seed, 11)
        result = called(entry, updates, plugin)
        if entry.name in TRANSLATED:
            torch.testing.assert_close(called(entry, updates + 7, plugin), result + 7)
        if entry.name in SCALED:
            torch.testing.assert_close(called(entry, 3 * updates, plugin), 3 * result)


def assuming_two(entry: Entry) -> Any:
    """The plugin with f = 2 in itself and its links."""
    if entry.name == "Chain":
        return Chain((NNM(f=2),), TrimmedMean(f=2))
    if entry.name == "MoNNA":
        return MoNNA(f=2, trusted=5)
    return entry.cls(f=2) if "f" in {field.name for field in dataclasses.fields(entry.cls)} else entry.cls()


@every_rule
@pytest.mark.parametrize("size", [1e2, 1e6, 1e30])
def test_f_rows_move_the_result_by_a_bounded_amount(entry: Entry, size: float) -> None:
    updates = rows(5, 11)
    updates[0] = size
    if entry.name in UNBOUNDED:  # one row suffices
        assert called(entry, updates, assuming_two(entry)).norm() > size / 100
    else:
        updates[1] = 1.1 * size
        assert called(entry, updates, assuming_two(entry)).norm() <= 3 * updates[2:].norm(dim=1).max()


@every_rule
def test_memory_outlives_a_change_of_agents(entry: Entry) -> None:
    plugin, state = entry.cls(), None
    for number, (n, first) in enumerate(((9, 0), (11, 4), (7, 2), (9, 0)), start=1):
        updates = rows(number, n)
        updates[0] = 1e100  # stays with whoever remembers it
        seen = dataclasses.replace(view(updates), round=number, agents=tuple(range(first, first + n)))
        aggregate, state = plugin.step(updates, None, seen, state)
        assert aggregate.shape == (6,)
        assert aggregate.isfinite().all()


# --- the decorators --------------------------------------------------------------------------------------------------


def made(kind: Any, **methods: Any) -> Any:
    return kind(goal="targeted", cite="none")(type("Made", (), {"__module__": __name__, **methods}))()


def test_a_rule_may_give_coefficients_only(plugins: None) -> None:
    rule = made(aggregator, coefficients=lambda self, gram, weights, view: gram.norms)
    assert rule([[3.0, 4.0], [0.0, 1.0]]).tolist() == [15.0, 21.0]
    aggregate, state = rule.step([[3.0, 4.0]], None, None, "kept")
    assert (aggregate.tolist(), state) == ([15.0, 20.0], "kept")


def test_a_rule_may_step_only(plugins: None) -> None:
    rule = made(aggregator, step=lambda self, updates, weights, view, state: (updates[0] + (state or 0), 5))
    assert rule([[1.0]]).tolist() == [1.0]
    assert rule.step([[1.0]], None, None, 5)[0].tolist() == [6.0]


def test_a_reducer_may_give_its_mixing_only(plugins: None) -> None:
    link = made(reducer, mixing=lambda self, gram, weights, view: torch.ones(1, len(gram), dtype=torch.float64))
    mixed, weights = link([[1.0, 0.0], [0.0, 2.0]], [0.5, 0.25])
    assert (mixed.tolist(), weights.tolist()) == ([[1.0, 2.0]], [0.75])


@pytest.mark.parametrize(
    ("kind", "methods", "message"),
    [
        (aggregator, {"step": lambda self, u, w, v, state: u[0]}, "an aggregate and a state from Made"),
        (aggregator, {"step": lambda self, u, w, v, state: (u, state)}, r"an aggregate of shape \(2,\)"),
        (reducer, {"__call__": lambda self, u, w, v: u}, "rows and weights from Made"),
        (reducer, {"__call__": lambda self, u, w, v: (u[:0], w)}, r"rows of shape \(m, 2\) from Made"),
        (reducer, {"__call__": lambda self, u, w, v: (u[:1], w)}, r"weights of shape \(1,\) from Made"),
    ],
)
def test_what_comes_back_is_checked(plugins: None, kind: Any, methods: Any, message: str) -> None:
    plugin = made(kind, **methods)
    call = (lambda *given: plugin.step(*given, None)) if kind is aggregator else plugin
    with pytest.raises(PluginError, match=message):
        call(torch.ones(3, 2), torch.ones(3), None)


@pytest.mark.parametrize("kind", [aggregator, reducer])
def test_a_class_without_any_of_them_is_refused(plugins: None, kind: Any) -> None:
    with pytest.raises(PluginError, match="a __call__ in Made, got none"):
        made(kind)


def test_plain_callables_have_no_memory() -> None:
    assert step_of(lambda updates, weights, view: updates[0])([1, 2], None, None, "state") == (1, "state")


def test_reducers_give_arrays_for_arrays() -> None:
    shortened, weights = Clip(1.0)(np.array([[3.0, 4.0]]), [1.0])
    assert isinstance(shortened, np.ndarray)
    assert isinstance(weights, np.ndarray)
    assert shortened.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert isinstance(Krum(f=0)([[1.0]] * 3), np.ndarray)
    assert isinstance(Mean()([torch.ones(3)] * 2), Tensor)
