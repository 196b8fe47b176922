"""Sources of rows, plugins with the call `source(streams) -> Split`. `source_of` makes one from whatever a user has."""

from antivenom.data.sources.accepted import source_of
from antivenom.data.sources.arrays import NpzFile
from antivenom.data.sources.hugging_face import HuggingFaceFolder
from antivenom.data.sources.images import ImageFolder
from antivenom.data.sources.memory import Memory
from antivenom.data.sources.named import Named
from antivenom.data.sources.python import PythonSource
from antivenom.data.sources.tables import TableFile
from antivenom.data.sources.texts import TextFile

__all__ = [
    "HuggingFaceFolder",
    "ImageFolder",
    "Memory",
    "Named",
    "NpzFile",
    "PythonSource",
    "TableFile",
    "TextFile",
    "source_of",
]
