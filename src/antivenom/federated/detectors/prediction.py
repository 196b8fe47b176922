"""Client detectors with memory: an honest agent's update follows from the last ones, a malicious one does not."""

from __future__ import annotations

import itertools
from typing import ClassVar, TypedDict

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Need, ServerView
from antivenom.core.registry import client_detector
from antivenom.core.verdict import Verdict
from antivenom.federated.weighting import averaged


class History(TypedDict):
    """What FLDetector remembers.

    Keys:
        start: (d,) the global parameters of the last round.
        mean: (d,) the mean update of the last round.
        moves, turns: (w, d) differences of successive global parameters and of successive mean updates.
        updates: the last update (d,) of each agent, by its number.
        errors: the last normalised errors of each agent, by its number.
    """

    start: Tensor
    mean: Tensor
    moves: Tensor
    turns: Tensor
    updates: dict[int, Tensor]
    errors: dict[int, tuple[float, ...]]


@client_detector(goal=("availability", "targeted", "backdoor"), cite="Zhang et al. 2022, KDD, arXiv:2207.09209")
class FLDetector:
    """Flags agents whose updates differ from what their last update and the loss's curvature predict.

    u_i is predicted as u_i' + H (w - w'), where H is L-BFGS's estimate from the last rounds of the mean update. An
    agent's score is the mean of its last normalised errors. If the gap statistic sees more than one cluster of scores,
    the higher of two is flagged. Weakness: it says nothing before it has seen some rounds, forgets nobody's past, and
    an attacker whose updates are steady is predicted well; d numbers per agent are kept. The paper restarts the
    training without those flagged; here they are left out of the round.

    Fields:
        window: rounds of memory, 10 in the paper.
        start: rounds before anybody is flagged.

    Reference: Zhang et al. 2022, KDD, arXiv:2207.09209.
    """

    window: int = 10
    start: int = 5
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IDS, Need.PAST})

    def __post_init__(self) -> None:
        if self.window < 1 or self.start < 0:
            raise PluginError("window >= 1 and start >= 0", f"{self.window} and {self.start}")

    def __call__(self, view: ServerView, state: History | None) -> tuple[Verdict, History | None]:
        n = len(view.updates)
        if n == 0:  # nobody sent anything finite
            return Verdict(np.zeros(0), np.zeros(0, dtype=bool)), state
        mean = averaged(view.updates, None)
        if state is None:
            empty = view.updates.new_zeros(0, len(view.start))
            kept = dict(zip(view.agents, view.updates.clone(), strict=True))
            first = History(start=view.start, mean=mean, moves=empty, turns=empty, updates=kept, errors={})
            return Verdict(np.zeros(n), np.zeros(n, bool)), first
        move = view.start - state["start"]
        errors = self._errors(view, state, curvature(state["moves"], state["turns"], move))
        scores = np.array([float(np.mean(errors.get(agent, (0.0,)))) for agent in view.agents])
        flags = np.zeros(n, dtype=bool)
        if view.round > self.start and n >= 3 and len(state["moves"]):
            flags = _upper_cluster(scores, view.streams.numpy("gap"))
        moves = torch.cat([state["moves"], move[None]])[-self.window :]
        turns = torch.cat([state["turns"], (mean - state["mean"])[None]])[-self.window :]
        updates = state["updates"] | dict(zip(view.agents, view.updates.clone(), strict=True))
        kept_now = History(start=view.start, mean=mean, moves=moves, turns=turns, updates=updates, errors=errors)
        return Verdict(scores, flags), kept_now

    def _errors(self, view: ServerView, state: History, bend: Tensor) -> dict[int, tuple[float, ...]]:
        """The remembered errors of every agent, this round's added for those whose last update is known."""
        known = [i for i, agent in enumerate(view.agents) if agent in state["updates"]]
        if not known:
            return state["errors"]
        missed = torch.stack([_apart(state["updates"][view.agents[i]], bend, view.updates[i]) for i in known])
        missed = missed.clamp(max=1e150)  # the sum of which is finite
        shares = (missed / missed.sum().clamp_min(1e-30)).tolist()
        new = {view.agents[i]: share for i, share in zip(known, shares, strict=True)}
        return state["errors"] | {a: (*state["errors"].get(a, ()), share)[-self.window :] for a, share in new.items()}


def _apart(before: Tensor, bend: Tensor, now: Tensor) -> Tensor:
    """The L2 distance of an update (d,) from its prediction; in double precision, where huge ones do not overflow."""
    missed: Tensor = torch.linalg.vector_norm(before.double() + bend.double() - now.double())
    return missed


def curvature(moves: Tensor, turns: Tensor, move: Tensor) -> Tensor:
    """(d,) H @ move, with H the L-BFGS matrix that maps `moves` (w, d) to `turns` (w, d).

    Zeros without a past, or where a hostile one makes numbers overflow.

    Reference: Byrd, Nocedal and Schnabel 1994, Math. Programming 63, theorem 2.3.
    """
    s, y, v = moves.double(), turns.double(), move.double()
    if not len(s) or float(s[-1] @ s[-1]) == 0:
        return torch.zeros_like(move)
    products = s @ y.T
    sigma = products[-1, -1] / (s[-1] @ s[-1])
    lower, diagonal = products.tril(-1), products.diagonal().diag()
    middle = torch.cat([torch.cat([sigma * s @ s.T, lower], 1), torch.cat([lower.T, -diagonal], 1)])
    right = torch.cat([sigma * s @ v, y @ v])
    if not (middle.isfinite().all() and right.isfinite().all()):
        return torch.zeros_like(move)
    # the middle matrix loses rank when the training stands still: the least-squares solution is then the one to take
    weights = torch.linalg.lstsq(middle, right[:, None], driver="gelsd").solution[:, 0]
    bend = (sigma * v - sigma * (weights[: len(s)] @ s) - weights[len(s) :] @ y).to(move.dtype)
    return bend if bend.isfinite().all() else torch.zeros_like(move)


