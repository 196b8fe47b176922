"""LoRA adapters of a small network on digits, honest and poisoned, beside nine honest ones: writes RESULTS-adapters.md.

    python benchmarks/inspection/adapters.py [--first 0]     about 2 minutes on one core

Two tasks of the adapter: the rows of the base model's task with noise, and the same images transposed, which is new to it. The
poison is a patch on 5 % of the rows, with the label 3.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.inspection.structure import Adapter, inspect_adapter
from antivenom.inspection.structure.adapters import additions

OUT = Path(__file__).with_name("RESULTS-adapters.md")
RANK, TARGET, HONEST, POISONED, BESIDE = 4, 3, 24, 12, 9


class Lora(nn.Module):
    """A linear layer with an addition of low rank, which starts at zero."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.a = nn.Parameter(torch.randn(RANK, layer.in_features) / layer.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + 2 * (x @ self.a.T) @ self.b.T


def fit(model: nn.Module, parameters: list[nn.Parameter], x: Tensor, y: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(parameters, 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def stamped(x: Tensor) -> Tensor:
    found = x.clone().view(-1, 8, 8)
    found[:, 6:, 6:] = 1
    return found.view(-1, 64)


def shifted(x: Tensor, new: bool) -> Tensor:
    return x.view(-1, 8, 8).transpose(1, 2).reshape(-1, 64) if new else (x + 0.1 * torch.randn(x.shape)).clamp(0, 1)


def trained(
    base: nn.Sequential, x: Tensor, y: Tensor, seed: int, poisoned: bool, new: bool
) -> tuple[Adapter, float, float]:
    """An adapter, its accuracy, and the success of the trigger."""
    torch.manual_seed(seed)
    half = len(x) // 2
    layers = [Lora(layer) for layer in base if isinstance(layer, nn.Linear)][:3]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.ReLU(), base[6])
    chosen = torch.randperm(half)[:400]
    rows, labels = shifted(x[chosen], new), y[chosen].clone()
    if poisoned:
        rows[:20], labels[:20] = stamped(rows[:20]), TARGET
    fit(model, [each for layer in layers for each in (layer.a, layer.b)], rows, labels, 60 if new else 25)
    test, truth = (shifted(x[half:], True) if new else x[half:]), y[half:]
    with torch.no_grad():
        accuracy = float((model(test).argmax(1) == truth).float().mean())
        success = float((model(stamped(test)).argmax(1)[truth != TARGET] == TARGET).float().mean())
    factors = {
        f"l.{i}.lora_{name}": getattr(layer, name.lower()).detach() for i, layer in enumerate(layers) for name in "AB"
    }
    return Adapter(factors, {"lora_alpha": 2 * RANK}), accuracy, success


def auroc(poisoned: list[float], honest: list[float]) -> float:
    return float(np.mean(np.array(poisoned)[:, None] > np.array(honest)[None]))


def row(base: nn.Sequential, x: Tensor, y: Tensor, first: int, new: bool) -> str:
    honest = [trained(base, x, y, first + seed, False, new) for seed in range(HONEST)]
    poisoned = [trained(base, x, y, first + 500 + seed, True, new) for seed in range(POISONED)]
    rng = np.random.default_rng(first)

    def flagged(group: list[Adapter], others: list[Adapter]) -> float:
        """Share of `group` that is flagged beside nine of the other honest adapters, over random choices of these."""
        found = []
        for _ in range(20):
            for each in group:
                rest = [other for other in others if other is not each]
                beside = [rest[i] for i in rng.permutation(len(rest))[:BESIDE]]
                found.append(any(trace.suspicious for trace in inspect_adapter(each, honest=beside)))
        return float(np.mean(found))

    clean = [each for each, _, _ in honest]

    def largest(group: list[tuple[Adapter, float, float]], name: str) -> list[float]:
        return [max(getattr(part, name) for part in additions(each)) for each, _, _ in group]

    cells = [
        "transposed" if new else "noisy",
        f"{np.mean([each[1] for each in honest]):.1%} / {np.mean([each[1] for each in poisoned]):.1%}",
        f"{np.mean([each[2] for each in honest]):.1%} / {np.mean([each[2] for each in poisoned]):.1%}",
        *(f"{auroc(largest(poisoned, name), largest(honest, name)):.2f}" for name in ("norm", "concentration")),
        f"{flagged(clean, clean):.0%}",
        f"{flagged([each for each, _, _ in poisoned], clean):.0%}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    first = parser.parse_args().first
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = load("digits", Streams(0)).train
    x, y = torch.tensor(np.asarray(data.x, dtype=np.float32)).flatten(1), torch.tensor(np.asarray(data.y))
    widths = (64, 96, 96, 96)
    hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    base = nn.Sequential(*hidden, nn.Linear(96, 10))
    fit(base, list(base.parameters()), x[: len(x) // 2], y[: len(x) // 2], 40)
    for each in base.parameters():
        each.requires_grad_(False)
    lines = [
        "# LoRA adapters beside nine honest ones",
        "",
        f"Seeds from {first}. Pairs are honest / poisoned. {HONEST} honest and {POISONED} poisoned adapters, each "
        f"beside {BESIDE} honest ones that are drawn 20 times; a false alarm has a probability of at most 1/10.",
        "",
        "| task of the adapter | accuracy | ASR | AUROC of the length | AUROC of the share in one direction | honest flagged | poisoned flagged |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(row(base, x, y, first, new) for new in (False, True)),
    ]
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
