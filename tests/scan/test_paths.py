"""Paths, processes, baselines, output and the command line of the scan."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from model_files import Runs

from antivenom.cli import run
from antivenom.core.errors import ScanError
from antivenom.scan import RULES, Limits, Report, Status, allow_list, files, scan
from antivenom.scan.baseline import Accepted, read_baseline, without, write_baseline
from antivenom.scan.findings import FileReport
from antivenom.scan.limits import LimitReached, Meter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A safe, an unsafe and an unreadable kind of file, one of them in a folder within."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "fine.bin").write_bytes(pickle.dumps([1]))
    (tmp_path / "inner" / "evil.txt").write_bytes(pickle.dumps(Runs(os.system, "true")))
    (tmp_path / "odd.pkl").write_bytes(b"\x01\x02\x03\x04")
    return tmp_path


def test_a_folder_is_walked_and_the_worst_file_decides(folder: Path) -> None:
    report = scan(folder)
    assert [Path(file.path).name for file in report.files] == ["fine.bin", "odd.pkl", "evil.txt"]
    assert [file.status for file in report.files] == [Status.SAFE, Status.UNKNOWN, Status.UNSAFE]
    assert (report.status, report.exit_code) == (Status.UNSAFE, 1)
    assert scan(folder, jobs=2).files == report.files


def test_what_cannot_be_read_is_an_error_and_never_safe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    report = scan(tmp_path)
    assert [bool(file.error) for file in report.files] == [True, True]
    assert (report.status, report.exit_code) == (Status.UNKNOWN, 2)
    (tmp_path / "empty").mkdir()
    assert scan(tmp_path / "empty").exit_code == 5
    with pytest.raises(ScanError, match="which does not exist"):
        scan(tmp_path / "nothing")


def test_importing_the_scan_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, antivenom.scan; sys.exit(bool({'torch', 'numpy', 'yaml', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("names", "code"), [(["fine.bin"], 0), (["fine.bin", "inner"], 1), (["odd.pkl"], 3), (["missing"], 4)]
)
def test_exit_codes(folder: Path, names: list[str], code: int) -> None:
    assert run(["scan", "--quiet", *(str(folder / name) for name in names)]) == code


def test_the_table_names_what_why_and_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scan", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "calls posix.system('true')" in " ".join(out.split())
    assert RULES["pickle-global"].remedy in " ".join(out.split())
    assert out.splitlines()[-1] == "3 files: 1 unsafe, 1 cannot tell, 1 safe"


def test_json_and_standard_input(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((folder / "inner" / "evil.txt").read_bytes())))
    assert run(["scan", "-", "--format", "json"]) == 1
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["path"], file["findings"][0]["name"]) == ("-", "posix.system")


def test_sarif_has_a_rule_a_place_and_a_level_for_each_result(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scan", str(folder), "--format", "sarif"]) == 1
    sarif = json.loads(capsys.readouterr().out)
    (only,) = sarif["runs"]
    rules = only["tool"]["driver"]["rules"]
    assert sarif["version"] == "2.1.0"
    assert {result["level"] for result in only["results"]} == {"error", "warning"}
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith(str(folder))


def test_a_baseline_accepts_this_content_and_no_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baseline = folder.parent / "baseline.json"
    assert run(["scan", str(folder), "--write-baseline", str(baseline)]) == 0
    assert run(["scan", str(folder), "--baseline", str(baseline)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "3 files: 2 accepted, 1 safe; 3 accepted by the baseline"
    (folder / "inner" / "evil.txt").write_bytes(pickle.dumps(Runs(os.system, "false")))
    assert run(["scan", str(folder), "--baseline", str(baseline)]) == 1
    baseline.write_text("{}")
    assert run(["scan", str(folder), "--baseline", str(baseline)]) == 4


def test_the_time_limit_covers_the_digest_and_leaves_nothing_to_accept(tmp_path: Path) -> None:
    with (tmp_path / "sparse.bin").open("wb") as file:
        file.truncate(4 << 30)
    (report,) = scan(tmp_path, limits=Limits(seconds=0.1)).files
    assert [finding.rule for finding in report.findings] == ["unknown-format", "limit"]
    assert report.sha256 == ""
    write_baseline(tmp_path / "accepted", Report((report,)))
    assert read_baseline(tmp_path / "accepted") == ()
    assert without(Report((report,)), [Accepted("", "limit", "", report.findings[1].what)]).findings == report.findings


def test_waiting_does_not_count_as_time() -> None:
    meter = Meter(Limits(seconds=0.05))
    time.sleep(0.1)
    meter.tick()
    with pytest.raises(LimitReached):
        deque(iter(meter.tick, "never"), maxlen=0)


def bill(folder: Path, *options: str) -> dict[str, Any]:
    out = folder.parent / f"{folder.name}.json"
    run(["scan", str(folder), "--bom", str(out), "--quiet", *options])
    return json.loads(out.read_text())


def test_a_bill_of_materials_has_hashes_formats_licences_and_findings(folder: Path) -> None:
    (folder / "README.md").write_text("---\ntags: &a [x]\nlicense: apache-2.0\nmore: *a\n---\n# Model\nlicense: mit\n")
    content = bill(folder)
    fine, evil = (next(c for c in content["components"] if name in c["name"]) for name in ("fine", "evil"))
    digest = hashlib.sha256((folder / "fine.bin").read_bytes()).hexdigest()
    assert fine["type"] == evil["type"] == "machine-learning-model"
    assert fine["hashes"] == [{"alg": "SHA-256", "content": digest}]
    assert {"name": "antivenom:format", "value": "pickle"} in fine["properties"]
    assert fine["licenses"] == [{"license": {"name": "apache-2.0", "acknowledgement": "declared"}}]
    assert "licenses" not in evil  # it lies in another folder
    found = [each for each in content["vulnerabilities"] if each["affects"] == [{"ref": evil["bom-ref"]}]]
    assert found[0]["ratings"][0]["severity"] == "high"
    assert "os.system" in found[0]["detail"] or "posix.system" in found[0]["detail"]


@pytest.mark.parametrize("card", [b"---\n\xff: [", b"---\n- license\n---\n", b"", b"---\nlicense: [mit, other]\n---"])
def test_a_card_without_a_licence_gives_none(folder: Path, card: bytes) -> None:
    (folder / "README.md").write_bytes(card)
    assert not any("licenses" in each for each in bill(folder)["components"])


def test_the_bill_of_materials_fits_the_official_schema(folder: Path) -> None:
    validation = pytest.importorskip("cyclonedx.validation.json")
    from cyclonedx.schema import SchemaVersion

    accepted = folder.parent / f"{folder.name}.accepted"
    run(["scan", str(folder), "--write-baseline", str(accepted)])
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "new.pkl").write_bytes(pickle.dumps(Runs(os.system, "other")))
    content = bill(folder, "--baseline", str(accepted))
    assert {"not_affected", None} == {each.get("analysis", {}).get("state") for each in content["vulnerabilities"]}
    check = validation.JsonStrictValidator(SchemaVersion.V1_6)
    assert check.validate_str(json.dumps(content)) is None
    assert check.validate_str(json.dumps(content | {"components": [{}]})) is not None


def test_a_team_extends_the_list_with_notes(tmp_path: Path) -> None:
    (tmp_path / "own.pkl").write_bytes(b"\x80\x02cmyteam\nNet\n)\x81.")
    extra = tmp_path / "team.toml"
    extra.write_text('[[allow]]\nmodule = "myteam"\nnames = ["Net"]\nnote = "plain attributes only; A. Person"\n')
    assert scan(tmp_path / "own.pkl").exit_code == 3
    assert run(["scan", str(tmp_path / "own.pkl"), "--allow", str(extra), "-q"]) == 0
    extra.write_text('[[allow]]\nmodule = "myteam"\nnames = ["Net"]\n')
    with pytest.raises(ScanError, match="entries with module, names and note"):
        allow_list().extended([extra])


def test_files_that_change_under_the_scan_do_not_crash_it(tmp_path: Path) -> None:
    path = tmp_path / "large.pkl"
    path.write_bytes(b"\x80\x02(" + b"K\x01" * 2_000_000 + b"t.")
    descriptor = os.open(path, os.O_RDONLY)
    from antivenom.scan.files import scan_view
    from antivenom.scan.view import View

    view = View.of_file(descriptor)
    os.truncate(path, 1000)
    assert scan_view(view, "x").status is not Status.SAFE
    os.close(descriptor)


def dies_of_one(path: str) -> FileReport:
    if path.endswith("5"):
        os.kill(os.getpid(), signal.SIGKILL)
    return FileReport(path, "pickle", 1)


def test_a_file_that_kills_its_process_is_the_only_one_lost() -> None:
    paths = [str(i) for i in range(20)]  # chunks of two; 5 and 15 take a neighbour along, which is scanned again
    reports = list(files._each(dies_of_one, paths, 2))
    assert [report.path for report in reports] == paths
    assert [report.path for report in reports if report.error] == ["5", "15"]
    assert "the process that scanned it died" in reports[5].error


@pytest.mark.parametrize("name", ["multiprocessing", "pebble", "random", "antivenom"])
def test_nothing_in_the_folder_where_a_scan_is_started_is_imported(tmp_path: Path, name: str) -> None:
    folder, script = tmp_path / "downloads", tmp_path / "bin" / "antivenom"
    folder.mkdir()
    script.parent.mkdir()
    script.write_text(
        "import sys\nfrom antivenom.cli import run\nif __name__ == '__main__':\n    sys.exit(run(sys.argv[1:]))\n"
    )
    (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    for i in range(8):
        (folder / f"{i}.pkl").write_bytes(pickle.dumps([i]))
    arguments = [sys.executable, str(script), "scan", ".", "--jobs", "2", "--format", "json"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    assert not (tmp_path / "imported").exists()
    assert len(json.loads(done.stdout)["files"]) == 9, done.stderr


def test_ctrl_c_ends_the_scan_and_its_processes(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"{i}.pkl").write_bytes(b"\x80\x02(" + b"K\x01" * 200_000 + b"t.")
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from antivenom.cli import run; print('ready', flush=True); sys.exit(run(sys.argv[1:]))\n"
    )
    arguments = [sys.executable, "-c", code, "scan", str(tmp_path), "--jobs", "2", "-q"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr is not None
        assert "interrupted" in process.stderr.read()
