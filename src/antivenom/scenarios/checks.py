"""What a scenario checks before anything is trained: that its fields suit the rows, and its plugins the scenario.

An error says which field it is about (`AntivenomError.of`). Plugins of third parties are not called here; their errors become
records of the trials in which they occur.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from antivenom.core.errors import AntivenomError
from antivenom.core.protocols import Architecture, Estimator
from antivenom.core.streams import Streams
from antivenom.core.threat import Goal
from antivenom.core.wanted import Rows
from antivenom.data import Dataset
from antivenom.models.own import OWN
from antivenom.models.scikit import SklearnLearner
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchLearner, learner
from antivenom.scenarios.grants import Aim
from antivenom.scenarios.metrics import Judge
from antivenom.scenarios.targets import classes_wanted


@contextlib.contextmanager
def about(field: str) -> Iterator[None]:
    """Note that an error inside the block is about this field of the scenario, or about its "attack" or "defence"."""
    try:
        yield
    except AntivenomError as error:
        raise error.of(field) from None


def is_ours(plugin: object) -> bool:
    """Whether the plugin is antivenom's, and neither a third party's nor the user's own model."""
    return type(plugin).__module__.partition(".")[0] == "antivenom" and not isinstance(plugin, OWN)


def drawn_by(wanted: object) -> str:
    """The field that says which test rows become targets."""
    return "wanted" if isinstance(wanted, Rows) else "num_targets"


def check_aim(test: Dataset, aim: Aim) -> None:
    """Check that the wanted classes exist among those of the test rows, and that the trigger suits the rows."""
    goal = aim.threat.goal
    with about("wanted"):
        if goal in (Goal.BACKDOOR, Goal.TARGETED) and is_ours(aim.wanted) and not isinstance(aim.wanted, Rows):
            classes_wanted(aim.wanted, test.y, test.num_classes)
    with about("trigger" if goal is Goal.BACKDOOR else "data"):
        if is_ours(aim.trigger) and is_ours(aim.wanted):
            Judge(test, aim)


def check_model(model: Architecture | Estimator, training: Training, data: Dataset) -> None:
    """Check that the model can be made for rows of this shape, and that an estimator's parameters are valid."""
    if not is_ours(model):
        return
    with about("model"):
        maker: Any = learner(model, training)
        if isinstance(maker, TorchLearner) and not data.is_regression:
            maker.network(data, Streams(0))
        elif isinstance(maker, SklearnLearner):
            maker.check(data)
