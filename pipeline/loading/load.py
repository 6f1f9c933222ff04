"""The first stages: the user's model and data, read safely."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Dataset, FloatModel, Source
from pipeline.content import file_sha256, folder_digests, sha256_of
from pipeline.errors import InputError, leaf_errors_mapped
from pipeline.isolation import sandbox
from pipeline.isolation.child import in_child
from pipeline.progress import track
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from models.data.options import DataOptions, StoredData
    from models.ports import Port
    from models.task_rules import Task
    from pipeline.config import DataConfig, ModelConfig, ShiftConfig


LOGITS_PROBES = 16
LOAD_TIMEOUT_S = 600.0


def model_digest(config: ModelConfig) -> str:
    """Return the content of the model's file or folder, its weights' file included.

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
    """Return the file that custom objects come from: another version of it is another model."""
    from models.data.program import program_file

    return file_sha256(program_file(config.custom_objects)) if config.custom_objects else ""


def load_model(source: Source, *, config: ModelConfig, out: Path) -> FloatModel:
    """Rebuild the Keras model from its file without running code from it.

    Keras itself loads a model that the user trusts, confined.

    Raises:
        InputError: the model is refused; says which layer and why.
    """
    load = _load_trusted if config.trust else in_child(_rebuild, "load_model")
    return load(Path(source.location), config, out=out)


def _rebuild(path: Path, config: ModelConfig, *, out: Path) -> FloatModel:
    from models.describe import input_ports, output_ports
    from models.load import load_model, notes_on_dropped
    from pipeline.training.keras_io import save_model, start_tensorflow

    start_tensorflow(0)
    model = load_model(path, config.weights)
    outputs = output_ports(model)
    found = FloatModel(
        folder=out,
        inputs=input_ports(model),
        outputs=outputs,
        from_logits=_output_logits(model, outputs),
        dropped=notes_on_dropped(path, config.weights),
    )
    save_model(model, found.model)
    return found


def _load_trusted(path: Path, config: ModelConfig, *, out: Path) -> FloatModel:
    from models.ports import Port
    from models.trusted import ExportedModel

    notes: list[str] = []
    exported = sandbox.run(
        "load_model",
        _export_trusted,
        path.resolve(),
        config.weights and config.weights.resolve(),
        config.custom_objects,
        out / "model",
        timeout_s=LOAD_TIMEOUT_S,
        returns=(ExportedModel, Port),
        rules=sandbox.Confinement(str(path), network=False, writable=(out,), readable=_needed(path, config)),
        notes=notes,
    )
    return FloatModel(
        notes=tuple(notes),
        inputs=exported.inputs,
        outputs=exported.outputs,
        from_logits=tuple(
            port.activation not in {"softmax", "sigmoid"} if port.activation else None
            for port in exported.outputs
        ),
        opaque=True,
        layers=exported.layers,
    )


def _needed(path: Path, config: ModelConfig) -> tuple[Path, ...]:
    """Return the files that loading a trusted model takes: its own, and those beside its custom objects."""
    from models.data.program import program_file

    found = [path.resolve(), *([config.weights.resolve()] if config.weights else [])]
    if config.custom_objects:
        module = config.custom_objects.rpartition(":")[0].removesuffix(".py")
        folder = program_file(config.custom_objects).resolve().parent
        found.append(folder if "/" in module else (folder, *folder.parents)[module.count(".")])
    return tuple(found)


def _export_trusted(path: Path, weights: Path | None, custom_objects: str | None, folder: Path) -> Any:
    from models.data.program import import_named
    from models.trusted import export_trusted
    from pipeline.training.tfmot import tensorflow

    tensorflow()
    with leaf_errors_mapped():
        objects = import_named(custom_objects) if custom_objects else {}
        if not isinstance(objects, dict):
            msg = f"{custom_objects}: {type(objects).__name__}, not a dict of names to classes and functions"
            raise InputError(msg)
        return export_trusted(path, weights, objects, folder)


def _output_logits(model: Any, outputs: tuple[Port, ...]) -> tuple[bool, ...]:
    """Return whether outputs are logits: by the last activation, else from outputs for random inputs."""
    from models.prepare import random_inputs
    from pipeline.training.keras_io import predict

    inputs = random_inputs(model, LOGITS_PROBES)
    # Wide: the logits of a narrow range may all look like probabilities.
    wide = [values * 8 - 4 if values.dtype.kind == "f" else values for values in inputs]
    known = {"softmax": False, "sigmoid": False, "linear": True}
    return tuple(
        known.get(port.activation, bool((found < 0).any() or (found > 1).any()))
        for port, found in zip(outputs, predict(model, wide), strict=True)
    )


