"""Ranges for post-training quantization: what each activation of a float model reaches on samples."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Ranges
from pipeline.errors import StageCrashedError, StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer.edit import Range
from pipeline.isolation import sandbox
from pipeline.quantize.activations import statistics
from pipeline.quantize.backends import tflite_converter
from pipeline.quantize.choice import DEFAULT, best_ranges
from pipeline.quantize.shared_scales import ranges_from
from pipeline.quantize.tflite import float_file
from pipeline.samples import Samples

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import CalibrationSet, Dataset, ModelArtifact
    from pipeline.config import CalibrationConfig

STAGE = "find_ranges"
AUTO = "auto"


def find_ranges(
    model: ModelArtifact,
    samples: CalibrationSet,
    data: Dataset,
    *,
    config: CalibrationConfig,
    timeout_s: float,
    out: Path,
) -> Ranges:
    """Convert the model to float32, and find the range of each activation on the calibration samples.

    A model that does not convert has no ranges; the conversion then tries the formats that need none.

    Args:
        model: a ``KerasModel``, or an opaque ``PreparedModel``.
        config: how ranges are chosen.
        timeout_s: seconds after which the process that does it is killed.

    Raises:
        StageTimeoutError: it took too long, which says nothing of the model.
        StageKilledError: it was killed, as where memory runs out, which says as little.
    """
    made = Ranges(folder=out)
    chosen = Samples.of(data, "train", model.preprocessing).take(np.load(samples.indices))
    finding = ""
    try:
        try:
            finding = _written(model, chosen, config, made, timeout_s)
        except StageCrashedError as error:
            if config.ranges != AUTO:
                raise
            finding = _not_compared(error.cause)
            _written(model, chosen, config.model_copy(update={"ranges": DEFAULT}), made, timeout_s)
    except (StageKilledError, StageTimeoutError):
        raise
    except StageError as error:
        return Ranges(problem=error.cause)
    return replace(made, chosen=finding, findings=tuple(filter(None, [finding])))


def _written(
    model: ModelArtifact, samples: Samples, config: CalibrationConfig, made: Ranges, timeout_s: float
) -> str:
    return sandbox.run(STAGE, write_ranges, model, samples, config, made, timeout_s=timeout_s)


def write_ranges(model: ModelArtifact, samples: Samples, config: CalibrationConfig, made: Ranges) -> str:
    """Write the files of ``made``; runs in a child process.

    Returns:
        Which method was chosen and why; "" if the settings name one.
    """
    content, unseen = float_file(model, samples)
    found, described = choose_ranges(content, unseen, samples, config)
    write_files(made, content, found, described)
    finding: str = described.get("finding", "")
    return finding


def choose_ranges(
    content: bytes, unseen: list[Range], samples: Samples, config: CalibrationConfig
) -> tuple[list[Range], dict[str, Any]]:
    """Return a range for each activation of a float file, and how they were chosen.

    Args:
        content: the file.
        unseen: ranges of what cannot be observed.
        samples: to observe the others on.
        config: how to choose.

    Raises:
        StageError: a tensor has no finite value.
    """

    def quantize(ranges: list[Range]) -> bytes:
        return tflite_converter.quantize(content, [*ranges, *unseen], "int8")

    method: str = config.ranges
    described: dict[str, Any] = {}
    if method == AUTO:
        try:
            choice = best_ranges(content, samples, quantize, config.percentile)
        except StageError:
            raise
        except Exception as error:  # the converter and the runtime have no common base
            method = DEFAULT
            described = {"finding": _not_compared(str(error).strip().partition("\n")[0])}
        else:
            return [*choice.ranges, *unseen], choice._asdict() | {"finding": str(choice)}
    found = ranges_from(content, statistics(content, samples), method, config.percentile)
    return [*found, *unseen], described | {"method": method}


def write_files(made: Ranges, content: bytes, ranges: list[Range], described: dict[str, Any]) -> None:
    """Write a float file, and its table with how the ranges were chosen."""
    made.tflite.write_bytes(content)
    table = described | {"ranges": [each._asdict() for each in ranges]}
    made.table.write_text(json.dumps(table, indent=1), encoding="utf-8")


def _not_compared(cause: str) -> str:
    return f"ranges: {DEFAULT}, because methods cannot be compared with this model ({cause:.200})"


def is_compared(made: Ranges) -> bool:
    """Return whether "auto" compared the methods; not if it took the default without."""
    return "errors" in json.loads(made.table.read_text(encoding="utf-8"))


def read_ranges(made: Ranges) -> list[Range]:
    """Return the table of ranges."""
    return [Range(**entry) for entry in json.loads(made.table.read_text(encoding="utf-8"))["ranges"]]
