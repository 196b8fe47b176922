"""The allow list: what it names, on what terms, and what the terms keep out. Each gadget is shown to work when loaded."""

from __future__ import annotations

import ast
import ctypes
import importlib
import inspect
import io
import pickle
import shlex
import textwrap
import tomllib
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from model_files import look, rules
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators
from typer.testing import CliRunner

from antivenom.artifacts import guard
from antivenom.cli import files  # noqa: F401 - registers the command
from antivenom.cli.app import app
from antivenom.core.errors import ScanError, UnsafeFile
from antivenom.scan import Status, Tier, allow_list, scan, scan_view
from antivenom.scan.allow import Permission, add_names
from antivenom.scan.findings import allow_commands
from antivenom.scan.stubs import Global
from antivenom.scan.view import View

# Callables that run what they are given, or open the file that they are given: none may hide behind any listed name.
DANGEROUS = [
    *(
        f"builtins.{n}"
        for n in [
            "eval",
            "exec",
            "compile",
            "__import__",
            "getattr",
            "setattr",
            "delattr",
            "map",
            "filter",
            "open",
            "input",
        ]
    ),
    *(
        f"builtins.{n}"
        for n in ["globals", "locals", "vars", "type", "super", "property", "staticmethod", "classmethod", "breakpoint"]
    ),
    *("functools.partial", "functools.reduce", "operator.attrgetter", "operator.methodcaller", "operator.itemgetter"),
    *("types.FunctionType", "types.CodeType", "types.MethodType", "importlib.import_module", "os.system", "os.popen"),
    *("subprocess.Popen", "pickle.loads", "pickle.load", "marshal.loads", "pkgutil.resolve_name", "runpy.run_path"),
    *("numpy.load", "numpy.fromfile", "numpy.memmap", "numpy.vectorize", "numpy.frompyfunc", "joblib.load"),
    *("joblib.Memory", "joblib.numpy_pickle_compat.NDArrayWrapper", "torch.load", "torch.hub.load", "torch.jit.load"),
    *("torch._tensor._rebuild_from_type_v2", "torch.serialization.load", "itertools.starmap", "weakref.finalize"),
    *("scipy.stats._distn_infrastructure.rv_continuous", "scipy.stats._distn_infrastructure.rv_frozen"),
    *("sklearn.metrics._dist_metrics.PyFuncDistance64", "sklearn.callback._scoring_monitor.ScoringMonitorLog"),
]
# Names of other releases than those that are tested with.
OTHER_RELEASES = (
    *("numpy.core.", "pathlib._local.", "torch._utils._rebuild_sparse_csr_tensor", "sklearn.ensemble._gb_losses."),
    *("sklearn._loss._loss.__pyx_unpickle_", "sklearn.metrics._scorer.", "sklearn.metrics._dist_metrics."),
    "sklearn.model_selection._classification_threshold._CurveScorer",
)
# Classes whose own __setstate__ has been read.
READ = {
    *("sklearn.base.BaseEstimator", "sklearn.isotonic.IsotonicRegression", "sklearn.tree._tree.Tree"),
    *("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.utils._bunch.Bunch"),
    *("sklearn.metrics._dist_metrics.DistanceMetric32", "sklearn.metrics._dist_metrics.DistanceMetric64"),
    *("sklearn.metrics._dist_metrics.MahalanobisDistance32", "sklearn.metrics._dist_metrics.MahalanobisDistance64"),
    *("sklearn.neighbors._kd_tree.BinaryTree32", "sklearn.neighbors._kd_tree.BinaryTree64"),
    *("sklearn.neighbors._ball_tree.BinaryTree32", "sklearn.neighbors._ball_tree.BinaryTree64"),
    *("numpy.random.bit_generator.BitGenerator", "numpy.random.bit_generator.SeedSequence"),
    *("scipy.sparse._coo.coo_matrix", "sklearn._loss._loss.CyHalfMultinomialLoss"),
    *("numpy.ndarray", "numpy.dtype", "numpy.generic", "numpy.ma.MaskedArray", "torch.Tensor", "uuid.UUID"),
    *(f"torch.nn.modules.{n}" for n in ("module.Module", "conv._ConvNd", "rnn.RNNBase", "pooling.AvgPool3d")),
    *(f"torch.nn.modules.activation.{n}" for n in ("MultiheadAttention", "Softmax", "Softmin", "LogSoftmax")),
    *(f"torch.nn.modules.transformer.Transformer{n}" for n in ("EncoderLayer", "DecoderLayer")),
    "torch.nn.modules.upsampling.Upsample",
}


