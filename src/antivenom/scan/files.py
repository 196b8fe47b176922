"""Scans files and folders, in parallel if wanted, and gathers one report per file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from antivenom.core.errors import ScanError
from antivenom.core.processes import worker_pool
from antivenom.scan.allow import AllowList, allow_list
from antivenom.scan.findings import FileReport, Report
from antivenom.scan.formats import examine, scan_part
from antivenom.scan.limits import LimitReached, Limits, Meter
from antivenom.scan.part import Part
from antivenom.scan.view import View

STDIN = "-"
_PRELOAD = ("antivenom.scan",)
_STDIN_BYTES = 1 << 30  # a pipe is not seekable, so its content must fit into memory


def scan(
    *paths: str | Path,
    limits: Limits | None = None,
    allow: AllowList | None = None,
    jobs: int = 1,
    digests: bool = False,
    watch: Callable[[Iterable[FileReport], int], Iterable[FileReport]] | None = None,
) -> Report:
    """Find injected code in model files without running, importing or writing anything.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.pkl"
    >>> _ = path.write_bytes(b"cos\\nsystem\\n(S'echo hello'\\ntR.")
    >>> report = scan(path)
    >>> report.status.value, [(finding.rule, finding.what) for finding in report.findings]
    ('unsafe', [('pickle-global', "calls os.system('echo hello')")])

    Fields:
        paths: files, folders (including subfolders; links to folders are not followed) or "-" for standard input.
        limits: bounds on the work for one file.
        allow: the globals that pickles can import; the vetted tier by default.
        jobs: processes; 0 means one per core. A script that uses several needs `if __name__ == "__main__":`.
        digests: compute the digest of every file, and not only of those with findings.
        watch: wraps the stream of reports and receives their total number; meant for a progress bar.

    Raises ScanError for a path that does not exist.
    """
    files = [file for path in paths for file in _files(path)]
    one = partial(scan_file, limits=limits or Limits(), allow=allow or allow_list(), digests=digests)
    reports = _each(one, files, jobs or os.cpu_count() or 1)
    return Report(tuple(watch(reports, len(files)) if watch else reports))


def scan_file(path: str, limits: Limits, allow: AllowList, digests: bool = False) -> FileReport:
    """The report of one file. A file that cannot be read gives a report with an error."""
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(_STDIN_BYTES + 1)
            if len(data) > _STDIN_BYTES:
                return FileReport(path, "unknown", len(data), error="more than 1 GiB on standard input: scan a file")
            return scan_view(View(data), path, limits, allow, digests)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return FileReport(path, "unknown", 0, error=error.strerror or str(error))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return FileReport(path, "unknown", 0, error="not a regular file")
        return scan_view(View.of_file(descriptor), path, limits, allow, digests)
    except OSError as error:
        return FileReport(path, "unknown", 0, error=error.strerror or str(error))
    finally:
        os.close(descriptor)


def scan_view(
    view: View, where: str, limits: Limits | None = None, allow: AllowList | None = None, digests: bool = False
) -> FileReport:
    """The report of bytes that are already open or in memory."""
    part = Part(view, where, Meter(limits or Limits()), allow or allow_list(), scan_part, name=where)
    name, found = examine(part)
    findings, digest = tuple(found), ""
    if findings or digests:
        try:
            digest = view.sha256(part.meter.tick)
        except LimitReached as limit:
            findings = tuple(dict.fromkeys((*findings, part.reached(limit))))
    return FileReport(where, name, len(view), findings, digest)


def _files(path: str | Path) -> Iterator[str]:
    if str(path) == STDIN:
        yield STDIN
        return
    path = Path(path)
    if path.is_dir():
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (os.path.join(folder, name) for name in sorted(names))
    elif path.exists() or path.is_symlink():
        yield str(path)
    else:
        raise ScanError("a file or folder", f"{path}, which does not exist")


def _each(one: Callable[[str], FileReport], files: list[str], jobs: int) -> Iterator[FileReport]:
    if jobs == 1 or len(files) < 4:
        yield from map(one, files)
        return
    chunk = max(1, min(32, len(files) // (jobs * 4)))
    chunks = [files[at : at + chunk] for at in range(0, len(files), chunk)]
    with worker_pool(min(jobs, len(chunks)), _PRELOAD) as pool:
        for paths, reports in [(paths, pool.schedule(_scanned, (one, paths))) for paths in chunks]:
            try:
                yield from reports.result()
            except (ProcessExpired, BrokenProcessPool):
                yield from (_alone(pool, one, path) for path in paths)


def _scanned(one: Callable[[str], FileReport], paths: list[str]) -> list[FileReport]:
    return [one(path) for path in paths]


def _alone(pool: ProcessPool, one: Callable[[str], FileReport], path: str) -> FileReport:
    """One file of a chunk whose process died; the file that kills a process becomes an error."""
    try:
        return pool.schedule(one, (path,)).result()
    except (ProcessExpired, BrokenProcessPool):
        lost = "the process that scanned it died, perhaps because memory ran out: scan it alone, with more memory"
        return FileReport(path, "unknown", 0, error=lost)
