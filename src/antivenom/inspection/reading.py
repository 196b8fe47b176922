"""Reads the model that is inspected. The scan judges every file first, and no code of a file is run."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.artifacts import guard, read_tensors
from antivenom.artifacts.loading import scanned
from antivenom.core.errors import FileError, ModelError, UnsafeFile, did_you_mean
from antivenom.core.protocols import Model
from antivenom.core.streams import Streams
from antivenom.data import Rows
from antivenom.inspection.structure import Adapter, cannot_tell, is_adapter, read_adapter
from antivenom.models.network import Network, build
from antivenom.models.own import BlackBox, is_estimator, maker_of
from antivenom.models.vector import flatten
from antivenom.models.wrappers import BlackBoxModel, TorchModel
from antivenom.scan import AllowList, allow_list

# Prefixes that DataParallel, Lightning and torch.compile add to all names.
WRAPPERS = ("module.", "model.", "_orig_mod.")
NO_ARCHITECTURE = "weights alone have no answers: give --arch, a function or class that makes the network"
NO_BASE = "an adapter has no answers without its base model"


class Form(enum.StrEnum):
    """What a model file holds."""

    NETWORK = "torch network"
    TENSORS = "tensors without an architecture"
    ESTIMATOR = "scikit-learn model"
    CLASSIFIER = "Hugging Face folder"
    ADAPTER = "LoRA adapter"
    GRAPH = "ONNX graph"
    OTHER = "file that cannot be inspected"


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that was read from a file.

    Fields:
        path: the file or folder.
        form: what it holds.
        model: the model, if it can be queried with rows.
        tensors: its weights by name, if it holds any; those of an adapter are in `adapter`.
        adapter: the adapter, if it is one.
        why: why it cannot be queried; empty if it can.
    """

    path: Path
    form: Form
    model: Model | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    adapter: Adapter | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class Reader:
    """How the files of one inspection are read.

    Fields:
        arch: the user's architecture, in any form that a scenario takes as `model`; None if the user gave none.
        shape: shape of one row; None if it is unknown.
        classes: names of the classes; empty if they are unknown.
        only: the dotted key of the part of a checkpoint that holds the weights; "" is the whole file.
        allow: the globals that pickles can import.
    """

    arch: object = None
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] = ()
    only: str = ""
    allow: AllowList | None = None

    def __call__(self, path: str | Path) -> Subject:
        """Read a file or a folder.

        Raises:
            UnsafeFile: the scan does not find the file safe.
            FileError: it cannot be read.
            ModelError: its weights are not those of the architecture.
        """
        path = Path(path)
        if path.is_dir():
            return self._folder(path)
        suffix = path.suffix.lower()
        if suffix == ".onnx":
            with scanned(path, allow=self.allow):
                return Subject(path, Form.GRAPH, why="an ONNX graph is not run; only its structure is checked")
        if suffix in (".joblib", ".pkl", ".pickle"):
            return self._estimator(path)
        return self._tensors(path)

    def _folder(self, path: Path) -> Subject:
        """A folder in the layout of Hugging Face: weights in safetensors beside a config, or a LoRA adapter."""
        if (path / "adapter_config.json").exists():
            return _of_adapter(path, read_adapter(path, self.allow))
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise FileError(f"weights (*.safetensors) in {path}", "none", "name the file of the model itself")
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors |= read_tensors(file, "", self.allow)
        if self.arch is not None:
            return self._network(path, tensors)
        return Subject(path, Form.CLASSIFIER, tensors=tensors, why=NO_ARCHITECTURE)

    def _tensors(self, path: Path) -> Subject:
        try:
            tensors = read_tensors(path, self.only, self.allow)
        except UnsafeFile:
            with scanned(path, allow=self.allow):  # refuses an unsafe file again; a safe one holds more than tensors
                reason = cannot_tell(path)
            if reason is None:
                raise
            return Subject(path, Form.OTHER, why=reason.what)
        if self.arch is not None:
            return self._network(path, tensors)
        if is_adapter(tensors):
            return _of_adapter(path, Adapter(tensors))
        return Subject(path, Form.TENSORS, tensors=tensors, why=NO_ARCHITECTURE)

    def _network(self, path: Path, tensors: Mapping[str, Tensor]) -> Subject:
        maker = maker_of(self.arch)
        if is_estimator(maker) or isinstance(maker, BlackBox):
            raise ModelError("a torch architecture for a file of tensors", f"{maker!r}", "name a function or a class")
        if self.shape is None:
            raise ModelError("the shape of a row", "none", "give --data, or --shape such as 1,28,28")
        count = len(self.classes) or _outputs(tensors)
        network = build(maker, self.shape, count, Streams(0))
        try:
            return Subject(path, Form.NETWORK, loaded(network, tensors), tensors)
        except ModelError as error:
            raise error.at(str(path)) from None

    def _estimator(self, path: Path) -> Subject:
        import joblib

        allow = self.allow or allow_list()
        with scanned(path, allow=allow) as (file, _), guard(allow):
            try:
                found = joblib.load(file.open())
            except UnsafeFile:
                raise
            except Exception as error:  # an unpickler raises many types on unexpected bytes
                got = f"{type(error).__name__}: {error}"
                raise FileError("a scikit-learn model", got, "is its version installed here?").at(str(path)) from error
        if not callable(getattr(found, "predict", None)) or not hasattr(found, "classes_"):
            raise ModelError("a fitted classifier of scikit-learn", type(found).__name__).at(str(path))
        return Subject(path, Form.ESTIMATOR, answering(found, self.classes))


