"""Fields of agents, rules, reducers and detectors are refused where the value is made, not in the first round."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from antivenom.core.errors import PluginError
from antivenom.core.registry import Kind, entries
from antivenom.core.registry.entry import Entry
from antivenom.core.registry.fields import fields_of
from antivenom.data import Named
from antivenom.federated import (
    ARC,
    NNM,
    Bulyan,
    Chain,
    ConstrainAndScale,
    Every,
    Federation,
    Krum,
    Mean,
    Mimic,
    ModelReplacement,
    MultiKrum,
    PoisonedFL,
    SignFlip,
    TrimmedMean,
)
from antivenom.scenarios.federated import Federated

KINDS = (Kind.AGENT, Kind.AGGREGATOR, Kind.REDUCER, Kind.CLIENT_DETECTOR)
OWN = [entry for kind in KINDS for entry in entries(kind) if entry.origin == "antivenom"]


def made(entry: Entry, **fields: Any) -> object:
    return entry.cls(**({"agent": SignFlip()} if "agent" in fields_of(entry.cls) else {}) | fields)


@pytest.mark.parametrize("entry", OWN, ids=lambda entry: entry.name)
def test_no_number_is_nan_or_text(entry: Entry) -> None:
    for name, hint in fields_of(entry.cls).items():
        kinds = set(get_args(hint)) or {hint}
        if kinds <= {int, float, type(None)}:
            for wrong in (float("nan"), "a", True):
                with pytest.raises(PluginError, match=name):
                    made(entry, **{name: wrong})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Krum(f=-1), r"Krum.f >= 0, got -1"),
        (lambda: ModelReplacement(share=1.5), r"ModelReplacement.share from 0 to 1, got 1.5"),
        (lambda: ModelReplacement(epochs=-1), r"ModelReplacement.epochs >= 0, got -1"),
        (lambda: ModelReplacement(boost=-2.0), r"ModelReplacement.boost >= 0, got -2.0"),
        (lambda: ConstrainAndScale(learning_rate=-0.1), r"ConstrainAndScale.learning_rate >= 0, got -0.1"),
        (lambda: ConstrainAndScale(stop_loss=-1.0), r"ConstrainAndScale.stop_loss >= 0, got -1.0"),
        (lambda: PoisonedFL(scale=-1.0), r"PoisonedFL.scale >= 0, got -1.0"),
        (lambda: Mimic(client=-1), r"Mimic.client >= 0, got -1"),
        (lambda: Every(SignFlip(), first=3, last=2), "rounds and first >= 1 and last >= first, got 2, 3 and 2"),
    ],
    ids=range(9),
)
def test_ranges(make: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make()


@pytest.mark.parametrize(
    ("defence", "message"),
    [
        (Krum(f=2), r"n >= 2f \+ 3 updates for Krum with f = 2, got n = 6: use f <= 1"),
        (MultiKrum(f=2), r"n >= 2f \+ 3 updates for MultiKrum with f = 2, got n = 6"),
        (Bulyan(f=1), r"n >= 4f \+ 3 updates for Bulyan with f = 1, got n = 6: use at least 7 agents, or another rule"),
        (TrimmedMean(f=3), r"n >= 2f \+ 1 updates for TrimmedMean with f = 3, got n = 6: use f <= 2"),
        (NNM(f=3), r"n >= 2f \+ 1 updates for NNM with f = 3, got n = 6"),
        (Chain((ARC(f=4), NNM()), Mean()), r"n >= 2f \+ 1 updates for ARC with f = 4, got n = 6"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_too_few_clients_for_a_defence_are_known_before_any_row_is_read(
    defence: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reads(self: Federated, streams: Any) -> Any:
        raise AssertionError("the data were read")

    monkeypatch.setattr(Named, "__call__", reads)
    scenario = Federated(federation=Federation(num_agents=20, agents_per_round=6))
    with pytest.raises(PluginError, match=message):
        scenario.run(None, defence, 0)
