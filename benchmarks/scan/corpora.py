"""Benign model files of every format, made by the libraries themselves, the same each time.

    python benchmarks/scan/corpora.py FOLDER [--only torch-state,onnx]

Each corpus is a folder. A corpus whose library is missing is left out and named, and so is what could not be built:
a false-alarm rate is of the files that are there. scikit-learn's estimators are dealt in turn to two corpora: the allow
list was written with `sklearn-even` in sight only, so `sklearn-odd` was held out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

PROTOCOLS = (0, 2, 4, 5)
LIBRARIES = (
    *("numpy", "scikit-learn", "joblib", "torch", "xgboost", "lightgbm", "keras", "h5py", "onnx", "safetensors"),
    *("gguf", "skops", "cloudpickle", "dill", "pandas", "lz4"),
)


def _pickled(folder: Path, name: str, value: Any) -> None:
    for protocol in PROTOCOLS:
        (folder / f"{name}.p{protocol}.pkl").write_bytes(pickle.dumps(value, protocol))


def _estimator(folder: Path, name: str, estimator: Any) -> None:
    import joblib

    _pickled(folder, name, estimator)
    joblib.dump(estimator, folder / f"{name}.joblib")
    joblib.dump(estimator, folder / f"{name}.z.joblib", compress=3)


def _sklearn(parity: int) -> Callable[[Path], Iterator[str]]:
    def write(folder: Path) -> Iterator[str]:
        import estimators

        for index, (name, estimator) in enumerate(estimators.single()):
            if index % 2 == parity:
                if estimator is None:
                    yield name
                else:
                    _estimator(folder, name, estimator)

    return write


def combined(folder: Path) -> Iterator[str]:
    import estimators

    for name, estimator in estimators.combined():
        _estimator(folder, name, estimator)
    yield from ()


def joblib_codecs(folder: Path) -> Iterator[str]:
    """One estimator with every compression that joblib has, and pipelines by cloudpickle and dill."""
    import cloudpickle
    import dill
    import estimators
    import joblib

    for name, estimator in estimators.combined():
        if name in ("pipeline", "grid", "columns"):
            (folder / f"{name}.cloudpickle").write_bytes(cloudpickle.dumps(estimator))
            (folder / f"{name}.dill").write_bytes(dill.dumps(estimator))
            for codec in ("zlib", "gzip", "bz2", "xz", "lzma", "lz4"):
                joblib.dump(estimator, folder / f"{name}.{codec}.joblib", compress=(codec, 3))
    yield from ()


def torch_state(folder: Path) -> Iterator[str]:
    import networks
    import torch

    for name, state in networks.states():
        torch.save(state, folder / f"{name}.pt")
        torch.save(state, folder / f"{name}.legacy.pt", _use_new_zipfile_serialization=False)
    yield from ()


def torch_module(folder: Path) -> Iterator[str]:
    import networks
    import torch

    for name, layer in [*networks.layers(), *networks.models()]:
        if layer is None:
            yield name
            continue
        try:
            torch.save(layer, folder / f"{name}.pt")
            torch.save(layer, folder / f"{name}.legacy.pt", _use_new_zipfile_serialization=False)
        except RuntimeError:  # parametrized modules refuse to be pickled whole
            (folder / f"{name}.pt").unlink(missing_ok=True)
            yield name


def torch_script(folder: Path) -> Iterator[str]:
    import networks
    import torch

    for name, script in networks.scripts():
        torch.jit.save(script, folder / f"{name}.pt")
    yield from ()


def _rows() -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    return make_classification(60, 6, random_state=0)


def boosting(folder: Path) -> Iterator[str]:
    import lightgbm
    import xgboost

    x, y = _rows()
    for name, wrapper in {
        "xgb-classifier": xgboost.XGBClassifier(n_estimators=3, max_depth=2),
        "xgb-regressor": xgboost.XGBRegressor(n_estimators=3, max_depth=2),
        "xgb-ranker": xgboost.XGBRanker(n_estimators=3, max_depth=2),
        "xgb-forest": xgboost.XGBRFClassifier(n_estimators=3, max_depth=2),
        "lgbm-classifier": lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, verbose=-1),
        "lgbm-regressor": lightgbm.LGBMRegressor(n_estimators=3, min_child_samples=2, verbose=-1),
        "lgbm-ranker": lightgbm.LGBMRanker(n_estimators=3, min_child_samples=2, verbose=-1),
    }.items():
        extra = {"qid": y * 0} if name == "xgb-ranker" else {"group": [len(y)]} if name == "lgbm-ranker" else {}
        _estimator(folder, name, wrapper.fit(x, y, **extra))
    booster = xgboost.train({"max_depth": 2, "objective": "binary:logistic"}, xgboost.DMatrix(x, y), 3)
    _pickled(folder, "xgb-booster", booster)
    for end in ("json", "ubj"):
        booster.save_model(folder / f"xgb-booster.{end}")
    light = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(x, y), 3)
    _pickled(folder, "lgbm-booster", light)
    light.save_model(folder / "lgbm-booster.txt")
    yield from ()


def keras_files(folder: Path) -> Iterator[str]:
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    dense = keras.Sequential([layers.Input((4,)), layers.Dense(8, "relu"), layers.Dropout(0.1), layers.Dense(2)])
    dense.compile("adam", "mse")
    image = keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)]
    )
    text = keras.Sequential([layers.Input((5,)), layers.Embedding(9, 4), layers.LSTM(4), layers.Dense(1, "sigmoid")])
    left, right = keras.Input((4,)), keras.Input((4,))
    joined = layers.Concatenate()([layers.Dense(3)(left), layers.Dense(3)(right)])
    functional = keras.Model([left, right], layers.Dense(1)(joined))
    tokens = keras.Input((6, 8))
    attended = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(tokens, tokens) + tokens)
    attention = keras.Model(tokens, layers.GlobalAveragePooling1D()(attended))
    for name, model in {"dense": dense, "image": image, "text": text, "two": functional, "attend": attention}.items():
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        model.save_weights(folder / f"{name}.weights.h5")
    yield from ()


def keras_layers(folder: Path) -> Iterator[str]:
    """A model of each layer that can be built on one of a few shapes of input."""
    import keras

    keras.utils.set_random_seed(0)
    arguments: dict[str, tuple[Any, ...]] = {
        **dict.fromkeys(("Dense", "LSTM", "GRU", "SimpleRNN", "RepeatVector", "EinsumDense"), (3,)),
        **{f"{kind}{d}D": (2, 2) for kind in ("Conv", "SeparableConv") for d in (1, 2, 3)},
        **{f"Conv{d}DTranspose": (2, 2) for d in (1, 2, 3)},
        **{f"DepthwiseConv{d}D": (2,) for d in (1, 2)},
        **{f"ConvLSTM{d}D": (2, 2) for d in (1, 2, 3)},
        **{f"Cropping{d}D": (1,) for d in (1, 2, 3)},
        **dict.fromkeys(("Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout", "SpatialDropout1D"), (0.1,)),
        "Embedding": (9, 4),
        "Reshape": ((-1,),),
        "Permute": ((2, 1),),
        "Bidirectional": (keras.layers.LSTM(2),),
        "TimeDistributed": (keras.layers.Dense(2),),
        "Discretization": ([0.5],),
        "CategoryEncoding": (5,),
        "Rescaling": (0.5,),
        "Resizing": (4, 4),
        "Hashing": (5,),
        "UnitNormalization": (),
    }
    for name in sorted(vars(keras.layers)):
        kind = getattr(keras.layers, name)
        if not isinstance(kind, type) or name in ("Lambda", "Layer", "Wrapper", "RNN", "InputLayer"):
            continue
        for shape in ((6,), (4, 6), (8, 8, 3), (6, 6, 6, 2)):
            try:
                keras.backend.clear_session()
                inputs = keras.Input(shape)
                model = keras.Model(inputs, kind(*arguments.get(name, ()))(inputs))
                model.save(folder / f"{name}.keras")
                model.save(folder / f"{name}.h5")
                break
            except Exception:  # it wants another shape, or several inputs
                (folder / f"{name}.keras").unlink(missing_ok=True)
                (folder / f"{name}.h5").unlink(missing_ok=True)
        else:
            yield name


def onnx_operations(folder: Path) -> Iterator[str]:
    """A graph of each operation of the standard, with as many inputs and outputs as it asks for."""
    import onnx
    from onnx import TensorProto, defs, helper

    for schema in sorted(defs.get_all_schemas(), key=lambda each: (each.domain, each.name)):
        if schema.domain not in ("", "ai.onnx.ml") or any(a.required for a in schema.attributes.values()):
            continue
        names = [[f"{side}{i}" for i in range(n)] for side, n in (("x", schema.min_input), ("y", schema.min_output))]
        node = helper.make_node(schema.name, *names, domain=schema.domain)
        sides = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in side] for side in names]
        graph = helper.make_graph([node], schema.name, *sides)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
        onnx.save(helper.make_model(graph, opset_imports=opsets), folder / f"{schema.name}.onnx")
    yield from ()


def onnx_files(folder: Path) -> Iterator[str]:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    vector = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    weights = numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float32), "w")
    graphs = {
        "matmul": ([helper.make_node("MatMul", ["x", "w"], ["y"])], [weights]),
        "mlp": (
            [
                helper.make_node("MatMul", ["x", "w"], ["h"]),
                helper.make_node("Relu", ["h"], ["r"]),
                helper.make_node("Softmax", ["r"], ["y"], axis=1),
            ],
            [weights],
        ),
        "scaler": ([helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0])], []),
    }
    for name, (nodes, constants) in graphs.items():
        graph = helper.make_graph(nodes, name, vector[:1], vector[1:], constants)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
        onnx.save(helper.make_model(graph, opset_imports=opsets), folder / f"{name}.onnx")
    big = numpy_helper.from_array(rng.normal(size=(64, 64)).astype(np.float32), "w")
    wide = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "wide", wide[:1], wide[1:], [big])
    onnx.save(
        helper.make_model(graph),
        folder / "wide.onnx",
        save_as_external_data=True,
        location="wide.bin",
        size_threshold=0,
    )
    yield from ()


def safetensors_files(folder: Path) -> Iterator[str]:
    import networks
    import torch
    from safetensors.torch import save_file

    for name, model in networks.models():
        state = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors", metadata={"format": "pt"})
    for name, layer in networks.layers():
        if layer is not None and layer.state_dict() and not name.startswith("Lazy"):
            save_file(
                {key: value.clone() for key, value in layer.state_dict().items()}, folder / f"layer-{name}.safetensors"
            )
    save_file({"empty": torch.zeros(0), "scalar": torch.tensor(1.0)}, folder / "odd.safetensors")
    yield from ()


CHAT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] | trim + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CHAT_WITH_SYSTEM = (
    "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}{%- else %}{%- set system = '' %}"
    "{%- endif %}{%- set ns = namespace(last=0) %}{%- for m in messages[::-1] %}{%- set ns.last = loop.index0 %}"
    "{%- if m.tool_calls is defined and m.tool_calls %}{{- m.tool_calls[0].function.name | tojson }}{%- endif %}"
    "{{- m.content.split('</think>')[-1].lstrip('\\n') if m.content is string else '' }}{%- endfor %}"
    "{%- if system == 'x' %}{{ raise_exception('no') }}{%- endif %}{{- strftime_now('%d %b %Y') }}"
)


def gguf_files(folder: Path) -> Iterator[str]:
    import gguf
    import numpy as np

    rng = np.random.default_rng(0)
    kinds = ("llama", "qwen2", "gemma", "phi3", "bert", "mamba", "gpt2")
    templates = {**dict.fromkeys(kinds), "chat": CHAT, "system": CHAT_WITH_SYSTEM}
    for name, template in templates.items():
        writer = gguf.GGUFWriter(folder / f"{name}.gguf", name if name in kinds else "llama")
        writer.add_context_length(128)
        writer.add_embedding_length(8)
        writer.add_block_count(1)
        writer.add_token_list(["<s>", "</s>", "a", "b"])
        writer.add_array("test.scores", [0.0, 1.0])
        if template:
            writer.add_chat_template(template)
        writer.add_tensor("token_embd.weight", rng.normal(size=(4, 8)).astype(np.float32))
        writer.add_tensor("output.weight", rng.normal(size=(4, 8)).astype(np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    yield from ()


def arrays(folder: Path) -> Iterator[str]:
    """What numpy and plain Python write."""
    import datetime
    import decimal
    import fractions
    import uuid

    import numpy as np

    rng = np.random.default_rng(0)
    samples: dict[str, Any] = {
        "floats": rng.normal(size=(3, 4)),
        "ints": rng.integers(9, size=5),
        "bools": np.array([True, False]),
        "text": np.array(["a", "bcd"]),
        "records": np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")]),
        "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
        "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
        "empty": np.zeros((0, 3)),
        "objects": np.array([{"a": 1}, [1, 2], None, "text"], dtype=object),
    }
    for name, array in samples.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=array.dtype == object)
        _pickled(folder, f"array-{name}", array)
    np.savez(folder / "plain.npz", **{name: samples[name] for name in ("floats", "ints", "text")})
    np.savez_compressed(folder / "compressed.npz", **{name: samples[name] for name in ("floats", "objects")})
    values: dict[str, Any] = {
        "nested": {"a": [1, 2.5, None, True, "text", b"bytes"], "b": ({1, 2}, frozenset({3}), 10**50, 1 + 2j)},
        "dates": [datetime.datetime(2020, 1, 1), datetime.timedelta(1), datetime.date(2020, 1, 1)],
        "numbers": [decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=5), range(3)],
        "path": Path("weights") / "model.bin",
        "scalars": [np.float32(1), np.int64(2), np.bool_(True), np.str_("a"), np.datetime64("2020-01-01")],
        "generator": [np.random.default_rng(0), np.random.RandomState(0)],
    }
    for name, value in values.items():
        _pickled(folder, f"value-{name}", value)
    yield from ()


def frames(folder: Path) -> Iterator[str]:
    """Pickled frames of pandas: no models, but they lie beside some."""
    import pandas as pd

    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.to_datetime(["2020-01-01", "2021-01-01"])})
    values = {
        "frame": frame,
        "series": frame["a"],
        "categories": pd.Series(["a", "b", "a"], dtype="category"),
        "index": frame.set_index(["a", "b"]),
    }
    for name, value in values.items():
        _pickled(folder, name, value)
    yield from ()


def skops_files(folder: Path) -> Iterator[str]:
    import estimators
    import skops.io

    for name, estimator in estimators.combined():
        try:
            skops.io.dump(estimator, folder / f"{name}.skops")
        except Exception:  # it has no schema for every class: whatever it raises, the file is not there
            (folder / f"{name}.skops").unlink(missing_ok=True)
            yield name


def repository(folder: Path) -> Iterator[str]:
    """A folder as model hubs hold them: configuration, tokenizer, card and weights."""
    import torch
    from safetensors.torch import save_file

    for name, template in {"base": None, "chat": CHAT, "system": CHAT_WITH_SYSTEM}.items():
        home = folder / name
        home.mkdir()
        config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "torch_dtype": "float32", "vocab_size": 4}
        tokenizer = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
        model = {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3}, "merges": ["a b"]}
        documents = {
            "config.json": config,
            "generation_config.json": {"temperature": 0.7},
            "special_tokens_map.json": {"bos_token": "<s>"},
            "tokenizer_config.json": tokenizer | ({"chat_template": template} if template else {}),
            "tokenizer.json": {"version": "1.0", "added_tokens": [], "normalizer": None, "model": model},
            "model.safetensors.index.json": {"metadata": {}, "weight_map": {"w": "model.safetensors"}},
        }
        for file, content in documents.items():
            (home / file).write_text(json.dumps(content, indent=2))
        (home / "README.md").write_text("---\nlicense: mit\n---\n# A model\n\n```python\nimport torch\n```\n")
        (home / "vocab.txt").write_text("<s>\n</s>\na\nb\n")
        (home / "merges.txt").write_text("#version: 0.2\na b\n")
        (home / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
        weights = {"w": torch.arange(32.0).view(4, 8)}
        save_file(weights, home / "model.safetensors", metadata={"format": "pt"})
        torch.save(weights, home / "pytorch_model.bin")
        if template:
            (home / "chat_template.jinja").write_text(template)
    yield from ()


CORPORA: dict[str, Callable[[Path], Iterable[str]]] = {
    "sklearn-even": _sklearn(0),
    "sklearn-odd": _sklearn(1),
    "sklearn-combined": combined,
    "joblib-codecs": joblib_codecs,
    "torch-state": torch_state,
    "torch-module": torch_module,
    "torch-script": torch_script,
    "boosting": boosting,
    "keras": keras_files,
    "keras-layers": keras_layers,
    "onnx": onnx_files,
    "onnx-operations": onnx_operations,
    "safetensors": safetensors_files,
    "gguf": gguf_files,
    "arrays": arrays,
    "frames": frames,
    "skops": skops_files,
    "repository": repository,
}


def versions() -> dict[str, str]:
    """The libraries that are installed here."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(target: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Write the corpora and say, per corpus, what could not be built."""
    missing: dict[str, list[str]] = {}
    for name in names:
        folder = target / name
        folder.mkdir(parents=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                missing[name] = list(CORPORA[name](folder))
        except ImportError as error:
            missing[name] = [f"all: {error}"]
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(CORPORA))
    options = parser.parse_args()
    missing = write(options.folder, options.only.split(","))
    (options.folder / "made.json").write_text(json.dumps({"versions": versions(), "not built": missing}, indent=2))
    for name, left_out in missing.items():
        files = sum(path.is_file() for path in (options.folder / name).rglob("*"))
        print(f"{name}: {files} files" + (f"; not built: {', '.join(left_out)}" if left_out else ""))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
