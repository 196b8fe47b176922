"""One adapter for each kind of plugin of the central, transfer and acceptance scenarios.

An adapter calls the plugin with copies of its inputs, detects whether it wrote into them, and checks what it returned.
Every failure is a typed error of one line that names the plugin. Scenarios contain no checks of plugins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from antivenom.core.errors import NotApplicable, PluginError, ThreatError
from antivenom.core.protocols import AttackContext, DefenceContext, InputFilter, Model, Trigger
from antivenom.core.registry.entry import registered
from antivenom.core.verdict import ModelVerdict, Verdict
from antivenom.data import Dataset, Poison, Rows, Schema
from antivenom.data.forms import is_frame, own
from antivenom.models.training import Forward, Loss, cross_entropy
from antivenom.models.wrappers import TorchModel
from antivenom.scenarios.copies import call_plugin, copied
from antivenom.scenarios.grants import enforce

# --- attacks ---------------------------------------------------------------------------------------------------------


def data_attack(attack: object, clean: Dataset, context: AttackContext) -> Poison:
    """The rows after a data attack, checked against its threat model."""
    poison = _saved(_poison(call_plugin(attack, clean, context), attack, context), clean)
    enforce(context.threat, clean, poison)
    return poison


def model_attack(attack: object, model: Model, data: Dataset, context: AttackContext) -> tuple[Model, Poison]:
    """The model after a model attack, and its Poison, which must leave the rows unchanged and may hold a learned trigger."""
    found = call_plugin(attack, model, data, context)
    if not isinstance(found, tuple) or len(found) != 2:
        raise PluginError(f"(model, Poison) from {_name(attack)}", type(found).__name__, "return both")
    poison = _poison(found[1], attack, context)
    enforce(context.threat, data, poison)
    return _model(found[0], attack, model.num_classes), poison


@dataclass(frozen=True, eq=False)
class CorruptedLoss:
    """The loss of corrupted training code. Every value that it returns is checked to be a scalar.

    Fields:
        attack: the attack.
        found: the loss that it returned.
    """

    attack: object
    found: Loss

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        value = call_plugin(self.attack, forward, x, y, call=self.found, own=False)
        if not isinstance(value, Tensor) or value.shape != ():
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise PluginError(f"one number from the loss of {_name(self.attack)}", got, "return a scalar tensor")
        return value

    def learned(self) -> Trigger | None:
        """The trigger that the attack learned during the training, or None if it is judged on the scenario's."""
        if not _learns(self.attack):
            return None
        method = getattr(self.found, "learned", None)
        if not callable(method):
            name = _name(self.attack)
            raise PluginError(f"a loss with the method `learned` from {name}", type(self.found).__name__)
        found: Trigger = call_plugin(self.attack, call=method)
        return found


def logic_attack(attack: object, context: AttackContext) -> CorruptedLoss:
    """The loss of the corrupted training code."""
    found = call_plugin(attack, cross_entropy, context)
    if not callable(found):
        raise PluginError(f"a loss from {_name(attack)}", type(found).__name__, "return (forward, x, y) -> number")
    return CorruptedLoss(attack, found)


def evasion(attack: object, model: Model, test: Dataset, context: AttackContext) -> Dataset:
    """The test rows after an evasion, with their true labels."""
    found = call_plugin(attack, model, test, context)
    shape = getattr(found, "shape", None)
    if shape != test.x.shape:
        got = type(found).__name__ if shape is None else f"shape {shape}"
        raise PluginError(f"rows of shape {test.x.shape} from {_name(attack)}", got, "return every row")
    return replace(test, x=found if test.schema is None else test.schema.saved(found))


def shown(trigger: Trigger, x: Rows, schema: Schema | None = None) -> Rows:
    """The inputs x (m, ...) with the trigger, checked to have the same shape and form and finite values.

    With the schema of the rows, images are as they are after saving.
    """
    name = _name(trigger)
    if is_frame(x):
        if not getattr(trigger, "frames", False):
            raise NotApplicable(
                "a trigger that takes a DataFrame",
                name,
                "use Cells, which sets named columns, or encode the table first",
            )
        return _frame(call_plugin(trigger, x), x, name)
    found = call_plugin(trigger, x)
    sparse, form = sp.issparse(x), "CSR rows" if sp.issparse(x) else "an array"
    if sp.issparse(found) != sparse or not (sparse or isinstance(found, np.ndarray)):
        raise PluginError(f"{form} from {name}, the form of its input", type(found).__name__, "keep the rows' form")
    if found.shape != x.shape or not np.isfinite(found.data if sparse else found).all():
        raise PluginError(f"finite inputs of shape {x.shape} from {name}", f"shape {found.shape}", "keep the shape")
    found = found.astype(x.dtype, copy=False)
    return found if schema is None else schema.saved(found)


