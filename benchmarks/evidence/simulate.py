"""Error rates, coverage and power of the verdicts, by simulation with the code that judges audits.

    python benchmarks/evidence/simulate.py [--reports 2000]

A report has CELLS cells, mostly with the same distribution of harm. A seed's harm is drawn from it and then measured on a number of
test rows. Either the cells are independent, or each seed's draw is shared by half of the cells, as by cells that share data
and clean twins. A report is looked at after every seed up to MOST, and a verdict that was ever given counts. Writes
docs/design/evidence-rates.md.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

from antivenom.auditing.evidence import ERROR, HELD_SHARE, above, below, bounds
from antivenom.auditing.statistics import Interval

CELLS, MOST = 30, 64
LIMITS, ROWS = (0.1, 0.2, 0.5), (100, 500, 10_000)
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
OUT = Path(__file__).parents[2] / "docs" / "design" / "evidence-rates.md"


def beta(mean: float, sd: float) -> Draw:
    total = mean * (1 - mean) / sd**2 - 1
    return lambda rng, shape: rng.beta(mean * total, (1 - mean) * total, shape)


def sometimes(share: float) -> Draw:
    """An attack that works in a share of the runs."""
    return lambda rng, shape: np.where(rng.random(shape) < share, 0.95, 0.02)


def constant(value: float) -> Draw:
    return lambda rng, shape: np.full(shape, value)


SPREADS = {
    "mean .01, sd .02": beta(0.01, 0.02),
    "mean .05, sd .05": beta(0.05, 0.05),
    "mean .20, sd .30": beta(0.2, 0.3),
}
SPREADS |= {"mean .50, sd .20": beta(0.5, 0.2), "mean .98, sd .03": beta(0.98, 0.03)}
SOMETIMES = {f"works in {w:.0%} of the runs": sometimes(w) for w in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5)}
NEAR = {f"always {value}": constant(value) for value in (0.09, 0.1, 0.19, 0.2, 0.49, 0.5)}


def harms(
    draw: Draw, rng: np.random.Generator, reports: int, rows: int, shared: bool, cells: int = CELLS
) -> np.ndarray:
    """(reports, cells, MOST) measured harms."""
    own = draw(rng, (reports, cells, MOST))
    if shared:
        own[:, : cells // 2] = own[:, :1]
    return rng.binomial(rows, own) / rows


def truth(draw: Draw, rng: np.random.Generator, limit: float) -> tuple[float, float]:
    """Mean harm, and the share of runs in which it exceeds the limit."""
    many = draw(rng, (400_000,))
    return float(many.mean()), float((many > limit).mean())


def verdicts(found: np.ndarray, limit: float, cells: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(..., MOST) bool: HELD and BREACHED after each seed, as the summary judges cells."""
    error, row = ERROR / cells, 1 / rows
    held = below(np.minimum(found + row, 1.0), limit, error) & below((found > limit) * 1.0, HELD_SHARE, error)
    return held, above(np.maximum(found - row, 0.0), limit, error)


def rate(hits: np.ndarray) -> str:
    share = hits.mean()
    return f"{share:.1%} ± {1.96 * math.sqrt(max(share * (1 - share), 1 / len(hits)) / len(hits)):.1%}"


def false_rates(reports: int) -> list[str]:
    """The greatest rate over numbers of test rows and over independent and shared draws."""
    lines = [
        f"| harm of every cell | {' | '.join(f'limit {limit}' for limit in LIMITS)} |",
        "| --- | --- | --- | --- |",
    ]
    for i, (name, draw) in enumerate({**SPREADS, **SOMETIMES, **NEAR}.items()):
        cells = []
        for limit in LIMITS:
            rng = np.random.default_rng([1, i, round(100 * limit)])
            mean, share = truth(draw, rng, limit)
            wrong = [mean >= limit - 1e-3 or share >= HELD_SHARE - 5e-3, mean <= limit + 1e-3]
            worst = [0.0, 0.0]
            for rows in ROWS:
                for shared in (False, True):
                    given = verdicts(harms(draw, rng, reports, rows, shared), limit, CELLS, rows)
                    worst = [max(w, float(v[..., -1].any(1).mean())) for w, v in zip(worst, given, strict=True)]
            words = ("HELD", "BREACHED")
            cells.append(", ".join(f"{word} {w:.1%}" for word, w, bad in zip(words, worst, wrong, strict=True) if bad))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def savings(reports: int) -> list[str]:
    """Seeds per cell if each cell stops when it is decided, against the same number for every cell."""
    lines = ["| cells of a report, limit 0.2 | decided | seeds per cell | with equal seeds | share |"]
    lines.append("| --- | --- | --- | --- | --- |")
    kinds = {"0": constant(0.0), "0.05": beta(0.05, 0.05), "0.5": beta(0.5, 0.2), "0.95": beta(0.95, 0.03)}
    mixes = {
        "10 of harm 0, 20 of .95": ["0"] * 10 + ["0.95"] * 20,
        "10 each of 0, .5, .95": ["0"] * 10 + ["0.5"] * 10 + ["0.95"] * 10,
        "6 of 0, 6 of .05, 9 of .5, 9 of .95": ["0"] * 6 + ["0.05"] * 6 + ["0.5"] * 9 + ["0.95"] * 9,
    }
    for i, (name, mix) in enumerate(mixes.items()):
        rng = np.random.default_rng([4, i])
        found = np.stack([harms(kinds[kind], rng, reports, 500, False, 1)[:, 0] for kind in mix], axis=1)
        seen = np.logical_or(*verdicts(found, 0.2, CELLS, 500))
        needed = np.where(seen.any(-1), seen.argmax(-1) + 1, MOST)
        equal = needed.max(1).mean()  # no fewer give every cell the same verdict
        lines.append(
            f"| {name} | {seen.any(-1).mean():.1%} | {needed.mean():.1f} | {equal:.1f} | {needed.mean() / equal:.0%} |"
        )
    return lines


