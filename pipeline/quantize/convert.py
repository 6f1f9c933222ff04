"""Keras models to .tflite: the float32 baseline, and full-integer int8.

The converter runs in a child process: it segfaults on some recurrent layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import sandbox
from pipeline.artifacts import Baseline, QuantizedModel
from pipeline.errors import StageError
from pipeline.flatbuffer import float_operators, integer_io, read_tflite, weight_sparsity
from pipeline.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import AwareModel, CalibrationSet, Dataset, FloatModel, Preprocessing
    from pipeline.flatbuffer import TfliteModel

VERSION = 1
INT8_STAGE = "convert_int8"
# int8 rounding adds zeros and takes none away, but folding a batch normalisation may flip a tie.
LOST_ZEROS_TOLERANCE = 1e-3
NAMED_OPERATORS = 3  # in an error, which is one line


def convert_float(model: FloatModel, *, timeout_s: float, out: Path) -> Baseline:
    """Convert the unchanged model to float32, the reference of every comparison.

    Raises:
        StageError: the converter failed, crashed or took too long.
    """
    written = out / "float.tflite"
    sandbox.run("convert_float", _write_float, model.original, written, timeout_s=timeout_s)
    return Baseline(size_bytes=written.stat().st_size)


def convert_int8(
    aware: AwareModel,
    samples: CalibrationSet,
    data: Dataset,
    preprocessing: Preprocessing,
    *,
    timeout_s: float,
    out: Path,
) -> QuantizedModel:
    """Convert to int8 with int8 input and output, and look into the file whether it is so.

    Raises:
        StageError: the converter failed, crashed or took too long; or a float operator is left, or
            zeros were lost on the way.
    """
    written = out / "int8.tflite"
    sandbox.run(INT8_STAGE, _write_int8, aware, samples, data, preprocessing, written, timeout_s=timeout_s)
    flat = read_tflite(written)
    _check_integer(flat, aware)
    kernels = weight_sparsity(flat).values()
    zeros, weights = sum(count.zeros for count in kernels), sum(count.total for count in kernels)
    if zeros < aware.zero_weights * (1 - LOST_ZEROS_TOLERANCE):
        cause = f"{aware.zero_weights:,} weights were zero before the conversion and {zeros:,} after"
        hint = "report this model: zeros must survive quantization"
        raise StageError(INT8_STAGE, cause, hint)
    return QuantizedModel(size_bytes=flat.size_bytes, sha256=flat.sha256, sparsity=zeros / max(weights, 1))


def _check_integer(flat: TfliteModel, aware: AwareModel) -> None:
    left = float_operators(flat)
    if not left and integer_io(flat):
        return
    named = ", ".join(f"{name:.80}" for name in left[:NAMED_OPERATORS])
    more = f" and {len(left) - NAMED_OPERATORS} more" if len(left) > NAMED_OPERATORS else ""
    cause = f"float operators are left: {named}{more}" if left else "its input or output is not int8"
    kinds = {layer.kind for layer in aware.layers if layer.treatment == "post-training"}
    without = f", of these kinds perhaps: {', '.join(sorted(kinds))}" if kinds else ""
    raise StageError(INT8_STAGE, cause, f"replace layers that have no int8 kernel{without}")


def _write_float(model: Path, written: Path) -> None:
    from pipeline.training import open_model, start_tensorflow

    start_tensorflow(0)
    tf = tensorflow()
    written.write_bytes(_converter(tf, open_model(model)).convert())


def _write_int8(
    aware: AwareModel, samples: CalibrationSet, data: Dataset, preprocessing: Preprocessing, written: Path
) -> None:
    from pipeline.quantize.aware import open_aware_model
    from pipeline.training import start_tensorflow

    start_tensorflow(0)
    tf = tensorflow()
    raw = np.load(data.train_inputs, mmap_mode="r")
    chosen = np.load(samples.indices)
    model = open_aware_model(aware)
    dtype = model.inputs[0].dtype.as_numpy_dtype

    def representative() -> Iterator[list[NDArray[Any]]]:
        for index in chosen:
            yield [preprocessing.apply(raw[index : index + 1]).astype(dtype, copy=False)]

    converter = _converter(tf, model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    written.write_bytes(_constants_once(converter.convert()))


def _constants_once(tflite: bytes) -> bytes:
    """Keep one copy of equal constants: the converter writes a kernel as often as it is used."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(tflite)
    first: dict[bytes, int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None and len(data):
                tensor.buffer = first.setdefault(bytes(data), tensor.buffer)
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or ()}
    doubles = [
        buffer for at, buffer in enumerate(model.buffers) if at not in used and buffer.data is not None
    ]
    if not doubles:
        return tflite
    for buffer in doubles:
        buffer.data = None
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _converter(tf: Any, model: Any) -> Any:
    """A converter of the model for one sample at a time.

    An open batch dimension would leave shape arithmetic around every reshape, which no delegate takes.
    """
    sample = tf.TensorSpec((1, *model.inputs[0].shape[1:]), model.inputs[0].dtype, name=model.input_names[0])
    infer = tf.function(lambda inputs: model(inputs, training=False)).get_concrete_function(sample)
    return tf.lite.TFLiteConverter.from_concrete_functions([infer], model)
