"""Audit a model of your own: a torch architecture and a scikit-learn estimator under label flips."""

from torch import nn

from antivenom import Central, architecture
from antivenom.attacks import LabelFlipping
from antivenom.defences import KNNSanitizer
from antivenom.models.estimators import Sklearn


@architecture(cite="our own")
class Wide:
    """One hidden layer with tanh. Fields: width: its units."""

    width: int = 128

    def __call__(self, shape, num_classes):
        rows = shape[0]
        return nn.Sequential(nn.Linear(rows, self.width), nn.Tanh(), nn.Linear(self.width, num_classes))


for model in (Wide(), Sklearn("sklearn.svm.SVC", (("C", 10),))):
    scenario = Central(data="breast-cancer", model=model, access="data-manipulation", goal="availability")
    for attack in (None, LabelFlipping(poisoned_rate=0.4)):
        for defence in (None, KNNSanitizer()):
            accuracy = scenario.run(attack, defence, seed=0).metrics["clean_accuracy"]
            print(f"{type(model).__name__:<8} {attack!s:<50} {defence!s:<40} {accuracy:.1%}")
