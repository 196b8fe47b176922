"""One training job through a peer's own pipeline; run by training.py with the interpreter of that peer's environment.

The job: images, labels and shards of a file, a 784-128-10 network from given weights, one local epoch of SGD for every
client, the mean of their weights. Every pipeline is written from its peer's documentation. It begins a round when it is
told to, and says how long the round took and the weights (d,) that it ended with; evaluation is left out.
What differs: byzfl reads its images through torchvision, as its documentation does, or has them as tensors like the
others; pfl goes through a client's rows in the same order each time; the others draw an order for each epoch.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset


@dataclass(frozen=True, eq=False)
class Job:
    """Fields:
    images, labels: (N, 28, 28) bytes and (N,).
    shards: (clients, rows) row numbers.
    start: (d,) weights of the first round.
    batch, rate, rounds: of the training.
    """

    images: np.ndarray
    labels: np.ndarray
    shards: np.ndarray
    start: np.ndarray
    batch: int
    rate: float
    rounds: int

    @functools.cached_property
    def tensors(self) -> list[tuple[Tensor, Tensor]]:
        """Images from 0 to 1 and labels of each client."""
        x, y = torch.from_numpy(self.images).unsqueeze(1) / 255, torch.from_numpy(self.labels).long()
        return [(x[rows], y[rows]) for rows in torch.from_numpy(self.shards)]

    def network(self) -> nn.Sequential:
        network = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        nn.utils.vector_to_parameters(torch.from_numpy(self.start.copy()), network.parameters())
        return network

    def loader(self, client: int) -> DataLoader:
        return DataLoader(TensorDataset(*self.tensors[client]), self.batch, shuffle=True)


@functools.cache
def job_of(path: str) -> Job:
    with np.load(path) as found:
        arrays = [found[name] for name in ("images", "labels", "shards", "start")]
        return Job(*arrays, int(found["batch"]), float(found["rate"]), int(found["rounds"]))


def weights_of(network: nn.Module) -> np.ndarray:
    return nn.utils.parameters_to_vector(network.parameters()).detach().numpy().copy()


class Rounds:
    """The other end's word that a round begins, and ours when it has ended."""

    def __init__(self, channel: Connection) -> None:
        self.channel = channel

    def begin(self) -> None:
        self.channel.recv()
        self.begun = perf_counter()

    def end(self, weights: Callable[[], np.ndarray]) -> None:
        self.channel.send((perf_counter() - self.begun, weights()))


def byzfl(job: Job, rounds: Rounds, loaders: list[DataLoader] | None = None) -> None:
    from byzfl import Client, Server
    from byzfl.fed_framework import models

    models.network_of_job = job.network  # a model is named, and its names are those of this module
    loaders = loaders or [job.loader(client) for client in range(len(job.shards))]
    common: dict[str, Any] = {
        "model_name": "network_of_job",
        "device": "cpu",
        "optimizer_name": "SGD",
        "learning_rate": job.rate,
        "weight_decay": 0.0,
        "milestones": [],
        "learning_rate_decay": 1.0,
    }
    own: dict[str, Any] = {
        "loss_name": "CrossEntropyLoss",
        "LabelFlipping": False,
        "momentum": 0.0,
        "nb_labels": 10,
        "store_per_client_metrics": False,
    }
    clients = [Client(common | own | {"training_dataloader": loader}) for loader in loaders]
    mean = {"aggregator_info": {"name": "Average", "parameters": {}}, "pre_agg_list": []}
    server = Server(common | mean | {"test_loader": loaders[0]})
    for _ in range(job.rounds):
        rounds.begin()
        weights = []
        for client, loader in zip(clients, loaders, strict=True):
            client.set_model_state(server.get_dict_parameters())
            client.compute_model_update(len(loader))
            weights.append(client.get_flat_parameters())
        server.update_model_with_weights(weights)
        rounds.end(lambda: weights_of(server.model))


def byzfl_images(job: Job, rounds: Rounds) -> None:
    from torchvision import datasets, transforms

    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for part in ("train", "t10k"):  # it asks for both, and reads the first
            for kind, array in (("images-idx3", job.images), ("labels-idx1", job.labels.astype(np.uint8))):
                head = np.array([0x800 + array.ndim, *array.shape], dtype=">i4").tobytes()
                (raw / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
        data = datasets.FashionMNIST(folder, transform=transforms.ToTensor())
    byzfl(job, rounds, [DataLoader(Subset(data, rows.tolist()), job.batch, shuffle=True) for rows in job.shards])


def pfl(job: Job, rounds: Rounds) -> None:
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.callback.base import TrainingProcessCallback
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.data.pytorch import PyTorchTensorDataset
    from pfl.data.sampling import get_user_sampler
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.metrics import Metrics, Weighted
    from pfl.model.pytorch import PyTorchModel

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = job.network()

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)  # type: ignore[no-any-return]

        def loss(self, x: Tensor, y: Tensor) -> Tensor:
            self.train()
            return nn.functional.cross_entropy(self(x), y)

        def metrics(self, x: Tensor, y: Tensor) -> dict[str, Any]:
            return {"seen": Weighted(len(y), len(y))}

    class Clock(TrainingProcessCallback):
        def on_train_begin(self, *, model: Any) -> Any:
            rounds.begin()
            return Metrics()

        def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
            rounds.end(lambda: weights_of(model.pytorch_model))
            if central_iteration + 1 < job.rounds:
                rounds.begin()
            return False, Metrics()

    network = Network()
    users = list(range(len(job.shards)))
    data = FederatedDataset(
        {user: PyTorchTensorDataset(job.tensors[user]) for user in users}.__getitem__,
        get_user_sampler("minimize_reuse", users),
    )
    model = PyTorchModel(network, torch.optim.SGD, torch.optim.SGD(network.parameters(), lr=1.0))
    FederatedAveraging().run(
        NNAlgorithmParams(job.rounds, job.rounds + 1, len(users), None),
        SimulatedBackend(data, data),
        model,
        NNTrainHyperParams(local_batch_size=job.batch, local_num_epochs=1, local_learning_rate=job.rate),
        callbacks=[Clock()],
    )


