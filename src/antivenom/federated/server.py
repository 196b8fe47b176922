"""The server's half of a round: it leaves clients out, aggregates the other updates, and keeps the plugins' states.

    server = Server(MultiKrum(f=2), (NormBound(),), network=network)
    decision = server.step(1, start, updates, ids, claims)
    end = start + decision.aggregate

`Federation` calls it in simulations. A deployment calls it with the updates that its clients send.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.core.protocols import Aggregator, ClientDetector, Need, ServerView
from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset
from antivenom.fast import kernels
from antivenom.federated.aggregators import Mean
from antivenom.federated.guarded import NotFinite, guarded_detector, guarded_rule
from antivenom.federated.needs import name_of, require
from antivenom.models.layout import Layout
from antivenom.models.network import Network
from antivenom.models.training import Training

Shares = Callable[[Sequence[int], Tensor], Tensor]


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
        aggregate: (d,) to be added to the global parameters; zeros if nothing could be aggregated.
        clients: the n ids of the usable updates, in the order of the rows of `updates`.
        updates: (n, d) the usable updates: finite, with a usable claim.
        weights: (n,) their shares in the weighted mean.
        verdicts: one of each detector, over those n clients.
        left_out: the clients whose updates were not passed to the rule, with reasons.
        failure: the reason why the global model stayed as it was; None if the aggregation succeeded.
    """

    aggregate: Tensor
    clients: tuple[int, ...]
    updates: Tensor
    weights: Tensor
    verdicts: tuple[Verdict, ...]
    left_out: tuple[LeftOut, ...]
    failure: str | None = None


@dataclass(frozen=True)
class ServerState:
    """What a server remembers from one round to the next: tensors and plain values only, so that a checkpoint runs no code.

        torch.save(vars(server.state), path)
        server.state = ServerState(**torch.load(path, weights_only=True))

    Fields:
        rule: what the rule remembers; None before its first round.
        detectors: what each detector remembers; None before its first round.
    """

    rule: Any = None
    detectors: tuple[Any, ...] = ()


class Server:
    """An aggregation rule and client detectors, with their requirements and their state.

    Every detector sees all usable updates. Clients that any detector flags are left out before the rule is called.

    Args:
        rule: aggregates the updates that are left.
        detectors: flag clients.
        network: the architecture; None if the server knows nothing but the parameters.
        layout: names and shapes of the layers; None takes those of the network.
        validation: rows of the server's own; None if it has none.
        training: how an honest client trains; None is `Training()`.
        shares: the ids and claims (n,) of the usable updates to their shares (n,) in the weighted mean.
        rescale: scale the shares of the clients that no detector flagged, so that their sum is that of all clients.
        streams: the server's randomness.

    Attributes:
        state: the state of the rule and the detectors; assign a saved one to go on after a restart.

    Raises:
        NotApplicable: the rule or a detector needs something that the server does not have.
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
        shares: Shares | None = None,
        rescale: bool = True,
        streams: Streams = Streams(0),
    ) -> None:
        self.rule, self.detectors = rule, tuple(detectors)
        self.network, self.validation, self.training = network, validation, training
        self.layout = network.layout if layout is None and network is not None else layout
        self.shares, self.rescale, self.streams = shares or by_claims, rescale, streams
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
        updates: Tensor,
        clients: Sequence[int],
        claims: Sequence[float] | Tensor | None = None,
    ) -> Decision:
        """Aggregate round `number`, from 1, in which clients trained from the global parameters `start` (d,).

        Args:
            updates: (n, d) the updates that arrived.
            clients: the n ids of the clients that sent them.
            claims: (n,) the numbers of examples that they claim; None means equal numbers.

        Raises:
            PluginError: a rule or detector failed although all updates were usable.
        """
        ids = tuple(int(client) for client in clients)
        if updates.dim() != 2 or updates.shape != (len(ids), start.numel()):
            raise PluginError(
                f"updates of shape ({len(ids)}, {start.numel()})", f"{tuple(updates.shape)}", "one row per client"
            )
        claimed = torch.ones(len(ids)) if claims is None else torch.as_tensor(claims, dtype=torch.float64)
        finite, fair = kernels.finite_rows(updates), claimed.isfinite() & (claimed >= 0)
        left_out = [
            LeftOut(client, "sent NaN or infinity" if not ok else f"claimed {float(claim):g} examples")
            for client, ok, honest, claim in zip(ids, finite.tolist(), fair.tolist(), claimed, strict=True)
            if not (ok and honest)
        ]
        usable = finite & fair.to(finite.device)
        if left_out:
            ids = tuple(client for client, ok in zip(ids, usable.tolist(), strict=True) if ok)
            updates, claimed = updates[usable], claimed[usable.cpu()]
        weights = self.shares(ids, claimed).to(updates)
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
        )
        aggregate, failure, verdicts = torch.zeros_like(start), None, list[Verdict]()
        try:
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
            if len(seen.updates):
                made, memory = guarded_rule(self.rule, seen, self.state.rule)
                self.state = dataclasses.replace(self.state, rule=memory)
                if made.sum(dtype=torch.float64).isfinite() or made.isfinite().all():  # the sum takes one pass
                    aggregate = made
                else:  # huge updates can make a rule overflow, which must not ruin the model for good
                    failure = f"{name_of(self.rule)} returned NaN or infinity"
        except NotFinite as error:
            failure = str(error)
        except PluginError as error:
            if usable.all():  # the caller's own mistake; but a hostile client must not end the training
                raise
            failure = str(error)
        return Decision(aggregate, ids, updates, weights, tuple(verdicts), tuple(left_out), failure)

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
        weights = view.weights[keep]
        if self.rescale:
            weights = weights * (view.weights.sum() / weights.sum().where(weights.any(), 1))
        return dataclasses.replace(view, updates=view.updates[keep], agents=agents, weights=weights)


def by_claims(clients: Sequence[int], claims: Tensor) -> Tensor:
    """(n,) shares in proportion to the claims (n,), which sum to 1; all zero if nobody claims anything."""
    shares = claims.double()  # claims may sum to more than single precision holds
    if not len(shares):
        return shares.float()
    shares = shares / shares.max().clamp(min=1)
    return (shares / shares.sum().clamp(min=1e-300)).float()
