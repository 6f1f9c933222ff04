"""The first stages: the user's model and data, read safely, and how the one becomes the other's input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import calibration.manifest
import calibration.sampling
from pipeline.artifacts import CalibrationSet, Dataset, FloatModel, Preprocessing, Source
from pipeline.errors import InputError
from pipeline.preprocessing import usual_range
from pipeline.progress import track

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Baseline
    from pipeline.config import CalibrationConfig, DataConfig

VERSION = 1
LOGITS_PROBES = 16


def load_model(source: Source, *, out: Path) -> FloatModel:
    """Rebuild the Keras model from its file without running code from it, and prepare its graph.

    Raises:
        InputError: the model is refused; says which layer and why.
    """
    from pathlib import Path

    from models.errors import ModelError
    from models.load import load_model as rebuild
    from models.prepare import prepare
    from pipeline.training import save_model, start_tensorflow

    with track("load_model"):
        start_tensorflow(0)
        original = rebuild(Path(source.location))
        input_shape, output_shape = _sample_shapes(original, source.location)
        try:
            prepared, rewrites = prepare(original)
        except ModelError as error:
            msg = f"{source.location}: {error}"
            raise ModelError(msg) from error
    save_model(original, out / "original")
    save_model(prepared, out / "prepared")
    return FloatModel(
        input_shape=input_shape,
        output_shape=output_shape,
        task="binary" if output_shape[-1] == 1 else "classification",
        from_logits=_outputs_logits(original),
        parameters=int(original.count_params()),
        rewrites=tuple(f"{rewrite.layer}: {rewrite.what}" for rewrite in rewrites),
    )


def _sample_shapes(model: Any, path: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """One sample's input and output shape, where the model is one that the later stages can judge."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        ends = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        msg = f"{path}: {ends}: give a model with one of each"
        raise InputError(msg)
    input_shape, output_shape = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape[1:])
    if None in input_shape:
        msg = (
            f"{path}: the input shape {input_shape} is open: build the model with a fixed one for the device"
        )
        raise InputError(msg)
    if len(output_shape) != 1:
        msg = f"{path}: the output shape {output_shape} is no classifier's: give a model with (classes,)"
        raise InputError(msg)
    return input_shape, output_shape


def _outputs_logits(model: Any) -> bool:
    """Tell logits from probabilities by what the model returns for random inputs."""
    from models.prepare import random_inputs

    inputs = random_inputs(model, LOGITS_PROBES)[0]
    if inputs.dtype.kind == "f":
        inputs = inputs * 8 - 4  # wide: the logits of a narrow range may all look like probabilities
    outputs = model.predict_on_batch(inputs)
    in_range = bool((outputs >= 0).all() and (outputs <= 1).all())
    return not (in_range and (outputs.shape[-1] == 1 or np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)))


def load_data(source: Source, model: FloatModel, *, config: DataConfig, seed: int, out: Path) -> Dataset:
    """Read training and test samples and check them against the model.

    Raises:
        InputError: the data is refused; says which sample or label and why.
    """
    from models.data.dataset import check_data
    from models.data.sources import load_data as read

    data = read(source.location, input_shape=model.input_shape, seed=seed, test_fraction=config.test_fraction)
    classes = max(model.output_shape[-1], 2)
    check_data(data, model.input_shape, classes)
    names = config.labels or tuple(data.class_names) or tuple(str(label) for label in range(classes))
    if len(names) != classes:
        msg = f"{len(names)} label names for a model with {classes} classes: give one name a class"
        raise InputError(msg)
    dataset = Dataset(
        folder=out, classes=names, train_samples=len(data.train_inputs), test_samples=len(data.test_inputs)
    )
    np.save(dataset.train_inputs, data.train_inputs)
    np.save(dataset.train_labels, data.train_labels.astype(np.int64))
    np.save(dataset.test_inputs, data.test_inputs)
    np.save(dataset.test_labels, data.test_labels.astype(np.int64))
    return dataset


def choose_preprocessing(
    baseline: Baseline, data: Dataset, *, config: DataConfig, out: Path
) -> Preprocessing:
    """Decide how raw samples become the model's float input.

    A declared scale is taken; raw floats go in as they are; for raw integers the usual range is taken
    under which the float model is best on training samples.
    """
    if config.scale != "auto":
        return Preprocessing(scale=config.scale, offset=config.offset, reason="declared")
    return usual_range(baseline.tflite, np.load(data.train_inputs, mmap_mode="r"), np.load(data.train_labels))


def choose_calibration(data: Dataset, *, config: CalibrationConfig, seed: int, out: Path) -> CalibrationSet:
    """Choose the representative data set from the training samples and write its manifest.

    Raises:
        InputError: the samples cannot give ranges, or the splits overlap.
    """
    inputs = np.load(data.train_inputs, mmap_mode="r")
    labels = np.load(data.train_labels)
    chosen = calibration.sampling.choose(
        inputs, labels, np.load(data.test_inputs, mmap_mode="r"), config.samples, seed
    )
    artifact = CalibrationSet(folder=out, samples=len(chosen))
    np.save(artifact.indices, chosen)
    calibration.manifest.write_manifest(artifact.manifest, inputs[chosen], labels[chosen], seed)
    return artifact
