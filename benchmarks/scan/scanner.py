"""One scanner over a list of files, in the interpreter that it is installed in: a verdict and milliseconds for each.

    python scanner.py NAME FILES.json OUT.jsonl [--seconds 600]

Verdicts are the tools' own: `flag` is what each calls an issue, `clean` is a scan without one, `other` is all between, as
suspicious, not scanned, cannot tell; `error` is an exception. Run by compare.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Scan = Callable[[str], str]


def antivenom(tier: str) -> Scan:
    from antivenom.scan import Limits, Tier, allow_list
    from antivenom.scan.files import scan_file

    verdicts, allow, limits = {"safe": "clean", "unsafe": "flag"}, allow_list(Tier(tier)), Limits()
    return lambda path: verdicts.get(scan_file(path, limits, allow).status.value, "other")


def picklescan(strict: bool) -> Scan:
    from picklescan.scanner import scan_file_path

    def scan(path: str) -> str:
        found = scan_file_path(path, strict=strict)
        if found.issues_count:
            return "flag"
        return "other" if found.scan_err or found.suspicious_count or not found.scanned_files else "clean"

    return scan


def modelscan() -> Scan:
    from modelscan.modelscan import ModelScan

    scanner = ModelScan()

    def scan(path: str) -> str:
        found = scanner.scan(path)
        summary = found["summary"]
        if summary["total_issues"]:
            return "flag"
        looked = summary["scanned"]["total_scanned"] and not summary["skipped"]["total_skipped"] and not found["errors"]
        return "clean" if looked else "other"

    return scan


def fickling() -> Scan:
    from fickling.analysis import Severity
    from fickling.loader import scan_file, scan_zip_archive

    def scan(path: str) -> str:
        archive = zipfile.is_zipfile(path)
        results = list(scan_zip_archive(path, True).values()) if archive else [scan_file(path, True)]
        whole = results and not any(result.errors for result in results)
        if any(result.severity > Severity.LIKELY_SAFE and not result.errors for result in results):
            return "flag"
        return "clean" if whole else "other"

    return scan


def modelaudit() -> Scan:
    from modelaudit.core import determine_exit_code, scan_model_directory_or_file

    def scan(path: str) -> str:
        return {0: "clean", 1: "flag"}.get(determine_exit_code(scan_model_directory_or_file(path, timeout=60)), "other")

    return scan


# name: (package, what is installed for it: with what its own readers of formats ask for, and how it is called)
SCANNERS: dict[str, tuple[str, tuple[str, ...], Callable[[], Scan]]] = {
    "antivenom": ("", (), lambda: antivenom("vetted")),
    "antivenom, tensors only": ("", (), lambda: antivenom("tensors")),
    "picklescan": ("picklescan", ("picklescan[7z]", "numpy"), lambda: picklescan(False)),
    "picklescan, strict": ("picklescan", ("picklescan[7z]", "numpy"), lambda: picklescan(True)),
    "modelscan": ("modelscan", ("modelscan[h5py]",), modelscan),
    "fickling": ("fickling", ("fickling", "typing_extensions"), fickling),
    "modelaudit": ("modelaudit", ("modelaudit",), modelaudit),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SCANNERS)
    parser.add_argument("files", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    scan = SCANNERS[options.name][2]()
    files = json.loads(options.files.read_text())
    with options.out.open("w") as out:
        began = time.perf_counter()
        for number, path in enumerate([files[0], *files]):  # the first once before, so that no import is timed
            if time.perf_counter() - began > options.seconds:
                break
            line: dict[str, Any] = {"path": path}
            started, spent = time.perf_counter(), time.process_time()
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    line["verdict"] = scan(path)
            except BaseException as error:  # a scanner that breaks is counted as such
                line |= {"verdict": "error", "error": f"{type(error).__name__}: {error}"[:200]}
            line |= {"cpu": 1000 * (time.process_time() - spent), "wall": 1000 * (time.perf_counter() - started)}
            if number:
                out.write(json.dumps(line) + "\n")
                out.flush()


if __name__ == "__main__":
    main()
