"""Plant a BadNets backdoor in digits and ask two sanitizers which rows they distrust."""

from antivenom import Central
from antivenom.attacks import BadNets
from antivenom.defences import ActivationClustering, KNNSanitizer
from antivenom.models.training import Training

scenario = Central(data="digits", wanted=0, training=Training(epochs=20, learning_rate=0.005))
attack = BadNets(poisoned_rate=0.05)
for defence in (None, KNNSanitizer(), ActivationClustering()):
    m = scenario.run(attack, defence, seed=0).metrics
    line = f"{type(defence).__name__ if defence else 'no defence':<21} ASR {m['asr']:4.0%}, accuracy {m['clean_accuracy']:.1%}"
    if defence:
        line += f", found {m['detection_tpr']:.0%} of the poison and accused {m['detection_fpr']:.1%} of the clean rows"
    print(line)