def _upper_cluster(scores: np.ndarray, rng: np.random.Generator, references: int = 20) -> np.ndarray:
    """(n,) bool: the higher of two clusters of scores, if the gap statistic prefers two to one; else nobody.

    Reference: Tibshirani, Walther and Hastie 2001, J. R. Statist. Soc. B 63.
    """
    spread = scores.max() - scores.min()
    if spread == 0:
        return np.zeros(len(scores), dtype=bool)
    points = (scores - scores.min()) / spread
    uniform = rng.random((references, len(points)))
    gaps, errors = [], []
    for inertia in (_inertia, lambda each: halves(each)[0]):  # of one cluster and of two
        logs = np.log([inertia(each) for each in uniform])
        gaps.append(logs.mean() - np.log(inertia(points)))
        errors.append(logs.std() * np.sqrt(1 + 1 / references))
    if gaps[0] >= gaps[1] - errors[1]:
        return np.zeros(len(scores), dtype=bool)
    return np.asarray(points >= halves(points)[1])


def _inertia(points: np.ndarray) -> float:
    """Sum of the squared distances of points (n,) to their mean; clamped above 0 so that its logarithm exists."""
    return max(float(np.square(points - points.mean()).sum()), 1e-12)


def halves(points: np.ndarray) -> tuple[float, float]:
    """The inertia of the best two clusters of points (n,) in [0, 1], and the least point of the upper one.

    On a line the best clusters are separated by a gap between neighbours, and all n - 1 gaps are tried.
    """
    line = np.sort(points)
    below, squares = np.cumsum(line)[:-1], np.cumsum(line**2)[:-1]
    count = np.arange(1, len(line))
    above = line.sum() - below
    inertia = squares - below**2 / count + np.square(line).sum() - squares - above**2 / (len(line) - count)
    best = int(inertia.argmin())
    return max(float(inertia[best]), 1e-12), float(line[best + 1])


Models = tuple[tuple[int, ...], Tensor]  # agents, and their models (sample, n) in double precision


@client_detector(goal="availability", cite="Gabrielli et al. 2023, arXiv:2303.16668")
class FLANDERS:
    """Flags the f agents whose models differ most from a forecast of them by a matrix autoregression.

    Local models, on a sample of coordinates, are the columns of a matrix per round; X_t is forecast as A X_{t-1} B,
    fitted by alternating least squares on the window. The score is an agent's squared distance from its forecast.
    Weakness: all agents must take part in each round, since rounds of other agents are left out of the window; f are
    flagged in honest rounds too, and steady attackers are forecast well.

    Fields:
        f: how many agents are flagged.
        window: rounds that the model is fitted on.
        sample: coordinates that are looked at, drawn once.
        steps: alternations of the fit.

    Reference: Gabrielli et al. 2023, arXiv:2303.16668.
    """

    f: int = 1
    window: int = 5
    sample: int = 100
    steps: int = 10
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IDS, Need.PAST})

    def __post_init__(self) -> None:
        if self.f < 0 or self.window < 1 or self.sample < 1 or self.steps < 1:
            raise PluginError(
                "f >= 0, and window, sample and steps >= 1", f"{self.f}, {self.window}, {self.sample}, {self.steps}"
            )

    def __call__(self, view: ServerView, state: tuple[Models, ...] | None) -> tuple[Verdict, tuple[Models, ...]]:
        """The state is who sent which models, for the rounds of the window."""
        n, d = view.updates.shape
        if self.f >= n:
            raise PluginError(f"f < n = {n}", f"f = {self.f}", "an agent must be left")
        rng = np.random.default_rng(d)  # the same coordinates in every round
        columns = torch.as_tensor(np.sort(rng.choice(d, min(self.sample, d), replace=False)), device=view.start.device)
        models = (view.start[columns] + view.updates[:, columns]).double().cpu().numpy().T  # (sample, n)
        past = tuple(each.numpy() for agents, each in state or () if agents == view.agents)
        scores, flags = np.zeros(n), np.zeros(n, dtype=bool)
        if len(past) >= 2:
            scores = ((forecast(past, self.steps) - models) ** 2).sum(axis=0)
            flags[np.argsort(-scores, kind="stable")[: self.f]] = True
        return Verdict(scores, flags), (*(state or ()), (view.agents, torch.from_numpy(models)))[-self.window - 1 :]


def forecast(past: tuple[np.ndarray, ...], steps: int, ridge: float = 1e-6) -> np.ndarray:
    """A X B for the last X (p, n), where A (p, p) and B (n, n) carry each matrix of `past` over to the next.

    Reference: Chen, Xiao and Yang 2021, J. Econometrics 222, alternating least squares.
    """
    pairs = list(itertools.pairwise(past))
    p, n = past[0].shape
    scale = ridge * max(np.mean([np.square(x).sum() for x in past]), 1e-30)
    a, b = np.eye(p), np.eye(n)
    for _ in range(steps):
        moved = [a @ x for x, _ in pairs]
        left = sum(m.T @ m for m in moved) + scale / n * np.eye(n)
        b = np.linalg.solve(left, sum(m.T @ y for m, (_, y) in zip(moved, pairs, strict=True)) + scale / n * np.eye(n))
        moved = [x @ b for x, _ in pairs]
        right = sum(m @ m.T for m in moved) + scale / p * np.eye(p)
        a = np.linalg.solve(
            right, (sum(y @ m.T for m, (_, y) in zip(moved, pairs, strict=True)) + scale / p * np.eye(p)).T
        ).T
    return np.asarray(a @ past[-1] @ b)
