"""Every scikit-learn estimator that can be built and fitted here, small and the same each time."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingRegressor
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import all_estimators

ROWS, COLUMNS = 40, 6
# Small enough to fit in moments; only those that the estimator knows are set.
SMALL = {
    "random_state": 0,
    "n_estimators": 3,
    "max_iter": 20,
    "n_jobs": 1,
    "n_init": 1,
    "cv": 2,
    "min_samples": 3,
    "n_resampling": 2,
    "n_nonzero_coefs": 2,
    "n_candidates": 1,
}
# What a constructor cannot do without.
REQUIRED: dict[str, Any] = {
    "estimator": LogisticRegression(),
    "base_estimator": LogisticRegression(),
    "estimators": [("lr", LogisticRegression()), ("tree", RandomForestClassifier(2, random_state=0))],
    "regressors": [("ridge", Ridge())],
    "transformers": [("scale", StandardScaler(), [0, 1]), ("pca", PCA(2), [2, 3, 4])],
    "transformer_list": [("scale", StandardScaler()), ("pca", PCA(2))],
    "steps": [("scale", StandardScaler()), ("lr", LogisticRegression())],
    "param_grid": {"C": [0.1, 1.0]},
    "param_distributions": {"C": [0.1, 1.0]},
    "dictionary": np.eye(COLUMNS),
}
# What it takes beyond that on data this small.
SPECIAL: dict[str, dict[str, Any]] = {
    "ClassifierChain": {"estimator": LogisticRegression()},
    "RegressorChain": {"estimator": Ridge()},
    "SelfTrainingClassifier": {"estimator": LogisticRegression()},
    "GaussianRandomProjection": {"n_components": 2},
    "SparseRandomProjection": {"n_components": 2},
    "OrthogonalMatchingPursuitCV": {"max_iter": 3},
    "TSNE": {"perplexity": 5.0, "max_iter": 250},
    "FrozenEstimator": {"estimator": Ridge().fit([[0.0], [1.0]], [0.0, 1.0])},
}
_REGRESSORS = {"RANSACRegressor", "MultiOutputRegressor", "StackingRegressor", "VotingRegressor"}


def _data() -> list[tuple[Any, ...]]:
    x, y = make_classification(ROWS, COLUMNS, random_state=0)
    rng = np.random.default_rng(0)
    real = x @ rng.normal(size=COLUMNS)
    positive, words = np.abs(x), [f"word{i % 7} word{i % 3} other" for i in range(ROWS)]
    return [
        (x, y),
        (x, real),
        (positive, y),
        (positive, np.abs(real) + 1),
        (x, np.stack([real, -real], 1)),
        (x, np.stack([y, 1 - y], 1)),
        (x[:, :1], real),
        (x[:, 0], real),
        (np.abs(x @ x.T),),
        (x,),
        ((x > 0).astype(int), y),
        (words, y),
        ([{"a": i % 3, "b": "x"} for i in range(ROWS)],),
        (y,),
        ([["a", "b"], ["b"]] * 5,),
    ]


def _instance(kind: type[BaseEstimator]) -> BaseEstimator:
    chosen: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.default is inspect.Parameter.empty and name in REQUIRED:
            chosen[name] = clone(REQUIRED[name], safe=False)
        elif name in SMALL and parameter.default is not inspect.Parameter.empty:
            chosen[name] = SMALL[name]
    if kind.__name__ in _REGRESSORS:
        chosen |= {"estimators": [("ridge", Ridge())]} if "estimators" in chosen else {"estimator": Ridge()}
    return kind(**chosen | SPECIAL.get(kind.__name__, {}))


def fitted(kind: type[BaseEstimator]) -> BaseEstimator | None:
    """An instance fitted on the first data that it takes; None if there are none."""
    for data in _data():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _instance(kind).fit(*data)
        except Exception:  # it wants other data: whatever it raises, the next kind of data is tried
            continue
    return None


def single() -> Iterator[tuple[str, BaseEstimator | None]]:
    """Every estimator of the library by name, in the order of names; None where none could be fitted."""
    for name, kind in sorted(all_estimators()):
        yield name, fitted(kind)


def combined() -> Iterator[tuple[str, BaseEstimator]]:
    """What people build of them: pipelines, searches, options that bring other classes along."""
    x, y = make_classification(ROWS, COLUMNS, random_state=0)
    real = x @ np.arange(COLUMNS)
    words = [f"word{i % 7} word{i % 3} other" for i in range(ROWS)]
    mixed = np.array([[i % 4, "abc"[i % 3]] for i in range(ROWS)], dtype=object)
    forest = RandomForestClassifier(3, random_state=0)
    search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [0.1, 1], "svc__kernel": ["rbf"]}, cv=2)
    columns = ColumnTransformer([("n", SimpleImputer(), [0]), ("c", OneHotEncoder(handle_unknown="ignore"), [1])])
    kernel = kernels.ConstantKernel() * kernels.Matern() + kernels.WhiteKernel() * kernels.RationalQuadratic()
    recipes: list[tuple[str, BaseEstimator, Any, Any]] = [
        ("pipeline", make_pipeline(StandardScaler(), PCA(3), LogisticRegression()), x, y),
        ("text", make_pipeline(TfidfVectorizer(), SGDClassifier(random_state=0)), words, y),
        ("grid", search, x, y),
        ("grid-cv", GridSearchCV(forest, {"max_depth": [2, 3]}, cv=StratifiedKFold(2), scoring="roc_auc"), x, y),
        ("random", RandomizedSearchCV(Ridge(), {"alpha": [1, 2]}, n_iter=2, cv=KFold(2), random_state=0), x, real),
        ("columns", make_pipeline(columns, forest), mixed, y),
        ("union", FeatureUnion([("pca", PCA(2)), ("scale", StandardScaler())]), x, y),
        ("function", make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()), x, y),
        ("target", TransformedTargetRegressor(Ridge(), transformer=StandardScaler()), x, real),
        ("stacking", StackingClassifier([("f", forest), ("k", KNeighborsClassifier(3))], cv=2), x, y),
        ("voting", VotingRegressor([("a", Ridge()), ("b", Ridge(alpha=2))]), x, real),
        ("kernels", GaussianProcessRegressor(kernel, optimizer=None), x, real),
        ("tree-knn", KNeighborsClassifier(3, algorithm="kd_tree"), x, y),
        ("ball-knn", KNeighborsClassifier(3, algorithm="ball_tree", metric="manhattan"), x, y),
        ("sgd-huber", SGDClassifier(loss="modified_huber", random_state=0), x, y),
        ("svc-probability", SVC(kernel="poly"), x, y),
    ]
    for name, estimator, rows, target in recipes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield name, estimator.fit(rows, target)
