"""A Flower strategy that checks every reply, aggregates with a robust rule, and leaves the rest to the strategy inside."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from logging import INFO, WARNING
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log as flower_log

from antivenom.core.errors import AntivenomError, PluginError, ScenarioError, StoreError
from antivenom.federated import Decision, Median, NormBound, Server, ServerState
from antivenom.federated.weighting import capped_claims
from antivenom.integrations.flower import saved
from antivenom.integrations.flower.grid import TooFewNodes, WatchedGrid
from antivenom.integrations.flower.handing import cleaned, one_reply
from antivenom.integrations.flower.journal import append, line_of
from antivenom.integrations.flower.ledger import Ledger
from antivenom.integrations.flower.limits import Limits
from antivenom.integrations.flower.model import Model
from antivenom.integrations.flower.rounds import Round
from antivenom.integrations.flower.wire import Unusable, template_of

_Configure = Callable[[int, ArrayRecord, ConfigRecord, Grid], Iterable[Message]]


class Defended(Strategy):
    """Any Flower strategy, with a defence around it.

        strategy = Defended(FedAvg())
        result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=10)

    Each reply is compared with what was sent before any of its arrays is parsed. Usable updates go through the server's
    detectors and rule. The strategy inside then gets one reply that holds the aggregate, so that its sampling, its
    configuration, and its optimiser (FedAvgM, FedAdam, FedProx) go on working. Weakness: an update that looks like an honest
    one passes every check, so that what remains is what the rule lets through.

    Running means and variances of batch norm, and counters, are aggregated by the median of the clients that were kept.

    Args:
        inner: the strategy to defend.
        server: detectors and rule; by default the coordinate-wise median, after `NormBound` with three times the median norm.
        limits: limits on replies, clients and rounds.
        aggregates: whether the server's rule aggregates. If False, the strategy inside gets the replies that are left, with
            bounded claims and equal metrics, and aggregates them itself. Strategies that look at single replies need this
            (QFedAvg, Krum, server-side differential privacy).
        log: a file that gets one JSON line per round: who was left out, why, and with which scores.
        state: a folder in which the server's state is kept. A run that finds one goes on after its last finished round.

    Attributes:
        ledger: the reputations of the clients.
        server: the server.
    """

    def __init__(
        self,
        inner: Strategy,
        server: Server | None = None,
        *,
        limits: Limits | None = None,
        aggregates: bool = True,
        log: str | Path | None = None,
        state: str | Path | None = None,
    ) -> None:
        if not isinstance(inner, Strategy):
            remedy = "pass flwr.serverapp.strategy.FedAvg(), for example"
            raise ScenarioError("a strategy of flwr.serverapp", type(inner).__name__, remedy)
        self.inner, self.limits, self.aggregates = inner, limits or Limits(), aggregates
        self.server = Server(Median(), (NormBound(),)) if server is None else server
        self.ledger = Ledger()
        self._log = None if log is None else Path(log)
        self._folder = None if state is None else Path(state)
        self._round: Round | None = None
        self._model: Model | None = None
        self._grid: WatchedGrid | None = None
        self._done = 0  # rounds that an earlier process finished
        strategies = saved.nested(inner)
        self._claim_key: str = next(
            (s.weighted_by_key for s in strategies if hasattr(s, "weighted_by_key")), "num-examples"
        )
        self._arrays_key: str = next((s.arrayrecord_key for s in strategies if hasattr(s, "arrayrecord_key")), "arrays")

    def summary(self) -> None:
        """Log the configuration."""
        detectors = ", ".join(type(each).__name__ for each in self.server.detectors)
        rule = type(self.server.rule).__name__ if self.aggregates else type(self.inner).__name__
        flower_log(INFO, "\t├──> Defended by %s after %s", rule, detectors or "checks")
        self.inner.summary()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run the rounds; with a saved state, those that are left.

        Raises:
            StoreError: the saved state belongs to another model, or cannot be read.
            ModelError: the arrays cannot be averaged, or differ from the server's layout.
        """
        template_of(initial_arrays, self.server.layout)
        arrays = self._resumed(initial_arrays)
        done = self._done

        def evaluate(number: int, model: ArrayRecord) -> MetricRecord | None:
            return None if evaluate_fn is None else evaluate_fn(number + done, model)

        result = super().start(
            grid=WatchedGrid(grid, self),
            initial_arrays=arrays,
            num_rounds=max(num_rounds - done, 0),
            timeout=timeout,
            train_config=train_config,
            evaluate_config=evaluate_config,
            evaluate_fn=None if evaluate_fn is None else evaluate,
        )
        if not result.arrays:
            result.arrays = arrays
        for name in ("train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp"):
            setattr(result, name, {number + done: each for number, each in getattr(result, name).items()})
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The messages of the strategy inside, without those to excluded clients."""
        self._model = Model(arrays, self.server.layout)
        messages = self._configured(self.inner.configure_train, self._model, server_round, config, grid)
        asked = [message.metadata.dst_node_id for message in messages]
        self._round = Round(
            server_round + self._done,
            asked,
            self._claim_key,
            self.limits,
            (self._model.template, self._model.vector),
            keeps=not self.aggregates,
        )
        return messages

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The messages of the strategy inside, without those to excluded clients."""
        model = Model(arrays, self.server.layout)
        messages = self._configured(self.inner.configure_evaluate, model, server_round, config, grid)
        asked = [message.metadata.dst_node_id for message in messages]
        self._round = Round(server_round + self._done, asked, self._claim_key, self.limits)
        return messages

    def take(self, reply: Message, node: int) -> None:
        """Check a reply when it arrives."""
        self._current().take(reply, node)

    def stray(self, node: int, reason: str) -> None:
        """Note a reply that nobody asked for."""
        self._current().strays.append((node, reason))

    @property
    def memory_for_a_reply(self) -> float | None:
        """The bytes that pulling one reply may take, or None for any."""
        factor, model = self.limits.reply_memory, self._model
        return None if factor is None or model is None else factor * model.template.bytes + 128e6

    def unreadable(self, node: int, error: Exception) -> None:
        """Note a reply that Flower could not read."""
        self._current().unreadable(node, error)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The next model; None if the model stays as it is."""
        began, now, model = time.monotonic(), self._closed(replies), self._model
        if model is None or not now.asked:
            return None, None
        claims = capped_claims([reply.claim for reply in now.good], self.limits.claim_factor, self.limits.claim_share)
        arrays, metrics, decision, failure = None, None, None, self._quorum(now)
        if failure is None:
            decision, failure = self._decided(now, model, claims)
        if failure is None and decision is not None:
            arrays, metrics, failure = self._passed_on(now, model, decision, claims)
        flagged = self._flagged(now, decision)
        if metrics is not None:
            metrics["replies-kept"] = len(now.good) - len(flagged)
            metrics["replies-left-out"] = len(now.asked) - len(now.good) + len(flagged)
        self._count(now, flagged)
        line = line_of("train", now, self.ledger, claims, failure, decision, self.server)
        self._write({**line, "aggregation_seconds": round(time.monotonic() - began, 3)})
        self._save(now.number, model.arrays if arrays is None else arrays)
        return arrays, metrics

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """The metrics that the strategy inside computes from the usable replies; None without any."""
        now = self._closed(replies)
        if not now.asked:
            return None
        self._count(now, frozenset())
        failure = self._quorum(now)
        claims = capped_claims([reply.claim for reply in now.good], self.limits.claim_factor, self.limits.claim_share)
        self._write(line_of("evaluate", now, self.ledger, claims, failure))
        if failure is not None:
            return None
        replies = cleaned(now.good, claims, None, self._arrays_key, self._claim_key)
        return self.inner.aggregate_evaluate(now.number, replies)

    # How a round begins and ends

    def _configured(
        self, configure: _Configure, model: Model, server_round: int, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """The messages of the strategy inside. It sees half precision as float32; the clients get the model as it is."""
        number = server_round + self._done
        if isinstance(grid, WatchedGrid):
            grid.begin_asking()
        try:
            messages = list(configure(number, model.plain, config, grid))
        except TooFewNodes:
            flower_log(WARNING, "Round %s is skipped: not enough nodes in %.0f s", number, self.limits.patience)
            return []
        if not all(self.ledger.knows(message.metadata.dst_node_id) for message in messages):
            self.ledger.meet(grid.get_nodes())
        messages = [m for m in messages if not self.ledger.excluded(m.metadata.dst_node_id, self.limits)]
        if model.plain is not model.arrays:
            for message in messages:
                swapped = {
                    name: model.arrays if record is model.plain else record for name, record in message.content.items()
                }
                message.content = RecordDict(swapped)
        return messages

    def _current(self) -> Round:
        if self._round is None:
            raise ScenarioError("replies after a call of configure_train", "replies without one")
        return self._round

    def _closed(self, replies: Iterable[Message]) -> Round:
        """The current round, with all of its replies."""
        now = self._current()
        for reply in replies:
            now.take(reply)
        now.close()
        return now

    def _quorum(self, now: Round) -> str | None:
        """Why too few replies are usable, or None."""
        needed = max(1, math.ceil(self.limits.quorum * len(now.asked)))
        return (
            None if len(now.good) >= needed else f"{len(now.good)} usable replies of {len(now.asked)}, {needed} needed"
        )

    def _flagged(self, now: Round, decision: Decision | None) -> set[int]:
        """The nodes with a usable reply that the server has left out."""
        left_out = set() if decision is None else {each.client for each in decision.left_out}
        return {reply.node for reply in now.good if self.ledger.of(reply.node).number in left_out}

    def _count(self, now: Round, flagged: Iterable[int]) -> None:
        """Write the round into the clients' reputations."""
        hostile, flagged = set(now.hostile), set(flagged)
        for reply in now.good:
            self.ledger.add(reply.node, "flagged" if reply.node in flagged else "good")
        for node in now.problems:
            self.ledger.add(node, "hostile" if node in hostile else "faults")

    # What happens to the replies

    def _decided(self, now: Round, model: Model, claims: list[float]) -> tuple[Decision | None, str | None]:
        """The server's decision, or the reason why there is none."""
        numbers = [self.ledger.of(reply.node).number for reply in now.good]
        faults = sum(problem.hostile for problem in now.problems.values())
        try:
            start, rows = torch.from_numpy(model.vector), torch.from_numpy(now.rows)
            decision = self.server.step(now.number, start, rows, numbers, claims, faults)
        except PluginError as error:
            if not now.problems:  # the operator's own mistake: nobody else could have caused it
                raise
            return None, str(error)
        return decision, decision.failure

    def _passed_on(
        self, now: Round, model: Model, decision: Decision, claims: list[float]
    ) -> tuple[ArrayRecord | None, MetricRecord | None, str | None]:
        """The result of the strategy inside, and the reason why it is refused."""
        out = {each.client for each in decision.left_out}
        kept = [i for i, reply in enumerate(now.good) if self.ledger.of(reply.node).number not in out]
        good, shares = [now.good[i] for i in kept], [claims[i] for i in kept]
        side = np.median(now.side[kept], axis=0) if model.template.m else model.side
        keys = self._arrays_key, self._claim_key
        before = [dict(vars(each)) for each in saved.nested(self.inner)]
        try:
            if self.aggregates:
                aggregate = model.combined(model.vector + decision.change.numpy(), side, plain=True)
                replies = [one_reply(good, shares, aggregate, *keys)]
            else:
                rows = [model.vector + now.rows[i] for i in kept] if model.template.has_half else []
                sent = [model.combined(row, now.side[i], plain=True) for row, i in zip(rows, kept, strict=False)]
                sent = sent or [reply.arrays for reply in good if reply.arrays is not None]
                replies = cleaned(good, shares, sent, *keys)
            arrays, metrics = self.inner.aggregate_train(now.number, replies)
            if arrays is None:
                return None, metrics, "the strategy inside returned no model"
            return model.combined(model.parameters_of(arrays), side), metrics, None
        except Unusable as error:
            self._restore(before)
            return None, None, f"the result is refused: {error}"
        except Exception as error:
            if self.aggregates or isinstance(error, AntivenomError) or not now.problems:
                raise
            self._restore(before)
            text = str(error).partition("\n")[0]
            return None, None, f"{type(self.inner).__name__} failed: {text}"

    def _restore(self, before: list[dict[str, object]]) -> None:
        """Forget what the strategy inside has kept of a result that is refused."""
        for each, attributes in zip(saved.nested(self.inner), before, strict=True):
            vars(each).clear()
            vars(each).update(attributes)

    # State and log

    def _resumed(self, initial: ArrayRecord) -> ArrayRecord:
        """The model to begin with: that of the saved state, or the one given."""
        state = None if self._folder is None else saved.load(self._folder)
        if state is None:
            return initial
        arrays: ArrayRecord = saved.unpacked(state["arrays"])
        form = {name: tuple(each.shape) for name, each in arrays.items()}
        if form != {name: tuple(each.shape) for name, each in initial.items()}:
            raise StoreError("the state of this model", "that of another one", "give another folder").at(
                str(self._folder)
            )
        self._done = state["round"]
        self.server.state = ServerState(**state["server"])
        self.ledger.restore(state["ledger"])
        saved.remember(self.inner, state["inner"])
        flower_log(WARNING, "Going on after round %s, from the state in %s", self._done, self._folder)
        return arrays

    def _save(self, number: int, arrays: ArrayRecord) -> None:
        if self._folder is None:
            return
        state = {"round": number, "arrays": saved.packed(arrays), "server": dict(vars(self.server.state))}
        try:
            saved.save(self._folder, {**state, "ledger": self.ledger.state(), "inner": saved.memory_of(self.inner)})
        except StoreError as error:  # a full disk must not end the training
            flower_log(WARNING, "The state is not saved, so that a restart begins earlier: %s", error)

    def _write(self, line: dict[str, object]) -> None:
        if line["failure"] is not None:
            flower_log(WARNING, "Round %s: the model stays as it was: %s", line["round"], line["failure"])
        if self._log is None:
            return
        try:
            append(self._log, line)
        except OSError as error:  # a full disk must not end the training
            flower_log(WARNING, "The log %s cannot be written: %s", self._log, error)
