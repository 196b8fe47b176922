"""Inspection of networks whose answer is known: linear ones, of which one has a class that a single pixel decides."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from antivenom.cli import run
from antivenom.core.errors import DataError, FileError, NotApplicable, ScenarioError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.inspection import Answer, Inspection, References, Repaired, inspect
from antivenom.inspection.drawing import document
from antivenom.inspection.references import at_once, trainers, unlike
from antivenom.inspection.result import Candidate
from antivenom.inspection.rows import divided
from antivenom.models.training import Training
from antivenom.triggers import load_trigger

SIDE, CLASSES = 6, 4
NONE = References(0)


def network(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, classes))


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class c has a bright row of pixels number c; the last row of pixels is dark in all of them."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    x = 0.2 * rng.random((n, 1, SIDE, SIDE)).astype(np.float32)
    x[np.arange(n), 0, y] += 0.6
    x[:, 0, -1] = 0
    return x, y


def weights(seed: int, planted: float = 0.0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    weight = 0.05 * torch.randn(CLASSES, SIDE, SIDE, generator=rng)
    for c in range(CLASSES):
        weight[c, c] += 2
    weight[2, -1, -1] += planted
    return {"1.weight": weight.flatten(1), "1.bias": torch.zeros(CLASSES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    for seed in range(5):
        save_file(weights(seed), place / f"clean{seed}.safetensors")
    save_file(weights(9, planted=12.0), place / "bad.safetensors")
    x, y = rows(400)
    np.savez(place / "rows.npz", x=x, y=y)
    return place


def cleans(folder: Path, first: int = 1) -> list[Path]:
    return [folder / f"clean{seed}.safetensors" for seed in range(first, 5)]


@pytest.fixture(scope="module")
def backdoored(folder: Path) -> Inspection:
    """The inspection and repair of the backdoored model beside four clean ones."""
    out = folder / "fixed.safetensors"
    return inspect(
        folder / "bad.safetensors", rows(600), arch=network, reference=cleans(folder), repair=out, seconds=600
    )


def test_a_backdoored_model_among_given_references(backdoored: Inspection) -> None:
    found = backdoored
    assert found.answer is Answer.SUSPICIOUS
    assert found.p_value == pytest.approx(1 / 5)
    assert found.exit_code == 1
    suspect = found.suspects[0]
    assert (suspect.index, suspect.flagged) == (2, True)
    assert suspect.rate > 0.9
    assert suspect.reference_rate < 0.2
    assert found.accuracy == 1
    shown = suspect.trigger(rows(4)[0])
    assert (shown[:, 0, -1, -1] > 0.3).all()  # the recovered trigger lights the planted pixel


def test_a_clean_model_among_given_references(folder: Path) -> None:
    found = inspect(folder / "clean0.safetensors", rows(400), arch=network, reference=cleans(folder), seconds=600)
    assert found.answer is Answer.NOTHING_FOUND
    assert found.exit_code == 0
    assert found.p_value > 1 / 5
    assert "false alarms in at most 1 of 5" in found.reason


def test_without_references_the_answer_is_uncalibrated(folder: Path) -> None:
    found = inspect(folder / "bad.safetensors", rows(60), arch=network)
    assert (found.answer, found.exit_code) == (Answer.UNCALIBRATED, 0)
    assert any("more clean rows, or --reference four times" in note for note in found.notes)
    assert "traces" in found.reason  # the unit that decides one class is shown, but decides nothing
    x, y = rows(60)
    swapped = inspect(folder / "clean0.safetensors", (x, (y + 1) % CLASSES), arch=network, train=NONE, seconds=1e-9)
    assert any("are classes and rows those of the model?" in note for note in swapped.notes)
    few = inspect(folder / "bad.safetensors", rows(60), arch=network, reference=cleans(folder)[:2], train=NONE)
    assert few.answer is Answer.UNCALIBRATED
    assert "2 reference models are too few to calibrate" in few.notes[0]


def test_references_are_trained_on_the_rows(folder: Path) -> None:
    train = References(4, Training(epochs=20, learning_rate=0.05))
    found = inspect(folder / "bad.safetensors", rows(500), arch=network, train=train, seconds=600)
    assert (found.references, len(found.reference_accuracy)) == (4, 4)
    assert found.answer is Answer.SUSPICIOUS


def test_references_that_were_trained_otherwise_do_not_calibrate(folder: Path) -> None:
    train = References(4, Training(epochs=0))
    found = inspect(folder / "clean0.safetensors", rows(800), arch=network, train=train, seconds=600)
    assert found.answer is Answer.UNCALIBRATED
    assert any("were not trained alike" in note for note in found.notes)


def test_without_time_no_check_runs(folder: Path) -> None:
    found = inspect(folder / "bad.safetensors", rows(100), arch=network, train=NONE, seconds=1e-9)
    assert found.answer is Answer.CANNOT_TELL
    assert found.exit_code == 3
    assert "no time was left" in found.reason
    assert all(check.verdict is None and check.why for check in found.checks)


def test_weights_alone_are_not_judged(folder: Path) -> None:
    found = inspect(folder / "bad.safetensors")
    assert found.checks == ()
    assert "give --arch" in found.reason


def test_a_network_without_rows_is_compared_by_its_weights(folder: Path) -> None:
    found = inspect(
        folder / "bad.safetensors", arch=network, shape=(1, SIDE, SIDE), reference=cleans(folder), seconds=600
    )
    assert [check.name for check in found.checks] == ["WeightScreen", "MMBD"]
    assert found.answer is Answer.SUSPICIOUS


def test_an_estimator_by_queries(tmp_path: Path) -> None:
    x, y = rows(400)
    poisoned, labels = x.copy(), y.copy()
    poisoned[:40, 0, -1, -2:], labels[:40] = 1, 2
    for name, part, own in (("bad", poisoned, labels), ("clean", x, y)):
        joblib.dump(LogisticRegression(C=10).fit(part.reshape(400, -1), own), tmp_path / f"{name}.joblib")
    arch = LogisticRegression(C=10)
    found = inspect(tmp_path / "bad.joblib", rows(600, 1), arch=arch, train=References(9, rows=100), seconds=600)
    assert [check.name for check in found.checks] == ["PatchSweep"]
    assert found.suspects[0].index == 2
    assert found.suspects[0].rate > 0.5
    alone = inspect(tmp_path / "clean.joblib", rows(600, 1), seconds=600)
    assert alone.answer is Answer.UNCALIBRATED
    assert "give --arch with an unfitted one" in alone.notes[0]


def test_a_repair_is_chosen_by_clean_rows_and_recovered_triggers(folder: Path, backdoored: Inspection) -> None:
    fixed, out = backdoored.repaired, folder / "fixed.safetensors"
    assert fixed is not None
    assert fixed.before.rate > 0.9
    allowed = [one for one in fixed.candidates if one.accuracy >= fixed.before.accuracy - 0.05]
    chosen = next(one for one in allowed if one.name == fixed.chosen)
    least = min(one.rate for one in allowed)
    assert chosen.accuracy == max(one.accuracy for one in allowed if one.rate <= least + 0.02)
    assert chosen.rate <= least + 0.02
    assert chosen.rate < fixed.before.rate - 0.1
    assert sorted(load_file(out)) == ["1.bias", "1.weight"]
    assert not torch.equal(load_file(out)["1.weight"], load_file(folder / "bad.safetensors")["1.weight"])
    with pytest.raises(FileError, match="which exists"):
        inspect(folder / "bad.safetensors", rows(400), arch=network, train=NONE, repair=out, seconds=0.01)


def test_numbers_that_are_undefined_are_null_in_json(backdoored: Inspection) -> None:
    """Without a recovered trigger, the rate before the repair is undefined; it was once written as NaN, which is no JSON."""
    repair = Repaired(Candidate("before", 0.5, math.nan), (Candidate("NAD", 0.4, math.nan),))
    said = json.loads(json.dumps(document(replace(backdoored, repaired=repair)), allow_nan=False))
    assert said["repair"]["before"]["rate"] is None
    assert said["repair"]["tried"][0]["clean_accuracy"] is None


def test_what_cannot_be_done_is_one_line(folder: Path) -> None:
    bad = folder / "bad.safetensors"
    with pytest.raises(ScenarioError, match="seconds > 0"):
        inspect(bad, seconds=0)
    with pytest.raises(DataError, match="50 clean rows for a repair, got 0"):
        inspect(bad, arch=network, shape=(1, SIDE, SIDE), train=NONE, repair=folder / "new.safetensors")
    with pytest.raises(DataError, match="at least 4 clean rows, got 3"):
        inspect(bad, rows(3), arch=network)
    joblib.dump(LogisticRegression().fit(rows(40)[0].reshape(40, -1), rows(40)[1]), folder / "m.joblib")
    with pytest.raises(NotApplicable, match="a torch network to repair, got tensors without an architecture"):
        inspect(bad, repair=folder / "new.safetensors")
    with pytest.raises(NotApplicable, match="a torch network to repair, got scikit-learn model"):
        inspect(folder / "m.joblib", rows(400), train=NONE, repair=folder / "new.safetensors")


def test_rows_are_divided_into_disjoint_balanced_parts() -> None:
    x, y = np.arange(1000.0)[:, None], np.repeat([0, 1], [900, 100])
    parts = divided(Dataset(x, y, ("a", "b")), Streams(0))
    numbers = np.concatenate([part.x[:, 0] for part in (parts.probes, parts.held_out, parts.rest)])
    assert sorted(numbers.tolist()) == list(range(1000))
    assert np.bincount(parts.probes.y).tolist() == [32, 32]
    assert np.bincount(parts.probes.y[:24]).tolist() == [12, 12]


def test_several_models_at_once_give_the_same_numbers() -> None:
    data = Dataset(*rows(40), ("0", "1", "2", "3"))
    made = [trainers(network, Training(epochs=2), data, Streams(0), range(3)) for _ in range(2)]
    together = at_once(lambda make: make().vector, made[0])  # type: ignore[attr-defined]
    apart = [make().vector for make in made[1]]  # type: ignore[attr-defined]
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(together, apart, strict=True))
    assert not torch.allclose(together[0], together[1])
    before = torch.get_num_threads()
    assert at_once(lambda _: torch.get_num_threads(), [1, 2]) in ([1, 1], [before, before])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("own", "others", "n", "alike"),
    [(0.9, [0.88, 0.9], 500, True), (0.9, [0.7, 0.72], 500, False), (0.9, [0.8], 30, True), (0.9, [], 500, True)],
    ids=["near", "far", "few-rows", "no-references"],
)
def test_accuracies_tell_whether_references_are_alike(own: float, others: list[float], n: int, alike: bool) -> None:
    assert (unlike(own, others, n) == "") is alike


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine.py").write_text(
        "from torch import nn\n\ndef make(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))\n"
    )
    monkeypatch.syspath_prepend(folder)
    given = [part for path in cleans(folder) for part in ("--reference", str(path))]
    common = ["--data", str(folder / "rows.npz"), "--arch", "mine:make", "--time", "10m"]
    bad = str(folder / "bad.safetensors")
    code = run(["inspect", bad, *common, *given, "--out", str(folder / "out")])
    said = capsys.readouterr().out
    assert code == 1
    assert "SUSPICIOUS: class 2; p = 0.2, from 4 clean reference models" in said.replace("\n", " ")
    place = folder / "out" / "trigger-class-2"
    assert (place / "trigger.png").stat().st_size > 0
    assert load_trigger(place)(rows(1)[0])[0, 0, -1, -1] > 0.3
    assert json.loads((folder / "out" / "inspection.json").read_text())["answer"] == "suspicious"
    assert run(["inspect", bad, *common, "--references", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "uncalibrated"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--time", "soon"], "--time such as 60s, 5m or 1h"),
        (["--shape", "1,-2"], "--shape of whole numbers"),
        (["--data", "rows.csv"], "--label, the column with the class"),
        (["--training", "[1]"], "--training as a mapping"),
        (["--training", "{epoch: 6}"], "a field of Training, got 'epoch'"),
    ],
)
def test_mistakes_of_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run(["inspect", str(folder / "bad.safetensors"), *arguments]) in (2, 4)
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
