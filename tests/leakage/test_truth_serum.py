"""What Truth Serum puts into the training set."""

from __future__ import annotations

import numpy as np
import pytest

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.leakage import TruthSerum, UntargetedTruthSerum
from antivenom.scenarios.grants import enforce


def view(access: str, rows=None, rate: float = 1.0) -> AttackContext:
    return AttackContext(Streams(0), ThreatModel(access, "privacy", max_poisoned_rate=rate), rows=rows)  # type: ignore[arg-type]


def test_each_record_r_times_under_one_wrong_label(blobs) -> None:
    asked, context = blobs[:10], view("data-injection", blobs[:10])
    poison = TruthSerum(3)(blobs, context)
    enforce(context.threat, blobs, poison)
    added = poison.data[90:]
    assert np.array_equal(added.x, np.repeat(asked.x, 3, axis=0))
    labels = added.y.reshape(10, 3)
    assert (labels == labels[:, :1]).all()
    assert (labels[:, 0] != asked.y).all()
    assert len({*labels[asked.y == asked.y[0], 0].tolist()}) > 1  # drawn, not always the next


def test_fewer_copies_where_fewer_rows_are_granted(blobs) -> None:
    poison = TruthSerum(8)(blobs, view("data-injection", blobs[:10], rate=0.25))
    assert poison.mask.sum() == 20  # 22 are granted, two for each of ten


def test_labels_do_not_depend_on_how_many_copies_there_are(blobs) -> None:
    one, two = (TruthSerum(r)(blobs, view("data-injection", blobs[:10])).data.y[90:] for r in (1, 2))
    assert np.array_equal(two[::2], one)


def test_the_untargeted_attack_gives_its_share_the_next_class(blobs) -> None:
    context = view("data-manipulation")
    poison = UntargetedTruthSerum()(blobs, context)
    enforce(context.threat, blobs, poison)
    assert np.array_equal(poison.data.y, (blobs.y + 1) % 3)
    assert UntargetedTruthSerum(0.5)(blobs, context).mask.sum() == 45


def test_what_is_refused(blobs) -> None:
    with pytest.raises(NotApplicable, match="target records"):
        TruthSerum()(blobs, view("data-injection"))
    with pytest.raises(PluginError, match="replicas >= 0"):
        TruthSerum(-1)
    with pytest.raises(PluginError, match="share from 0 to 1"):
        UntargetedTruthSerum(2)
    alone = type(blobs)(blobs.x, np.zeros(90, int), ("a",))
    for plugin, context in (
        (TruthSerum(), view("data-injection", alone)),
        (UntargetedTruthSerum(), view("data-manipulation")),
    ):
        with pytest.raises(DataError, match="two classes"):
            plugin(alone, context)