def found(name: str) -> Any:
    """What a dotted name stands for here; None if its package is missing or it is of another release."""
    module, _, attribute = name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            return None


def listed() -> dict[str, Permission]:
    return {f"{module}.{name}": terms for module, names in allow_list().names.items() for name, terms in names.items()}


def test_every_entry_has_a_note_and_every_name_exists() -> None:
    folder = resources.files("antivenom.scan") / "lists"
    for file in ("tensors.toml", "vetted.toml"):
        for entry in tomllib.loads((folder / file).read_text("utf-8"))["allow"]:
            assert len(entry["note"]) >= 10, entry["module"]
    missing = [name for name in listed() if found(name) is None and not name.startswith(OTHER_RELEASES)]
    absent = {"xgboost", "lightgbm"}
    assert [name for name in missing if name.partition(".")[0] not in absent] == []


def test_nothing_dangerous_is_listed_under_any_name() -> None:
    forbidden = {id(found(name)): name for name in DANGEROUS if found(name) is not None}
    assert len(forbidden) > 45
    assert [name for name in listed() if id(found(name)) in forbidden] == []
    assert not set(DANGEROUS) & set(listed())


def test_a_listed_function_calls_no_argument_that_its_terms_do_not_name() -> None:
    for name, terms in listed().items():
        function = found(name)
        if not terms.call or not inspect.isfunction(function):
            continue
        parameters = list(inspect.signature(function).parameters)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        called = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        allowed = set() if terms.calls is None else {parameters[terms.calls]}
        assert called & set(parameters) <= allowed, name


def test_every_setstate_has_been_read() -> None:
    for name in listed():
        kind = found(name)
        if isinstance(kind, type):
            owner = next((c for c in kind.__mro__ if "__setstate__" in vars(c)), object)
            path = f"{owner.__module__}.{owner.__qualname__}"
            assert owner is object or path in READ or owner.__module__ in ("collections", "datetime"), (name, path)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_fitted_estimators_are_safe(protocol: int) -> None:
    x, y = make_classification(30, 5, random_state=0)
    models = [
        *(
            kind()
            for name, kind in all_estimators("regressor")[::4]
            if "estimator" not in inspect.signature(kind).parameters
        ),
        make_pipeline(StandardScaler(), SelectKBest(k=2), Ridge()),
        GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2, scoring="r2"),
    ]
    safe = 0
    for model in models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model.fit(x, y)
            except (ValueError, TypeError):  # it wants other data
                continue
        report = look(pickle.dumps(model, protocol))
        assert report.status is Status.SAFE, (model, report.findings)
        safe += 1
    assert safe >= 10
    buffer = io.BytesIO()
    joblib.dump(models[-1], buffer)
    assert look(buffer.getvalue()).status is Status.SAFE


# -- a team's own list -------------------------------------------------------------------------------------------------

UNREVIEWED = b"\x80\x02cteam_nets\nEncoder\n)\x81}bcteam_nets\nmake\nK\x01\x85R\x86."


def test_the_commands_of_the_report_make_the_file_safe(tmp_path: Path) -> None:
    path, own = tmp_path / "model.pkl", tmp_path / "allow.toml"
    path.write_bytes(UNREVIEWED)
    report = scan(path)
    assert report.status is Status.UNKNOWN
    commands = allow_commands(report.findings)
    assert len(commands) == 2
    assert commands[0] in next(f.remedy for f in report.findings if f.rule == "pickle-unreviewed")
    for command in commands:
        _, *arguments = shlex.split(command.replace("allow.toml", str(own)))
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert scan(path, allow=allow_list().extended([own])).status is Status.SAFE


def test_an_entry_without_call_does_not_permit_a_call(tmp_path: Path) -> None:
    add_names(tmp_path / "allow.toml", ["team_nets.Encoder", "team_nets:make"], "read")
    own = allow_list().extended([tmp_path / "allow.toml"])
    assert rules(scan_view(View(UNREVIEWED), "x", allow=own)) == ["pickle-called-reference"]


