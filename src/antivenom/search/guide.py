"""Proposals from a model of the harm: a forest over families and fields that learns from all trials so far.

Fields of the same name, such as the wanted class, are the same feature in all families, so that a family profits from what was
tried in another one.

Reference: Hutter, Hoos and Leyton-Brown 2011, "Sequential Model-Based Optimization for General Algorithm Configuration",
LION 5 (SMAC), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antivenom.search.space import Candidate, Family, Point, candidate

TREES = 30
POOL = 120  # random points, among which the model chooses
PARENTS, CHILDREN = 5, 12  # the best candidates, and the changes of each that the model chooses among
STEP = 0.1  # standard deviation of a small change of a field
ABSENT = -1.0  # the value of a field that a family does not have


def proposals(
    found: Sequence[Candidate], families: Sequence[Family], number: int, rng: np.random.Generator
) -> list[Candidate]:
    """New candidates with the highest mean plus standard deviation over the trees of the model.

    Args:
        found: all candidates so far.
        families: the families to propose from.
        number: how many proposals; there may be fewer.
        rng: draws the pool, and seeds the model.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    known = [each for each in found if each.harms and not each.failed]
    failed = {id(each.family) for each in found if each.failed} - {id(each.family) for each in known}
    usable = [family for family in families if family.fields and id(family) not in failed]
    if not known or not usable:
        return []
    pool = [
        (usable[i], tuple(rng.random(len(usable[i].fields)).tolist())) for i in rng.integers(len(usable), size=POOL)
    ]
    for parent in sorted(known, key=lambda each: -each.mean)[:PARENTS]:
        if parent.family.fields:
            pool += [(parent.family, _changed(parent.point, rng)) for _ in range(CHILDREN)]
    paths = list(dict.fromkeys(path for family in families for path in family.fields))
    model = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=int(rng.integers(2**31)))
    rows = np.array([_features(each.family, each.point, families, paths) for each in known])
    model.fit(rows, [each.mean for each in known], sample_weight=[len(each.harms) for each in known])
    asked = np.array([_features(family, point, families, paths) for family, point in pool])
    trees = np.array([tree.predict(asked) for tree in model.estimators_])
    made: list[Candidate] = []
    for i in np.argsort(-(trees.mean(axis=0) + trees.std(axis=0)), kind="stable"):
        new = candidate(*pool[i])
        if new is not None and all(new.attack != each.attack for each in (*found, *made)):
            made.append(new)
            if len(made) == number:
                break
    return made


def _changed(point: Point, rng: np.random.Generator) -> Point:
    """The point with one field drawn anew, or with a small change of all fields."""
    new = np.array(point)
    if rng.random() < 0.5:
        new[rng.integers(len(new))] = rng.random()
    else:
        new = np.clip(new + STEP * rng.standard_normal(len(new)), 0.0, 1.0)
    return tuple(new.tolist())


def _features(family: Family, point: Point, families: Sequence[Family], paths: Sequence[str]) -> list[float]:
    """The family as one feature each, and the place of each field of any family."""
    own = dict(zip(family.fields, point, strict=True))
    return [*(float(family is each) for each in families), *(own.get(path, ABSENT) for path in paths)]
