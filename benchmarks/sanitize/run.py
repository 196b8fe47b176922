"""Wrong labels in four data sets: the suspects of antivenom beside those of cleanlab, on equal features and models.

    python benchmarks/sanitize/run.py results.jsonl [--seeds 3] [--only penguins,adult]
    python benchmarks/sanitize/run.py results.jsonl --table

cleanlab is AGPL and no dependency of antivenom: install it into an environment of its own with the optional packages of data,
`pip install cleanlab==2.9.0 palmerpenguins vega_datasets`. Each line of the results is one filter on one noisy data set. A
run continues where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from antivenom.core.streams import Streams
from antivenom.core.verdict import Verdict, quality
from antivenom.data import Dataset, load
from antivenom.data.text import IMDB_TRAIN, REVIEWS, texts
from antivenom.defences import ConfidentLearning, KNNSanitizer, LabelNoiseModel
from antivenom.defences.sanitize import context_of, numbers_for

NOISES = ("uniform", "clean", "one-sided", "furthest")
SHARE, ADULT, IMDB = 0.1, 5000, 4000


def penguins() -> tuple[pd.DataFrame, np.ndarray]:
    from palmerpenguins import load_penguins

    rows = load_penguins()
    return rows.drop(columns=["species"]), rows["species"].to_numpy(dtype=str)


def cars() -> tuple[pd.DataFrame, np.ndarray]:
    from vega_datasets import data

    rows = data.cars()
    rows = rows.assign(Year=pd.to_datetime(rows["Year"]).dt.year.astype(float))
    return rows.drop(columns=["Origin", "Name"]), rows["Origin"].to_numpy(dtype=str)


def adult() -> tuple[pd.DataFrame, np.ndarray]:
    train = load("adult").train
    chosen = np.random.default_rng(0).choice(len(train), ADULT, replace=False)
    columns = [f"c{i}" for i in range(train.shape[0])]
    return pd.DataFrame(np.asarray(train.x)[chosen], columns=columns), np.array(train.classes)[train.y[chosen]]


def imdb() -> tuple[pd.DataFrame, np.ndarray]:
    rows = texts(IMDB_TRAIN, REVIEWS, "train/")
    chosen = np.random.default_rng(0).choice(len(rows), IMDB, replace=False)
    return pd.DataFrame({"text": [rows[i][2] for i in chosen]}), np.array([REVIEWS[rows[i][1]] for i in chosen])


SETS = {"penguins": penguins, "cars": cars, "imdb": imdb, "adult": adult}


def flipped(y: np.ndarray, noise: str, seed: int, clean: np.ndarray) -> np.ndarray:
    """The labels with 10 % of them wrong.

    Args:
        y: (n,) class numbers.
        noise: "uniform": random rows get a random other class. "one-sided": rows of the second largest class, at most half of
            them, get the largest class. "furthest": the rows of which a model is most certain get its least probable class,
            as the attack LabelFlipping(choice="furthest") does. "clean": no wrong label.
        seed: of the random rows.
        clean: (n, c) out-of-sample probabilities of a model that was trained on the correct labels.
    """
    rng, c, z = np.random.default_rng(seed), clean.shape[1], y.copy()
    m = round(SHARE * len(y))
    if noise == "uniform":
        rows = rng.choice(len(y), m, replace=False)
        z[rows] = (y[rows] + rng.integers(1, c, m)) % c
    elif noise == "one-sided":
        largest, second = np.argsort(-np.bincount(y), kind="stable")[:2]
        pool = np.flatnonzero(y == second)
        z[rng.choice(pool, min(m, len(pool) // 2), replace=False)] = largest
    elif noise == "furthest":
        certain = np.argsort(-clean[np.arange(len(y)), y] + 1e-9 * rng.random(len(y)), kind="stable")[:m]
        z[certain] = clean[certain].argmin(axis=1)
    return z


def crossed(data: Dataset, seed: int) -> np.ndarray:
    """(n, c) probabilities by scikit-learn's stratified cross-validation, as cleanlab's documentation does it."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    _, model, _ = numbers_for(data)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, data.flat, data.y, cv=folds, method="predict_proba"))


