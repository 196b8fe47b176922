"""Backdoors that spread over agents, hide in rare inputs or in unused coordinates: DBA, edge cases, Neurotoxin."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import AgentView
from antivenom.core.registry import agent
from antivenom.core.threat import Goal
from antivenom.federated.agents.implanting import backdoor_rows, backdoored, check_implanting, to_ball
from antivenom.federated.agents.objectives import each_member


@agent(goal=Goal.BACKDOOR, cite="Xie et al. 2020, ICLR (DBA)")
class DBA:
    """Each malicious agent plants its own part of the trigger; the whole trigger is shown at test time.

    No single update holds the backdoor. The trigger's changed features are cut into equal runs, and agent i writes run
    i mod parts. Weakness: fewer agents than parts leave some of the trigger untaught; and all parts lead to one class,
    so their updates still agree.

    Fields:
        parts: local triggers; 4 in the paper.
        share: of every batch that is backdoor rows, 0 to 1; 20 of 64 in the paper.
        epochs: passes over the own shard; None is what an honest agent makes.
        learning_rate: None is the honest one.
        boost: factor of each update (gamma); None is 1/a shared among the malicious agents, 100 in the paper's one shot.

    Reference: Xie, Huang, Chen and Li 2020, ICLR, "DBA: Distributed Backdoor Attacks against Federated Learning".
    """

    parts: int = 4
    share: float = 0.3125
    epochs: int | None = None
    learning_rate: float | None = None
    boost: float | None = None

    def __post_init__(self) -> None:
        check_implanting(self)
        if self.parts < 1:
            raise PluginError("parts >= 1", f"{self.parts}", "4 is the paper's")

    def __call__(self, view: AgentView) -> Tensor:
        def update(member: int) -> Tensor:
            number = view.members[member] if view.members else member
            rows = backdoor_rows(
                view, member, lambda plain, shown: part_of(plain, shown, number % self.parts, self.parts)
            )
            return backdoored(self, view, member, rows)

        return view.factor(self.boost) * each_member(view, update)


def part_of(plain: np.ndarray, shown: np.ndarray, part: int, parts: int) -> np.ndarray:
    """The inputs (m, ...) with only one of the equal runs of features that the trigger changes in any of them."""
    flat, changed = plain.reshape(len(plain), -1), shown.reshape(len(shown), -1)
    run = np.array_split(np.flatnonzero((flat != changed).any(axis=0)), parts)[part]
    kept = flat.copy()
    kept[:, run] = changed[:, run]
    return kept.reshape(plain.shape)


@agent(goal=(Goal.TARGETED, Goal.BACKDOOR), cite="Wang et al. 2020, arXiv:2007.05084")
class EdgeCase:
    """Teaches a wrong class for inputs from the tail of the data, by projected gradient descent near the global model.

    Honest clients have hardly any such rows, so nothing they do unlearns it. In a targeted scenario with `edge_cases` the
    attacker holds tail rows and is judged on others; with a trigger that takes the tail's place. Weakness: it
    reaches only inputs from the tail, and a small radius leaves little room.

    Fields:
        radius: L2 distance from the global model that no step may leave, in the unit of an update.
        share: of every batch that is backdoor rows, 0 to 1.
        epochs: passes over the own shard; None is what an honest agent makes.
        learning_rate: None is the honest one.
        boost: factor of the update; 1 is PGD without replacement, None is 1/a shared (PGD with replacement).

    Reference: Wang et al. 2020, NeurIPS, arXiv:2007.05084, section 3.
    """

    radius: float = 1.0
    share: float = 0.3125
    epochs: int | None = None
    learning_rate: float | None = None
    boost: float | None = 1.0

    def __post_init__(self) -> None:
        check_implanting(self)
        if self.radius <= 0:
            raise PluginError("radius > 0", f"{self.radius}", "give an L2 length")

    def __call__(self, view: AgentView) -> Tensor:
        def near(vector: Tensor) -> Tensor:
            return to_ball(vector, view.start, self.radius)

        trained = each_member(view, lambda member: backdoored(self, view, member, project=near))
        return view.factor(self.boost) * trained


@agent(goal=(Goal.BACKDOOR, Goal.TARGETED), cite="Zhang et al. 2022, arXiv:2206.10341")
class Neurotoxin:
    """Trains the backdoor only into coordinates that the others hardly move, so that they do not overwrite it.

    The coordinates of largest absolute value in the last global change that the agent saw get no gradient; in its first
    round, those of its own honest update. Weakness: fewer free coordinates make a weaker backdoor, and an update of
    unusual coordinates is what rules that look at them (RLR, LASA) notice.

    Fields:
        masked: share of the coordinates that are left alone, 0 to 1; 0.01 to 0.1 in the paper.
        share: of every batch that is backdoor rows, 0 to 1.
        epochs: passes over the own shard; None is what an honest agent makes.
        learning_rate: None is the honest one.
        boost: factor of the update; None is 1/a shared among the malicious agents.

    Reference: Zhang et al. 2022, ICML, arXiv:2206.10341, algorithm 1.
    """

    masked: float = 0.05
    share: float = 0.3125
    epochs: int | None = None
    learning_rate: float | None = None
    boost: float | None = 1.0

    def __post_init__(self) -> None:
        check_implanting(self)
        if not 0 <= self.masked < 1:
            raise PluginError("masked from 0 to below 1", f"{self.masked}", "0.05 leaves a twentieth alone")

    def __call__(self, view: AgentView) -> Tensor:
        def update(member: int) -> Tensor:
            moved = view.start - view.past[-1].start if view.past else view.honest(member)
            return backdoored(self, view, member, free=quiet(moved, self.masked))

        return view.factor(self.boost) * each_member(view, update)


def quiet(moved: Tensor, masked: float) -> Tensor:
    """(d,) 0 for the given share of coordinates with the largest absolute value, 1 for the others."""
    free = torch.ones_like(moved)
    free[moved.abs().topk(round(masked * moved.numel())).indices] = 0
    return free
