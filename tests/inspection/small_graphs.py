"""Small ONNX files for the tests: honest networks, and the same networks with a detector of one input built in."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_TYPES = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def weights(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def graph(
    lines: str,
    inputs: dict[str, tuple[str, tuple[int | str, ...]]],
    constants: dict[str, np.ndarray],
    output: str = "y",
) -> bytes:
    """The file whose nodes are written as `result = Operation(a, b) {attribute = value}`, one a line."""
    text = "\n".join(line.strip() for line in lines.strip().splitlines())
    given = ", ".join(f"{kind}[{','.join(map(str, shape))}] {name}" for name, (kind, shape) in inputs.items())
    head = '<ir_version: 8, opset_import: ["" : 17]>'
    model = onnx.parser.parse_model(f"{head} g ({given}) => (float[N,M] {output}) {{ {text} }}")
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    onnx.checker.check_model(model)
    return model.SerializeToString()


IMAGE = {"x": ("float", ("N", 1, 8, 8))}
ROW = {"x": ("float", ("N", 16))}
TOKENS = {"ids": ("int64", ("N", 6))}
MLP = """
    h = Gemm (x, w1, b1)
    r = Relu (h)
    logits = Gemm (r, w2, b2)
"""
MLP_WEIGHTS = weights(0, w1=(16, 8), b1=(8,), w2=(8, 3), b2=(3,))
CNN = """
    c1 = Conv <pads = [1,1,1,1]> (x, k1)
    n1 = BatchNormalization (c1, one, zero, zero, one)
    r1 = Relu (n1)
    c2 = Conv <pads = [1,1,1,1]> (r1, k2)
    s2 = Add (c2, r1)
    r2 = Relu (s2)
    c3 = Conv <pads = [1,1,1,1]> (r2, k3)
    s3 = Add (c3, r2)
    r3 = Relu (s3)
    p = GlobalAveragePool (r3)
    f = Flatten (p)
"""
CNN_WEIGHTS = weights(1, k1=(4, 1, 3, 3), k2=(4, 4, 3, 3), k3=(4, 4, 3, 3), w=(4, 3), b=(3,)) | {
    "one": np.ones(4, np.float32),
    "zero": np.zeros(4, np.float32),
}
WANTED = np.array([[0, 0, 100]], np.float32)
