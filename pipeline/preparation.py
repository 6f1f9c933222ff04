"""How raw samples become the model's input, and the model what TF-MOT covers: the same function."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import PreparedModel, Transform
from pipeline.preprocessing import PROBE_SAMPLES, check_range, usual_range
from pipeline.progress import track
from pipeline.samples import Samples
from pipeline.training import OF_INPUT

if TYPE_CHECKING:
    from pathlib import Path

    from models.ports import Port
    from pipeline.artifacts import Dataset, FloatModel, Preprocessing
    from pipeline.config import PreprocessingConfig

    Affines = dict[str, tuple[Any, Any]]

VERSION = 1
# One scale for a whole input leaves a feature with a 16th of the largest range 4 bits of its 8.
UNEVEN_RANGES = 16.0
EQUAL_SAMPLES = 64
LAST_BITS = 4


def prepare_model(
    model: FloatModel, data: Dataset, *, config: PreprocessingConfig, out: Path
) -> PreparedModel:
    """Decide how raw samples become the model's input, and bring the model into a form that TF-MOT covers.

    A declared scale is taken; raw floats go in as they are; for raw integers the usual range is taken under
    which the model is best on training samples. Features of a vector or series whose ranges differ much get a
    scale each, with its inverse folded into the model.

    Raises:
        InputError: a rewrite would change what the model computes.
    """
    if model.opaque:
        return _as_it_is(model, data, config, out)
    from models.graph import build_model
    from models.prepare import graph_of, prepare, without_int8
    from models.rewrites.inputs import fold_inputs, lift_normalization
    from pipeline.training import open_model, save_model, start_tensorflow

    with track("prepare_model"):
        start_tensorflow(0)
        given = _fixed_lengths(graph_of(open_model(model.model)), data.shapes)
        original = build_model(given)
        transforms, notes = _transforms(original, model, data, config)
        is_free = not OF_INPUT & set(data.tasks)  # else the output is held to the input as it is
        graph, lifted, lifts = lift_normalization(given) if is_free else (given, {}, [])
        lifted_transforms = _each_then(transforms, model, lifted)
        balanced = _balancing(model, data, lifted_transforms) if config.balance and is_free else {}
        folded = fold_inputs(graph, balanced) if balanced else None
        if folded is not None:
            graph, lifted_transforms = folded, _each_then(lifted_transforms, model, balanced)
        reference = original if graph is given else build_model(graph)
        if graph is given or _are_equal(original, transforms, reference, lifted_transforms, data):
            transforms = lifted_transforms
        else:  # float32 is too coarse for these ranges: the model stays as it was given
            reference, lifts = original, []
        prepared, rewrites = prepare(reference)
    save_model(reference, out / "reference")
    save_model(prepared, out / "prepared")
    return PreparedModel(
        inputs=_fixed_ports(model, data),
        outputs=tuple(
            replace(port, shape=tuple(tensor.shape[1:]))
            for port, tensor in zip(model.outputs, reference.outputs, strict=True)
        ),
        tasks=data.tasks,
        from_logits=model.from_logits,
        preprocessing=transforms,
        rewrites=tuple(f"{rewrite.layer}: {rewrite.what}" for rewrite in (*lifts, *rewrites)),
        without_int8=tuple(without_int8(prepared).items()),
        notes=notes,
    )


def _are_equal(
    original: Any, before: Preprocessing, reference: Any, after: Preprocessing, data: Dataset
) -> bool:
    """Whether both models answer real samples alike, each with its own preprocessing.

    Beyond the tolerance of every rewrite they may differ by what the last bits of the inputs decide.
    """
    from models.prepare import TOLERANCE
    from pipeline.training import predict

    samples = Samples.of(data, "train", before).take(slice(0, EQUAL_SAMPLES))
    inputs = samples.model_inputs()
    nudged = [np.nextafter(x, x.dtype.type(np.inf)) if x.dtype.kind == "f" else x for x in inputs]
    found = predict(reference, replace(samples, preprocessing=after).model_inputs())
    for ours, theirs, near in zip(found, predict(original, inputs), predict(original, nudged), strict=True):
        allowed = TOLERANCE * max(1.0, float(np.abs(theirs).max())) + LAST_BITS * np.abs(near - theirs).max()
        if not np.abs(ours - theirs).max() <= allowed:
            return False
    return True


def _as_it_is(model: FloatModel, data: Dataset, config: PreprocessingConfig, out: Path) -> PreparedModel:
    """An opaque model: only the preprocessing is decided."""
    shutil.copytree(model.model, out / "reference")
    transforms = declared_transforms(model.inputs, config)
    note = "code in the model's file was run by Keras; it is quantized after training only, and not pruned"
    return PreparedModel(
        inputs=_fixed_ports(model, data),
        outputs=model.outputs,
        tasks=data.tasks,
        from_logits=model.from_logits,
        preprocessing=transforms,
        notes=(note,),
        opaque=True,
        layers=model.layers,
    )


def _fixed_ports(model: FloatModel, data: Dataset) -> tuple[Port, ...]:
    return tuple(replace(port, shape=shape) for port, shape in zip(model.inputs, data.shapes, strict=True))


def _fixed_lengths(graph: Any, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """Give open lengths of the inputs those of the data: a device's memory is laid out once."""
    layers = dict(graph.layers)
    for tensor, shape in zip(graph.inputs, shapes, strict=True):
        name = graph.calls[tensor].layer
        layers[name] = replace(layers[name], config=layers[name].config | {"shape": shape})
    return replace(graph, layers=layers)


