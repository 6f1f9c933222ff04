"""Convert a stored Keras model to .tflite; runs in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import KerasModel, QatModel
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Range, normalize, ranges_of
from pipeline.formats import has_integers
from pipeline.quantize.activations import observed_tensors
from pipeline.quantize.backends import BACKENDS, tflite_converter
from pipeline.quantize.fake_quantization import keras_values, write_values
from pipeline.quantize.levels import with_output_levels
from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.artifacts import ModelArtifact, PreparedModel
    from pipeline.formats import Format
    from pipeline.samples import Samples


def write_float32(model: PreparedModel, written: Path) -> None:
    """Convert the reference model without changes."""
    from pipeline.training.keras_io import open_model, start_tensorflow

    start_tensorflow(0)
    concrete, keeper = _concrete(model, None if model.opaque else open_model(model.reference))
    written.write_bytes(with_ports(tflite_converter.convert(concrete, keeper, "float32", None), model))


def untrained_files(network: Any) -> tuple[bytes, bytes]:
    """Convert a tf_keras model to float32, and to int8 with the same range for all activations.

    The int8 file has the size and the operators of one with measured ranges. Its outputs are meaningless.
    """
    tf = tensorflow()
    infer, specs, keeper = _keras_function(tf, network)
    concrete = tf.function(infer).get_concrete_function(*specs)
    content = tflite_converter.convert(concrete, keeper, "float32", None)
    ranges = [
        Range(place, tensor.index, tensor.name, -1.0, 1.0)
        for place, graph in enumerate(read_tflite(content).subgraphs)
        for tensor in graph.tensors
        if tensor.dtype == "float32" and not tensor.is_constant
    ]
    return content, tflite_converter.quantize(content, ranges, "int8")


def float_file(model: ModelArtifact, samples: Samples) -> tuple[bytes, list[Range]]:
    """Convert a model without fake quantization to float32.

    Returns:
        A .tflite file, and the ranges of the tensors that only TensorFlow's Calibrator can record:
        intermediate results of fused recurrent operators, and tensors of other subgraphs.
    """
    concrete, keeper = _function(model, "float32", after_training=True)
    content = tflite_converter.convert(concrete, keeper, "float32", None)
    if not tflite_converter.computes_inside(content):
        return content, []
    content = tflite_converter.calibrate(content, concrete, samples)
    observed = observed_tensors(read_tflite(content))
    return content, [each for each in ranges_of(content) if each.subgraph or each.tensor not in observed]


def write_model(
    model: ModelArtifact,
    samples: Samples,
    requested: Format,
    after_training: bool,
    backend: str,
    calibrated: tuple[Path, Sequence[Range]] | None,
    original: Path,
    tried: Samples,
    answers: Path,
    expected: Path,
    written: Path,
) -> None:
    """Convert a model to one format.

    Args:
        model: a Keras model, with or without fake quantization, or an opaque one.
        samples: the representative data set.
        requested: the format.
        after_training: whether to omit the trained fake quantization.
        backend: a key of ``BACKENDS``.
        calibrated: the file of ``Ranges``, and the ranges to quantize it with; None if they were
            trained, or are to be found here.
        original: where to write the same model in float32, for formats of integers.
        tried: samples to run with Keras, for a comparison with the file.
        answers: where to write these outputs: an .npz with an array (n, ...) for each output.
        expected: where to write what the layers of trained fake quantization compute.
        written: where to write the file.
    """
    from pipeline.quantize.qat import without_fake_quantization

    concrete, keeper = _function(model, requested, after_training)
    tf, of = tensorflow(), BACKENDS[backend]
    found = [
        _listed(concrete(*map(tf.constant, tflite_converter.inputs_of(concrete, sample))))
        for sample in tried.chunks(1)
    ]
    np.savez(
        answers,
        **{
            f"{i:03d}": np.concatenate([np.asarray(v) for v in values])
            for i, values in enumerate(zip(*found, strict=True))
        },
    )
    source = b""
    if not has_integers(requested):
        content = of.convert(concrete, keeper, requested, samples)
    elif isinstance(model, QatModel) and not after_training:
        content = of.convert(concrete, keeper, requested, samples)
        function = _concrete(model, without_fake_quantization(keeper, model))
        source = tflite_converter.convert(*function, "float32", None)
    else:
        source = calibrated[0].read_bytes() if calibrated else _calibrated(concrete, keeper, samples)
        ranges = calibrated[1] if calibrated else ranges_of(source)
        content = of.quantize(source, with_output_levels(ranges, source, model.layers), requested)
    content = with_ports(content, model)
    written.write_bytes(content)
    if isinstance(model, QatModel) and has_integers(requested) and not after_training:
        values, only_read = keras_values(keeper, read_tflite(content), tried.model_inputs())
        if len(values) > len(model.inputs):
            write_values(expected, values, only_read)
    if source:
        original.write_bytes(with_ports(source, model))


def _function(model: ModelArtifact, requested: Format, after_training: bool) -> tuple[Any, Any]:
    """Open a stored model for a format; see ``_concrete``."""
    from pipeline.training.keras_io import start_tensorflow

    start_tensorflow(0)
    if isinstance(model, KerasModel):
        return _concrete(model, _opened(model, requested, after_training))
    return _concrete(model, None)


def _calibrated(concrete: Any, keeper: Any, samples: Samples) -> bytes:
    """Return a float32 .tflite with the range of each activation on samples."""
    content = tflite_converter.convert(concrete, keeper, "float32", None)
    return tflite_converter.calibrate(content, concrete, samples)


def _concrete(model: ModelArtifact, keras: Any | None) -> tuple[Any, Any]:
    """Return a Keras model, or the SavedModel of an opaque one, as a concrete function with its owner."""
    tf = tensorflow()
    infer, specs, keeper = _saved_function(tf, model) if keras is None else _keras_function(tf, keras)
    return tf.function(infer).get_concrete_function(*specs), keeper


def with_ports(content: bytes, model: ModelArtifact) -> bytes:
    """Return a converter's file with the model's order and names of inputs and outputs."""
    inputs, outputs = ([port.name for port in ports] for ports in (model.inputs, model.outputs))
    return normalize(content, inputs, outputs)


def _opened(model: KerasModel, requested: Format, after_training: bool) -> Any:
    from pipeline.quantize.qat import open_qat_model
    from pipeline.training.keras_io import open_model

    # Fake quantization in a float file would only lose accuracy.
    if isinstance(model, QatModel) and has_integers(requested) and not after_training:
        return open_qat_model(model)
    return open_model(model.model)


def _keras_function(tf: Any, model: Any) -> tuple[Any, list[Any], Any]:
    """Return the model as a function of one sample, its input specs, and the object that owns its variables.

    An open batch dimension would leave shape arithmetic around every reshape, which no delegate supports.
    """
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]
    return lambda *x: model(x[0] if len(x) == 1 else list(x), training=False), specs, model


def _saved_function(tf: Any, model: ModelArtifact) -> tuple[Any, list[Any], Any]:
    """Return the same for an opaque model's SavedModel; inputs and outputs are in the order of the ports."""
    saved = tf.saved_model.load(str(model.folder / "reference" / "saved"))
    serve = saved.signatures["serving_default"]
    specs = [
        tf.TensorSpec((1, *port.shape), port.dtype, name=f"input_{index}")
        for index, port in enumerate(model.inputs)
    ]

    def infer(*inputs: Any) -> Any:
        found = serve(**{port.name: value for port, value in zip(model.inputs, inputs, strict=True)})
        outputs = [found[port.name] for port in model.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    return infer, specs, saved


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]
