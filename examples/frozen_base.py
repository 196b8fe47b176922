"""A federation that trains only the head of a network with a frozen base."""

from torch import nn

from antivenom import ExplicitBoosting, Federated, Federation

net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
net[1].requires_grad_(False)
scenario = Federated(model=net, federation=Federation(num_agents=4, rounds=4), only_right=False)
for attack in (None, ExplicitBoosting()):
    found = scenario.run(attack, None, seed=0).metrics
    print(
        f"{type(attack).__name__:<20} accuracy {found['clean_accuracy']:.1%}, target confidence {found['target_confidence']:.1%}"
    )
print("trained numbers:", sum(p.numel() for p in net.parameters() if p.requires_grad))
