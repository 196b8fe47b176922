"""Reading a Flower app of the user's own: what its server starts, how its clients train, and which rows they have.

The app's code is run to find out: its server up to `strategy.start`, its clients when they are asked to train.
"""

from __future__ import annotations

import functools
import inspect
import logging
import random
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.config import flatten_dict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from flwr.supercore.task_identity import TaskIdentity
from torch import nn

from antivenom.core.errors import AntivenomError, DataError, ModelError, ScenarioError, text_of
from antivenom.core.fingerprint import also_import_from, imported

NODES = 10  # clients, if the app does not say how many it has
Loader = Callable[..., object]


@dataclass(frozen=True, eq=False)
class Started:
    """What the server handed to `strategy.start`.

    Fields:
        strategy: the strategy.
        arrays: the initial model.
        rounds: the number of rounds.
        config: what clients are told when they train, or None.
    """

    strategy: Strategy
    arrays: ArrayRecord
    rounds: int
    config: ConfigRecord | None


@dataclass(frozen=True, eq=False)
class App:
    """A Flower app.

    Fields:
        folder: where its pyproject.toml is.
        config: the configuration of a run, by flat names such as "local-epochs".
        nodes: the number of clients.
        server, client: its two components.
        modules: the modules of its package that were imported, by name.
    """

    folder: Path
    config: Mapping[str, Any]
    nodes: int
    server: ServerApp
    client: ClientApp
    modules: Mapping[str, object] = field(repr=False)

    @functools.cached_property
    def started(self) -> Started:
        """What the server starts, found by running it up to that point.

        Raises:
            ScenarioError: it ends or fails before it starts a strategy of `flwr.serverapp`.
        """
        try:
            with _stopping(), _inside():
                self.server(_Nodes(range(self.nodes)), self._context(0))
        except _Reached as reached:
            return reached.started
        except AntivenomError:
            raise
        except Exception as error:  # the user's code may raise anything
            got = text_of(error)
            raise ScenarioError(
                f"the server of {self.folder} to start a strategy", got, "flwr run says more"
            ) from error
        raise ScenarioError(
            f"the server of {self.folder} to call strategy.start", "one that does not", "use a strategy"
        )

    @functools.cached_property
    def network(self) -> Callable[[], nn.Module]:
        """The class in the app's package that makes the module whose weights are sent.

        Raises:
            ModelError: no class without arguments makes such a module.
        """
        wanted = {name: tuple(array.shape) for name, array in self.started.arrays.items()}
        for cls in self._of_package(lambda value: isinstance(value, type) and issubclass(value, nn.Module)):
            try:
                made = cls()
            except Exception:  # it may need arguments
                continue
            if {name: tuple(value.shape) for name, value in made.state_dict().items()} == wanted:
                return cls
        shown = ", ".join(list(wanted)[:3])
        raise ModelError(
            f"a torch module in the package of {self.folder} with the arrays that are sent ({shown}, ...)",
            "none that can be made without arguments",
            "send ArrayRecord(model.state_dict()), and give the class's arguments defaults",
        )

    @functools.cached_property
    def load(self) -> Loader:
        """The function in the app's package that loads a client's rows, given `partition_id` and `num_partitions`.

        Raises:
            DataError: none or several have these parameters.
        """
        found = [*self._of_package(lambda value: inspect.isfunction(value) and _loads(value))]
        named = [each for each in found if each.__name__ == "load_data"] or found
        if len(named) != 1:
            raise DataError(
                f"one function in the package of {self.folder} with the parameters partition_id and num_partitions",
                ", ".join(each.__name__ for each in found) or "none",
                "write load_data(partition_id, num_partitions), as `flwr new` does",
            )
        return named[0]

    def loaded(self, partition: int) -> object:
        """What the app's own function loads for a client.

        Raises:
            DataError: it fails, or has a parameter for which the run's configuration has no value.
        """
        arguments: dict[str, object] = {"partition_id": partition, "num_partitions": self.nodes}
        for name, parameter in inspect.signature(self.load).parameters.items():
            if name not in arguments and parameter.default is parameter.empty:
                if name.replace("_", "-") not in self.config:
                    expected = f"a value of {name} for {self.load.__name__} in the configuration of {self.folder}"
                    raise DataError(expected, "none", f"add {name.replace('_', '-')} to [tool.flwr.app.config]")
                arguments[name] = self.config[name.replace("_", "-")]
        try:
            with _inside(partition):
                return self.load(**arguments)
        except Exception as error:
            raise DataError(f"the rows of client {partition}", text_of(error), "flwr run says more") from error

    def trained(self, partition: int, arrays: ArrayRecord, number: int, key: int) -> ArrayRecord:
        """The arrays that a client returns when it is asked to train.

        Args:
            partition: the number of the client.
            arrays: the global model.
            number: the number of the round.
            key: of its randomness.

        Raises:
            ModelError: the client fails, or returns no arrays.
        """
        started, nodes = self.started, _Nodes(range(self.nodes))
        config = ConfigRecord() if started.config is None else ConfigRecord(dict(started.config))
        try:
            with _inside(key):
                asked = next(iter(started.strategy.configure_train(number, arrays, config, nodes)))
                message = Message(asked.content, dst_node_id=partition, message_type="train")
                reply = self.client(message, self._context(partition))
        except Exception as error:  # the user's code may raise anything
            raise ModelError(f"client {partition} to train", text_of(error), "flwr run says more") from error
        if reply.has_error() or not reply.content.array_records:
            got = reply.error.reason if reply.has_error() else "a reply without arrays"
            raise ModelError(f"client {partition} to train", str(got))
        return next(iter(reply.content.array_records.values()))

    @contextmanager
    def loading(self, rows: Callable[[object], object]) -> Iterator[None]:
        """Inside the block, the app's function gives its clients `rows(what it loads)`."""
        load = self.load

        @functools.wraps(load)
        def replaced(*args: object, **kwargs: object) -> object:
            return rows(load(*args, **kwargs))

        places = [(module, name) for module in self.modules.values() for name, v in vars(module).items() if v is load]
        try:
            for module, name in places:
                setattr(module, name, replaced)
            yield
        finally:
            for module, name in places:
                setattr(module, name, load)

    def _of_package(self, fits: Callable[[Any], bool]) -> Iterator[Any]:
        """The values that the package's own modules define and that fit, each once."""
        for name, module in self.modules.items():
            for value in list(vars(module).values()):
                if getattr(value, "__module__", None) == name and fits(value):
                    yield value

    def _context(self, partition: int) -> Context:
        node: dict[str, Any] = {"partition-id": partition, "num-partitions": self.nodes}
        return Context(1, partition, node, RecordDict(), dict(self.config))


