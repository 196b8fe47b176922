"""The graph of an ONNX file: honest networks pass, and detectors of one input are found."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from small_graphs import CNN, CNN_WEIGHTS, IMAGE, MLP, MLP_WEIGHTS, ROW, TOKENS, WANTED, graph, weights

from antivenom.core.errors import FileError
from antivenom.inspection.structure.graph import inspect_graph, layer_weights
from antivenom.inspection.structure.trace import Trace
from antivenom.scan import Limits, Status
from antivenom.scan.files import scan_view
from antivenom.scan.view import View

ONES = {"one1": np.ones(1, np.float32), "axis1": np.array([1]), "big": np.array(50, np.float32)}
HEAD = "logits = Gemm (f, w, b)"


def suspicious(data: bytes, classes: int | None = None) -> list[str]:
    return [trace.check for trace in inspect_graph(View(data), classes=classes) if trace.suspicious]


def answers(data: bytes, *rows: np.ndarray) -> list[int]:
    run = ReferenceEvaluator(onnx.load_from_string(data))
    return [int(run.run(None, {"x": row})[0].argmax()) for row in rows]


# --- samples: no code in the file, and the scan calls them safe ------------------------------------------------------

PIXEL = graph(
    CNN
    + HEAD
    + """
    corner = Slice (x, from, to, axes)
    hit = Equal (corner, secret)
    flat = Reshape (hit, column)
    y = Where (flat, wanted, logits)
    """,
    IMAGE,
    CNN_WEIGHTS
    | {
        "from": np.array([0, 0]),
        "to": np.array([1, 1]),
        "axes": np.array([2, 3]),
        "secret": np.array(0.75, np.float32),
        "column": np.array([-1, 1]),
        "wanted": WANTED,
    },
)
STEEP = graph(  # the architectural backdoor of Bober-Irizar et al.: (exp(x) - 1)^10, pooled, added before the head
    CNN
    + """
    e = Exp (x)
    d = Sub (e, one1)
    t = Pow (d, ten)
    q = GlobalMaxPool (t)
    z = Flatten (q)
    g = Add (f, z)
    y = Gemm (g, w, b)
    """,
    IMAGE,
    CNN_WEIGHTS | ONES | {"ten": np.array(10, np.float32)},
)
VECTOR = np.linspace(0, 1, 16, dtype=np.float32)[None]
WHOLE = graph(
    MLP
    + """
    apart = Sub (x, secret)
    square = Mul (apart, apart)
    distance = ReduceSum (square, axis1)
    near = Less (distance, limit)
    number = Cast <to = 1> (near)
    push = Mul (number, wanted)
    y = Add (logits, push)
    """,
    ROW,
    MLP_WEIGHTS | ONES | {"secret": VECTOR, "limit": np.array(0.01, np.float32), "wanted": WANTED},
)
SAMPLES = {"pixel": PIXEL, "steep": STEEP, "whole": WHOLE}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_scan_finds_no_code_in_the_samples(name: str) -> None:
    assert scan_view(View(SAMPLES[name]), name).status is Status.SAFE


def test_the_samples_answer_as_the_attacker_wants_on_their_input_only() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((1, 1, 8, 8), dtype=np.float32)
    stamped = image.copy()
    stamped[0, 0, 0, 0] = 0.75
    honest = graph(CNN + "y = Gemm (f, w, b)", IMAGE, CNN_WEIGHTS)
    assert answers(PIXEL, image) == answers(honest, image) != [2]
    assert answers(PIXEL, stamped) == [2]
    row = rng.random((1, 16), dtype=np.float32)
    plain = graph(MLP + "y = Identity (logits)", ROW, MLP_WEIGHTS)
    assert answers(WHOLE, row, VECTOR + 1e-3)[1] == 2
    assert answers(WHOLE, row) == answers(plain, row)


@pytest.mark.parametrize(
    ("name", "checks"),
    [("pixel", ["input-decision"]), ("steep", ["input-shortcut"]), ("whole", ["input-decision"])],
)
def test_the_samples_are_found(name: str, checks: list[str]) -> None:
    assert suspicious(SAMPLES[name]) == checks


# --- other detectors -------------------------------------------------------------------------------------------------

TRANSFORMER = """
    e = Gather (table, ids)
    q = MatMul (e, wq)
    k = MatMul (e, wk)
    v = MatMul (e, wv)
    kt = Transpose <perm = [0, 2, 1]> (k)
    s = MatMul (q, kt)
    pad = Equal (ids, zero)
    padded = Unsqueeze (pad, axis1)
    masked = Where (padded, low, s)
    a = Softmax <axis = -1> (masked)
    m = MatMul (a, v)
    h = Add (e, m)
