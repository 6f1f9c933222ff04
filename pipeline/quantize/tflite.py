"""What the child process of a conversion does: a stored Keras model in, the bytes of a .tflite out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import AwareModel, PreparedModel
    from pipeline.config import Format
    from pipeline.samples import Samples


def write_float32(model: PreparedModel, written: Path) -> None:
    """Convert the reference model as it is."""
    from pipeline.training import open_model, start_tensorflow

    start_tensorflow(0)
    tf = tensorflow()
    if model.opaque:
        converter = _saved_converter(tf, model)
    else:
        converter = _keras_converter(tf, open_model(model.reference))
    written.write_bytes(converter.convert())


def write_quantized(
    aware: AwareModel, model: PreparedModel, samples: Samples, wanted: Format, written: Path
) -> None:
    """Convert the trained model to one format, with the samples as representative data set."""
    from pipeline.training import start_tensorflow

    start_tensorflow(0)
    tf = tensorflow()
    converter = _saved_converter(tf, model) if model.opaque else _aware_converter(tf, aware, wanted)
    if wanted == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif wanted != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _representative(samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if wanted == "int8":
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
        else:
            converter.target_spec.supported_ops += [tf.lite.OpsSet.TFLITE_BUILTINS]
    written.write_bytes(_constants_once(converter.convert()))


def _representative(samples: Samples) -> Iterator[list[NDArray[Any]]]:
    for sample in samples.chunks(1):
        yield sample.model_inputs()


def _aware_converter(tf: Any, aware: AwareModel, wanted: Format) -> Any:
    from pipeline.quantize.aware import open_aware_model
    from pipeline.training import open_model

    # Fake quantization in a float file would round without saving anything.
    is_float = wanted in {"float16", "float32"}
    return _keras_converter(tf, open_model(aware.pruned) if is_float else open_aware_model(aware))


def _keras_converter(tf: Any, model: Any) -> Any:
    """A converter of the model for one sample at a time.

    An open batch dimension would leave shape arithmetic around every reshape, which no delegate takes.
    """
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=name)
        for tensor, name in zip(model.inputs, model.input_names, strict=True)
    ]

    def infer(*inputs: Any) -> Any:
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    concrete = tf.function(infer).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)


def _saved_converter(tf: Any, model: PreparedModel) -> Any:
    """A converter of an opaque model's SavedModel, its inputs and outputs in the order of the ports."""
    saved = tf.saved_model.load(str(model.reference / "saved"))
    serve = saved.signatures["serving_default"]
    specs = [tf.TensorSpec((1, *port.shape), port.dtype, name=port.name) for port in model.inputs]

    def infer(*inputs: Any) -> Any:
        found = serve(**{port.name: value for port, value in zip(model.inputs, inputs, strict=True)})
        outputs = [found[port.name] for port in model.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    concrete = tf.function(infer).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], saved)


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
