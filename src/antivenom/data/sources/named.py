"""The named data sets as sources."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from antivenom.core.errors import DataError, did_you_mean
from antivenom.core.registry import source
from antivenom.core.streams import Streams
from antivenom.data.dataset import Split
from antivenom.data.files import locate
from antivenom.data.fingerprints import of_files
from antivenom.data.named import DATASETS, load

_IN_SCIKIT_LEARN = {
    "digits": ("digits.csv.gz",),
    "breast-cancer": ("breast_cancer.csv",),
    "diabetes": ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
}


@source(cite="each set's page in the catalogue names its publisher")
class Named:
    """A data set that antivenom knows by name, such as digits, mnist or adult.

    Fields:
        dataset: its name; `antivenom data` lists them.
    """

    dataset: str = "digits"

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS:
            raise DataError("the name of a data set", repr(self.dataset), did_you_mean(self.dataset, DATASETS))

    def __call__(self, streams: Streams) -> Split:
        return load(self.dataset, streams)

    def described(self) -> str:
        """The name, by which scenario files and records give the source."""
        return self.dataset

    def fingerprint(self) -> str:
        """The SHA-256 of the files of the data set.

        Raises:
            DataNotFound: a file is missing.
        """
        bundled = _IN_SCIKIT_LEARN.get(self.dataset)
        if bundled is None:
            return of_files([locate(file) for file in DATASETS[self.dataset].files])
        found = importlib.util.find_spec("sklearn")  # finds the folder without importing the library
        if found is None or found.origin is None:
            raise DataError("scikit-learn, which contains the data set", "no such package", "pip install scikit-learn")
        return of_files([Path(found.origin).parent / "datasets" / "data" / name for name in bundled])
