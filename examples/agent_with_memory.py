"""A third party's agent with memory and a trigger of its own, which grows in every round in which it is chosen."""

from antivenom import Federated, Federation, agent
from antivenom.core.protocols import Sent
from antivenom.federated import ClientBadNets
from antivenom.triggers import Patch


@agent(goal="backdoor", cite="our own")
class Growing:
    """Plants the scenario's trigger, and remembers how often it did. Fields: first: side of its own patch at first."""

    first: int = 1

    def step(self, view, state):
        rounds = (state or 0) + 1
        return Sent(ClientBadNets(poisoned_rate=2.0)(view), rounds, trigger=Patch(size=self.first + rounds))


scenario = Federated(goal="backdoor", federation=Federation(num_agents=4, num_malicious=2, rounds=2))
print(*(f"{name}: {value:.2f}" for name, value in scenario.run(Growing(), None, 0).metrics.items() if value), sep="\n")
