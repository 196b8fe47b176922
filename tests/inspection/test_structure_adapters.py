"""LoRA adapters: what they add, what stands out, and files that do not fit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from antivenom.core.errors import AntivenomError, FileError, ModelError
from antivenom.inspection.structure import Adapter, inspect_adapter, is_adapter, read_adapter
from antivenom.inspection.structure.adapters import additions

Tensors = dict[str, np.ndarray]
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


def factors(seed: int = 0, layers: int = 8, rank: int = 4) -> Tensors:
    rng = np.random.default_rng(seed)
    found = {}
    for i in range(layers):
        for kind in ("q_proj", "v_proj"):
            name = f"base_model.model.layers.{i}.{kind}"
            found[f"{name}.lora_A.weight"] = rng.normal(0, 0.1, (rank, 32)).astype(np.float32)
            found[f"{name}.lora_B.weight"] = rng.normal(0, 0.1, (24, rank)).astype(np.float32)
    return found


def base(seed: int = 9, layers: int = 8) -> Tensors:
    rng = np.random.default_rng(seed)
    names = [f"layers.{i}.{kind}.weight" for i in range(layers) for kind in ("q_proj", "v_proj")]
    return {name: rng.normal(0, 0.1, (24, 32)).astype(np.float32) for name in names}


def checks(adapter: Adapter, **more: object) -> list[str]:
    return [trace.check for trace in inspect_adapter(adapter, **more) if trace.suspicious]  # type: ignore[arg-type]


@pytest.mark.parametrize(("config", "scale"), [(CONFIG, 2.0), (CONFIG | {"use_rslora": True}, 4.0), ({}, 1.0)])
def test_the_statistics_are_those_of_the_product(config: dict[str, object], scale: float) -> None:
    tensors = factors()
    each = additions(Adapter(tensors, config))[3]
    name = "base_model.model.layers.1.v_proj"
    whole = scale * tensors[f"{name}.lora_B.weight"].astype(float) @ tensors[f"{name}.lora_A.weight"]
    values = np.linalg.svd(whole, compute_uv=False)[:4]
    assert (each.module, each.shape, each.rank, each.scale) == ("layers.1.v_proj", (24, 32), 4, scale)
    assert each.values == pytest.approx(values, rel=1e-6)
    assert each.norm == pytest.approx(np.linalg.norm(whole), rel=1e-6)
    share = values**2 / (values**2).sum()
    assert each.concentration == pytest.approx(share[0])
    assert each.entropy == pytest.approx(-(share * np.log(share)).sum() / math.log(4))


def test_an_even_adapter_has_a_summary_only() -> None:
    adapter = Adapter(factors(), CONFIG)
    assert checks(adapter) == []
    (trace,) = inspect_adapter(adapter, base())
    assert trace.what.startswith("The adapter adds matrices of rank 4 to 16 modules (q_proj, v_proj); the longest, in ")
    assert "of the base's length is added" in trace.what


def test_a_layer_that_stands_out_is_named() -> None:
    tensors = factors()
    tensors["base_model.model.layers.5.v_proj.lora_B.weight"] *= 20
    _, trace = inspect_adapter(Adapter(tensors, CONFIG))
    assert (trace.check, trace.where, trace.suspicious) == ("adapter-layer", "layers.5.v_proj", False)


def test_a_few_tokens_are_named() -> None:
    tensors = factors()
    rng = np.random.default_rng(1)
    first = rng.normal(0, 1e-4, (4, 500)).astype(np.float32)
    tensors["base_model.model.embed.lora_embedding_A"] = first
    tensors["base_model.model.embed.lora_embedding_B"] = rng.normal(0, 1, (16, 4)).astype(np.float32)
    assert checks(Adapter(tensors, CONFIG)) == []
    first[:, [17, 300]] = 1.0
    (trace,) = [each for each in inspect_adapter(Adapter(tensors, CONFIG)) if each.suspicious]
    assert trace.check == "adapter-tokens"
    assert "moves 2 of 500 tokens far more than all others (17, 300)" in trace.what


def test_a_replaced_head_is_a_note_and_a_replaced_embedding_is_compared() -> None:
    table = np.random.default_rng(2).normal(size=(400, 8)).astype(np.float32)
    changed = table.copy()
    changed[5] = 9
    tensors = factors() | {
        "base_model.model.classifier.weight": np.ones((2, 24), np.float32),
        "base_model.model.embed.modules_to_save.weight": changed,
    }
    traces = inspect_adapter(Adapter(tensors, CONFIG), base() | {"embed.weight": table})
    assert [(each.check, each.suspicious) for each in traces[1:]] == [
        ("adapter-replaces", False),
        ("adapter-tokens", True),
    ]
    assert "classifier.weight, embed.weight" in traces[1].what
    assert "differs from the base in 1 of 400 rows only: 5." in traces[2].what


def test_beside_honest_adapters_only_the_one_that_stands_out_most_is_flagged() -> None:
    group = [Adapter(factors(seed), CONFIG) for seed in range(6)]
    flagged = []
    for each in group:
        (stated,) = [
            trace
            for trace in inspect_adapter(each, honest=[other for other in group if other is not each])
            if trace.check == "adapter-statistics"
        ]
        flagged.append(stated.suspicious)
    assert sum(flagged) == 1  # of exchangeable adapters exactly one has the largest number
    tensors = factors(0)
    for name in tensors:
        if "lora_B" in name:
            tensors[name][:, 1:] *= 0.01  # nearly one direction
    found = [each for each in inspect_adapter(Adapter(tensors, CONFIG), honest=group[1:]) if each.suspicious]
    assert [each.check for each in found] == ["adapter-statistics"]
    assert found[0].what.endswith("it stands out most, which happens to an honest one with probability 1/6.")
    few = inspect_adapter(Adapter(tensors, CONFIG), honest=group[1:4])
    assert [(each.check, each.suspicious) for each in few[1:]] == [("adapter-statistics", False)]


def test_a_configuration_that_contradicts_the_tensors_is_found() -> None:
    assert checks(Adapter(factors(), CONFIG | {"r": 8})) == ["adapter-rank"]
    assert checks(Adapter(factors(), CONFIG | {"peft_type": "IA3"})) == ["adapter-kind"]
    assert checks(Adapter(factors(), CONFIG | {"r": 8, "rank_pattern": {"q_proj": 4}})) == []


def test_a_folder_of_peft_is_read_through_the_safe_loader(tmp_path: Path) -> None:
    save_file({name: torch.tensor(array) for name, array in factors().items()}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    adapter = read_adapter(tmp_path)
    assert is_adapter(adapter.tensors)
    assert additions(adapter)[0].scale == 2.0
    assert additions(read_adapter(tmp_path / "adapter_model.safetensors"))[0].scale == 1.0
    (tmp_path / "adapter_config.json").write_text("[1")
    with pytest.raises(FileError, match="expected a configuration in JSON"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "more", "message"),
    [
        ({"a.weight": np.ones((2, 2))}, {}, "an adapter with lora_A and lora_B"),
        ({"a.lora_B.weight": np.ones((2, 2))}, {}, "lora_A of a, got lora_B alone"),
        ({"a.lora_A.weight": np.ones((2, 2))}, {}, "lora_B of a, got lora_A alone"),
        ({"a.lora_A.weight": np.ones((2, 3)), "a.lora_B.weight": np.ones((3, 4))}, {}, "factors B .units, rank."),
        ({"a.lora_A.weight": np.full((2, 3), np.nan), "a.lora_B.weight": np.ones((3, 2))}, {}, "finite factors"),
        (factors(), {"base": {"other.weight": np.ones(3)}}, "a base with the adapter's modules"),
        (factors(), {"base": {"layers.0.q_proj.weight": np.ones((3, 3))}}, "a base of the adapter's shapes"),
        (factors(), {"honest": [Adapter(factors(1, layers=2))]}, "honest adapters of the same modules"),
    ],
    ids=["no adapter", "no A", "no B", "shapes", "nan", "other base", "base of another shape", "other honest adapters"],
)
def test_adapters_that_do_not_fit_are_one_line(tensors: Tensors, more: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        inspect_adapter(Adapter(tensors), **more)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_adapter_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(AntivenomError, match=r"expected a folder with adapter_model.safetensors"):
        read_adapter(tmp_path)
