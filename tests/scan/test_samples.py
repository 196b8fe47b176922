"""One regression test per published bypass: the sample fires in its real loader, the scan finds it and never fires it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import antivenom.scan
from antivenom.scan import Limits, Status, scan
from antivenom.scan.samples import SAMPLES, Sample

HERE = Path(__file__).parent
SOURCE = Path(antivenom.scan.__file__).parents[2]
Made = dict[str, tuple[Path, Path]]

# What the scan cannot tell to be unsafe, and why that is the right answer.
CANNOT_TELL = {
    "parse/import-only": "the module may be anybody's, and nothing of it is called",
    "nesting/7z": "py7zr is no dependency, and what the archive holds was not looked at",
    "format/onnx-custom-domain": "the operation's code is not in the file",
    "format/safetensors-overlap": "a header that lies is no code",
    "format/safetensors-beyond": "a header that lies is no code",
    "format/safetensors-hole": "a header that lies is no code",
    "format/safetensors-header-length": "not the format that its name says",
}
# What checks import when they first meet such a file: parsers, of which some may be missing, and the standard library.
PARSERS = {"lz4", "py7zr", "compression", "h5py", "jinja2"}
STANDARD = {
    *("binascii", "numbers", "pprint", "zipfile", "importlib._abc", "importlib.readers", "importlib.util"),
    *("importlib.resources._itertools", "importlib.resources.readers", "glob", "resource"),
    *(
        "encodings.cp437",
        "encodings.raw_unicode_escape",
        "encodings.unicode_escape",
        "encodings.utf_8_sig",
        "encodings.utf_16_le",
    ),
}


def _usable(sample: Sample) -> bool:
    return all(importlib.util.find_spec(package) for package in sample.packages)


def _make(folder: Path) -> Made:
    made = {}
    for number, sample in enumerate(SAMPLES):
        if _usable(sample):
            marker = folder / f"marker{number}"
            made[sample.name] = (sample.make(folder, marker), marker)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return _make(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bool, str]]:
    """Whether each sample made its marker, and what the loader said: all of them loaded by one other process."""
    folder = tmp_path_factory.mktemp("fired")
    loaders = {sample.name: sample.loader for sample in SAMPLES}
    table = {
        name: (loaders[name], str(path), str(marker)) for name, (path, marker) in _make(folder).items() if loaders[name]
    }
    (folder / "table.json").write_text(json.dumps(table))
    _run("fire.py", folder / "table.json", folder / "fired.json")
    return {name: tuple(found) for name, found in json.loads((folder / "fired.json").read_text()).items()}


def _run(script: str, *arguments: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(SOURCE)}
    subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        check=True,
        env=environment,
        cwd=arguments[-1].parent,
    )


def _each(condition: Callable[[Sample], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sample", [pytest.param(s, id=s.name) for s in SAMPLES if condition(s)])


@_each(lambda sample: bool(sample.loader))
def test_its_real_loader_fires_it(sample: Sample, fired: dict[str, tuple[bool, str]]) -> None:
    if sample.name not in fired:
        pytest.skip(f"needs {' '.join(sample.packages)}")
    done, error = fired[sample.name]
    assert done == (sample.fires is True), error


@_each(lambda sample: True)
def test_the_scan_finds_it_and_does_not_fire_it(sample: Sample, made: Made) -> None:
    if sample.name not in made:
        pytest.skip(f"needs {' '.join(sample.packages)}")
    path, marker = made[sample.name]
    report = scan(path)
    assert not marker.exists()
    assert report.status is (Status.UNKNOWN if sample.name in CANNOT_TELL else Status.UNSAFE), report
    assert "scan-error" not in {finding.rule for finding in report.findings}


def test_scanning_imports_runs_writes_and_starts_nothing(made: Made, tmp_path: Path) -> None:
    (tmp_path / "paths.json").write_text(json.dumps([str(path) for path, _ in made.values()]))
    _run("watch_scan.py", tmp_path / "paths.json", tmp_path / "seen.json")
    first, again = json.loads((tmp_path / "seen.json").read_text())
    imported = {
        name for event, name in first if event == "import" and name.partition(".")[0] not in PARSERS | {"antivenom"}
    }
    assert imported <= STANDARD
    assert {event for event, _ in first} <= {
        "import",
        "exec",
        "compile",
        "marshal.loads",
    }  # all of which an import does
    # A missing parser is looked for again. ast.literal_eval asks for a tree, never for code, under the name <unknown>.
    assert {event for event, what in again if (event, what) != ("compile", "<unknown>")} <= {"import"}
    assert {name.partition(".")[0] for event, name in again if event == "import"} <= PARSERS
    assert not any(marker.exists() for _, marker in made.values())


def test_every_sample_says_where_it_comes_from_and_is_made_twice_alike(tmp_path: Path) -> None:
    assert len({sample.name for sample in SAMPLES}) == len(SAMPLES)
    assert all(sample.reference and sample.fires for sample in SAMPLES)


def test_ten_million_opcodes_end_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "many.pkl"
    path.write_bytes(b"\x80\x04" + b"N0" * 500_000 + b"N.")
    (finding,) = scan(path, limits=Limits(opcodes=200_000)).findings
    assert (finding.rule, finding.name) == ("limit", "opcodes")


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/guide/safe-use.md"])
def test_documents_state_the_number_of_samples(page: str) -> None:
    found = re.findall(r"(\d+) inert\s+(?:samples|files)", (HERE.parents[1] / page).read_text("utf-8"))
    assert found
    assert {int(number) for number in found} == {len(SAMPLES)}
