"""The stages that builds begin with, and so does every command that looks into a model with its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.loading.calibration_set import choose_calibration
from pipeline.loading.load import load_data, load_model
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.convert import convert_float
from pipeline.sections import Unkeyed

if TYPE_CHECKING:
    from pipeline.artifacts import Baseline, CalibrationSet, Dataset, FloatModel, PreparedModel, Source
    from pipeline.build_config import BuildConfig
    from pipeline.run import Run


@dataclass(frozen=True)
class Opened:
    """A float model and its data, before compression.

    Attributes:
        loaded: the model as it was given.
        data: training and test samples.
        prepared: the model with preprocessing and fixed lengths.
        baseline: the unchanged model as float32 .tflite.
        samples: the calibration samples.
    """

    loaded: FloatModel
    data: Dataset
    prepared: PreparedModel
    baseline: Baseline
    samples: CalibrationSet


def open_inputs(model: Source, data: Source, field: Source | None, config: BuildConfig, run: Run) -> Opened:
    """Load and prepare a model and its data, and choose the calibration samples.

    Args:
        model: the Keras model, by content.
        data: the data set, by content.
        field: statistics from devices to choose calibration samples by, if there are any.

    Raises:
        PipelineError: a stage could not finish.
    """
    step, seed = run.step, config.seed
    loaded = step(load_model, model, config=config.model)
    ports = {"inputs": loaded.inputs, "outputs": loaded.outputs}
    read = step(load_data, data, **ports, config=config.data, seed=seed)
    prepared = step(prepare_model, loaded, read, config=config.preprocessing)
    baseline = step(convert_float, prepared, timeout_s=Unkeyed(config.convert.timeout_s))
    samples = step(
        choose_calibration, read, inputs=loaded.inputs, config=config.calibration, field=field, seed=seed
    )
    return Opened(loaded, read, prepared, baseline, samples)
