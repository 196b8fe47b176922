"""Data sets as values: a frozen table of rows and labels, where it comes from, and how agents share it."""

from antivenom.data.dataset import Dataset, Poison, Rows, Split
from antivenom.data.fingerprints import fingerprint
from antivenom.data.named import DATASETS, load
from antivenom.data.shards import IID, Dirichlet, Partition, missing_classes
from antivenom.data.sources import Memory, Named, PythonSource, source_of

__all__ = [
    "DATASETS",
    "IID",
    "Dataset",
    "Dirichlet",
    "Memory",
    "Named",
    "Partition",
    "Poison",
    "PythonSource",
    "Rows",
    "Split",
    "fingerprint",
    "load",
    "missing_classes",
    "source_of",
]