def blazefl(job: Job, rounds: Rounds, parallel: int = 0) -> None:
    from blazefl import contrib

    class Data:
        def get_dataloader(self, type_: Any, cid: int, batch_size: int, generator: Any) -> DataLoader:
            return DataLoader(TensorDataset(*job.tensors[cid]), batch_size, shuffle=True, generator=generator)

    class Networks:
        def select_model(self, model_name: str) -> nn.Module:
            return job.network()

    clients, seed = len(job.shards), 0
    server = contrib.FedAvgBaseServerHandler(
        Networks(), "", Data(), job.rounds, clients, 1.0, "cpu", batch_size=job.batch, seed=seed
    )
    given = (Networks(), "", Data(), "cpu", clients, 1, job.batch, job.rate, seed)
    trainer = (
        contrib.FedAvgThreadPoolClientTrainer(*given, parallel) if parallel else contrib.FedAvgBaseClientTrainer(*given)
    )
    for _ in range(job.rounds):
        rounds.begin()
        trainer.local_process(server.downlink_package(), server.sample_clients())
        for package in trainer.uplink_package():
            server.load(package)
        rounds.end(lambda: weights_of(server.model))


def blazefl_threads(job: Job, rounds: Rounds) -> None:
    blazefl(job, rounds, parallel=2)


def flwr(job: Job, rounds: Rounds) -> None:
    from flwr.app import ArrayRecord, MetricRecord, RecordDict
    from flwr.app import Message as Said
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    path, clients, server = sys.argv[2], ClientApp(), ServerApp()

    @clients.train()
    def train(message: Any, context: Any) -> Any:
        import pipelines  # in a worker: what it reads stays there from one client to the next

        network, rows = pipelines.trained(path, context.node_config["partition-id"], message.content["arrays"])
        content = RecordDict(
            {"arrays": ArrayRecord(network.state_dict()), "metrics": MetricRecord({"num-examples": rows})}
        )
        return Said(content=content, reply_to=message)

    class Timed(FedAvg):
        def configure_train(self, *given: Any) -> Any:
            rounds.begin()
            return super().configure_train(*given)

        def aggregate_train(self, *given: Any) -> Any:
            arrays, metrics = super().aggregate_train(*given)
            rounds.end(lambda: np.concatenate([array.ravel() for array in arrays.to_numpy_ndarrays()]))
            return arrays, metrics

    @server.main()
    def main(grid: Any, context: Any) -> None:
        least = len(job.shards)
        strategy = Timed(fraction_evaluate=0.0, min_train_nodes=least, min_available_nodes=least)
        strategy.start(grid=grid, initial_arrays=ArrayRecord(job.network().state_dict()), num_rounds=job.rounds)

    actors = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}}
    run_simulation(server, clients, num_supernodes=len(job.shards), backend_config=actors)


def trained(path: str, client: int, arrays: Any) -> tuple[nn.Module, int]:
    """A client of flwr: the network after its epoch, and its number of rows."""
    job = job_of(path)
    network = job.network()
    network.load_state_dict(arrays.to_torch_state_dict())
    optimizer = torch.optim.SGD(network.parameters(), lr=job.rate)
    for x, y in job.loader(client):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network, len(job.shards[client])


PIPELINES: dict[str, tuple[str, str, int]] = {  # of whose environment, title, and threads of torch
    "byzfl_images": ("byzfl", "byzfl, torchvision's images", 2),
    "byzfl": ("byzfl", "byzfl, tensors", 2),
    "pfl": ("pfl", "pfl-research, SimulatedBackend", 2),
    "blazefl": ("blazefl", "blazefl, one client at a time", 2),
    "blazefl_threads": ("blazefl", "blazefl, a pool of two threads", 1),
    "flwr": ("flwr", "Flower, run_simulation with two actors of Ray", 1),
}


def main() -> None:
    name, path, number = sys.argv[1:]
    torch.set_num_threads(PIPELINES[name][2])
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    channel = Connection(int(number))
    channel.send("ready")
    globals()[name](job_of(path), Rounds(channel))


if __name__ == "__main__":
    main()
