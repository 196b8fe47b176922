"""Audit your own PyTorch network, batch norm included, on a folder with one folder of PNG files per class."""

from torch import nn

from antivenom import Central
from antivenom.attacks import BadNets
from antivenom.data import ImageFolder
from antivenom.models import Training

net = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
data = ImageFolder("examples/data/digits", size=(8, 8), channels=1)
scenario = Central(data, model=net, training=Training(epochs=10, learning_rate=0.01), clean_rows=20)
for attack in (None, BadNets(poisoned_rate=0.1), BadNets(poisoned_rate=0.3)):
    metrics = scenario.run(attack, None, seed=0).metrics
    print(f"{attack!s:<60} accuracy {metrics['clean_accuracy']:.1%}, obeys the trigger {metrics['asr']:.1%}")
