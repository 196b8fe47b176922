"""Records made by hand that a whole page can be made from: every state, long and hostile names, and what stands beside trials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from test_beside import LINES

from antivenom.auditing.results import Summary
from antivenom.auditing.summary import summarise
from antivenom.scenarios import central, federated, transfer

Values = dict[tuple[str, str], list[float | str | None]]
LEVELS = [
    {"name": "data-manipulation", "about": "changes rows or labels", "access": ["data-manipulation"], "add": "kind: a"},
    {"name": "data-injection", "about": "adds rows", "access": ["data-injection"], "add": "kind: b"},
    {"name": "transfer-learning", "about": "hands out the model", "access": ["transfer-learning"], "add": "kind: c"},
]
VERSIONS = {"machine": "Linux, 2 cores", "antivenom": "0"}
SCENARIOS = (central, federated, transfer)  # imported so that the registry holds their goals' words


def cells_of(
    values: Values, level: str = "data-injection", group: str = "g", deployed: str = "none", **more: Any
) -> Any:
    """(cells of a plan, records by key) of made-up trials: the attack success rate per seed, a status, or None if missing."""
    cells, records = [], {}
    for (attack, defence), per_seed in values.items():
        keys = [f"{group}-{attack}-{defence}-{seed}" for seed in range(len(per_seed))]
        scenario = {"kind": "central", "data": "digits", "model": {"name": "MLP"}} | more.get("scenario", {})
        cells.append(
            {
                "group": group,
                "level": level,
                "goal": more.get("goal", "backdoor"),
                "scenario": scenario,
                "attack": attack,
                "defence": defence,
                "deployed": defence == deployed,
                "knowledge": "the training rows; not the model",
                "budget": more.get("budget", ""),
                "keys": keys,
            }
        )
        for seed, (key, value) in enumerate(zip(keys, per_seed, strict=True)):
            if value is not None:
                spec = {"scenario": scenario, "attack": named(attack), "defence": named(defence), "seed": seed}
                records[key] = trial(key, spec, value, more.get("rows", {}).get(attack, 0.0))
    return cells, records


def named(label: str) -> dict[str, str] | None:
    return None if label == "none" else {"name": label.split("(")[0]}


def trial(key: str, spec: dict[str, Any], value: float | str, share: float) -> dict[str, Any]:
    ok = not isinstance(value, str)
    metrics = {"clean_accuracy": 0.9, "chance_accuracy": 0.1, "test_rows": 1000.0, "triggered_rows": 1000.0}
    metrics |= {"asr": value if ok else None, "poisoned_rate": share, "poisoned_rows": 1000 * share}
    return {
        "key": key,
        "spec": spec,
        "status": "ok" if ok else value,
        "error": None if ok else f"{value} happened",
        "metrics": metrics if ok else {},
        "curves": {},
        "notes": [],
        "pictures": {},
        "samples": [],
        "versions": VERSIONS,
        "seconds": 1.0,
        "started": "2026-11-30T12:00:00+00:00",
        "device": "cpu",
    }


def summary_of(*parts: Any, name: str = "an audit", **beside: Any) -> Summary:
    """The summary of some parts, each from `cells_of`."""
    cells = [cell for part in parts for cell in part[0]]
    records = {key: record for part in parts for key, record in part[1].items()}
    plan = {
        "schema": 1,
        "name": name,
        "source": "hand.yaml",
        "command": "antivenom audit hand.yaml",
        "claim": {},
        "seeds": list(range(max((len(cell["keys"]) for cell in cells), default=1))),
        "limits": {"availability": 0.1, "targeted": 0.2, "backdoor": 0.2},
        "fail_if": {},
        "levels": LEVELS,
        "curves": {"central": {"charts": [], "table": []}},
        "cells": cells,
    }
    return replace(summarise(plan, records), **beside)


def many(value: float, n: int = 40) -> list[float | str | None]:
    return [value] * n


def every_state() -> Summary:
    """All six states, a defence that holds, a curve over the share of rows, and the lines beside trials."""
    rows = {f"BadNets(poisoned_rate={share})": share for share in (0.01, 0.05, 0.1)}
    twins: Values = {("none", d): many(0.0) for d in ("none", "FinePruning", "KNNSanitizer")}
    harms = dict(zip(rows, (0.02, 0.4, 0.9), strict=True))
    values = twins | {(attack, "none"): many(harm) for attack, harm in harms.items()}
    values |= {(attack, "FinePruning"): many(0.0) for attack in rows} | {
        (attack, "KNNSanitizer"): many(0.3) for attack in rows
    }
    states: Values = {
        ("none", "none"): [0.0] * 4,
        ("Open", "none"): [0.3, 0.1, 0.5, 0.2],
        ("Failed", "none"): ["error"] * 4,
    }
    states |= {("Absent", "none"): [None] * 4, ("Refused", "none"): ["not-applicable"] * 4}
    search = LINES["search"] | {
        "worst": LINES["search"]["worst"] | {"confirmed": 0.85},
        "smallest": {"rows": 18, "share": 0.02, "harm": 0.5},
        "curve": [
            {"share": s, "rows": int(900 * s), "harm": h, "low": h - 0.2, "high": h + 0.2, "seeds": 6}
            for s, h in ((0.001, 0.01), (0.005, 0.1), (0.02, 0.5), (0.05, 0.9))
        ],
    }
    return summary_of(
        cells_of(values, rows=rows, group="patched"),
        cells_of(states, level="data-manipulation", group="states"),
        given=LINES["given"],
        searches=(search,),
        suspects=LINES["suspects"] | {"flagged": 12, "warning": ""},
    )
