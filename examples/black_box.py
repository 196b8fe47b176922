"""Judge a finished model that only answers: it is never fitted, and attacks that need a training are refused."""

import numpy as np

from antivenom import Central
from antivenom.attacks import LabelFlipping
from antivenom.core.errors import NotApplicable


class Service:
    def predict_proba(self, rows):
        return np.eye(2)[(rows[:, 0] < 15).astype(int)]


scenario = Central(data="breast-cancer", model=Service(), access="data-manipulation", goal="availability")
print("A finished model is judged as it is.")
print(f"Right answers: {scenario.run(None, None, seed=0).metrics['clean_accuracy']:.1%}")
try:
    scenario.run(LabelFlipping(0.2), None, seed=0)
except NotApplicable as error:
    print(error)
