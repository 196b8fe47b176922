"""Detection, false alarms and time of the scan beside those of picklescan, modelscan, fickling and modelaudit.

    python benchmarks/scan/compare.py [--work FOLDER] [--most 40]

Makes the benign corpora (corpora.py, of the libraries that are installed here) and the inert samples in FOLDER, installs each
tool from PyPI into an environment of its own there, runs every one over the same files in a process of its own, one
file after another by its Python interface, and writes RESULTS.md. At most `--most` files of a corpus, evenly spaced, since
some tools take seconds for a file; the scan itself is also run over all.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import corpora
import scanner
from scipy.stats import beta

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
Rows = dict[str, list[dict[str, object]]]  # corpus -> a line per file


def clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    """The exact two-sided 95 % interval of a share."""
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return low, high


def make_samples(folder: Path) -> dict[str, str]:
    """The inert samples by family; what could not be made and why."""
    from antivenom.scan.samples import SAMPLES

    missing: dict[str, str] = {}
    for sample in SAMPLES:
        home = folder / sample.name.partition("/")[0]
        home.mkdir(parents=True, exist_ok=True)
        try:
            sample.make(home, folder / "marker-that-no-scan-makes")
        except ImportError as error:
            missing[sample.name] = str(error)
    return missing


def files_of(folder: Path, most: int | None) -> dict[str, list[str]]:
    """Per corpus its files, at most so many, evenly spaced."""
    found: dict[str, list[str]] = {}
    for corpus in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(str(path) for path in corpus.rglob("*") if path.is_file())
        step = 1 if most is None else max(1.0, len(files) / most)
        found[corpus.name] = [files[int(i * step)] for i in range(min(len(files), int(len(files) / step)))]
    return found


def environment(name: str, envs: Path) -> tuple[str, dict[str, str]]:
    """The interpreter with a tool of PyPI and without our paths; our own for the scan."""
    package, requirements, _ = scanner.SCANNERS[name]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PROMPTFOO_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    if not package:
        return sys.executable, {**settings, "PYTHONPATH": str(SOURCE)}
    settings.pop("PYTHONPATH", None)
    python = envs / package / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(envs / package)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)
    return str(python), settings


def version(python: str, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def run(name: str, files: dict[str, list[str]], envs: Path, seconds: float) -> tuple[Rows, str]:
    """A tool's lines per corpus, and its version."""
    package = scanner.SCANNERS[name][0]
    python, settings = environment(name, envs)
    with tempfile.TemporaryDirectory() as folder:
        listed, out = Path(folder) / "files.json", Path(folder) / "out.jsonl"
        dealt = itertools.zip_longest(
            *files.values()
        )  # in turn, so that a tool that runs out of time has seen all corpora
        listed.write_text(json.dumps([file for round_ in dealt for file in round_ if file]))
        command = [python, str(HERE / "scanner.py"), name, str(listed), str(out), "--seconds", str(seconds)]
        subprocess.run(command, check=True, env=settings, cwd=folder)
        lines = {line["path"]: line for line in map(json.loads, out.read_text().splitlines())}
    rows = {corpus: [lines[file] for file in group if file in lines] for corpus, group in files.items()}
    return rows, version(python, package) if package else importlib.metadata.version("antivenom")


def by_sample(rows: Rows, folder: Path) -> Rows:
    """One line per sample: the worst verdict on its files, and the time of all, since some samples are folders."""
    worst = ("flag", "other", "error", "clean")
    merged: Rows = {}
    for family, lines in rows.items():
        groups: dict[str, list[dict[str, object]]] = {}
        for line in lines:
            groups.setdefault(Path(str(line["path"])).relative_to(folder / family).parts[0], []).append(line)
        merged[family] = [
            {
                "verdict": min((str(line["verdict"]) for line in group), key=worst.index),
                "cpu": sum(float(str(line["cpu"])) for line in group),
            }
            for group in groups.values()
        ]
    return merged


def share(lines: list[dict[str, object]], verdicts: Iterable[str]) -> int:
    return sum(line["verdict"] in verdicts for line in lines)


def cell(lines: list[dict[str, object]]) -> str:
    """Flagged of n, in brackets anything but clean."""
    if not lines:
        return "not run"
    flagged, odd = share(lines, ("flag",)), share(lines, ("flag", "other", "error"))
    broken = share(lines, ("error",))
    return f"{flagged} ({odd}) / {len(lines)}" + (f", {broken} errors" if broken else "")


def interval(lines: list[dict[str, object]], verdicts: tuple[str, ...]) -> str:
    hits = share(lines, verdicts)
    low, high = clopper_pearson(hits, len(lines))
    return f"{100 * hits / len(lines):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def time_cell(lines: list[dict[str, object]]) -> str:
    spent = sorted(float(str(line["cpu"])) for line in lines)
    return f"{statistics.median(spent):.2f}, {spent[int(0.95 * (len(spent) - 1))]:.1f}, {spent[-1]:.0f}"


