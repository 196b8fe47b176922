"""How an audit on the command line ends: by a signal, and with a report and an exit code."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from antivenom.cli.app import Device
from antivenom.core.errors import ScenarioError


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which service managers and CI send, end the block as Ctrl-C does, so that the report is written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require_baseline(baseline: Path, out: Path) -> None:
    """Refuse a baseline that is no audit, or the audit that is to be run, before anything runs."""
    from antivenom.auditing.records import FILENAME

    file = baseline / FILENAME if baseline.is_dir() else baseline
    if not file.is_file():
        raise ScenarioError("the folder of an audit as --baseline", f"{baseline}, without {FILENAME}", "check the path")
    if (out / FILENAME).exists() and file.samefile(out / FILENAME):
        raise ScenarioError("another folder than --out as --baseline", f"{baseline}", "use another --out")


def finish(folder: Path, as_json: bool, quiet: bool, baseline: Path | None = None) -> int:
    """Write the report, print the results, and return the exit code, which takes account of a baseline."""
    from antivenom.auditing import terminal
    from antivenom.auditing.comparing import compare, with_baseline
    from antivenom.auditing.records import Store
    from antivenom.auditing.report import write_page
    from antivenom.auditing.summary import summary_of
    from antivenom.core.garbage import uncollected

    store = Store(folder)
    with uncollected():
        summary = summary_of(store)
        comparison = None if baseline is None else compare(baseline, summary)
        summary = with_baseline(summary, comparison)
        files = [str(store.path), str(write_page(store, summary, comparison))]
    if as_json:
        terminal.print_json(summary, files, comparison)
    elif quiet:
        terminal.print_quiet(summary)
    else:
        terminal.print_summary(summary, files, comparison)
    return summary.exit_code


def check_device(device: Device) -> None:
    """Refuse a device that this machine does not have."""
    if device is Device.CUDA:
        import torch

        if not torch.cuda.is_available():
            raise ScenarioError("a CUDA device", "none that torch sees", "use --device cpu")
