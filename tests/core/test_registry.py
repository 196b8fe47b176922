"""The registry: what the decorators make, how plugins are built by name, and how third parties add theirs."""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antivenom.core import registry
from antivenom.core.errors import AntivenomError, PluginError
from antivenom.core.protocols import Aggregator, Sanitizer, Trigger
from antivenom.core.registry import (
    Kind,
    attack,
    build,
    describe,
    entries,
    entry_of,
    find,
    load_file,
    sanitizer,
    trigger,
)
from antivenom.core.registry import entry as known
from antivenom.core.registry.fields import _SIGNATURES
from antivenom.core.threat import Access, Goal
from antivenom.data import IID, Dataset, Dirichlet, ImageFolder, Memory, PythonSource, TableFile
from antivenom.models.architectures import MLP, SmallCNN
from antivenom.models.estimators import Sklearn


@pytest.fixture
def clean_registry(monkeypatch):
    """Plugins and modules that a test adds are gone after it."""
    registry.load_builtin()
    monkeypatch.setattr(known, "_ENTRIES", dict(known._ENTRIES))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "plugin" in name:
            del sys.modules[name]


def refused(says: str, spec: Any, *kinds: Kind) -> str:
    with pytest.raises(PluginError, match=says) as caught:
        build(spec, *kinds)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# --- every plugin there is -------------------------------------------------------------------------------------------

SOURCES = {
    "Memory": Memory(Dataset([[0.0], [1.0], [2.0]], [0, 1, 0], ("a", "b"))),
    "PythonSource": PythonSource("my_package.rows:load"),
    "TableFile": TableFile("rows.csv", "label"),
    "ImageFolder": ImageFolder("pictures", (28, 28)),
}
STAND_INS = {
    int: 1,
    float: 0.5,
    bool: True,
    str: "1",
    tuple[int, ...]: (1,),
    tuple[tuple[str, int | float | str], ...]: {"age": 30},
    np.ndarray: [0.5, 1.0],
}


def example(entry: registry.Entry) -> Any:
    """The plugin with its defaults; fields without one get a plugin of their kind or a plain value."""
    if entry.name in SOURCES:
        return SOURCES[entry.name]
    spec: dict[str, Any] = {"name": entry.name}
    for field in dataclasses.fields(entry.cls):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            hint = registry.fields_of(entry.cls)[field.name]
            if registry.holds_plugin(hint):
                simple = [other for other in entries(_SIGNATURES[hint.__name__]) if not required(other)]
                spec[field.name] = simple[0].name
            else:
                spec[field.name] = STAND_INS[hint]
    return build(spec)


def required(entry: registry.Entry) -> list[str]:
    return [field.name for field in dataclasses.fields(entry.cls) if field.default is dataclasses.MISSING]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
class TestEveryPlugin:
    def test_is_a_frozen_value(self, entry):
        one, same = example(entry), example(entry)
        assert one == same
        assert hash(one) == hash(same)
        assert type(one) is entry.cls
        assert callable(one.run if entry.kind is Kind.SCENARIO else one)
        for field in dataclasses.fields(one):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(one, field.name, None)

    def test_comes_back_from_its_description(self, entry):
        plugin = example(entry)
        assert build(describe(plugin), entry.kind) == plugin
        assert build(json.loads(json.dumps(describe(plugin), allow_nan=False)), entry.kind) == plugin

    def test_crosses_a_process_boundary(self, entry):
        assert pickle.loads(pickle.dumps(example(entry))) == example(entry)  # noqa: S301

    def test_says_what_it_is(self, entry):
        assert entry.about.endswith(".")
        assert entry.cite
        assert entry.origin
        assert entry_of(example(entry)) == entry

    def test_refuses_a_field_that_it_does_not_have(self, entry):
        refused(f"a field of {entry.cls.__name__}, got 'colour'", {"name": entry.name, "colour": 1})


def test_entries_come_by_kind_and_name():
    found = entries()
    assert found == sorted(found, key=lambda entry: (list(Kind).index(entry.kind), entry.name))
    assert [entry.name for entry in entries(Kind.PARTITION)] == ["ByGroup", "Dirichlet", "IID"]
    assert {entry.kind for entry in entries(Kind.ARCHITECTURE, Kind.PARTITION)} == {Kind.ARCHITECTURE, Kind.PARTITION}


