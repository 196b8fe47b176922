"""The user's own side of the central and transfer arrows: which rows are theirs, and how they train."""

from __future__ import annotations

from dataclasses import dataclass, replace

from antivenom.core.protocols import Architecture, DefenceContext, Estimator, Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.models.wrappers import BlackBoxLearner, learner


@dataclass(frozen=True)
class Pipeline:
    """How the user's model comes from rows.

    Fields:
        model: what makes it: an architecture, an estimator or a black box.
        training: how it is trained.
        device: where.
        streams: of the trial.
    """

    model: Architecture | Estimator
    training: Training
    device: str
    streams: Streams

    def fit(self, data: Dataset, name: str, loss: Loss = cross_entropy) -> Model:
        """Train from scratch; `name` is the random stream, so that equal names start from equal weights."""
        return learner(self.model, self.training, self.device).fit(data, self.streams.child(name), loss)

    def deployed(self, data: Dataset, loss: Loss, touched: bool) -> Model:
        """The model that is judged: fitted to the rows or, for a black box, as it is.

        Raises:
            NotApplicable: a black box, and `touched`: an attack or a defence changed what it would be fitted to.
        """
        maker = learner(self.model, self.training, self.device)
        if isinstance(maker, BlackBoxLearner) and not touched and loss is cross_entropy:
            return maker.finished(data)
        return maker.fit(data, self.streams.child("model"), loss)

    def refit(self, model: Model, data: Dataset, epochs: int, name: str) -> Model:
        """Train a model further."""
        maker = learner(self.model, replace(self.training, epochs=epochs), self.device)
        return maker.fit(data, self.streams.child(name), start=model)

    def context(self, trusted: Dataset | None = None) -> DefenceContext:
        """What a defence gets. Its trainings run the honest code, even where the pipeline's own is corrupted."""
        return DefenceContext(
            self.streams.child("defence"),
            fit=lambda data: self.fit(data, "defence fit"),
            refit=lambda model, data, epochs: self.refit(model, data, epochs, "defence refit"),
            trusted=trusted if trusted is not None and len(trusted) else None,
        )
