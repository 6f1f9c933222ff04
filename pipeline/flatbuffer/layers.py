"""Infer the Keras layer of each operator of a .tflite file from the names that the converter wrote."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.flatbuffer import Operator, TfliteModel

# How TensorFlow calls what became an operator: the path of a fused name that ends so is the layer's own.
ENDINGS = {
    "CONV_2D": ("Conv2D", "Conv1D"),
    "DEPTHWISE_CONV_2D": ("depthwise", "Conv2D"),
    "TRANSPOSE_CONV": ("conv2d_transpose",),
    "FULLY_CONNECTED": ("MatMul", "Tensordot"),
    "BATCH_MATMUL": ("MatMul", "einsum"),
    "ADD": ("add", "AddV2", "Add"),
    "MUL": ("mul", "Mul"),
    "MEAN": ("Mean",),
    "CONCATENATION": ("concat",),
}
QUANTIZERS = frozenset({"AllValuesQuantize", "LastValueQuant", "MovingAvgQuantize"})
"""TF-MOT's names of what is inside a layer with fake quantization."""
# Names that the converter gives to outputs, and that say nothing.
_NOTHING = re.compile(r"(Stateful)?PartitionedCall(:\d+)?|Identity(_\d+)?|tfl\..*|\d*")


def layer_names(model: TfliteModel) -> tuple[str, ...]:
    """Name the layer of each operator of the main subgraph; "" if the file does not tell.

    An operator whose own name says nothing, as that of an output, has the layer of what it is computed from.
    """
    root = _root(model)
    made: dict[int, str] = {}
    names = []
    for operator in model.operators:
        name = _layer(model, operator, root)
        if not name:
            name = next((made[index] for index in operator.inputs if index in made), "")
        made |= dict.fromkeys(operator.outputs, name)
        names.append(name)
    return tuple(names)


def user_layers(model: TfliteModel, known: Mapping[str, str]) -> tuple[str, ...]:
    """Name the layer of the user's model that each operator of the main subgraph comes from.

    An operator whose names contain no known layer is of the layer that it reads from.

    Args:
        model: a .tflite file.
        known: the user's layer by the name of each layer that was converted; empty if that is not known.

    Returns:
        As ``layer_names`` where there is no such layer either.
    """
    inferred = layer_names(model)
    if not known:
        return inferred
    found = [
        _known(name, model, operator, known) for name, operator in zip(inferred, model.operators, strict=True)
    ]
    made: dict[int, str] = {}
    for at, operator in enumerate(model.operators):
        found[at] = found[at] or next((made[index] for index in operator.inputs if index in made), "")
        made |= dict.fromkeys(operator.outputs, found[at])
    return tuple(name or other for name, other in zip(found, inferred, strict=True))


def merged_layers(model: TfliteModel, operator: Operator, known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the user's layers whose work an operator does, as far as its names tell, sorted."""
    paths = [path for index in operator.outputs for path in model.tensors[index].name.split(";")]
    return tuple(sorted({name for path in paths if (name := _in_path(path, known))}))


def _known(inferred: str, model: TfliteModel, operator: Operator, known: Mapping[str, str]) -> str:
    """Return the known layer that an operator's names contain; "" if there is none."""
    paths = [inferred, *(path for index in operator.outputs for path in model.tensors[index].name.split(";"))]
    return next((name for path in paths if (name := _in_path(path, known))), "")


def _in_path(path: str, known: Mapping[str, str]) -> str:
    parts = [part.removeprefix("quant_") for part in path.split("/")]
    spans = [(first, last) for first in range(len(parts)) for last in range(len(parts), first, -1)]
    names = ("/".join(parts[first:last]) for first, last in spans)
    return next((known[name] for name in names if name in known), "")


def _layer(model: TfliteModel, operator: Operator, root: str) -> str:
    """Return the layer by the names of an operator's outputs; "" if they say nothing."""
    paths = [
        path
        for index in operator.outputs
        for path in model.tensors[index].name.split(";")
        if not _NOTHING.fullmatch(path)
    ]
    paths = [path for path in paths if QUANTIZERS.isdisjoint(path.split("/"))] or paths
    endings = ENDINGS.get(operator.name, ())
    own = [path for path in paths if re.sub(r"_?\d+$", "", path.rpartition("/")[2]) in endings]
    chosen = own[0] if own else max(paths, key=len, default="")
    parts = chosen.split("/")
    if len(parts) > 1 and parts[0] == root:
        parts = parts[1:]
    if len(parts) > 1:
        parts = parts[:-1]  # TensorFlow's name of the operation
    return "/".join(part.removeprefix("quant_") for part in parts if part not in QUANTIZERS)


def _root(model: TfliteModel) -> str:
    """Return the model's own name, with which nearly every path begins; "" if there is none."""
    tensors = [model.tensors[index].name for operator in model.operators for index in operator.outputs]
    firsts = [name.partition("/")[0] for name in tensors if "/" in name]
    root = max(set(firsts), key=firsts.count, default="")
    return root if _is_shared(firsts, root) else ""


def _is_shared(firsts: Sequence[str], root: str) -> bool:
    return len(firsts) > 1 and firsts.count(root) >= 0.8 * len(firsts)
