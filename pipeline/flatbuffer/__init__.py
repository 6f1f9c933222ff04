"""Read .tflite files that may be damaged or hostile, without TensorFlow and without a runtime."""

from pipeline.flatbuffer.model import Operator, Subgraph, Tensor, TfliteModel
from pipeline.flatbuffer.read import read_tflite
from pipeline.flatbuffer.reader import printable
from pipeline.flatbuffer.weights import (
    FloatOperator,
    ZeroCount,
    count_zeros,
    float_operators,
    integer_io,
    kernels,
    weight_sparsity,
)

__all__ = [
    "FloatOperator",
    "Operator",
    "Subgraph",
    "Tensor",
    "TfliteModel",
    "ZeroCount",
    "count_zeros",
    "float_operators",
    "integer_io",
    "kernels",
    "printable",
    "read_tflite",
    "weight_sparsity",
]