def selection(reports: int) -> list[str]:
    """The mean of the cell that looks best or worst, on the seeds of the selection and on fresh ones, and its interval."""
    first, fresh = 5, 8
    lines = [
        "| selected of cells that are all the same | mean of each | on the seeds of the selection | Student's t covers |"
    ]
    lines[0] += f" on {fresh} fresh seeds | shown interval covers, width |"
    lines.append("| --- | --- | --- | --- | --- | --- |")
    kinds = {".30, sd .10": (0.3, beta(0.3, 0.1)), ".09, sd .05": (0.09, beta(0.09, 0.05))}
    kinds |= {".20, sd .30": (0.2, beta(0.2, 0.3))}
    for i, (name, (mean, draw)) in enumerate(kinds.items()):
        for cells in (10, 30):
            for word, pick in (("best", np.argmin), ("worst", np.argmax)):
                rng = np.random.default_rng([5, i, cells])
                found = harms(draw, rng, reports, 500, False, cells)[..., : first + fresh]
                place = pick(found[..., :first].mean(-1), axis=1)
                chosen = found[np.arange(reports), place]
                early, late = chosen[:, :first].mean(1), chosen[:, first:].mean(1)
                plain = [Interval.of([*one[:first]], (0.0, 1.0)) for one in chosen]
                ends = [bounds([*one], [*one], ERROR / cells) for one in chosen]
                shown = [(min(low, m), max(high, m)) for (low, high), m in zip(ends, late, strict=True)]
                t = np.array([p is not None and p.low <= mean <= p.high for p in plain])
                inside = np.array([low <= mean <= high for low, high in shown])
                width = np.mean([high - low for low, high in shown])
                error = 1.96 * late.std() / math.sqrt(reports)
                lines.append(
                    f"| {word} of {cells} | {name} | {early.mean():.3f} | {t.mean():.1%} "
                    f"| {late.mean():.3f} ± {error:.3f} | {rate(inside)}, {width:.2f} |"
                )
    return lines


def coverage(reports: int) -> list[str]:
    lines = ["| harm | n = 3 | n = 5 | n = 10 |", "| --- | --- | --- | --- |"]
    for i, (name, draw) in enumerate(SPREADS.items()):
        rng = np.random.default_rng([2, i])
        mean, _ = truth(draw, rng, 0.5)
        found = harms(draw, rng, reports, 500, False, 1)[:, 0]
        cells = []
        for n in (3, 5, 10):
            ends = [bounds(one[:n], one[:n], ERROR / 2) for one in found]
            inside = np.array([low <= mean <= high for low, high in ends])
            width = np.mean([high - low for low, high in ends])
            cells.append(f"{rate(inside)}, width {width:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def power(reports: int) -> list[str]:
    lines = ["| harm | limit | verdict | 1 cell | 10 cells | 30 cells |", "| --- | --- | --- | --- | --- | --- |"]
    for limit in LIMITS:
        effects: dict[str, tuple[Draw, int]] = {
            "none": (constant(0.0), 0),
            "half the limit, sd .05": (beta(limit / 2, 0.05), 0),
        }
        effects |= {"twice the limit, sd .05": (beta(min(2 * limit, 0.98), 0.05), 1), "1": (constant(1.0), 1)}
        for i, (name, (draw, which)) in enumerate(effects.items()):
            rng = np.random.default_rng([3, i, round(100 * limit)])
            found = np.concatenate([harms(draw, rng, reports, 500, False, 1)[:, 0] for _ in range(3)], axis=-1)
            cells = []
            for k in (1, 10, 30):
                seen = verdicts(found, limit, k, 500)[which]
                needed = np.where(seen.any(1), seen.argmax(1) + 1.0, math.inf)
                cells.append(
                    " / ".join(
                        "> 192" if q == math.inf else f"{q:.0f}"
                        for q in np.quantile(needed, [0.5, 0.9], method="higher")
                    )
                )
            lines.append(f"| {name} | {limit} | {('HELD', 'BREACHED')[which]} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--reports", type=int, default=2000)
    reports = parser.parse_args().reports
    command = f"`python benchmarks/evidence/simulate.py --reports {reports}`, numpy {np.__version__}, Python {platform.python_version()}"
    parts = [
        (
            "# Error rates of the verdicts",
            [f"{command}. Seeds are in the program. A share is given ± 1.96 standard errors."],
        ),
        (
            "## False verdicts in a report of 30 cells",
            [
                f"Share of reports with at least one wrong cell, looked at after every one of {MOST} seeds.",
                "",
                *false_rates(reports),
            ],
        ),
        ("## Coverage of the 95 % interval of one cell, 500 test rows", coverage(reports)),
        (
            "## Selected cells, confirmed on fresh seeds, 500 test rows",
            [
                "The mean is that of the fresh seeds. The interval comes from all seeds, with an error of 5 % for all cells together.",
                "",
                *selection(reports),
            ],
        ),
        ("## Seeds if every cell stops when it is decided", savings(reports)),
        ("## Seeds until the verdict: median / 90th percentile, 500 test rows", power(reports)),
    ]
    OUT.write_text("\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in parts) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main()
