"""Plugins by name: one decorator per kind, build from a name or a mapping, third parties through entry points or a file.

A plugin is a frozen dataclass with `__call__`; its fields are its hyper-parameters. The decorator makes the dataclass,
so a plugin file needs nothing but the decorator:

    from antivenom import attack

    @attack(access="data-manipulation", goal="availability", cite="Somebody et al. 2030")
    class MyAttack:
        poisoned_rate: float = 0.1

        def __call__(self, data, context): ...
"""

from antivenom.core.registry.decorators import (
    agent,
    attack,
    client_detector,
    evasion,
    feature_map,
    gate,
    logic_attack,
    mitigation,
    model,
    model_attack,
    model_detector,
    partition,
    robust_learner,
    sanitizer,
    source,
    trigger,
    wanted,
)
from antivenom.core.registry.entry import (
    ATTACKS,
    DEFENCES,
    ENTRY_POINTS,
    Entry,
    Kind,
    entries,
    entry_of,
    find,
    load_builtin,
    load_file,
    register,
)
from antivenom.core.registry.fields import (
    LATER,
    build,
    coerce,
    converts,
    describe,
    fields_of,
    fill,
    holds_plugin,
    kinds_of,
)

__all__ = [
    "ATTACKS",
    "DEFENCES",
    "ENTRY_POINTS",
    "LATER",
    "Entry",
    "Kind",
    "agent",
    "attack",
    "build",
    "client_detector",
    "coerce",
    "converts",
    "describe",
    "entries",
    "entry_of",
    "evasion",
    "feature_map",
    "fields_of",
    "fill",
    "find",
    "gate",
    "holds_plugin",
    "kinds_of",
    "load_builtin",
    "load_file",
    "logic_attack",
    "mitigation",
    "model",
    "model_attack",
    "model_detector",
    "partition",
    "register",
    "robust_learner",
    "sanitizer",
    "source",
    "trigger",
    "wanted",
]
