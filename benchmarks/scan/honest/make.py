"""Honest files of popular libraries, each written by the real package in an environment of its own.

    python benchmarks/scan/honest/make.py FOLDER [--venvs VENVS] [--only tables,texts,nets]

Makes one virtual environment per group of libraries in VENVS (kept, and used again if it is there), writes the files of
each library into FOLDER/LIBRARY, and records in FOLDER/made.json the installed versions and what could not be built.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import inspect
import json
import os
import pickle
import subprocess
import sys
import tempfile
import venv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Objects = dict[str, Callable[..., Any]]  # file name -> makes the object, or writes the file if it takes its path

ENVIRONMENTS = {  # torch comes first and alone, so that nothing pulls another build of it
    "tables": (
        *("numpy", "scipy<1.17", "pandas<3", "scikit-learn", "statsmodels", "imbalanced-learn", "xgboost", "lightgbm"),
        *("catboost", "category-encoders", "mlxtend", "hmmlearn", "lifelines", "umap-learn", "hdbscan", "pygam"),
        *("ngboost", "feature-engine", "optuna", "hyperopt", "deap", "networkx", "sympy", "xarray", "scikit-survival"),
        *("river", "sktime", "shap", "interpret", "nltk", "cloudpickle", "dill", "joblib", "skops"),
    ),
    "texts": ("gensim", "spacy", "sentencepiece", "tokenizers", "prophet"),
    "nets": (
        *("torch==2.13.0", "torchvision", "timm", "transformers", "peft", "accelerate", "safetensors", "lightning"),
        *("torchmetrics", "omegaconf", "hydra-core", "sentence-transformers", "diffusers", "torch-geometric", "skorch"),
        *("pyro-ppl", "gpytorch", "keras", "h5py", "onnx", "stable-baselines3", "monai", "ultralytics"),
    ),
}


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """The interpreter of a virtual environment with these packages."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", packages[0]], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *packages], check=True)
    return python


def save(path: Path, make: Callable[..., Any]) -> None:
    """Write one object in the way that the ending of its file names."""
    if inspect.signature(make).parameters:
        make(path)
        return
    value = make()
    match path.suffix:
        case ".joblib":
            importlib.import_module("joblib").dump(value, path)
        case ".pt" | ".pth" | ".ckpt" | ".bin":
            importlib.import_module("torch").save(value, path)
        case ".dill" | ".cloudpickle":
            path.write_bytes(importlib.import_module(path.suffix[1:]).dumps(value))
        case ".json":
            path.write_text(json.dumps(value))
        case _:
            path.write_bytes(pickle.dumps(value))


def write(group: str, target: Path) -> None:
    """Runs inside the environment: the files of each library of a group."""
    warnings.simplefilter("ignore")
    missing: dict[str, str] = {}
    libraries: dict[str, Callable[[], Objects]] = importlib.import_module(group).LIBRARIES
    for library, objects in libraries.items():
        folder = target / library
        folder.mkdir(parents=True, exist_ok=True)
        try:
            makers = objects()
        except Exception as error:
            missing[library] = f"{type(error).__name__}: {error}"
            continue
        for name, make in makers.items():
            try:
                save(folder / name, make)
            except Exception as error:
                (folder / name).unlink(missing_ok=True)
                missing[f"{library}/{name}"] = f"{type(error).__name__}: {error}"[:200]
    versions = {name: importlib.metadata.version(name) for name in libraries}
    (target / f"{group}.json").write_text(json.dumps({"versions": versions, "not built": missing}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "antivenom-honest")
    parser.add_argument("--only", default=",".join(ENVIRONMENTS))
    parser.add_argument("--write", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(options.write, options.folder)
        return
    made: dict[str, dict[str, str]] = {"versions": {}, "not built": {}}
    for group in options.only.split(","):
        python = environment(options.venvs / group, ENVIRONMENTS[group])
        quiet = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
        subprocess.run([python, HERE / "make.py", options.folder, "--write", group], check=True, env=quiet)
        part = options.folder / f"{group}.json"
        for key, value in json.loads(part.read_text()).items():
            made[key] |= value
        part.unlink()
    (options.folder / "made.json").write_text(json.dumps(made, indent=1))
    print(", ".join(f"{name} {version}" for name, version in sorted(made["versions"].items())))
    for name, why in made["not built"].items():
        print(f"not built: {name}: {why}")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