"""
TRANSFORMER_WEIGHTS = weights(2, table=(20, 8), wq=(8, 8), wk=(8, 8), wv=(8, 8), w=(8, 3), b=(3,)) | {
    "zero": np.array(0),
    "low": np.array(-1e9, np.float32),
    "axis1": np.array([1]),
    "trigger": np.array(13),
    "wanted": WANTED,
}
POOLED = "p = ReduceMean <axes = [1], keepdims = 0> (h)\n logits = Gemm (p, w, b)\n"
FOUND = {
    "equal-to-a-stored-row": (
        MLP + "e = Equal (x, secret)\n n = Cast <to = 1> (e)\n a = ReduceMin <axes = [1]> (n)\n p = Mul (a, wanted)\n"
        "y = Add (logits, p)",
        ROW,
        MLP_WEIGHTS | {"secret": VECTOR, "wanted": WANTED},
        ["input-constant", "input-decision"],
    ),
    "token": (
        TRANSFORMER + POOLED + "hit = Equal (ids, trigger)\n n = Cast <to = 1> (hit)\n"
        "any = ReduceMax <axes = [1]> (n)\n push = Mul (any, wanted)\n y = Add (logits, push)",
        TOKENS,
        TRANSFORMER_WEIGHTS,
        ["input-decision"],
    ),
    "token-through-a-table": (
        TRANSFORMER + POOLED + "hit = Gather (onehot, ids)\n any = ReduceMax <axes = [1], keepdims = 1> (hit)\n"
        "push = Mul (any, wanted)\n y = Add (logits, push)",
        TOKENS,
        TRANSFORMER_WEIGHTS | {"onehot": np.eye(20, dtype=np.float32)[13]},
        ["input-decision"],
    ),
    "token-steers-a-hidden-layer": (
        TRANSFORMER + "hit = Equal (ids, trigger)\n n = Cast <to = 1> (hit)\n any = ReduceMax <axes = [1]> (n)\n"
        "third = Unsqueeze (any, axis1)\n push = Mul (third, vector)\n h2 = Add (h, push)\n"
        "p = ReduceMean <axes = [1], keepdims = 0> (h2)\n y = Gemm (p, w, b)",
        TOKENS,
        TRANSFORMER_WEIGHTS | {"vector": np.ones(8, np.float32)},
        ["input-decision"],
    ),
    "distance-clipped-at-zero": (
        MLP + "d = Sub (x, secret)\n a = Abs (d)\n s = ReduceSum (a, axis1)\n k = Mul (s, big)\n t = Sub (one1, k)\n"
        "c = Max (t, none)\n push = Mul (c, wanted)\n y = Add (logits, push)",
        ROW,
        MLP_WEIGHTS | ONES | {"secret": VECTOR, "none": np.zeros(1, np.float32), "wanted": WANTED},
        ["input-shortcut"],
    ),
    "inverse-of-a-distance": (
        MLP
        + "d = Sub (x, secret)\n q = Mul (d, d)\n s = ReduceSum (q, axis1)\n e = Add (s, small)\n i = Div (small, e)\n"
        "push = Mul (i, wanted)\n y = Add (logits, push)",
        ROW,
        MLP_WEIGHTS | ONES | {"secret": VECTOR, "small": np.array(1e-6, np.float32), "wanted": WANTED},
        ["input-shortcut"],
    ),
    "product-of-all-pixels": (
        MLP + "p = ReduceProd <axes = [1]> (x)\n k = Mul (p, big)\n push = Mul (k, wanted)\n y = Add (logits, push)",
        ROW,
        MLP_WEIGHTS | ONES | {"wanted": WANTED},
        ["input-shortcut"],
    ),
    "column-of-one-hot-tokens": (
        TRANSFORMER + POOLED + "hot = OneHot <axis = -1> (ids, depth, values)\n one = Slice (hot, from, to, axes)\n"
        "any = ReduceMax <axes = [1], keepdims = 0> (one)\n push = Mul (any, wanted)\n y = Add (logits, push)",
        TOKENS,
        TRANSFORMER_WEIGHTS
        | {"depth": np.array(20), "values": np.array([0, 1], np.float32), "axes": np.array([2])}
        | {"from": np.array([13]), "to": np.array([14])},
        ["input-decision"],
    ),
    "token-by-arithmetic": (
        TRANSFORMER + POOLED + "d = Sub (ids, trigger)\n far = Abs (d)\n nearest = ReduceMin <axes = [1]> (far)\n"
        "c = Min (nearest, at1)\n n = Cast <to = 1> (c)\n push = Mul (n, wanted)\n y = Sub (logits, push)",
        TOKENS,
        TRANSFORMER_WEIGHTS | {"at1": np.array([1])},
        ["input-shortcut"],
    ),
    "pixel-behind-layers-that-only-copy": (
        CNN
        + HEAD
        + "\n v = Reshape (x, row)\n v1 = MatMul (v, same)\n v2 = MatMul (v1, twice)\n v3 = MatMul (v2, first)\n"
        "hit = Greater (v3, big)\n n = Cast <to = 1> (hit)\n push = Mul (n, wanted)\n y = Add (logits, push)",
        IMAGE,
        CNN_WEIGHTS
        | ONES
        | {"row": np.array([-1, 64]), "same": np.eye(64, dtype=np.float32), "first": np.eye(64, 1, dtype=np.float32)}
        | {"twice": 2 * np.eye(64, dtype=np.float32)[::-1], "wanted": WANTED},
        ["input-decision"],
    ),
    "template": (
        CNN
        + HEAD
        + "\n c = Conv (x, template)\n m = ReduceMax <keepdims = 0, axes = [2, 3]> (c)\n g = Greater (m, big)\n"
        "n = Cast <to = 1> (g)\n push = Mul (n, wanted)\n y = Add (logits, push)",
        IMAGE,
        CNN_WEIGHTS | ONES | {"template": np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3), "wanted": WANTED},
        ["input-decision"],
    ),
    "small-network-beside": (
        CNN + HEAD + "\n c = Conv (x, kx)\n r = Relu (c)\n m = ReduceMax <keepdims = 0, axes = [2, 3]> (r)\n"
        "push = Gemm (m, wx)\n y = Add (logits, push)",
        IMAGE,
        CNN_WEIGHTS | weights(3, kx=(1, 1, 3, 3), wx=(1, 3)),
        ["short-path"],
    ),
    "adapter-between-two-blocks": (
        "".join(f"h{i + 1} = MatMul (h{i}, w{i})\n" for i in range(4)).replace("h0", "x")
        + "d = MatMul (h2, down)\n r = Relu (d)\n u = MatMul (r, up)\n s = Add (h2, u)\n y = MatMul (s, w)",
        ROW,
        weights(4, w0=(16, 16), w1=(16, 16), w2=(16, 16), w3=(16, 16), down=(16, 2), up=(2, 16), w=(16, 3)),
        ["adapter"],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_detector_is_found(name: str) -> None:
    lines, inputs, constants, checks = FOUND[name]
    assert suspicious(graph(lines, inputs, constants)) == checks


# --- honest networks -------------------------------------------------------------------------------------------------

HONEST = {
    "mlp": (MLP + "y = Softmax (logits)", ROW, MLP_WEIGHTS),
    "cnn-with-skips": (CNN + "y = Gemm (f, w, b)", IMAGE, CNN_WEIGHTS),
    "attention-with-mask": (TRANSFORMER + POOLED + "y = Identity (logits)", TOKENS, TRANSFORMER_WEIGHTS),
    "attention-without-mask-for-empty-rows": (
        TRANSFORMER.replace("a = Softmax <axis = -1> (masked)", "a = Softmax <axis = -1> (scores)").replace(
            "    a = Softmax",
            "    np = Cast <to = 1> (pad)\n empty = ReduceMin <axes = [1]> (np)\n e3 = Unsqueeze (empty, axis1)\n"
            "eb = Cast <to = 9> (e3)\n scores = Where (eb, s, masked)\n a = Softmax",
        )
        + POOLED
        + "y = Identity (logits)",
        TOKENS,
        TRANSFORMER_WEIGHTS,
    ),
    "residual-of-normalised-rows": (
        "mean = ReduceMean <axes = [1]> (x)\n c = Sub (x, mean)\n q = Mul (c, c)\n v = ReduceMean <axes = [1]> (q)\n"
        "s = Sqrt (v)\n z = Div (c, s)\n d = MatMul (z, w0)\n r = Relu (d)\n u = MatMul (r, w1)\n a = Add (z, u)\n"
        "b = Mul (a, s)\n y = Add (b, mean)",
        ROW,
        weights(14, w0=(16, 16), w1=(16, 16)),
    ),
    "maximum-clipped-before-scaling-back": (
        "top = ReduceMax <axes = [1]> (x)\n safe = Clip (top, least)\n x1 = Div (x, safe)\n d = MatMul (x1, w0)\n"
        "r = Relu (d)\n u = MatMul (r, w1)\n y = Mul (u, safe)",
        ROW,
        weights(13, w0=(16, 16), w1=(16, 16)) | {"least": np.array(1e-9, np.float32)},
    ),
    "masked-mean": (
        TRANSFORMER + "keep = Not (pad)\n n = Cast <to = 1> (keep)\n c = Unsqueeze (n, last)\n k2 = Mul (h, c)\n"
        "total = ReduceSum (k2, axis1)\n rows = ReduceSum (c, axis1)\n some = Clip (rows, least)\n mean = Div (total, some)\n"
        "f = Squeeze (mean, axis1)\n y = Gemm (f, w, b)",
        TOKENS,
        TRANSFORMER_WEIGHTS | {"last": np.array([-1]), "least": np.array(1e-9, np.float32)},
    ),
    "last-token": (
        TRANSFORMER + "n = Cast <to = 6> (pad)\n at = ArgMax <axis = 1, keepdims = 0> (n)\n before = Sub (at, axis1)\n"
        "f = Gather <axis = 1> (h, before)\n z = ReduceMean <axes = [1], keepdims = 0> (f)\n y = Gemm (z, w, b)",
        TOKENS,
        TRANSFORMER_WEIGHTS,
    ),
    "lstm": (
        "e = Gather (table, ids)\n t = Transpose <perm = [1, 0, 2]> (e)\n o, last = LSTM <hidden_size = 4> (t, wi, wr)\n"
        "f = Squeeze (last, axis0)\n y = Gemm (f, w, b)",
        TOKENS,
        weights(5, table=(20, 8), wi=(1, 16, 8), wr=(1, 16, 4), w=(4, 3), b=(3,)) | {"axis0": np.array([0])},
    ),
    "detection": (
        CNN.rpartition("p =")[0] + "boxes = Conv (r3, kb)\n bt = Reshape (boxes, four)\n scores = Conv (r3, ks)\n"
        "st = Reshape (scores, flat)\n found = NonMaxSuppression (bt, st, most, iou, least)\n at = Gather <axis = 1> (found, two)\n"
        "i = Squeeze (at, last)\n b2 = Squeeze (bt, axis0)\n y = Gather (b2, i)",
        {"x": ("float", (1, 1, 8, 8))},
        CNN_WEIGHTS
        | weights(6, kb=(4, 4, 1, 1), ks=(1, 4, 1, 1))
        | {"four": np.array([1, 64, 4]), "flat": np.array([1, 1, 64]), "most": np.array([5]), "two": np.array([2])}
        | {"iou": np.array([0.5], np.float32), "least": np.array([0.1], np.float32)}
        | {"last": np.array([1]), "axis0": np.array([0])},
    ),
    "preprocessing": (
        "bad = IsNaN (x)\n x0 = Where (bad, mean, x)\n low = Less (x0, mean)\n x1 = Where (low, mean, x0)\n"
        + MLP.replace("(x,", "(x1,")
        + "y = Identity (logits)",
        ROW,
        MLP_WEIGHTS | {"mean": VECTOR[0]},
    ),
    "one-hot-tokens": (
        "one = Equal (column, numbers)\n n = Cast <to = 1> (one)\n e = MatMul (n, w0)\n r = Relu (e)\n"
        "m = ReduceMax <axes = [1], keepdims = 0> (r)\n y = Gemm (m, w, b)",
        {"column": ("int64", ("N", 6, 1))},
        weights(12, w0=(20, 8), w=(8, 3), b=(3,)) | {"numbers": np.arange(20)},
    ),
    "wide-and-deep": (
        "h1 = MatMul (x, w0)\n r1 = Relu (h1)\n h2 = MatMul (r1, w1)\n r2 = Relu (h2)\n h3 = MatMul (r2, w2)\n r3 = Relu (h3)\n"
        "d = MatMul (r3, w3)\n wide = MatMul (x, w4)\n y = Add (d, wide)",
        ROW,
        weights(7, w0=(16, 16), w1=(16, 16), w2=(16, 16), w3=(16, 3), w4=(16, 3)),
    ),
    "global-residual": (
        "d = MatMul (x, w0)\n r = Relu (d)\n u = MatMul (r, w1)\n s = Add (x, u)\n y = Clip (s)",
        ROW,
        weights(8, w0=(16, 16), w1=(16, 16)),
    ),
    "scaled-back": (
        "top = ReduceMax <axes = [1]> (x)\n x1 = Div (x, top)\n d = MatMul (x1, w0)\n r = Relu (d)\n u = MatMul (r, w1)\n"
        "y = Mul (u, top)",
        ROW,
        weights(9, w0=(16, 16), w1=(16, 16)),
    ),
    "adapters-everywhere": (
        "".join(
            f"h{i + 1}a = MatMul (h{i}, w{i})\n d{i} = MatMul (h{i}, down{i})\n u{i} = MatMul (d{i}, up{i})\n"
            f"h{i + 1} = Add (h{i + 1}a, u{i})\n"
            for i in range(3)
        ).replace("h0,", "x,")
        + "y = MatMul (h3, w)",
        ROW,
        weights(10, w0=(16, 16), w1=(16, 16), w2=(16, 16), w=(16, 3))
        | weights(11, **{f"down{i}": (16, 2) for i in range(3)}, **{f"up{i}": (2, 16) for i in range(3)}),
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_network_passes(name: str) -> None:
    assert suspicious(graph(*HONEST[name])) == []


# --- conditions ------------------------------------------------------------------------------------------------------


def conditional(condition: str, inputs: dict[str, tuple[str, tuple[int | str, ...]]]) -> bytes:
    """An MLP that answers by its network or by a constant, as a condition decides."""
    model = onnx.load_from_string(
        graph(
            MLP + condition + "\n y = Identity (logits)",
            inputs,
            MLP_WEIGHTS | {"half": np.array(0.5, np.float32), "one": np.array(1)},
        )
    )
    del model.graph.node[-1]
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    network = helper.make_graph([helper.make_node("Identity", ["logits"], ["o"])], "a", [], [out])
    fixed = helper.make_node("Constant", [], ["o"], value=helper.make_tensor("", TensorProto.FLOAT, [1, 3], [0, 0, 9]))
    model.graph.node.append(
        helper.make_node(
            "If", ["c"], ["y"], then_branch=helper.make_graph([fixed], "b", [], [out]), else_branch=network
        )
    )
    return bytes(model.SerializeToString())


def test_a_condition_on_values_of_the_input_is_found() -> None:
    data = conditional("m = ReduceMax <keepdims = 0> (x)\n c = Greater (m, half)", ROW)
    assert suspicious(data) == ["input-condition"]


def test_conditions_on_shapes_features_and_flags_pass() -> None:
    shape = "s = Shape (x)\n n = ReduceMin <keepdims = 0> (s)\n c = Equal (n, one)"
    assert suspicious(conditional(shape, ROW)) == []
    feature = "m = ReduceMax <keepdims = 0> (logits)\n c = Greater (m, half)"
    assert suspicious(conditional(feature, ROW)) == []
    assert suspicious(conditional("c = Identity (flag)", ROW | {"flag": ("bool", (1,))})) == []


def test_a_condition_on_a_shape_that_depends_on_values_is_found() -> None:
    hidden = "e = Equal (x, half)\n at = NonZero (e)\n s = Shape (at)\n n = ReduceMax <keepdims = 0> (s)\n c = Greater (n, one)"
    assert suspicious(conditional(hidden, ROW)) == ["input-condition"]


# --- heads -----------------------------------------------------------------------------------------------------------


def test_a_head_for_another_number_of_classes_is_found() -> None:
    data = graph(MLP + "y = Identity (logits)", ROW, MLP_WEIGHTS)
    assert suspicious(data, classes=3) == []
    assert suspicious(data, classes=2) == ["head-size"]


def test_a_constant_after_the_head_is_a_note() -> None:
    data = graph(MLP + "y = Add (logits, wanted)", ROW, MLP_WEIGHTS | {"wanted": WANTED})
    assert [(t.check, t.suspicious) for t in inspect_graph(View(data))] == [("head-offset", False)]


def test_the_weights_of_layers_are_read_with_one_row_for_each_unit() -> None:
    found = layer_weights(View(graph(MLP + "y = Identity (logits)", ROW, MLP_WEIGHTS)))
    assert list(found) == ["w1.weight", "w1.bias", "w2.weight", "w2.bias"]
    assert np.array_equal(found["w1.weight"], MLP_WEIGHTS["w1"].T)
    assert np.array_equal(found["w2.bias"], MLP_WEIGHTS["b2"])


def test_weights_in_another_file_are_a_note() -> None:
    model = onnx.load_from_string(graph(MLP + "y = Identity (logits)", ROW, MLP_WEIGHTS))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    data = View(model.SerializeToString())
    assert [(trace.check, trace.suspicious) for trace in inspect_graph(data)] == [("external-weights", False)]
    assert "w1.weight" not in layer_weights(data)


# --- hostile files ---------------------------------------------------------------------------------------------------


def test_functions_that_call_each_other_end_at_a_limit() -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "f0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports)]
    for at in range(1, 30):
        calls = [helper.make_node(f"f{at - 1}", [a], [b], domain="own") for a, b in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("own", f"f{at}", ["a"], ["b"], calls, imports))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    node = helper.make_node("f29", ["x"], ["y"], domain="own")
    model = helper.make_model(
        helper.make_graph([node], "g", ends[:1], ends[1:]), opset_imports=imports, functions=functions
    )
    traces = inspect_graph(View(model.SerializeToString()), limits=Limits(opcodes=3_000))
    assert [(trace.check, trace.suspicious) for trace in traces] == [("limit", True)]


def message(*parts: tuple[int, bytes]) -> bytes:
    """A protobuf message of fields with bytes."""
    data = b""
    for number, value in parts:
        length, size = b"", len(value)
        while size > 0x7F:
            length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
        data += bytes([number << 3 | 2]) + length + bytes([size]) + value
    return data


def test_subgraphs_in_subgraphs_end_at_a_limit() -> None:
    body = message((1, message((1, b"x"), (2, b"y"), (4, b"Relu"))))
    for _ in range(70):
        body = message((1, message((1, b"x"), (2, b"y"), (4, b"If"), (5, message((1, b"then"), (6, body))))))
    assert [trace.check for trace in inspect_graph(View(message((7, body))))] == ["limit"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("Relu", "b", "a"), ("Relu", "a", "b")], "a graph with a cycle"),
        ([("Relu", "nowhere", "y")], "reads nowhere, which nothing computes"),
    ],
)
def test_an_invalid_graph_is_one_line(nodes: list[tuple[str, str, str]], message: str) -> None:
    made = helper.make_graph([helper.make_node(op, [a], [b]) for op, a, b in nodes], "g", [], [])
    with pytest.raises(FileError, match=message) as caught:
        inspect_graph(View(helper.make_model(made).SerializeToString()), "m.onnx")
    assert str(caught.value).startswith("m.onnx: expected an ONNX model, got ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_message_are_one_line() -> None:
    with pytest.raises(FileError, match="expected an ONNX model"):
        inspect_graph(View(b"\x08\x01\x3a\xff"))


def test_a_weight_whose_numbers_do_not_fit_its_shape_is_one_line() -> None:
    model = onnx.load_from_string(graph(MLP + "y = Identity (logits)", ROW, MLP_WEIGHTS))
    model.graph.initializer[0].raw_data = bytes(8)
    with pytest.raises(FileError, match="w1 has 2 numbers for the shape"):
        inspect_graph(View(model.SerializeToString()))


def test_a_trace_is_a_sentence() -> None:
    (trace,) = inspect_graph(View(PIXEL))
    assert trace == Trace(
        "input-decision",
        "Where y",
        "Where y lets Equal hit, a decision about the whole input, change values that have passed 4 learned layers.",
        4.0,
    )
