"""Values of a fake-quantized model, which the nodes of its int8 file have to give.

Fake quantization (Jacob et al., 2018, arXiv:1712.05877) rounds floats to the steps of the integers. So a
right file gives the same steps, except where a value lies nearly midway between two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import with_outputs
from pipeline.flatbuffer.simulation import exact_constants, is_rounded, require_simulated, simulate
from pipeline.node_parity import ONLY_READ
from pipeline.quantize.qat import output_limits
from pipeline.runtimes.parity import traced_tensors
from pipeline.runtimes.quantization import dequantize, quantize_inputs, tensor_inputs
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.flatbuffer import Tensor, TfliteModel

    Arrays = Sequence[NDArray[Any]]
    Values = dict[int, NDArray[Any]]

KERAS, FLOAT = "fake-quantized Keras model", "float model with fake quantization"
MAX_SAMPLES = 16
MAX_BYTES = 1 << 25
"""Maximum bytes of the values of all samples; large models get fewer samples."""


def write_values(path: Path, values: Values, only_read: Values | None = None) -> None:
    """Write integers (n, ...) by tensor; ``validation/parity.py`` reads them."""
    arrays = {str(index): array for index, array in values.items()}
    arrays |= {f"{ONLY_READ}{index}": array for index, array in (only_read or {}).items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def in_steps(real: NDArray[Any], tensor: Tensor, *, dtype: str = "") -> NDArray[Any]:
    """Return real numbers as the integers of a tensor; of a tensor without a scale as they are.

    Args:
        dtype: a wider one, for numbers beyond the tensor's range.
    """
    if not tensor.scales:
        return real.astype(tensor.dtype, copy=False)
    return quantize_inputs(real, tensor.scales[0], tensor.zero_points[0], dtype or tensor.dtype)


def few_samples(flat: TfliteModel, tensors: Sequence[int], values: Arrays) -> list[NDArray[Any]]:
    """Return as many of the samples, for each input (n, ...), as ``MAX_BYTES`` allow."""
    each = sum(flat.tensors[index].elements for index in tensors)
    count = min(MAX_SAMPLES, max(1, MAX_BYTES // max(each, 1)))
    return [array[:count] for array in values]


def keras_values(student: Any, flat: TfliteModel, inputs: Arrays) -> tuple[Values, Values]:
    """Return what the layers of a fake-quantized Keras model compute, in the steps of its int8 file.

    Each layer reads the steps that the file has before it, so differences do not add up from layer to layer.
    Layers without fake quantization, such as recurrent ones, round only in the file, perhaps many times: what
    they give is read by the layers after them, and not compared.

    Args:
        student: as ``open_qat_model`` returns it.
        flat: the file that it was converted to.
        inputs: real samples, for each input (n, ...).

    Returns:
        Integers (n, ...) by the file's tensor: its inputs, and the output of each layer that has one. An
        output with a trained range, which the tensor has to have, may be beyond those of the tensor.
        Likewise what is only read.
    """
    import tf_keras

    tensors = layer_tensors(flat, [layer.name for layer in student.layers if len(layer.inbound_nodes) == 1])
    _hand_on_to_norms(student, tensors)
    for tensor, index in zip(student.outputs, flat.subgraphs[0].outputs, strict=True):
        tensors[tensor.node.layer.name] = index  # named as the port
    chosen = few_samples(flat, [*tensors.values()], inputs)
    places = dict(zip(flat.subgraphs[0].inputs, chosen, strict=True))
    found = {index: in_steps(array, flat.tensors[index]) for index, array in places.items()}
    real = {
        tensor.node.layer.name: _real(found[index], flat.tensors[index])
        for tensor, index in zip(student.inputs, places, strict=True)
    }
    only_read: Values = {}
    for layer in student.layers:
        if layer.name not in tensors:
            continue
        sources, is_fake_quantized = _sources(layer.output, real)
        network = tf_keras.Model([tensor for tensor, _ in sources], layer.output)
        given = [real[name] for _, name in sources]
        computed = np.asarray(network(given[0] if len(given) == 1 else given, training=False))
        tensor = flat.tensors[tensors[layer.name]]
        if computed.shape[1:] != tensor.shape[1:]:
            continue
        # The range of a tensor without a trained one may be that of the layer after it, which clips it.
        steps = in_steps(computed, tensor, dtype="int16" if "8" in tensor.dtype else "int32")
        into = found if is_fake_quantized else only_read
        into[tensor.index] = steps if output_limits(layer) else in_steps(computed, tensor)
        real[layer.name] = _real(steps, tensor)
    return found, only_read


def _hand_on_to_norms(student: Any, tensors: dict[str, int]) -> None:
    """Give the output of a layer to the normalization that is folded into it, where the file lost its name.

    That happens if the normalization adds nothing, as one in the place of a Rescaling does.
    """
    readers: dict[str, list[Any]] = {}
    for layer in student.layers:
        for node in layer.inbound_nodes:
            for tensor in node.keras_inputs:
                readers.setdefault(tensor.node.layer.name, []).append(layer)
    for name, (first, *others) in readers.items():
        is_norm = type(getattr(first, "layer", first)).__name__ == "BatchNormalization"
        is_folded = is_norm and not others and first.name not in tensors
        if is_folded and name in tensors and not output_limits(student.get_layer(name)):
            tensors[first.name] = tensors.pop(name)


def _sources(output: Any, known: Mapping[str, Any]) -> tuple[list[tuple[Any, str]], bool]:
    """Return the nearest tensors of known layers that a tensor is computed from.

    Also whether all layers from there have fake quantization.
    """
    found: dict[str, Any] = {}
    waiting, seen, is_fake_quantized = [output.node], set(), True
    while waiting:
        node = waiting.pop()
        is_fake_quantized &= hasattr(node.layer, "quantize_config") or bool(output_limits(node.layer))
        for tensor in node.keras_inputs:
            before = tensor.node
            if before.layer.name in known:
                found[before.layer.name] = tensor
            elif id(before) not in seen:
                seen.add(id(before))
                waiting.append(before)
    return [(tensor, name) for name, tensor in found.items()], is_fake_quantized


def _real(integers: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    return dequantize(integers, tensor.scales[0], tensor.zero_points[0]) if tensor.scales else integers


def layer_tensors(flat: TfliteModel, layers: Sequence[str]) -> dict[str, int]:
    """Return the rounded tensor of a file that has a layer's output, by the layer.

    The converter writes the names of all layers whose work an operator does into the name of its output; the
    last of them is the layer whose output it is.

    Args:
        layers: names of Keras layers, from the inputs to the outputs.
    """
    order = {name: place for place, name in enumerate(layers)}
    found: dict[str, int] = {}
    for operator in flat.operators:
        for index in operator.outputs:
            paths = flat.tensors[index].name.split(";")
            parts = [part for path in paths for part in path.split("/")[:-1]]  # the last one is TensorFlow's
            names = [part for part in parts if part in order]
            if names and is_rounded(flat.tensors[index]):
                found[max(names, key=order.__getitem__)] = index
    return found


def simulated_values(flat: TfliteModel, original: TfliteModel, inputs: Arrays) -> Values:
    """Return what the float model computes with fake quantization by the ranges of its int8 file.

    Weights are those of the float model, in the steps of the file.

    Args:
        flat: the int8 file.
        original: the float file that it was quantized from, with the same weights.
        inputs: real samples, for each input (n, ...).

    Returns:
        Integers (n, ...) by the file's tensor: its inputs, and what its operators compute.

    Raises:
        InputError: the files do not have the same operators, or no float file computes what this one does.
        StageError: the runtime crashed or hung.
    """
    require_simulated(flat, "the int8 file")
    exact = exact_constants(flat, original)
    rounded = {index: _rounded(values, flat.tensors[index]) for index, values in exact.items()}
    every = [operator.index for operator in flat.operators]
    tensors = [index for index in traced_tensors(flat) if is_rounded(flat.tensors[index])]
    chosen = few_samples(flat, tensors, inputs)
    places = dict(zip(flat.subgraphs[0].inputs, chosen, strict=True))
    written = read_tflite(simulate(flat, exact, every, inputs=[*places], outputs=tensors, given=rounded))
    with scratch("fake-quantized") as folder:
        path = folder / "model.tflite"
        path.write_bytes(with_outputs(written, written.subgraphs[0].outputs))
        with Session(host_runtime("litert"), path) as session:
            found = session.run(tensor_inputs(chosen, session.describe()))
    return {
        index: in_steps(array, flat.tensors[index])
        for index, array in [*places.items(), *zip(tensors, found, strict=True)]
    }


def _rounded(values: NDArray[np.float32], tensor: Tensor) -> NDArray[np.float32]:
    """Round constants to the steps of a tensor; those of a bias, which are far finer, are left out."""
    if tensor.dtype not in {"int8", "uint8"}:
        return values
    shape = [1] * values.ndim
    if len(tensor.scales) > 1:
        shape[tensor.axis] = -1
    scales = np.asarray(tensor.scales, np.float64).reshape(shape)
    zeros = np.asarray(tensor.zero_points, np.float64).reshape(shape)
    limits = np.iinfo(tensor.dtype)
    steps = np.clip(np.rint(values / scales) + zeros, limits.min, limits.max)
    real: NDArray[np.float64] = (steps - zeros) * scales
    return real.astype(np.float32)
