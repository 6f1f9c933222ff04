"""Knowledge distillation: a student learns what the uncompressed model knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from models.graph import build_model
from models.prepare import graph_of
from models.zoo.catalogue import ZOO
from pipeline.artifacts import KerasModel, Source
from pipeline.compress.straight_through import keeping_zeros
from pipeline.compress.students import fresh, narrower, other_architecture
from pipeline.content import file_sha256
from pipeline.costing.macs import multiply_accumulates
from pipeline.errors import InputError
from pipeline.layer_records import LayerRecord, require_unbound
from pipeline.samples import Samples
from pipeline.sections import ByContent, MethodSection, advice
from pipeline.training.features import FeatureKind, compare_features
from pipeline.training.fine_tuning import fine_tune, training_samples
from pipeline.training.held_out import lost_points
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training.kernels import kernels_of
from pipeline.training_config import TrainingConfig

if TYPE_CHECKING:
    from models.graph import Graph
    from pipeline.artifacts import Dataset
    from pipeline.training.features import Features

_ZOO = "zoo:"
_PROBES = 8
_FIRST = 'put method = "distill" before the other steps in [[compress]]'


class DistillConfig(MethodSection):
    """Distillation of the uncompressed model into a student.

    Attributes:
        width: share of the channels that each layer of the student has; with 1 and without ``into`` the
            student is the model as earlier steps left it.
        multiple: a narrower layer has a multiple of this many channels, or all of them.
        into: another architecture, in place of ``width``: "zoo:NAME" or a Keras file.
        start: whether the student's weights are initialized, or those of the file, or of the model's channels
            with the largest filters.
        features: what is compared beside the outputs; see ``pipeline.training.features``.
        pairs: of layers whose outputs are compared, the student's by the teacher's; empty chooses them by
            their shapes.
        feature_weight: of all features together in the loss.
        max_drop_points: if the student loses more points of its score on held-out samples, the model stays as
            it was.
    """

    method: str = "distill"
    width: Annotated[float, Field(gt=0, le=1)] = 1.0
    multiple: Annotated[int, Field(ge=1)] = 8
    into: Annotated[str, ByContent()] = ""
    start: Literal["fresh", "weights"] = "fresh"
    features: FeatureKind = "none"
    pairs: dict[str, str] = {}
    feature_weight: Annotated[float, Field(gt=0)] = 1.0
    max_drop_points: Annotated[float, Field(gt=0)] = 3.0
    training: TrainingConfig = TrainingConfig(epochs=20)

    @field_validator("into")
    @classmethod
    def _reject_unknown_reference(cls, into: str) -> str:
        name = into.removeprefix(_ZOO)
        if into.startswith(_ZOO) and name not in ZOO:
            msg = f"no reference model {name!r}; {advice(name, ZOO, 'models')}"
            raise ValueError(msg)
        return into

    @model_validator(mode="after")
    def _check_effects(self) -> DistillConfig:
        msg = ""
        if self.into and self.width != 1:
            msg = "width and into exclude each other; leave one out"
        elif self.keeps_layers and "start" in self.model_fields_set:
            msg = "start is that of another student; give width or into with it, or leave it out"
        elif self.features == "none" and self.pairs:
            msg = 'pairs are compared as features = "hints" or "attention"; write one of them'
        if msg:
            raise ValueError(msg)
        return self

    @property
    def keeps_layers(self) -> bool:
        """Whether the student is the model as it is."""
        return self.width == 1 and not self.into


def architecture_file(config: DistillConfig) -> tuple[Source, ...]:
    """Return the Keras file of another architecture, by content; nothing without one.

    Raises:
        InputError: there is no such file.
    """
    if not config.into:
        return ()
    path = Path(config.into)
    if config.into.startswith(_ZOO):
        import models.zoo

        path = Path(models.zoo.__path__[0]) / f"{config.into.removeprefix(_ZOO)}.keras"
    if not path.is_file():
        msg = f"{path}: no such file; give zoo:NAME or a .keras or .h5 file in [[compress]] into"
        raise InputError(msg)
    return (Source(location=str(path), digest=file_sha256(path)),)


def distill_model(
    model: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    architecture: Source | None = None,
    *,
    config: DistillConfig,
    seed: int,
    out: Path,
) -> KerasModel:
    """Train a student towards the teacher's outputs and features, and the labels.

    The model as it is keeps the zeros of pruned layers. A student of other layers takes its place if it loses
    little, measured on held-out samples.

    Args:
        architecture: the file of the student, if it is another architecture.

    Raises:
        StageError: an earlier step left values that training would change, or zeros that a student with other
            layers does not have; the student has other inputs or outputs; or features do not fit.
    """
    undone_by = "distillation" if config.keeps_layers else "a student with layers of its own"
    require_unbound(
        model.layers, distill_model.__name__, undone_by=undone_by, hint=_FIRST, zeros=not config.keeps_layers
    )
    start_tensorflow(seed)
    given, samples = open_model(model.model), Samples.of(data, "train", teacher.preprocessing)
    graph = _student(given, model, samples, config, architecture)
    if graph is None:
        save_model(given, out / "model")
        note = 'no layer can be narrower: [[compress]] method = "distill" did nothing'
        return replace(model, folder=out, digest="", notes=(note,), findings=())
    student = build_model(graph)
    zeros = keeping_zeros(student, [layer.name for layer in model.layers if layer.sparsity])
    features = _features(student, teacher, data, config, seed)
    history = fine_tune("distill", student, teacher, data, config.training, seed, (zeros,), features=features)
    lost = lost_points(given, student, teacher, data)
    if lost > config.max_drop_points:
        save_model(given, out / "model")
        note = f"the student lost {lost:.1f} points on held-out samples, so the model stays as it was"
        return replace(model, folder=out, digest="", notes=(note,), findings=())
    save_model(student, out / "model")
    return replace(
        model,
        folder=out,
        digest="",
        layers=_records(student, given, model, config),
        trainings=(*model.trainings, history),
        notes=(),
        findings=(_finding(given, student, features),),
    )


def _student(
    given: Any, model: KerasModel, samples: Samples, config: DistillConfig, architecture: Source | None
) -> Graph | None:
    """Return the untrained student; None if no layer of the model can be narrower."""
    graph = graph_of(given)
    if config.keeps_layers:
        return graph
    if architecture is None:
        made = narrower(graph, config.width, config.multiple)
    else:
        probes = samples.take(slice(0, _PROBES)).model_inputs()
        made = other_architecture(Path(architecture.location), config.into, given, model, probes)
    return made if made is None or config.start == "weights" else fresh(made)


def _features(
    student: Any, teacher: KerasModel, data: Dataset, config: DistillConfig, seed: int
) -> Features | None:
    if config.features == "none":
        return None
    samples = training_samples(data, teacher, config.training, seed)
    network = open_model(teacher.model)
    return compare_features(student, network, config.features, config.pairs, config.feature_weight, samples)


def _records(student: Any, given: Any, model: KerasModel, config: DistillConfig) -> tuple[LayerRecord, ...]:
    """Return the records of the student's layers; those of another architecture start empty."""
    from models.prepare import without_int8

    known, problems = {record.name: record for record in model.layers}, without_int8(student)
    found = []
    for layer in student.layers:
        record = known.get(layer.name)
        if record is None or config.into:
            record = LayerRecord(
                name=layer.name, kind=type(layer).__name__, without_int8=problems.get(layer.name, "")
            )
        operation = "distilled"
        kernels = kernels_of(layer)
        if kernels and not (config.keeps_layers or config.into):
            both = (layer, given.get_layer(layer.name))
            left, of = (kernels_of(each)[0].columns().shape[1] for each in both)
            operation += f" with {left} of {of} channels" if left < of else ""
        found.append(replace(record, operations=(*record.operations, operation)) if kernels else record)
    return tuple(found)


def _finding(given: Any, student: Any, features: Features | None) -> str:
    """Say what the student needs, and what it was compared by."""
    before, after = (costs(network) for network in (given, student))
    parameters, macs = (f"{one:,} -> {other:,}" for one, other in zip(before, after, strict=True))
    pairs = [] if features is None else [f"{one} with {other}" for one, other in features.pairs]
    compared = f"; features: {', '.join(pairs)}" if pairs else ""
    return f"distillation: parameters {parameters}, multiply-accumulates {macs}{compared}"


def costs(network: Any) -> tuple[int, int]:
    """Return the parameters and the multiply-accumulates of a tf_keras model."""
    return int(network.count_params()), sum(multiply_accumulates(graph_of(network)).values())
