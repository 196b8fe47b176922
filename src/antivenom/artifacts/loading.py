"""Load a model file only if the scan calls it safe, and then only its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antivenom.artifacts.snapshot import Snapshot, snapshot
from antivenom.core.errors import FileError, UnsafeFile
from antivenom.scan import AllowList, FileReport, Limits, Status, scan_view
from antivenom.scan.view import View

_FIXED = "2.10"  # the first torch whose weights_only loader has no known memory corruption


def safe_load(
    path: str | Path, map_location: str = "cpu", *, limits: Limits | None = None, allow: AllowList | None = None
) -> Any:
    """What a file of tensors holds: scanned first, then read by safetensors or by torch with `weights_only=True`.

    Scan and loader read the same bytes of one open file. There is no fallback: what the loader refuses stays refused.
    Weakness: it says nothing of the weights, which can be poisoned. safetensors files are held in memory twice while
    they are read.

    Fields:
        path: the file.
        map_location: the device its tensors go to.
        limits: how much work the scan may do.
        allow: the globals that pickles may import; the vetted tier if absent.

    Raises UnsafeFile for a file that is not known to be safe or holds more than tensors, FileError for one that cannot
    be read, and for a pickled file with a torch below 2.10, whose weights_only loader corrupts memory (CVE-2026-24747).
    """
    with snapshot(path) as file:
        report = scan_view(View(file), str(path), limits, allow)
        _refuse(report)
        file.keeping = False
        value = _tensors(file, report, map_location)
        if file.changed:
            raise FileError("a file that stays as it is", "one written to while it was loaded", "copy it first").at(
                str(path)
            )
    return value


def _refuse(report: FileReport) -> None:
    """Raises UnsafeFile unless the scan found nothing at all."""
    if report.status is Status.SAFE:
        return
    worst = next((each for each in report.findings if each.status is report.status), None)
    if worst is None:
        raise FileError("a file that can be scanned", report.error).at(report.path)
    more = f" and {len(report.findings) - 1} more" if len(report.findings) > 1 else ""
    place = "" if worst.offset is None else f" at byte {worst.offset}"
    raise UnsafeFile("a safe file", f"{report.status.value}, {worst.rule}: {worst.what}{place}{more}", worst.remedy).at(
        worst.where
    )


def _tensors(file: Snapshot, report: FileReport, map_location: str) -> Any:
    try:
        if report.format == "safetensors":
            import safetensors.torch

            return {
                name: tensor.to(map_location) for name, tensor in safetensors.torch.load(file[0 : len(file)]).items()
            }
        import torch

        if torch.__version__ < _FIXED:
            raise FileError(
                "torch 2.10 or later for pickled files",
                f"{torch.__version__}, which CVE-2026-24747 concerns",
                "update it",
            )
        return torch.load(file.open(), map_location=map_location, weights_only=True)
    except FileError as error:
        raise error.at(report.path) from error.__cause__
    except Exception as error:  # whatever a loader of strange bytes raises, the file is not loaded another way
        raise UnsafeFile(
            "tensors only",
            f"{type(error).__name__}: {_first_line(error)}",
            "have its tensors saved alone, as torch.save(model.state_dict(), path)",
        ).at(report.path) from error


def _first_line(error: Exception) -> str:
    """The reason that torch gives behind its general advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith("WeightsUnpickler error")]
    return (reasons or lines or [""])[0][:200]
