"""What races: a model with its data, as a build is given it, and the same written out for scripts of others.

The folder of a case has the model that the build's own stages loaded and prepared, in the preprocessing that
they chose, so that every contender starts from the same numbers:

    model.h5                the model as it was given, for Keras 2
    float.tflite            the same, converted to float32
    x_train_0.npy ...       float32 inputs, after preprocessing; y_train_0.npy ...: what the outputs are to be
    x_test_0.npy ...        likewise; target_0.npy ...: targets as the project's metrics take them
    calibration_0.npy ...   the calibration samples that the build chooses with the seed
    case.json               losses, tasks, and the epochs, batch sizes and learning rates of the build

Usage: python cases.py ARGUMENTS-AS-JSON SEED STORE FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pipeline.artifacts import CalibrationSet, Dataset, PreparedModel
    from pipeline.build_config import BuildConfig
    from pipeline.training_config import TrainingConfig


STORE_BYTES = 20 * 10**9


SPARSITY = 0.75
DEPTHWISE = ("ds_cnn", "mobilenet_v1_025", "mobilenet_v2_micro")
SPARSITY_OF_DEPTHWISE = 0.5
"""Their pointwise convolutions bear less."""


@dataclass(frozen=True)
class Contest:
    """A model and its data, as the command line of a build names them.

    Attributes:
        name: of the results.
        zoo: name of a reference model; "" for another model.
        config: a settings file, if any.
        model: of the user, if it is not in the settings.
        data: likewise.
    """

    name: str
    zoo: str = ""
    config: Path | None = None
    model: str = ""
    data: str = ""

    def arguments(self) -> list[str]:
        """Return the options of ``pipeline build``."""
        if self.zoo:
            return ["--model", f"zoo:{self.zoo}"]
        options = {"--config": self.config, "--model": self.model, "--data": self.data}
        return [text for option, value in options.items() if value for text in (option, str(value))]

    @property
    def sparsity(self) -> float:
        """Of the contenders that prune, all alike; the default build finds its own."""
        return SPARSITY_OF_DEPTHWISE if self.zoo in DEPTHWISE else SPARSITY

    def settings(self, changes: tuple[str, ...] = ()) -> BuildConfig:
        """Return the settings of the build, with values of --set laid over them."""
        from pipeline.settings import configure, nested, overlay, read_toml, zoo_settings

        if self.zoo:
            return configure(zoo_settings(self.zoo), self.name, changes)
        base = read_toml(self.config) if self.config else {}
        given = nested({"model.path": self.model or None, "data.source": self.data or None})
        return configure(overlay(base, given), self.name, changes)

    def content(self) -> list[Any]:
        """Return the digests of model and data, and the settings that a case depends on, as JSON has them."""
        from pipeline.loading.load import model_digest, source_of

        config = self.settings()
        tables = [config.calibration, *config.compress, training_of(config)]
        said = config.model_dump(mode="json", exclude_defaults=True)
        dumped = [table.model_dump(mode="json") for table in tables]
        return [model_digest(config.model), source_of(config.data).digest, said, dumped]


def training_of(config: BuildConfig) -> TrainingConfig:
    """Return how the build trains for quantization, or would."""
    from pipeline.quantize.qat import QatConfig

    training: TrainingConfig = getattr(config.quantize, "training", QatConfig().training)
    return training


def export(contest: Contest, seed: int, store: Path, folder: Path) -> None:
    """Write the folder of a case.

    Raises:
        PipelineError: the model or the data is refused.
    """
    from pipeline.artifacts import Source
    from pipeline.errors import leaf_errors_mapped
    from pipeline.loading.load import model_digest, source_of
    from pipeline.opening import open_inputs
    from pipeline.run import Run
    from pipeline.store import Store

    config = contest.settings((f"seed={seed}",))
    folder.mkdir(parents=True, exist_ok=True)
    with Store(store, STORE_BYTES) as opened, leaf_errors_mapped():
        model = Source(location=str(config.model.path), digest=model_digest(config.model))
        data = source_of(config.data)
        found = open_inputs(model, data, None, config, Run(folder / "run", opened))
        shutil.copy(found.baseline.tflite, folder / "float.tflite")
        write_arrays(found.prepared, found.data, found.samples, folder)
        case = described(contest, config, found.prepared, found.data) | {
            "prunable_weights": write_model(found.prepared, folder),
            "model": model.digest,
            "data": data.digest,
        }
    (folder / "case.json").write_text(json.dumps(case, indent=1))  # last: the folder is whole


def write_arrays(prepared: PreparedModel, data: Dataset, chosen: CalibrationSet, folder: Path) -> None:
    from pipeline.samples import Samples
    from pipeline.tasks.spec import TASKS

    train, test = (Samples.of(data, split, prepared.preprocessing) for split in ("train", "test"))
    calibration = train.take(np.load(chosen.indices))
    inputs = train.model_inputs()
    for name, arrays in (
        ("x_train", inputs),
        ("x_test", test.model_inputs()),
        ("calibration", calibration.model_inputs()),
    ):
        for index, array in enumerate(arrays):
            np.save(folder / f"{name}_{index}.npy", array)
    for index, (port, task) in enumerate(zip(prepared.outputs, prepared.tasks, strict=True)):
        aim = TASKS[task].aim
        aims = None if aim is None else aim(train.target(index), inputs, (len(train), *port.fixed_shape))
        if aims is not None:
            np.save(folder / f"y_train_{index}.npy", aims)
        if (target := test.target(index)) is not None:
            np.save(folder / f"target_{index}.npy", target)


def write_model(prepared: PreparedModel, folder: Path) -> int:
    """Write the model as it was given, as Keras 2's HDF5, which every TensorFlow of the contenders reads.

    Returns:
        How many weights a build would prune.
    """
    import h5py

    from pipeline.training.keras_io import open_model, start_tensorflow

    start_tensorflow(0)
    model = open_model(prepared.reference)
    model.save(folder / "model.h5", save_format="h5", include_optimizer=False)
    with h5py.File(folder / "model.h5", "r+") as file:
        architecture = json.loads(file.attrs["model_config"])
        for layer in architecture["config"]["layers"]:
            layer["config"].pop("optional", None)  # of an InputLayer, which Keras 2.15 does not know
        file.attrs["model_config"] = json.dumps(architecture)
    return prunable_weights(open_model(prepared.keras.model))  # 1-D convolutions are 2-D there


def prunable_weights(model: Any) -> int:
    """Return the weights of the kernels that a build would prune, in the prepared model."""
    from pipeline.compress.weights import prunable_layers

    return sum(int(np.prod(model.get_layer(name).kernel.shape)) for name in prunable_layers(model))


def described(
    contest: Contest, config: BuildConfig, prepared: PreparedModel, data: Dataset
) -> dict[str, Any]:
    """Return what scripts need to know besides the arrays."""
    from pipeline.compress.weights_config import MIN_KERNEL_WEIGHTS, WeightsConfig
    from pipeline.tasks.spec import TASKS

    pruning = next((step for step in config.compress if isinstance(step, WeightsConfig)), WeightsConfig())
    losses = []
    for port, task, logits in zip(prepared.outputs, prepared.tasks, prepared.from_logits, strict=True):
        sigmoid = TASKS[task].is_sigmoid(port.shape[-1], port.activation)
        name = ("binary" if sigmoid else "categorical") if TASKS[task].of_classes else "squared error"
        losses.append({"name": name, "from_logits": bool(logits)})
    return {
        "tasks": prepared.tasks,
        "from_logits": prepared.from_logits,
        "losses": losses,
        "classes": data.classes,
        "train_samples": data.train_samples,
        "test_samples": data.test_samples,
        "calibration_samples": min(config.calibration.samples, data.train_samples),
        "training": {
            "quantize": planned(training_of(config), data),
            "prune": planned(pruning.training, data)
            | {
                "sparsity": contest.sparsity,
                "min_kernel_weights": MIN_KERNEL_WEIGHTS,
                "min_weights": pruning.min_weights,
            },
        },
    }


def planned(training: TrainingConfig, data: Dataset) -> dict[str, Any]:
    """Return the training settings of a stage, with the epochs that its minimum number of steps comes to."""
    from pipeline.training.fine_tuning import total_epochs

    samples = min(training.samples or data.train_samples, data.train_samples)
    return {
        "epochs": total_epochs(samples, training),
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "samples": samples,
    }


if __name__ == "__main__":
    from pipeline.errors import PipelineError

    given = json.loads(sys.argv[1])
    if given["config"]:
        given["config"] = Path(given["config"])
    try:
        export(Contest(**given), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
    except PipelineError as error:
        sys.exit(str(error))
