"""Data sets: frozen rows with labels and a schema, the sources they come from, and how agents share them."""

from antivenom.data.checks import check_allowed, check_rows
from antivenom.data.dataset import Dataset, Poison, Split
from antivenom.data.fingerprints import fingerprint
from antivenom.data.forms import Rows
from antivenom.data.named import DATASETS, load
from antivenom.data.schema import Column, ColumnKind, Schema
from antivenom.data.shards import IID, ByGroup, Dirichlet, Partition, missing_classes
from antivenom.data.sources import (
    HuggingFaceFolder,
    ImageFolder,
    Memory,
    Named,
    NpzFile,
    PythonSource,
    TableFile,
    TextFile,
    source_of,
)

__all__ = [
    "DATASETS",
    "IID",
    "ByGroup",
    "Column",
    "ColumnKind",
    "Dataset",
    "Dirichlet",
    "HuggingFaceFolder",
    "ImageFolder",
    "Memory",
    "Named",
    "NpzFile",
    "Partition",
    "Poison",
    "PythonSource",
    "Rows",
    "Schema",
    "Split",
    "TableFile",
    "TextFile",
    "check_allowed",
    "check_rows",
    "fingerprint",
    "load",
    "missing_classes",
    "source_of",
]
