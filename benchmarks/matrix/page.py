"""Writes docs/guide/matrix.md from src/antivenom/auditing/matrix.json, the data behind `antivenom recommend`.

python benchmarks/matrix/page.py
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from antivenom.auditing.recommend import Choice, assuming, measured, recommend, rows_of, rules_of

PAGE = Path(__file__).parents[2] / "docs/guide/matrix.md"
NOTABLE = 0.1  # the page names attacks with at least this harm in some seed
AGENTS = 11

INTRODUCTION = """\
# Attacks against defences, measured

With which rule should the server of a federation aggregate updates? This page shows the effect of attacks on twelve rules.
`antivenom recommend` ranks rules by these numbers:

    antivenom recommend --agents 12 --malicious 2 --root-data
"""

READING = """\
*Harm*, in percent, compares a run under attack with a run without it that has the same seed and the same defence. It is the
share of above-chance accuracy that is lost (availability), the increase of the attack success rate on triggered inputs
(backdoor), or the increase of the probability of the wanted class for one chosen input (targeted). The last one varies much
between seeds. A negative harm is due to chance.

*Cost* is the accuracy that the rule loses without any attack, in percentage points. If a rule alone reduces the accuracy to
chance, attacks can do no further harm, and only its cost shows that. Table cells contain the mean over three seeds, with the
minimum and the maximum in brackets. Three seeds are enough to order large differences only.

Attackers see the benign updates of the round. *LineSearch* optimises its scale in every round against the rule of its table
row, including the rule's memory. *NormBounded* sends a backdoor update whose norm is at most the median norm of the benign
updates."""

LIMITS = """\
- The networks have a few thousand parameters, and all eleven agents take part in every round. With more parameters it is easier
  to hide an attack. `recommend` warns if your federation differs much from these.
- The first rule of a list is rarely clearly better than the second, because their seeds overlap. Choose two or three and audit
  them on your own data ([federations in Python](federation.md), [scenarios](scenarios.md)).
