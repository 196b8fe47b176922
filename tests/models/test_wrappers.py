"""One face over torch and scikit-learn: shapes, probabilities, features, training further."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from antivenom.core.errors import ModelError, NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.models.architectures import MLP, CensusNet, FashionCNN, Logistic, SmallCNN
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.models.network import Network, build
from antivenom.models.scikit import SklearnLearner, SklearnModel
from antivenom.models.training import Training, cross_entropy
from antivenom.models.wrappers import TorchLearner, TorchModel, learner

STREAMS = Streams(2)
FAST = Training(epochs=20, batch_size=15, learning_rate=0.02)
MAKERS = [
    learner(MLP((16,)), FAST),
    learner(Logistic(), replace(FAST, learning_rate=0.1)),
    learner(RandomForest(20), FAST),
    learner(Sklearn(), FAST),
    learner(Sklearn("sklearn.svm.LinearSVC"), FAST),
    learner(Sklearn("sklearn.neighbors.KNeighborsClassifier", (("n_neighbors", 3),)), FAST),
]


def name(maker: object) -> str:
    return repr(getattr(maker, "architecture", getattr(maker, "make", None)))


@pytest.mark.usefixtures("global_randomness_unchanged")
@pytest.mark.parametrize("maker", MAKERS, ids=name)
def test_every_model_learns_and_wears_the_same_face(maker, blobs):
    model = maker.fit(blobs, STREAMS)
    predicted, shares = model.predict(blobs.x), model.predict_proba(blobs.x)
    assert (predicted == blobs.y).mean() > 0.95
    assert predicted.dtype == np.int64
    assert predicted.shape == (90,)
    assert model.num_classes == 3
    assert shares.shape == (90, 3)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert shares.min() >= 0
    assert (shares.argmax(axis=1) == predicted).all()


@pytest.mark.parametrize("maker", MAKERS, ids=name)
def test_a_stream_gives_one_model(maker, blobs):
    one, same = (maker.fit(blobs, Streams(2)) for _ in range(2))
    assert np.array_equal(one.predict_proba(blobs.x), same.predict_proba(blobs.x))


@pytest.mark.parametrize("maker", [MAKERS[0], MAKERS[2]], ids=name)
def test_another_stream_gives_another_model(maker, blobs):
    one, other = (maker.fit(blobs, Streams(seed)) for seed in (2, 3))
    assert not np.array_equal(one.predict_proba(blobs.x), other.predict_proba(blobs.x))


@pytest.mark.parametrize("maker", MAKERS, ids=name)
def test_rows_come_in_any_float_type_read_only_reversed_and_none(maker, blobs):
    model = maker.fit(blobs, STREAMS)
    expected = model.predict(blobs.x)
    assert not blobs.x.flags.writeable
    assert np.array_equal(model.predict(blobs.x.astype(np.float64)), expected)
    assert np.array_equal(model.predict(blobs.x[::-1]), expected[::-1])
    assert model.predict(blobs.x[:0]).shape == (0,)
    assert model.predict_proba(blobs.x[:0]).shape == (0, 3)


@pytest.mark.parametrize("maker", MAKERS, ids=name)
def test_a_class_that_was_absent_in_training_gets_nothing(maker, blobs):
    """Class "b" (1) of three is missing: the columns of the others must not move up."""
    rest = blobs[blobs.y != 1]
    model = maker.fit(rest, STREAMS)
    shares = model.predict_proba(rest.x)
    assert shares.shape == (60, 3)
    assert shares[:, 1].max() < 0.2
    assert (model.predict(rest.x) == rest.y).mean() > 0.95
    if isinstance(model, SklearnModel):
        assert shares[:, 1].max() == 0


def test_images_are_rows_for_scikit_learn():
    images = Dataset(
        np.repeat([0.0, 1.0], 10)[:, None, None, None] * np.ones((20, 1, 3, 3)), np.repeat([0, 1], 10), ("a", "b")
    )
    model = MAKERS[3].fit(images, STREAMS)
    assert np.array_equal(model.predict(images.x), images.y)


# --- torch -----------------------------------------------------------------------------------------------------------


def linear(weight: list[list[float]]) -> TorchModel:
    """Logits are x @ weight.T, by hand."""
    network = Network(nn.Linear(2, 2, bias=False), (2,), 2)
    return TorchModel(network, torch.tensor(weight).flatten())


def test_torch_predictions_by_hand():
    model = linear([[1.0, 0.0], [0.0, 1.0]])
    x = np.array([[0.0, np.log(3.0)], [2.0, 1.0]])
    assert model.logits(x)[1].tolist() == [2, 1]
    assert model.predict_proba(x)[0] == pytest.approx([0.25, 0.75])
    assert model.predict(x).tolist() == [1, 0]
    assert model.with_vector(-model.vector).predict(x).tolist() == [0, 1]
    assert model.predict(x).tolist() == [1, 0]


def test_batches_are_only_a_matter_of_memory(blobs):
    model = MAKERS[0].fit(blobs, STREAMS)
    assert torch.allclose(model.logits(blobs.x), model.logits(blobs.x, batch=7), atol=1e-6)


def test_features_are_what_enters_the_last_dense_layer(blobs):
    model = MAKERS[0].fit(blobs, STREAMS)
    features = model.features(blobs.x)
    assert features.shape == (90, 16)
    assert features.min() == 0  # behind a ReLU
    parts = model.network.parameters(model.vector)
    again = torch.tensor(features) @ parts["3.weight"].T + parts["3.bias"]
    assert torch.allclose(again, model.logits(blobs.x), atol=1e-5)
    assert model.features(blobs.x[:0]).shape == (0, 16)
    assert not model.network.module[3]._forward_pre_hooks


def test_features_of_images_and_of_a_single_layer(blobs):
    small = build(SmallCNN((2, 3), dense=7), (1, 16, 16), 3, STREAMS)
    assert TorchModel(small, small.initial).features(np.ones((2, 1, 16, 16))).shape == (2, 7)
    model = MAKERS[1].fit(blobs, STREAMS)
    assert np.array_equal(model.features(blobs.x), blobs.x)


def test_a_convolution_can_be_the_head():
    network = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (1, 3, 3), 2)
    x = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    assert np.array_equal(TorchModel(network, network.initial).features(x), x.reshape(2, 9))


def test_logits_that_no_layer_gives_have_no_features():
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.weight = nn.Linear(4, 5), nn.Parameter(torch.randn(5, 2))

        def forward(self, x):
            return self.inner(x) @ self.weight

    network = Network(Bare(), (4,), 2)
    with pytest.raises(NotApplicable, match="an output for each of 2 classes, got Linear inner"):
        TorchModel(network, network.initial).features(np.zeros((2, 4), np.float32))


def test_training_goes_on_from_a_model(blobs):
    maker = learner(MLP((16,), dropout=0.2), replace(FAST, epochs=1))
    first = maker.fit(blobs, STREAMS)
    kept = first.vector.clone()
    more = maker.fit(blobs, STREAMS, start=first)
    assert more.network is first.network
    assert torch.equal(first.vector, kept)
    assert not torch.equal(more.vector, first.vector)
    losses = [float(nn.functional.cross_entropy(m.logits(blobs.x), torch.tensor(blobs.y))) for m in (first, more)]
    assert losses[1] < losses[0]
    idle = learner(MLP((16,)), replace(FAST, epochs=0)).fit(blobs, STREAMS, start=first)
    assert torch.equal(idle.vector, first.vector)


def test_training_goes_on_with_the_running_statistics(blobs):
    maker = TorchLearner(
        lambda shape, classes: nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, classes)),
        Training(epochs=1, batch_size=30),
    )
    first = maker.fit(blobs, STREAMS)
    more = maker.fit(blobs, STREAMS, start=first)
    assert first.buffers["0.num_batches_tracked"] == 3
    assert more.buffers["0.num_batches_tracked"] == 6
    assert np.array_equal(
        first.predict(blobs.x), first.network.logits(first.vector, torch.tensor(blobs.x), first.buffers).argmax(1)
    )


@pytest.mark.parametrize("other", ["features", "classes"])
def test_training_cannot_go_on_with_other_data(blobs, other):
    first = MAKERS[0].fit(blobs, STREAMS)
    data = replace(blobs, x=blobs.x[:, :4]) if other == "features" else replace(blobs, classes=("a", "b", "c", "d"))
    with pytest.raises(ModelError, match=r"rows of shape \(5,\) and 3 classes.*: train from scratch"):
        MAKERS[0].fit(data, STREAMS, start=first)


def test_the_loss_is_the_one_that_is_given(blobs):
    """A loss that wants every row to be class "c"."""

    def corrupted(forward, x, y):
        return cross_entropy(forward, x, torch.full_like(y, 2))

    assert set(MAKERS[0].fit(blobs, STREAMS, loss=corrupted).predict(blobs.x)) == {2}


def test_training_that_explodes_is_said(blobs):
    wild = Training(epochs=30, optimizer="sgd", learning_rate=1e20)
    with pytest.raises(ModelError, match="finite weights after training, got NaN or infinity: lower the learning rate"):
        learner(MLP((16,)), wild).fit(blobs, STREAMS)


def test_a_torch_model_lives_where_it_is_told(blobs, device):
    model = replace(MAKERS[0], device=device).fit(blobs, STREAMS)
    assert model.vector.device.type == device
    assert (model.predict(blobs.x) == blobs.y).mean() > 0.95
    assert model.features(blobs.x).shape == (90, 16)


# --- scikit-learn ----------------------------------------------------------------------------------------------------


def test_scikit_learn_models_are_neither_corrupted_nor_continued(blobs):
    maker, model = MAKERS[2], MAKERS[2].fit(blobs, STREAMS)
    with pytest.raises(NotApplicable, match="its loss cannot be replaced"):
        maker.fit(blobs, STREAMS, loss=lambda forward, x, y: cross_entropy(forward, x, y))
    with pytest.raises(NotApplicable, match="nor its fit continued"):
        maker.fit(blobs, STREAMS, start=model)
    with pytest.raises(NotApplicable, match="only torch models can be fine-tuned"):
        MAKERS[0].fit(blobs, STREAMS, start=model)


def test_parameters_reach_the_estimator():
    assert RandomForest(7)(seed=3).get_params()["n_estimators"] == 7
    assert RandomForest(7)(seed=3).get_params()["random_state"] == 3
    made = Sklearn("sklearn.linear_model.LogisticRegression", (("C", 0.5), ("fit_intercept", False)))(seed=5)
    assert (made.C, made.fit_intercept, made.random_state) == (0.5, False, 5)
    assert "random_state" not in Sklearn("sklearn.naive_bayes.GaussianNB")(seed=5).get_params()


@pytest.mark.parametrize(
    ("estimator", "parameters", "says"),
    [
        ("os.system", (), "below sklearn"),
        ("sklearnish.Evil", (), "below sklearn"),
        ("LogisticRegression", (), "below sklearn"),
        ("sklearn.linear_model.Logistik", (), "Logistik"),
        ("sklearn.nothing.Here", (), "nothing"),
        ("sklearn.preprocessing.StandardScaler", (), "is not a classifier"),
        ("sklearn.linear_model.LogisticRegression", (("colour", 1),), "colour"),
    ],
)
def test_what_is_no_classifier_of_scikit_learn_is_refused(estimator, parameters, says):
    with pytest.raises(PluginError, match=says) as caught:
        Sklearn(estimator, parameters)(seed=0)
    assert len(str(caught.value).splitlines()) == 1


def test_a_scenario_file_cannot_call_scikit_learns_functions(tmp_path):
    """clear_data_home deletes the folder it is given; it lies below sklearn, but is no classifier."""
    (tmp_path / "precious").write_text("keep me")
    with pytest.raises(PluginError, match="is not a classifier"):
        Sklearn("sklearn.datasets.clear_data_home", (("data_home", str(tmp_path)),))(seed=0)
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (Sklearn(parameters=(("C", -1.0),)), slice(None)),
        (Sklearn(), slice(0, 5)),  # one class only
    ],
    ids=["parameter", "one class"],
)
def test_rows_that_cannot_be_fitted_are_one_line(blobs, make, rows):
    with pytest.raises(ModelError, match="rows that LogisticRegression can be fitted to") as caught:
        learner(make, FAST).fit(blobs[rows], STREAMS)
    assert len(str(caught.value).splitlines()) == 1


# --- the reference networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "shape", "classes", "parameters"),
    [
        (MLP(), (10,), 3, 10 * 64 + 64 + 64 * 3 + 3),
        (MLP(()), (1, 8, 8), 10, 650),
        (Logistic(), (104,), 2, 210),
        (FashionCNN(), (1, 28, 28), 10, 3_382_346),
        (SmallCNN(), (1, 28, 28), 10, 46_730),
    ],
    ids=repr,
)
def test_the_number_of_parameters_is_the_published_one(architecture, shape, classes, parameters):
    assert build(architecture, shape, classes, STREAMS).dimension == parameters


def test_census_net_is_the_papers_without_the_layer_that_has_no_part():
    network = build(CensusNet(), (104,), 2, STREAMS)
    assert network.dimension == 104 * 256 + 256 + 256 * 2 + 2
    assert [layer.p for layer in network.module if isinstance(layer, nn.Dropout)] == [0.5]


def test_learners_are_chosen_by_what_the_architecture_is():
    assert isinstance(learner(RandomForest(), FAST), SklearnLearner)
    assert isinstance(learner(Sklearn(), FAST), SklearnLearner)
    chosen = learner(MLP(), FAST, "cpu")
    assert isinstance(chosen, TorchLearner)
    assert chosen == TorchLearner(MLP(), FAST, "cpu")
