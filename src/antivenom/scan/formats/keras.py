"""Keras configurations in `.keras` archives and HDF5 files: objects that refer to classes, and layers with code."""

from __future__ import annotations

import re
from collections.abc import Iterator

from antivenom.core.errors import with_article
from antivenom.scan.findings import Finding
from antivenom.scan.formats import names
from antivenom.scan.part import Part
from antivenom.scan.rules import CUSTOM_OPERATION, EMBEDDED_CODE, IMPORTED_NAME, UNSAFE_OPERATION, UNTRUSTED_TYPE

_OWN = ("keras", "tf_keras", "tensorflow.keras", "keras_hub", "keras_nlp", "keras_cv")
# Modules of Keras with layers and pure functions. Its other modules download, load, save and import.
_MODELLING = re.compile(
    r"(?:tensorflow\.)?(?:keras|tf_keras|keras_hub|keras_nlp|keras_cv)(?:\.(?:api|src|engine|legacy|_tf_keras|keras|v2))*"
    r"(?:\.(?:layers|models|initializers|regularizers|constraints|optimizers|losses|metrics|activations|ops|random|"
    r"backend\.(?:torch|tensorflow|jax)\.optimizers|dtype_policies|quantizers|tokenizers|functional|sequential|training|"
    r"input_layer|base_layer|mixed_precision|"
    r"backbones|samplers)(?:\.\w+)*)?"
)
_CODE = {"__lambda__", "TorchModuleWrapper"}  # a marshalled function; a pickled module
_LOADING = {"TFSMLayer"}  # loads a SavedModel from the path in its configuration
_TENSORFLOW = {"TFOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty"}
_SAFE_CALLS = re.compile(
    r"(?:math|nn|linalg|image|signal|sparse|strings|random|keras|__operators__|experimental\.numpy)\.[\w.]+|[a-z_]+"
)
_UNSAFE_CALLS = re.compile(
    r".*(?:py_function|py_func|numpy_function|\bio\b|read_file|write_file|\bload\w*|print|summary|raw_ops).*"
)


def check_object(part: Part, value: dict[str, object]) -> Iterator[Finding]:
    """The findings in one JSON object, if it describes a Keras object."""
    kind, module, inner = value.get("class_name"), value.get("module"), value.get("config")
    if not isinstance(kind, str) or not ("config" in value or "module" in value):
        return
    inner_config = inner if isinstance(inner, dict) else {}
    if kind in _CODE:
        yield part.finding(EMBEDDED_CODE, f"{with_article(kind)} with code in it", name=kind)
    elif kind == "Lambda":
        yield from _lambda(part, inner_config)
    elif kind in _LOADING:
        yield part.finding(UNSAFE_OPERATION, f"{with_article(kind)} loads {inner_config.get('filepath')}", name=kind)
    elif kind in _TENSORFLOW:
        yield from _operation(part, kind, inner_config)
    if isinstance(inner_config.get("vocabulary"), str):
        yield part.finding(
            UNSAFE_OPERATION, f"{with_article(kind)} reads the file {inner_config['vocabulary']}", name=kind
        )
    if isinstance(module, str):
        yield from _class(part, module, _class_name(kind, value), kind == "function")
    elif ">" in str(value.get("registered_name") or ""):
        yield part.finding(
            UNTRUSTED_TYPE, f"needs the custom object {value['registered_name']}", name=str(value["registered_name"])
        )


def _class_name(kind: str, value: dict[str, object]) -> str:
    found = {"function": value.get("config"), "__typespec__": value.get("spec_name")}.get(kind, kind)
    return str(found)


def _class(part: Part, module: str, name: str, is_function: bool) -> Iterator[Finding]:
    """Findings for a class or function that the loader imports from a module."""
    full = f"{module}.{name}"
    if module == "builtins" and is_function:
        return  # Keras refers to its own activations and losses in this way and imports nothing
    if _MODELLING.fullmatch(module):
        if (rule := names.broken_rule(part, module, name)) is IMPORTED_NAME:
            yield part.finding(rule, f"names {full}", name=full)
    elif module.split(".")[0] in (own.split(".")[0] for own in _OWN):
        yield part.finding(IMPORTED_NAME, f"names {full}, which is not a layer", name=full)
    elif (rule := names.broken_rule(part, module, name)) is not None:
        yield part.finding(rule, f"names {full}, which is not part of Keras", name=full)


def _lambda(part: Part, config: dict[str, object]) -> Iterator[Finding]:
    """The finding for a Lambda layer, which contains marshalled code or the name of a function."""
    function = config.get("function")
    named = isinstance(function, str) and config.get("function_type") == "function"
    named |= isinstance(function, dict) and function.get("class_name") == "function"
    shapes = [config.get(key) for key in ("output_shape", "mask")]
    coded = any(config.get(f"{key}_type") == "lambda" for key in ("function", "output_shape", "mask"))
    coded |= any(isinstance(shape, dict) and shape.get("class_name") != "function" for shape in shapes)
    if named and not coded:
        yield part.finding(UNTRUSTED_TYPE, "a Lambda layer calls a function by its name", name="Lambda")
    else:
        yield part.finding(EMBEDDED_CODE, "a Lambda layer with code in it", name="Lambda")


def _operation(part: Part, kind: str, config: dict[str, object]) -> Iterator[Finding]:
    """The finding for a layer that calls a function of TensorFlow."""
    called = str(config.get("function") or config.get("node_def") or config.get("method_name") or "?")
    if _UNSAFE_CALLS.fullmatch(called):
        yield part.finding(UNSAFE_OPERATION, f"{with_article(kind)} calls {called}", name=called)
    elif kind != "TFOpLambda" or not _SAFE_CALLS.fullmatch(called):
        yield part.finding(CUSTOM_OPERATION, f"{with_article(kind)} calls {called}", name=called)
