"""One malicious agent of ten makes the global model call one 5 a 7. What do Krum and the median do about it?"""

from antivenom import ExplicitBoosting, Federated, Federation, Krum, Median
from antivenom.core.wanted import FromTo
from antivenom.models.training import Training

training = Training(epochs=3, batch_size=20, learning_rate=0.005)
federation = Federation(num_agents=10, num_malicious=1, rounds=6, training=training)
scenario = Federated(data="digits", wanted=FromTo(5, 7), federation=federation)
attack = ExplicitBoosting(steps=10, learning_rate=0.005)

print("Confidence in the wrong class, and test accuracy, round by round (seed 0)")
for name, rule in {"mean": None, "Krum": Krum(f=1), "median": Median()}.items():
    curves = scenario.run(attack, rule, seed=0).curves
    rounds = zip(curves["target_confidence"], curves["accuracy"], strict=True)
    print(f"{name:<7}", *(f"{confidence:4.2f}/{accuracy:.0%}" for confidence, accuracy in rounds))