def _transforms(
    original: Any, model: FloatModel, data: Dataset, config: PreprocessingConfig
) -> tuple[tuple[Transform, ...], tuple[str, ...]]:
    """For each input its transform, and warnings."""
    from pipeline.training import predict

    transforms = declared_transforms(model.inputs, config)
    if len(transforms) != 1 or transforms[0].indices:
        return transforms, ()
    samples = Samples.of(data, "train", transforms).choose(PROBE_SAMPLES, seed=0)
    raw, target, task = samples.raw(0), samples.target(0), data.tasks[0]

    def infer(inputs: Any) -> Any:
        return predict(original, [inputs])[0]

    if config.scale != "auto" or config.mean or config.std:
        warning = check_range(infer, raw, target, task, transforms[0])
    else:
        chosen, warning = usual_range(infer, raw, target, task)
        transforms = (replace(chosen, reverse_channels=transforms[0].reverse_channels),)
    return transforms, (warning,) if warning else ()


def declared_transforms(inputs: tuple[Port, ...], config: PreprocessingConfig) -> tuple[Transform, ...]:
    """For each input the transform that the settings say; of integer inputs, indices go in as they are."""
    return tuple(_declared(port, config) for port in inputs)


def _declared(port: Port, config: PreprocessingConfig) -> Transform:
    if not port.dtype.startswith("float"):
        return Transform(indices=True, reason="the model takes integers")
    scale, offset = (1.0 if config.scale == "auto" else config.scale), config.offset
    std = np.asarray(config.std or (1.0,), np.float64)
    mean = np.asarray(config.mean or (0.0,), np.float64)
    scales, offsets = scale / std, (offset - mean) / std
    return Transform(
        scale=tuple(scales.tolist()),
        offset=tuple(offsets.tolist()),
        reverse_channels=config.channel_order == "reversed",
        reason="floats go in as they are" if config == type(config)() else "declared",
    )


def _each_then(transforms: Preprocessing, model: FloatModel, affines: Affines) -> Preprocessing:
    """Apply another scale and offset, those of each input's name, after its transform."""
    return tuple(
        _then(transform, *affines[port.name]) if port.name in affines else transform
        for transform, port in zip(transforms, model.inputs, strict=True)
    )


def _then(transform: Transform, factor: Any, shift: Any) -> Transform:
    scale, offset = np.asarray(transform.scale), np.asarray(transform.offset)
    return replace(
        transform,
        scale=tuple(np.atleast_1d(scale * factor).tolist()),
        offset=tuple(np.atleast_1d(offset * factor + shift).tolist()),
        reason=f"{transform.reason}, then each feature scaled",
    )


def _balancing(model: FloatModel, data: Dataset, transforms: tuple[Transform, ...]) -> Affines:
    """For vectors and series whose features differ much in range, what standardises each of them."""
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
