"""A long federation goes on after it was killed, from a file of tensors and plain values, as if nothing had happened."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from antivenom.auditing.trial import Trial, run_trial
from antivenom.auditing.workers import PRELOAD
from antivenom.core.processes import start_server
from antivenom.core.protocols import Targets
from antivenom.core.registry import load_builtin
from antivenom.core.streams import Streams
from antivenom.core.threat import Goal, Knowledge
from antivenom.data import load
from antivenom.federated import (
    IPM,
    AlternatingMinimization,
    CenteredClipping,
    Delayed,
    ExplicitBoosting,
    Federation,
    FLDetector,
    FoolsGold,
    LineSearch,
    Mean,
    PoisonedFL,
    checkpoints,
)
from antivenom.federated.checkpoints import Checkpoint
from antivenom.federated.engine import Progress
from antivenom.models.architectures import MLP
from antivenom.models.network import build
from antivenom.models.training import Training
from antivenom.scenarios import rounds
from antivenom.scenarios.federated import Federated

STREAMS = Streams(5)
QUICK = Training(epochs=1, batch_size=32, learning_rate=5e-3)


def test_tensors_and_plain_values_come_back_as_they_were(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    tensors = [
        matrix[:, 1],  # a view that is not contiguous
        matrix,  # shares its memory with the one before
        torch.tensor(math.pi, dtype=torch.float64),
        torch.zeros(0, 4),
        torch.tensor([True, False]),
        torch.tensor([-(2**62)]),
    ]
    plain: Any = {"a": [1, 0.1, None, True, "é\n"], 3: ((), [], {}), "big": 2**80, -0.5: [math.inf, ("tensor", "0")]}
    kept = Checkpoint(tmp_path / "new" / "trial.safetensors")
    assert kept.write({"tensors": tensors, "plain": plain, "nan": math.nan})
    found = kept.read()
    assert found["plain"] == plain
    assert math.isnan(found["nan"])
    for one, other in zip(found["tensors"], tensors, strict=True):
        assert one.dtype is other.dtype
        assert torch.equal(one, other)
    assert kept.write([1.5])
    assert kept.read() == [1.5]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["trial.safetensors"]


def test_anything_else_is_not_written(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "trial.safetensors")
    assert not kept.write({"state": [np.zeros(2)]})
    assert not any(tmp_path.iterdir())
    assert not Checkpoint(None).write([1])
    assert not Checkpoint(None).is_due


def test_it_is_written_only_if_that_much_time_went_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    kept, due = Checkpoint(tmp_path / "trial.safetensors", every=60), []
    for second in (100, 159, 160, 219, 220):
        now[0] = second
        due.append(kept.is_due)
        if kept.is_due:
            kept.write(second)
    assert due == [False, False, True, False, True]
    assert kept.read() == 220


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08\0\0\0\0\0\0\0{}      ",
        save({}, {"tree": "["}),
        save({}, {"tree": '["tensor", "0", "cpu"]'}),
        save({}),
    ],
    ids=["empty", "no tree", "cut off", "a tensor missing", "another file"],
)
def test_a_file_that_holds_no_progress_is_as_no_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "trial.safetensors"
    assert Checkpoint(file).read() is None
    file.write_bytes(content)
    assert Checkpoint(file).read() is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trial.safetensors")
    assert Checkpoint(tmp_path / "trial.safetensors").read() is None


@pytest.mark.parametrize(
    ("agent", "rule", "detector"),
    [
        (ExplicitBoosting(), CenteredClipping(tau=1.0), FLDetector(start=2, window=3)),
        (PoisonedFL(), FoolsGold(), None),
        (LineSearch(IPM(), CenteredClipping(tau=1.0)), CenteredClipping(tau=1.0), None),
        (Delayed(AlternatingMinimization(epochs=1, centre="last-benign"), rounds=2), Mean(), None),  # type: ignore[arg-type]
        (None, Mean(), None),
    ],
    ids=["a rule and a detector with memory", "PoisonedFL", "LineSearch", "an agent that looks back", "nobody"],
)
@pytest.mark.parametrize("chosen", [None, 3])
def test_a_federation_goes_on_from_its_progress(
    agent: Any, rule: Any, detector: Any, chosen: int | None, tmp_path: Path
) -> None:
    rows = load("digits", STREAMS).train[:300]
    network = build(MLP(hidden=(8,)), rows.shape, 10, STREAMS)
    wanted = Targets(torch.tensor(rows.x[:1]), torch.tensor(rows.y[:1]), torch.tensor((rows.y[:1] + 1) % 10))
    federation = Federation(
        num_agents=5,
        agents_per_round=chosen,
        num_malicious=2,
        rounds=6,
        training=QUICK,
        server_momentum=0.5,
        knowledge=Knowledge.OMNISCIENT,
    )
    told = (network, federation.shards(rows, STREAMS), wanted, STREAMS, agent, rule, detector)
    whole = list(federation.rounds_of(*told))
    for last in (1, 4):
        kept = Checkpoint(tmp_path / "trial.safetensors")
        assert kept.write(whole[last - 1].progress.plain)
        further = list(federation.rounds_of(*told, since=Progress.of(kept.read())))
        assert [played.number for played in further] == [*range(last + 1, 7)]
        for played, expected in zip(further, whole[last:], strict=True):
            assert played.agents == expected.agents
            assert torch.equal(played.updates, expected.updates)
            assert torch.equal(played.end, expected.end)


SCENARIO = Federated(
    model=MLP(hidden=(8,)),
    federation=Federation(num_agents=4, rounds=5, training=QUICK, server_momentum=0.5),
    goal=Goal.TARGETED,
    only_right=False,
    train_rows=400,
    warm_start=1,
)


def killed_in_round_4(spec: Any, folder: str) -> None:
    """Runs a trial that writes after every round, and kills its own process when the judge looks at round 4."""
    load_builtin()
    look_at = rounds.RoundJudge.look_at

    def watched(self: Any, played: Any) -> None:
        if played.number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        look_at(self, played)

    checkpoints.EVERY, rounds.RoundJudge.look_at = 0.0, watched  # type: ignore[method-assign]
    run_trial(spec, progress=folder)


def test_a_killed_trial_gives_the_record_that_it_would_have_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_to_rounding: Callable[[Any, Any], None]
) -> None:
    trial = Trial(SCENARIO, ExplicitBoosting(), FLDetector(start=2, window=2), 0)
    expected = run_trial(trial.spec, progress=str(tmp_path))
    assert expected["status"] == "ok"
    assert not any(tmp_path.iterdir())  # a short trial writes nothing
    start_server(PRELOAD)
    ended = multiprocessing.get_context("forkserver").Process(
        target=killed_in_round_4, args=(trial.spec, str(tmp_path))
    )
    ended.start()
    ended.join(300)
    assert ended.exitcode == -signal.SIGKILL
    assert [file.name for file in tmp_path.iterdir()] == [f"{trial.key}.safetensors"]
    looked, real = list[int](), rounds.RoundJudge.look_at

    def counted(self: Any, played: Any) -> None:
        looked.append(played.number)
        real(self, played)

    monkeypatch.setattr(rounds.RoundJudge, "look_at", counted)
    record = run_trial(trial.spec, progress=str(tmp_path))
    assert looked == [4, 5]
    assert record["status"] == "ok"
    apart = ("seconds", "started")
    same_to_rounding(*({k: v for k, v in one.items() if k not in apart} for one in (record, expected)))
    assert not any(tmp_path.iterdir())  # the record is what is left of it
