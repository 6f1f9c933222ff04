"""The validation stage of a build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts import Measured
from pipeline.validate.measure import Measurement
from pipeline.validate.report import write_report
from pipeline.validate.subject import Samples, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import AwareModel, Baseline, Dataset, FloatModel, Preprocessing, QuantizedModel
    from pipeline.config import ValidateConfig
    from pipeline.targets import Target

VERSION = 1


def validate(
    quantized: QuantizedModel,
    baseline: Baseline,
    model: FloatModel,
    aware: AwareModel,
    data: Dataset,
    preprocessing: Preprocessing,
    *,
    target: Target,
    config: ValidateConfig,
    seed: int,
    out: Path,
) -> Measured:
    """Measure the int8 model against its float baseline on every runtime of the target.

    Raises:
        StageError: a runtime crashed or hung.
        ToolchainError: the emulator is not provisioned.
    """
    samples = Samples(np.load(data.test_inputs, mmap_mode="r"), np.load(data.test_labels), preprocessing)
    measurement = Measurement(
        Subject.open(quantized.tflite), Subject.open(baseline.tflite), samples, target, config, seed
    )
    report, golden = measurement.run(
        quantized.tflite.name,
        classes=data.classes,
        preprocessing=f"raw x {preprocessing.scale:g} {preprocessing.offset:+g} ({preprocessing.reason})",
        rewrites=model.rewrites,
        layers=aware.layers,
    )
    measured = Measured(folder=out, model_sha256=quantized.sha256)
    write_report(report, measured.report)
    np.save(measured.golden_inputs, golden.inputs[0])
    np.save(measured.golden_outputs, golden.outputs[0])
    return measured
