"""Runs all grids of docs/guide/matrix.md, measures the time of the rules, and writes the page.

    python benchmarks/matrix/run.py OUT --jobs 2

An interrupted run continues where it stopped. Each grid is an audit in its own folder of OUT, beside its scenario file.
`--list` shows the names of the grids. `--only NAME ...` runs some of them and does not write the page, which contains complete
grids only.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from antivenom.auditing.recommend import assuming

HERE = Path(__file__).parent
FIRST = HERE / "grid.yaml"
PARTITIONS = {"uneven": {"name": "Dirichlet", "beta": 0.5}, "equal": {"name": "IID"}}


@dataclass(frozen=True)
class Grid:
    """One federation: data set, kind of shards, number of malicious agents, and the f that rules assume."""

    data: str
    shards: str
    malicious: int
    assumed: int

    @property
    def name(self) -> str:
        return f"{self.data}-{self.shards}-{self.malicious}-f{self.assumed}"


# The two 12 x 12 x 3 grids in full come first, then further grids for `recommend`, then grids with a wrong f.
GRIDS = (
    Grid("digits", "uneven", 2, 2),
    Grid("digits", "equal", 2, 2),
    Grid("digits", "uneven", 0, 0),
    Grid("digits", "equal", 0, 0),
    Grid("digits", "uneven", 4, 4),
    Grid("spambase", "uneven", 2, 2),
    Grid("digits", "uneven", 1, 1),
    Grid("digits", "uneven", 3, 3),
    Grid("digits", "equal", 4, 4),
    Grid("spambase", "equal", 2, 2),
    Grid("spambase", "uneven", 0, 0),
    Grid("spambase", "equal", 0, 0),
    Grid("spambase", "uneven", 4, 4),
    Grid("digits", "uneven", 4, 2),
    Grid("digits", "uneven", 3, 2),
    Grid("digits", "uneven", 1, 2),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--only", nargs="+", choices=[grid.name for grid in GRIDS])
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list:
        print("\n".join(grid.name for grid in GRIDS))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for grid in GRIDS:
        if given.only is None or grid.name in given.only:
            file = given.out / f"{grid.name}.yaml"
            file.write_text(yaml.safe_dump(plan(grid), sort_keys=False), encoding="utf-8")
            ran("-m", "antivenom", "audit", file, "--out", given.out / grid.name, "--jobs", given.jobs)
    if given.only is None:
        if not (given.out / "costs.json").exists():
            ran(HERE / "cost.py", given.out / "costs.json")
        ran(HERE / "table.py", given.out)


def ran(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


def plan(grid: Grid) -> dict[str, Any]:
    """The scenario file of this grid, derived from that of the first grid."""
    document: dict[str, Any] = assuming(yaml.safe_load(FIRST.read_text(encoding="utf-8")), grid.assumed)
    return document | {"name": grid.name, "scenarios": list(scenarios(document["scenarios"], grid))}


def scenarios(groups: list[dict[str, Any]], grid: Grid) -> Iterator[dict[str, Any]]:
    if grid.malicious == 0:  # without malicious agents, only the cost of the defences is measured
        groups = [groups[0] | {"attacks": []}]
    for group in map(copy.deepcopy, groups):
        group["federation"] |= {"num_malicious": grid.malicious, "partition": PARTITIONS[grid.shards]}
        if grid.data == "spambase":
            group |= {"data": "spambase", "train_rows": 1500}
            if group["goal"] == "targeted":
                group["wanted"] = {"name": "FromTo", "source": 1, "target": 0}  # spam that passes
        defences = [rule for rule in group.get("defences", []) if usable(rule, grid)]
        if defences or "defences" not in group:
            yield group | ({"defences": defences} if defences else {})


def usable(rule: dict[str, Any], grid: Grid) -> bool:
    """Whether the rule belongs in the grid: Bulyan needs 4f + 3 agents, and a wrong f is for rules that have one."""
    if rule["name"] == "Bulyan" and 4 * rule["f"] + 3 > 11:
        return False
    return grid.assumed in (grid.malicious, 0) or assuming(rule, -1) != rule


if __name__ == "__main__":
    main()
