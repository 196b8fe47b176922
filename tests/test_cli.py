"""The command line as its users meet it: streams, formats, exit codes, and nothing heavy before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from antivenom.auditing.plan import embedded, plan_of
from antivenom.cli import run

TEXT = """
version: 1
name: a small audit
seeds: 2
{gate}
scenarios:
  - kind: federated
    federation: {{num_agents: 5, rounds: 3, training: {{epochs: 2, batch_size: 20, learning_rate: 0.01}}}}
    model: {{name: MLP, hidden: [16]}}
    attacks: [{{name: ExplicitBoosting, learning_rate: 0.02}}]
    defences: [Krum]
"""


def scenario(folder: Path, gate: str = "") -> str:
    path = folder / "scenario.yaml"
    path.write_text(TEXT.format(gate=gate))
    return str(path)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small audit has been run."""
    folder = tmp_path_factory.mktemp("audited")
    assert run(["audit", scenario(folder), "--out", str(folder / "out"), "--jobs", "1", "--quiet"]) == 0
    return folder


def again(folder: Path, *options: str, gate: str = "") -> int:
    return run(["audit", scenario(folder, gate), "--out", str(folder / "out"), "--jobs", "1", *options])


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, antivenom, antivenom.cli\n"
        "assert antivenom.cli.run(['--help']) == 0\n"
        "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'pydantic', 'matplotlib', 'yaml', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "audit" in done.stdout


@pytest.mark.parametrize(
    ("gate", "code"),
    [("", 0), ("fail_if: {targeted: 0.01}", 1), ("fail_if: {targeted: 0.5}", 3), ("limits: {targeted: 1.0}", 0)],
)
def test_the_exit_code_is_the_same_in_every_format(audited: Path, gate: str, code: int, capsys) -> None:
    for options in ([], ["--quiet"], ["--json"], ["-v"]):
        assert again(audited, *options, gate=gate) == code, options
    assert again(audited) == 0  # the gate changes the code, never the records
    assert (audited / "out" / "records.jsonl").read_text().count('"type":"trial"') == 8


def test_json_is_one_document_and_progress_goes_to_stderr(audited: Path, capsys) -> None:
    capsys.readouterr()
    assert again(audited, "--json") == 0
    caught = capsys.readouterr()
    document = json.loads(caught.out)
    assert document["trials"] == {
        "planned": 8,
        "ok": 8,
        "error": 0,
        "timeout": 0,
        "not-applicable": 0,
        "reused": 8,
        "run": 0,
        "missing": 0,
    }
    assert [level["level"] for level in document["levels"]][-1] == "federated"
    assert all(Path(file).is_file() for file in document["files"])
    assert caught.err == ""


def test_the_table_fits_80_columns_and_names_every_level(audited: Path, capsys) -> None:
    capsys.readouterr()
    assert again(audited) == 0
    out = capsys.readouterr().out
    paths = [line for line in out.splitlines() if str(audited) in line]
    assert len(paths) == 2
    assert max(len(line) for line in out.splitlines() if line not in paths) <= 80
    for level in ("logic-corruption", "data-manipulation", "data-injection", "transfer-learning", "federated"):
        assert level in out
    assert "Not measured: transfer-learning (no scenario for it)" in out
    assert "Exit 0: nothing is gated" in out
    assert "\x1b[" not in out
    assert not [line for line in out.splitlines() if line != line.rstrip()]


def test_quiet_is_one_line(audited: Path, capsys) -> None:
    capsys.readouterr()
    again(audited, "--quiet")
    caught = capsys.readouterr()
    assert caught.out.count("\n") == 1
    assert caught.out.endswith("exit 0\n")
    assert caught.err == ""


