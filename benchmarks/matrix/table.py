"""From the records of the grids to what `antivenom recommend` reads, and on to docs/guide/matrix.md.

    python benchmarks/matrix/table.py OUT

OUT is the folder of run.py, which calls this at its end. A grid that has not begun is left out; one that is not whole is an
error.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import page
from run import GRIDS, Grid

from antivenom.auditing.records import FILENAME, Store
from antivenom.auditing.results import CellResult, Summary
from antivenom.auditing.summary import summarise
from antivenom.core.streams import Streams
from antivenom.data import load
from antivenom.models.architectures import MLP
from antivenom.models.network import build as network_of

DATA = Path(__file__).parents[2] / "src/antivenom/auditing/matrix.json"
TUNED = "LineSearch(IPM(tau=1.0), the rule)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    begun = [grid for grid in GRIDS if (out / grid.name / FILENAME).exists()]
    audits = {grid: opened(out / grid.name) for grid in begun}
    first = next(iter(Store(out / begun[0].name).trials().values()))
    made = {
        "seeds": audits[begun[0]].plan["seeds"],
        "versions": first["versions"],
        "settings": [setting(grid, audit) | spent(out / grid.name) for grid, audit in audits.items()],
    } | json.loads((out / "costs.json").read_text(encoding="utf-8"))
    DATA.write_text(written(made), encoding="utf-8")
    page.write()


def opened(folder: Path) -> Summary:
    """The audit, whole: nothing failed and nothing is missing."""
    store = Store(folder)
    summary = summarise(store.plan(), store.trials())
    if summary.trials["ok"] != summary.trials["planned"]:
        raise SystemExit(f"{folder}: {summary.trials}: run the audit again")
    return summary


def spent(folder: Path) -> dict[str, Any]:
    """When it began, the number of trials, and the minutes they took, added up: an audit may have been stopped in between."""
    trials = Store(folder).trials().values()
    minutes = math.fsum(trial["seconds"] for trial in trials) / 60
    return {"date": min(t["started"] for t in trials)[:10], "trials": len(trials), "minutes": round(minutes, 1)}


def setting(grid: Grid, audit: Summary) -> dict[str, Any]:
    """One grid: who is malicious, and what every attack does to every defence."""
    federation = audit.cells[0].scenario["federation"]
    cells = [cell for cell in audit.attacks if counts(cell)]
    twins = {c.defence: c for c in audit.cells if c.is_clean_twin and c.goal == "availability"}
    bare = twins["none"].clean_accuracy
    assert bare is not None
    return asdict(grid) | {
        "agents": federation["num_agents"],
        "partition": described(federation["partition"]),
        "iid": federation["partition"]["name"] == "IID",
        "parameters": parameters(audit.cells[0].scenario),
        "clean_accuracy": rounded(bare.values),
        "defences": [
            {
                "defence": twin.records[0]["spec"]["defence"],
                "label": name,
                "cost": [0.0] * twin.planned if twin.cost is None else rounded(twin.cost.values),
                "harm": [harm(cell) for cell in cells if cell.defence == name],
            }
            for name, twin in twins.items()
        ],
    }


def described(partition: dict[str, Any]) -> str:
    return " ".join([partition["name"], *(f"{k}={v}" for k, v in partition.items() if k != "name")])


def parameters(scenario: Any) -> int:
    """d of the network."""
    rows = load(scenario["data"], Streams(0)).train
    hidden = tuple(scenario["model"]["hidden"])
    return network_of(MLP(hidden=hidden), rows.shape, rows.num_classes, Streams(0)).dimension


def counts(cell: CellResult) -> bool:
    """Whether it belongs in the matrix: an attack that is tuned counts against the rule that it is tuned against."""
    spec = cell.records[0]["spec"]
    tuned_for = spec["attack"].get("rule")
    return tuned_for is None or tuned_for == (spec["defence"] or {"name": "Mean"})


def harm(cell: CellResult) -> dict[str, Any]:
    """By seed; 0 where the rule alone left no accuracy above chance that could be lost, which is among its costs."""
    name = TUNED if cell.attack.startswith("LineSearch") else cell.attack
    values = [] if cell.harm is None else rounded(cell.harm.values)
    return {"attack": name, "goal": cell.goal, "values": values + [0.0] * (cell.planned - len(values))}


def rounded(values: tuple[float, ...]) -> list[float]:
    return [round(value, 4) for value in values]


def written(made: dict[str, Any]) -> str:
    """As JSON, lists of numbers on one line."""
    text = json.dumps(made, indent=1)
    return re.sub(r"\[[\s\d.,e-]+\]", lambda found: " ".join(found[0].split()), text) + "\n"


if __name__ == "__main__":
    main()
