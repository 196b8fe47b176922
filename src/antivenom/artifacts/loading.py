"""Load the tensors of a model file, provided that the scan finds the file safe."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from antivenom.artifacts.snapshot import Snapshot, snapshot
from antivenom.core.errors import FileError, UnsafeFile, with_article
from antivenom.scan import AllowList, FileReport, Limits, Status, scan_view
from antivenom.scan.rules import RULES, UNREVIEWED_CALL, UNREVIEWED_GLOBAL
from antivenom.scan.view import View

_REASONS = (  # what the messages of torch's loader say, and what is said instead of them
    (re.compile(r"GLOBAL ([\w.]+)"), "an object that needs {}"),
    (re.compile(r"TorchScript"), "a TorchScript program"),
    (re.compile(r"[Mm]agic number"), "a pickle that torch.save did not write"),
    (
        re.compile(r"Unsupported operand (\d+)"),
        "a pickle with an instruction that torch.save does not write (opcode {})",
    ),
    (re.compile(r"^$"), "an empty file, or a part of one"),
)
_FIXED = "2.10"  # the first torch whose weights_only loader has no known memory corruption


def safe_load(
    path: str | Path, map_location: str = "cpu", *, limits: Limits | None = None, allow: AllowList | None = None
) -> Any:
    """The content of a file of tensors: scanned first, then read by safetensors or torch with `weights_only=True`.

    Scan and loader read the same bytes of one open file. If the loader refuses the file, no other loader is tried.
    Weakness: it does not examine the weights themselves, which can be poisoned. A safetensors file is in memory twice
    while it is read.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "model.pt"
    >>> torch.save({"weight": torch.ones(2)}, path)
    >>> safe_load(path)
    {'weight': tensor([1., 1.])}

    Fields:
        path: the file.
        map_location: the device for its tensors.
        limits: bounds on the work of the scan.
        allow: the globals that pickles can import; the vetted tier by default.

    Raises UnsafeFile for a file that is not known to be safe or holds more than tensors. Raises FileError for a file
    that cannot be read, and for a pickled file with a torch below 2.10, whose weights_only loader corrupts memory
    (CVE-2026-24747).
    """
    with scanned(path, limits, allow) as (file, report):
        return _tensors(file, report, map_location)


class Omitted:
    """Stands for an object of a file that was not constructed. It takes any arguments and state, and drops them."""

    def __new__(cls, *_: object, **__: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        """Drops its arguments."""

    def __setstate__(self, _: object) -> None:
        """Drops the state."""


def load_without_objects(path: str | Path, *, allow: AllowList | None = None) -> Any:
    """As `safe_load`, but what a torch file holds besides tensors and plain values becomes `Omitted`.

    So the weights of a checkpoint can be read although it also holds, for example, an argparse.Namespace. A name that
    nobody has reviewed does no harm here, because it is not imported; a dangerous one is still refused.
    """
    with scanned(path, None, allow, imports=False) as (file, report):
        return _tensors(file, report, "cpu", omit=True)


@contextmanager
def scanned(
    path: str | Path, limits: Limits | None = None, allow: AllowList | None = None, *, imports: bool = True
) -> Iterator[tuple[Snapshot, FileReport]]:
    """An open file that the scan finds safe, and its report. What is read from it are the bytes that were scanned.

    If the loader `imports` nothing that the file names, names without review are no reason to refuse.

    Raises UnsafeFile for a file that is not known to be safe, and FileError for one that cannot be read or is written to
    inside the block.
    """
    with snapshot(path) as file:
        report = scan_view(View(file), str(path), limits, allow)
        _refuse(report if imports else _without_names(report))
        file.keeping = False
        yield file, report
        if file.changed:
            raise FileError(
                "a file that does not change", "a file that was written to while it was loaded", "load a copy of it"
            ).at(str(path))


def _without_names(report: FileReport) -> FileReport:
    """The report without findings that a name has no review."""
    left = tuple(each for each in report.findings if RULES[each.rule] not in (UNREVIEWED_GLOBAL, UNREVIEWED_CALL))
    return replace(report, findings=left)


def _refuse(report: FileReport) -> None:
    """Raises UnsafeFile if there is any finding."""
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


def _tensors(file: Snapshot, report: FileReport, map_location: str, omit: bool = False) -> Any:
    import safetensors.torch  # before the `try`: a missing package is not the file's fault
    import torch

    try:
        if report.format == "safetensors":
            return {
                name: tensor.to(map_location) for name, tensor in safetensors.torch.load(file[0 : len(file)]).items()
            }
        if torch.__version__ < _FIXED:
            raise FileError(
                "torch 2.10 or later for pickled files",
                f"{torch.__version__}, which CVE-2026-24747 affects",
                "upgrade torch",
            )
        replaced: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
        if omit:
            replaced += [(Omitted, name) for name in _names(file)]
        with (
            warnings.catch_warnings(action="ignore"),  # torch's advice on files that it then refuses
            torch.serialization.safe_globals(replaced),
        ):
            return torch.load(file.open(), map_location=map_location, weights_only=True)
    except FileError as error:
        raise error.at(report.path) from error.__cause__
    except Exception as error:  # loaders raise many types on unexpected bytes
        raise UnsafeFile(
            "tensors only",
            _reason(error, report.format),
            "ask for a file of tensors alone, from torch.save(model.state_dict(), path)",
        ).at(report.path) from error


def _names(file: Snapshot) -> list[str]:
    """The names in a torch archive that torch's loader refuses; none for the older format, which cannot be asked."""
    import torch

    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(file.open())
    except ValueError:
        return []


def _reason(error: Exception, form: str) -> str:
    """What a loader found in the file, in words of our own, because torch's advise loading it without protection."""
    if form in ("text", "empty"):
        return f"{with_article(form)} file"
    for pattern, found in _REASONS:
        if match := pattern.search(str(error)):
            return found.format(*match.groups())
    return f"content that the loader refuses ({type(error).__name__})"