def load_data(
    source: Source,
    *,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    config: DataConfig,
    seed: int,
    out: Path,
) -> Dataset:
    """Read training and test samples, check them against a model's inputs and outputs, and store them.

    Raises:
        InputError: the data is refused; says which sample or label and why.
    """
    found = read_data(config, inputs, outputs, seed, out)
    return stored_dataset(found, out, len(inputs), outputs)


def read_data(
    config: DataConfig, inputs: tuple[Port, ...], outputs: tuple[Port, ...], seed: int, folder: Path
) -> StoredData:
    """Read a data set of any form and store it in ``folder``; a user's function is called in a child process.

    Raises:
        InputError: the data is refused; says which sample or label and why.
        StageError: the user's function crashed.
    """
    from models.data.forms import is_program
    from models.data.options import StoredData

    arguments = (config, inputs, outputs, seed, folder.absolute())
    if not is_program(config.source):
        with track("load_data"):
            return _read_data(*arguments)
    notes: list[str] = []
    found = sandbox.run(
        "load_data",
        _read_data,
        *arguments,
        timeout_s=config.timeout_s,
        returns=(StoredData,),
        rules=sandbox.Confinement(
            config.source,
            network=True,
            memory_bytes=config.max_memory_mb and config.max_memory_mb * 1_000_000,
            advice="return a generator or tf.data.Dataset that reads a part at a time, or allow more: "
            "[data] max_memory_mb",
        ),
        notes=notes,
    )
    return replace(found, notes=(*found.notes, *notes))


def _read_data(
    config: DataConfig, inputs: tuple[Port, ...], outputs: tuple[Port, ...], seed: int, folder: Path
) -> StoredData:
    from models.data.sources import load_data as read

    options = data_options(config)
    return read(config.source, folder, inputs=inputs, outputs=outputs, options=options, seed=seed)


def source_of(config: DataConfig) -> Source:
    """Return the data set that is named, by its content."""
    from models.data.sources import fingerprint

    return Source(location=config.source, digest=fingerprint(config.source, data_options(config)))


def last_release(file: Path | None) -> Source | None:
    """Return the earlier .tflite file that is named, by its content.

    Raises:
        InputError: there is no such file.
    """
    if file is None:
        return None
    if not file.is_file():
        msg = f"{file}: no such file; give the .tflite file of an earlier release"
        raise InputError(msg)
    return Source(location=str(file), digest=file_sha256(file))


def shifted_data(config: DataConfig, data: Dataset, shift: ShiftConfig) -> list[DataConfig]:
    """Load the user's shifted data sets like the data itself: same tasks, same classes."""
    same = {"task": data.tasks, "labels": data.classes}
    return [config.model_copy(update={**same, "source": source}) for source in shift.sources.values()]


def data_options(config: DataConfig) -> DataOptions:
    """Return the settings as the reader of data takes them."""
    from models.data.options import DataOptions, Feature

    return DataOptions(
        test_fraction=config.test_fraction,
        tasks=config.task,
        labels=config.labels,
        target=config.target,
        columns=config.columns,
        decimal=config.decimal,
        missing=config.missing,
        features={name: Feature(**feature.model_dump()) for name, feature in config.features.items()},
        interpolation=config.interpolation,
        group=config.group,
        split=config.split,
        max_samples=config.max_samples,
        ignore=config.ignore,
    )


def stored_dataset(found: StoredData, folder: Path, inputs: int, outputs: tuple[Port, ...]) -> Dataset:
    """Return the record of what ``models.data`` stored in ``folder``; classes without a name are numbered."""
    shapes = tuple(np.load(folder / f"input_{i}.npy", mmap_mode="r").shape[1:] for i in range(inputs))
    return Dataset(
        folder=folder,
        tasks=found.tasks,
        classes=found.class_names or _numbered(found.tasks, outputs),
        shapes=shapes,
        train_samples=found.train_samples,
        test_samples=found.test_samples,
        text_labels=found.text_labels,
        columns=found.columns,
        notes=found.notes,
        findings=found.findings,
    )


def _numbered(tasks: tuple[Task, ...], outputs: tuple[Port, ...]) -> tuple[str, ...]:
    counts = [
        max(port.shape[-1] or 1, 2) if TASKS[task].class_ids else port.shape[-1] or 1
        for task, port in zip(tasks, outputs, strict=True)
        if TASKS[task].of_classes
    ]
    return tuple(str(label) for label in range(counts[0])) if counts else ()
