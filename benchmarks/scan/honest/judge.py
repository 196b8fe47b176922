"""The share of honest files that the scan does not call safe, for the half used to tune it and for the half kept apart.

    python benchmarks/scan/honest/judge.py FOLDER [--half tuned|kept] [--files]

FOLDER was written by make.py. A library is in the tuned half if the first byte of the SHA-256 digest of its name is even;
the rule was fixed before any file was scanned. `--files` lists every file that is not safe with its findings.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path

from scipy.stats import beta

from antivenom.scan import FileReport, Report, Status, scan

NOT_JUDGED = {Status.UNSAFE: 0.01, Status.UNKNOWN: 0.10}  # the bars


def half(library: str) -> str:
    return "kept" if hashlib.sha256(library.encode()).digest()[0] % 2 else "tuned"


def interval(hits: int, n: int) -> str:
    """A share with its exact two-sided 95 % interval (Clopper-Pearson)."""
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return f"{hits} / {n} = {100 * hits / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def scan_half(folder: Path, wanted: str) -> dict[str, Report]:
    """Library -> the report on its files."""
    libraries = sorted(path for path in folder.iterdir() if path.is_dir() and half(path.name) == wanted)
    return {path.name: scan(path) for path in libraries}


def print_files(files: list[FileReport]) -> None:
    for file in files:
        if file.status is not Status.SAFE:
            print(f"  {file.status}: {'/'.join(Path(file.path).parts[-3:])} ({file.format}) {file.error}")
            for finding in file.findings[:12]:
                print(f"      {finding.rule}: {finding.what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("tuned", "kept"), action="append")
    parser.add_argument("--files", action="store_true")
    options = parser.parse_args()
    for wanted in options.half or ("tuned", "kept"):
        reports = scan_half(options.folder, wanted)
        files = [file for report in reports.values() for file in report.files]
        print(
            f"\n{wanted}: {len(files)} files of {len(reports)} libraries\n\n| library | files | unsafe | cannot tell |\n| - | - | - | - |"
        )
        for library, report in reports.items():
            count = Counter(file.status for file in report.files)
            print(f"| {library} | {len(report.files)} | {count[Status.UNSAFE]} | {count[Status.UNKNOWN]} |")
        for status, bar in NOT_JUDGED.items():
            hits = sum(file.status is status for file in files)
            print(f"{status}: {interval(hits, len(files))}, bar {100 * bar:.0f} %")
        if options.files:
            print_files(files)


if __name__ == "__main__":
    main()
