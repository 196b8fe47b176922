"""The server's half of a round: it leaves clients out, aggregates the other updates, and keeps the plugins' states.

    server = Server(MultiKrum(f=2), (NormBound(),), network=network)
    decision = server.step(1, start, updates, ids, claims)
    end = start + decision.change

`Federation` calls it in simulations. A deployment calls it with the updates that its clients send.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError, ScenarioError, with_article
from antivenom.core.protocols import Aggregator, ClientDetector, Need, ServerView
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.fast import kernels
from antivenom.federated.aggregators import Mean
from antivenom.federated.faults import lowered, lowered_for
from antivenom.federated.guarded import NotFinite, guarded_detector, guarded_rule
from antivenom.federated.needs import name_of, require
from antivenom.federated.weighting import Weighting, required, scaled, shares_of, total_of
from antivenom.models.layout import Layout
from antivenom.models.network import Network
from antivenom.models.training import Training


@dataclass(frozen=True)
class LeftOut:
    """A client whose update was not passed to the rule.

    Fields:
        client: its id.
        reason: the reason, in a few words.
    """

    client: int
    reason: str


@dataclass(frozen=True, eq=False)
class Decision:
    """The result of one round on the server.

    Fields:
        aggregate: (d,) the result of the rule; zeros if nothing could be aggregated.
        clients: the n ids of the usable updates, in the order of the rows of `updates`.
        updates: (n, d) the usable updates: finite, with a usable claim.
        weights: (n,) their shares in the weighted mean.
        verdicts: one of each detector, over those n clients.
        left_out: the clients whose updates were not passed to the rule, with reasons.
        change: (d,) to be added to the global parameters: the aggregate, after the server's momentum and learning rate.
        failure: the reason why the global model stayed as it was; None if the aggregation succeeded.
    """

    aggregate: Tensor
    clients: tuple[int, ...]
    updates: Tensor
    weights: Tensor
    verdicts: tuple[Verdict, ...]
    left_out: tuple[LeftOut, ...]
    change: Tensor
    failure: str | None = None


@dataclass(frozen=True)
class ServerState:
    """What a server remembers from one round to the next: tensors and plain values only, so that a checkpoint runs no code.

        torch.save(vars(server.state), path)
        server.state = ServerState(**torch.load(path, weights_only=True))

    Fields:
        rule: what the rule remembers; None before its first round.
        detectors: what each detector remembers; None before its first round.
        velocity: (d,) the running sum of aggregates; None without momentum and before the first round.
    """

    rule: Any = None
    detectors: tuple[Any, ...] = ()
    velocity: Tensor | None = None


class Server:
    """An aggregation rule and client detectors, with their requirements and their state.

    Every detector sees all usable updates. Clients that any detector flags are left out before the rule is called.
    A client with an unusable update counts against the f that the rule assumes: after r of them it assumes f - r, at
    least 0. A flagged client does so only where the rule would otherwise refuse the clients that are left. A round without
    usable updates is skipped.

    Args:
        rule: aggregates the updates that are left.
        detectors: flag clients.
        network: the architecture; None if the server knows nothing but the parameters.
        layout: names and shapes of the layers; None takes those of the network.
        validation: rows of the server's own; None if it has none.
        training: how an honest client trains; None is `Training()`.
        weighting: how shares in the weighted mean are computed. Those of clients that are left out go to the others,
            except with fixed shares.
        num_agents: K, the size of the federation; needed for fixed shares only.
        learning_rate: what the aggregate is multiplied with before it is added to the global parameters.
        momentum: m in v <- m v + aggregate, from 0 to below 1; v replaces the aggregate (FedAvgM, Hsu et al. 2019,
            arXiv:1909.06335).
        streams: the server's randomness. None draws a seed that clients cannot know.

    Attributes:
        state: the state of the rule and the detectors; assign a saved one to go on after a restart.

    Raises:
        NotApplicable: the rule or a detector needs something that the server does not have.
        ScenarioError: fixed shares without `num_agents`, or a learning rate or momentum out of range.
    """

    def __init__(
        self,
        rule: Aggregator = Mean(),
        detectors: Sequence[ClientDetector] = (),
        *,
        network: Network | None = None,
        layout: Layout | None = None,
        validation: Dataset | None = None,
        training: Training | None = None,
        weighting: Weighting = Weighting.EXAMPLES,
        num_agents: int | None = None,
        learning_rate: float = 1.0,
        momentum: float = 0.0,
        streams: Streams | None = None,
    ) -> None:
        self.rule, self.detectors = rule, tuple(detectors)
        self.network, self.validation, self.training = network, validation, training
        self.layout = network.layout if layout is None and network is not None else layout
        self.weighting, self.num_agents = Weighting(weighting), num_agents
        if self.weighting is Weighting.FIXED:
            required(num_agents)
        require_step(learning_rate, momentum)
        self.learning_rate, self.momentum = learning_rate, momentum
        self.streams = Streams.fresh() if streams is None else streams
        self.state = ServerState(None, (None,) * len(self.detectors))
        given = {Need.IDS, Need.PAST}
        given |= set() if self.layout is None else {Need.LAYERS}
        given |= set() if network is None else {Need.NETWORK}
        given |= {Need.ROOT_ROWS} if validation is not None and len(validation) else set()
        for plugin in (rule, *self.detectors):
            require(plugin, given)

    def step(
        self,
        number: int,
        start: Tensor,
        updates: Tensor | Sequence[Any],
        clients: Sequence[int],
        claims: Sequence[float] | Tensor | None = None,
        faults: int = 0,
    ) -> Decision:
        """Aggregate round `number`, from 1, in which clients trained from the global parameters `start` (d,).

        Args:
            updates: (n, d) the updates that arrived, or a sequence of n vectors as the clients sent them. A vector of
                another length, or None for no answer, costs its own client only.
            clients: the n ids of the clients that sent them.
            claims: (n,) the numbers of examples that they claim; None means equal numbers.
            faults: how many further clients sent something unusable that the caller has dropped already. They count
                against the f of the rule, too.

        Raises:
            PluginError: a rule or detector failed although no client was left out.
        """
        ids = tuple(int(client) for client in clients)
        updates, problems = _rows(updates, len(ids), start)
        claimed = torch.ones(len(ids)) if claims is None else torch.as_tensor(claims, dtype=torch.float64)
        finite, fair = kernels.finite_rows(updates), claimed.isfinite() & (claimed >= 0)
        for place in torch.nonzero(~finite).flatten().tolist():
            problems.setdefault(place, "sent NaN or infinity")
        for place in torch.nonzero(~fair).flatten().tolist():
            problems.setdefault(place, f"claimed {float(claimed[place]):g} examples")
        left_out = [LeftOut(ids[place], problems[place]) for place in sorted(problems)]
        if left_out:
            usable = torch.tensor([place not in problems for place in range(len(ids))])
            ids = tuple(client for place, client in enumerate(ids) if place not in problems)
            updates, claimed = updates[usable.to(updates.device)], claimed[usable]
        weights = shares_of(claimed, self.weighting, self.num_agents).to(updates)
        view = ServerView(
            round=number,
            start=start.clone(),
            updates=updates.data,  # counts its own writes: other federations may train in the same matrix
            agents=ids,
            weights=weights,
            network=self.network,
            validation=self.validation,
            training=self.training,
            layout=self.layout,
            streams=self.streams.sealed("round", number, "server"),
            total=total_of(len(ids), self.weighting, self.num_agents),
        )
        aggregate, failure, verdicts, change = torch.zeros_like(start), None, list[Verdict](), torch.zeros_like(start)
        try:
            if not ids:
                raise _Skipped("no client sent a usable update")
            for place, detector in enumerate(self.detectors):
                verdict, kept = guarded_detector(detector, view, self.state.detectors[place])
                verdicts.append(verdict)
                self._remember_detector(place, kept)
                left_out += [
                    LeftOut(client, f"flagged by {type(detector).__name__}")
                    for client, flagged in zip(ids, verdict.flags.tolist(), strict=True)
                    if flagged
                ]
            seen = self._unflagged(view, verdicts)
            if not seen.agents:
                raise _Skipped("every client was flagged")
            rule = lowered_for(
                lowered(self.rule, len(problems) + faults), len(seen.agents), len(ids) - len(seen.agents)
            )
            made, memory = guarded_rule(rule, seen, self.state.rule)
            self.state = dataclasses.replace(self.state, rule=memory)
            # huge updates can make a rule overflow, which must not ruin the model for good
            aggregate, change = self._moved(made)
        except NotFinite as error:
            failure = str(error)
        except _Skipped as error:
            failure = str(error)
        except PluginError as error:
            if not left_out and not faults:  # the caller's own mistake; but a hostile client must not end the training
                raise
            failure = str(error)
        return Decision(aggregate, ids, updates, weights, tuple(verdicts), tuple(left_out), change, failure)

    def _moved(self, aggregate: Tensor) -> tuple[Tensor, Tensor]:
        """The aggregate and what it does to the global parameters; with momentum, it also changes the velocity.

        Raises:
            _Skipped: NaN or infinity in one of them.
        """
        _require_finite(aggregate, name_of(self.rule))
        if not self.momentum and self.learning_rate == 1:
            return aggregate, aggregate
        before = self.state.velocity
        velocity = aggregate if before is None else self.momentum * before.to(aggregate) + aggregate
        change = self.learning_rate * velocity
        _require_finite(change, "the server's step")
        if self.momentum:
            self.state = dataclasses.replace(self.state, velocity=velocity.clone())
        return aggregate, change

    def _remember_detector(self, place: int, kept: object) -> None:
        states = (*self.state.detectors[:place], kept, *self.state.detectors[place + 1 :])
        self.state = dataclasses.replace(self.state, detectors=states)

    def _unflagged(self, view: ServerView, verdicts: Sequence[Verdict]) -> ServerView:
        """The view without flagged clients; the same view, not a copy, if no client was flagged."""
        flags = np.any([verdict.flags for verdict in verdicts], axis=0) if verdicts else np.zeros(0, dtype=bool)
        if not flags.any():
            return view
        keep = torch.as_tensor(~flags, device=view.updates.device)
        agents = tuple(agent for agent, flagged in zip(view.agents, flags, strict=True) if not flagged)
        total = total_of(len(agents), self.weighting, self.num_agents)
        weights = scaled(view.weights[keep], total)
        return dataclasses.replace(view, updates=view.updates[keep], agents=agents, weights=weights, total=total)


class _Skipped(Exception):
    """The reason why a round leaves the global model as it was."""


def _require_finite(vector: Tensor, what: str) -> None:
    """Skip the round if a number is NaN or infinite."""
    if not (vector.sum(dtype=torch.float64).isfinite() or vector.isfinite().all()):  # the sum takes one pass
        raise _Skipped(f"{what} returned NaN or infinity")


def _rows(updates: Tensor | Sequence[Any], n: int, start: Tensor) -> tuple[Tensor, dict[int, str]]:
    """The updates (n, d) as one matrix, and the problem of each row that cannot be used, which is NaN in the matrix.

    A matrix must have the right shape, since its maker is the caller. A sequence is what n clients sent.

    Raises:
        PluginError: a matrix of another shape, or a sequence of another length.
    """
    d, problems = start.numel(), dict[int, str]()
    if isinstance(updates, Tensor):
        if updates.dim() != 2 or updates.shape != (n, d):
            raise PluginError(f"updates of shape ({n}, {d})", f"{tuple(updates.shape)}", "one row per client")
        return updates, problems
    if len(updates) != n:
        raise PluginError(f"{n} updates, one per client", f"{len(updates)}", "one row per client")
    matrix = start.new_full((n, d), math.nan)
    for place, sent in enumerate(updates):
        try:
            row = torch.as_tensor([] if sent is None else sent).detach()
            if row.shape == (d,) and not row.is_complex():
                matrix[place] = row.to(matrix)
            else:
                problems[place] = "sent no update" if row.numel() == 0 else f"sent shape {tuple(row.shape)}, not ({d},)"
        except (TypeError, ValueError, RuntimeError, OverflowError):
            problems[place] = f"sent {with_article(type(sent).__name__)} that holds no vector of numbers"
    return matrix, problems


def require_step(learning_rate: float, momentum: float) -> None:
    """Refuse a server's learning rate or momentum that is out of range.

    Raises:
        ScenarioError: the learning rate is not above 0 and finite, or the momentum not from 0 to below 1.
    """
    if not 0 < learning_rate < math.inf or not 0 <= momentum < 1:
        raise ScenarioError(
            "a server's learning rate > 0 and momentum from 0 to below 1", f"{learning_rate} and {momentum}"
        )
