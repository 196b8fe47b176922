"""The user's training pipeline in a scenario, and the part of it that a defence may call."""

from __future__ import annotations

from dataclasses import dataclass, replace

from antivenom.core.protocols import Architecture, DefenceContext, Estimator, Model
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.fast.trainer import slow_note, train_fastest
from antivenom.models.training import Loss, Training, cross_entropy
from antivenom.models.wrappers import BlackBoxLearner, TorchModel, learner
from antivenom.scenarios.copies import copied


@dataclass(frozen=True)
class Pipeline:
    """How the user gets a model from rows.

    Fields:
        model: an architecture, an estimator or a black box.
        training: how a torch model is trained.
        device: the torch device to train on.
        streams: random streams of the trial.
    """

    model: Architecture | Estimator
    training: Training
    device: str
    streams: Streams

    def fit(self, data: Dataset, name: str, loss: Loss = cross_entropy) -> Model:
        """Train from scratch. `name` is the name of the random stream; equal names give equal initial weights."""
        return learner(self.model, self.training, self.device, train_fastest).fit(data, self.streams.child(name), loss)

    def deployed(self, data: Dataset, loss: Loss, touched: bool) -> Model:
        """The model that is judged: fitted to the rows or, for a black box, the finished model.

        Args:
            data: the rows.
            loss: the training loss.
            touched: an attack or a defence changed the rows.

        Raises:
            NotApplicable: a black box whose rows or loss were changed, since it cannot be fitted.
        """
        maker = learner(self.model, self.training, self.device, train_fastest)
        if isinstance(maker, BlackBoxLearner) and not touched and loss is cross_entropy:
            return maker.finished(data)
        return maker.fit(data, self.streams.child("model"), loss)

    def refit(self, model: Model, data: Dataset, epochs: int, name: str) -> Model:
        """Continue the training of a model for that many epochs, with the random stream `name`."""
        maker = learner(self.model, replace(self.training, epochs=epochs), self.device, train_fastest)
        return maker.fit(data, self.streams.child(name), start=model)

    def notes(self, model: Model, loss: Loss = cross_entropy) -> tuple[str, ...]:
        """Notes for the outcome about how this model was trained."""
        if not isinstance(model, TorchModel) or loss is not cross_entropy:
            return ()
        note = slow_note(model.network, self.training, self.device)
        return () if note is None else (note,)

    def context(self, trusted: Dataset | None = None) -> DefenceContext:
        """What a defence sees. Its trainings use the honest loss, even if a logic attack corrupted the pipeline's."""
        fit, refit = self.streams.sealed("defence fit"), self.streams.sealed("defence refit")
        honest = HonestTraining(copied(self.model), self.training, self.device, fit, refit)
        held = trusted if trusted is not None and len(trusted) else None
        return DefenceContext(self.streams.sealed("defence"), honest.fit, honest.refit, held)


@dataclass(frozen=True)
class HonestTraining:
    """The pipeline's training for a defence. Its two streams are sealed, so that it reveals no other random numbers.

    Fields:
        model: an architecture, an estimator or a black box.
        training: how a torch model is trained.
        device: the torch device to train on.
        from_scratch: random streams of `fit`.
        further: random streams of `refit`.
    """

    model: Architecture | Estimator
    training: Training
    device: str
    from_scratch: Streams
    further: Streams

    def fit(self, data: Dataset, name: str = "", loss: Loss = cross_entropy) -> Model:
        streams = self.from_scratch.child(name) if name else self.from_scratch
        return learner(self.model, self.training, self.device, train_fastest).fit(data, streams, loss)

    def refit(self, model: Model, data: Dataset, epochs: int) -> Model:
        return learner(self.model, replace(self.training, epochs=epochs), self.device, train_fastest).fit(
            data, self.further, start=model
        )
