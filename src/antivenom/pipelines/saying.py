"""What the terminal says before an audit of a user's pipeline: what was found, what is tried and what is not."""

from __future__ import annotations

import sys

from antivenom.audit.formatting import shown
from antivenom.core.terminal import console
from antivenom.pipelines.request import Prepared
from antivenom.pipelines.running import model_name


def print_choice(prepared: Prepared) -> None:
    """Print the rows, the model and a short table of what is tried, on stdout."""
    out, request = console(sys.stdout), prepared.request
    out.print(shown(f"{request.name}: {prepared.look.summary}"), soft_wrap=True)
    for remark in prepared.look.remarks:
        out.print(shown(remark), soft_wrap=True)
    name = model_name(prepared.model)
    out.print(shown(f"No model was given: {name}, since {prepared.why}." if prepared.why else f"Model: {name}"))
    rows = max(1, int(request.budget * len(prepared.look.train)))
    out.print(f"The attacker may change or add {request.budget:.2%} of the rows, {rows:,} of them.")
    for group in prepared.choice.groups:
        names = [", ".join(dict.fromkeys(type(p).__name__ for p in some)) for some in (group.attacks, group.defences)]
        out.print(
            shown(f"Tried: {group.name} ({group.scenario.level}, {group.scenario.goal}): {names[0]}"), soft_wrap=True
        )
    defences = dict.fromkeys(type(p).__name__ for group in prepared.choice.groups for p in group.defences)
    out.print(shown(f"Defences tried: {', '.join(defences) or 'none fits'}"), soft_wrap=True)
    for what, why in prepared.choice.untried:
        out.print(shown(f"Not tried: {what}: {why}"), soft_wrap=True)
