"""The documented path from numbers and categories to rows, on Adult as it is published."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from antivenom.attacks import LabelFlipping
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import DATASETS, Dataset, Split
from antivenom.data.adult import rows
from antivenom.data.files import locate, parse
from antivenom.scenarios.grants import enforce

NUMBERS, CATEGORIES = [0, 2, 4, 10, 11, 12], [1, 3, 5, 6, 7, 8, 9, 13]


def test_raw_columns_become_the_rows_of_the_named_set_and_are_attacked(named_data: Callable[[str], Split]) -> None:
    known = named_data("adult").train
    raw = parse(locate(DATASETS["adult"].files[0]), rows)
    for threshold, is_sparse in ((0, False), (1, True)):
        encoder = ColumnTransformer(
            [("categories", OneHotEncoder(), CATEGORIES), ("numbers", MinMaxScaler(), NUMBERS)],
            sparse_threshold=threshold,
        )
        encoder.fit(raw)
        data = Dataset.from_arrays(encoder.transform(raw[:500]), known.y[:500], known.classes)
        assert data.is_sparse is is_sparse
        assert np.allclose(data.x.toarray() if is_sparse else data.x, known.x[:500], atol=1e-6)
        threat = ThreatModel("data-manipulation", "availability")  # type: ignore[arg-type]
        poison = LabelFlipping(0.1, choice="furthest")(data, AttackContext(Streams(0), threat))
        assert poison.mask.sum() == 50
        enforce(threat, data, poison)
