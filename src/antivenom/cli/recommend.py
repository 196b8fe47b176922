"""`antivenom recommend`: the ranking as a table or as JSON."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from antivenom.cli.app import app

if TYPE_CHECKING:
    from antivenom.auditing.recommend import Recommendation


@app.command("recommend")
def recommend_command(
    agents: Annotated[int, typer.Option(help="Number of agents that send updates in a round.")],
    malicious: Annotated[int, typer.Option(help="How many of them may be malicious: the f of the rules.")],
    parameters: Annotated[int | None, typer.Option(help="Size of the model, for the time per round.")] = None,
    iid: Annotated[bool, typer.Option("--iid", help="All agents' rows have the same distribution.")] = False,
    root_data: Annotated[bool, typer.Option("--root-data", help="The server has clean rows of its own.")] = False,
    budget: Annotated[float | None, typer.Option(help="Most seconds that one aggregation may take.")] = None,
    goal: Annotated[str | None, typer.Option(help="Expected attacks: availability, targeted or backdoor.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many rules to show as text.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document with all rules.")] = False,
) -> None:
    """Rank aggregation rules for a federation by the harm that measured attacks do in spite of them.

    Exit codes: 0 done, 4 usage.
    """
    from antivenom.auditing.catalogue import known
    from antivenom.auditing.recommend import recommend

    with known():
        found = recommend(agents, malicious, parameters, iid=iid, root_data=root_data, budget=budget, goal=goal)
        if as_json:
            typer.echo(json.dumps(_document(found), indent=1))
        else:
            _print(found, top)


def _document(found: Recommendation) -> dict[str, object]:
    return {
        "choices": [
            {"rule": choice.spec}
            | {field.name: getattr(choice, field.name) for field in dataclasses.fields(choice) if field.name != "spec"}
            for choice in found.choices
        ],
        "refused": [{"name": name, "reason": reason} for name, reason in found.refused],
        "basis": found.basis,
        "cautions": list(found.cautions),
        "no_rule": found.no_rule,
    }


def _print(found: Recommendation, top: int) -> None:
    for caution in found.cautions:
        typer.echo(textwrap.fill(f"CAUTION: {caution}.", 100, subsequent_indent=" " * 9))
    if found.no_rule:
        typer.echo(textwrap.fill(f"NO RULE: {found.no_rule}.", 100, subsequent_indent=" " * 9))
    if not found.choices:
        return
    typer.echo(f"    harm  cost  {'ms/round':>8}  rule")
    for place, choice in enumerate(found.choices, start=1):
        if place > top and choice.spec is not None:  # the plain mean is always shown, for comparison
            continue
        took = "?" if choice.seconds is None else f"{1000 * choice.seconds:.3g}"
        name = "Mean" if choice.spec is None else choice.name
        typer.echo(f"{place:>3} {choice.harm:>4.0%} {choice.cost:>5.1%}  {took:>8}  {name}")
        typer.echo(textwrap.fill(choice.why, 100, initial_indent=" " * 25, subsequent_indent=" " * 25))
    for name, reason in found.refused:
        typer.echo(f"not {name}: {reason}")
    typer.echo(f"{found.basis[0].upper()}{found.basis[1:]}.")
