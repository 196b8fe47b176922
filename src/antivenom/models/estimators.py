"""Reference estimators. Each is a function (seed) -> unfitted object with scikit-learn's `fit` and `predict`."""

from __future__ import annotations

import importlib
from typing import Any

from antivenom.core.errors import PluginError
from antivenom.core.registry import estimator


@estimator(cite="Breiman 2001, Machine Learning 45")
class RandomForest:
    """scikit-learn's random forest. It has no gradients, so attacks that need a model's gradients do not apply.

    Fields:
        n_estimators: number of trees.
    """

    n_estimators: int = 100

    def __call__(self, seed: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(n_estimators=self.n_estimators, random_state=seed)


@estimator(cite="Pedregosa et al. 2011, JMLR 12")
class Sklearn:
    """Any scikit-learn classifier or regressor by its import path. Attacks that need a model's gradients do not apply.

    Fields:
        estimator: import path, such as "sklearn.svm.SVC"; only names below "sklearn." are imported.
        parameters: pairs of name and value for its constructor.
    """

    estimator: str = "sklearn.linear_model.LogisticRegression"
    parameters: tuple[tuple[str, int | float | str | bool | None], ...] = ()

    def __call__(self, seed: int) -> Any:
        from sklearn.base import ClassifierMixin, RegressorMixin

        module, _, name = self.estimator.rpartition(".")
        if not module.startswith("sklearn."):  # a scenario file must not import code of its choice
            raise PluginError(
                "an estimator below sklearn.", repr(self.estimator), "write sklearn.ensemble.ExtraTreesClassifier"
            )
        try:
            found = getattr(importlib.import_module(module), name)
            fits = isinstance(found, type) and issubclass(found, (ClassifierMixin, RegressorMixin))
            if not fits:  # nor may it call an arbitrary function of scikit-learn
                raise TypeError(f"{self.estimator} is not a classifier or regressor")
            estimator = found(**dict(self.parameters))
        except (ImportError, AttributeError, TypeError) as error:
            raise PluginError(
                "a scikit-learn classifier or regressor and its parameters", str(error), "see scikit-learn's reference"
            ) from error
        return estimator.set_params(random_state=seed) if "random_state" in estimator.get_params() else estimator


@estimator(cite="Widrow and Hoff 1960, IRE WESCON Convention Record 4")
class Adaline:
    """The adaptive linear neuron: a linear classifier that minimises squared error by stochastic gradient descent.

    Fields:
        epochs: passes over the rows.
        learning_rate: step size, above 0. Training diverges unless it is below 1 / ||x||^2 for all rows x.
    """

    epochs: int = 200
    learning_rate: float = 1e-3

    def __call__(self, seed: int) -> Any:
        from sklearn.linear_model import SGDClassifier

        return SGDClassifier(
            loss="squared_error",
            penalty=None,
            learning_rate="constant",
            eta0=self.learning_rate,
            max_iter=self.epochs,
            tol=None,
            random_state=seed,
        )