def filters(data: Dataset, seed: int) -> Iterator[tuple[str, Verdict, float]]:
    """(name, verdict, seconds) of each filter; `data` holds numbers."""
    _, model, _ = numbers_for(data)
    context = context_of(model, Streams(seed).child("defence"))
    for name, filter_ in (
        ("LabelNoiseModel", LabelNoiseModel()),
        ("ConfidentLearning", ConfidentLearning()),
        ("KNNSanitizer", KNNSanitizer()),
    ):
        begun = time.monotonic()
        verdict = filter_(data, context)
        yield name, verdict, time.monotonic() - begun
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        print("cleanlab is absent: pip install cleanlab==2.9.0 in an environment of its own to compare with it")
        return
    begun = time.monotonic()
    p = crossed(data, seed)
    flags = np.asarray(find_label_issues(data.y, p), dtype=bool)
    scores = -get_label_quality_scores(data.y, p, method="normalized_margin")
    yield "cleanlab", Verdict(scores, flags), time.monotonic() - begun


def encoded(rows: pd.DataFrame, y: np.ndarray) -> Dataset:
    """The rows as numbers, by the features of antivenom's default."""
    return numbers_for(Dataset.from_arrays(rows.reset_index(drop=True), y))[0]


def measure(out: Path, seeds: int, names: list[str]) -> None:
    done = {tuple(line[k] for k in ("data", "noise", "seed")) for line in lines(out)}
    ready: dict[str, tuple[Dataset, np.ndarray]] = {}
    for noise in NOISES:
        for name in names:
            for seed in range(1 if noise == "clean" else seeds):
                if (name, noise, seed) in done:
                    continue
                if name not in ready:
                    try:
                        data = encoded(*SETS[name]())
                    except ImportError as error:
                        print(f"{name} is left out: pip install {error.name}")
                        break
                    ready[name] = data, crossed(data, 1000)
                data, clean = ready[name]
                z = flipped(data.y, noise, seed, clean)
                noisy, bad = Dataset(data.x, z, data.classes, name), z != data.y
                with out.open("a") as file:
                    for method, verdict, seconds in filters(noisy, seed):
                        found = quality(verdict, bad)
                        hits = float(bad[verdict.flags].mean()) if verdict.flags.any() else None
                        line = {"data": name, "noise": noise, "seed": seed, "method": method, "rows": len(z)}
                        line |= {
                            "auroc": found.auroc,
                            "precision": hits,
                            "recall": found.tpr,
                            "false_alarms": found.fpr,
                        }
                        line |= {"flagged": float(verdict.flags.mean()), "seconds": seconds}
                        file.write(json.dumps(line) + "\n")
                print(name, noise, seed, flush=True)


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def table(out: Path) -> str:
    """The means over the seeds as Markdown."""
    groups = defaultdict(list)
    for line in lines(out):
        groups[line["data"], line["noise"], line["method"]].append(line)
    shown = [
        "| data | noise | filter | seeds | AUROC | precision | recall | false alarms | flagged | s |",
        "|" + " --- |" * 10,
    ]
    for (data, noise, method), found in sorted(groups.items(), key=lambda item: item[0]):
        cells = []
        for key in ("auroc", "precision", "recall", "false_alarms", "flagged", "seconds"):
            values = [float(line[key]) for line in found if line[key] is not None and not np.isnan(line[key])]  # type: ignore
            mean = float(np.mean(values)) if values else float("nan")
            share = (
                f"{mean:.1%}"
                if key in ("false_alarms", "flagged")
                else f"{mean:.1f}"
                if key == "seconds"
                else f"{mean:.3f}"
            )
            cells.append("" if np.isnan(mean) else share)
        shown.append(f"| {data} | {noise} | {method} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--table", action="store_true", help="print the table of the results and stop")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    if not given.table:
        measure(given.out, given.seeds, given.only.split(","))
    print(table(given.out))


if __name__ == "__main__":
    main()
