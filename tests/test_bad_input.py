"""Bad input, end to end: one line that says expected, got, remedy; the right exit code; nothing lost that was written."""

from __future__ import annotations

import contextlib
import gzip
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from antivenom.auditing.workers import start_early
from antivenom.cli import run

FEDERATED = """
version: 1
seeds: 1
scenarios:
  - kind: federated
    model: {name: MLP, hidden: [8]}
    federation: {num_agents: 5, rounds: 1, training: {epochs: 1}}
"""
CENTRAL = """
version: 1
seeds: 1
scenarios:
  - kind: central
    model: {name: MLP, hidden: [8]}
    training: {epochs: 1}
"""


def audited(folder: Path, text: str, *options: str) -> int:
    (folder / "s.yaml").write_text(text)
    return run(["audit", str(folder / "s.yaml"), "--out", str(folder / "out"), "--jobs", "1", *options])


def records(folder: Path) -> list[dict]:  # type: ignore[type-arg]
    lines = (folder / "out" / "records.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "trial"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 1\nscenarios: [\n", "line 3"),
        ("- a\n- b\n", "expected"),
        ("", "expected"),
        (FEDERATED.replace("num_agents", "num_agent"), "line 7, scenarios[0].federation.num_agent: "),
        (FEDERATED.replace("federated", "federatd"), "did you mean 'federated'"),
        (FEDERATED.replace("MLP", "MPL"), "did you mean 'MLP'"),
        (FEDERATED.replace("num_agents: 5", "num_agents: five"), "line 7"),
        (
            FEDERATED.replace("num_agents: 5", "num_agents: 5, num_malicious: 6"),
            "num_malicious from 0 to num_agents = 5",
        ),
        (FEDERATED + "    wanted: {name: FromTo, source: 3, target: 3}\n", "FromTo.source and target that differ"),
        (FEDERATED.replace("seeds: 1", "seeds: 0"), "seeds: a number from 1 to 10000"),
        (FEDERATED.replace("seeds: 1", "fail_if: {backdor: 0.1}"), "did you mean 'backdoor'"),
        (
            CENTRAL + "    attacks: [{name: LabelFlipping, poisoned_rate: 2}]\n",
            "LabelFlipping.poisoned_rate from 0 to 1",
        ),
        (CENTRAL + "    defences: [KNNSanitiser]\n", "did you mean 'KNNSanitizer'"),
        (CENTRAL + "    deployed: Krum\n", "deployed: none or the name of one of"),
        (FEDERATED + "    defences: [{name: Krum, f: 2}]\n", "n >= 2f + 3 updates for Krum with f = 2, got n = 5"),
        (FEDERATED + "    wanted: {name: FromTo, source: 12}\n", "source from 0 to 9"),
        (CENTRAL + "    wanted: 10\n", "target from 0 to 9"),
        (CENTRAL + "    name: !!python/object/apply:os.system [id]\n", "expected"),
    ],
)
def test_a_wrong_scenario_is_refused_before_anything_runs(tmp_path: Path, text: str, said: str, capsys) -> None:
    assert audited(tmp_path, text) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert said in err
    assert ": " in err.split(", got ")[-1], "no remedy"
    assert not (tmp_path / "out").exists()


NARROW = '''
from torch import nn
from antivenom import architecture
@architecture(cite="none")
class Narrow:
    """Three outputs, whatever the classes."""
    def __call__(self, shape, num_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
'''


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FEDERATED.replace("num_agents: 5", "num_agents: 5000"), "5000"),
        (FEDERATED + "    train_rows: 99999\n", "train rows"),
        (CENTRAL.replace("MLP, hidden: [8]", "FashionCNN"), "images of at least 9x9"),
        (
            CENTRAL.replace("MLP, hidden: [8]", "RandomForest, n_estimators: 0") + "    data: breast-cancer\n",
            "n_estimators",
        ),
    ],
)
def test_a_scenario_that_does_not_suit_its_data_is_refused_before_anything_runs(
    tmp_path: Path, text: str, said: str, capsys
) -> None:
    assert audited(tmp_path, text) in (2, 4)
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert said in err
    assert "s.yaml line " in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (CENTRAL.replace("MLP, hidden: [8]", "Narrow"), "error", "a model with 10 outputs, one per class"),
        (
            CENTRAL + "    attacks: [{name: BadNets, poisoned_rate: 0.5}]\n    max_poisoned_rate: 0.1\n",
            "error",
            "at most 115 poisoned rows",
        ),
    ],
)
def test_what_shows_only_in_a_trial_is_a_record_and_the_rest_goes_on(
    tmp_path: Path, text: str, status: str, said: str, plugins: None
) -> None:
    plugin = tmp_path / f"{tmp_path.name}.py"
    plugin.write_text(NARROW)
    code = audited(tmp_path, text, "--plugin", str(plugin))
    found = [record for record in records(tmp_path) if record["status"] == status]
    assert found
    assert all(said in record["error"] and "\n" not in record["error"] for record in found)
    assert code == 2  # half of the trials failed or all of them, and a tenth may
    assert said.split(",")[0].replace(">", "&gt;") in (tmp_path / "out" / "report.html").read_text()