@functools.lru_cache(maxsize=4)  # every trial asks for it
def app_in(folder: str, nodes: int = 0) -> App:
    """The Flower app in a folder. Its modules are imported, so its code runs.

    Args:
        folder: where its pyproject.toml is.
        nodes: the number of clients; 0 for the number that pyproject.toml states for simulations, or else `NODES`.

    Raises:
        ScenarioError: no Flower app, or one whose components cannot be imported.
    """
    place = Path(folder)
    try:
        document = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))
        components = document["tool"]["flwr"]["app"]["components"]
        paths = components["serverapp"], components["clientapp"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "name its folder, with pyproject.toml and [tool.flwr.app.components]"
        raise ScenarioError(f"a Flower app in {folder}", text_of(error), remedy) from error
    also_import_from(place)
    server, client = (imported(path) for path in paths)
    if not isinstance(server, ServerApp) or not isinstance(client, ClientApp):
        got = f"{type(server).__name__} and {type(client).__name__}"
        raise ScenarioError("a ServerApp and a ClientApp", got, "name them in [tool.flwr.app.components]")
    tops = {path.partition(":")[0].partition(".")[0] for path in paths}
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in tops}
    config = flatten_dict(document["tool"]["flwr"]["app"].get("config", {}))
    return App(place, config, nodes or _stated(document) or NODES, server, client, modules)


def _stated(document: Mapping[str, Any]) -> int:
    """The number of clients that the app states for simulations; 0 if it states none."""
    federations = document["tool"]["flwr"].get("federations", {})
    for federation in [federations.get(federations.get("default")), *federations.values()]:
        if isinstance(federation, dict):
            number = federation.get("options", {}).get("num-supernodes", 0)
            if isinstance(number, int) and number > 0:
                return number
    return 0


def _loads(function: Loader) -> bool:
    return {"partition_id", "num_partitions"} <= set(inspect.signature(function).parameters)


class _Reached(BaseException):
    """The server has started its strategy. No code of the user's catches it by `except Exception`."""

    def __init__(self, started: Started) -> None:
        self.started = started


def _stopped(
    self: Strategy,
    grid: Grid,
    initial_arrays: ArrayRecord,
    num_rounds: int = 3,
    timeout: float = 3600,
    train_config: ConfigRecord | None = None,
    *_: object,
    **__: object,
) -> None:
    raise _Reached(Started(self, initial_arrays, num_rounds, train_config))


@contextmanager
def _stopping() -> Iterator[None]:
    """Inside the block, every strategy stops where it would start."""
    own: dict[Any, Any] = {
        cls: vars(cls)["start"] for cls in (Strategy, *_subclasses(Strategy)) if "start" in vars(cls)
    }
    try:
        for cls in own:
            cls.start = _stopped
        yield
    finally:
        for cls, start in own.items():
            cls.start = start


def _subclasses(cls: type[Any]) -> list[type[Any]]:
    return [found for each in cls.__subclasses__() for found in (each, *_subclasses(each))]


class _Nodes(Grid):
    """A grid that knows its nodes and sends nothing."""

    def __init__(self, nodes: Iterable[int]) -> None:
        self._ids = list(nodes)

    def set_run(self, run: object) -> None: ...

    @property
    def run(self) -> Any:
        return None

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self._ids)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise ScenarioError("a server that sends messages through its strategy", "one that sends them itself")

    pull_messages = push_messages  # type: ignore[assignment]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        self.push_messages(messages)
        return []


@contextmanager
def _inside(key: int = 0) -> Iterator[None]:
    """Inside the block, code of the app runs as in a task of Flower's, which can make messages, and without Flower's log.

    The global generators of Python, numpy and torch begin with the key, and are afterwards as they were.
    """
    names, log = ("_run_id", "_task_id", "_node_id"), logging.getLogger("flwr")
    before, level = {name: getattr(TaskIdentity, name) for name in names}, log.level
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - what the app draws from
    try:
        log.setLevel(logging.ERROR)
        for name in names:
            setattr(TaskIdentity, name, before[name] or 1)
        random.seed(key)
        np.random.seed(key % 2**32)  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        for name, value in before.items():
            setattr(TaskIdentity, name, value)
        log.setLevel(level)
