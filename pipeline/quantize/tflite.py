"""What the child process of a conversion does: a stored Keras model in, the bytes of a .tflite out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.training.tfmot import tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import AwareModel, PreparedModel
    from pipeline.formats import Format
    from pipeline.samples import Samples

_DEQUANTIZE, _QUANTIZE = 6, 114  # of the schema's BuiltinOperator


def write_float32(model: PreparedModel, written: Path) -> None:
    """Convert the reference model as it is."""
    from pipeline.training.keras_io import open_model, start_tensorflow

    start_tensorflow(0)
    tf = tensorflow()
    infer, specs, keeper = _function(tf, model, lambda: open_model(model.reference))
    concrete = tf.function(infer).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], keeper)
    written.write_bytes(_in_order(converter.convert(), model))


def write_quantized(
    aware: AwareModel,
    model: PreparedModel,
    samples: Samples,
    wanted: Format,
    trained: bool,
    tried: Samples,
    answers: Path,
    written: Path,
) -> None:
    """Convert the trained model to one format.

    Args:
        aware: the trained model.
        model: what it was made of; itself converted where it is opaque.
        samples: the representative data set.
        wanted: the format.
        trained: whether to convert the model with fake quantization to a format of int8; else the pruned one.
        tried: samples to answer with Keras, for a comparison with the file.
        answers: where to write those answers: an .npz with an array (n, ...) for each output.
        written: where to write the file.
    """
    from pipeline.training.keras_io import start_tensorflow

    start_tensorflow(0)
    tf = tensorflow()
    infer, specs, keeper = _function(tf, model, lambda: _opened(aware, wanted, trained))
    concrete = tf.function(infer).get_concrete_function(*specs)
    found = [_listed(concrete(*map(tf.constant, sample.model_inputs()))) for sample in tried.chunks(1)]
    np.savez(
        answers,
        **{
            f"{i:03d}": np.concatenate([np.asarray(v) for v in of])
            for i, of in enumerate(zip(*found, strict=True))
        },
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], keeper)
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


def _representative(samples: Samples) -> Iterator[dict[str, NDArray[Any]] | list[NDArray[Any]]]:
    """Samples by name where there are several inputs, whose order the converter does not keep."""
    for sample in samples.chunks(1):
        inputs = sample.model_inputs()
        yield {f"input_{i}": values for i, values in enumerate(inputs)} if len(inputs) > 1 else inputs


def _opened(aware: AwareModel, wanted: Format, trained: bool) -> Any:
    from pipeline.quantize.aware import open_aware_model
    from pipeline.training.keras_io import open_model

    # Fake quantization in a float file would round without saving anything.
    is_float = wanted in {"float16", "float32"}
    return open_aware_model(aware) if trained and not is_float else open_model(aware.pruned)


def _function(tf: Any, model: PreparedModel, opened: Callable[[], Any]) -> tuple[Any, list[Any], Any]:
    """What is converted: of an opaque model its SavedModel, else the Keras model that ``opened`` gives."""
    return _saved_function(tf, model) if model.opaque else _keras_function(tf, opened())


def _keras_function(tf: Any, model: Any) -> tuple[Any, list[Any], Any]:
    """The model as a function of one sample, with what it takes and what keeps its variables.

    An open batch dimension would leave shape arithmetic around every reshape, which no delegate takes.
    """
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]
    return lambda *x: model(x[0] if len(x) == 1 else list(x), training=False), specs, model


def _saved_function(tf: Any, model: PreparedModel) -> tuple[Any, list[Any], Any]:
    """The same of an opaque model's SavedModel, its inputs and outputs in the order of the ports."""
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

    return infer, specs, saved


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _in_order(tflite: bytes, model: PreparedModel) -> bytes:
    """Put inputs and outputs into the model's order and under its names, which the converter does not keep.

    Of equal constants one copy is kept: the converter writes a kernel as often as it is used.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    flat = flatbuffer_utils.convert_bytearray_to_object(tflite)
    graph = flat.subgraphs[0]
    for signature in flat.signatureDefs or ():  # one, or none of a model without variables
        for entry in signature.inputs:
            entry.tensorIndex = _with_trained_range(flat, graph, entry.tensorIndex)
        graph.inputs = _renamed(graph, signature.inputs, [port.name for port in model.inputs])
        graph.outputs = _renamed(graph, signature.outputs, [port.name for port in model.outputs])
    _keep_constants_once(flat)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(flat))


def _with_trained_range(flat: Any, graph: Any, tensor: int) -> int:
    """Return the tensor to feed instead of an input that is turned into floats only to be quantized anew.

    The converter does so where a layer that it calibrates reads an input whose range was trained. Both
    operators go, and the input has the trained range.
    """
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in flat.operatorCodes]
    found, place = [], tensor
    for way in (_DEQUANTIZE, _QUANTIZE):
        readers = [operator for operator in graph.operators if place in operator.inputs]
        if len(readers) != 1 or codes[readers[0].opcodeIndex] != way:
            return tensor
        found.append(readers[0])
        place = int(readers[0].outputs[0])
    if graph.tensors[place].type != graph.tensors[tensor].type:
        return tensor
    graph.operators = [operator for operator in graph.operators if operator not in found]
    return place


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
