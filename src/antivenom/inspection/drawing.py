"""Writes what an inspection found: one JSON document, and each recovered trigger as a file and as a picture."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from antivenom.auditing.trial import plain
from antivenom.core.errors import StoreError
from antivenom.inspection.result import Check, Inspection, Suspect
from antivenom.scenarios.pictures import picture
from antivenom.triggers import save_trigger

_SCALE = 8  # pixels of the picture for one of the trigger


def document(found: Inspection) -> dict[str, object]:
    """The inspection as plain values for JSON. Numbers that are undefined are null."""
    repaired = found.repaired
    values = {
        "model": found.path.name,
        "form": found.form,
        "answer": str(found.answer),
        "reason": found.reason,
        "exit_code": found.exit_code,
        "p_value": found.p_value,
        "references": found.references,
        "accuracy": found.accuracy,
        "reference_accuracy": found.reference_accuracy,
        "checks": [_check(check) for check in found.checks],
        "structure": [asdict(trace) for trace in found.traces],
        "classes": [_suspect(suspect) for suspect in found.suspects],
        "repair": repaired
        and {
            "before": asdict(repaired.before),
            "tried": [asdict(one) for one in repaired.candidates],
            "chosen": repaired.chosen,
            "skipped": repaired.skipped,
        },
        "notes": found.notes,
        "seconds": round(found.seconds, 1),
    }
    return dict(plain(values))


def _check(check: Check) -> dict[str, object]:
    verdict = check.verdict
    return {
        "name": check.name,
        "decides": check.decides,
        "ran": verdict is not None,
        "why": check.why,
        "seconds": round(check.seconds, 2),
        "p_value": verdict.p_value if verdict else None,
        "scores": verdict.classes.scores.tolist() if verdict and verdict.classes else [],
        "notes": verdict.notes if verdict else [],
    }


def _suspect(suspect: Suspect) -> dict[str, object]:
    return {
        "class": suspect.name,
        "index": suspect.index,
        "flagged": suspect.flagged,
        "distance": suspect.distance,
        "trigger": suspect.form,
        "size": suspect.size,
        "success_on_held_out_rows": suspect.rate,
        "success_on_references": suspect.reference_rate,
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
            image = drawn(suspect)
            if image is not None:
                paths.append(place / "trigger.png")
                _save(image, paths[-1])
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
    return picture(np.asarray(trigger(grey))[0], max(shape[1:]))


def _save(picture: np.ndarray, path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(picture)
    image.resize((image.width * _SCALE, image.height * _SCALE), Image.Resampling.NEAREST).save(path)