def test_a_guard_takes_the_list(tmp_path: Path) -> None:
    data = b"\x80\x02cantivenom_no_such_module\nNet\n."
    with guard(), pytest.raises(UnsafeFile, match="nobody has reviewed"):
        pickle.loads(data)  # noqa: S301
    add_names(tmp_path / "allow.toml", ["antivenom_no_such_module.Net"], "read")
    with guard(allow_list().extended([tmp_path / "allow.toml"])), pytest.raises(ModuleNotFoundError):
        pickle.loads(data)  # noqa: S301


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "builtins.eval", "builtins.getattr", "operator.attrgetter", "functools.partial", "torch.load"),
        *("torch.hub.load", "numpy.f2py.crackfortran.myeval", "some.package.utils.import_module", "types.FunctionType"),
        *("ourteam.nets:sys.modules.__class__", "requests.get", "dill._dill._create_function", "uuid.getnode"),
    ],
)
def test_a_dangerous_name_cannot_be_allowed(tmp_path: Path, name: str) -> None:
    own = tmp_path / "allow.toml"
    with pytest.raises(ScanError, match="cannot run code by itself"):
        add_names(own, [name], "read")
    assert not own.exists()
    module, _, attribute = name.rpartition(".") if ":" not in name else name.partition(":")
    own.write_text(f'[[allow]]\nmodule = "{module}"\nnames = ["{attribute}"]\nnote = "by hand"\n')
    with pytest.raises(ScanError, match="cannot run code by itself"):
        allow_list().extended([own])


@pytest.mark.parametrize("name", ["ourteam.*", "ourteam", "ourteam..Net", "ourteam.nets Net", ""])
def test_an_entry_is_one_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScanError, match="one dotted name"):
        add_names(tmp_path / "allow.toml", [name], "read")


# -- what the terms keep out -------------------------------------------------------------------------------------------


def build(kind: bytes, state: bytes) -> bytes:
    """Opcodes for a bare object of a class with a dict of attributes."""
    return b"c" + kind + b"\n)\x81" + b"}(" + state + b"ub"


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


RIDGE = b"sklearn.linear_model._ridge\nRidge"


def test_an_array_over_foreign_memory_is_refused() -> None:
    memory = ctypes.create_string_buffer(b"A" * 8)
    address = b"L%dL\n" % ctypes.addressof(memory)
    interface = (
        b"}(" + text("data") + b"(" + address + b"\x89t" + text("shape") + b"(K\x01t"
        b"" + text("typestr") + text("<f8") + text("version") + b"K\x03u"
    )
    ridge = build(RIDGE, text("_sklearn_version") + text(sklearn.__version__) + text("__array_interface__") + interface)
    attack = b"\x80\x02cnumpy\nfloat64\n" + ridge + b"\x85RK\x00G" + bytes(8) + b"s."
    pickle.loads(attack)  # noqa: S301
    assert memory.raw[:8] == bytes(8)
    assert set(rules(look(attack))) == {"pickle-called-reference", "pickle-shadowed-method"}


def test_an_array_type_that_denies_its_objects_is_refused() -> None:
    honest = pickle.dumps(np.dtype("O"), 2)
    denying = honest.replace(b"K?t", b"K\x00t")
    assert denying != honest
    assert not pickle.loads(denying).hasobject  # noqa: S301
    assert look(honest).status is Status.SAFE
    assert rules(look(denying)) == ["pickle-array-type"]


def test_an_array_type_whose_field_lies_behind_the_record_is_refused() -> None:
    honest = pickle.dumps(np.dtype([("a", "<i4"), ("b", "<i4")]), 2)
    beyond = honest.replace(b"K\x04\x86", b"K\x7f\x86")
    assert pickle.loads(beyond).fields["b"][1] == 127  # noqa: S301
    assert look(honest).status is Status.SAFE
    assert rules(look(beyond)) == ["pickle-array-type"]


def test_an_array_type_that_changes_after_its_use_is_refused() -> None:
    """The array was made of plain bytes; then its type is told that they are an object."""
    honest = pickle.dumps(np.dtype([("a", "O")]), 2)[2:-1]
    made, _, state = honest.partition(b"R")
    attack = (
        b"\x80\x02(" + made + b"Rq\x7f"
        b"cnumpy._core.numeric\n_frombuffer\n(c_codecs\nencode\n" + text("A" * 8) + text("latin1") + b"\x86R"
        b"h\x7f(K\x01t" + text("C") + b"tR0h\x7f" + state.partition(b"q\x03")[2] + b"l."
    )
    assert pickle.loads(attack)[1].hasobject  # noqa: S301
    assert rules(look(attack)) == ["pickle-array-type"]
    inner = b"cnumpy\ndtype\n(" + text("V8") + b"\x89\x88tR"
    nested = attack.replace(b"cnumpy._core.numeric\n_frombuffer\n", inner + b"0cnumpy._core.numeric\n_frombuffer\n")
    assert "pickle-array-type" in rules(look(nested))


