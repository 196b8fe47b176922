"""Audit your own PyTorch network, batch norm included: pass the class, or a function that makes it."""

from torch import nn

from antivenom import Central
from antivenom.attacks import BadNets
from antivenom.models import Training


def make(shape, classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, classes))


scenario = Central(data="digits", model=make, training=Training(epochs=5, learning_rate=0.01), train_rows=500)
for attack in (None, BadNets(poisoned_rate=0.1), BadNets(poisoned_rate=0.3)):
    metrics = scenario.run(attack, None, seed=0).metrics
    print(f"{attack!s:<60} accuracy {metrics['clean_accuracy']:.1%}, obeys the trigger {metrics['asr']:.1%}")
