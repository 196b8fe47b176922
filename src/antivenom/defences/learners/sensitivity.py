"""A robust learner that tells rows apart by how much their features change when the image is turned."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.inputs import first_of_each_class, require_images
from antivenom.defences.learners.isolation import network_for, unlearning
from antivenom.defences.networks import network_of
from antivenom.defences.repair.loops import settings
from antivenom.models.wrappers import TorchModel, loop

TURNS = (-40.0, -20.0, 20.0, 40.0)  # degrees
ZOOM = 0.9  # the turned images are shrunk by this factor too


@robust_learner(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Chen, Wu and Wang 2022, NeurIPS",
)
class DBR:
    """Trains on all rows, then unlearns those whose features change most under turning and learns those that change least (D-BR).

    A trigger is a brittle pattern: when a poisoned image is turned and shrunk, its features jump from the target class to
    another, while those of an honest image change less. This change, the squared distance of the features of an image and of
    the changed image, is measured in a network that was trained for few epochs. The backdoored network is then trained on
    the share `clean` of each class with the smallest changes, while the loss of the share `poisoned` with the largest ones is raised up to
    that of a guess. It needs a torch network, images, and no clean rows.

    Weakness: triggers that survive turning, such as a blend over the whole image, change no more than honest rows. Rows with
    true labels and weak triggers are not found.

    Fields:
        clean: share of the rows that is learnt again, above 0.
        poisoned: share of the rows that is unlearnt, above 0; together with `clean` at most 1.
        warming: epochs of the training before the changes are measured, from 1.
        epochs: passes over the rows that are learnt again, from 1.
        learning_rate: step size of these passes at their start.
        weight: weight of the unlearning, >= 0.

    Reference: Chen, Wu and Wang 2022, "Effective Backdoor Defense by Exploiting Sensitivity of Poisoned Samples", NeurIPS.
    Its other learner, D-ST, trains a new network by contrastive learning instead; see `DBD` for this idea.
    """

    clean: float = 0.2
    poisoned: float = 0.05
    warming: int = 4
    epochs: int = 10
    learning_rate: float = 0.01
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not (self.clean > 0 and self.poisoned > 0 and self.clean + self.poisoned <= 1):
            raise PluginError("DBR.clean and poisoned above 0, together at most 1", f"{self.clean} and {self.poisoned}")
        if min(self.warming, self.epochs) < 1:
            raise PluginError("DBR.warming and epochs >= 1", f"{self.warming} and {self.epochs}")
        if not 0 < self.learning_rate < math.inf or not 0 <= self.weight < math.inf:
            raise PluginError("DBR.learning_rate > 0 and weight >= 0", f"{self.learning_rate} and {self.weight}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        require_images(data, self, "use ABL")
        network, x, y = network_for(self, data, context)
        start = TorchModel(network, network.initial, network.buffers)
        order = np.argsort(changes(network_of(context.refit(start, data, self.warming), self), data), kind="stable")
        learnt = first_of_each_class(order, data.y, self.clean)
        unlearnt = order[-max(1, int(self.poisoned * len(data))) :]
        backdoored = network_of(context.fit(data, "all rows"), self)
        loss = unlearning(x[unlearnt], y[unlearnt], self.weight, context)
        training = settings(len(learnt), self.epochs, self.learning_rate)
        return loop(backdoored, x[learnt], y[learnt], training, context.streams.child("relearning"), loss)


def changes(model: TorchModel, data: Dataset) -> np.ndarray:
    """(n,) squared distance of each image's features and those of the turned and shrunk image, averaged over four turns."""
    before, total = model.features(data.dense), np.zeros(len(data))
    for degrees in TURNS:
        total += ((model.features(turned(data.dense, degrees)) - before) ** 2).sum(axis=1)
    return total / len(TURNS)


def turned(x: np.ndarray, degrees: float, zoom: float = ZOOM) -> np.ndarray:
    """The images (m, channels, height, width) turned about their centre and shrunk; the border values fill the rest."""
    angle, images = math.radians(degrees), torch.tensor(x, dtype=torch.float32)
    cos, sin, (height, width) = math.cos(angle), math.sin(angle), images.shape[2:]
    matrix = torch.tensor([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]) / zoom
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    moved: Tensor = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return np.asarray(moved.numpy())
