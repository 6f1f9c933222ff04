"""Decide the input preprocessing, and rewrite the model into layers that TF-MOT supports."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import PreparedModel, Transform
from pipeline.choices import InputFinding
from pipeline.errors import StageError
from pipeline.isolation import sandbox
from pipeline.isolation.child import in_child
from pipeline.layer_records import LayerRecord
from pipeline.preparation.input_preprocessing import PROBE_SAMPLES, Choice, Probe, choose_preprocessing
from pipeline.preparation.input_styles import declared_transforms
from pipeline.samples import Samples
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from pathlib import Path

    from models.ports import Port
    from pipeline.artifacts import Dataset, FloatModel, Preprocessing
    from pipeline.config import PreprocessingConfig

    Affines = dict[str, tuple[Any, Any]]

# An opaque model runs one sample at a time.
OPAQUE_PROBE_SAMPLES = 128
OPAQUE_PROBE_TIMEOUT_S = 600.0
PROBE_BATCH = 64
# With one scale for a whole input, a feature with 1/16 of the largest range keeps 4 of 8 bits.
UNEVEN_RANGES = 16.0
EQUAL_SAMPLES = 64
EQUAL_PROBES = 16  # number of samples to compare the prepared model with the given one
LAST_BITS = 4


def prepare_model(
    model: FloatModel, data: Dataset, *, config: PreprocessingConfig, out: Path
) -> PreparedModel:
    """Decide the input preprocessing, and rewrite the model into a form that TF-MOT supports.

    ``choose_preprocessing`` uses training samples to choose what is not declared. Features of a vector or
    series with very different ranges get a scale each, and the inverse is folded into the model.

    Raises:
        ConfigError: the declared preprocessing does not fit the model's inputs.
        InputError: a rewrite would change what the model computes.
    """
    return (_as_it_is if model.opaque else in_child(_prepare, "prepare_model"))(model, data, config, out=out)


def _prepare(model: FloatModel, data: Dataset, config: PreprocessingConfig, *, out: Path) -> PreparedModel:
    from models.graph import build_model
    from models.prepare import graph_of, prepare
    from models.rewrites.inputs import fold_inputs, lift_normalization, with_float_inputs
    from pipeline.training.keras_io import open_model, save_model, start_tensorflow

    start_tensorflow(0)
    given = with_float_inputs(_fixed_lengths(graph_of(open_model(model.model)), data.shapes))
    original = build_model(given)
    probe, ports = Probe.of(data, _keras_predict(original), PROBE_SAMPLES), _fixed_ports(model, data)
    choice = choose_preprocessing(probe, ports, config)
    transforms = choice.transforms
    is_free = not any(TASKS[task].of_input for task in data.tasks)  # else they need the model without changes
    graph, lifted, lifts = lift_normalization(given) if is_free else (given, {}, [])
    lifted_transforms = _each_then(transforms, model, lifted, "scaled as by the model's own layers")
    standardized = _standardization(model, data, lifted_transforms) if config.standardize and is_free else {}
    folded = fold_inputs(graph, standardized) if standardized else None
    if folded is not None:
        graph = folded
        lifted_transforms = _each_then(lifted_transforms, model, standardized, "each feature scaled")
    reference = original if graph is given else build_model(graph)
    if graph is given or _are_equal(original, transforms, reference, lifted_transforms, data):
        transforms = lifted_transforms
    else:  # float32 is too coarse for these ranges: keep the given model
        reference, lifts = original, []
    probes = replace(Samples.to_probe(data, EQUAL_PROBES), preprocessing=transforms)
    prepared, rewrites, made_of = prepare(reference, probes.model_inputs())
    save_model(reference, out / "reference")
    save_model(prepared, out / "keras" / "model")
    return PreparedModel(
        inputs=ports,
        outputs=tuple(
            replace(port, shape=tuple(tensor.shape[1:]))
            for port, tensor in zip(model.outputs, reference.outputs, strict=True)
        ),
        tasks=data.tasks,
        from_logits=model.from_logits,
        preprocessing=transforms,
        rewrites=tuple(f"{rewrite.layer}: {rewrite.what}" for rewrite in (*lifts, *rewrites)),
        unrolled=tuple(rewrite.layer for rewrite in rewrites if rewrite.unrolled),
        unrolled_steps=sum(rewrite.unrolled for rewrite in rewrites),
        layers=_records(prepared, made_of),
        notes=(*model.dropped, *choice.warnings),
        better_settings=choice.better,
        input_findings=choice.findings,
        findings=tuple(map(str, choice.findings)),
    )


def _records(model: Any, made_of: dict[str, str]) -> tuple[LayerRecord, ...]:
    from models.prepare import without_int8

    problems = without_int8(model)
    return tuple(
        LayerRecord(
            name=layer.name,
            kind=type(layer).__name__,
            made_of=made_of.get(layer.name, ""),
            without_int8=problems.get(layer.name, ""),
        )
        for layer in model.layers
    )


def _are_equal(
    original: Any, before: Preprocessing, reference: Any, after: Preprocessing, data: Dataset
) -> bool:
    """Return whether both models, each with its own preprocessing, have the same outputs on real samples.

    Beyond the tolerance of each rewrite they may differ by the effect of the last bits of the inputs.
    """
    from models.prepare import TOLERANCE
    from pipeline.training.keras_io import predict

    samples = Samples.of(data, "train", before).take(slice(0, EQUAL_SAMPLES))
    inputs = samples.model_inputs()
    nudged = [np.nextafter(x, x.dtype.type(np.inf)) if x.dtype.kind == "f" else x for x in inputs]
    found = predict(reference, replace(samples, preprocessing=after).model_inputs())
    for ours, theirs, near in zip(found, predict(original, inputs), predict(original, nudged), strict=True):
        allowed = TOLERANCE * max(1.0, float(np.abs(theirs).max())) + LAST_BITS * np.abs(near - theirs).max()
        if not np.abs(ours - theirs).max() <= allowed:
            return False
    return True


def _as_it_is(model: FloatModel, data: Dataset, config: PreprocessingConfig, *, out: Path) -> PreparedModel:
    """Prepare an opaque model: only decide the preprocessing."""
    shutil.copytree(model.model, out / "reference")
    try:
        choice = sandbox.run(
            "prepare_model",
            _choose_for_opaque,
            model,
            data,
            config,
            timeout_s=OPAQUE_PROBE_TIMEOUT_S,
            returns=(Choice, InputFinding, Transform),
        )
    except StageError as error:
        unknown = f"the model could not be run to find its preprocessing ({error.cause}); declare it"
        choice = Choice(declared_transforms(model.inputs, config), (), (unknown,))
    reason = "loaded by Keras itself: TF-MOT cannot take it apart"
    note = "code in the model's file was run by Keras; it is quantized after training only, and not pruned"
    return PreparedModel(
        inputs=_fixed_ports(model, data),
        outputs=model.outputs,
        tasks=data.tasks,
        from_logits=model.from_logits,
        preprocessing=choice.transforms,
        notes=(*choice.warnings, note),
        better_settings=choice.better,
        input_findings=choice.findings,
        findings=tuple(map(str, choice.findings)),
        opaque=True,
        layers=tuple(LayerRecord(name=name, kind=kind, reason=reason) for name, kind in model.layers),
    )


def _fixed_ports(model: FloatModel, data: Dataset) -> tuple[Port, ...]:
    return tuple(replace(port, shape=shape) for port, shape in zip(model.inputs, data.shapes, strict=True))


def _fixed_lengths(graph: Any, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """Replace open lengths of the inputs by those of the data, since devices allocate memory once."""
    layers = dict(graph.layers)
    for tensor, shape in zip(graph.inputs, shapes, strict=True):
        name = graph.calls[tensor].layer
        layers[name] = replace(layers[name], config=layers[name].config | {"shape": shape})
    return replace(graph, layers=layers)


def _choose_for_opaque(model: FloatModel, data: Dataset, config: PreprocessingConfig) -> Choice:
    """Choose the preprocessing of a SavedModel by running it, one sample at a time."""
    from pipeline.training.tfmot import tensorflow

    saved = tensorflow().saved_model.load(str(model.model / "saved"))
    serve = saved.signatures["serving_default"]

    def predict(inputs: list[Any]) -> list[Any]:
        answers = [
            serve(**{port.name: row[None] for port, row in zip(model.inputs, rows, strict=True)})
            for rows in zip(*inputs, strict=True)
        ]
        return [np.concatenate([answer[port.name] for answer in answers]) for port in model.outputs]

    probe = Probe.of(data, predict, OPAQUE_PROBE_SAMPLES)
    return choose_preprocessing(probe, _fixed_ports(model, data), config)


def _keras_predict(model: Any) -> Any:
    """Return the model as a function of any number of samples that needs memory for a few only."""
    from pipeline.training.keras_io import predict

    def infer(inputs: list[Any]) -> list[Any]:
        starts = range(0, len(inputs[0]), PROBE_BATCH)
        parts = [predict(model, [x[start : start + PROBE_BATCH] for x in inputs]) for start in starts]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    return infer


def _each_then(transforms: Preprocessing, model: FloatModel, affines: Affines, what: str) -> Preprocessing:
    """Append the scale and offset given for each input name to its transform; ``what`` says what they do."""
    return tuple(
        _then(transform, *affines[port.name], what) if port.name in affines else transform
        for transform, port in zip(transforms, model.inputs, strict=True)
    )


def _then(transform: Transform, factor: Any, shift: Any, what: str) -> Transform:
    scale, offset = np.asarray(transform.scale), np.asarray(transform.offset)
    return replace(
        transform,
        scale=tuple(np.atleast_1d(scale * factor).tolist()),
        offset=tuple(np.atleast_1d(offset * factor + shift).tolist()),
        reason=f"{transform.reason}, then {what}",
    )


def _standardization(model: FloatModel, data: Dataset, transforms: tuple[Transform, ...]) -> Affines:
    """Return the scaling that standardizes features whose ranges differ a lot, in vectors and series."""
    found: Affines = {}
    samples = Samples.of(data, "train", transforms).choose(16 * PROBE_SAMPLES, seed=0)
    for index, (port, shape) in enumerate(zip(model.inputs, data.shapes, strict=True)):
        if transforms[index].indices or len(shape) not in (1, 2) or shape[-1] == 1:
            continue
        values = transforms[index].apply(samples.raw(index)).reshape(-1, shape[-1]).astype(np.float64)
        reach = np.abs(values).max(axis=0)
        if reach.max() > UNEVEN_RANGES * max(reach.min(), 1e-12):
            deviation = values.std(axis=0)
            deviation = np.where(deviation > 1e-9 * reach.max(), deviation, 1.0)
            found[port.name] = (1 / deviation, -values.mean(axis=0) / deviation)
    return found
