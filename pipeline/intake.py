"""The first stages: the user's model and data, read safely, and how the one becomes the other's input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import calibration.manifest
import calibration.sampling
from pipeline import sandbox
from pipeline.artifacts import CalibrationSet, Dataset, FloatModel, PreparedModel, Source, Transform
from pipeline.errors import InputError, leaf_errors_mapped
from pipeline.preprocessing import PROBE_SAMPLES, check_range, usual_range
from pipeline.progress import track
from pipeline.samples import Samples
from pipeline.training import OF_CLASSES
from pipeline.workspace import file_sha256, folder_digests, sha256_of

if TYPE_CHECKING:
    from models.data.options import DataOptions, StoredData
    from models.ports import Port, Task
    from pipeline.config import CalibrationConfig, DataConfig, ModelConfig, PreprocessingConfig

    Affines = dict[str, tuple[Any, Any]]

VERSION = 2
LOGITS_PROBES = 16
LOAD_TIMEOUT_S = 600.0
# One scale for a whole input leaves a feature with a 16th of the largest range 4 bits of its 8.
UNEVEN_RANGES = 16.0


def model_digest(config: ModelConfig) -> str:
    """The content of the model's file or folder, its weights' file included.

    Raises:
        InputError: there is no such file.
    """
    files = []
    for path in filter(None, (config.path, config.weights)):
        if not path.exists():
            msg = f"{path}: no such file; give a model that Keras saved: .keras, .h5 or a SavedModel folder"
            raise InputError(msg)
        files.append(folder_digests(path) if path.is_dir() else file_sha256(path))
    return sha256_of([files, _custom_code(config)])


def _custom_code(config: ModelConfig) -> str:
    """The file that custom objects come from: another version of it is another model."""
    from models.data.program import program_file

    return file_sha256(program_file(config.custom_objects)) if config.custom_objects else ""


def load_model(source: Source, *, config: ModelConfig, out: Path) -> FloatModel:
    """Rebuild the Keras model from its file without running code from it.

    A model that the user trusts is loaded by Keras itself, in a child process.

    Raises:
        InputError: the model is refused; says which layer and why.
    """
    from models.describe import input_ports, output_ports
    from models.load import load_model as rebuild
    from pipeline.training import save_model, start_tensorflow

    if config.trust:
        return _trusted(Path(source.location), config, out)
    with track("load_model"):
        start_tensorflow(0)
        model = rebuild(Path(source.location), config.weights)
    found = FloatModel(
        folder=out,
        inputs=input_ports(model),
        outputs=output_ports(model),
        from_logits=_output_logits(model),
        parameters=int(model.count_params()),
    )
    save_model(model, found.model)
    return found


def _trusted(path: Path, config: ModelConfig, out: Path) -> FloatModel:
    trusted = sandbox.run(
        "load_model",
        _export_trusted,
        path,
        config.weights,
        config.custom_objects,
        out / "model",
        timeout_s=LOAD_TIMEOUT_S,
    )
    return FloatModel(
        inputs=trusted.inputs,
        outputs=trusted.outputs,
        from_logits=tuple(port.activation not in {"softmax", "sigmoid"} for port in trusted.outputs),
        parameters=trusted.parameters,
        opaque=True,
        layers=trusted.layers,
    )


def _export_trusted(path: Path, weights: Path | None, custom_objects: str | None, folder: Path) -> Any:
    from models.trusted import export_trusted, import_objects

    from pipeline.tfmot import tensorflow

    with leaf_errors_mapped():
        tensorflow()
        return export_trusted(path, weights, import_objects(custom_objects), folder)


def _output_logits(model: Any) -> tuple[bool, ...]:
    """Tell logits from probabilities by what the model returns for random inputs."""
    from models.prepare import random_inputs
    from pipeline.training import predict

    inputs = random_inputs(model, LOGITS_PROBES)
    # Wide: the logits of a narrow range may all look like probabilities.
    wide = [values * 8 - 4 if values.dtype.kind == "f" else values for values in inputs]
    return tuple(not _are_probabilities(outputs) for outputs in predict(model, wide))


def _are_probabilities(outputs: Any) -> bool:
    in_range = bool((outputs >= 0).all() and (outputs <= 1).all())
    sums_to_one = np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
    return in_range and bool(outputs.shape[-1] == 1 or sums_to_one)


def load_data(source: Source, model: FloatModel, *, config: DataConfig, seed: int, out: Path) -> Dataset:
    """Read training and test samples, check them against the model and store them.

    Raises:
        InputError: the data is refused; says which sample or label and why.
    """
    from models.data.sources import load_data as read

    with track("load_data"):
        found = read(
            source.location,
            out,
            inputs=model.inputs,
            outputs=model.outputs,
            options=data_options(config),
            seed=seed,
        )
    return stored_dataset(found, out, len(model.inputs), model.outputs)


def data_options(config: DataConfig) -> DataOptions:
    """The settings as the reader of data takes them."""
    from models.data.options import DataOptions, Feature

    return DataOptions(
        test_fraction=config.test_fraction,
        tasks=config.task,
        labels=config.labels,
        target=config.target,
        columns=config.columns,
        features={name: Feature(**feature.model_dump()) for name, feature in config.features.items()},
        interpolation=config.interpolation,
    )


def stored_dataset(found: StoredData, folder: Path, inputs: int, outputs: tuple[Port, ...]) -> Dataset:
    """The record of what ``models.data`` stored in ``folder``; classes without a name are numbered."""
    shapes = tuple(np.load(folder / f"input_{i}.npy", mmap_mode="r").shape[1:] for i in range(inputs))
    return Dataset(
        folder=folder,
        tasks=found.tasks,
        classes=found.class_names or _numbered(found.tasks, outputs),
        shapes=shapes,
        train_samples=found.train_samples,
        test_samples=found.test_samples,
        notes=found.notes,
    )


def _numbered(tasks: tuple[Task, ...], outputs: tuple[Port, ...]) -> tuple[str, ...]:
    counts = [
        max(port.shape[-1] or 1, 2) if task != "multi-label" else port.shape[-1] or 1
        for task, port in zip(tasks, outputs, strict=True)
        if task in OF_CLASSES
    ]
    return tuple(str(label) for label in range(counts[0])) if counts else ()


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
    from models.prepare import fold_inputs, graph_of, lift_normalization, prepare, without_int8
    from pipeline.training import open_model, save_model, start_tensorflow

    with track("prepare_model"):
        start_tensorflow(0)
        graph = _fixed_lengths(graph_of(open_model(model.model)), data.shapes)
        original = build_model(graph)
        graph, lifted, lifts = lift_normalization(graph)
        transforms, notes = _transforms(original, model, data, config)
        transforms = tuple(
            _then(t, lifted.get(port.name)) for t, port in zip(transforms, model.inputs, strict=True)
        )
        if config.balance:
            balanced = _balancing(model, data, transforms)
            folded = fold_inputs(graph, balanced) if balanced else None
            if folded is not None:
                graph = folded
                transforms = tuple(
                    _then(t, balanced.get(port.name))
                    for t, port in zip(transforms, model.inputs, strict=True)
                )
        reference = build_model(graph)
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


def _as_it_is(model: FloatModel, data: Dataset, config: PreprocessingConfig, out: Path) -> PreparedModel:
    """An opaque model: only the preprocessing is decided."""
    import shutil

    shutil.copytree(model.model, out / "reference")
    transforms = declared_transforms(model.inputs, config)
    note = "loaded by Keras itself: post-training quantization only, and neither pruned nor trained"
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


def _then(transform: Transform, affine: tuple[Any, Any] | None) -> Transform:
    """Apply another scale and offset after those of ``transform``."""
    if affine is None:
        return transform
    factor, shift = (np.asarray(values, np.float64) for values in affine)
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


def choose_calibration(data: Dataset, *, config: CalibrationConfig, seed: int, out: Path) -> CalibrationSet:
    """Choose the representative data set from the training samples and write its manifest.

    Raises:
        InputError: the samples cannot give ranges.
    """
    rows = np.load(data.rows("train"))
    labels = _labels(data, rows)
    places = calibration.sampling.choose(labels, config.samples, seed)
    chosen = [np.load(data.input(i), mmap_mode="r")[rows[places]] for i in range(len(data.shapes))]
    calibration.sampling.check(chosen)
    artifact = CalibrationSet(folder=out, samples=len(places))
    np.save(artifact.indices, places)
    calibration.manifest.write_manifest(artifact.manifest, chosen, labels[places], seed)
    return artifact


def _labels(data: Dataset, rows: Any) -> Any:
    """A class id for each training sample, where there are classes; else 0 for all."""
    for index, task in enumerate(data.tasks):
        if task in {"classification", "binary", "embedding"} and data.target(index).exists():
            return np.load(data.target(index))[rows]
    return np.zeros(len(rows), np.int64)