def test_every_kind_is_an_attack_a_defence_or_a_part():
    parts = [kind for kind in Kind if not kind.is_attack and not kind.is_defence]
    models = [Kind.ARCHITECTURE, Kind.ESTIMATOR, Kind.SCHEDULE, Kind.AUGMENTATION]
    wholes = [Kind.GOAL, Kind.SCENARIO]
    federated = [Kind.PARTITION, Kind.LOCAL_TRAINING]
    assert parts == [Kind.TRIGGER, Kind.WANTED, *federated, *models, Kind.FEATURE_MAP, Kind.SOURCE, *wholes]
    assert not any(kind.is_attack and kind.is_defence for kind in Kind)


# --- the decorators --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("clean_registry")
def test_a_plugin_needs_nothing_but_the_decorator():
    @attack(access="data-manipulation", goal=("availability", "backdoor"), cite="Somebody et al. 2030")
    class Mine:
        """Does nothing.

        And says no more.
        """

        rate: float = 0.1

        def __call__(self, data, context): ...

    assert Mine(0.2) == Mine(rate=0.2) != Mine()
    assert repr(Mine()).endswith("Mine(rate=0.1)")
    entry = find("Mine")
    assert (entry.kind, entry.cls, entry.cite) == (Kind.DATA_ATTACK, Mine, "Somebody et al. 2030")
    assert entry.access == (Access.DATA_MANIPULATION,)
    assert entry.goals == (Goal.AVAILABILITY, Goal.BACKDOOR)
    assert entry.about == "Does nothing."
    assert entry.origin == __name__


@pytest.mark.usefixtures("clean_registry")
def test_every_decorator_registers_its_kind():
    decorators = {
        "attack": ({"goal": "backdoor"}, Kind.DATA_ATTACK, ()),
        "model_attack": ({"goal": "backdoor"}, Kind.MODEL_ATTACK, (Access.TRANSFER_LEARNING,)),
        "logic_attack": ({"goal": "backdoor"}, Kind.LOGIC_ATTACK, (Access.LOGIC_CORRUPTION,)),
        "evasion": ({"goal": "availability"}, Kind.EVASION, tuple(Access)),
        "agent": ({"goal": "targeted"}, Kind.AGENT, (Access.LOGIC_CORRUPTION,)),
        "sanitizer": ({"goal": "backdoor"}, Kind.SANITIZER, ()),
        "robust_learner": ({"goal": "availability"}, Kind.ROBUST_LEARNER, ()),
        "model_detector": ({"goal": "backdoor"}, Kind.MODEL_DETECTOR, ()),
        "mitigation": ({"goal": "backdoor"}, Kind.MITIGATION, ()),
        "gate": ({"goal": "backdoor"}, Kind.GATE, tuple(Access)),
        "client_detector": ({"goal": "backdoor"}, Kind.CLIENT_DETECTOR, (Access.LOGIC_CORRUPTION,)),
        "trigger": ({}, Kind.TRIGGER, ()),
        "wanted": ({}, Kind.WANTED, ()),
        "architecture": ({}, Kind.ARCHITECTURE, ()),
        "estimator": ({}, Kind.ESTIMATOR, ()),
        "schedule": ({}, Kind.SCHEDULE, ()),
        "augmentation": ({}, Kind.AUGMENTATION, ()),
        "partition": ({}, Kind.PARTITION, ()),
        "local_training": ({}, Kind.LOCAL_TRAINING, ()),
        "feature_map": ({}, Kind.FEATURE_MAP, ()),
        "source": ({}, Kind.SOURCE, ()),
    }
    for name, (fields, kind, access) in decorators.items():
        made = type(f"Made{name}", (), {"__call__": lambda self: None, "__module__": __name__})
        getattr(registry, name)(**fields, cite="x")(made)
        assert (find(f"Made{name}").kind, find(f"Made{name}").access) == (kind, access)
    # Aggregators and reducers have decorators of their own in antivenom.federated: they take arrays of any library.
    # Goals and scenarios say more of themselves: see test_goals.
    others = {Kind.AGGREGATOR, Kind.REDUCER, Kind.GOAL, Kind.SCENARIO}
    assert {kind for _, kind, _ in decorators.values()} == set(Kind) - others


def callable_class(name: str, qualname: str = "", **fields: Any) -> type:
    return type(name, (), {"__call__": lambda self, x: x, "__qualname__": qualname or name, **fields})


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize(
    ("decorate", "says"),
    [
        (lambda: trigger(cite="x")(callable_class("MLP")), "a new plugin name, got MLP, taken by antivenom"),
        (lambda: trigger(cite="x")(type("Silent", (), {})), "a __call__ in Silent, got none"),
        (lambda: attack(goal="backdor", cite="x"), "goal by a known name, got 'backdor': did you mean 'backdoor'"),
        (lambda: attack(access="root", goal="backdoor", cite="x"), "access by a known name, got 'root'"),
        (
            lambda: trigger(cite="x")(dataclasses.dataclass(callable_class("Loose", __annotations__={"a": int}, a=1))),
            "a frozen Loose",
        ),
    ],
    ids=["name taken", "no call", "goal", "access", "not frozen"],
)
def test_a_class_that_is_no_plugin_is_refused(decorate, says):
    before = entries()
    with pytest.raises(PluginError, match=says):
        decorate()
    assert entries() == before


