"""The auto-encoder that writes perturbations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from antivenom.core.streams import Streams


class Generator(nn.Module):
    """g(x) = epsilon tanh(decoder(encoder(x))), with one dense layer each.

    The paper's is convolutional. On two cores this one takes a tenth of its time a batch, and rows may be tables.
    """

    def __init__(self, shape: tuple[int, ...], code: int, epsilon: float) -> None:
        super().__init__()
        width = math.prod(shape)
        self.epsilon = epsilon
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(width, code), nn.ReLU(), nn.Linear(code, width), nn.Unflatten(1, shape)
        )

    def forward(self, x: Tensor) -> Tensor:
        perturbation: Tensor = self.epsilon * torch.tanh(self.layers(x))
        return perturbation


def generator(shape: tuple[int, ...], code: int, epsilon: float, streams: Streams) -> Generator:
    """One with weights drawn from the stream "generator"; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.child("generator").key)
        return Generator(shape, code, epsilon)
