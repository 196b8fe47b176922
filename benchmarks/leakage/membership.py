"""What models tell about other people's rows, with and without poison: writes RESULTS-membership.md.

    python benchmarks/leakage/membership.py                   three seeds, about an hour on one idle core
    python benchmarks/leakage/membership.py --seeds 1 mnist   the copies on MNIST alone, about five minutes
    python benchmarks/leakage/membership.py --tables-only     the page again from the records at hand

Killed and started again, it continues: what is finished lies in out/membership.jsonl beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antivenom.auditing.trial import Record, Trial, key_of, run_trial
from antivenom.leakage import DPSGD, TruthSerum, UntargetedTruthSerum
from antivenom.models.architectures import Logistic
from antivenom.models.training import Training
from antivenom.scenarios.membership import Membership

HERE = Path(__file__).parent
RECORDS, PAGE = HERE / "out" / "membership.jsonl", HERE / "RESULTS-membership.md"
COPIES = (1, 2, 4, 8)
SGD = Training(epochs=30, batch_size=128, optimizer="sgd", learning_rate=0.3, momentum=0.9)
MNIST = Membership(data="mnist", pooling=2, pool_rows=10_000, training=SGD)
ADULT = Membership(data="adult", pool_rows=10_000, training=replace(SGD, epochs=60))
SHARE = replace(MNIST, access="data-manipulation", attacker_rows=5_000, targets=1_000)
FEW = replace(SHARE, pool_rows=2_000, attacker_rows=1_000, training=replace(SGD, epochs=60))
UNANNEALED = replace(MNIST, annealed=False, training=Training(epochs=30, batch_size=128, learning_rate=0.005))
SEX = replace(ADULT, attribute=(55, 56))

# section: what it is, and its rows of (words, scenario, attack, defence)
SECTIONS: dict[str, tuple[str, list[tuple[str, Membership, Any, Any]]]] = {
    "mnist": (
        "MNIST, 14x14, MLP of 64, copies of each target",
        [("r = 0", MNIST, None, None), *((f"r = {r}", MNIST, TruthSerum(r), None) for r in COPIES)],
    ),
    "adult": (
        "Adult, MLP of 64",
        [("r = 0", ADULT, None, None), ("r = 8", ADULT, TruthSerum(8), None)],
    ),
    "logistic": (
        "Adult, logistic regression: no capacity to memorise",
        [
            ("r = 0", replace(ADULT, model=Logistic()), None, None),
            ("r = 8", replace(ADULT, model=Logistic()), TruthSerum(8), None),
        ],
    ),
    "dpsgd": (
        "MNIST with DP-SGD (C = 1, sigma = 1)",
        [
            ("r = 0", MNIST, None, DPSGD()),
            ("r = 8", MNIST, TruthSerum(8), DPSGD()),
        ],
    ),
    "untargeted": (
        "MNIST, half of every training set is the attacker's, 1,000 targets",
        [("right labels", SHARE, None, None), ("every label the next one", SHARE, UntargetedTruthSerum(), None)],
    ),
    "untargeted-few": (
        "The same with a fifth of the rows and 60 epochs, which the MLP can memorise",
        [("right labels", FEW, None, None), ("every label the next one", FEW, UntargetedTruthSerum(), None)],
    ),
    "attribute": (
        "Adult, MLP of 64: which sex a record has",
        [("r = 0", SEX, None, None), ("r = 8 of each value", SEX, TruthSerum(8), None)],
    ),
    "dpsgd-adult": (
        "Adult with DP-SGD (C = 1, sigma = 1)",
        [("r = 0", ADULT, None, DPSGD()), ("r = 8", ADULT, TruthSerum(8), DPSGD())],
    ),
    "unannealed": (
        "MNIST again, Adam at .005 without annealing",
        [("r = 0", UNANNEALED, None, None), ("r = 8", UNANNEALED, TruthSerum(8), None)],
    ),
}

EXTRA = {"attribute": "attribute_accuracy", "dpsgd": "epsilon", "dpsgd-adult": "epsilon"}  # a section's own column


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what models tell about other people's rows.")
    parser.add_argument("sections", nargs="*", help="all of them if none is named")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--row", default="", help='only rows whose words contain this, such as "r = 8"')
    parser.add_argument("--tables-only", action="store_true")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    RECORDS.parent.mkdir(exist_ok=True)
    known = records()
    for seed in range(0 if wanted.tables_only else wanted.seeds):
        for name in wanted.sections or SECTIONS:
            for words, scenario, attack, defence in SECTIONS[name][1]:
                spec = Trial(scenario, attack, defence, seed).spec
                if key_of(spec) not in known and wanted.row in words:
                    record = timed(spec)
                    known[record["key"]] = record
                    with RECORDS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(record) + "\n")
                    print(name, words, seed, record["error"] or record["metrics"]["tpr_at_1"], flush=True)
                    PAGE.write_text(page(known), encoding="utf-8")
    PAGE.write_text(page(known), encoding="utf-8")


def records() -> dict[str, Record]:
    """Finished trials by key."""
    lines = RECORDS.read_text(encoding="utf-8").splitlines() if RECORDS.exists() else []
    found = {record["key"]: record for record in map(json.loads, lines)}
    return {key: record for key, record in found.items() if record["status"] == "ok"}


def timed(spec: dict[str, Any]) -> Record:
    start = time.process_time()
    record = run_trial(spec)
    return record | {"cpu_seconds": round(time.process_time() - start, 1)}


def page(known: dict[str, Record]) -> str:
    """The whole page."""
    parts = [(HERE / "membership.head.md").read_text(encoding="utf-8").rstrip()]
    for name, (title, rows) in SECTIONS.items():
        found = [(words, *measured(known, *row)) for words, *row in rows]
        if any(trials for _, trials, _ in found):
            parts.append("\n".join([f"## {title}", "", *table(name, found)]))
    return "\n\n".join([*parts, versions(known)]) + "\n"


def measured(
    known: dict[str, Record], scenario: Membership, attack: Any, defence: Any
) -> tuple[list[Record], list[Record]]:
    """The records of a row, and those of the row without attack and defence, seed by seed."""
    found, twins = [], []
    for seed in range(100):
        keys = [Trial(scenario, *pair, seed).key for pair in ((attack, defence), (None, None))]
        if keys[0] in known:
            found.append(known[keys[0]])
            twins.append(known.get(keys[1], {"metrics": {}}))
    return found, twins


def table(name: str, rows: list[tuple[str, list[Record], list[Record]]]) -> Iterator[str]:
    extra = EXTRA.get(name)
    head = ["", "seeds", "TPR at 1 % FPR", "95 % over targets, seed 0", "TPR at 0.1 % FPR", "AUC"]
    head += ["train acc.", "test acc. %", "cost, points", "CPU s"] + ([extra] if extra else [])
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for words, found, twins in rows:
        if not found:
            continue
        first = found[0]["metrics"]
        cost = [number(b, "clean_accuracy") - number(a, "clean_accuracy") for a, b in zip(found, twins, strict=True)]
        cells = [words, str(len(found)), spread(found, "tpr_at_1")]
        cells += [f"{first['tpr_at_1_low']:.3f} to {first['tpr_at_1_high']:.3f}"]
        cells += [spread(found, name) for name in ("tpr_at_01", "auc", "train_accuracy")]
        cells += [spread(found, "clean_accuracy", 100, 1), of([100 * c for c in cost], 1)]
        cells += [of([record["cpu_seconds"] for record in found], 0)]
        if extra:
            cells += [spread(found, extra, 1, 2)]
        yield "| " + " | ".join(cells) + " |"


def number(record: Record, name: str) -> float:
    value = record["metrics"].get(name)
    return math.nan if value is None else float(value)


def spread(found: list[Record], name: str, times: float = 1, digits: int = 3) -> str:
    return of([times * number(record, name) for record in found], digits)


def of(values: list[float], digits: int) -> str:
    """The mean, and the least and greatest of several seeds."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def versions(known: dict[str, Record]) -> str:
    said = sorted({", ".join(f"{k} {v}" for k, v in record["versions"].items()) for record in known.values()})
    return "Versions: " + "; ".join(said) + "."


if __name__ == "__main__":
    main()
