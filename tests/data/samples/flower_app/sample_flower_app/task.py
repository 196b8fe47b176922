"""The model, the rows and the training, as in an app of `flwr new`."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def load_data(partition_id: int, num_partitions: int, batch_size: int):
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)[partition_id::num_partitions]
    y = torch.tensor(y)[partition_id::num_partitions]
    split, order = int(0.8 * len(x)), torch.Generator().manual_seed(partition_id)
    train = DataLoader(TensorDataset(x[:split], y[:split]), batch_size=batch_size, shuffle=True, generator=order)
    return train, DataLoader(TensorDataset(x[split:], y[split:]), batch_size=batch_size)


def train(net, loader, epochs, rate):
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
