"""Libraries for tables, statistics and search."""

from __future__ import annotations

import functools
import re
from typing import Any

Objects = dict[str, Any]


def rows() -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    return make_classification(80, 6, random_state=0)


def frame() -> Any:
    import numpy as np
    import pandas as pd

    x, y = rows()
    table = pd.DataFrame(x, columns=list("abcdef"))
    return table.assign(kind=np.where(x[:, 0] > 0, "red", "blue"), y=y, when=pd.date_range("2020-01-01", periods=80))


def scikit_learn() -> Objects:
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.ensemble import GradientBoostingRegressor, IsolationForest, RandomForestClassifier, VotingClassifier
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    x, y = rows()
    texts = ["good red wine", "bad blue cheese", "good wine"]
    columns = ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("c", OneHotEncoder(), ["kind"])])
    return {
        "forest.joblib": lambda: RandomForestClassifier(5).fit(x, y),
        "boosting.pkl": lambda: GradientBoostingRegressor(n_estimators=3).fit(x, y),
        "svc.joblib": lambda: SVC(probability=True).fit(x, y),
        "mlp.pkl": lambda: MLPClassifier((4,), max_iter=20).fit(x, y),
        "process.pkl": lambda: GaussianProcessRegressor().fit(x, y),
        "outliers.joblib": lambda: IsolationForest(n_estimators=3).fit(x),
        "columns.joblib": lambda: make_pipeline(columns, LogisticRegression()).fit(frame(), y),
        "frame-columns.pkl": lambda: Pipeline([("s", StandardScaler()), ("p", PCA(2))]).fit(frame()[list("abc")]),
        "grid.joblib": lambda: GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=StratifiedKFold(2)).fit(x, y),
        "vote.pkl": lambda: VotingClassifier([("a", LogisticRegression()), ("b", SVC())]).fit(x, y),
        "tfidf.pkl": lambda: TfidfVectorizer(tokenizer=str.split).fit(texts),
        "counts.joblib": lambda: CountVectorizer(analyzer="char").fit(texts),
        "function.pkl": lambda: FunctionTransformer(functools.partial(np.round, decimals=2)).fit(x),
        "bundle.pkl": lambda: {"model": Ridge().fit(x, y), "columns": frame().columns, "pattern": re.compile("[a-z]+")},
    }


def numpy() -> Objects:
    import numpy as np

    records = np.rec.array([(1, 2.0), (3, 4.0)], names="a,b")
    return {
        "array.pkl": lambda: np.arange(12.0).reshape(3, 4),
        "recarray.pkl": lambda: records,
        "record.pkl": lambda: records[0],
        "masked.pkl": lambda: np.ma.array([1, 2, 3], mask=[0, 1, 0]),
        "generator.pkl": lambda: np.random.default_rng(0),
        "random-state.joblib": lambda: np.random.RandomState(1),
        "polynomial.pkl": lambda: np.polynomial.Polynomial([1, 2, 3]),
        "poly1d.pkl": lambda: np.poly1d([1, 2]),
        "matrix.pkl": lambda: np.asmatrix([[1, 2]]),
        "objects.joblib": lambda: np.array([{"a": 1}, None, "x"], dtype=object),
        "partial.pkl": lambda: functools.partial(np.clip, a_min=0, a_max=1),
        "dates.npy": lambda path: np.save(path, np.array(["2020-01-01"], dtype="datetime64[D]")),
        "many.npz": lambda path: np.savez(path, a=np.ones(3), names=np.array(["a", "b"], dtype=object)),
        "chararray.pkl": lambda: np.char.array(["a", "bc"]),
    }