def test_dry_run_writes_nothing(tmp_path: Path, capsys) -> None:
    assert run(["audit", scenario(tmp_path), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "8 trials: 0 on disk, 8 to run" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_dry_run_counts_what_is_there(audited: Path, capsys) -> None:
    again(audited, "--dry-run", "--seeds", "3")
    assert "12 trials: 8 on disk, 4 to run" in capsys.readouterr().out


def test_report_is_written_again_from_the_records(audited: Path, capsys) -> None:
    page = audited / "out" / "report.html"
    again(audited, "--quiet")
    first = page.read_text()
    page.unlink()
    assert run(["report", str(audited / "out")]) == 0
    assert page.read_text() == first


def test_a_report_needs_nothing_that_trains(audited: Path) -> None:
    code = (
        "import sys\nfrom antivenom.cli import run\nassert run(['report', sys.argv[1]]) == 0\n"
        "heavy = {'torch', 'sklearn', 'scipy.stats', 'numba', 'pandas'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(audited / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_compare_with_itself_is_unchanged_in_every_format(audited: Path, capsys) -> None:
    out = str(audited / "out")
    again(audited, "--quiet")
    capsys.readouterr()
    assert run(["compare", out, f"{out}/records.jsonl"]) == 0
    assert "2 unchanged" in capsys.readouterr().out.splitlines()[0]
    assert run(["compare", out, out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["unchanged"] >= 1
    assert run(["compare", out, str(audited)]) == 2
    assert capsys.readouterr().err.endswith("no records.jsonl there: run antivenom audit first\n")


def test_init_writes_the_embedded_scenario_and_never_overwrites(tmp_path: Path, capsys) -> None:
    path = tmp_path / "mine.yaml"
    assert run(["init", str(path)]) == 0
    assert plan_of(path.read_text(), "mine.yaml").cells == plan_of(embedded(), "x").cells
    path.write_text("mine")
    assert run(["init", str(path)]) == 4
    assert path.read_text() == "mine"
    assert "choose another name or add --force" in capsys.readouterr().err
    assert run(["init", str(path), "--force"]) == 0
    assert path.read_text() == embedded()


def test_list_filters_and_speaks_json(capsys) -> None:
    assert run(["list", "attacks", "--access", "data-injection", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert "BadNets" in {row["name"] for row in rows}
    assert "LabelFlipping" not in {row["name"] for row in rows}
    assert run(["list", "data"]) == 0
    assert "breast-cancer" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Krum", "AlternatingMinimization", "KNNSanitizer", "adult", "SmallCNN"])
def test_show_tells_all_there_is(name: str, capsys) -> None:
    assert run(["show", name]) == 0
    out = capsys.readouterr().out
    assert name in out
    assert "Reference" in out or name == "adult"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["audit", "nowhere.yaml"], 4, "expected a readable scenario file at nowhere.yaml, got No such file"),
        (["audit", "--jobs", "-1"], 4, "-1"),
        (["audit", "--seeds", "0"], 4, "0"),
        (["audit", "--device", "tpu"], 4, "tpu"),
        (["show", "Krumm"], 4, "Krum"),
        (["list", "atacks"], 4, "attacks"),
        (["list", "--access", "root"], 4, "root"),
        (["report", "nowhere"], 2, "nowhere"),
        (["frobnicate"], 4, "frobnicate"),
        (["audit", "--plugin", "nowhere.py"], 4, "nowhere.py"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(arguments: list[str], code: int, message: str, capsys) -> None:
    assert run(arguments) == code
    caught = capsys.readouterr()
    assert message in caught.err
    assert caught.err.count("\n") == 1
    assert caught.out == ""


def test_a_crash_never_looks_like_a_breach(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def crash(path: Path | None) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("antivenom.auditing.plan.read_plan", crash)
    assert run(["audit"]) == 2
    assert "internal error, please report it: RuntimeError: boom" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [("audit --dry-run", 0), ("audit --data digits --dry-run", 0), ("list", 141), ("scan --format json .", 141)],
    ids=["scenario", "rows", "list", "json"],
)
def test_a_reader_that_leaves_does_not_choose_the_exit_code(arguments: str, code: int, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # sooner than `| head` can, so that the first line already finds nobody
    (tmp_path / "a.bin").write_bytes(b"\x80\x04.")
    command = [sys.executable, "-m", "antivenom", *arguments.split()]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (code, "")
