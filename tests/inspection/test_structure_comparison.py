"""What changed against a reference: edits, merged adapters, embeddings, training."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from antivenom.core.errors import ModelError
from antivenom.inspection.structure.changes import change, rank_of
from antivenom.inspection.structure.comparison import changed_units, changes, compare

Tensors = dict[str, np.ndarray]
RNG = np.random.default_rng(0)
WIDTHS = (30, 400, 400, 10)
REFERENCE: Tensors = {
    f"{i}.{kind}": RNG.normal(0, 0.1, (b, a) if kind == "weight" else b).astype(np.float32)
    for i, (a, b) in enumerate(pairwise(WIDTHS))
    for kind in ("weight", "bias")
}
TABLE = {"embed.weight": RNG.normal(0, 0.1, (2000, 16)).astype(np.float32)}


def copy(state: Tensors = REFERENCE) -> Tensors:
    return {name: array.copy() for name, array in state.items()}


def found(state: Tensors, reference: Tensors = REFERENCE) -> list[tuple[str, bool]]:
    return [(trace.check, trace.suspicious) for trace in compare(state, reference)]


def test_equal_models_are_bit_identical() -> None:
    (trace,) = compare(copy(), REFERENCE)
    assert (trace.what, trace.suspicious, trace.value) == ("All 6 tensors are bit-identical.", False, 0.0)


def test_an_edit_of_a_few_units_is_counted_once_for_incoming_and_outgoing_weights() -> None:
    state = copy()
    units = [3, 50, 399]
    state["1.weight"][units] += 1
    state["1.bias"][units] -= 9
    state["2.weight"][:, units] = 0  # their outgoing weights, in all ten rows of the head
    assert changed_units(changes(state, REFERENCE), REFERENCE) == (3, 810)
    summary, edit = compare(state, REFERENCE)
    assert summary.what == "3 of 810 units changed, all others are bit-identical."
    assert edit.what == "Only 3 units of 810 were edited, in 1.weight, 1.bias, 2.weight, which training does not do."
    assert (edit.check, edit.suspicious, edit.value) == ("unit-edit", True, 3.0)


def test_training_is_no_edit() -> None:
    state = {name: array + RNG.normal(0, 0.01, array.shape).astype(np.float32) for name, array in REFERENCE.items()}
    (trace,) = compare(state, REFERENCE)
    assert trace.what.startswith("6 of 6 tensors changed, with ")
    assert not trace.suspicious


def test_a_new_head_alone_is_no_edit() -> None:
    state = copy()
    state["2.weight"] = RNG.normal(0, 0.1, (10, 400)).astype(np.float32)
    state["2.bias"] = state["2.bias"] * 2
    assert found(state) == [("summary", False)]


def test_a_change_of_rank_one_in_one_matrix_is_the_mark_of_a_model_editor() -> None:
    state = copy()
    state["1.weight"] += np.outer(RNG.normal(size=400), RNG.normal(size=400)).astype(np.float32) * 0.01
    traces = compare(state, REFERENCE)
    assert [(t.check, t.suspicious, t.value) for t in traces[1:]] == [("low-rank-change", True, 1.0)]
    assert "1 matrix changed in at most 1 direction: 1.weight" in traces[-1].what


def test_a_low_rank_beside_trained_matrices_is_no_trace() -> None:
    state = {name: array + RNG.normal(0, 0.01, array.shape).astype(np.float32) for name, array in REFERENCE.items()}
    step = np.outer(RNG.normal(size=400), RNG.normal(size=400)).astype(np.float32) * 0.01
    state["1.weight"] = REFERENCE["1.weight"] + step
    assert found(state) == [("summary", False)]


def test_low_rank_changes_in_all_matrices_are_a_merged_adapter() -> None:
    state = {f"{i}.weight": RNG.normal(0, 0.1, (64, 64)).astype(np.float32) for i in range(6)}
    merged = {
        name: (array + RNG.normal(0, 0.05, (64, 4)) @ RNG.normal(0, 0.05, (4, 64))).astype(np.float32)
        for name, array in state.items()
    }
    (_, trace) = compare(merged, state)
    assert (trace.check, trace.suspicious, trace.value) == ("low-rank-change", False, 4.0)
    assert "adapter was merged" in trace.what


def test_a_few_embeddings_are_named() -> None:
    state = copy(TABLE | REFERENCE)
    state["embed.weight"][[7, 1234]] *= 3
    traces = compare(state, TABLE | REFERENCE)
    assert [t.check for t in traces] == ["summary", "embedding-rows"]
    assert "changed in 2 rows of 2,000 only: 7, 1234." in traces[1].what
    assert traces[1].suspicious


def test_added_missing_and_reshaped_tensors() -> None:
    state = {"extra.weight": np.ones((2, 2), np.float32)} | copy()
    del state["1.bias"]
    state["2.weight"] = state["2.weight"][:5]
    assert found(state) == [("summary", False), ("added", True), ("missing", False), ("reshaped", False)]
    assert found(copy() | {"head.weight": np.ones((2, 2), np.float32)}) == [("summary", False), ("added", False)]


def test_pruned_units_are_a_note() -> None:
    state = copy()
    state["1.weight"][[3, 50]] = 0
    state["1.bias"][[3, 50]] = 0
    state["2.weight"][:, [3, 50]] = 0
    assert found(state) == [("summary", False), ("pruned-units", False)]
    state["1.bias"][3] = -1
    assert found(state) == [("summary", False), ("unit-edit", True)]


def test_a_change_beyond_training_is_the_remark_of_the_weight_screen() -> None:
    state = {name: array + RNG.normal(0, 0.01, array.shape).astype(np.float32) for name, array in REFERENCE.items()}
    state["1.weight"][4] += 100
    assert ("row-drift", False) in found(state)


def test_low_bits_alone_are_found() -> None:
    state = copy()
    words = state["1.weight"].view(np.uint32)
    words ^= RNG.integers(1, 256, words.shape, dtype=np.uint32)
    assert ("low-bits", True) in found(state)


def test_half_precision_is_compared_after_rounding() -> None:
    halves = {name: torch.tensor(array).half() for name, array in REFERENCE.items()}
    (trace,) = compare(halves, REFERENCE)
    assert trace.what == "All 6 tensors are bit-identical."
    assert found({f"module.{name}": array for name, array in REFERENCE.items()}) == [("summary", False)]


def test_models_without_a_tensor_in_common_are_one_line() -> None:
    with pytest.raises(ModelError, match="expected a reference with tensors of the same names and shapes"):
        compare({"a": np.ones(3)}, {"b": np.ones(3)})


@pytest.mark.parametrize(("rows", "columns", "rank"), [(40, 60, 1), (40, 60, 7), (700, 600, 30)])
def test_the_rank_of_a_change_is_that_of_the_added_matrix(rows: int, columns: int, rank: int) -> None:
    matrix = RNG.normal(size=(rows, rank)) @ RNG.normal(size=(rank, columns))
    assert rank_of(matrix) == rank
    assert rank_of(matrix + RNG.normal(size=matrix.shape)) == 0
    reference = RNG.normal(size=(rows, columns)).astype(np.float32)
    moved = change("w", (reference + matrix).astype(np.float32), reference)
    assert moved is not None
    assert moved.rank == rank  # despite the rounding to float32
    assert moved.relative == pytest.approx(np.linalg.norm(matrix) / np.linalg.norm(reference), rel=1e-4)