@pytest.mark.usefixtures("clean_registry")
def test_a_module_may_be_imported_again():
    first = trigger(cite="old")(callable_class("Again"))
    second = trigger(cite="new")(callable_class("Again"))
    assert first is not second
    assert find("Again").cls is second
    assert find("Again").cite == "new"


# --- building --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "plugin"),
    [
        ("MLP", MLP()),
        ({"name": "MLP"}, MLP()),
        ({"name": "MLP", "hidden": [8, 4], "dropout": 0.5}, MLP((8, 4), 0.5)),
        ({"name": "MLP", "dropout": "0.5"}, MLP(dropout=0.5)),
        ({"name": "Dirichlet", "beta": 1}, Dirichlet(1.0)),
        (Dirichlet(2.0), Dirichlet(2.0)),
        (
            {"name": "Sklearn", "estimator": "sklearn.svm.SVC", "parameters": {"C": 2, "kernel": "linear", "tol": 0.1}},
            Sklearn("sklearn.svm.SVC", (("C", 2), ("kernel", "linear"), ("tol", 0.1))),
        ),
    ],
)
def test_build_takes_a_name_a_mapping_or_a_plugin(spec, plugin):
    assert build(spec) == plugin
    assert build(describe(plugin)) == plugin


def test_a_plain_value_of_a_parameter_keeps_its_type():
    made = build({"name": "Sklearn", "parameters": [["a", 1], ["b", 1.0], ["c", True], ["d", None], ["e", "1"]]})
    assert [type(value) for _, value in made.parameters] == [int, float, bool, type(None), str]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("MPL", "the name of a plugin, got 'MPL': did you mean 'MLP'"),
        ("smallcnn", "did you mean 'SmallCNN'"),
        ({"name": "MLP", "droput": 0.5}, "a field of MLP, got 'droput': did you mean 'dropout'"),
        ({"name": "MLP", "dropout": "half"}, r"a valid MLP\.dropout, got 'half': input should be a valid number"),
        ({"name": "MLP", "hidden": 8}, r"a valid MLP\.hidden, got 8: input should be a valid tuple"),
        ({"name": "MLP", "hidden": [8.5]}, r"a valid MLP\.hidden"),
        ({"name": "SmallCNN", "channels": [1, 2, 3]}, r"a valid SmallCNN\.channels"),
        ({"name": "MLP", "hidden": None}, r"a valid MLP\.hidden, got None"),
        ({"name": "Sklearn", "parameters": {"C": [1]}}, r"a valid Sklearn\.parameters"),
        ({"name": "Dirichlet", "beta": -1}, "finite Dirichlet beta > 0"),
        ({"hidden": [8]}, "`name` in the plugin's mapping, got hidden"),
        ({"name": 3}, "`name` in the plugin's mapping"),
        ({}, "`name` in the plugin's mapping, got nothing"),
        (None, "a plugin's name or a mapping with `name`, got None"),
        (["MLP"], "a plugin's name or a mapping"),
        (MLP, "a plugin's name or a mapping with `name`, got <class"),
        ("many\nlines", "got 'many"),
    ],
)
def test_what_cannot_be_built_is_one_line(spec, says):
    with pytest.raises(AntivenomError, match=says) as caught:
        build(spec)
    assert len(str(caught.value).splitlines()) == 1


def test_the_kind_must_fit():
    assert build("MLP", Kind.ARCHITECTURE, Kind.PARTITION) == MLP()
    refused(
        "the name of a partition, got 'MLP', which is of kind architecture: choose from ByGroup, Dirichlet, IID",
        "MLP",
        Kind.PARTITION,
    )
    refused("the name of an agent, got 'IID', which is of kind partition", "IID", Kind.AGENT)
    refused("the name of a partition, got 'MLP', which is of kind architecture", MLP(), Kind.PARTITION)
    refused(
        "the name of a partition or architecture, got 'ID': did you mean 'IID'", "ID", Kind.PARTITION, Kind.ARCHITECTURE
    )


