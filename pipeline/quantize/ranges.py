"""Ranges for post-training quantization: what each activation of a float model reaches on samples."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts import Ranges
from pipeline.errors import StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer.edit import Range, ranges_of
from pipeline.isolation import sandbox
from pipeline.quantize.tflite import write_calibrated
from pipeline.samples import Samples

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import CalibrationSet, Dataset, ModelArtifact


def find_ranges(
    model: ModelArtifact, samples: CalibrationSet, data: Dataset, *, timeout_s: float, out: Path
) -> Ranges:
    """Convert the model to float32, and find the smallest and the largest value of each activation.

    A model that does not convert has no ranges; the conversion then tries the formats that need none.

    Args:
        model: a ``KerasModel``, or an opaque ``PreparedModel``.
        timeout_s: seconds after which the process that does it is killed.

    Raises:
        StageTimeoutError: it took too long, which says nothing of the model.
        StageKilledError: it was killed, as where memory runs out, which says as little.
    """
    made = Ranges(folder=out)
    chosen = Samples.of(data, "train", model.preprocessing).take(np.load(samples.indices))
    try:
        sandbox.run("find_ranges", write_calibrated, model, chosen, made.tflite, timeout_s=timeout_s)
    except (StageKilledError, StageTimeoutError):
        raise
    except StageError as error:
        return Ranges(problem=error.cause)
    found = [each._asdict() for each in ranges_of(made.tflite.read_bytes())]
    made.table.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return made


def read_ranges(made: Ranges) -> list[Range]:
    """Return the table of ranges."""
    return [Range(**entry) for entry in json.loads(made.table.read_text(encoding="utf-8"))]
