"""A Flower app as a federation of antivenom: its clients' rows, its model, and its clients' own training.

flwr is imported when they are used, so that their names are known without it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from antivenom.core.errors import DataError
from antivenom.core.protocols import Shard
from antivenom.core.registry import architecture, local_training, source
from antivenom.core.streams import Streams
from antivenom.data import Dataset, Split
from antivenom.data.fingerprints import digest_of, of_files, of_rows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from antivenom.models.network import Network

_CITE = "Beutel et al. 2020, arXiv:2007.14390 (Flower); the user's own app"
_CODE = ("*.py", "*.toml")


@source(cite=_CITE)
class FlowerRows:
    """The rows of the clients of a Flower app, each client's as one group. The app's code is run.

    They are what the app's own function load_data(partition_id, num_partitions) loads: for each client training rows and test
    rows, as data loaders or data sets of torch. The test rows of all clients together are the test rows. Weakness: random
    changes of rows as they are loaded are seen once only.

    Fields:
        path: the folder with the app's pyproject.toml.
        clients: the number of clients; 0 for what the app states for simulations, or else 10.
    """

    path: str
    clients: int = 0

    def __call__(self, streams: Streams) -> Split:
        return _rows(self.path, self.clients)

    def fingerprint(self) -> str:
        """The SHA-256 of the app's code and configuration and of its rows."""
        folder = Path(self.path)
        files = sorted(file for pattern in _CODE for file in folder.rglob(pattern) if file.is_file())
        names = [str(file.relative_to(folder)) for file in files]
        return digest_of(of_files(files, names), of_rows(_rows(self.path, self.clients)), str(self.clients))


@architecture(cite=_CITE)
class FlowerModel:
    """The model of a Flower app: the torch module in its package whose weights the server sends.

    Fields:
        app: the folder with the app's pyproject.toml.
        clients: as in FlowerRows.
    """

    app: str
    clients: int = 0

    def __call__(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        from antivenom.integrations.flower.apps import app_in

        app = app_in(self.app, self.clients)
        module = app.network()
        module.load_state_dict(app.started.arrays.to_torch_state_dict())  # the weights that the server starts from
        return module


@local_training(cite=_CITE)
class FlowerTraining:
    """The training of a Flower app's own clients, which are asked to train as the app's server would ask them.

    An agent whose rows are those of a client trains as that client. With other rows, such as poisoned ones, the app's loading
    function gives the client these rows instead. Weakness: what clients keep in their state between rounds is lost, and
    evaluation is not run.

    Fields:
        app: the folder with the app's pyproject.toml.
        clients: as in FlowerRows.
    """

    app: str
    clients: int = 0

    def __call__(self, network: Network, start: Tensor, shard: Shard, round: int, streams: Streams) -> Tensor:
        import torch

        from antivenom.integrations.flower.apps import app_in
        from antivenom.integrations.flower.feeding import fed
        from antivenom.integrations.flower.wire import template_of

        app = app_in(self.app, self.clients)
        template = template_of(app.started.arrays, network.layout)
        side = template.values(app.started.arrays)[1]
        arrays = template.record(start.numpy(), side, app.started.arrays)
        partition, own = _client_of(self.app, self.clients, shard)
        with nullcontext() if own else app.loading(functools.partial(fed, shard=shard)):
            reply = app.trained(partition, arrays, round, streams.child("app").key)
        return torch.from_numpy(template.values(reply)[0].copy())


@functools.lru_cache(maxsize=2)  # every trial asks for them
def _rows(folder: str, clients: int) -> Split:
    from antivenom.integrations.flower.apps import app_in
    from antivenom.integrations.flower.feeding import read

    app = app_in(folder, clients)
    parts = [read(app.loaded(i)) for i in range(app.nodes)]
    shapes = {x.shape[1:] for pair in parts for x, _ in pair}
    if len(shapes) != 1:
        raise DataError("rows of one shape from all clients", ", ".join(map(str, sorted(shapes))))
    most = max(int(y.max(initial=0)) for pair in parts for _, y in pair)
    classes = tuple(str(number) for number in range(most + 1))
    train, test = zip(*parts, strict=True)
    groups = np.repeat(np.arange(len(train)), [len(y) for _, y in train])
    name = app.folder.resolve().name
    return Split(
        Dataset(np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train]), classes, name, groups),
        Dataset(np.concatenate([x for x, _ in test]), np.concatenate([y for _, y in test]), classes, name),
    )


def _client_of(folder: str, clients: int, shard: Shard) -> tuple[int, bool]:
    """The client with these inputs, or else the first; and whether the labels are its own, too."""
    x, y = (part.numpy() for part in shard)
    known = _clients(folder, clients)
    partition, labels = known.get(_digest(x), (0, ""))
    return partition, labels == _digest(y)


@functools.lru_cache(maxsize=2)
def _clients(folder: str, clients: int) -> Mapping[str, tuple[int, str]]:
    """Digest of a client's inputs -> its number and the digest of its labels."""
    train = _rows(folder, clients).train
    assert train.groups is not None
    parts = [train[train.groups == group] for group in np.unique(train.groups)]
    return {_digest(part.inputs): (number, _digest(part.y)) for number, part in enumerate(parts)}


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
