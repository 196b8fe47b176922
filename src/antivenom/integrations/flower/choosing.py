"""Chooses what is tried against a Flower app: its federation with malicious clients, and the defences of its server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from flwr.serverapp import strategy as strategies

from antivenom import federated
from antivenom.core.errors import NotApplicable, ScenarioError, did_you_mean
from antivenom.core.protocols import Aggregator
from antivenom.core.threat import Goal
from antivenom.core.wanted import AllToOne
from antivenom.data import ByGroup
from antivenom.federated import Federation, Weighting
from antivenom.integrations.flower.apps import App, app_in
from antivenom.integrations.flower.defended import Defended
from antivenom.integrations.flower.federation import FlowerModel, FlowerRows, FlowerTraining
from antivenom.models.training import Training
from antivenom.pipelines.choosing import Choice, Group, target_of
from antivenom.pipelines.looking import Look, look
from antivenom.pipelines.request import Prepared, Request
from antivenom.scenarios.federated import Federated
from antivenom.search.aims import triggers_for

NAMES = {
    Goal.AVAILABILITY: "malicious clients against accuracy",
    Goal.TARGETED: "malicious clients against one input",
    Goal.BACKDOOR: "malicious clients with a trigger",
}
MALICIOUS = 0.1  # share of the clients, if nothing else is asked for; at least one
_MEANS = (strategies.FedAvg, strategies.FedProx, strategies.FedAvgM)


def prepared(folder: str, clients: int = 0, malicious: int = 0, **asked: Any) -> Prepared:
    """What is tried against the Flower app in a folder. Its code is run, and nothing is trained.

    Args:
        folder: where its pyproject.toml is.
        clients: the number of clients; 0 for what the app states, or else 10.
        malicious: how many of them are malicious; 0 for a tenth of them, at least one.
        asked: further fields of `Request`; `deployed` replaces the rule of the app's own strategy.

    Raises:
        AntivenomError: the app cannot be read, or nothing can be tried.
    """
    app = app_in(folder, clients)
    rows = FlowerRows(folder, clients)
    found, model = look(rows), FlowerModel(folder, clients)
    rule, differences = deployed_in(app.started.strategy)
    request = Request(rows, model, **{"name": app.folder.resolve().name, **asked})
    request = request if request.deployed is not None else replace(request, deployed=rule)
    bad = malicious or max(1, round(MALICIOUS * app.nodes))
    federation = federation_of(app, bad, FlowerTraining(folder, clients))
    goals = [_goal(name) for name in request.goals] or list(NAMES)
    groups, untried = list[Group](), list[tuple[str, str]]()
    for goal in goals:
        scenario = Federated(data=rows, model=model, federation=federation, goal=goal, validation_rows=0)
        try:
            groups.append(_group(found, scenario, request))
        except NotApplicable as error:
            untried.append((NAMES[goal], error.got))
    if not groups:
        raise ScenarioError("a goal that fits this app", "; ".join(why for _, why in untried))
    for group in groups:
        group.scenario.check_rows(found.split)
    choice = Choice(tuple(groups), (*untried, *differences, *_elsewhere()))
    return Prepared(request, found, model, "", choice)


def federation_of(app: App, malicious: int, local: FlowerTraining) -> Federation:
    """The app's protocol: as many clients and rounds, as many of them chosen, and its server's step."""
    started, strategy = app.started, app.started.strategy
    inner = strategy.inner if isinstance(strategy, Defended) else strategy
    fraction = float(getattr(inner, "fraction_train", 1.0))
    chosen = max(int(app.nodes * fraction), int(getattr(inner, "min_train_nodes", 1)), 1)
    rate, momentum = getattr(inner, "server_learning_rate", 1.0), getattr(inner, "server_momentum", 0.0)
    return Federation(
        num_agents=app.nodes,
        agents_per_round=None if chosen >= app.nodes else chosen,
        num_malicious=malicious,
        rounds=started.rounds,
        partition=ByGroup(),
        training=_training(app),
        local=local,
        weighting=Weighting.EXAMPLES,
        server_learning_rate=float(rate),
        server_momentum=float(momentum),
    )


def deployed_in(strategy: strategies.Strategy) -> tuple[Aggregator | None, tuple[tuple[str, str], ...]]:
    """The rule of antivenom that does what a strategy of Flower's does, or None for a mean; and (what, why) where it differs."""
    if isinstance(strategy, Defended):
        rule, differences = deployed_in(strategy.inner)
        server = strategy.server
        if not strategy.aggregates:
            return rule, differences
        found = [("the checks, caps and reputations of Defended", "no messages are sent here: its rule alone is tried")]
        if server.detectors:
            names = ", ".join(type(each).__name__ for each in server.detectors)
            found.append((f"{names} before the rule of Defended", "a cell has one defence: its rule alone is tried"))
        return server.rule, (*differences, *found)
    name = type(strategy).__name__
    f = int(getattr(strategy, "num_malicious_nodes", 0))
    if type(strategy) in _MEANS:
        return None, ()
    if type(strategy) is strategies.FedMedian:
        return federated.Median(), ()
    if type(strategy) is strategies.Krum:
        return federated.Krum(f=max(f, 1)), ()
    if type(strategy) is strategies.MultiKrum:
        return federated.MultiKrum(f=max(f, 1), m=getattr(strategy, "num_nodes_to_select", None)), ()
    if type(strategy) is strategies.Bulyan:
        return federated.Bulyan(f=max(f, 1)), ()
    return None, ((f"the strategy {name}", "it is not known here: the clients' updates are averaged, by examples"),)


