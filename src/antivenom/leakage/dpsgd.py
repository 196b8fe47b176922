"""DP-SGD: clips the gradient of each row and adds noise that hides its presence. For one model or many at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import DefenceContext
from antivenom.core.registry import robust_learner
from antivenom.data import Dataset
from antivenom.leakage.accountant import epsilon
from antivenom.leakage.shadows import check_plain
from antivenom.models.network import Network
from antivenom.models.schedules import half_cosine
from antivenom.models.stacked import layer_passes, unsupported
from antivenom.models.training import Training
from antivenom.models.wrappers import TorchModel


@robust_learner(goal="privacy", cite="Abadi et al. 2016, CCS, arXiv:1607.00133")
class DPSGD:
    """Trains with per-row gradient clipping and Gaussian noise, which limits the influence of every single row.

    Each step samples every row with the same probability (Poisson sampling), clips the gradient of each row to length C,
    and adds noise of standard deviation sigma C to their sum. This bounds the information on one row that any query to
    the model can reveal, whatever the other rows are. Weakness: it costs accuracy, most of all on rare rows. A row that
    is repeated r times has r times less protection. It needs a network whose parameters are all in dense layers.

    Fields:
        clip: C, maximal length of the gradient of a row, > 0.
        noise: sigma, in units of C, >= 0; with 0 there is clipping only and no guarantee.
        training: epochs, expected batch size, optimiser and learning rate. It replaces the pipeline's training.
        delta: probability with which the guarantee of epsilon can fail, above 0 and below 1.

    Reference: Abadi et al. 2016, "Deep Learning with Differential Privacy", CCS, arXiv:1607.00133.
    """

    clip: float = 1.0
    noise: float = 1.0
    training: Training = Training(epochs=30, batch_size=256, optimizer="sgd", learning_rate=0.5, momentum=0.9)
    delta: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.clip < math.inf or not 0 <= self.noise < math.inf or not 0 < self.delta < 1:
            raise PluginError(
                "DPSGD.clip > 0, noise >= 0 and delta between 0 and 1",
                f"{self.clip}, {self.noise} and {self.delta}",
            )

    def __call__(self, data: Dataset, context: DefenceContext) -> TorchModel:
        one_each = np.unique(data.y, return_index=True)[1]
        shaped = context.fit(data[one_each])  # only its architecture and initial weights are used
        if not isinstance(shaped, TorchModel):
            raise NotApplicable("a torch network for DPSGD", type(shaped).__name__, "choose MLP or Logistic")
        network = shaped.network
        x, y = (torch.tensor(part, device=network.initial.device) for part in (data.dense, data.y))
        rows = torch.arange(len(data), device=x.device).unsqueeze(0)
        generator = context.streams.torch("noise", device=x.device)
        vector = self.train_together(network, network.initial.unsqueeze(0), x, y, rows, generator)[0]
        return TorchModel(network, vector, network.buffers)

    def epsilon(self, rows: int) -> float:
        """The epsilon of training on that many rows, at `delta`; infinite without noise."""
        rate = min(self.training.batch_size / rows, 1.0)
        return epsilon(rate, self.noise, self.training.steps(rows), self.delta) if self.noise else math.inf

    def train_together(
        self, network: Network, start: Tensor, x: Tensor, y: Tensor, rows: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Weights (m, d) of m models, trained from `start` (m, d). Model i sees x[rows[i]], y[rows[i]]; rows is (m, k)."""
        check_dense(network)
        check_plain(self.training)
        vectors = start.clone().requires_grad_()
        optimizer = self.training.optimizer_for(vectors)
        expected, steps = min(self.training.batch_size, rows.shape[1]), self.training.steps(rows.shape[1])
        for step, (batch, real) in enumerate(_sampled(rows, expected / rows.shape[1], steps, generator)):
            total = clipped_sum(network, vectors, x[batch], y[batch], real, self.clip)
            blur = torch.randn(vectors.shape, generator=generator, device=x.device)
            vectors.grad = (total + self.noise * self.clip * blur) / expected
            optimizer.param_groups[0]["lr"] = self.training.learning_rate * half_cosine(step / steps)
            optimizer.step()
        return vectors.detach()


def _sampled(rows: Tensor, rate: float, steps: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """For each step: row indices (m, b), each drawn with probability `rate`, and (m, b) bool, False for padding."""
    for _ in range(steps):
        drawn = torch.rand(rows.shape, generator=generator, device=rows.device) < rate
        sizes = drawn.sum(1)
        real = torch.arange(int(sizes.max()), device=rows.device) < sizes.unsqueeze(1)
        batch = torch.zeros(real.shape, dtype=rows.dtype, device=rows.device)
        batch[real] = rows[drawn]
        yield batch, real


def clipped_sum(network: Network, vectors: Tensor, x: Tensor, y: Tensor, real: Tensor, clip: float) -> Tensor:
    """Sums (m, d) of the gradients of the real rows, each clipped to length `clip`; x is (m, b, ...).

    Gradients of single rows are never built. In a dense layer, the squared length of a row's gradient is
    |inputs|^2 |output gradients|^2. Another backward pass, with losses weighted by the clipping factors, gives the sum.

    Reference: Goodfellow 2015, arXiv:1510.01799 (the lengths); Lee and Kifer 2021, PoPETs (the weights).
    """
    passes = list(layer_passes(network, vectors, x))
    logits = passes[-1][2]
    losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
    dense = [(layer, inputs, outputs) for layer, inputs, outputs in passes if isinstance(layer, nn.Linear)]
    slopes = torch.autograd.grad(losses.sum(), [outputs for _, _, outputs in dense], retain_graph=True)
    squared = torch.zeros_like(losses)
    for (layer, inputs, _), slope in zip(dense, slopes, strict=True):
        weight = inputs.detach().square().sum(-1) + (layer.bias is not None)
        squared += weight * slope.square().sum(-1)
    factors = real * (clip / squared.sqrt().clamp(min=1e-12)).clamp(max=1)
    (total,) = torch.autograd.grad((factors * losses).sum(), vectors)
    return total


def check_dense(network: Network) -> None:
    """Refuses a network for which `clipped_sum` cannot compute the lengths of the gradients.

    Raises:
        NotApplicable: parameters outside of dense layers, or a dense layer that is applied to a row more than once.
    """
    odd = unsupported(network)
    if odd:
        raise NotApplicable("a network of dense layers without dropout", ", ".join(odd), "choose MLP or Logistic")
    layers = list(layer_passes(network, network.initial.unsqueeze(0), torch.zeros(1, 1, *network.row_shape)))
    held = sum(p.numel() for layer, _, outputs in layers if _plain(layer, outputs) for p in layer.parameters())
    random = any(isinstance(layer, nn.Dropout) and layer.p for layer, _, _ in layers)
    if held != network.dimension or random:
        names = sorted({type(layer).__name__ for layer, _, _ in layers})
        raise NotApplicable("a network of dense layers without dropout", ", ".join(names), "choose MLP or Logistic")


def _plain(layer: nn.Module, outputs: Tensor) -> bool:
    return isinstance(layer, nn.Linear) and outputs.dim() == 3
