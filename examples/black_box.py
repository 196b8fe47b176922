"""Judge a finished model that only answers: it is never fitted, and attacks that need a training are refused."""

from antivenom import Central
from antivenom.attacks import LabelFlipping
from antivenom.core.errors import NotApplicable


class Service:
    def predict_proba(self, rows):
        return [[float(radius >= 0.38), float(radius < 0.38)] for radius in rows[:, 0]]  # scaled to 0..1


scenario = Central(data="breast-cancer", model=Service(), access="data-manipulation", goal="availability")
print(*scenario.run(None, None, seed=0).metrics.items(), sep="\n")
try:
    scenario.run(LabelFlipping(0.2), None, seed=0)
except NotApplicable as error:
    print(error)
