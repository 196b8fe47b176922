"""Reference architectures. Each is a function (row shape, number of classes) -> torch module."""

from __future__ import annotations

import math

from torch import nn

from antivenom.core.errors import ModelError, PluginError
from antivenom.core.registry import architecture


@architecture(cite="Rumelhart et al. 1986, Nature 323")
class MLP:
    """A multilayer perceptron: dense layers with ReLU on flattened rows.

    Fields:
        hidden: widths of the hidden layers.
        dropout: dropout rate of each hidden layer's output during training, 0 to below 1.
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
    """One hidden layer of 256 units with dropout 0.5, the network that the authors' code trains on Census.

    The paper names a second hidden layer. In the code it takes the network's input and feeds nothing, so it has no effect
    on the output and is left out here.
    """

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return MLP(hidden=(256,), dropout=0.5)(shape, num_classes)


@architecture(cite="Bhagoji et al. 2019, arXiv:1811.12470, section 2.4")
class FashionCNN:
    """The paper's network for Fashion-MNIST: two 5x5 convolutions without pooling and one hidden dense layer.

    It has 3.4 million parameters on 28x28 pixels.

    Fields:
        channels: number of filters of each convolution; the paper has 64.
        dense: width of the hidden dense layer; the paper has 128.
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
    """Two 5x5 convolutions with max pooling and one hidden dense layer; about 47,000 parameters on 28x28 pixels.

    Fields:
        channels: number of filters of the first and of the second convolution.
        dense: width of the hidden dense layer.
        dropout: dropout rate of the input of each dense layer.
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


@architecture(cite="Ioffe and Szegedy 2015, arXiv:1502.03167 (batch normalisation)")
class TinyCNN:
    """Convolutions with batch normalisation and a dense head: three, with 9,018 parameters on 28x28 pixels.

    The first two convolutions halve the image, so that an epoch of 10,000 images takes about a second on one core. It serves
    measurements of many attacks and defences that need batch normalisation. On Fashion-MNIST it reaches about 86 %.

    Fields:
        channels: number of filters of each convolution, for two or more convolutions.
    """

    channels: tuple[int, ...] = (8, 16, 32)

    def __post_init__(self) -> None:
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise PluginError("two or more TinyCNN.channels >= 1", f"{self.channels}")

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        depth, height, width = _image(shape, 8)
        layers: list[nn.Module] = []
        for number, filters in enumerate(self.channels):
            kernel, stride = 3 if number else 5, 2 if number < 2 else 1
            layers += [nn.Conv2d(depth, filters, kernel, stride, kernel // 2), nn.BatchNorm2d(filters), nn.ReLU()]
            depth = filters
        side = ((height + 3) // 4 // 2) * ((width + 3) // 4 // 2)
        return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(depth * side, num_classes))


@architecture(cite="He et al. 2016, CVPR, arXiv:1512.03385; the form for 32x32 pixels")
class ResNet18:
    """A residual network of 18 layers with batch normalisation, in its form for 32x32 pixels: 11.2 million parameters.

    The first convolution is 3x3 with stride 1 and no pooling follows, unlike in the form for 224x224 pixels. Four groups of
    two blocks follow; each group but the first doubles the filters and halves the image. With `width: 16` it has 0.7
    million parameters, and an epoch of 10,000 images takes about a minute on one core.

    Fields:
        width: number of filters of the first group; the paper has 64.

    Reference: He, Zhang, Ren and Sun 2016, "Deep Residual Learning for Image Recognition", CVPR.
    """

    width: int = 64

    def __post_init__(self) -> None:
        if self.width < 1:
            raise PluginError("ResNet18.width >= 1", f"{self.width}")

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        from antivenom.models.residual import residual_network

        depth, _, _ = _image(shape, 8)
        return residual_network(depth, self.width, (2, 2, 2, 2), num_classes)


@architecture(cite="Vaswani et al. 2017, arXiv:1706.03762")
class TinyTransformer:
    """A small transformer encoder for token rows: embeddings, one or two encoder layers, their mean, and a dense head.

    Token 0 is padding, which is neither attended to nor averaged, and token 1 stands for words outside the vocabulary, as
    in the token rows of `TextFile` and of the data set imdb-tokens. In training, `word_dropout` replaces words by token 1, which
    keeps the network from relying on single words. Four epochs of 10,000 reviews of imdb-tokens take about 90 seconds on
    one core and give an accuracy of 82 % (AdamW, step size 0.001 with Cosine, batches of 64).

    Fields:
        vocabulary: size of the vocabulary, padding and token 1 included. It must be at least that of the rows.
        width: size of an embedding.
        heads: number of attention heads; it must divide the width.
        depth: number of encoder layers.
        dropout: dropout rate inside the encoder layers and before the head during training.
        word_dropout: probability that a word is replaced by token 1 during training, 0 to below 1.
    """

    vocabulary: int = 20_002
    width: int = 64
    heads: int = 4
    depth: int = 1
    dropout: float = 0.1
    word_dropout: float = 0.2

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads or self.vocabulary < 2 or self.depth < 1:
            got = f"{self.width}, {self.heads}, {self.vocabulary} and {self.depth}"
            raise PluginError("TinyTransformer.width divisible by heads, vocabulary >= 2 and depth >= 1", got)
        if not 0 <= self.dropout < 1 or not 0 <= self.word_dropout < 1:
            raise PluginError(
                "TinyTransformer.dropout and word_dropout from 0 to below 1", f"{self.dropout} and {self.word_dropout}"
            )

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        from antivenom.models.transformer import Encoder

        if len(shape) != 1:
            raise ModelError("token rows (n, length) for TinyTransformer", f"rows of shape {shape}", "use SmallCNN")
        return Encoder(self, shape[0], num_classes)


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
