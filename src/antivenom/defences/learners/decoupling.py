"""A robust learner that learns features without labels, so that no label can be tied to a trigger."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext, Model
from antivenom.core.registry import robust_learner
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset
from antivenom.defences.inputs import first_of_each_class
from antivenom.defences.learners.isolation import network_for
from antivenom.models.augmentations import Crop, Flip
from antivenom.models.schedules import Cosine
from antivenom.models.training import Forward, Loss, Training
from antivenom.models.wrappers import TorchModel, loop

STEPS = 300  # of the training of the head
CLIPPED = 1e-4  # smallest probability in the reverse cross-entropy: its logarithm is the paper's A


@robust_learner(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.BACKDOOR,
    cite="Huang et al. 2022, ICLR, arXiv:2202.03423",
)
class DBD:
    """Learns features without labels, then a head on them, and tunes the network on the rows that this head fits best.

    Decoupling-based defence. The network is first trained by contrastive learning (SimCLR): two random views of an image
    should have similar outputs, and views of different images dissimilar ones. Poisoned images then lie near honest ones
    that look alike, whatever their label. A linear head on these features is trained by symmetric cross-entropy, which
    holds against wrong labels. The share `credible` of each class with the smallest losses is what the whole network is then
    tuned on. It needs a torch network, images, and no clean rows.

    Weakness: the features of a small network that was trained without labels for few epochs are poor, so that honest rows
    are left out and accuracy falls. A trigger over the whole image is a feature of its own: its rows lie together, the head
    fits them, and the backdoor is learnt. The time is several times that of plain training.

    Fields:
        contrastive: epochs of the training without labels, from 1.
        temperature: divisor of the cosine similarities of views, > 0.
        credible: share of the rows of each class on which the network is tuned, above 0 and at most 1.
        epochs: passes of the tuning over these rows, from 1.

    Reference: Huang, Li, Wu, Qin and Ren 2022, "Backdoor Defense via Decoupling the Training Process", ICLR,
    arXiv:2202.03423. There the other rows are used without their labels in the last training (MixMatch), and here they are
    left out; there the network has a separate projection for the contrastive loss, and here it is the head.
    """

    contrastive: int = 20
    temperature: float = 0.5
    credible: float = 0.5
    epochs: int = 6

    def __post_init__(self) -> None:
        if min(self.contrastive, self.epochs) < 1 or not 0 < self.temperature < math.inf:
            got = f"{self.contrastive}, {self.epochs} and {self.temperature}"
            raise PluginError("DBD.contrastive and epochs >= 1, and temperature > 0", got)
        if not 0 < self.credible <= 1:
            raise PluginError("DBD.credible above 0 and at most 1", f"{self.credible}")

    def __call__(self, data: Dataset, context: DefenceContext) -> Model:
        if not data.is_image or len(data.classes) < 2:
            raise NotApplicable("images of two or more classes for DBD", f"rows of shape {data.shape}", "use ABL")
        encoder, y = self.encoded(data, context)
        features = torch.as_tensor(encoder.features(data.inputs), device=y.device)
        weight, bias, losses = robust_head(features, y, data.num_classes)
        kept = np.sort(first_of_each_class(np.argsort(losses, kind="stable"), data.y, self.credible))
        return context.refit(with_head(encoder, weight, bias), data[kept], self.epochs)

    def encoded(self, data: Dataset, context: DefenceContext) -> tuple[TorchModel, Tensor]:
        """The network after contrastive training, for which labels play no part, and the labels (n,) on its device."""
        network, x, y = network_for(self, data, context)
        streams = context.streams.child("contrast")
        training = Training(self.contrastive, min(256, len(y)), "adam", 0.002, schedule=Cosine())
        loss = contrast(self.temperature, streams.torch("views", device=x.device))
        start = TorchModel(network, network.initial, network.buffers)
        return loop(start, x, y, training, streams, loss), y


def contrast(temperature: float, generator: torch.Generator) -> Loss:
    """SimCLR's loss of a batch: the cross-entropy of finding the other view of each image among all views."""

    def loss(forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        outputs = F.normalize(forward(torch.cat([view(x, generator), view(x, generator)])))
        similar = (outputs @ outputs.T / temperature).fill_diagonal_(-torch.inf)
        return F.cross_entropy(similar, torch.arange(2 * len(x), device=x.device).roll(len(x)))

    return loss


def view(x: Tensor, generator: torch.Generator) -> Tensor:
    """The images (m, channels, height, width), moved by up to an eighth of their side, mirrored, brightened and blotted out in part."""
    height, width = x.shape[2:]
    moved = Flip()(Crop(max(1, height // 8))(x, generator), generator)
    light = torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(0.6, 1.4, generator=generator)
    top, left = (
        torch.randint(side, (len(x), 1, 1, 1), generator=generator, device=x.device) for side in (height, width)
    )
    down, across = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)[None]
    hidden = (down >= top) & (down < top + height // 3) & (across >= left) & (across < left + width // 3)
    return torch.where(hidden, moved.mean(), moved * light)


def robust_head(features: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """A linear head trained by symmetric cross-entropy, (c, width) and (c,), and the loss (n,) of each row under it.

    The loss is the cross-entropy plus the reverse one, in which prediction and label change places (Wang et al. 2019).
    """
    centre, spread = features.mean(0), features.std(0).clamp(min=1e-6)
    scaled = (features - centre) / spread
    weight = torch.zeros(classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)
    for _ in range(STEPS):
        losses = symmetric(F.linear(scaled, weight, bias), y)
        weight.grad, bias.grad = torch.autograd.grad(losses.mean(), [weight, bias])
        optimizer.step()
    with torch.no_grad():
        losses = symmetric(F.linear(scaled, weight, bias), y)
        unscaled = weight / spread
        return unscaled, bias - unscaled @ centre, np.asarray(losses.cpu().numpy(), dtype=np.float64)


def symmetric(logits: Tensor, y: Tensor) -> Tensor:
    """(n,) symmetric cross-entropy of logits (n, c) with labels (n,), with weight .1 of the usual one and 1 of the reverse."""
    reverse = -math.log(CLIPPED) * (1 - logits.softmax(1).gather(1, y[:, None])[:, 0])
    return 0.1 * F.cross_entropy(logits, y, reduction="none") + reverse


def with_head(model: TorchModel, weight: Tensor, bias: Tensor) -> TorchModel:
    """The model with another last layer."""
    vector, head = model.vector.clone(), model.network.head()
    parameters = model.network.parameters(vector)
    parameters[f"{head.name}.weight"].copy_(weight)
    if f"{head.name}.bias" in parameters:
        parameters[f"{head.name}.bias"].copy_(bias)
    return model.with_vector(vector)