@pytest.fixture
def nesting(clean_registry):
    """Plugins made of plugins."""

    @trigger(cite="x")
    class Dot:
        """A dot."""

        size: int = 1

        def __call__(self, x):
            return x

    @sanitizer(goal="backdoor", cite="x")
    class Wrapped:
        """Made of others."""

        trigger: Trigger
        again: Sanitizer | None = None

        def __call__(self, data, context): ...

    @sanitizer(goal="backdoor", cite="x")
    class Picky:
        """Has an opinion."""

        k: int = 1

        def __post_init__(self) -> None:
            if self.k < 1:
                raise ValueError("k is\ntoo small")

        def __call__(self, data, context): ...

    return Dot, Wrapped, Picky


def test_plugins_are_built_inside_plugins(nesting):
    dot, wrapped, _ = nesting
    deep = wrapped(dot(3), wrapped(dot()))
    assert build({"name": "Wrapped", "trigger": "Dot"}) == wrapped(dot())
    assert (
        build(
            {"name": "Wrapped", "trigger": {"name": "Dot", "size": 3}, "again": {"name": "Wrapped", "trigger": "Dot"}}
        )
        == deep
    )
    assert build({"name": "Wrapped", "trigger": dot(3), "again": None}) == wrapped(dot(3))
    assert describe(deep) == {
        "name": "Wrapped",
        "trigger": {"name": "Dot", "size": 3},
        "again": {"name": "Wrapped", "trigger": {"name": "Dot", "size": 1}, "again": None},
    }
    assert build(describe(deep)) == deep


def test_faults_inside_say_where(nesting):
    assert refused(
        "the name of a trigger, got 'MLP', which is of kind architecture", {"name": "Wrapped", "trigger": "MLP"}
    ).startswith("Wrapped.trigger: ")
    refused("the name of a trigger, got 'Dott': did you mean 'Dot'", {"name": "Wrapped", "trigger": "Dott"})
    refused(
        "a field of Dot, got 'sise': did you mean 'size'", {"name": "Wrapped", "trigger": {"name": "Dot", "sise": 1}}
    )
    refused(r"a value for Wrapped\.trigger, got none", {"name": "Wrapped"})
    refused("a plugin's name or a mapping", {"name": "Wrapped", "trigger": None})
    refused("valid fields for Picky, got k is too small", {"name": "Picky", "k": 0})


@pytest.mark.usefixtures("clean_registry")
def test_annotations_that_nobody_can_look_up_are_said():
    made = trigger(cite="x")(callable_class("Foggy", __annotations__={"a": "Nowhere"}, a=1))
    assert made().a == 1
    refused("annotations of Foggy that can be evaluated, got name 'Nowhere' is not defined", {"name": "Foggy", "a": 2})


def test_a_field_annotated_with_a_call_shape_holds_a_plugin():
    assert registry.holds_plugin(Aggregator)
    assert registry.holds_plugin(Trigger | None)
    for hint in (int, tuple[int, ...], int | None, Any, Kind):
        assert not registry.holds_plugin(hint)


def test_describe_gives_plain_values():
    assert describe(SmallCNN((2, 3))) == {"name": "SmallCNN", "channels": [2, 3], "dense": 64, "dropout": 0.25}
    assert describe(IID()) == {"name": "IID"}


# --- plugin files ----------------------------------------------------------------------------------------------------

PLUGIN = '''
from antivenom.core.registry import trigger

@trigger(cite="me")
class {name}:
    """Made {about}."""

    size: int = {size}

    def __call__(self, x):
        return x
'''


def plugin_file(folder: Path, stem: str, name: str = "FromFile", size: int = 1, about: str = "in a file") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}.py"
    path.write_text(PLUGIN.format(name=name, size=size, about=about))
    return path


def file_refused(path: Path, says: str) -> None:
    before = entries()
    for _ in range(2):  # a failed import leaves nothing that lets the second one pass
        with pytest.raises(PluginError, match=says) as caught:
            load_file(path)
        assert len(str(caught.value).splitlines()) == 1
        assert entries() == before
        assert f"antivenom_plugin_{path.stem}" not in sys.modules


