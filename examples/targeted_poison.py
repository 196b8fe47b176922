"""Targeted poison: a few added rows make one chosen 4 a 9. What does a sanitizer do about it?"""

from antivenom import Central
from antivenom.attacks import InputInstanceKey
from antivenom.core.wanted import FromTo
from antivenom.defences import KNNSanitizer
from antivenom.models import Training

fast = Training(epochs=10, learning_rate=0.01)
scenario = Central(data="digits", goal="targeted", wanted=FromTo(source=4, target=9), train_rows=600, training=fast)
for attack, defence in ((None, None), (InputInstanceKey(copies=5), None), (InputInstanceKey(copies=5), KNNSanitizer())):
    metrics = scenario.run(attack, defence, seed=0).metrics
    print(type(attack).__name__, type(defence).__name__, {name: round(value, 3) for name, value in metrics.items()})