def test_a_class_that_some_shard_lacks_is_a_note_and_no_failure(tmp_path: Path) -> None:
    text = FEDERATED.replace("rounds: 1,", "rounds: 1, partition: {name: Dirichlet, beta: 0.05},")
    assert audited(tmp_path, text) == 0
    (record,) = records(tmp_path)
    assert record["status"] == "ok"
    assert "no rows of" in record["notes"][0] or "without" in record["notes"][0], record["notes"]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of one's own, and no other."""
    monkeypatch.setenv("ANTIVENOM_DATA", str(tmp_path / "shelf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ANTIVENOM_OFFLINE", "1")
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


def test_an_absent_file_is_named_with_the_places_looked_in(tmp_path: Path, shelf: Path, capsys) -> None:
    assert audited(tmp_path, CENTRAL + "    data: spambase\n    trigger: Stamp\n") == 2
    error = capsys.readouterr().err.rstrip("\n")
    assert "s.yaml line 8, scenarios[0].data: " in error
    assert "spambase" in error
    assert str(shelf) in error
    assert "\n" not in error


def test_nan_in_a_data_file(tmp_path: Path, shelf: Path, capsys) -> None:
    rows = np.random.default_rng(0).random((4601, 58))
    rows[:, -1] = rows[:, -1] > 0.5
    lines = [",".join(map(str, row)) for row in rows]
    lines[7] = lines[7].replace(lines[7].split(",")[3], "nan", 1)
    for place in (shelf, shelf / "spambase"):
        place.mkdir(exist_ok=True)
        (place / "spambase.data").write_text("\n".join(lines) + "\n")
    assert audited(tmp_path, CENTRAL + "    data: spambase\n    trigger: Stamp\n") == 2
    error = capsys.readouterr().err.rstrip("\n")
    assert "s.yaml line 8, scenarios[0].data: expected" in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b\x08", gzip.compress(b"\x00\x00\x08\x03\x00\x00", mtime=0), b"not gzip at all"]
)
def test_a_truncated_or_unreadable_data_file(tmp_path: Path, shelf: Path, content: bytes, capsys) -> None:
    from antivenom.data import DATASETS

    for source in DATASETS["mnist"].files:
        for place in (shelf / source.filename, shelf / "mnist" / source.filename):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    assert audited(tmp_path, CENTRAL + "    data: mnist\n") == 2
    error = capsys.readouterr().err.rstrip("\n")
    assert "s.yaml line 8, scenarios[0].data: expected" in error
    assert "\n" not in error
    assert "Traceback" not in error


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_loses_nothing_that_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file size limit stands in for the disk: the same errno family, at a chosen byte."""
    text = FEDERATED.replace("seeds: 1", "seeds: 4")
    start_early(1, "cpu")  # so that the server of the workers, which serves other tests too, has no such limit
    with files_of_at_most(7000):
        assert audited(tmp_path, text) == 2
    said = capsys.readouterr().err
    assert said.strip().splitlines()[-1].startswith("antivenom: ")
    assert "Traceback" not in said
    whole = [line for line in (tmp_path / "out" / "records.jsonl").read_bytes().split(b"\n") if line.endswith(b"}")]
    before = [json.loads(line)["key"] for line in whole if b'"type":"trial"' in line]
    assert 0 < len(before) < 4
    assert audited(tmp_path, text, "--json") == 0
    assert json.loads(capsys.readouterr().out)["trials"]["ok"] == 4
    after = [record["key"] for record in records(tmp_path)]
    assert sorted(after) == sorted(set(after))
    assert set(before) < set(after)