def scipy() -> Objects:
    import numpy as np
    from scipy import interpolate, optimize, sparse, spatial, stats

    t = np.linspace(0, 1, 9)
    return {
        "interp1d.pkl": lambda: interpolate.interp1d(t, t**2),
        "cubic.pkl": lambda: interpolate.CubicSpline(t, t**2),
        "univariate.joblib": lambda: interpolate.UnivariateSpline(t, t**2),
        "pchip.pkl": lambda: interpolate.PchipInterpolator(t, t**2),
        "grid.joblib": lambda: interpolate.RegularGridInterpolator((t, t), np.outer(t, t)),
        "rbf.pkl": lambda: interpolate.RBFInterpolator(t[:, None], t),
        "frozen.pkl": lambda: stats.norm(0, 1),
        "gamma.joblib": lambda: {"prior": stats.gamma(2.0), "n": 3},
        "kde.pkl": lambda: stats.gaussian_kde(t),
        "result.pkl": lambda: optimize.minimize(lambda v: float((v**2).sum()), [1.0, 2.0]),
        "sparse.pkl": lambda: sparse.random(5, 5, 0.5, "csr", random_state=0),
        "tree.pkl": lambda: spatial.cKDTree(np.outer(t, t)),
        "rotation.pkl": lambda: spatial.transform.Rotation.from_euler("z", 90, degrees=True),
        "test.pkl": lambda: stats.ttest_ind(t, t + 1),
    }


def pandas() -> Objects:
    import pandas as pd

    table = frame()
    return {
        "frame.pkl": lambda: table,
        "to-pickle.pkl": lambda path: table.to_pickle(path),
        "series.joblib": lambda: table["a"],
        "category.pkl": lambda: table["kind"].astype("category"),
        "indexed.pkl": lambda: table.set_index(["kind", "when"]),
        "index.pkl": lambda: table.columns,
        "times.pkl": lambda: pd.DatetimeIndex(table["when"]).tz_localize("Europe/Berlin"),
        "periods.pkl": lambda: pd.period_range("2020-01", periods=3, freq="M"),
        "interval.pkl": lambda: pd.cut(table["a"], 3),
        "timestamp.pkl": lambda: [pd.Timestamp("2020-01-01"), pd.Timedelta("1D"), pd.NA, pd.NaT],
        "integers.pkl": lambda: pd.array([1, None, 3], dtype="Int64"),
        "bundle.joblib": lambda: {"frame": table, "mean": table[list("abc")].mean()},
        "strings.pkl": lambda: pd.Series(["a", None], dtype="string"),
    }


def statsmodels() -> Objects:
    import numpy as np
    import statsmodels.api as sm
    import statsmodels.formula.api as smf
    from statsmodels.tsa.api import ARIMA, AutoReg, ExponentialSmoothing, SimpleExpSmoothing

    x, y = rows()
    series = np.cumsum(x[:, 0])
    full = sm.add_constant(x)
    return {
        "ols.pkl": lambda: sm.OLS(y, full).fit(),
        "own.pkl": lambda path: sm.OLS(y, full).fit().save(str(path)),
        "logit.pkl": lambda: sm.Logit(y, full).fit(disp=0, method="bfgs"),
        "glm.joblib": lambda: sm.GLM(y, full, family=sm.families.Binomial()).fit(),
        "formula.pkl": lambda: smf.ols("y ~ a + kind", frame()).fit(),
        "arima.pkl": lambda: ARIMA(series, order=(1, 0, 0)).fit(),
        "autoreg.pkl": lambda: AutoReg(series, 2).fit(),
        "smoothing.joblib": lambda: ExponentialSmoothing(series).fit(),
        "simple.pkl": lambda: SimpleExpSmoothing(series).fit(),
        "kde.pkl": lambda: sm.nonparametric.KDEUnivariate(series).fit(),
    }


def imbalanced_learn() -> Objects:
    from imblearn.combine import SMOTEENN
    from imblearn.ensemble import BalancedBaggingClassifier, BalancedRandomForestClassifier, EasyEnsembleClassifier
    from imblearn.over_sampling import ADASYN, SMOTE, RandomOverSampler
    from imblearn.pipeline import make_pipeline
    from imblearn.under_sampling import NearMiss, RandomUnderSampler
    from sklearn.linear_model import LogisticRegression

    x, y = rows()
    y = (x[:, 0] > 0.7).astype(int)
    samplers = {"smote": SMOTE(k_neighbors=2), "over": RandomOverSampler(), "under": RandomUnderSampler()}
    return {
        **{
            f"{n}.pkl": functools.partial(lambda s: make_pipeline(s, LogisticRegression()).fit(x, y), s)
            for n, s in samplers.items()
        },
        "adasyn.joblib": lambda: ADASYN(n_neighbors=2),
        "near.pkl": lambda: NearMiss(),
        "enn.pkl": lambda: SMOTEENN(),
        "forest.joblib": lambda: BalancedRandomForestClassifier(3).fit(x, y),
        "bagging.joblib": lambda: BalancedBaggingClassifier(n_estimators=2).fit(x, y),
        "easy.pkl": lambda: EasyEnsembleClassifier(2).fit(x, y),
    }


