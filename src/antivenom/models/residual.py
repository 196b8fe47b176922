"""Residual networks with batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions, each with batch normalisation, whose result is added to the block's input.

    If the block changes the number of filters or halves the image, the same is done to the input, by a 1x1 convolution of
    every second pixel.
    """

    def __init__(self, depth: int, filters: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(depth, filters, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(filters)
        self.first_relu = nn.ReLU()
        self.second = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(filters)
        self.second_relu = nn.ReLU()
        changes = stride != 1 or depth != filters
        resized = (nn.Conv2d(depth, filters, 1, bias=False), nn.BatchNorm2d(filters)) if changes else ()
        self.shortcut, self.stride = nn.Sequential(*resized), stride

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first_relu(self.first_norm(self.first(x)))
        # The same as a 1x1 convolution with a stride, whose gradient in torch 2.13 overwrites foreign memory on a CPU if the
        # filters are no multiple of 8.
        kept = x[:, :, :: self.stride, :: self.stride]
        out: Tensor = self.second_relu(self.second_norm(self.second(inner)) + self.shortcut(kept))
        return out


def residual_network(depth: int, width: int, groups: Sequence[int], num_classes: int) -> nn.Module:
    """A network whose first convolution is 3x3, and whose groups of blocks double the filters, except the first group.

    Args:
        depth: number of channels of the images.
        width: number of filters of the first group.
        groups: number of blocks of each group.
        num_classes: number of classes.
    """
    layers: list[nn.Module] = [nn.Conv2d(depth, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    entering = width
    for group, blocks in enumerate(groups):
        filters = width << group
        for block in range(blocks):
            layers.append(Block(entering, filters, 2 if group and not block else 1))
            entering = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, num_classes))
