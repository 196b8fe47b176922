"""Fields are checked when a plugin is made in Python."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from antivenom.core.errors import PluginError
from antivenom.core.registry import check_fields, require_range
from antivenom.data import Dirichlet
from antivenom.federated import (
    ALIE,
    ARC,
    Chain,
    Clip,
    Federation,
    FreeRider,
    GaussianNoise,
    Krum,
    LineSearch,
    Mean,
    MinMaxDistance,
    MultiKrum,
    NonFinite,
    Scaled,
    SignFlip,
    TrimmedMean,
)
from antivenom.triggers import Patch


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Krum(f=-1), r"Krum\.f >= 0, got -1"),
        (lambda: Krum(f="a"), r"Krum\.f: a whole number, got 'a'"),  # type: ignore[arg-type]
        (lambda: Krum(f=1.5), r"Krum\.f: a whole number, got 1\.5"),  # type: ignore[arg-type]
        (lambda: Krum(f=True), r"Krum\.f: a whole number, got True"),
        (lambda: Krum(f=None), r"Krum\.f: a whole number, got None"),  # type: ignore[arg-type]
        (lambda: Krum(squared="no"), r"Krum\.squared: True or False, got 'no'"),  # type: ignore[arg-type]
        (lambda: MultiKrum(m=0), r"MultiKrum\.m >= 1, got 0"),
        (lambda: TrimmedMean(f=-1), r"TrimmedMean\.f >= 0"),
        (lambda: ARC(f=-2), r"ARC\.f >= 0"),
        (lambda: Clip(bound="3"), r"Clip\.bound: a number, got '3'"),  # type: ignore[arg-type]
        (lambda: Clip(bound=float("nan")), r"Clip\.bound >= 0, got nan"),
        (lambda: ALIE(z="1"), r"ALIE\.z: a number or None, got '1'"),  # type: ignore[arg-type]
        (lambda: GaussianNoise(std=-1.0), r"GaussianNoise\.std >= 0"),
        (lambda: NonFinite(share=2.0), r"NonFinite\.share from 0 to 1, got 2"),
        (lambda: FreeRider(kind="zeroes"), r"did you mean 'zeros'"),  # type: ignore[arg-type]
        (lambda: MinMaxDistance(direction=3), r"one of unit, std, sign, got 3"),  # type: ignore[arg-type]
        (lambda: Chain(rule="Mean"), r"Chain\.rule: a plugin \(Aggregator\), got 'Mean'"),  # type: ignore[arg-type]
        (lambda: Scaled(agent=None), r"Scaled\.agent: a plugin \(Agent\), got None"),  # type: ignore[arg-type]
        (lambda: Dirichlet(beta="0.5"), r"Dirichlet\.beta: a number"),  # type: ignore[arg-type]
        (lambda: Patch(size="2"), r"Patch\.size: a whole number"),  # type: ignore[arg-type]
        (lambda: Federation(num_agents="5"), r"Federation\.num_agents: a whole number"),  # type: ignore[arg-type]
        (lambda: Federation(weighting="exmples"), r"did you mean 'examples'"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_field_is_one_line_when_the_plugin_is_made(make: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make()


def test_numbers_of_numpy_and_whole_numbers_as_floats_pass() -> None:
    assert Krum(f=np.int64(2)).f == 2
    assert Clip(bound=3).bound == 3
    assert Clip(bound=np.float32(0.5)).bound == 0.5
    assert ALIE(z=None) == ALIE()
    assert LineSearch(SignFlip(), rule=Mean(), centre="benign").centre == "benign"  # type: ignore[arg-type]


class Side(enum.Enum):
    LEFT = 1


@dataclass(frozen=True)
class Fields:
    side: Side = Side.LEFT
    many: tuple[int, ...] = ()
    name: str = ""
    unknown: Missing = 0  # type: ignore[name-defined]  # noqa: F821


def test_what_cannot_be_looked_up_is_left_alone() -> None:
    check_fields(Fields(many="x"))  # type: ignore[arg-type]
    require_range(Krum(), 0, 1, "f")
    require_range(MultiKrum(), 1, 2, "m")  # None is none given
