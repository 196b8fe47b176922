"""Gates that refuse inputs whose prediction survives enlarged pixels or enlarged weights."""

from __future__ import annotations

import numpy as np
import torch

from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, InputFilter, Model
from antivenom.core.registry import gate
from antivenom.core.threat import Goal
from antivenom.data import Dataset, Rows
from antivenom.defences.gates.thresholds import above
from antivenom.defences.inputs import check_share, require_images
from antivenom.defences.networks import network_of, rows_of
from antivenom.defences.repair.neurons import Neurons, neurons_of
from antivenom.models.wrappers import TorchModel

MOST_INVARIANT = 0.8  # clean rows whose predictions survive scaling more often than this leave no room above them
MOST_ROUNDS = 4  # of enlargement of all batch norms


@gate(goal=Goal.BACKDOOR, cite="Guo et al. 2023, arXiv:2302.03251")
class ScaleUp:
    """Multiplies the pixels of each input by several factors and refuses it if its prediction stays the same.

    A network that has learnt a trigger too well predicts its class however bright the image is, while predictions for
    honest images change (SCALE-UP). The score is the share of the factors at which the prediction stays the same. It needs
    images, clean rows for the threshold, and only queries to the model.

    Weakness: dark images with few grey levels hardly change when they are scaled, so that clean predictions stay the same
    too. The gate then has no power, and refuses to be used where the mean score of the clean rows is above 0.8. Triggers
    that scaling damages are missed. Many clean images of the target class keep their prediction as well, so that a
    false-rejection rate below the share of this class leaves no power.

    Fields:
        factors: numbers by which the distance of each pixel from the smallest clean value is multiplied, above 1.
        false_rejection: share of the clean rows that the threshold refuses at most, 0 to 1.

    Reference: Guo, Li, Chen, Guo, Sun and Liu 2023, "SCALE-UP: An Efficient Black-box Input-level Backdoor Detection via
    Analyzing Scaled Prediction Consistency", ICLR, arXiv:2302.03251.
    """

    factors: tuple[float, ...] = (3.0, 5.0, 7.0, 9.0, 11.0)
    false_rejection: float = 0.2

    def __post_init__(self) -> None:
        if not self.factors or not all(1 < factor < float("inf") for factor in self.factors):
            raise PluginError("one or more ScaleUp.factors above 1", f"{self.factors}")
        check_share(self.false_rejection, "ScaleUp.false_rejection")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
        require_images(clean, self, "use STRIP")
        if not len(clean):
            raise DataError("clean rows for ScaleUp", "none", "raise clean_rows")
        low, high = clean.dense.min(), clean.dense.max()

        def score(x: np.ndarray) -> np.ndarray:
            return self.consistency(model, x, float(low), float(high))

        own = score(clean.dense)
        if own.mean() > MOST_INVARIANT:
            raise NotApplicable(
                f"clean rows whose predictions change when they are scaled (mean consistency up to {MOST_INVARIANT})",
                f"{own.mean():.2f}",
                "use TED",
            )
        return above(score, own, self.false_rejection)

    def consistency(self, model: Model, x: np.ndarray, low: float, high: float) -> np.ndarray:
        """(m,) share of the factors at which the prediction for each input is that for the input itself."""
        predicted, same = model.predict(x), np.zeros(len(x))
        for factor in self.factors:
            scaled = np.clip(low + factor * (x - low), low, high).astype(np.float32)
            same += model.predict(scaled) == predicted
        return same / len(self.factors)


@gate(goal=Goal.BACKDOOR, cite="Hou et al. 2024, arXiv:2405.09786")
class IBDPSC:
    """Enlarges the last batch norms and refuses inputs that the enlarged models still predict with confidence (IBD-PSC).

    The scales and shifts of the last batch norms are multiplied by `factor`, one more batch norm at a time, until the model
    errs on more than `error` of the clean rows. The score of an input is the confidence in its predicted class, averaged over
    `models` models, this one and those with further batch norms enlarged. Triggers give activations that are so large that
    their prediction survives. In a network with few batch norms, enlargement begins again with the last one, up to four
    times; if the errors stay too few, it stops where they are most. It needs batch norm and clean rows, and no gradients.

    The confidence is the log-odds of the class. The paper takes its probability, which is 1 to rounding for many clean rows
    of the classes that survive enlargement, so that no threshold tells them from triggered ones.

    Weakness: a shallow network with batch norm hardly changes its predictions when it is enlarged. A trigger that is blended
    into the whole image need not survive: then its inputs score below clean ones. An attacker who trains with enlarged batch
    norms evades it.

    Fields:
        factor: number by which scales and shifts are multiplied, above 1.
        models: number of enlarged models, at least 1.
        error: error rate on the clean rows that the first enlarged model exceeds, 0 to below 1.
        false_rejection: share of the clean rows that the threshold refuses at most, 0 to 1.

    Reference: Hou, Feng, Hua, Luo, Zhang and Li 2024, "IBD-PSC: Input-level Backdoor Detection via Parameter-oriented
    Scaling Consistency", ICML, arXiv:2405.09786.
    """

    factor: float = 1.5
    models: int = 5
    error: float = 0.6
    false_rejection: float = 0.05

    def __post_init__(self) -> None:
        if not 1 < self.factor < float("inf") or self.models < 1 or not 0 <= self.error < 1:
            raise PluginError(
                "IBDPSC.factor above 1, models >= 1 and error from 0 to below 1",
                f"{self.factor}, {self.models} and {self.error}",
            )
        check_share(self.false_rejection, "IBDPSC.false_rejection")

    def __call__(self, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
        network = network_of(model, self)
        neurons = neurons_of(network, self)
        rows_of(network, clean, self)
        first = self.enlargements(network, neurons, clean)
        enlarged = [self.enlarged(network, neurons, first + i) for i in range(self.models)]

        def score(x: np.ndarray) -> np.ndarray:
            predicted = network.predict(x)
            return np.asarray(np.mean([log_odds(other, x, predicted) for other in enlarged], axis=0))

        return above(score, score(clean.inputs), self.false_rejection)

    def enlargements(self, model: TorchModel, neurons: Neurons, clean: Dataset) -> int:
        """The smallest number of enlargements with which the model errs on more than `error` of the clean rows.

        If none does, it is the number with the most errors.
        """
        errors = []
        for count in range(1, MOST_ROUNDS * len(set(neurons.layers)) + 1):
            enlarged = self.enlarged(model, neurons, count)
            errors.append(float((enlarged.predict(clean.inputs) != clean.y).mean()))
            if errors[-1] > self.error:
                return count
        return int(np.argmax(errors)) + 1

    def enlarged(self, model: TorchModel, neurons: Neurons, count: int) -> TorchModel:
        """The model after that many enlargements of a batch norm, from the last one to the first, and again."""
        names = list(dict.fromkeys(neurons.layers))[::-1]
        vector = model.vector.clone()
        for step in range(count):
            own = torch.as_tensor(np.flatnonzero(neurons.layers == names[step % len(names)]), device=vector.device)
            vector[torch.cat([neurons.scales[own], neurons.shifts[own]])] *= self.factor
        return model.with_vector(vector)


def log_odds(model: TorchModel, x: Rows, classes: np.ndarray) -> np.ndarray:
    """(m,) logit of a class of each input, less the logarithm of the sum of the exponentials of the others."""
    logits = model.logits(x).double()
    own = torch.as_tensor(classes, device=logits.device)[:, None]
    others = logits.scatter(1, own, -torch.inf).logsumexp(1, keepdim=True)
    return np.asarray((logits.gather(1, own) - others).squeeze(1).cpu().numpy())
