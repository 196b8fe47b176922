"""Data sets as values: a frozen table of rows and labels, where it comes from, and how agents share it."""

from antivenom.data.dataset import Dataset, Poison, Rows, Split
from antivenom.data.named import DATASETS, load
from antivenom.data.shards import IID, Dirichlet, Partition, missing_classes

__all__ = ["DATASETS", "IID", "Dataset", "Dirichlet", "Partition", "Poison", "Rows", "Split", "load", "missing_classes"]
