"""Writes what an inspection found: one JSON document, and each recovered trigger as a file and as a picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from antivenom.core.errors import StoreError
from antivenom.inspection.result import Check, Inspection, Suspect
from antivenom.triggers import save_trigger

_SCALE = 8  # pixels of the picture for one of the trigger


def document(found: Inspection) -> dict[str, object]:
    """The inspection as plain values for JSON. Numbers that are undefined are null."""
    repaired = found.repaired
    return {
        "model": found.path.name,
        "form": found.form,
        "answer": str(found.answer),
        "reason": found.reason,
        "exit_code": found.exit_code,
        "p_value": _number(found.p_value),
        "references": found.references,
        "accuracy": _number(found.accuracy),
        "reference_accuracy": [_number(value) for value in found.reference_accuracy],
        "checks": [_check(check) for check in found.checks],
        "structure": [
            {
                "check": trace.check,
                "where": trace.where,
                "what": trace.what,
                "value": _number(trace.value),
                "suspicious": trace.suspicious,
            }
            for trace in found.traces
        ],
        "classes": [_suspect(suspect) for suspect in found.suspects],
        "repair": repaired
        and {
            "before": vars(repaired.before) | {"clean_accuracy": _number(repaired.before.clean_accuracy)},
            "tried": [
                {key: _number(value) if isinstance(value, float) else value for key, value in vars(one).items()}
                for one in repaired.candidates
            ],
            "chosen": repaired.chosen,
            "skipped": list(repaired.skipped),
        },
        "notes": list(found.notes),
        "seconds": round(found.seconds, 1),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _check(check: Check) -> dict[str, object]:
    verdict = check.verdict
    return {
        "name": check.name,
        "decides": check.decides,
        "ran": verdict is not None,
        "why": check.why,
        "seconds": round(check.seconds, 2),
        "p_value": verdict.p_value if verdict else None,
        "scores": [_number(float(score)) for score in verdict.classes.scores] if verdict and verdict.classes else [],
        "notes": list(verdict.notes) if verdict else [],
    }


def _suspect(suspect: Suspect) -> dict[str, object]:
    return {
        "class": suspect.name,
        "index": suspect.index,
        "flagged": suspect.flagged,
        "distance": _number(suspect.distance),
        "trigger": suspect.form,
        "size": _number(suspect.size),
        "success_on_held_out_rows": _number(suspect.rate),
        "success_on_references": _number(suspect.reference_rate),
    }


def write(found: Inspection, folder: Path) -> list[Path]:
    """Write `inspection.json` and, for each suspected class, a folder with its trigger and its picture. Returns the paths.

    Raises:
        StoreError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "inspection.json"]
        paths[0].write_text(json.dumps(document(found), indent=1) + "\n")
        for suspect in found.suspects:
            place = save_trigger(suspect.trigger, folder / f"trigger-class-{suspect.index}")
            paths.append(place)
            picture = drawn(suspect)
            if picture is not None:
                paths.append(place / "trigger.png")
                _save(picture, paths[-1])
    except OSError as error:
        raise StoreError(f"a folder to write {folder}", f"{error.strerror}", "choose another with --out") from error
    return paths


def drawn(suspect: Suspect) -> np.ndarray | None:
    """The trigger on a grey image, (height, width) or (height, width, 3) of bytes; None if it is not for images."""
    trigger = suspect.trigger
    shape = getattr(trigger, "mask", getattr(trigger, "array", np.zeros(0))).shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        return None
    grey = np.full((1, *shape), 0.5, dtype=np.float32)
    shown = np.clip(np.asarray(trigger(grey))[0], 0, 1)
    picture: np.ndarray = np.round(255 * shown.transpose(1, 2, 0)).astype(np.uint8)
    return picture[:, :, 0] if shape[0] == 1 else picture


def _save(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(picture)
    image.resize((image.width * _SCALE, image.height * _SCALE), Image.Resampling.NEAREST).save(path)
