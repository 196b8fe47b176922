"""A bill of materials of scanned files: CycloneDX 1.6 in JSON, with machine-learning models as components."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import yaml

from antivenom.core.regular import opened
from antivenom.scan.findings import FileReport, Finding, Report
from antivenom.scan.rules import Status

_MODELS = {
    *("pickle", "safetensors", "gguf", "hdf5", "onnx", "savedmodel", "tensorflow graph", "tensorflow checkpoint"),
    *("tflite", "npy", "ubjson"),
}
_ARCHIVED = {".pt", ".pth", ".bin", ".ckpt", ".keras", ".npz", ".skops", ".mar", ".nemo", ".joblib"}
_CARD = 1 << 16  # most bytes of a model card that are read for its licence


def as_cyclonedx(report: Report) -> dict[str, object]:
    """The files as components and their findings as vulnerabilities that affect them.

    A file is a machine-learning model by the format of its content, or, for an archive, by its name. Its licence is the
    one that the model card (README.md) in its folder declares, in the card's own words; nothing checks it.
    Weakness: a finding has no score, because a rule is not a measured risk: unsafe is `high`, cannot tell is `unknown`.
    """
    files = list({file.path: file for file in report.files}.values())
    licences = {folder: _licence(folder) for folder in {Path(file.path).parent for file in files}}
    tool = {"type": "application", "name": "antivenom", "version": metadata.version("antivenom")}
    content = json.dumps([[file.path, file.sha256] for file in files])
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, content).urn,
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "tools": {"components": [tool]},
        },
        "components": [_component(file, licences[Path(file.path).parent]) for file in files],
        "vulnerabilities": [
            _vulnerability(f"{file.path}#{at}", file, finding, accepted=at >= len(file.findings))
            for file in files
            for at, finding in enumerate((*file.findings, *file.accepted))
        ],
    }


def _component(file: FileReport, licence: str) -> dict[str, object]:
    properties = {"format": file.format, "size": str(file.size), "status": str(file.status), "error": file.error}
    found: dict[str, object] = {
        "type": "machine-learning-model" if _is_model(file) else "file",
        "bom-ref": file.path,
        "name": file.path,
        "properties": [{"name": f"antivenom:{key}", "value": value} for key, value in properties.items() if value],
    }
    if file.sha256:
        found["hashes"] = [{"alg": "SHA-256", "content": file.sha256}]
    if licence:
        found["licenses"] = [{"license": {"name": licence, "acknowledgement": "declared"}}]
    return found


def _is_model(file: FileReport) -> bool:
    return file.format in _MODELS or (file.format in ("zip", "tar") and Path(file.path).suffix.lower() in _ARCHIVED)


def _vulnerability(ref: str, file: FileReport, finding: Finding, accepted: bool) -> dict[str, object]:
    place = "" if finding.offset is None else f" at byte {finding.offset}"
    found: dict[str, object] = {
        "bom-ref": ref,
        "id": finding.rule,
        "source": {"name": "antivenom"},
        "ratings": [{"severity": "high" if finding.status is Status.UNSAFE else "unknown", "method": "other"}],
        "description": finding.why,
        "detail": f"{finding.where}{place}: {finding.what}",
        "recommendation": finding.remedy,
        "affects": [{"ref": file.path}],
    }
    if accepted:
        found["analysis"] = {"state": "not_affected", "detail": "accepted in a baseline"}
    return found


def _licence(folder: Path) -> str:
    """The `license` in the front matter of a folder's model card, or nothing."""
    try:
        with opened(folder / "README.md") as file:
            text = file.read(_CARD).decode("utf-8", "replace")
        if not text.startswith("---\n"):
            return ""
        front = yaml.compose(text.removeprefix("---\n").partition("\n---")[0])  # nodes only: aliases are not expanded
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return ""
    if not isinstance(front, yaml.MappingNode):
        return ""
    for key, value in front.value:
        if key.value == "license" and isinstance(value, yaml.ScalarNode):
            return str(value.value)
    return ""
