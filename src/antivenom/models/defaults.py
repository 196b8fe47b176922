"""The models that are used if the user gives none. Each can be named in a scenario file by its path."""

from __future__ import annotations

from typing import Any

from antivenom.models.architectures import TinyCNN, TinyTransformer

TABLES, TEXTS, COUNTS = (f"antivenom.models.defaults:{name}" for name in ("tables", "texts", "counts"))
WHY = {
    "table": "gradient boosting is a strong model for tables of numbers and words",
    "texts": "TF-IDF and logistic regression are a strong baseline for short and long texts",
    "counts": "logistic regression is a strong baseline for word counts",
    "images": "three convolutions with batch norm: small enough to be trained many times",
    "tokens": "a small transformer",
}


def tables(seed: int) -> Any:
    """Gradient boosting on numbers and on words, which are treated as categories."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=200)
    columns = make_column_transformer(
        (words, make_column_selector(dtype_exclude=["number", "bool"])), remainder="passthrough"
    )
    return make_pipeline(columns, HistGradientBoostingClassifier(random_state=seed))


def texts(seed: int) -> Any:
    """TF-IDF of words and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    del seed  # neither step is random
    return make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=10, max_iter=1000))


def counts(seed: int) -> Any:
    """Logistic regression on counts scaled to unit variance."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    del seed
    return make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=1000))


def default_model(form: str, frame: bool) -> Any:
    """The model for rows of that form (see `looking.Look`), as a scenario takes it.

    Args:
        form: the form of the rows.
        frame: whether they are a DataFrame.
    """
    from antivenom.models.estimators import Sklearn

    if form == "images":
        return TinyCNN()
    if form == "tokens":
        return TinyTransformer()
    if form == "table" and not frame:
        return Sklearn("sklearn.ensemble.HistGradientBoostingClassifier")
    return {"table": TABLES, "texts": TEXTS, "counts": COUNTS}[form]
