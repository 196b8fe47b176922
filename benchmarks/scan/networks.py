"""torch modules, state dicts, optimizers' states and scripts: small, and the same each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

# What constructors need; a layer that is not here is built without arguments.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("Linear", "Bilinear", "RNNBase"), (4, 3)),
    **dict.fromkeys(("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "EmbeddingBag", "Embedding"), (4, 3)),
    **{f"{kind}{d}d": (2, 3, 2) for kind in ("Conv", "ConvTranspose") for d in (1, 2, 3)},
    **{f"LazyConv{kind}{d}d": (3, 2) for kind in ("", "Transpose") for d in (1, 2, 3)},
    **{f"{kind}Pool{d}d": (2,) for kind in ("Max", "Avg") for d in (1, 2, 3)},
    **{f"Adaptive{kind}Pool{d}d": (2,) for kind in ("Max", "Avg") for d in (1, 2, 3)},
    **{f"FractionalMaxPool{d}d": (2, 1) for d in (2, 3)},
    **{f"LPPool{d}d": (2, 2) for d in (1, 2, 3)},
    **{f"{kind}Norm{d}d": (3,) for kind in ("Batch", "Instance") for d in (1, 2, 3)},
    **{
        f"{kind}Pad{d}d": (1,)
        for kind in ("Reflection", "Replication", "Zero", "Circular", "Constant")
        for d in (1, 2, 3)
    },
    **{f"MaxUnpool{d}d": (2,) for d in (1, 2, 3)},
    "LazyLinear": (3,),
    "DataParallel": (nn.Linear(4, 3),),
    "RNNCellBase": (4, 3, True, 4),
    "Bilinear": (4, 3, 2),
    "RNNBase": ("LSTM", 4, 3),
    **{f"Constant{'Pad'}{d}d": (1, 0.5) for d in (1, 2, 3)},
    "SyncBatchNorm": (3,),
    "GroupNorm": (1, 3),
    "LayerNorm": (3,),
    "RMSNorm": (3,),
    "LocalResponseNorm": (2,),
    "CrossMapLRN2d": (2,),
    "MultiheadAttention": (4, 2),
    "Transformer": (8, 2, 1, 1, 8),
    "TransformerEncoderLayer": (8, 2, 8),
    "TransformerDecoderLayer": (8, 2, 8),
    "TransformerEncoder": (nn.TransformerEncoderLayer(8, 2, 8), 1),
    "TransformerDecoder": (nn.TransformerDecoderLayer(8, 2, 8), 1),
    "AdaptiveLogSoftmaxWithLoss": (8, 10, [3]),
    "LinearCrossEntropyLoss": (8, 10),
    "Sequential": (nn.Linear(4, 3), nn.ReLU()),
    "ModuleList": ([nn.Linear(4, 3)],),
    "ModuleDict": ({"a": nn.Linear(4, 3)},),
    "ParameterList": ([nn.Parameter(torch.zeros(2))],),
    "ParameterDict": ({"a": nn.Parameter(torch.zeros(2))},),
    "Threshold": (0.1, 0.0),
    "Unflatten": (1, (2, 2)),
    "Upsample": (None, 2),
    "UpsamplingNearest2d": (None, 2),
    "UpsamplingBilinear2d": (None, 2),
    "PixelShuffle": (2,),
    "PixelUnshuffle": (2,),
    "ChannelShuffle": (2,),
    "Fold": ((4, 4), (2, 2)),
    "Unfold": (2,),
}
_ABSTRACT = {"Module", "Container"}


def layers() -> Iterator[tuple[str, nn.Module | None]]:
    """Every class of torch.nn by name; None where it could not be built."""
    for name in sorted(vars(nn)):
        kind = getattr(nn, name)
        if isinstance(kind, type) and issubclass(kind, nn.Module) and name not in _ABSTRACT:
            try:
                with torch.random.fork_rng():
                    torch.random.default_generator.manual_seed(0)
                    yield name, kind(*ARGUMENTS.get(name, ()))
            except Exception:  # abstract or in need of more: it is reported as not built
                yield name, None


def models() -> Iterator[tuple[str, nn.Module]]:
    """Reference models of layers put together."""
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        yield "mlp", nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 2))
        convolution = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2), nn.Flatten())
        yield "cnn", nn.Sequential(OrderedDict(body=convolution, head=nn.Linear(36, 2)))
        yield "half", nn.Linear(4, 4).half()
        yield "bfloat", nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).bfloat16()
        yield "transformer", nn.Transformer(8, 2, 1, 1, 8)
        yield "weight-norm", nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        tied = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
        tied[1].weight = tied[0].weight
        yield "tied", tied


def states() -> Iterator[tuple[str, Any]]:
    """What training writes: weights, optimizers' states, checkpoints, bare tensors of every type."""
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        for name, layer in layers():
            if layer is not None and layer.state_dict() and not name.startswith("Lazy"):
                yield f"layer-{name}", layer.state_dict()
        for name, model in models():
            if name != "weight-norm":
                yield f"model-{name}", model.state_dict()
        for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad):
            yield f"optimizer-{kind.__name__}", _trained(kind)
        net = nn.Linear(4, 2)
        yield (
            "checkpoint",
            {"epoch": 3, "loss": 0.25, "model": net.state_dict(), "arguments": {"lr": 1e-3, "tags": ["a"]}},
        )
    yield "dtypes", {str(kind): torch.ones(3, dtype=kind) for kind in _DTYPES}
    yield (
        "views",
        {"t": torch.arange(12.0).view(3, 4).t(), "slice": torch.arange(12.0)[2:5], "scalar": torch.tensor(1.0)},
    )
    yield "sparse", torch.eye(4).to_sparse()
    yield "csr", torch.eye(4).to_sparse_csr()
    yield "quantized", torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)
    yield "list", [torch.zeros(2), torch.ones(3)]
    yield "parameter", nn.Parameter(torch.zeros(3))
    yield "size", {"size": torch.Size([1, 2]), "dtype": torch.float16, "device": torch.device("cpu")}
    yield "numpy", {"rng": torch.zeros(4).numpy(), "step": torch.tensor(2.5, dtype=torch.float64).numpy()[()]}


_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16),
)


def _trained(kind: type[torch.optim.Optimizer]) -> dict[str, Any]:
    net = nn.Linear(4, 2)
    optimizer = kind(net.parameters(), lr=0.1)  # type: ignore[call-arg]
    net(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return {"optimizer": optimizer.state_dict(), "model": net.state_dict()}


def scripts() -> Iterator[tuple[str, Any]]:
    """TorchScript of the reference models."""
    inputs = {"mlp": torch.zeros(1, 8), "cnn": torch.zeros(1, 1, 8, 8)}
    for name, model in models():
        if name in ("mlp", "cnn", "bfloat"):
            yield f"scripted-{name}", torch.jit.script(model.eval())
        if name in inputs:
            yield f"traced-{name}", torch.jit.trace(model.eval(), inputs[name])
