"""TensorFlow's TFLiteConverter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import with_first_outputs, with_ranges, with_unread_outputs
from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from pipeline.flatbuffer.edit import Range
    from pipeline.formats import Format
    from pipeline.samples import Samples

FUSED = frozenset({"LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"})
"""Operators whose intermediate results the Calibrator records."""


def convert(function: Any, keeper: Any, requested: Format, samples: Samples | None) -> bytes:
    """Convert a concrete function to the bytes of a .tflite file.

    Args:
        function: takes and returns tensors with a batch of 1, its inputs named ``input_0`` and so on.
        keeper: keeps the function's variables alive.
        requested: the format.
        samples: the representative data set, for the formats of int8.
    """
    tf = tensorflow()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], _variables_of(keeper))
    if requested != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if requested == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif requested != "float32" and samples is not None:
        converter.representative_dataset = lambda: _representative(function, samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if requested != "int8":
            converter.target_spec.supported_ops += [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter._experimental_calibrate_only = True
        return _quantized(bytes(converter.convert()), requested)
    return bytes(converter.convert())


def _variables_of(keeper: Any) -> Any:
    """Return an object that keeps the variables of a Keras model alive, or any other one as it is.

    The converter saves what it gets, and of a Keras model every layer is traced once more for that, which
    takes five times as long as the rest of the conversion.
    """
    import tf_keras

    if not isinstance(keeper, tf_keras.Model):
        return keeper
    module = tensorflow().Module()
    module.kept = list(keeper.variables)
    return module


def computes_inside(content: bytes) -> bool:
    """Return whether a float file has activations that are not tensors of its main subgraph."""
    flat = read_tflite(content, allow_custom=None)
    return len(flat.subgraphs) > 1 or any(each.name in FUSED for each in flat.operators)


def calibrate(content: bytes, function: Any, samples: Samples) -> bytes:
    """Run a float .tflite file on samples, and return it with the range of each activation.

    A fused recurrent operator gets tensors for what it computes inside.

    Args:
        content: the file.
        function: the concrete function that it was converted from.
        samples: the representative data set.
    """
    tensorflow()
    from tensorflow.lite.python.optimize import calibrator

    running = calibrator.Calibrator(calibrator.add_intermediate_tensors(content))
    return bytes(running.calibrate(lambda: _representative(function, samples)))


def quantize(content: bytes, ranges: Iterable[Range], requested: Format) -> bytes:
    """Quantize a float .tflite file with ranges, as TFLiteConverter does after its own calibration.

    Args:
        content: the file, as ``calibrate`` returns it.
        ranges: of its activations.
        requested: "int8"; or with float operators, whose input and output are float, too.
    """
    return _quantized(with_ranges(content, ranges), requested)


def _quantized(calibrated: bytes, requested: Format) -> bytes:
    """Quantize a float file with ranges, in the same way each time.

    The quantizer leaves an operator in float if it has removed an output that nothing reads before it looks
    at the operator, and the order depends on addresses in memory: a third of all conversions of an unrolled
    LSTM or GRU had a float SPLIT. It sees such outputs as outputs of the graph.
    """
    tf = tensorflow()
    from tensorflow.lite.python.convert import mlir_quantize

    io = tf.int8 if requested == "int8" else tf.float32
    content, outputs = with_unread_outputs(calibrated)
    quantized = bytes(mlir_quantize(content, input_data_type=io, output_data_type=io))
    return with_first_outputs(quantized, outputs)


def inputs_of(function: Any, sample: Samples) -> list[NDArray[Any]]:
    """Return the inputs for a concrete function, in its dtypes: indices may be stored in another width."""
    specs = function.structured_input_signature[0]
    return [
        values.astype(spec.dtype.as_numpy_dtype, copy=False)
        for values, spec in zip(sample.model_inputs(), specs, strict=True)
    ]


def _representative(
    function: Any, samples: Samples
) -> Iterator[dict[str, NDArray[Any]] | list[NDArray[Any]]]:
    """Yield samples, by name if there are several inputs, because the converter changes their order."""
    for sample in samples.chunks(1):
        inputs = inputs_of(function, sample)
        yield {f"input_{i}": values for i, values in enumerate(inputs)} if len(inputs) > 1 else inputs
