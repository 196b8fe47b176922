"""Content that is not there, or that is not what the name of its file promises.

The scan checks content by its format, whatever the name says. But a loader goes by the name, so that text called
`model.safetensors` has not been judged as what it will be used for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from antivenom.scan.findings import Finding
from antivenom.scan.part import Part
from antivenom.scan.rules import MISSING_CONTENT, NOT_AS_NAMED

_POINTERS = {
    b"version https://git-lfs.github.com/spec/": "a Git LFS pointer",
    b"version https://hawser.github.com/spec/": "a Git LFS pointer",
    b"version http://git-media.io/v/": "a Git LFS pointer",
    b"/annex/objects/": "a git-annex pointer",
}
_STREAMS = frozenset({"gzip", "bzip2", "xz", "lzma", "zlib", "lz4", "zstd", "7z"})
_PICKLED = _STREAMS | {"pickle", "zip", "tar"}
_TEXTUAL = frozenset({"text", "json", "xml", "yaml", "empty"})
_FORMATS: dict[str, frozenset[str]] = {
    **dict.fromkeys((".pt", ".pth", ".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle"), _PICKLED),
    **dict.fromkeys((".npz", ".zip", ".whl", ".jar", ".mar", ".skops", ".pt2", ".egg"), frozenset({"zip"})),
    **dict.fromkeys((".h5", ".hdf5"), frozenset({"hdf5"})),
    **dict.fromkeys((".xml", ".pmml"), frozenset({"xml"})),
    **dict.fromkeys((".tgz", ".gz"), frozenset({"gzip"})),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp"), frozenset({"image"})),
    ".safetensors": frozenset({"safetensors"}),
    ".gguf": frozenset({"gguf"}),
    ".onnx": frozenset({"onnx"}),
    ".npy": frozenset({"npy"}),
    ".keras": frozenset({"zip", "hdf5"}),
    ".tflite": frozenset({"tflite"}),
    ".tar": frozenset({"tar"}),
    ".bz2": frozenset({"bzip2"}),
    ".xz": frozenset({"xz"}),
    ".zst": frozenset({"zstd"}),
    ".lz4": frozenset({"lz4"}),
    ".7z": frozenset({"7z"}),
}
# Names of binary formats of which the scan knows only some or none: they promise anything but text.
_BINARY = frozenset(
    {
        *(
            ".bin",
            ".ckpt",
            ".pb",
            ".parquet",
            ".arrow",
            ".feather",
            ".msgpack",
            ".cbm",
            ".mlmodel",
            ".pte",
            ".pdparams",
        ),
        *(".pdmodel", ".pdiparams", ".rds", ".rdata", ".params", ".ptl", ".engine", ".plan", ".ggml", ".llamafile"),
        *(".nemo", ".caffemodel", ".mat", ".avro", ".orc", ".sqlite", ".db", ".tfrecord", ".model", ".ubj", ".t7"),
    }
)
_LOOSE = frozenset({".model"})  # XGBoost, LightGBM and SentencePiece all write it, some of them as text
_CONVENTIONAL = frozenset(
    {"__init__.py", "py.typed", ".gitkeep", ".keep", ".nojekyll", "REQUESTED"}
)  # empty on purpose
_LONGEST_POINTER = 1024


def check(part: Part, kinds: frozenset[str]) -> Iterator[Finding]:
    """The finding that content is missing or of another format, given the names of the formats that it matches."""
    path = PurePosixPath(part.name.replace("\\", "/"))
    if "empty" in kinds:
        promised = path.suffix.lower() in _FORMATS.keys() | _BINARY
        if path.name not in _CONVENTIONAL and (promised or not part.depth):
            yield part.finding(MISSING_CONTENT, "an empty file")
        return
    if "text" in kinds and len(part.view) <= _LONGEST_POINTER:
        head = part.view.read(0, _LONGEST_POINTER)
        for start, what in _POINTERS.items():
            if head.startswith(start) or (start == b"/annex/objects/" and head.startswith(b"../") and start in head):
                yield part.finding(MISSING_CONTENT, f"{what} in place of the content")
                return
    suffix = path.suffix.lower()
    other = bool(_FORMATS.get(suffix)) and not _FORMATS[suffix] & kinds
    if other or (suffix in _BINARY - _LOOSE and kinds <= _TEXTUAL):
        yield part.finding(NOT_AS_NAMED, f"{_said(kinds)} under a name that ends in {suffix}", name=suffix)


def _said(kinds: frozenset[str]) -> str:
    return "content of an unknown format" if "unknown" in kinds else f"content of the format {'+'.join(sorted(kinds))}"
