"""Groups of ONNX operations by what they do to information from the input."""

from __future__ import annotations

COMPARE = {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "IsNaN", "IsInf", "Sign"}
LOGIC = {"And", "Or", "Xor", "Not", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"}
# Steep or bent functions, from which a detector can be built without a comparison.
STEEP = {
    "Exp",
    "Sigmoid",
    "HardSigmoid",
    "Tanh",
    "Relu",
    "LeakyRelu",
    "ThresholdedRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Celu",
}
STEEP |= {
    "Floor",
    "Ceil",
    "Round",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "Shrink",
    "Softplus",
    "Erf",
    "Gelu",
    "HardSwish",
}
STEEP |= {"Swish", "Mish", "Softsign", "Sinh", "Cosh", "Tan"}
# One number from many, or one number picked from many.
REDUCE = {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "AveragePool", "MaxPool", "LpPool", "TopK", "ArgMax"}
REDUCE |= {"ArgMin", "Slice", "Gather", "GatherND", "GatherElements", "Split", "Compress", "NonMaxSuppression", "Det"}
POSITION = {"ArgMax", "ArgMin", "NonZero", "TopK"}  # the result is a position, not a decision
KEEPS_DECISION = {"ReduceMin", "ReduceMax", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp"}
# Functions of single numbers, or of several of them, that are not linear, besides the steep ones.
CURVED = {
    "Clip",
    "Max",
    "Min",
    "Abs",
    "QuantizeLinear",
    "Reciprocal",
    "Pow",
    "ReduceProd",
    "ReduceSumSquare",
    "ReduceL2",
}
# Joins that let a statistic of the input push a result. Honest networks scale, divide and look up by such a statistic.
PUSHES = {"Add", "Sub", "Sum", "Mean", "Where", "Max", "Min", "ScatterND", "ScatterElements"}
# Layers whose weights are learned, if one operand is a constant.
PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "MatMulInteger", "ConvInteger", "QLinearMatMul"}
PRODUCTS |= {"QLinearConv", "FusedConv", "FusedMatMul", "FusedGemm", "MatMulNBits", "DeformConv", "QGemm"}
LEARNED = {"LSTM", "GRU", "RNN", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "LinearClassifier"}
LEARNED |= {"LinearRegressor", "SVMClassifier", "SVMRegressor", "DynamicQuantizeLSTM"}
ATTENTION = {
    "Attention",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "QAttention",
    "PackedAttention",
    "DecoderAttention",
}
ATTENTION |= {"DecoderMaskedSelfAttention", "DecoderMaskedMultiHeadAttention", "LongformerAttention"}
SHAPE = {"Shape", "Size"}
# The shape of their result depends on the values of these inputs.
SIZED_BY: dict[str, tuple[int, ...]] = {
    "NonZero": (0,),
    "Compress": (1,),
    "NonMaxSuppression": (0, 1),
    "Unique": (0,),
    "Reshape": (1,),
    "Expand": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "Tile": (1,),
    "Slice": (1, 2, 3, 4),
    "TopK": (1,),
    "Pad": (1,),
    "Resize": (1, 2, 3),
    "OneHot": (1,),
}
# Operations that pass a value on without mixing it with another value of the same row.
PASSES = {
    "Identity",
    "Cast",
    "CastLike",
    "Dropout",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Expand",
    "Flatten",
}
PASSES |= {"Clip", "Slice", "QuantizeLinear", "DequantizeLinear"}
ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Where", "Max", "Min", "Sum", "Mean", "Pow"}
BOOL = 9
INTEGER_TYPES = {2, 3, 5, 6, 7, 9, 12, 13}