def _frame(found: Any, x: Rows, name: str) -> Rows:
    """What a trigger made of a DataFrame, after a check that columns and types are those of its input."""
    if not is_frame(found) or found.shape != x.shape or not found.dtypes.equals(x.dtypes):
        raise PluginError(f"a DataFrame with the columns and types of its input from {name}", type(found).__name__)
    return found.reset_index(drop=True)


# --- defences --------------------------------------------------------------------------------------------------------


def sanitizer(defence: object, rows: Dataset, context: DefenceContext) -> Verdict:
    """The sanitizer's verdict over the training rows."""
    return verdict(call_plugin(defence, rows, context), defence, len(rows), "rows")


def robust_learner(defence: object, rows: Dataset, context: DefenceContext) -> Model:
    """The model that a robust learner fits to the rows."""
    return _model(call_plugin(defence, rows, context), defence, len(rows.classes))


def model_detector(defence: object, model: Model, clean: Dataset, context: DefenceContext) -> ModelVerdict:
    """The detector's verdict over the model."""
    found = call_plugin(defence, model, clean, context)
    if not isinstance(found, ModelVerdict):
        raise PluginError(
            f"a ModelVerdict from {_name(defence)}", type(found).__name__, "ModelVerdict.of_classes makes one"
        )
    if found.classes is not None:
        verdict(found.classes, defence, model.num_classes, "classes")
    return found


def mitigation(defence: object, model: Model, clean: Dataset, context: DefenceContext) -> Model:
    """The model after a mitigation."""
    return _model(call_plugin(defence, model, clean, context), defence, model.num_classes)


def gate(defence: object, model: Model, clean: Dataset, context: DefenceContext) -> InputFilter:
    """The calibrated filter of a gate. Every verdict that it returns is checked."""
    found = call_plugin(defence, model, clean, context)
    if not callable(found):
        raise PluginError(f"a filter from {_name(defence)}", type(found).__name__, "return rows -> Verdict")
    return lambda x: verdict(call_plugin(defence, x, call=found), defence, x.shape[0], "inputs")


# --- checks of return values -----------------------------------------------------------------------------------------


def _poison(found: object, attack: object, context: AttackContext) -> Poison:
    name = _name(attack)
    if not isinstance(found, Poison):
        raise PluginError(f"a Poison from {name}", type(found).__name__, "return antivenom's Poison")
    if found.wanted is not None and found.wanted != context.wanted:
        raise ThreatError(f"the scenario's own wanted, {context.wanted}", f"{found.wanted}", "use context.wanted")
    if found.trigger is not None and not _learns(attack) and not _same(found.trigger, context.trigger):
        raise PluginError(
            f"the scenario's own trigger from {name}",
            "another one",
            "use context.trigger, or register the attack with learns_trigger=True",
        )
    return found


def _saved(poison: Poison, clean: Dataset) -> Poison:
    """The poison after its rows were saved, which rounds the pixels of images."""
    rows, schema = np.flatnonzero(poison.mask), clean.schema
    if schema is None or not len(rows) or poison.data.x.shape[1:] != clean.x.shape[1:]:
        return poison
    before = poison.data.x[rows] if isinstance(poison.data.x, np.ndarray) else poison.data.x
    after = schema.saved(before)
    if after is before or np.array_equal(after, before):
        return poison
    x = poison.data.x.copy()
    x[rows] = after
    return replace(poison, data=replace(poison.data, x=own(x)))


def _model(found: Any, plugin: Any, num_classes: int) -> Model:
    name = _name(plugin)
    if not all(hasattr(found, part) for part in ("predict", "predict_proba", "num_classes")):
        raise PluginError(
            f"a Model from {name}", type(found).__name__, "return something with predict_proba and predict"
        )
    if found.num_classes != num_classes:  # 0 is a regressor
        raise PluginError(f"a model of {num_classes} classes from {name}", f"{found.num_classes}", "keep the classes")
    if isinstance(found, TorchModel) and not bool(found.vector.isfinite().all()):
        raise PluginError(f"a model with finite weights from {name}", "NaN or infinity", "lower its learning rate")
    model: Model = copied(found)  # the plugin may keep the one that it returned, and write into it later
    return model


def verdict(found: object, defence: object, items: int, what: str) -> Verdict:
    """Check that a detector returned a Verdict over that many items. Verdict itself checks its scores and flags."""
    name = _name(defence)
    if not isinstance(found, Verdict):
        raise PluginError(f"a Verdict from {name}", type(found).__name__, "return antivenom.core.verdict.Verdict")
    if len(found) != items:
        raise PluginError(f"a verdict of {name} over {items} {what}", f"{len(found)}", "one score and one flag each")
    return found


def _learns(attack: object) -> bool:
    entry = registered(type(attack))
    return entry is not None and entry.learns_trigger


def _same(one: Trigger, other: Trigger | None) -> bool:
    try:
        return bool(one == other)
    except ValueError:  # dataclass equality of array fields has no truth value
        return False


def _name(plugin: object) -> str:
    return type(plugin).__name__