def _group(found: Look, scenario: Federated, request: Request) -> Group:
    """One goal.

    Raises:
        NotApplicable: the goal cannot be tried with these rows; `got` says why in words for the report.
    """
    if scenario.goal is not Goal.AVAILABILITY:
        scenario = replace(scenario, wanted=AllToOne(target_of(found, request.target)))
    if scenario.goal is Goal.BACKDOOR:
        triggers = triggers_for(found.train)
        if not triggers:
            raise NotApplicable("an editable column", "no column is open to the attacker for a trigger")
        scenario = replace(scenario, trigger=triggers[0][0])
    defences = tuple(_defences(scenario.federation))
    if request.deployed is not None and request.deployed not in defences:
        defences = (request.deployed, *defences)
    return Group(NAMES[scenario.goal], scenario, tuple(_attacks(scenario, request.deployed)), defences)


def _attacks(scenario: Federated, deployed: Any) -> Iterator[object]:
    """The attacks that need no search, the most useful first."""
    if scenario.goal is Goal.AVAILABILITY:
        if deployed is not None:
            yield federated.LineSearch(federated.SignFlip(), rule=deployed)
        yield federated.SignFlip(scale=10.0)
    elif scenario.goal is Goal.TARGETED:
        yield federated.ModelReplacement()
        yield federated.AlternatingMinimization()
    else:
        yield federated.ModelReplacement()
        yield federated.Neurotoxin()


def _defences(federation: Federation) -> Iterator[object]:
    """The defences that so many clients allow, the cheapest first."""
    n, f = federation.clients_per_round, federation.num_malicious
    if n > 2 * f:
        yield federated.Median()
    if n >= 2 * f + 3:
        yield federated.MultiKrum(f=f)


def _training(app: App) -> Training:
    """How attackers train towards goals of their own: with the app's epochs, batch size and step size, where it states them."""
    config = {**app.config, **(app.started.config or {})}
    named = {
        "epochs": ("local-epochs", "epochs"),
        "batch_size": ("batch-size",),
        "learning_rate": ("learning-rate", "lr"),
    }
    known = {field: config[name] for field, names in named.items() for name in names if name in config}
    return Training(
        epochs=int(known.get("epochs", 1)),
        batch_size=int(known.get("batch_size", 32)),
        optimizer="sgd" if "learning_rate" in known else "adam",
        learning_rate=float(known.get("learning_rate", 1e-3)),
    )


def _goal(name: str) -> Goal:
    try:
        found = Goal(name)
    except ValueError:
        found = None
    if found not in NAMES:
        raise ScenarioError(
            "a goal of malicious clients", repr(name), did_you_mean(name, [str(each) for each in NAMES])
        )
    return found


def _elsewhere() -> Iterator[tuple[str, str]]:
    """What an audit of a Flower app never tries."""
    yield (
        "attackers' own objectives in your training code",
        "they train with the app's epochs and step size, by plain SGD",
    )
    yield "rows that clients poisoned before", "`antivenom sanitize` examines rows"
    yield "hostile messages", "`antivenom.integrations.flower.Defended` checks them: docs/guide/flower.md"
