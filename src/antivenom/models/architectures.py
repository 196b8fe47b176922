"""Reference architectures by name. Each is (row shape, classes) -> torch module."""

from __future__ import annotations

import math

from torch import nn

from antivenom.core.errors import ModelError
from antivenom.core.registry import architecture


@architecture(cite="Rumelhart et al. 1986, Nature 323")
class MLP:
    """A network of dense layers with ReLU.

    Fields:
        hidden: widths of the hidden layers.
        dropout: share of hidden units dropped while training.
    """

    hidden: tuple[int, ...] = (64,)
    dropout: float = 0.0

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(shape)
        for hidden in self.hidden:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, num_classes))


@architecture(cite="Bhagoji et al. 2019, arXiv:1811.12470; derived from the authors' code")
class CensusNet:
    """104-256-2 with dropout .5: the network that the authors' Census experiments really train.

    Their second hidden layer is wired to the input, so it has no part in the output.
    """

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return MLP(hidden=(256,), dropout=0.5)(shape, num_classes)


@architecture(cite="Bhagoji et al. 2019, arXiv:1811.12470, section 2.4")
class FashionCNN:
    """The paper's network for Fashion-MNIST: two 5x5 convolutions of 64 without pooling, dense 128; 3.4 M parameters.

    Fields:
        channels: of both convolutions; 64 is the paper's.
        dense: width of the hidden dense layer; 128 is the paper's.
    """

    channels: int = 64
    dense: int = 128

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        depth, height, width = _image(shape, 9)
        return nn.Sequential(
            nn.Conv2d(depth, self.channels, 5),
            nn.ReLU(),
            nn.Conv2d(self.channels, self.channels, 5),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(self.channels * (height - 8) * (width - 8), self.dense),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(self.dense, num_classes),
        )


@architecture(cite="LeCun et al. 1998, Proc. IEEE 86(11)")
class SmallCNN:
    """Two 5x5 convolutions with max pooling and one hidden dense layer; about 47 k parameters on 28x28.

    Fields:
        channels: of the two convolutions.
        dense: width of the hidden dense layer.
        dropout: before each dense layer.
    """

    channels: tuple[int, int] = (16, 32)
    dense: int = 64
    dropout: float = 0.25

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        depth, height, width = _image(shape, 16)
        first, second = self.channels
        side = (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        return nn.Sequential(
            nn.Conv2d(depth, first, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(self.dropout),
            nn.Flatten(),
            nn.Linear(second * side, self.dense),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.dense, num_classes),
        )


def _image(shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < smallest:
        raise ModelError(f"images of at least {smallest}x{smallest}", f"rows of shape {shape}", "use MLP")
    depth, height, width = shape
    return depth, height, width


@architecture(cite="Cox 1958, JRSS B 20(2)")
class Logistic:
    """Multinomial logistic regression as a torch module: one dense layer."""

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return MLP(hidden=())(shape, num_classes)