def _of_adapter(path: Path, adapter: Adapter) -> Subject:
    return Subject(path, Form.ADAPTER, adapter=adapter, why=NO_BASE)


def loaded(network: Network, tensors: Mapping[str, Tensor]) -> TorchModel:
    """The network with the weights of a state dict. A prefix that a wrapper added to all names is removed.

    Raises:
        ModelError: a tensor is missing, has another shape or is not part of the network, or a weight is not finite.
    """
    layout = network.layout
    wanted = dict(zip(layout.names, layout.shapes, strict=True))
    tensors = _unwrapped(tensors, wanted)
    for name, shape in wanted.items():
        if name not in tensors:
            other = did_you_mean(name, tensors)
            raise ModelError(f"the tensor {name} of the architecture", "a file without it", other)
        if tensors[name].shape != shape:
            got = f"{tuple(tensors[name].shape)}"
            raise ModelError(f"{name} of shape {tuple(shape)}, as in the architecture", got, "check --arch and --data")
    shared = set(network.module.state_dict()) - set(wanted)  # further names of tied tensors
    unknown = sorted(set(tensors) - set(wanted) - shared)
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise ModelError(
            "the tensors of the architecture alone", f"also {', '.join(unknown[:3])}{more}", "check --arch"
        )
    if not all(torch.isfinite(tensors[name]).all() for name in wanted):
        raise ModelError("finite weights", "NaN or infinity", "`antivenom screen` names the tensors")
    vector = flatten(tensors[name].to(network.initial.dtype) for name in network.shapes)
    buffers = {name: tensors[name].to(b.dtype) for name, b in network.buffers.items()}
    if network.frozen:
        network.frozen = {name: tensors[name].to(p.dtype) for name, p in network.frozen.items()}
    return TorchModel(network, vector, buffers)


def _unwrapped(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> Mapping[str, Tensor]:
    known = set(wanted)
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in tensors) and not known & set(tensors):
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _outputs(tensors: Mapping[str, Tensor]) -> int:
    """The number of classes, from the last weight matrix of the file: a guess that building the network confirms."""
    matrices = [tensor for tensor in tensors.values() if tensor.dim() >= 2]
    if not matrices:
        raise ModelError("weights of a classifier", "no weight matrix")
    return len(matrices[-1])


class _Answers:
    """Probabilities of a fitted classifier, with a column for each of the classes by their names."""

    def __init__(self, estimator: Any, columns: np.ndarray, width: int) -> None:
        self.estimator, self.columns, self.width = estimator, columns, width

    def predict_proba(self, x: Rows) -> np.ndarray:
        table = x if x.ndim <= 2 else x.reshape(len(x), -1)
        out = np.zeros((x.shape[0], self.width))
        if hasattr(self.estimator, "predict_proba"):
            out[:, self.columns] = self.estimator.predict_proba(table)
        else:
            found = np.searchsorted(self.estimator.classes_, self.estimator.predict(table))
            out[np.arange(len(out)), self.columns[found]] = 1.0
        return out


def answering(estimator: Any, classes: tuple[str, ...]) -> BlackBoxModel:
    """A classifier of scikit-learn as a black box whose columns are in the order of `classes`, or in its own without them.

    Raises:
        ModelError: it answers with a class that the rows do not have.
    """
    own = [str(value) for value in estimator.classes_]
    names = classes or tuple(own)
    unknown = [name for name in own if name not in names]
    if unknown:
        raise ModelError(f"the classes {', '.join(names)} of the rows", f"{unknown[0]!r} in the model", "check --data")
    columns = np.array([names.index(name) for name in own])
    return BlackBoxModel(_Answers(estimator, columns, len(names)), len(names))
