"""LoRA adapters: what they add to a base model, layer by layer, and what they replace.

An adapter adds `scale * B A` to a weight. Its singular values, and so its rank and concentration, follow from the small factors.
Published detectors train a classifier on such statistics of hundreds of adapters, half of them poisoned, for one base model. This
module knows no such set. It reports the statistics, flags what differs within the adapter itself, and compares it with honest
adapters if they are given. Weakness: a poisoned adapter that was trained like an honest one has no layer that stands out.

Reference: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", ICLR; Puertolas Merenciano et al. 2026, "Weight
space Detection of Backdoors in LoRA Adapters", arXiv:2602.15195 (statistics of the singular values); Kurita, Michel and Neubig
2020, ACL (embeddings of a few tokens).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from antivenom.artifacts import read_tensors
from antivenom.core.errors import FileError, ModelError
from antivenom.inspection.structure.changes import arrays, change
from antivenom.inspection.structure.trace import Trace
from antivenom.leakage.weights import outliers
from antivenom.scan import AllowList
from antivenom.scan.part import printable

_FACTOR = re.compile(
    r"(?P<module>.*?)[._](?P<kind>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_down|lora_up)(?:\.\w+?)??(?:\.weight)?$"
)
_SECOND = {"lora_B": "lora_A", "lora_embedding_B": "lora_embedding_A", "lora_up": "lora_down"}
_NUMBER = re.compile(r"\d+")
_LARGEST_CONFIG = 1 << 20
_LONGEST_NAME = 1000
_MOST = 10
_OUTLIER = 6.0  # robust z-score of a layer's norm among the layers of its kind
_TIMES = 4.0  # its length, divided by the median
_LEAST = 4  # beside fewer honest adapters, standing out is a note
_TOKEN = 12.0  # the same among the rows of an embedding


@dataclass(frozen=True)
class Adapter:
    """The tensors of an adapter by name, and its configuration, which may be empty."""

    tensors: Mapping[str, object]
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Addition:
    """What an adapter adds to the weight of one module.

    Fields:
        module: the module's name, without the prefixes of PEFT.
        shape: units and inputs of the added matrix; for an embedding, width and number of tokens.
        rank: columns of B.
        scale: factor of B A.
        values: the singular values of scale * B A, in falling order.
        rows: length of the addition for each token of an embedding; empty for other modules.
    """

    module: str
    shape: tuple[int, int]
    rank: int
    scale: float
    values: np.ndarray
    rows: np.ndarray

    @property
    def norm(self) -> float:
        """Length of the added matrix."""
        return float(np.linalg.norm(self.values))

    @property
    def concentration(self) -> float:
        """Share of the energy in the first direction, from 1 / rank to 1."""
        total = float(np.square(self.values).sum())
        return float(self.values[0] ** 2) / total if total else 0.0

    @property
    def entropy(self) -> float:
        """Entropy of the energies of the directions, divided by its largest value; from 0 (one direction) to 1."""
        share = np.square(self.values) / max(float(np.square(self.values).sum()), 1e-300)
        share = share[share > 0]
        return float(-(share * np.log(share)).sum() / math.log(self.rank)) if self.rank > 1 else 0.0


def read_adapter(path: str | Path, allow: AllowList | None = None) -> Adapter:
    """The adapter in a folder with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`), or in a single file.

    The tensors come through `safe_load`, with that list of globals or the vetted tier.

    Raises:
        FileError: a folder without these files, or a configuration that is not a JSON object.
        UnsafeFile: a file that is not known to be safe.
    """
    path = Path(path)
    if not path.is_dir():
        return Adapter(read_tensors(path, allow=allow))
    names = ("adapter_model.safetensors", "adapter_model.bin")
    model = next((path / name for name in names if (path / name).is_file()), None)
    if model is None:
        raise FileError("a folder with adapter_model.safetensors", f"{path} without it")
    place, config = path / "adapter_config.json", {}
    if place.is_file():
        try:
            if place.stat().st_size > _LARGEST_CONFIG:
                raise FileError("a configuration of at most 1 MiB", f"{place.stat().st_size} bytes").at(str(place))
            config = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise FileError("a configuration in JSON", f"{type(error).__name__}: {error}").at(str(place)) from None
        if not isinstance(config, dict):
            raise FileError("a JSON object", type(config).__name__).at(str(place))
    return Adapter(read_tensors(model, allow=allow), config)


def _factor(name: str) -> re.Match[str] | None:
    return _FACTOR.match(name) if len(name) <= _LONGEST_NAME else None


def is_adapter(state: Mapping[str, object]) -> bool:
    """Whether names in a state dictionary are those of LoRA factors."""
    return any(_factor(name) for name in state)


def additions(adapter: Adapter) -> tuple[Addition, ...]:
    """What an adapter adds to each module, in the order of its tensors.

    Raises:
        ModelError: no LoRA factors, a factor without its partner, or factors that do not fit each other.
    """
    factors: dict[tuple[str, str], np.ndarray] = {}
    for name, array in arrays(adapter.tensors).items():
        match = _factor(name)
        if match:
            factors[match["module"], match["kind"]] = array.reshape(len(array), -1) if array.ndim else array
    if not factors:
        raise ModelError("an adapter with lora_A and lora_B", "none of these names")
    found = []
    for (module, kind), second in factors.items():
        if kind not in _SECOND:
            partner = next(each for each, first in _SECOND.items() if first == kind)
            if (module, partner) not in factors:
                raise ModelError(f"{partner} of {printable(module)}", f"{kind} alone")
            continue
        first = factors.get((module, _SECOND[kind]))
        if first is None:
            raise ModelError(f"{_SECOND[kind]} of {printable(module)}", f"{kind} alone")
        if second.ndim != 2 or first.ndim != 2 or second.shape[1] != len(first) or not len(first):
            got = f"{list(second.shape)} and {list(first.shape)}"
            raise ModelError("factors B (units, rank) and A (rank, inputs)", got).at(printable(module))
        found.append(_addition(adapter, module, kind == "lora_embedding_B", second, first))
    return tuple(found)


def _addition(adapter: Adapter, module: str, table: bool, second: np.ndarray, first: np.ndarray) -> Addition:
    rank = len(first)
    short = _short(module)
    scale = _scale(adapter, module, short, rank)
    b, a = second.astype(np.float64), first.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all() and math.isfinite(scale)):
        raise ModelError("finite factors", "NaN or infinity").at(printable(module))
    right = np.asarray(np.linalg.qr(a.T, mode="r"))  # (rank or fewer, rank)
    left = np.asarray(np.linalg.qr(b, mode="r"))
    values = np.linalg.svd(left @ right.T, compute_uv=False) * abs(scale)
    rows = np.linalg.norm(left @ a, axis=0) * abs(scale) if table else np.empty(0)
    return Addition(short, (len(second), first.shape[1]), rank, scale, values, rows)


def _scale(adapter: Adapter, module: str, short: str, rank: int) -> float:
    """alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA; 1 if neither file names alpha."""
    tensor = adapter.tensors.get(f"{module}.alpha")
    config = adapter.config
    alpha = config.get("lora_alpha")
    patterns = config.get("alpha_pattern")
    if isinstance(patterns, dict):
        alpha = next((value for key, value in patterns.items() if short == key or short.endswith(f".{key}")), alpha)
    if tensor is not None:
        alpha = float(np.asarray(tensor).reshape(-1)[0])
    if not isinstance(alpha, int | float):
        return 1.0
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _short(module: str) -> str:
    for prefix in ("base_model.model.", "base_model."):
        module = module.removeprefix(prefix)
    return module


# --- traces -----------------------------------------------------------------------------------------------------------


def inspect_adapter(
    adapter: Adapter, base: Mapping[str, object] | None = None, honest: Sequence[Adapter] = ()
) -> list[Trace]:
    """The traces in an adapter; the first one is a summary.

    Fields:
        adapter: the adapter, see `read_adapter`.
        base: the state dictionary of the model to which it belongs; None if it is not at hand.
        honest: adapters of the same base model and shape that are known to be honest and were trained alike. Beside k of
            them, an honest adapter is flagged with a probability of at most 1 / (k + 1); fewer than four flag nothing.

    Raises:
        ModelError: no adapter, factors that do not fit each other, or values that are not numbers.
    """
    found = additions(adapter)
    weights = _base(base, found)
    return [
        _summary(adapter, found, weights),
        *_outstanding(found, weights),
        *_tokens(found),
        *_saved(adapter, base),
        *_other_tensors(adapter),
        *_beside(found, honest),
    ]


def _base(base: Mapping[str, object] | None, found: Sequence[Addition]) -> dict[str, float]:
    """The length of the base's weight for each module that it has.

    Raises:
        ModelError: a weight of another shape, or a base that has none of the modules.
    """
    if base is None:
        return {}
    state = {_short(name): array for name, array in arrays(base).items()}
    lengths = {}
    for each in found:
        name = next((n for n in (f"{each.module}.weight", each.module) if n in state), None)
        if name is None:
            continue
        if state[name].size != each.shape[0] * each.shape[1]:
            got = f"{list(state[name].shape)} for an addition of {list(each.shape)}"
            raise ModelError("a base of the adapter's shapes", got, "pass the adapter's own base model").at(
                printable(name)
            )
        lengths[each.module] = float(np.linalg.norm(state[name].astype(np.float64)))
    if not lengths:
        raise ModelError(
            "a base with the adapter's modules", f"no {printable(found[0].module)}", "pass its own base model"
        )
    return lengths


def _summary(adapter: Adapter, found: Sequence[Addition], weights: Mapping[str, float]) -> Trace:
    kinds = sorted({each.module.rpartition(".")[2] for each in found})
    ranks = sorted({each.rank for each in found})
    largest = max(found, key=lambda each: each.norm)
    what = (
        f"The adapter adds matrices of rank {', '.join(map(str, ranks[:_MOST]))} to {len(found)} modules "
        f"({_listed(kinds)}); the longest, in {printable(largest.module, 100)}, has length {largest.norm:.2g} and "
        f"{largest.concentration:.0%} of its energy in one direction"
    )
    if weights:
        ratios = {each.module: each.norm / max(weights[each.module], 1e-12) for each in found if each.module in weights}
        most = max(ratios, key=lambda module: ratios[module])
        what += f", and up to {ratios[most]:.2%} of the base's length is added ({printable(most, 100)})"
    if adapter.config.get("use_dora") or any("lora_magnitude_vector" in name for name in adapter.tensors):
        what += "; it also sets the lengths of columns (DoRA), which these numbers do not cover"
    return Trace("adapter-summary", "", f"{what}.", largest.norm, suspicious=False)


def _outstanding(found: Sequence[Addition], weights: Mapping[str, float]) -> Iterator[Trace]:
    """Notes on modules whose addition is far longer than those of the other modules of the same kind."""
    kinds: dict[str, list[Addition]] = {}
    for each in found:
        kinds.setdefault(_NUMBER.sub("#", each.module), []).append(each)
    for group in kinds.values():
        live = [each for each in group if each.norm > 0]
        if len(live) < 6:
            continue
        lengths = [each.norm / weights.get(each.module, 1.0) if weights else each.norm for each in live]
        scores = outliers(np.log(np.maximum(lengths, 1e-300)))
        ratios = np.asarray(lengths) / float(np.median(lengths))
        for at in np.flatnonzero((scores > _OUTLIER) & (ratios > _TIMES))[:_MOST]:
            what = (
                f"The addition to {printable(live[at].module, 100)} is {ratios[at]:.1f} times as long as that of the median of the "
                f"{len(live)} modules of its kind."
            )
            yield Trace("adapter-layer", printable(live[at].module, 100), what, float(ratios[at]), suspicious=False)


def _tokens(found: Sequence[Addition]) -> Iterator[Trace]:
    """Embeddings to which the adapter adds something for a few tokens only."""
    for each in found:
        if len(each.rows) < 100:
            continue
        floor = max(float(np.median(each.rows)), 1e-3 * float(each.rows.max()), 1e-300)
        scores = outliers(np.log(np.maximum(each.rows, floor)))
        tokens = np.flatnonzero(scores > _TOKEN)
        if 0 < len(tokens) <= max(1, 0.01 * len(each.rows)):
            shown = ", ".join(map(str, tokens[:_MOST])) + (", ..." if len(tokens) > _MOST else "")
            what = (
                f"The addition to {printable(each.module, 100)} moves {len(tokens)} of {len(each.rows):,} tokens far more than "
                f"all others ({shown}), as poisoned tokens are."
            )
            yield Trace("adapter-tokens", printable(each.module, 100), what, float(scores.max()))


def _saved(adapter: Adapter, base: Mapping[str, object] | None) -> Iterator[Trace]:
    """Modules that the adapter replaces as a whole, such as the head."""
    whole = {
        _short(name).replace(".modules_to_save.default", "").replace(".modules_to_save", ""): value
        for name, value in adapter.tensors.items()
        if not _factor(name) and "lora_" not in name and not name.endswith(".alpha")
    }
    if not whole:
        return
    what = (
        f"The adapter replaces {_listed(list(whole))} as a whole, so that its low rank does not bound what it changes."
    )
    yield Trace("adapter-replaces", printable(next(iter(whole)), 100), what, float(len(whole)), suspicious=False)
    if base is None:
        return
    theirs = {_short(name): value for name, value in base.items()}
    ours = arrays(whole)
    others = arrays({name: theirs[name] for name in ours if name in theirs})
    for name, array in ours.items():
        if name not in others or array.shape != others[name].shape or array.ndim != 2 or len(array) < 100:
            continue
        found = change(name, array, others[name])
        if found is not None and len(found.rows) <= max(1, 0.01 * len(array)):
            shown = ", ".join(map(str, found.rows[:_MOST])) + (", ..." if len(found.rows) > _MOST else "")
            what = f"{printable(name, 100)} differs from the base in {len(found.rows)} of {len(array):,} rows only: {shown}."
            yield Trace("adapter-tokens", printable(name, 100), what, float(len(found.rows)))


def _other_tensors(adapter: Adapter) -> Iterator[Trace]:
    kind = adapter.config.get("peft_type")
    if isinstance(kind, str) and kind.upper() != "LORA":
        what = f"The configuration names {printable(kind, 40)}, but the tensors are those of LoRA."
        yield Trace("adapter-kind", "", what)
    rank = adapter.config.get("r")
    known = {each.rank for each in additions(adapter)}
    pattern = adapter.config.get("rank_pattern")
    patterns = (
        set(pattern.values())
        if isinstance(pattern, dict) and all(isinstance(n, int) for n in pattern.values())
        else set()
    )
    if isinstance(rank, int) and not known <= {rank} | patterns:
        odd = sorted(known - {rank} - patterns)
        what = f"The configuration names the rank {rank}, but there are factors of rank {', '.join(map(str, odd[:_MOST]))}."
        yield Trace("adapter-rank", "", what, float(odd[0]))


def _beside(found: Sequence[Addition], honest: Sequence[Adapter]) -> Iterator[Trace]:
    """The rank of the adapter among honest ones. All of them, with this one, get a number by the same rule.

    The number is the larger of two robust z-scores among all: of the logarithm of the largest length, and of the log-odds of the
    largest share of the energy in one direction.
    """
    if not honest:
        return
    groups = [found, *(additions(each) for each in honest)]
    kinds = [sorted((each.module, each.shape) for each in group) for group in groups]
    if any(kind != kinds[0] for kind in kinds):
        raise ModelError(
            "honest adapters of the same modules and shapes", "others", "compare adapters of one base model"
        )
    lengths = np.array([max(each.norm for each in group) for group in groups])
    shares = np.array([max(each.concentration for each in group) for group in groups])
    odds = np.log(np.clip(shares, 1e-9, 1 - 1e-9)) - np.log1p(-np.clip(shares, 1e-9, 1 - 1e-9))
    scores = np.maximum(outliers(np.log(np.maximum(lengths, 1e-300))), outliers(odds))
    above, enough = scores[0] > scores[1:].max(), len(honest) >= _LEAST
    what = (
        f"Beside {_count(len(honest), 'honest adapter')}, its largest length is {lengths[0]:.3g} (theirs up to "
        f"{lengths[1:].max():.3g}) and its largest share of the energy in one direction {shares[0]:.1%} (theirs up to "
        f"{shares[1:].max():.1%}): "
        + (
            f"it stands out most, which happens to an honest one with probability 1/{len(groups)}."
            if above
            else "not unusual."
        )
    )
    yield Trace("adapter-statistics", "", what, float(scores[0]), suspicious=bool(above) and enough)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(printable(name, 100) for name in names[:_MOST]) + more
