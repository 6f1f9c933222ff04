"""The stages of a plan: the model with fixed shapes, and the files that a recipe would make of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.download import compress
from pipeline.artifacts import Artifact, KerasModel
from pipeline.costing.macs import multiply_accumulates
from pipeline.errors import InputError
from pipeline.layer_records import LayerRecord
from pipeline.planning.untrained import UNTRAINED
from pipeline.quantize.tflite import untrained_files
from pipeline.sections import MethodSection
from pipeline.training.keras_io import open_model, save_model, start_tensorflow

if TYPE_CHECKING:
    from pipeline.artifacts import FloatModel, Source

Steps = tuple[MethodSection, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate(Artifact):
    """What a recipe makes of a model before any training.

    Attributes:
        parameters: of the Keras model.
        macs: multiply-accumulates of one inference.
        size_bytes: of the int8 file.
        download_bytes: of the int8 file, compressed.
    """

    parameters: int
    macs: int
    size_bytes: int
    download_bytes: int

    @property
    def float32(self) -> Path:
        return self.folder / "float32.tflite"

    @property
    def int8(self) -> Path:
        return self.folder / "int8.tflite"


def prepare_shapes(model: FloatModel, *, out: Path) -> KerasModel:
    """Rewrite a model into the layers that compression works on, without data.

    Raises:
        InputError: a length of an input is open, or a rewrite would change what the model computes.
    """
    from models.graph import build_model
    from models.prepare import graph_of, prepare
    from models.rewrites.inputs import lift_normalization, with_float_inputs

    for port in model.inputs:
        if None in port.shape:
            msg = f"input {port.name!r} has an open length; save the model with fixed lengths to plan for it"
            raise InputError(msg)
    start_tensorflow(0)
    graph, *_ = lift_normalization(with_float_inputs(graph_of(open_model(model.model))))
    network = prepare(build_model(graph)).model
    save_model(network, out / "model")
    return KerasModel(
        inputs=model.inputs,
        outputs=model.outputs,
        tasks=(),
        from_logits=model.from_logits,
        preprocessing=(),
        layers=_records(network),
    )


def _records(network: Any) -> tuple[LayerRecord, ...]:
    return tuple(LayerRecord(name=each.name, kind=type(each).__name__) for each in network.layers)


def try_recipe(model: KerasModel, *files: Source, steps: Steps, out: Path) -> Candidate:
    """Apply compression steps without their trainings, and convert to float32 and int8.

    Args:
        files: that the steps name, by content.

    Raises:
        StageError: a step cannot be applied as asked.
    """
    from models.prepare import graph_of

    start_tensorflow(0)
    network: Any = open_model(model.model)
    for step in steps:
        network = UNTRAINED[step.method](network, model, step)
        names = {layer.name: type(layer).__name__ for layer in network.layers}
        model = replace(
            model, layers=tuple(LayerRecord(name=name, kind=kind) for name, kind in names.items())
        )
    written = Candidate(
        folder=out,
        parameters=network.count_params(),
        macs=sum(multiply_accumulates(graph_of(network)).values()),
        size_bytes=0,
        download_bytes=0,
    )
    for path, content in zip((written.float32, written.int8), untrained_files(network), strict=True):
        path.write_bytes(content)
    return replace(
        written,
        folder=Path(),
        size_bytes=len(content),
        download_bytes=len(compress(content)),
    )
