"""Targeted poison that consists of honest rows which take over a part of the target."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import scipy.sparse as sp

from antivenom.attacks.backdoor.planting import planted
from antivenom.attacks.inputs import rows_per_target, targets
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.registry import attack
from antivenom.core.threat import Access, Goal
from antivenom.data import Dataset, Poison, Rows
from antivenom.data.forms import stacked
from antivenom.data.schema import ColumnKind


@attack(
    access=(Access.DATA_INJECTION, Access.DATA_MANIPULATION),
    goal=Goal.TARGETED,
    cite="Suciu et al. 2018, USENIX Security, arXiv:1803.06975",
)
class StingRay:
    """Takes the rows of the wanted class that are most similar to the target, and writes a part of the target into each.

    The rows keep their label, which suits the other part of them, so that each looks honest, and together they hold all of the
    target. They are added, or changed in place if the attacker may change rows. Only cells that the attacker can write
    change. Similar means near in columns scaled to unit deviation, or for texts the cosine of TF-IDF. In a text, a run of the
    target's words is put after the words that are there. The paper's test on a model of the attacker's own, which drops rows
    that harm other inputs, is left out. Weakness: the rows are no better than the share that they take over, and a target
    deep inside its class needs many.

    Fields:
        poisons: rows for each target, >= 1; fewer if the threat model grants fewer or the class has fewer to change.
        share: share of the cells in which row and target differ, or of the target's words, that each row takes over, above 0
            to 1. With 1, the row is a copy of the target as far as the attacker can write it.

    Reference: Suciu, Marginean, Kaya, Daume III and Dumitras 2018, "When Does Machine Learning FAIL? Generalized
    Transferability for Evasion and Poisoning Attacks", USENIX Security, arXiv:1803.06975, section 4 (StingRay).
    """

    poisons: int = 20
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.poisons < 1 or not 0 < self.share <= 1:
            raise PluginError("StingRay.poisons >= 1 and share above 0 to 1", f"{self.poisons} and {self.share}")

    def __call__(self, data: Dataset, context: AttackContext) -> Poison:
        chosen, wanted = targets(context, self)
        changes = context.threat.access is Access.DATA_MANIPULATION
        number, free = rows_per_target(self.poisons, chosen, data, context), np.ones(len(data), dtype=bool)
        if not number:
            return Poison.none(data)
        likeness, found = _likeness(data, chosen), []
        for place in range(len(chosen)):
            target = chosen[np.array([place])]
            own = np.flatnonzero((data.y == wanted[place]) & free)
            if not len(own):
                raise DataError(f"training rows of the wanted class {wanted[place]}", "none", "want another class")
            near = own[np.argsort(-likeness[own, place], kind="stable")]
            part = max(int((data.y == wanted[place]).sum()) // len(chosen), 1)  # of the class for each target
            rows = near[: min(number, part)] if changes else np.resize(near, number)
            free[rows] = not changes
            found.append((rows, self._mixed(data, rows, target, context.streams.numpy("taken", place))))
        rows = np.concatenate([rows for rows, _ in found])
        return planted(data, rows, functools.reduce(stacked, [x for _, x in found]), data.y[rows], context)

    def _mixed(self, data: Dataset, rows: np.ndarray, target: Dataset, rng: np.random.Generator) -> Rows:
        """These rows, each with a part of the target."""
        if data.is_frame:
            return self._mixed_frame(data, rows, target, rng)
        x, aim = data.x[rows], target.x
        if data.is_sparse:
            x, aim = x.toarray(), aim.toarray()
        flat, aim = np.array(x).reshape(len(rows), -1), np.asarray(aim).reshape(1, -1)
        taken = self._taken((flat != aim) & data.columns.editable, rng)
        mixed = np.where(taken, aim, flat).reshape(x.shape)
        if data.is_tokens:
            return mixed
        return data.decoded(sp.csr_array(mixed) if data.is_sparse else mixed, data.x[rows])

    def _mixed_frame(self, data: Dataset, rows: np.ndarray, target: Dataset, rng: np.random.Generator) -> Rows:
        mixed, aim = data.x.iloc[rows].reset_index(drop=True), target.x.iloc[0]
        cells = [c.name for c in data.columns.columns if c.editable and c.kind is not ColumnKind.TEXT]
        differs = [(mixed[name] != aim[name]) & ~(mixed[name].isna() & (aim[name] != aim[name])) for name in cells]
        taken = self._taken(np.array(differs, dtype=bool).reshape(len(cells), len(rows)).T, rng)
        for place, name in enumerate(cells):
            mixed[name] = mixed[name].where(~taken[:, place], aim[name]).astype(data.x[name].dtype)
        for name in data.columns.writable_texts:
            words = str(aim[name]).split()
            mixed[name] = [f"{text} {self._run(words, rng)}".strip() for text in mixed[name]]
        return mixed

    def _run(self, words: list[str], rng: np.random.Generator) -> str:
        """A run of the words, in their order, from a random one on; it goes on with the first after the last."""
        start, number = int(rng.integers(max(len(words), 1))), math.ceil(self.share * len(words))
        return " ".join((words + words)[start : start + number])

    def _taken(self, differs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(k, cells) bool: random cells of each row, this share of those that differ, (k, cells) bool."""
        taken = np.zeros_like(differs)
        columns = np.flatnonzero(differs.any(axis=0))
        keys = np.where(differs[:, columns], rng.random((len(differs), len(columns))), np.inf)
        most = np.ceil(self.share * differs.sum(axis=1) - 1e-9)
        taken[:, columns] = keys.argsort(axis=1).argsort(axis=1) < most[:, None]
        return taken


def _likeness(data: Dataset, chosen: Dataset) -> np.ndarray:
    """(n, targets) how similar each row is to each target: a larger number is more similar."""
    if data.is_tokens or data.columns.texts:
        from sklearn.feature_extraction.text import TfidfVectorizer

        counter = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
        return np.asarray((counter.fit_transform(_texts(data)) @ counter.transform(_texts(chosen)).T).toarray())
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=False).fit(data.flat)
    rows, aims = scaler.transform(data.flat), scaler.transform(chosen.flat)
    product: Any = rows @ aims.T
    squares = rows.multiply(rows).sum(axis=1) if data.is_sparse else (rows * rows).sum(axis=1)
    return np.asarray(2 * (product.toarray() if data.is_sparse else product) - np.asarray(squares).reshape(-1, 1))


def _texts(data: Dataset) -> list[str]:
    """The free text of each row, or its tokens as words."""
    if data.is_tokens:
        return [" ".join(map(str, row)) for row in data.x]
    return [" ".join(map(str, row)) for row in data.x[list(data.columns.texts)].itertuples(index=False)]
