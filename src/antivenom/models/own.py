"""The user's own models: torch modules, factories, estimators and black boxes, by value or as `module:name`."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from antivenom.core.errors import AntivenomError, ModelError, PluginError, text_of
from antivenom.core.fingerprint import address, code_of, digest, imported
from antivenom.core.protocols import ScikitLearn
from antivenom.core.registry import Kind, build, converts, entry_of, keep, kept
from antivenom.core.registry.entry import registered

if TYPE_CHECKING:
    from torch import Tensor, nn

Plain: TypeAlias = bool | int | float | str | None
WANTED = "a registered model, a torch module or a function that makes one, or an object with fit and predict"


@dataclass(frozen=True, eq=False, repr=False)
class OwnArchitecture:
    """A torch network of the user.

    Fields:
        make: a module, which is copied and trained from its own weights; or a function (row shape, classes) -> module or
            a class or function without required arguments, which draws new weights for each seed.
        path: `module:name` if it was imported by that path; empty for a value in memory.
    """

    make: nn.Module | Callable[..., nn.Module]
    path: str = ""

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        from torch import nn

        if isinstance(self.make, nn.Module):
            return copy.deepcopy(self.make)
        return self.make(shape, num_classes) if _takes(self.make, 2) else self.make()

    def __repr__(self) -> str:
        return self.path or _shown(self.make)

    def described(self) -> Mapping[str, object]:
        return _described("architecture", self, self.make, self.path, _module_state(self.make))


@dataclass(frozen=True, eq=False, repr=False)
class OwnEstimator:
    """An estimator of the user: any object with scikit-learn's `fit` and `predict`, pipelines included.

    Fields:
        make: an estimator, which is cloned; or a function (seed) -> estimator.
        path: `module:name` if it was imported by that path; empty for a value in memory.
    """

    make: ScikitLearn | Callable[[int], ScikitLearn]
    path: str = ""

    def __call__(self, seed: int) -> ScikitLearn:
        """A new, unfitted estimator. All parameters called `random_state`, also those inside pipelines, are set to the seed."""
        if not _is_estimator(self.make):
            assert callable(self.make)
            return checked_estimator(_called(self.make, seed), self.make)
        from sklearn.base import clone

        try:
            made: Any = clone(self.make) if hasattr(self.make, "get_params") else copy.deepcopy(self.make)
            names = [name for name in _parameters(made) if name.rpartition("__")[2] == "random_state"]
            return made.set_params(**dict.fromkeys(names, seed)) if names else made  # type: ignore[no-any-return]
        except Exception as error:  # an object of the user may raise any exception
            got, remedy = text_of(error), "give a function that makes the estimator"
            raise ModelError(f"{_shown(self.make)} to be copied, unfitted", got, remedy) from error

    def __repr__(self) -> str:
        return self.path or _shown(self.make)

    def described(self) -> Mapping[str, object]:
        parameters = _parameters(self.make) if _is_estimator(self.make) else {}
        plain = {name: _plain(value) for name, value in sorted(parameters.items())}
        return _described("estimator", self, self.make, self.path, _state(self.make), plain)


@dataclass(frozen=True, eq=False, repr=False)
class OwnTraining:
    """A plain function of the user that trains a model and returns a function that predicts.

    Fields:
        train: (rows, labels) -> predict, and predict: rows -> classes (m,) or probabilities (m, c). If `train` has a parameter
            `seed`, it gets the trial's seed.
        path: `module:name` if it was imported by that path; empty for a value in memory.
    """

    train: Callable[..., Callable[[Any], Any]]
    path: str = ""

    def __call__(self, seed: int) -> ScikitLearn:
        from antivenom.models.functions import Trained

        return Trained(self.train, seed)

    def __repr__(self) -> str:
        return self.path or _shown(self.train)

    def described(self) -> Mapping[str, object]:
        return _described("training", self, self.train, self.path, _state(self.train))


@dataclass(frozen=True, eq=False, repr=False)
class BlackBox:
    """A finished model that can only be queried.

    It cannot be fitted. So evasions, model detectors and gates apply to it, but no attack or defence that needs training.

    Fields:
        model: an object with predict_proba: native rows (m, ...) -> probabilities (m, c).
        path: `module:name` if it was imported by that path; empty for a value in memory.
    """

    model: object
    path: str = ""

    def __repr__(self) -> str:
        return self.path or _shown(self.model)

    def described(self) -> Mapping[str, object]:
        return _described("black_box", self, self.model, self.path, _state(self.model))


OWN = (OwnArchitecture, OwnEstimator, OwnTraining, BlackBox)
Made: TypeAlias = Any  # one of OWN, or a registered architecture or estimator


def is_estimator(maker: object) -> bool:
    """Whether a plugin from `maker_of` makes estimators; otherwise it makes torch modules or is a black box."""
    if isinstance(maker, OWN):
        return isinstance(maker, (OwnEstimator, OwnTraining))
    return entry_of(maker).kind is Kind.ESTIMATOR


def is_torch(maker: object) -> bool:
    """Whether a plugin from `maker_of` makes torch modules, which are trained by gradients, from a loss that can be replaced."""
    return not isinstance(maker, BlackBox) and not is_estimator(maker)


@converts(Kind.ARCHITECTURE)
@converts(Kind.ESTIMATOR)
def _converted(value: object) -> Made | None:
    """Hook of the registry: `maker_of` for values that the registry cannot build itself, else None."""
    by_name = ":" not in value if isinstance(value, str) else "name" in value if isinstance(value, Mapping) else False
    return None if by_name or _is_plugin(type(value)) else maker_of(value)


def maker_of(value: object) -> Made:
    """The plugin that makes the user's model, from a name, a plugin, `module:name` or a value in memory.

    Raises:
        PluginError: a value of another type, or a path that cannot be imported.
        ModelError: an object with `fit` but without `predict`.
    """
    if isinstance(value, OWN):
        return value
    if isinstance(value, str) and ":" in value:
        found = maker_of(imported(value))
        return replace(found, path=value) if isinstance(found, OWN) else found
    if isinstance(value, Mapping) and set(value) == {"training"}:
        return training_of(str(value["training"]))
    if isinstance(value, Mapping) and "name" not in value:
        return _again(value)
    if isinstance(value, (str, Mapping)) or _is_plugin(type(value)):
        return build(value, Kind.ARCHITECTURE, Kind.ESTIMATOR)
    if isinstance(value, type):
        return _of_class(value)
    if _is_module(value):
        return OwnArchitecture(value)
    if hasattr(value, "fit"):
        return OwnEstimator(checked_estimator(value, value))
    if hasattr(value, "predict_proba"):
        return BlackBox(value)
    if callable(value):
        return _of_function(value)
    raise PluginError(WANTED, _shown(value), "docs/guide/models.md shows each of them")


def training_of(value: object) -> OwnTraining:
    """The plugin for a training function, given as a value or as `module:name`.

    Raises:
        PluginError: it cannot be imported, or does not take rows and labels.
    """
    function = imported(value) if isinstance(value, str) else value
    if not callable(function) or not _takes(function, 2):
        got = f"{_shown(function)}{_signature(function) if callable(function) else ''}"
        raise PluginError("a function train(rows, labels) -> predict", got, "docs/guide/models.md shows one")
    return OwnTraining(function, value if isinstance(value, str) else "")


def _of_class(cls: type) -> Made:
    from torch import nn

    if issubclass(cls, nn.Module):
        return OwnArchitecture(cls)
    if not _takes(cls, 0):
        raise PluginError(WANTED, f"the class {cls.__name__}", f"give an object: {cls.__name__}(...)")
    return maker_of(_called(cls))


def _of_function(function: Callable[..., Any]) -> Made:
    """The plugin for a factory, recognised by its signature.

    With two arguments it makes networks, and with one, the seed, estimators. Without arguments it is called, and the type
    of its result decides.
    """
    if _takes(function, 2):
        return OwnArchitecture(function)
    if _takes(function, 0) and not _takes(function, 1):
        found = _called(function)
        return OwnArchitecture(function) if _is_module(found) else maker_of(found)
    if _takes(function, 1):
        return OwnEstimator(function)
    raise PluginError(
        "a function (row shape, classes) -> torch module or (seed) -> estimator",
        f"{_shown(function)}{_signature(function)}",
        "give the other arguments a default",
    )


def _called(make: Callable[..., Any], *arguments: object) -> Any:
    """What a user's function or class returns.

    Raises:
        ModelError: it raised an error, or ended the process.
    """
    try:
        return make(*arguments)
    except (AntivenomError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a user's code may raise anything; sys.exit() is no Exception
        raise ModelError(f"a model from {_shown(make)}", text_of(error)) from error


def _again(spec: Mapping[str, Any]) -> Made:
    """The model that `described` gave this mapping for: from this process, else imported anew if that gives the same."""
    made = kept(spec)
    if made is not None:
        return made
    what = next((key for key in ("architecture", "estimator", "training", "black_box") if key in spec), None)
    if what is None:
        raise PluginError("`name` in the model's mapping", ", ".join(map(str, spec)) or "nothing", "add `name: ...`")
    path = str(spec[what])
    try:
        value = imported(path)
        parameters = spec.get("parameters")
        found = (
            training_of(value)
            if what == "training"
            else maker_of(value(**parameters) if parameters and isinstance(value, type) else value)
        )
        found = found if spec.get("in_memory") else replace(found, path=path)
        same = found.described().get("fingerprint") == spec.get("fingerprint")
    except (PluginError, ModelError, TypeError, ValueError, AttributeError) as error:
        raise _absent(path, str(error)) from error
    if not same:
        raise _absent(path, "another value or another code")
    return found


def _absent(path: str, got: str) -> PluginError:
    return PluginError(
        f"the model {path} as it was when the trial was planned",
        got,
        "run the trial in the process that holds the model",
    )


def _described(
    what: str, maker: object, value: object, path: str, state: str, parameters: Mapping[str, Plain] | None = None
) -> dict[str, object]:
    """What a specification holds of a user's model. The model is kept, so that the specification can be run."""
    named = path or address(value)
    spec: dict[str, object] = {what: named, "fingerprint": digest(what, named, code_of(value), state)}
    spec |= {} if path else {"in_memory": True}
    spec |= {} if parameters is None else {"parameters": parameters}
    keep(spec, maker)
    return spec