- `f` is your assumption about the number of malicious agents. If it is too low, all rules with an `f` fail (see below).
- A rule sees updates only. It does not identify malicious agents, and it does not repair a model that is already poisoned."""


def write() -> None:
    measured.cache_clear()
    PAGE.write_text("\n".join(lines(measured())) + "\n", encoding="utf-8")


def lines(made: dict[str, Any]) -> Iterator[str]:
    right = [s for s in made["settings"] if s["assumed"] == s["malicious"]]
    yield INTRODUCTION
    yield from ("## What to pick", "", *picks(right))
    yield from ("", "## Remaining harm and limits", "", *gaps(right), LIMITS)
    yield from ("", "## How to read the numbers", "", READING)
    two = [setting for setting in right if setting["malicious"] == 2]
    for setting in two:
        yield from ("", *by_goal(setting))
    yield from shares(right)
    yield from wrong(made["settings"])
    yield from ("", *calls(made))
    yield from ("", "## Every attack", "", attacks_of(two[0]))
    for setting in two:
        yield from ("", *every(setting))
    yield from ("", *making(made))


def picks(settings: list[dict[str, Any]]) -> Iterator[str]:
    """The best rules for each kind of shards and number of malicious agents."""
    yield (
        "Rules are ranked by the harm of the worst attack plus the cost of the rule, over all data sets that were measured with "
        "this number of malicious agents. The last column is for a server with a hundred clean rows of its own. Each cell "
        "contains the harm in percent, the attack that caused it, and the cost in percentage points of accuracy."
    )
    yield ""
    yield "| agents' rows | malicious | first choice | second choice | with rows of the server's own |"
    yield "| --- | --- | --- | --- | --- |"
    for iid, malicious in sorted({(s["iid"], s["malicious"]) for s in settings}):
        ranked = recommend(AGENTS, malicious, iid=iid).choices[:2]
        trusted = next(c for c in recommend(AGENTS, malicious, iid=iid, root_data=True).choices if c.name == "FLTrust")
        cells = " | ".join(picked(choice) for choice in (*ranked, trusted))
        yield f"| {'equal' if iid else 'uneven'} | {malicious} of {AGENTS} | {cells} |"


def picked(choice: Choice) -> str:
    by = "" if choice.attack == "none" else f"{percent(choice.harm)} {short(choice.attack)}; "
    return f"**{name(choice.name)}**: {by}cost {percent(choice.cost, 1)}"


def gaps(settings: list[dict[str, Any]]) -> Iterator[str]:
    """The harm that remains behind the first choice, with two malicious agents."""
    for iid in (False, True):
        alike = [s for s in settings if s["iid"] == iid and s["malicious"] == 2]
        best = next(c for c in recommend(AGENTS, 2, iid=iid).choices if c.rule is not None)
        left = [
            f"{short(cell['attack'])} {spread(cell['values'])} % on {setting['data']}"
            for setting in alike
            for row in setting["defences"]
            if row["label"] == best.name
            for cell in row["harm"]
            if max(cell["values"]) >= NOTABLE
        ]
        rest = "; ".join(left) if left else f"no attack reached {percent(NOTABLE)} % in any seed"
        shards = "equal" if iid else "uneven"
        yield f"- Harm behind {name(best.name)} with {shards} shards and 2 of {AGENTS} malicious agents: {rest}."


def by_goal(part: dict[str, Any]) -> Iterator[str]:
    """The worst attack of every goal against every rule."""
    goals = list(dict.fromkeys(cell["goal"] for cell in part["defences"][0]["harm"]))
    yield f"## {title(part)}"
    yield ""
    yield (
        f"{part['malicious']} of {part['agents']} agents are malicious, and rules with an f assume {part['assumed']}. Shards: "
        f"`{part['partition']}`. The model has {part['parameters']:,} parameters and, without attack and defence, a test accuracy "
        f"of {spread(part['clean_accuracy'], 1)} %. The table shows the worst attack of each goal; best rules first."
    )
    yield ""
    yield f"| defence | cost | {' | '.join(goals)} |"
    yield "| --- | --- |" + " --- |" * len(goals)
    for row in sorted(part["defences"], key=regret):
        harms = [[cell for cell in row["harm"] if cell["goal"] == goal] for goal in goals]
        yield f"| {name(row['label'])} | {spread(row['cost'], 1)} | {' | '.join(map(worst, harms))} |"


def every(part: dict[str, Any]) -> Iterator[str]:
    """Every attack against every defence."""
    attacks = [cell["attack"] for cell in part["defences"][0]["harm"]]
    yield from (f"### {title(part)}", "", f"| defence | {' | '.join(map(short, attacks))} |")
    yield "| --- |" + " --- |" * len(attacks)
    for row in sorted(part["defences"], key=regret):
        values = {cell["attack"]: cell["values"] for cell in row["harm"]}
        yield f"| {name(row['label'])} | {' | '.join(spread(values[attack]) for attack in attacks)} |"


def attacks_of(part: dict[str, Any]) -> str:
    goals: dict[str, list[str]] = {}
    for cell in part["defences"][0]["harm"]:
        goals.setdefault(cell["goal"], []).append(f"`{cell['attack']}`")
    return "; ".join(f"{goal}: {', '.join(names)}" for goal, names in goals.items()) + "."


def title(part: dict[str, Any]) -> str:
    return f"{part['data'].capitalize()}, {'equal' if part['iid'] else 'uneven'} shards"


def shares(settings: list[dict[str, Any]]) -> Iterator[str]:
    """The worst attack on every rule, by the number of malicious agents."""
    attacked = sorted((s for s in settings if s["malicious"]), key=lambda s: int(s["malicious"]))
    groups = [[s for s in attacked if title(s) == kind] for kind in dict.fromkeys(map(title, settings))]
    groups = [group for group in groups if len(group) > 1]
    if groups:
        yield from (
            "",
            "## More malicious agents",
            "",
            "Harm of the worst attack if the rule assumes their true number.",
        )
    for group in groups:
        yield from ("", f"{title(group[0])}:", "", *worst_by_number(rules_of(group), group))


def wrong(settings: list[dict[str, Any]]) -> Iterator[str]:
    """The worst attack on rules with f = 2, by the true number of malicious agents."""
    alike = [s for s in settings if s["data"] == "digits" and not s["iid"] and s["assumed"] == 2]
    others = [s for s in alike if s["malicious"] != 2]
    if not others:
        return
    yield from (
        "",
        "## A wrong f",
        "",
        "`f` is the number of malicious agents that a rule assumes; no rule is told the true number. Here all rules assume 2. Harm "
        "of the worst attack on digits, uneven shards:",
        "",
    )
    specs = [spec for spec in rules_of(others) if spec is not None and assuming(spec, -1) != spec]
    yield from worst_by_number(specs, sorted(alike, key=lambda s: int(s["malicious"])))


def worst_by_number(specs: list[Any], settings: list[dict[str, Any]]) -> Iterator[str]:
    yield "| defence | " + " | ".join(f"{s['malicious']} of {s['agents']}" for s in settings) + " |"
    yield "| --- |" + " --- |" * len(settings)
    for spec in specs:
        cells, label = [], ""
        for setting in settings:
            row = next((row for _, row in rows_of([setting], spec)), None)
            cells.append("not usable" if row is None else worst(row["harm"]))
            label = label or (row["label"] if row else "")
        label = label if len({s["assumed"] for s in settings}) == 1 else re.sub(r"f=\d+", "f", label)
        yield f"| {name(label)} | " + " | ".join(cells) + " |"


def worst(harms: list[dict[str, Any]]) -> str:
    """The most harmful cell, with the attack's name if its harm is notable."""
    cell = max(harms, key=lambda cell: mean(cell["values"]))
    return spread(cell["values"]) + (f" {short(cell['attack'])}" if max(cell["values"]) >= NOTABLE / 2 else "")