def test_types_within_types_are_measured_once() -> None:
    dtype = np.dtype("<i4")
    for _ in range(25):
        dtype = np.dtype([("a", dtype), ("b", dtype)])
    data = pickle.dumps(dtype, 2)
    assert look(data).status is Status.SAFE


def test_a_method_that_loading_calls_cannot_be_replaced() -> None:
    scorer = pickle.dumps(make_scorer(max), 2)[2:-1].replace(b"c__builtin__\nmax\n", b"cnumpy\ntanh\n")
    for name in ("append", "__setstate__"):
        state = b"\x80\x02" + build(RIDGE, text(name) + scorer) + b"."
        assert rules(look(state)) == ["pickle-shadowed-method"], name
    module = b"torch.nn.modules.linear\nIdentity"
    assert "pickle-shadowed-method" in rules(
        look(b"\x80\x02" + build(module, text("_modules") + b"}(" + text("append") + scorer + b"u") + b".")
    )
    built = b"\x80\x02" + build(RIDGE, b"cbuiltins\nstr\n" + text("append") + b"\x85R" + scorer) + b"."
    assert rules(look(built)) == ["pickle-shadowed-method"]
    for flag in (
        b"\x88",
        b"K\x01",
        b"N",
        text("x"),
    ):  # a plain value cannot be called: layers of YOLO have a flag `add`
        assert look(b"\x80\x02" + build(RIDGE, text("add") + flag) + b".").findings == ()
        assert rules(look(b"\x80\x02" + build(RIDGE, text("__class__") + flag) + b".")) == ["pickle-shadowed-method"]
    harmless = b"\x80\x02" + build(RIDGE, text("coef_") + b"K\x01") + b"."
    assert look(harmless).status is Status.SAFE


def test_a_constructor_that_calls_its_argument_gets_listed_names_only() -> None:
    generator = b"\x80\x02cnumpy.random._pickle\n__generator_ctor\n"
    fine = generator + text("MT19937") + b"cnumpy.random._pickle\n__bit_generator_ctor\n\x86R."
    assert isinstance(pickle.loads(fine), np.random.Generator)  # noqa: S301
    assert look(fine).status is Status.SAFE
    built = generator + b"K\x01" + build(RIDGE, text("coef_") + b"N") + b"\x86R."
    assert rules(look(built)) == ["pickle-computed-call"]
    hidden = generator + b"cbuiltins\ntuple\n]\x85R" + b"R."
    assert "pickle-computed-call" in rules(look(hidden))


def test_a_scipy_distribution_runs_its_state_and_is_not_listed(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    distribution = stats.uniform(0, 1).dist
    plain = distribution.__reduce_ex__(2)[2]["_parse_arg_template"]
    distribution = type(distribution)(name="uniform")
    distribution._parse_arg_template = f"open({str(marker)!r}, 'w').close()\n" + plain
    data = pickle.dumps(distribution)
    pickle.loads(data)  # noqa: S301
    assert marker.exists()
    assert "pickle-global" in rules(look(data))


def test_a_team_can_extend_the_list_on_terms(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[[allow]]\nmodule = "acme"\nnames = ["Model"]\ncall = false\nnote = "read by two of us"\n')
    allow = allow_list(Tier.TENSORS).extended([mine])
    assert allow.permission(Global("acme", "Model")) == Permission(call=False)
    assert look(b"cacme\nModel\n)\x81.", allow=allow).status is Status.SAFE
    assert rules(look(b"cacme\nModel\n)R.", allow=allow)) == ["pickle-called-reference"]
    mine.write_text('[[allow]]\nmodule = "acme"\nnames = ["Model"]\ncall = 3\nnote = "no"\n')
    with pytest.raises(ScanError, match="call"):
        allow_list().extended([mine])


def test_the_list_was_written_with_this_major_release_of_scikit_learn() -> None:
    assert sklearn.__version__.split(".")[0] == "1"
