"""A gate that corrupts inputs in many ways and compares how soon each corruption changes the prediction."""

from __future__ import annotations

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.protocols import DefenceContext, InputFilter, Model
from antivenom.core.registry import gate
from antivenom.core.threat import Goal
from antivenom.data import Dataset
from antivenom.defences.corruptions import CORRUPTIONS, SEVERITIES
from antivenom.defences.gates.thresholds import above, mahalanobis
from antivenom.defences.inputs import check_share, require_images

BATCH = 2048  # images that are corrupted at a time


@gate(goal=Goal.BACKDOOR, cite="Liu et al. 2023, CVPR, arXiv:2303.18191")
class TeCo:
    """Refuses images that some corruptions change soon and others late (test-time corruption robustness consistency).

    Noise, blur, light and compression are applied in five severities, and the smallest severity that changes the predicted
    class is noted for each of the nine corruptions, 6 if none does. An honest image stands all of them in a way that is
    usual for the model. A triggered one stands those that leave its trigger alone, and falls at once to those that destroy
    it. The score is the squared Mahalanobis distance of these severities from those of the clean rows. It needs images, clean
    rows, and only the class that the model answers.

    The paper has no clean rows and takes the standard deviation of the severities (`deviation: true`), since its models stand
    all corruptions about equally well. Small networks that were trained without such images do not: some corruptions change
    most clean predictions at once, and triggered inputs then vary *less* than clean ones.

    Weakness: a trigger that the model has learnt so well that it survives every corruption is missed, and a small patch
    often does. It asks the model up to 45 times for each image.

    Fields:
        false_rejection: share of the clean rows that the threshold refuses at most, 0 to 1.
        deviation: score by the standard deviation of the severities instead, as in the paper.

    Reference: Liu, Li, Wang, Hu, Ye, Jin, Wu and Xiao 2023, "Detecting Backdoors During the Inference Stage Based on
    Corruption Robustness Consistency", CVPR, arXiv:2303.18191. There fifteen corruptions are used.
    """

    false_rejection: float = 0.05
    deviation: bool = False

    def __post_init__(self) -> None:
        check_share(self.false_rejection, "TeCo.false_rejection")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
        require_images(clean, self, "use TED")
        if not len(clean):
            raise DataError("clean rows for TeCo", "none", "raise clean_rows")
        low, high = float(clean.dense.min()), float(clean.dense.max())
        seed = int(context.streams.numpy("corruptions").integers(2**62))

        def severities(x: np.ndarray) -> np.ndarray:
            parts = [first_changes(model, x[i : i + BATCH], low, high, seed) for i in range(0, len(x), BATCH)]
            return np.concatenate(parts) if parts else np.zeros((0, len(CORRUPTIONS)))

        own = severities(clean.dense)
        score = spread if self.deviation else mahalanobis(own)
        return above(lambda x: score(severities(x)), score(own), self.false_rejection)


def spread(severities: np.ndarray) -> np.ndarray:
    """(m,) standard deviation of each image's severities (m, corruptions)."""
    return np.asarray(severities.std(axis=1))


def first_changes(model: Model, x: np.ndarray, low: float, high: float, seed: int) -> np.ndarray:
    """(m, corruptions) the smallest severity at which each corruption changes the prediction for each image, 6 if none does.

    Args:
        model: the model that is asked.
        x: (m, channels, height, width) images.
        low: the smallest value of a pixel.
        high: the largest value of a pixel.
        seed: seed of the random numbers of the noises.
    """
    scale = max(high - low, 1e-12)
    predicted, unit = model.predict(x), (np.asarray(x, dtype=np.float64) - low) / scale
    found = np.full((len(x), len(CORRUPTIONS)), SEVERITIES + 1)
    for column, corrupt in enumerate(CORRUPTIONS):
        left = np.arange(len(x))  # images whose prediction no smaller severity has changed
        for severity in range(1, SEVERITIES + 1):
            changed = np.clip(corrupt(unit[left], severity, np.random.default_rng([seed, column, severity])), 0, 1)
            same = model.predict(np.asarray(low + scale * changed, dtype=np.float32)) == predicted[left]
            found[left[~same], column] = severity
            left = left[same]
    return found