def calls(made: dict[str, Any]) -> Iterator[str]:
    """The time of one call of each rule."""
    sizes = [(int(n), int(d)) for n, d, _ in next(row["points"] for row in made["seconds"] if row["points"])]
    yield from (
        "## Time of a call",
        "",
        f"Milliseconds, best of three, with {made['threads']} threads at a machine load of {made['load'].split(',')[0]}, for n x d normal "
        "numbers in single precision and f a fifth of n. FLTrust also trains a network of d parameters on 100 rows.",
        "",
        "| rule | " + " | ".join(f"{n} x {d:,}" for n, d in sizes) + " |",
        "| --- |" + " --- |" * len(sizes),
    )
    for row in made["seconds"]:
        if row["points"]:
            yield f"| {name(row['label'])} | " + " | ".join(f"{1000 * took:.3g}" for *_, took in row["points"]) + " |"


def making(made: dict[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {value}" for name, value in made["versions"].items())
    yield from (
        "## How it was made",
        "",
        "One command makes this whole page, and continues where it was interrupted:",
        "",
        "    python benchmarks/matrix/run.py matrix --jobs 2",
        "",
        f"Seeds {', '.join(map(str, made['seeds']))}; an MLP of 32 hidden units, 20 rounds of two epochs; {versions}. "
        "Trials include clean twins. Minutes are summed over processes, so two processes need about half of them.",
        "",
        "| data | shards | malicious | f | date | trials | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    )
    for s in made["settings"]:
        shards = "equal" if s["iid"] else "uneven"
        yield f"| {s['data']} | {shards} | {s['malicious']} | {s['assumed']} | {s['date']} | {s['trials']} | {s['minutes']} |"


# --- words and numbers ------------------------------------------------------------------------------------------------


def short(attack: str) -> str:
    return attack.split("(")[0]


def name(label: str) -> str:
    """The rule's name, with the links of a Chain joined by plus signs."""
    return "plain mean" if label == "none" else label.removeprefix("Chain(").replace("), ", ") + ").replace("))", ")")


def regret(row: dict[str, Any]) -> float:
    return max(mean(cell["values"]) for cell in row["harm"]) + max(mean(row["cost"]), 0.0)


def mean(values: Any) -> float:
    return math.fsum(values) / len(values)


def percent(value: float, digits: int = 0) -> str:
    text = f"{100 * value + 0.0:.{digits}f}"
    return "0" if float(text) == 0 else text


def spread(values: Any, digits: int = 0) -> str:
    """Percentages: the mean, and minimum to maximum in brackets if they differ."""
    shown = [percent(value, digits) for value in (mean(values), min(values), max(values))]
    return shown[0] if len(set(shown)) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


if __name__ == "__main__":
    write()