def table(title: str, results: dict[str, Rows], truth: str) -> list[str]:
    """One row per tool over everything, then one per corpus and tool."""
    names = list(results)
    rows = [f"## {title}", ""]
    rows += [f"| tool | {truth} | 95 % | anything but clean | 95 % | CPU ms: median, p95, max |", "| --- " * 6 + "|"]
    for name in names:
        lines = [line for group in results[name].values() for line in group]
        if not lines:
            continue
        odd = ("flag", "other", "error")
        flagged, rest = share(lines, ("flag",)), share(lines, odd)
        first, second = interval(lines, ("flag",)), interval(lines, odd)
        rows.append(f"| {name} | {flagged} / {len(lines)} | {first} | {rest} | {second} | {time_cell(lines)} |")
    corpus_names = list(results[names[0]])
    rows += ["", "Per corpus, flagged (anything but clean) / n:", ""]
    rows += ["| corpus | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    rows += [
        f"| {corpus} | " + " | ".join(cell(results[name].get(corpus, [])) for name in names) + " |"
        for corpus in corpus_names
    ]
    return [*rows, ""]


def all_of_ours(rows: Rows) -> list[str]:
    lines = [line for group in rows.values() for line in group]
    found = ["## The scan over all benign files", ""]
    found += [
        "| corpus | n | unsafe | 95 % | anything but safe | 95 % | CPU ms: median, p95, max |",
        "| --- " * 7 + "|",
    ]
    for name, group in [*rows.items(), ("**everything**", lines)]:
        odd = ("flag", "other", "error")
        counts = [
            len(group),
            share(group, ("flag",)),
            interval(group, ("flag",)),
            share(group, odd),
            interval(group, odd),
        ]
        found.append(f"| {name} | " + " | ".join(map(str, counts)) + f" | {time_cell(group)} |")
    return [*found, ""]


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    return f"{model or platform.machine()}, {os.cpu_count()} cores, {platform.system()}, CPython {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="keeps corpora and environments; a temporary folder if absent")
    parser.add_argument("--envs", type=Path, help="environments of the tools; WORK/envs if absent")
    parser.add_argument("--most", type=int, default=40, help="files of a corpus that all tools are run over")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="for one tool; what it did not get to is not counted"
    )
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    envs = options.envs or work / "envs"
    sys.path.insert(0, str(SOURCE))
    benign, malicious = work / "benign", work / "malicious"
    if not benign.exists():
        missing = corpora.write(benign, corpora.CORPORA)
        (work / "made.json").write_text(json.dumps({"versions": corpora.versions(), "not built": missing}))
    shutil.rmtree(malicious, ignore_errors=True)
    unmade = make_samples(malicious)
    made = json.loads((work / "made.json").read_text())
    kept, samples = files_of(benign, options.most), files_of(malicious, None)
    found, alarms, versions = {}, {}, {}
    for name in scanner.SCANNERS:
        print(name, flush=True)
        lines, versions[name] = run(name, samples, envs, options.seconds)
        found[name] = by_sample(lines, malicious)
        alarms[name], _ = run(name, kept, envs, options.seconds)
    everything, _ = run("antivenom", files_of(benign, None), envs, options.seconds)
    left_out = {name: what for name, what in made["not built"].items() if what}
    text = [
        *(
            (HERE / "FINDINGS.md").read_text().splitlines()
            if (HERE / "FINDINGS.md").exists()
            else ["# The scan, measured"]
        ),
        "",
        *table("Detection: our own inert samples", found, "flagged"),
        *table("False alarms: benign files", alarms, "flagged"),
        *all_of_ours(everything),
        "## How",
        "",
        f"- Machine: {machine()}. Other work may have shared it.",
        "- Command: `python benchmarks/scan/compare.py`"
        f" (at most {options.most} files of a benign corpus for the comparison, {options.seconds:.0f} s for a tool).",
        "- Tools: "
        + ", ".join(sorted({f"{name.partition(',')[0]} {number}" for name, number in versions.items()}))
        + ".",
        "- Libraries that wrote the files: " + ", ".join(f"{k} {v}" for k, v in made["versions"].items()) + ".",
        f"- Samples: {sum(map(len, found['antivenom'].values()))}; one that is a folder counts by the worst of its files"
        + (f"; not made here: {', '.join(unmade)}" if unmade else "")
        + ".",
        "- Not built: "
        + ("; ".join(f"{name}: {', '.join(what)}" for name, what in left_out.items()) or "nothing")
        + ".",
        "- `flag` is what a tool itself calls an issue (exit code 1 of modelaudit, severity above LIKELY_SAFE of fickling);"
        " suspicious, skipped, not scanned and errors are in the brackets only. Intervals are Clopper-Pearson, two-sided.",
        "- Time is CPU time for a file in one process by the tool's Python interface, after one file that is not counted.",
        "",
    ]
    options.out.write_text("\n".join(text))
    totals = Counter(str(line["verdict"]) for group in everything.values() for line in group)
    print(f"benign: {dict(totals)}; written to {options.out}")


if __name__ == "__main__":
    main()
