"""From the records of the matrix to docs/guide/matrix.md and to what `antivenom recommend` reads.

    python benchmarks/matrix/table.py matrix-uneven matrix-equal --assumed matrix-assumed --costs costs.json

Rerun everything, a few minutes for each grid on two cores:

    antivenom audit benchmarks/matrix/uneven.yaml --out matrix-uneven --jobs 2
    antivenom audit benchmarks/matrix/equal.yaml --out matrix-equal --jobs 2
    antivenom audit benchmarks/matrix/assumed.yaml --out matrix-assumed --jobs 2
    python benchmarks/matrix/cost.py costs.json
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

from antivenom.audit.store import Store
from antivenom.audit.summary import CellResult, Summary, summarise

ROOT = Path(__file__).parents[2]
DATA = ROOT / "src/antivenom/audit/matrix.json"
PAGE = ROOT / "docs/guide/matrix.md"
TUNED = "LineSearch(IPM(tau=1.0), the rule)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="of the audits of uneven.yaml and equal.yaml")
    parser.add_argument("--assumed", required=True, help="folder of the audit of assumed.yaml")
    parser.add_argument("--costs", required=True, type=Path, help="what cost.py wrote")
    given = parser.parse_args()
    audits = [opened(folder) for folder in given.folders]
    costs = json.loads(given.costs.read_text(encoding="utf-8"))
    first = next(iter(Store(given.folders[0]).trials().values()))
    made = {
        "data": audits[0].cells[0].scenario["data"],
        "date": first["started"][:10],
        "seeds": audits[0].plan["seeds"],
        "versions": first["versions"],
        "minutes": [minutes(folder) for folder in given.folders],
        "commands": [command(audit) for audit in audits],
        "settings": [setting(audit) for audit in audits],
        "threads": costs["threads"],
        "seconds": costs["seconds"],
    }
    DATA.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text("\n".join(page(made, audits, opened(given.assumed))) + "\n", encoding="utf-8")


def opened(folder: str) -> Summary:
    """The audit, whole: nothing failed and nothing is missing."""
    store = Store(folder)
    summary = summarise(store.plan(), store.trials())
    if summary.trials["ok"] != summary.trials["planned"]:
        raise SystemExit(f"{folder}: {summary.trials}: run the audit again")
    return summary


def minutes(folder: str) -> float:
    """From the start of the first trial to the end of the last."""
    trials = [(datetime.fromisoformat(t["started"]).timestamp(), t["seconds"]) for t in Store(folder).trials().values()]
    return round((max(begun + took for begun, took in trials) - min(begun for begun, _ in trials)) / 60, 1)


def command(audit: Summary) -> str:
    """What was typed, the folder without its way."""
    words = shlex.split(audit.plan["command"])
    return shlex.join(Path(w).name if before == "--out" else w for before, w in zip(["", *words], words, strict=False))


def setting(audit: Summary) -> dict[str, Any]:
    """One federation: who is malicious, and what every attack does to every defence."""
    federation = audit.cells[0].scenario["federation"]
    cells = [cell for cell in audit.attacks if counts(cell)]
    clean = next(cell for cell in audit.cells if cell.is_clean_twin and cell.defence == "none")
    assert clean.clean_accuracy is not None
    specs = {cell.defence: cell.records[0]["spec"]["defence"] for cell in cells}
    return {
        "agents": federation["num_agents"],
        "malicious": federation["num_malicious"],
        "assumed": next(spec["f"] for spec in specs.values() if spec and "f" in spec),
        "partition": federation["partition"]["name"]
        + "".join(f" {k}={v}" for k, v in federation["partition"].items() if k != "name"),
        "clean_accuracy": rounded(clean.clean_accuracy.values),
        "iid": federation["partition"]["name"] == "IID",
        "defences": [
            {
                "defence": spec,
                "label": name,
                "cost": cost(cells, name),
                "harm": [harm(c) for c in cells if c.defence == name],
            }
            for name, spec in specs.items()
        ],
    }


def counts(cell: CellResult) -> bool:
    """Whether it belongs in the matrix: an attack that is tuned counts against the rule that it is tuned against."""
    spec = cell.records[0]["spec"]
    tuned_for = spec["attack"].get("rule")
    return tuned_for is None or tuned_for == (spec["defence"] or {"name": "Mean"})


def cost(cells: list[CellResult], defence: str) -> list[float]:
    """Accuracy lost without attack, by seed, in the availability scenario."""
    cell = next(c for c in cells if c.defence == defence and c.goal == "availability")
    return [0.0] * cell.planned if cell.cost is None else rounded(cell.cost.values)


def harm(cell: CellResult) -> dict[str, Any]:
    assert cell.harm is not None
    name = TUNED if cell.attack.startswith("LineSearch") else cell.attack
    return {"attack": name, "goal": cell.goal, "values": rounded(cell.harm.values)}


def rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 4) for value in values]


# --- the page ---------------------------------------------------------------------------------------------------------


def page(made: dict[str, Any], audits: list[Summary], assumed: Summary) -> list[str]:
    took = "; ".join(
        f"{audit.trials['planned']} trials of `{audit.plan['source']}` took {spent} minutes with two processes"
        for audit, spent in zip(audits, made["minutes"], strict=True)
    )
    took = f"Clean twins included, {took}."
    versions = ", ".join(f"{name} {value}" for name, value in made["versions"].items())
    lines = [
        "# Attacks against defences, measured",
        "",
        "Written by `benchmarks/matrix/table.py` from the records of audits; nothing here was typed in. "
        f"{len(made['seeds'])} seeds ({', '.join(map(str, made['seeds']))}), {made['date']}, {versions}.",
        "",
        "    " + "\n    ".join([*made["commands"], command(assumed)]),
        "",
        f"{took} "
        "A cell is the harm in percent, mean over the seeds with the least and the most, each seed against the run without "
        "attack that has the same seed and the same defence: share of the accuracy above chance that is lost "
        "(availability), rise of the share of triggered inputs that are obeyed (backdoor), rise of the confidence in the "
        "wanted class (targeted; one input per seed, so it jumps). *Cost* is the accuracy lost without attack, in points. "
        f"*{TUNED}* searches its scale in every round against the very rule of its line. The attackers see the benign updates of the "
        "round. An MLP of 32 hidden units, 20 rounds. Three seeds order what is far apart and nothing else.",
    ]
    for part in made["settings"]:
        lines += ["", *matrix(part)]
    lines += ["", *crossed(assumed), "", *slow(made)]
    return lines


def matrix(part: dict[str, Any]) -> list[str]:
    kind = "Equal" if part["iid"] else "Uneven"
    attacks = [cell["attack"] for cell in part["defences"][0]["harm"]]
    goals = {cell["attack"]: cell["goal"] for cell in part["defences"][0]["harm"]}
    by_goal = "; ".join(
        f"{goal}: {', '.join(f'`{name}`' for name in attacks if goals[name] == goal)}"
        for goal in dict.fromkeys(goals.values())
    )
    lines = [
        f"## {kind} shards",
        "",
        f"{part['malicious']} of {part['agents']} agents are malicious, and rules with an f assume {part['assumed']}; shards "
        f"by `{part['partition']}`. Without attack and defence {spread(part['clean_accuracy'], 1)} % of the test rows are right. Best "
        f"first, by the worst attack plus the cost. Attacks for {by_goal}.",
        "",
        "| defence | cost | worst | " + " | ".join(name.split("(")[0] for name in attacks) + " |",
        "| --- | --- | --- |" + " --- |" * len(attacks),
    ]
    for row in sorted(part["defences"], key=regret):
        by_attack = {cell["attack"]: cell["values"] for cell in row["harm"]}
        worst = max(by_attack.values(), key=mean)
        cells = [f"{spread(row['cost'], 1)}", f"**{spread(worst)}**", *(spread(by_attack[name]) for name in attacks)]
        lines.append(f"| `{row['label']}` | " + " | ".join(cells) + " |")
    return lines


def crossed(audit: Summary) -> list[str]:
    """Rules by the f they assume, against the number of agents that are malicious."""
    numbers = sorted({cell.scenario["federation"]["num_malicious"] for cell in audit.cells})
    rows: dict[tuple[str, str], dict[int, CellResult]] = {}
    for cell in audit.attacks:
        rows.setdefault((cell.attack, cell.defence), {})[cell.scenario["federation"]["num_malicious"]] = cell
    lines = [
        "## What f assumes, and the truth",
        "",
        "`f` is what a defence assumes; it is never told how many agents are malicious. Uneven shards, 11 agents, two of the attacks; a rule "
        "that shows no f assumes 1. "
        "Cost is that of the column with one malicious agent, without attack.",
        "",
        "| attack | defence | cost | " + " | ".join(f"{n} malicious" for n in numbers) + " |",
        "| --- | --- | --- |" + " --- |" * len(numbers),
    ]
    for (attack, defence), by_number in rows.items():
        own = by_number[numbers[0]].cost
        values = [spread(by_number[n].harm.values) for n in numbers]  # type: ignore[union-attr]
        lines.append(
            f"| {attack} | `{defence}` | {spread(own.values, 1) if own else '0'} | " + " | ".join(values) + " |"
        )
    return lines


def slow(made: dict[str, Any]) -> list[str]:
    """Seconds of one call."""
    sizes = [(int(n), int(d)) for n, d, _ in next(iter(made["seconds"].values()))]
    lines = [
        "## What a call costs",
        "",
        f"Milliseconds, best of three, {made['threads']} threads, on n x d normal numbers in single precision, f a fifth of n; FLTrust also trains a model and is not timed.",
        "",
        "| rule | " + " | ".join(f"{n} x {d:,}" for n, d in sizes) + " |",
        "| --- |" + " --- |" * len(sizes),
    ]
    for rule, points in made["seconds"].items():
        if points:
            lines.append(f"| `{rule}` | " + " | ".join(f"{1000 * seconds:.3g}" for *_, seconds in points) + " |")
    return lines


def regret(row: dict[str, Any]) -> float:
    return max(mean(cell["values"]) for cell in row["harm"]) + max(mean(row["cost"]), 0.0)


def mean(values: Any) -> float:
    return math.fsum(values) / len(values)


def spread(values: Any, digits: int = 0) -> str:
    """Percent: the mean, and from the least to the most."""
    shown = [f"{100 * value + 0.0:.{digits}f}" for value in (mean(values), min(values), max(values))]
    shown = ["0" if float(text) == 0 else text for text in shown]
    return shown[0] if len(set(shown)) == 1 else f"{shown[0]} ({shown[1]} to {shown[2]})"


if __name__ == "__main__":
    main()
