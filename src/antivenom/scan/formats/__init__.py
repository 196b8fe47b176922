"""Identifies the formats of a part by its content and applies their checks; then compares them with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from antivenom.scan.findings import Finding
from antivenom.scan.formats import (
    arrays,
    checkpoints,
    claims,
    documents,
    gguf,
    hdf5,
    images,
    onnx,
    pickles,
    plain,
    programs,
    promises,
    safetensors,
    sentencepiece,
    sevenzip,
    source,
    streams,
    tars,
    tensorflow,
    texts,
    tflite,
    ubjson,
    xml,
    zips,
)
from antivenom.scan.limits import LimitReached
from antivenom.scan.part import Part
from antivenom.scan.reader import Fault
from antivenom.scan.rules import SCAN_ERROR, UNKNOWN_FORMAT
from antivenom.scan.view import View


@dataclass(frozen=True)
class Format:
    """A file format.

    Fields:
        name: its name in reports.
        matches: whether content has this format; it is cheap and reads only the beginning or the end.
        check: yields the findings; raises LimitReached.
    """

    name: str
    matches: Callable[[View], bool]
    check: Callable[[Part], Iterator[Finding]]


def _unknown(part: Part) -> Iterator[Finding]:
    if not claims.is_claimed(part):
        yield part.finding(UNKNOWN_FORMAT, f"content that begins with {part.view.read(0, 8).hex(' ')}")


# All formats that match are checked, because two loaders can read one file in two ways.
SIGNED: tuple[Format, ...] = (
    Format("zip", zips.matches, zips.check),
    Format("tar", tars.matches, tars.check),
    *(Format(kind, streams.matcher(kind), streams.checker(kind)) for kind in streams.KINDS),
    Format("7z", sevenzip.matches, sevenzip.check),
    Format("npy", arrays.matches, arrays.check),
    Format("pickle", pickles.is_binary, pickles.check),
    Format("pickle", pickles.is_old, pickles.check),
    Format("safetensors", safetensors.matches, safetensors.check),
    Format("gguf", gguf.matches, gguf.check),
    Format("hdf5", hdf5.matches, hdf5.check),
    Format("onnx", onnx.matches, onnx.check),
    Format("savedmodel", tensorflow.is_saved_model, tensorflow.check_saved_model),
    Format("tensorflow graph", tensorflow.is_graph, tensorflow.check_graph),
    Format("keras metadata", tensorflow.is_keras_metadata, tensorflow.check_keras_metadata),
    Format("tensorflow checkpoint", checkpoints.matches, checkpoints.check),
    Format("fingerprint", checkpoints.is_fingerprint, checkpoints.check),
    Format("tflite", tflite.matches, tflite.check),
    Format("sentencepiece", sentencepiece.matches, sentencepiece.check),
    Format("ubjson", ubjson.matches, ubjson.check),
    Format("xml", xml.matches, xml.check),
    Format("json", documents.matches, documents.check),
    Format("program", programs.matches, programs.check),
    Format("image", images.matches, images.check),
)
# Formats without a signature. The first that matches decides.
UNSIGNED: tuple[Format, ...] = (
    Format("empty", lambda view: len(view) == 0, lambda part: iter(())),
    Format("text", texts.is_text, plain.check),
    Format("unknown", lambda view: True, _unknown),
)


def identify(view: View) -> tuple[Format, ...]:
    """All formats that the content matches."""
    found = tuple(each for each in SIGNED if each.matches(view))
    return found or (next(each for each in UNSIGNED if each.matches(view)),)


def scan_part(part: Part) -> Iterator[Finding]:
    """The findings in a part and in all parts inside it. A limit or a failed check is a finding as well."""
    return examine(part)[1]


def examine(part: Part) -> tuple[str, Iterator[Finding]]:
    """The name of a part's format, and its findings."""
    try:
        kinds = identify(part.view)
        if kinds[0].name == "unknown" and (text := texts.in_utf8(part.view)) is not None:
            part, kinds = replace(part, view=text), identify(text)
    except Exception as error:
        return "unknown", iter((part.finding(SCAN_ERROR, f"{type(error).__name__}: {error}"),))
    return "+".join(dict.fromkeys(kind.name for kind in kinds)), _findings(part, kinds)


def _findings(part: Part, kinds: tuple[Format, ...]) -> Iterator[Finding]:
    names = frozenset(kind.name for kind in kinds)
    by_name = (
        Format("source", lambda view: True, lambda part: source.check(part, names)),
        Format("name", lambda view: True, lambda part: promises.check(part, names)),
    )
    try:
        for each in (*kinds, *by_name):
            yield from _guarded(part, each)
    except LimitReached as limit:
        yield part.reached(limit)


def _guarded(part: Part, kind: Format) -> Iterator[Finding]:
    try:
        yield from kind.check(part)
    except LimitReached:
        raise
    except Fault as fault:
        yield part.finding(fault.rule, fault.detail)
    except (Exception, RecursionError) as error:  # a failed check must never count as "safe"
        yield part.finding(SCAN_ERROR, f"{kind.name}: {type(error).__name__}: {error}")
