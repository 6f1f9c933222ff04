"""Summarize a Keras file without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.load import read_file
from models.shape_inference import infer_shapes

if TYPE_CHECKING:
    from pathlib import Path

    from models.graph import Layer
    from models.shapes import Shape


@dataclass(frozen=True)
class LayerSummary:
    """One layer.

    Attributes:
        name: the layer's name.
        class_name: its Keras class.
        output_shape: of its first use, the batch first; None is an open length.
        parameters: how many numbers it holds.
        dtype: of those, or of the tensor that it gives.
    """

    name: str
    class_name: str
    output_shape: Shape
    parameters: int
    dtype: str


@dataclass(frozen=True)
class ModelSummary:
    """A model, its nested models laid out flat.

    Attributes:
        keras: which Keras wrote it, e.g. ``"Keras 3.15.1"``.
        size_bytes: of its files.
        parameters: of all layers.
        layers: in the order in which they are applied.
    """

    keras: str
    size_bytes: int
    parameters: int
    layers: tuple[LayerSummary, ...]


def describe_model(path: Path, weights: Path | None = None) -> ModelSummary:
    """Summarise a model file, or an architecture in JSON with its file of weights.

    Raises:
        ModelError: as :func:`models.load.load_model`.
    """
    graph, keras_version = read_file(path, weights)
    first: dict[str, Shape] = {}
    for call, shape in zip(graph.calls, infer_shapes(graph), strict=True):
        first.setdefault(call.layer, shape)
    layers = tuple(_layer_summary(graph.layers[name], shape) for name, shape in first.items())
    writer = "Keras" if keras_version.startswith("3.") else "tf_keras"
    total = sum(layer.parameters for layer in layers)
    files = [path, *path.rglob("*"), *([weights] if weights else [])]
    size_bytes = sum(file.stat().st_size for file in files if file.is_file())
    return ModelSummary(f"{writer} {keras_version}".strip(), size_bytes, total, layers)


def _layer_summary(layer: Layer, shape: Shape) -> LayerSummary:
    dtype = str(layer.weights[0].dtype if layer.weights else layer.config.get("dtype", "float32"))
    return LayerSummary(layer.name, layer.kind, shape, sum(array.size for array in layer.weights), dtype)
