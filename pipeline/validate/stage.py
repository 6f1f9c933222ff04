"""The validation stage of a build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts import Measured, described
from pipeline.layer_records import LayerTreatment
from pipeline.samples import Samples
from pipeline.validate.report import write_report
from pipeline.validate.subject import Subject

if TYPE_CHECKING:
    from pipeline.artifacts import Baseline, Dataset, PreparedModel, QuantizedModel, Source
    from pipeline.config import ValidateConfig
    from pipeline.targets import Target


def validate(
    quantized: QuantizedModel,
    baseline: Baseline,
    model: PreparedModel,
    data: Dataset,
    *shifted: Dataset,
    target: Target,
    config: ValidateConfig,
    against: Source | None,
    seed: int,
    out: Path,
) -> Measured:
    """Measure the quantized model against its float baseline on every runtime of the target.

    Args:
        shifted: the user's own data of other distributions, in the order of ``config.shift.sources``.
        against: the .tflite file of an earlier release.

    Raises:
        StageError: a runtime crashed or hung.
        ToolchainError: the emulator is not provisioned.
    """
    from pipeline.validate.measure import Judging, Measurement, output_names

    measurement = Measurement(
        Subject.open(quantized.tflite),
        Subject.open(baseline.tflite),
        Samples.of(data, "test", model.preprocessing),
        Judging(data.tasks, output_names(model.outputs), model.from_logits, data.classes),
        target,
        target.devices,
        config,
        seed,
        shifted={
            name: Samples.every(other, model.preprocessing)
            for name, other in zip(config.shift.sources, shifted, strict=True)
        },
        against=Subject.open(Path(against.location)) if against else None,
    )
    report, golden = measurement.run(
        quantized.tflite.name,
        format=quantized.format,
        format_reason=quantized.reason,
        classes=data.classes,
        preprocessing=described(model.inputs, model.preprocessing),
        rewrites=model.rewrites,
        unrolled=model.unrolled,
        layers=tuple(map(LayerTreatment.of, quantized.layers)),
        notes=tuple(filter(None, (*data.findings, *data.notes, *model.notes, quantized.after_training))),
    )
    inputs, outputs = len(golden.inputs), len(golden.outputs)
    measured = Measured(folder=out, model_sha256=quantized.sha256, inputs=inputs, outputs=outputs)
    write_report(report, measured.report)
    for path_of, arrays in ((measured.golden_input, golden.inputs), (measured.golden_output, golden.outputs)):
        for index, array in enumerate(arrays):
            np.save(path_of(index), array)
    return measured
