"""Model files are read only after the scan, and what does not fit is one line."""

from __future__ import annotations

import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from antivenom.core.errors import AntivenomError, FileError, ModelError, UnsafeFile
from antivenom.inspection.reading import Form, Reader
from antivenom.models.wrappers import TorchModel

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([0.5, -0.5])}


def linear(shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Linear(shape[0], classes)


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_state_dict_becomes_the_network(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "m.safetensors")
    subject = Reader(linear, (3,))(tmp_path / "m.safetensors")
    assert subject.form is Form.NETWORK
    assert isinstance(subject.model, TorchModel)
    x = np.array([[1.0, 0.0, 2.0]], dtype=np.float32)
    assert subject.model.logits(x).tolist() == [[4.5, 12.5]]
    assert subject.model.num_classes == 2  # from the file, as there are no rows


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod."])
def test_a_wrapper_s_prefix_is_removed(tmp_path: Path, prefix: str) -> None:
    torch.save({prefix + name: tensor for name, tensor in STATE.items()}, tmp_path / "m.pt")
    subject = Reader(linear, (3,))(tmp_path / "m.pt")
    assert isinstance(subject.model, TorchModel)
    assert subject.model.vector.tolist() == [0, 1, 2, 3, 4, 5, 0.5, -0.5]


def test_statistics_of_batch_norm_are_read(tmp_path: Path) -> None:
    module = normed()
    with torch.no_grad():
        module(torch.randn(20, 3))
    torch.save({"epoch": 3, "net": module.state_dict()}, tmp_path / "m.pt")
    subject = Reader(normed, (3,), ("a", "b"), only="net")(tmp_path / "m.pt")
    assert isinstance(subject.model, TorchModel)
    x = torch.randn(5, 3)
    assert torch.allclose(subject.model.logits(x.numpy()), module.eval()(x), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bias": None}, "expected the tensor bias of the architecture, got a file without it"),
        (
            {"weight": torch.ones(3, 3), "bias": torch.ones(3)},
            "weight of shape (2, 3), as in the architecture, got (3, 3)",
        ),
        ({"extra": torch.ones(1)}, "the tensors of the architecture alone, got also extra"),
        ({"bias": torch.tensor([0.0, float("nan")])}, "finite weights, got NaN or infinity"),
    ],
    ids=["missing", "another-head", "unknown", "nan"],
)
def test_what_does_not_fit_the_architecture(tmp_path: Path, change: dict[str, torch.Tensor], says: str) -> None:
    torch.save({k: v for k, v in (STATE | change).items() if v is not None}, tmp_path / "m.pt")
    with pytest.raises(ModelError) as caught:
        Reader(linear, (3,), ("a", "b"))(tmp_path / "m.pt")
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_weights_without_an_architecture_have_no_answers(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "m.safetensors")
    subject = Reader()(tmp_path / "m.safetensors")
    assert (subject.form, subject.model) == (Form.TENSORS, None)
    assert "--arch" in subject.why
    with pytest.raises(ModelError, match="the shape of a row, got none"):
        Reader(linear)(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="a torch architecture for a file of tensors"):
        Reader(LogisticRegression(), (3,))(tmp_path / "m.safetensors")


def test_an_estimator_answers_in_the_order_of_the_rows_classes(tmp_path: Path) -> None:
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    joblib.dump(LogisticRegression().fit(x, ["spam", "spam", "ham", "ham"]), tmp_path / "m.joblib")
    own = Reader()(tmp_path / "m.joblib").model
    mine = Reader(classes=("spam", "ham"))(tmp_path / "m.joblib").model
    assert own is not None
    assert mine is not None
    assert np.allclose(own.predict_proba(x), mine.predict_proba(x)[:, ::-1])
    assert mine.predict_proba(x)[0, 0] > 0.5
    with pytest.raises(ModelError, match="'ham' in the model"):
        Reader(classes=("spam", "other"))(tmp_path / "m.joblib")


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("1 + 1",)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Evil()))
    (tmp_path / "m.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("m.pkl", "m.pt"):
        with pytest.raises(UnsafeFile):
            Reader(linear, (3,))(tmp_path / name)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"weights \(\*.safetensors\)"):
        Reader()(tmp_path)
    save_file(STATE, tmp_path / "model.safetensors")
    assert Reader()(tmp_path).form is Form.CLASSIFIER
    assert Reader(linear, (3,))(tmp_path).form is Form.NETWORK
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file(STATE, tmp_path / "adapter_model.safetensors")
    assert Reader()(tmp_path).form is Form.ADAPTER
    (tmp_path / "adapter_model.safetensors").unlink()
    torch.save(STATE, tmp_path / "adapter_model.bin")
    assert Reader()(tmp_path).form is Form.ADAPTER
    with pytest.raises(AntivenomError, match="a readable file"):
        Reader()(tmp_path / "absent.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.load.*:UserWarning")
def test_a_program_is_not_read_as_weights(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(3, 2), torch.zeros(1, 3)).save(str(tmp_path / "m.pt"))  # type: ignore[no-untyped-call]
    subject = Reader(linear, (3,))(tmp_path / "m.pt")
    assert (subject.form, subject.model) == (Form.OTHER, None)
    assert "TorchScript is a program" in subject.why