def _module_state(value: object) -> str:
    """A digest of a module's architecture, code and weights; empty for a factory, which its code identifies."""
    if not _is_module(value):
        return ""
    tensors = [tensor.detach().cpu().contiguous() for tensor in value.state_dict().values()]
    code = sorted({code_of(type(layer)) for layer in value.modules()})
    frozen = str([p.requires_grad for p in value.parameters()])
    return digest(repr(value), frozen, *code, *map(_bytes, tensors))


def _bytes(tensor: Tensor) -> bytes:
    import torch

    return bytes(tensor.flatten().view(torch.uint8).numpy())


def _state(value: object) -> str:
    """A digest of an object's parameters and fitted state; empty for a function, which its code identifies."""
    if inspect.isroutine(value):
        return ""
    import joblib

    try:
        return str(joblib.hash(value))
    except Exception:  # pickling an arbitrary object may raise any exception
        return digest(repr(value))


def checked_estimator(value: object, source: object) -> ScikitLearn:
    if not _is_estimator(value):
        lacks = " and ".join(name for name in ("fit", "predict") if not callable(getattr(value, name, None)))
        got = f"{_shown(value)} without {lacks}" + ("" if value is source else f" from {_shown(source)}")
        raise ModelError("an object with fit and predict", got, f"add {lacks}(...) to its class")
    return value


def _is_estimator(value: object) -> TypeGuard[ScikitLearn]:
    return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in ("fit", "predict"))


def _is_plugin(cls: type) -> bool:
    entry = registered(cls)
    return entry is not None and entry.cls is cls


def _is_module(value: object) -> TypeGuard[nn.Module]:
    from torch import nn

    return isinstance(value, nn.Module)


def _parameters(estimator: object) -> dict[str, object]:
    found = getattr(estimator, "get_params", None)
    try:
        return dict(found()) if callable(found) else {}
    except Exception as error:  # an object of the user may raise any exception
        raise ModelError(f"parameters of {_shown(estimator)} from get_params", text_of(error)) from error


def _plain(value: object) -> Plain:
    """A parameter as JSON can hold it: what is no plain value, and NaN, which SimpleImputer has, as its text."""
    if isinstance(value, (bool, int, str, type(None))) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return " ".join(repr(value).split())


def _takes(function: Callable[..., object], arguments: int) -> bool:
    """Whether the function can be called with that many positional arguments."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:  # a C function without a readable signature
        return arguments == 0
    return True


def _shown(value: object) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _signature(function: Callable[..., object]) -> str:
    try:
        return str(inspect.signature(function))
    except ValueError:
        return "(...)"
