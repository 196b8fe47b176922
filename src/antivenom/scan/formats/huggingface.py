"""Hugging Face repositories: JSON that refers to Python files, to classes by name, or to a chat template."""

from __future__ import annotations

from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import names, templates
from antivenom.scan.part import Part
from antivenom.scan.rules import REMOTE_CODE, UNTRUSTED_TYPE

_LIBRARIES = frozenset({"transformers", "diffusers", "peft", "sentence_transformers", "timm", "optimum", "tokenizers"})
_PIPELINES = frozenset(
    {"stable_diffusion", "latent_diffusion", "onnxruntime", "paint_by_example", "kandinsky", "deepfloyd_if"}
)


def check_object(part: Part, value: dict[str, object]) -> Iterator[Finding]:
    """The findings in one JSON object."""
    for key in ("auto_map", "custom_pipelines"):
        if value.get(key):
            names_ = ", ".join(sorted(map(str, _leaves(value[key]))))
            yield part.finding(REMOTE_CODE, f"{key} names {names_}", name=key)
    for key in ("chat_template", "chat_templates"):
        for text in _leaves(value.get(key)):
            if isinstance(text, str):
                yield from templates.check(part, text, key)
    yield from _named(part, value)
    if "_diffusers_version" in value:
        yield from _components(part, value)
    if {"idx", "name", "path", "type"} <= value.keys() and not str(value["type"]).startswith("sentence_transformers."):
        yield part.finding(REMOTE_CODE, f"a module of the type {value['type']}", name=str(value["type"]))


def _named(part: Part, value: dict[str, object]) -> Iterator[Finding]:
    """Findings for the base class of an adapter, which PEFT imports."""
    mapping = value.get("auto_mapping")
    if isinstance(mapping, dict) and mapping.get("parent_library"):
        library, name = str(mapping["parent_library"]), str(mapping.get("base_model_class"))
        if library.partition(".")[0] not in _LIBRARIES and (rule := names.broken_rule(part, library, name)) is not None:
            yield part.finding(rule, f"asks the loader to call {library}.{name}", name=f"{library}.{name}")


def _components(part: Part, index: dict[str, object]) -> Iterator[Finding]:
    """Findings for the parts of a diffusion pipeline: pairs of a class and its library, or a file of the repository."""
    if isinstance(index.get("_class_name"), list):
        yield part.finding(REMOTE_CODE, f"a pipeline of the repository: {index['_class_name']}", name="_class_name")
    for key, pair in index.items():
        match pair:
            case [str(library), str(name)] if key != "_class_name" and library not in _LIBRARIES | _PIPELINES:
                yield part.finding(UNTRUSTED_TYPE, f"{key} is {library}.{name}", name=f"{library}.{name}")


def _leaves(value: object) -> Iterator[object]:
    """The non-empty leaves of a nested value, down to the few levels that loaders read."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)
        elif here is not None:
            yield here