def xgboost() -> Objects:
    import xgboost as xgb

    x, y = rows()
    booster = xgb.train({"max_depth": 2}, xgb.DMatrix(x, y), 2)
    return {
        "classifier.joblib": lambda: xgb.XGBClassifier(n_estimators=2).fit(x, y),
        "regressor.pkl": lambda: xgb.XGBRegressor(n_estimators=2).fit(x, y),
        "ranker.pkl": lambda: xgb.XGBRanker(n_estimators=2).fit(x, y, qid=y * 0),
        "booster.pkl": lambda: booster,
        "booster.json": lambda path: booster.save_model(path),
        "booster.ubj": lambda path: booster.save_model(path),
        "early.joblib": lambda: xgb.XGBClassifier(n_estimators=3, early_stopping_rounds=1).fit(
            x, y, eval_set=[(x, y)], verbose=False
        ),
        "frame.pkl": lambda: xgb.XGBClassifier(n_estimators=2).fit(frame()[list("abc")], y),
    }


def lightgbm() -> Objects:
    import lightgbm as lgb

    x, y = rows()
    booster = lgb.train({"verbose": -1, "objective": "binary"}, lgb.Dataset(x, y), 2)
    return {
        "classifier.joblib": lambda: lgb.LGBMClassifier(n_estimators=2, verbose=-1).fit(x, y),
        "regressor.pkl": lambda: lgb.LGBMRegressor(n_estimators=2, verbose=-1).fit(x, y),
        "ranker.pkl": lambda: lgb.LGBMRanker(n_estimators=2, verbose=-1).fit(x, y, group=[len(y)]),
        "booster.pkl": lambda: booster,
        "booster.txt": lambda path: booster.save_model(path),
        "frame.joblib": lambda: lgb.LGBMClassifier(n_estimators=2, verbose=-1).fit(frame()[list("abc")], y),
    }


