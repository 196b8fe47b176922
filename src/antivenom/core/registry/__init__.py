"""The registry of plugins: a decorator per kind registers a class, and `build` makes a plugin of a name or a mapping.

Plugins come from antivenom itself, from installed packages (entry points) and from files (`--plugin`). A plugin is a frozen
dataclass with `__call__`; its fields are its hyper-parameters. The decorator makes the dataclass, so a plugin file needs
nothing else:

    from antivenom import attack

    @attack(access="data-manipulation", goal="availability", cite="Somebody et al. 2030")
    class MyAttack:
        poisoned_rate: float = 0.1

        def __call__(self, data, context): ...
"""

from antivenom.core.registry.checks import check_fields, require_range
from antivenom.core.registry.decorators import (
    Derived,
    agent,
    architecture,
    attack,
    augmentation,
    client_detector,
    estimator,
    evasion,
    feature_map,
    gate,
    goal,
    local_training,
    logic_attack,
    mitigation,
    model_attack,
    model_detector,
    partition,
    robust_learner,
    sanitizer,
    scenario,
    schedule,
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
    Traits,
    broken,
    entries,
    entry_of,
    find,
    load_builtin,
    load_file,
    register,
    registered,
)
from antivenom.core.registry.fields import (
    RESERVED,
    build,
    coerce,
    converts,
    describe,
    fields_of,
    fill,
    holds_plugin,
    join_fields,
    kinds_of,
    split_fields,
)
from antivenom.core.registry.ladder import Step, ladder
from antivenom.core.registry.memory import keep, kept, named_in

__all__ = [
    "ATTACKS",
    "DEFENCES",
    "ENTRY_POINTS",
    "RESERVED",
    "Derived",
    "Entry",
    "Kind",
    "Step",
    "Traits",
    "agent",
    "architecture",
    "attack",
    "augmentation",
    "broken",
    "build",
    "check_fields",
    "client_detector",
    "coerce",
    "converts",
    "describe",
    "entries",
    "entry_of",
    "estimator",
    "evasion",
    "feature_map",
    "fields_of",
    "fill",
    "find",
    "gate",
    "goal",
    "holds_plugin",
    "join_fields",
    "keep",
    "kept",
    "kinds_of",
    "ladder",
    "load_builtin",
    "load_file",
    "local_training",
    "logic_attack",
    "mitigation",
    "model_attack",
    "model_detector",
    "named_in",
    "partition",
    "register",
    "registered",
    "require_range",
    "robust_learner",
    "sanitizer",
    "scenario",
    "schedule",
    "source",
    "split_fields",
    "trigger",
    "wanted",
]
