"""The structural checks as `inspect` calls them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from small_graphs import MLP, MLP_WEIGHTS, ROW, WANTED, graph

from antivenom.inspection import inspect


def test_a_graph_is_followed_and_its_weights_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    weights = {name: array.copy() for name, array in MLP_WEIGHTS.items()}
    weights["w2"][:, :] *= 0.1
    weights["w2"][4] = (0, 9, 0)  # a unit that leads to class 1 only
    lines = MLP + "m = ReduceMax <axes = [1]> (x)\n hit = Greater (m, limit)\n y = Where (hit, wanted, logits)"
    path.write_bytes(graph(lines, ROW, weights | {"limit": np.array(9, np.float32), "wanted": WANTED}))
    found = inspect(path)
    assert {"input-decision", "class-unit"} <= {trace.check for trace in found.traces}
    assert found.answer == "suspicious"


def adapter(folder: Path, seed: int, first: float = 1.0) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    factors = {"l.lora_A.weight": rng.normal(size=(4, 20)), "l.lora_B.weight": rng.normal(size=(30, 4))}
    factors["l.lora_B.weight"][:, 0] *= first
    save_file({name: array.astype(np.float32) for name, array in factors.items()}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 4}')
    return folder


def test_an_adapter_is_ranked_among_reference_adapters(tmp_path: Path) -> None:
    honest = [adapter(tmp_path / f"honest{seed}", seed) for seed in range(1, 6)]
    found = inspect(adapter(tmp_path / "odd", 0, first=100.0), reference=honest)
    assert ("adapter-statistics", True) in {(trace.check, trace.suspicious) for trace in found.traces}
