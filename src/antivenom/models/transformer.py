"""A transformer encoder that classifies token rows.

It is made of plain layers instead of torch's nn.TransformerEncoderLayer, which in evaluation skips its own submodules, so
that no hook sees their outputs, and which has no form for stacked parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from antivenom.data.text import PADDING, UNKNOWN

if TYPE_CHECKING:
    from antivenom.models.architectures import TinyTransformer

_MASKED = -1e9  # added to the attention to padding; unlike infinity, it gives no NaN in a row of padding alone


class Positions(nn.Module):
    """Adds a learned vector for each position to embeddings (m, length, width)."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(length, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class Attention(nn.Module):
    """Each position takes a weighted mean of all positions that are not padding, for each head with weights of its own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.joined = nn.Linear(width, width)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )  # (m, heads, length, width / heads)
        scores = query @ key.transpose(2, 3) / key.shape[-1] ** 0.5
        shares = (scores + _MASKED * (1 - present)[:, None, None, :]).softmax(-1)
        out: Tensor = self.joined((shares @ value).transpose(1, 2).flatten(2))
        return out


class EncoderLayer(nn.Module):
    """Attention and a dense network of twice the width, each added to its input, which is normalised before."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.dense_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.wide, self.relu, self.narrow = nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        self.attention_dropout, self.dense_dropout = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        x = x + self.attention_dropout(self.attention(self.attention_norm(x), present))
        out: Tensor = x + self.dense_dropout(self.narrow(self.relu(self.wide(self.dense_norm(x)))))
        return out


class Encoder(nn.Module):
    """Token rows (m, length) -> logits (m, c).

    Args:
        settings: the sizes and rates.
        length: number of tokens of a row.
        num_classes: c.
    """

    def __init__(self, settings: TinyTransformer, length: int, num_classes: int) -> None:
        super().__init__()
        width = settings.width
        self.word_dropout = nn.Dropout(settings.word_dropout)
        self.embedding = nn.Embedding(settings.vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.positions = Positions(length, width)
        self.layers = nn.ModuleList(
            EncoderLayer(width, settings.heads, settings.dropout) for _ in range(settings.depth)
        )
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(settings.dropout)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        present = (x != PADDING).to(self.head.weight.dtype)
        kept = self.word_dropout(present) != 0  # nn.Dropout draws which words are kept, from the generator of the trial
        seen = torch.where(kept | (present == 0), x, UNKNOWN)
        inner = self.positions(self.embedding(seen))
        for layer in self.layers:
            inner = layer(inner, present)
        total = (self.norm(inner) * present[:, :, None]).sum(1)
        mean = total / present.sum(1, keepdim=True).clamp(min=1)
        out: Tensor = self.head(self.dropout(mean))
        return out