def catboost() -> Objects:
    from catboost import CatBoost, CatBoostClassifier, CatBoostRegressor

    x, y = rows()
    quiet: dict[str, Any] = {"iterations": 2, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    model = CatBoostClassifier(**quiet).fit(x, y)
    return {
        "classifier.pkl": lambda: model,
        "classifier.joblib": lambda: model,
        "regressor.pkl": lambda: CatBoostRegressor(**quiet).fit(x, y),
        "plain.pkl": lambda: CatBoost(quiet).fit(x, y),
        "unfitted.pkl": lambda: CatBoostClassifier(**quiet),
        "classifier.cbm": lambda path: model.save_model(str(path)),
        "classifier.json": lambda path: model.save_model(str(path), format="json"),
        "classifier.onnx": lambda path: model.save_model(str(path), format="onnx"),
    }


def category_encoders() -> Objects:
    import category_encoders as ce

    table = frame()
    kinds = (
        "BinaryEncoder",
        "CatBoostEncoder",
        "CountEncoder",
        "OneHotEncoder",
        "OrdinalEncoder",
        "TargetEncoder",
        "WOEEncoder",
        "HashingEncoder",
    )
    fitted = {
        k: functools.partial(lambda k: getattr(ce, k)(cols=["kind"]).fit(table[["kind", "a"]], table["y"]), k)
        for k in kinds
    }
    return {f"{k.lower()}.{'pkl' if i % 2 else 'joblib'}": make for i, (k, make) in enumerate(fitted.items())}


def mlxtend() -> Objects:
    from mlxtend.classifier import EnsembleVoteClassifier, SoftmaxRegression, StackingClassifier
    from mlxtend.feature_selection import ColumnSelector, SequentialFeatureSelector
    from mlxtend.frequent_patterns import apriori
    from mlxtend.preprocessing import TransactionEncoder
    from sklearn.linear_model import LogisticRegression

    x, y = rows()
    baskets = [["a", "b"], ["a", "c"], ["a", "b", "c"]]
    encoder = TransactionEncoder().fit(baskets)
    return {
        "stacking.pkl": lambda: StackingClassifier([LogisticRegression()], LogisticRegression()).fit(x, y),
        "vote.joblib": lambda: EnsembleVoteClassifier([LogisticRegression()]).fit(x, y),
        "softmax.pkl": lambda: SoftmaxRegression(epochs=2).fit(x, y),
        "select.joblib": lambda: SequentialFeatureSelector(LogisticRegression(), 2, cv=2).fit(x, y),
        "columns.pkl": lambda: ColumnSelector((0, 1)).fit(x),
        "transactions.pkl": lambda: encoder,
        "patterns.pkl": lambda: apriori(table_of(encoder, baskets), 0.5, use_colnames=True),
    }


def table_of(encoder: Any, baskets: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(encoder.transform(baskets), columns=encoder.columns_)


def hmmlearn() -> Objects:
    from hmmlearn import hmm, vhmm

    x, _ = rows()
    return {
        "gaussian.pkl": lambda: hmm.GaussianHMM(2, n_iter=2).fit(x),
        "gaussian.joblib": lambda: hmm.GaussianHMM(2, "full", n_iter=2).fit(x),
        "mixture.pkl": lambda: hmm.GMMHMM(2, n_iter=2).fit(x),
        "categorical.joblib": lambda: hmm.CategoricalHMM(2, n_iter=2).fit([[0], [1], [0], [1]]),
        "poisson.pkl": lambda: hmm.PoissonHMM(2, n_iter=2).fit([[1], [3], [2], [4]]),
        "variational.pkl": lambda: vhmm.VariationalGaussianHMM(2, n_iter=2).fit(x),
    }


def lifelines() -> Objects:
    import lifelines as ll

    table = frame()[["a", "b"]].assign(time=range(1, 81), event=1)
    return {
        "cox.pkl": lambda: ll.CoxPHFitter(penalizer=0.1).fit(table, "time", "event"),
        "kaplan.pkl": lambda: ll.KaplanMeierFitter().fit(table["time"], table["event"]),
        "weibull.joblib": lambda: ll.WeibullFitter().fit(table["time"], table["event"]),
        "aft.pkl": lambda: ll.WeibullAFTFitter().fit(table, "time", "event"),
        "aalen.pkl": lambda: ll.NelsonAalenFitter().fit(table["time"], table["event"]),
    }


def umap_learn() -> Objects:
    import umap

    x, y = rows()
    return {
        "map.pkl": lambda: umap.UMAP(n_neighbors=4, n_epochs=5, random_state=0).fit(x),
        "map.joblib": lambda: umap.UMAP(n_neighbors=4, n_epochs=5, metric="manhattan").fit(x),
        "supervised.pkl": lambda: umap.UMAP(n_neighbors=4, n_epochs=5, random_state=0).fit(x, y),
        "unfitted.pkl": lambda: umap.UMAP(),
    }


def hdbscan() -> Objects:
    import hdbscan as hb

    x, _ = rows()
    return {
        "clusters.pkl": lambda: hb.HDBSCAN(min_cluster_size=5).fit(x),
        "predict.joblib": lambda: hb.HDBSCAN(min_cluster_size=5, prediction_data=True).fit(x),
        "tree.pkl": lambda: hb.HDBSCAN(min_cluster_size=5, gen_min_span_tree=True).fit(x),
        "robust.pkl": lambda: hb.RobustSingleLinkage().fit(x),
    }


def pygam() -> Objects:
    import pygam as gam

    x, y = rows()
    return {
        "linear.pkl": lambda: gam.LinearGAM(gam.s(0) + gam.l(1)).fit(x, y),
        "logistic.pkl": lambda: gam.LogisticGAM(gam.s(0, n_splines=5)).fit(x, y),
        "gamma.joblib": lambda: gam.GammaGAM(gam.s(0, n_splines=5)).fit(x, y + 1),
        "expectile.pkl": lambda: gam.ExpectileGAM(gam.s(0, n_splines=5)).fit(x, y),
    }


def ngboost() -> Objects:
    from ngboost import NGBClassifier, NGBRegressor, distns, scores

    x, y = rows()
    return {
        "regressor.pkl": lambda: NGBRegressor(n_estimators=2, verbose=False).fit(x, y.astype(float)),
        "log.joblib": lambda: NGBRegressor(distns.LogNormal, n_estimators=2, verbose=False).fit(x, y + 1.0),
        "classifier.pkl": lambda: NGBClassifier(n_estimators=2, verbose=False).fit(x, y),
        "crps.pkl": lambda: NGBRegressor(Score=scores.CRPScore, n_estimators=2, verbose=False).fit(x, y.astype(float)),
    }


def feature_engine() -> Objects:
    from feature_engine import discretisation, encoding, imputation, outliers, selection, transformation

    table = frame()
    numbers = table[list("abc")]
    return {
        "impute.pkl": lambda: imputation.MeanMedianImputer().fit(numbers),
        "category.joblib": lambda: imputation.CategoricalImputer().fit(table[["kind"]]),
        "encode.pkl": lambda: encoding.OneHotEncoder().fit(table[["kind"]]),
        "rare.joblib": lambda: encoding.RareLabelEncoder(n_categories=1).fit(table[["kind"]]),
        "mean.pkl": lambda: encoding.MeanEncoder().fit(table[["kind"]], table["y"]),
        "width.pkl": lambda: discretisation.EqualWidthDiscretiser().fit(numbers),
        "winsor.pkl": lambda: outliers.Winsorizer().fit(numbers),
        "drop.pkl": lambda: selection.DropCorrelatedFeatures().fit(numbers),
        "yeo.joblib": lambda: transformation.YeoJohnsonTransformer().fit(numbers),
    }


def optuna() -> Objects:
    import optuna as op

    op.logging.set_verbosity(op.logging.ERROR)

    def study(sampler: Any, pruner: Any = None) -> Any:
        found = op.create_study(sampler=sampler, pruner=pruner)
        found.optimize(
            lambda trial: trial.suggest_float("x", 0, 1) + trial.suggest_categorical("k", [1, 2]), n_trials=4
        )
        return found

    return {
        "random.pkl": lambda: study(op.samplers.RandomSampler(0)),
        "tpe.joblib": lambda: study(op.samplers.TPESampler(seed=0)),
        "pruned.pkl": lambda: study(op.samplers.RandomSampler(0), op.pruners.MedianPruner()),
        "sampler.pkl": lambda: op.samplers.TPESampler(seed=0),
        "trials.pkl": lambda: study(op.samplers.RandomSampler(0)).trials,
        "distributions.pkl": lambda: [op.distributions.FloatDistribution(0, 1), op.distributions.IntDistribution(1, 3)],
    }


def hyperopt() -> Objects:
    import numpy as np
    from hyperopt import Trials, fmin, hp, rand, tpe

    def run(algo: Any) -> Any:
        trials = Trials()
        fmin(
            lambda v: v**2,
            hp.uniform("x", -1, 1),
            algo.suggest,
            4,
            trials=trials,
            rstate=np.random.default_rng(0),
            show_progressbar=False,
            verbose=False,
        )
        return trials

    return {
        "trials.pkl": lambda: run(tpe),
        "random.joblib": lambda: run(rand),
        "space.pkl": lambda: {"x": hp.uniform("x", 0, 1), "k": hp.choice("k", [1, 2])},
        "best.pkl": lambda: run(rand).best_trial,
    }


def deap() -> Objects:
    from deap import base, creator, gp, tools

    creator.create("Best", base.Fitness, weights=(1.0,))
    creator.create("Person", list, fitness=creator.Best)
    best, person = vars(creator)["Best"], vars(creator)["Person"]
    log = tools.Logbook()
    log.record(gen=0, avg=1.0)
    hall = tools.HallOfFame(1)
    one = person([1, 2])
    one.fitness.values = (3.0,)
    hall.update([one])
    return {
        "population.pkl": lambda: [person([1, 2]), person([3, 4])],
        "fitness.pkl": lambda: best((1.0,)),
        "log.pkl": lambda: log,
        "checkpoint.pkl": lambda: {"population": [one], "hall": hall, "log": log, "generation": 3},
        "terminal.pkl": lambda: gp.Terminal(1.0, False, float),
    }


def networkx() -> Objects:
    import networkx as nx

    attributed = nx.Graph()
    attributed.add_edge("a", "b", weight=2.0)
    return {
        "graph.pkl": lambda: nx.karate_club_graph(),
        "digraph.pkl": lambda: nx.DiGraph([(1, 2)]),
        "multi.joblib": lambda: nx.MultiGraph([(1, 2), (1, 2)]),
        "multidi.pkl": lambda: nx.MultiDiGraph([(1, 2)]),
        "attributed.pkl": lambda: attributed,
        "degrees.pkl": lambda: dict(attributed.degree()),
        "view.pkl": lambda: attributed.subgraph(["a"]),
    }


def sympy() -> Objects:
    import sympy as sp

    x, y = sp.symbols("x y")
    return {
        "polynomial.pkl": lambda: x**2 + 2 * x * y,
        "rational.pkl": lambda: sp.Rational(1, 3) + sp.pi,
        "matrix.pkl": lambda: sp.Matrix([[x, 1], [0, y]]),
        "function.pkl": lambda: sp.sin(x) * sp.exp(y),
        "relation.pkl": lambda: sp.Eq(x, y),
        "integral.pkl": lambda: sp.Integral(x, (x, 0, 1)),
    }


def xarray() -> Objects:
    import numpy as np
    import pandas as pd
    import xarray as xr

    times = pd.date_range("2020-01-01", periods=3)
    array = xr.DataArray(np.ones((3, 2)), [("time", times), ("place", ["a", "b"])])
    return {
        "array.pkl": lambda: array,
        "dataset.pkl": lambda: xr.Dataset({"t": array}),
        "plain.joblib": lambda: xr.DataArray(np.zeros(3), dims="x"),
        "variable.pkl": lambda: xr.Variable("x", [1, 2]),
        "attributes.pkl": lambda: array.assign_attrs(units="m"),
    }


def scikit_survival() -> Objects:
    import numpy as np
    from sksurv.ensemble import GradientBoostingSurvivalAnalysis, RandomSurvivalForest
    from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
    from sksurv.svm import FastSurvivalSVM
    from sksurv.tree import SurvivalTree
    from sksurv.util import Surv

    x, _ = rows()
    y = Surv.from_arrays(np.ones(len(x), bool), np.arange(1.0, len(x) + 1))
    return {
        "cox.pkl": lambda: CoxPHSurvivalAnalysis(alpha=0.1).fit(x, y),
        "net.joblib": lambda: CoxnetSurvivalAnalysis().fit(x, y),
        "forest.joblib": lambda: RandomSurvivalForest(3).fit(x, y),
        "boosting.pkl": lambda: GradientBoostingSurvivalAnalysis(n_estimators=2).fit(x, y),
        "tree.pkl": lambda: SurvivalTree(max_depth=2).fit(x, y),
        "svm.pkl": lambda: FastSurvivalSVM(max_iter=5).fit(x, y),
    }


def river() -> Objects:
    from river import anomaly, cluster, compose, drift, forest, linear_model, metrics, naive_bayes, preprocessing, tree

    def learned(model: Any) -> Any:
        x, y = rows()
        for row, label in zip(x[:30], y[:30], strict=True):
            model.learn_one(dict(zip("abcdef", map(float, row), strict=True)), bool(label))
        return model

    return {
        "logistic.pkl": lambda: learned(preprocessing.StandardScaler() | linear_model.LogisticRegression()),
        "tree.pkl": lambda: learned(tree.HoeffdingTreeClassifier(grace_period=5)),
        "forest.joblib": lambda: learned(forest.ARFClassifier(2, seed=0)),
        "bayes.pkl": lambda: learned(naive_bayes.GaussianNB()),
        "select.pkl": lambda: learned(compose.Select("a") | linear_model.Perceptron()),
        "drift.pkl": lambda: drift.ADWIN(),
        "trees.joblib": lambda: anomaly.HalfSpaceTrees(2),
        "means.pkl": lambda: cluster.KMeans(2, seed=0),
        "metric.pkl": lambda: metrics.Accuracy() + metrics.F1(),
    }


def sktime() -> Objects:
    import pandas as pd
    from sklearn.linear_model import LinearRegression
    from sktime.classification.dummy import DummyClassifier
    from sktime.forecasting.compose import make_reduction
    from sktime.forecasting.naive import NaiveForecaster
    from sktime.forecasting.trend import PolynomialTrendForecaster, TrendForecaster
    from sktime.transformations.series.detrend import Detrender
    from sktime.transformations.series.difference import Differencer

    series = pd.Series(range(24), index=pd.period_range("2020-01", periods=24, freq="M"), dtype=float)
    return {
        "naive.pkl": lambda: NaiveForecaster(sp=12).fit(series, fh=[1, 2]),
        "trend.pkl": lambda: TrendForecaster().fit(series),
        "polynomial.joblib": lambda: PolynomialTrendForecaster(degree=2).fit(series),
        "reduction.pkl": lambda: make_reduction(LinearRegression(), window_length=3).fit(series, fh=[1]),
        "detrend.pkl": lambda: Detrender().fit(series),
        "difference.joblib": lambda: Differencer().fit(series),
        "unfitted.pkl": lambda: DummyClassifier(),
        "own.zip": lambda path: NaiveForecaster().fit(series).save(path.with_suffix("")),
    }


def shap() -> Objects:
    import shap as sh
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    x, y = rows()
    forest, line = RandomForestRegressor(2).fit(x, y), LinearRegression().fit(x, y)
    return {
        "values.pkl": lambda: sh.LinearExplainer(line, x)(x),
        "explanation.joblib": lambda: sh.TreeExplainer(forest)(x[:3]),
        "tree.pkl": lambda: sh.TreeExplainer(forest),
        "linear.pkl": lambda: sh.LinearExplainer(line, x),
        "array.pkl": lambda: sh.TreeExplainer(forest).shap_values(x[:3]),
    }


def interpret() -> Objects:
    from interpret.glassbox import (
        ClassificationTree,
        ExplainableBoostingClassifier,
        ExplainableBoostingRegressor,
        LinearRegression,
    )

    x, y = rows()
    return {
        "ebm.pkl": lambda: ExplainableBoostingClassifier(max_rounds=3, outer_bags=1, n_jobs=1, interactions=0).fit(
            x, y
        ),
        "ebm.joblib": lambda: ExplainableBoostingRegressor(max_rounds=3, outer_bags=1, n_jobs=1, interactions=0).fit(
            x, y
        ),
        "tree.pkl": lambda: ClassificationTree(max_depth=2).fit(x, y),
        "line.pkl": lambda: LinearRegression().fit(x, y),
        "frame.pkl": lambda: ExplainableBoostingClassifier(max_rounds=2, outer_bags=1, n_jobs=1, interactions=0).fit(
            frame()[["a", "kind"]], y
        ),
    }


def nltk() -> Objects:
    from nltk import BigramTagger, ConditionalFreqDist, FreqDist, NaiveBayesClassifier, Tree, UnigramTagger
    from nltk.lm import MLE, Laplace, Vocabulary
    from nltk.lm.preprocessing import padded_everygram_pipeline
    from nltk.stem import PorterStemmer, SnowballStemmer

    tagged = [[("red", "JJ"), ("wine", "NN")]]

    def model(kind: Any) -> Any:
        found = kind(2)
        found.fit(*padded_everygram_pipeline(2, [["a", "b"], ["b", "c"]]))
        return found

    return {
        "bayes.pkl": lambda: NaiveBayesClassifier.train([({"a": 1}, "x"), ({"a": 2}, "y")]),
        "unigram.pkl": lambda: UnigramTagger(tagged),
        "bigram.pkl": lambda: BigramTagger(tagged, backoff=UnigramTagger(tagged)),
        "counts.joblib": lambda: FreqDist(["a", "b", "a"]),
        "conditional.pkl": lambda: ConditionalFreqDist([("a", "b"), ("a", "c")]),
        "mle.pkl": lambda: model(MLE),
        "laplace.pkl": lambda: model(Laplace),
        "vocabulary.pkl": lambda: Vocabulary(["a", "b"]),
        "tree.pkl": lambda: Tree.fromstring("(S (NP red) (VP wine))"),
        "stemmers.pkl": lambda: [PorterStemmer(), SnowballStemmer("english")],
    }


def cloudpickle() -> Objects:
    import numpy as np
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = rows()
    return {
        "plain.cloudpickle": lambda: {"a": [1, 2]},
        "array.cloudpickle": lambda: np.ones(3),
        "pipeline.cloudpickle": lambda: make_pipeline(StandardScaler(), Ridge()).fit(x, y),
        "partial.cloudpickle": lambda: functools.partial(np.clip, a_min=0, a_max=1),
        "pattern.cloudpickle": lambda: re.compile("a+"),
        "frame.cloudpickle": lambda: frame(),
    }


def dill() -> Objects:
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    x, y = rows()
    return {
        "plain.dill": lambda: {"a": [1, 2], "b": ("c", None)},
        "array.dill": lambda: np.arange(6.0),
        "integers.dill": lambda: {"x": np.arange(3), "names": ["a"]},
        "logistic.dill": lambda: LogisticRegression().fit(x, y),
        "tree.dill": lambda: DecisionTreeClassifier(max_depth=2).fit(x, y),
        "frame.dill": lambda: frame(),
        "partial.dill": lambda: functools.partial(np.mean, axis=0),
    }


def joblib() -> Objects:
    import joblib as jl
    import numpy as np
    from sklearn.linear_model import Ridge

    x, y = rows()
    value = {"model": Ridge().fit(x, y), "x": x, "names": list("abcdef"), "rng": np.random.RandomState(0)}
    ways: dict[str, Any] = {
        "zlib": ("zlib", 3),
        "gz": ("gzip", 3),
        "bz2": ("bz2", 3),
        "xz": ("xz", 3),
        "lzma": ("lzma", 3),
    }
    return {
        "plain.joblib": lambda: value,
        "objects.joblib": lambda: [np.array([None, {"a": 1}], dtype=object), np.matrix([[1]])],
        "frame.joblib": lambda: frame(),
        **{
            f"{name}.joblib": functools.partial(lambda way, path: jl.dump(value, path, compress=way), way)
            for name, way in ways.items()
        },
    }


def skops() -> Objects:
    import skops.io as sio
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = rows()
    models = {
        "forest": lambda: RandomForestClassifier(3).fit(x, y),
        "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y),
        "dict": lambda: {"model": LogisticRegression().fit(x, y), "names": ["a"]},
        "array": lambda: x,
    }
    return {
        f"{n}.skops": functools.partial(lambda make, path: sio.dump(make(), path), make) for n, make in models.items()
    }


LIBRARIES = {
    "numpy": numpy,
    "scipy": scipy,
    "pandas": pandas,
    "scikit-learn": scikit_learn,
    "statsmodels": statsmodels,
    "imbalanced-learn": imbalanced_learn,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "catboost": catboost,
    "category-encoders": category_encoders,
    "mlxtend": mlxtend,
    "hmmlearn": hmmlearn,
    "lifelines": lifelines,
    "umap-learn": umap_learn,
    "hdbscan": hdbscan,
    "pygam": pygam,
    "ngboost": ngboost,
    "feature-engine": feature_engine,
    "optuna": optuna,
    "hyperopt": hyperopt,
    "deap": deap,
    "networkx": networkx,
    "sympy": sympy,
    "xarray": xarray,
    "scikit-survival": scikit_survival,
    "river": river,
    "sktime": sktime,
    "shap": shap,
    "interpret": interpret,
    "nltk": nltk,
    "cloudpickle": cloudpickle,
    "dill": dill,
    "joblib": joblib,
    "skops": skops,
}
