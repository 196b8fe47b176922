"""The code of docs/guide/flower.md, run in process."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("flwr") is None:
    pytest.skip("needs flwr (extra `flower`)", allow_module_level=True)

from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from in_process import NODES, LocalGrid, accuracy, honest, initial

from antivenom.federated import MultiKrum

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "flower.md"


def test_the_code_of_the_guide_trains_and_builds() -> None:
    blocks = re.findall(r"```py\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    grid = LocalGrid({node: honest(place) for place, node in enumerate(NODES)})
    names: dict[str, Any] = {"FedAvg": FedAvg, "ClientApp": ClientApp, "grid": grid, "arrays": initial()}
    defending, another_rule, mod = (textwrap.dedent(block) for block in blocks)
    exec(compile(defending, "guide", "exec", dont_inherit=True), names)  # noqa: S102 - our own document
    assert accuracy(names["result"].arrays) > 0.8
    exec(compile(another_rule, "guide", "exec", dont_inherit=True), names)  # noqa: S102
    assert isinstance(names["strategy"].server.rule, MultiKrum)
    exec(compile(mod, "guide", "exec", dont_inherit=True), names)  # noqa: S102
    assert isinstance(names["app"], ClientApp)