@pytest.mark.usefixtures("clean_registry")
class TestPluginFiles:
    def test_its_plugins_are_found_by_name(self, tmp_path):
        (entry,) = load_file(plugin_file(tmp_path, "my-plugin"))
        assert (entry.name, entry.kind, entry.about) == ("FromFile", Kind.TRIGGER, "Made in a file.")
        assert "my-plugin" in entry.origin
        plugin = build({"name": "FromFile", "size": 4})
        assert plugin.size == 4
        assert pickle.loads(pickle.dumps(plugin)) == plugin  # noqa: S301
        refused("a valid FromFile.size", {"name": "FromFile", "size": "big"})

    def test_it_may_be_loaded_again_after_an_edit(self, tmp_path):
        load_file(plugin_file(tmp_path, "edited"))
        path = plugin_file(tmp_path, "edited", size=22222)
        (entry,) = load_file(str(path))
        assert build("FromFile").size == 22222
        assert entry == find("FromFile")

    def test_it_may_be_named_relative_to_here(self, tmp_path, monkeypatch):
        plugin_file(tmp_path, "here")
        monkeypatch.chdir(tmp_path)
        first = load_file("here.py")
        plugin = build("FromFile")
        assert load_file(tmp_path / "here.py") == first
        assert build("FromFile") == plugin  # not imported a second time

    def test_a_file_that_is_not_there(self, tmp_path):
        file_refused(tmp_path / "absent.py", r"absent\.py: no such file: check the path after --plugin")
        file_refused(tmp_path, "a Python file with a plugin")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("x = (", r"broken\.py to import, got SyntaxError"),
            ("import nothing_of_that_name", "ModuleNotFoundError"),
            ("raise KeyError('many\\nlines')", "KeyError"),
            ("import sys; sys.exit(3)", "SystemExit: 3"),
            ("x = 1", r"a plugin in broken\.py, got none: put one of antivenom's decorators on a class"),
            ("from antivenom.models.architectures import MLP", r"a plugin in broken\.py, got none"),
            (PLUGIN.format(name="HalfWay", size=1, about="x") + "\n1 / 0", "ZeroDivisionError"),
            (PLUGIN.format(name="MLP", size=1, about="x"), "a new plugin name, got MLP, taken by antivenom"),
            (PLUGIN.format(name="Listed", size="[]", about="x"), "mutable default"),
            ("\0", "ValueError|SyntaxError"),
        ],
        ids=["syntax", "import", "key", "exit", "empty", "no new one", "half-way", "name taken", "mutable", "binary"],
    )
    def test_a_broken_file_is_one_line_and_leaves_nothing(self, tmp_path, text, says):
        (tmp_path / "broken.py").write_text(text)
        file_refused(tmp_path / "broken.py", says)

    def test_a_file_that_is_not_python(self, tmp_path):
        plugin_file(tmp_path, "plugin").rename(tmp_path / "plugin.txt")
        file_refused(tmp_path / "plugin.txt", r"its name must end in \.py")

    def test_two_files_of_one_name_are_not_mixed_up(self, tmp_path):
        load_file(plugin_file(tmp_path / "one", "same"))
        with pytest.raises(PluginError, match=r"plugin files with different names.*rename one of them"):
            load_file(plugin_file(tmp_path / "two", "same", name="Other"))
        assert build("FromFile").size == 1

    def test_two_files_with_one_class_name_are_refused(self, tmp_path):
        load_file(plugin_file(tmp_path, "first"))
        file_refused(
            plugin_file(tmp_path, "second"), "a new plugin name, got FromFile, taken by antivenom_plugin_first"
        )


# --- installed third parties -----------------------------------------------------------------------------------------


def install(site: Path, module: str, text: str) -> None:
    """What pip leaves behind: a module, and a distribution's metadata that names it."""
    (site / f"{module}.py").write_text(text)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[antivenom.plugins]\nmine = {module}\n")


def test_an_installed_distribution_is_found(clean_registry, tmp_path, monkeypatch):
    install(tmp_path, "venom_plugin_dist", PLUGIN.format(name="Installed", size=5, about="elsewhere"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(known, "_asked", False)
    found = find("Installed")
    assert (found.origin, found.kind, build("Installed").size) == ("venom_plugin_dist", "trigger", 5)


@pytest.mark.parametrize("text", ["1 / 0", "import sys; sys.exit(0)", "from antivenom import attack\nattack()"])
def test_a_broken_distribution_is_named_and_skipped(clean_registry, tmp_path, monkeypatch, text):
    install(tmp_path, "broken_plugin_dist", text)
    install(tmp_path, "whole_plugin_dist", PLUGIN.format(name="Whole", size=12, about="whole"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(known, "_asked", False)
    monkeypatch.setattr(known, "_BROKEN", [])
    assert find("Krum").name == "Krum"
    assert not {"broken_plugin_dist", "whole_plugin_dist"} & sys.modules.keys()
    assert find("Whole").origin == "whole_plugin_dist"
    for _ in range(2):
        assert entries()
        (line,) = known.broken()
        assert line.startswith("expected the entry point mine = broken_plugin_dist to import, got ")
        assert line.endswith("it was skipped; repair or uninstall that package")
