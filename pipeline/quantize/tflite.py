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
    written.write_bytes(_in_order(converter.convert(), model))


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
    written.write_bytes(_in_order(converter.convert(), model))


def _representative(samples: Samples) -> Iterator[dict[str, NDArray[Any]]]:
    for sample in samples.chunks(1):
        yield {f"input_{index}": values for index, values in enumerate(sample.model_inputs())}


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
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]

    def infer(*inputs: Any) -> Any:
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    concrete = tf.function(infer).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)


def _saved_converter(tf: Any, model: PreparedModel) -> Any:
    """A converter of an opaque model's SavedModel, its inputs and outputs in the order of the ports."""
    saved = tf.saved_model.load(str(model.reference / "saved"))
    serve = saved.signatures["serving_default"]
    specs = [
        tf.TensorSpec((1, *port.shape), port.dtype, name=f"input_{index}")
        for index, port in enumerate(model.inputs)
    ]

    def infer(*inputs: Any) -> Any:
        found = serve(**{port.name: value for port, value in zip(model.inputs, inputs, strict=True)})
        outputs = [found[port.name] for port in model.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    concrete = tf.function(infer).get_concrete_function(*specs)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], saved)


def _in_order(tflite: bytes, model: PreparedModel) -> bytes:
    """Put inputs and outputs into the model's order and under its names, which the converter does not keep.

    Of equal constants one copy is kept: the converter writes a kernel as often as it is used.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    flat = flatbuffer_utils.convert_bytearray_to_object(tflite)
    graph, signature = flat.subgraphs[0], flat.signatureDefs[0]
    graph.inputs = _renamed(graph, signature.inputs, [port.name for port in model.inputs])
    graph.outputs = _renamed(graph, signature.outputs, [port.name for port in model.outputs])
    _keep_constants_once(flat)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(flat))


def _renamed(graph: Any, entries: list[Any], names: list[str]) -> list[int]:
    """Give the signature's ``input_0`` or ``output_0`` and so on their names; returns their tensors."""
    by_place = sorted(entries, key=lambda entry: int(entry.name.decode().rpartition("_")[2]))
    for entry, name in zip(by_place, names, strict=True):
        entry.name = name.encode()
        graph.tensors[entry.tensorIndex].name = name.encode()
    return [entry.tensorIndex for entry in by_place]


def _keep_constants_once(flat: Any) -> None:
    first: dict[bytes, int] = {}
    for graph in flat.subgraphs:
        for tensor in graph.tensors:
            data = flat.buffers[tensor.buffer].data
            if data is not None and len(data):
                tensor.buffer = first.setdefault(bytes(data), tensor.buffer)
    used = {tensor.buffer for graph in flat.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in flat.metadata or ()}
    for at, buffer in enumerate(flat.buffers):
        if at not in used:
            buffer.data = None
