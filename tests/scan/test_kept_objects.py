"""Objects that a file may store, but whose methods loading may not run; and calls that are judged by their values."""

from __future__ import annotations

import base64
import functools
import importlib
import importlib.util
import json
import pickle
import re
import sys
import zoneinfo
from pathlib import Path

import dill
import numpy as np
import pandas as pd
import pytest
import torch
from model_files import look, rules
from torch import nn
from torch.utils.data import Subset, TensorDataset

from antivenom.scan import Status, allow_list
from antivenom.scan.allow import ENUMERATED

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scan" / "honest" / "enumerate_classes.py"
DATA = b"ctorch.utils.data.dataset\nSubset\n)\x81"
STATE = b"}(X\x07\x00\x00\x00datasetX\x03\x00\x00\x00abcX\x07\x00\x00\x00indices(K\x00K\x02tub"
KEPT = DATA + STATE


def test_a_call_on_a_kept_object_runs_its_methods() -> None:
    """Why the rule exists: list() runs `Subset.__getitem__` on attributes that the file chose."""
    attack = b"\x80\x02cbuiltins\nlist\n" + KEPT + b"\x85R."
    assert pickle.loads(attack) == ["a", "c"]  # noqa: S301
    assert rules(look(attack)) == ["pickle-kept-object"]


@pytest.mark.parametrize(
    "body",
    {
        "called": b"ctorch.utils.data.dataset\nSubset\nNN\x86R",
        "key": b"}" + KEPT + b"K\x01s",
        "key in a tuple": b"}" + KEPT + b"\x85K\x01s",
        "item of a set": b"\x8f(" + KEPT + b"\x90",
        "item of a frozenset": b"(" + KEPT + b"\x91",
        "item added": KEPT + b"K\x01a",
        "entry added": KEPT + b"K\x01K\x02s",
        "in a list passed on": b"cbuiltins\nset\n](" + KEPT + b"e\x85R",
        "in a list of lists passed on": b"cbuiltins\ndict\n](](" + KEPT + b"K\x01ee\x85R",
        "in a list that grows later": b"]q\x01]q\x020h\x01h\x02a0h\x02" + KEPT + b"a0cbuiltins\ndict\nh\x01\x85R",
        "in a deque passed on": b"cbuiltins\nset\nccollections\ndeque\n)R" + KEPT + b"a\x85R",
        "as the arguments": b"cbuiltins\nlist\n" + KEPT + b"R",
        "two states": KEPT + STATE[:-1] + b"b",
        "a state that is no dict": DATA + b"K\x01b",
        "looked up": b"cbuiltins\ngetattr\n" + KEPT + b"X\x07\x00\x00\x00dataset\x86R",
        "version of an estimator": KEPT
        + b"0csklearn.linear_model._ridge\nRidge\n)\x81}X\x10\x00\x00\x00_sklearn_version"
        + KEPT
        + b"sb",
        "partial of its class": b"cfunctools\npartial\nctorch.utils.data.dataset\nSubset\n\x85R",
    }.items(),
    ids=lambda case: case[0],
)
def test_what_would_run_a_method_is_not_safe(body: tuple[str, bytes]) -> None:
    report = look(b"\x80\x04" + body[1] + b".")
    assert report.status is not Status.SAFE, body[0]
    assert "pickle-kept-object" in rules(report)


def test_kept_objects_are_stored_where_data_lies() -> None:
    rows = Subset(TensorDataset(torch.ones(3, 2)), [0, 2])
    optimiser = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 2)
    for value in ({"rows": [rows, (rows,)]}, [rows], scheduler.state_dict(), np.array([1, "a"], dtype=object)):
        assert look(pickle.dumps(value)).status is Status.SAFE, value


def test_frames_of_pandas_are_safe_and_their_gadget_is_not() -> None:
    names = pd.Index(["a", "b"], dtype=object)
    frame = pd.DataFrame(np.ones((3, 2)), columns=names).assign(c=pd.to_datetime(["2020-01-01"] * 3))
    frame.columns = frame.columns.astype(object)
    for value in (frame, frame["a"], {"frame": frame}, frame.columns, frame.set_index(frame.index[::-1])):
        report = look(pickle.dumps(value))
        assert report.status is Status.SAFE, report.findings
    series = pickle.dumps(pd.Series([max], index=["append"], dtype=object), 4)
    assert look(series[:-1] + b"K\x01a.").status is not Status.SAFE  # APPEND would call the value


def test_calls_are_judged_by_their_values() -> None:
    for value in (re.compile("a+"), functools.partial(np.clip, a_min=0), zoneinfo.ZoneInfo("Europe/Berlin"), str.split):
        report = look(pickle.dumps(value))
        assert report.status is Status.SAFE, report.findings
    assert look(b"cfunctools\npartial\n(cos\nsystem\ntR.").status is Status.UNSAFE
    assert rules(look(pickle.dumps(functools.partial(pickle.loads)))) == ["pickle-global", "pickle-kept-object"]
    assert rules(look(b"\x80\x02cfunctools\npartial\ncbuiltins\ngetattr\n\x85R.")) == ["pickle-kept-object"]
    assert look(b"cre\n_compile\n(cbuiltins\nlist\nI0\ntR.").status is Status.UNSAFE
    assert look(b"cre\n_compile\n(S'a'\nI0\ntR}S'x'\nI1\nsb.").status is Status.UNSAFE


def test_arrays_of_dill() -> None:
    for value in (np.arange(3), {"x": np.ones((2, 2))}):
        report = look(dill.dumps(value))
        assert report.status is Status.SAFE, report.findings
    honest = dill.dumps(np.arange(3), 2)
    assert b"_reconstruct" in honest
    assert look(honest.replace(b"numpy._core.multiarray\n_reconstruct", b"os\nsystem")).status is Status.UNSAFE
    attack = b"\x80\x02cdill._dill\n_create_array\n(cbuiltins\nlist\n)NNtR."
    assert rules(look(attack)) == ["pickle-computed-call"]


def test_a_formula_of_statsmodels_is_code() -> None:
    state = b"}(X\x07\x00\x00\x00formulaX\x05\x00\x00\x00y ~ aX\x12\x00\x00\x00restore_model_spec\x88ub."
    assert rules(look(b"\x80\x02cstatsmodels.base.data\nPandasData\n)\x81" + state)) == ["embedded-code"]


def test_the_classes_are_still_of_the_kind_that_was_enumerated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a release gives a class a `__setstate__`, a `__getattr__` or a setter that nobody has read."""
    spec = importlib.util.spec_from_file_location("enumerate_classes", SCRIPT)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "argv", [])
    spec.loader.exec_module(script)
    kinds = {permission: kind for kind, permission in ENUMERATED.items()}
    seen = 0
    for module, names in allow_list().names.items():
        if not module.startswith(("torch.utils.data.", "torch.optim.", "torch.distributions.")):
            continue
        for name, permission in names.items():
            found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
            assert script.kind_of(found) == kinds[permission], (module, name)
            seen += 1
    assert seen > 80


def test_a_pickle_in_json_is_looked_into() -> None:
    """Stable-Baselines3 loads what its archives hold under this key."""
    for data, status in ((b"cos\nsystem\n(S'x'\ntR.", Status.UNSAFE), (pickle.dumps([1]), Status.SAFE)):
        document = {"policy": {":type:": "x", ":serialized:": base64.b64encode(data).decode()}}
        assert look(json.dumps(document).encode()).status is status
