"""Build a model from settings in a process of this one's, and score both files on the whole test set."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.download import compress
from pipeline.compiling import Inputs, compile_model
from pipeline.run import Run
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import emulated_runtime, host_runtime
from pipeline.runtimes.session import Session
from pipeline.samples import Samples
from pipeline.targets import get_device, load_targets
from pipeline.tasks.scoring import paired_gain, score_of
from pipeline.validation.costs import count_emulated
from pipeline.validation.model_under_test import Golden, ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pipeline.build_config import BuildConfig
    from pipeline.compiling import Compiled
    from pipeline.store import Store


def build_and_score(config: BuildConfig, store: Store, devices: Sequence[str] = ()) -> dict[str, Any]:
    """Compile a model; returns its scores, sizes and instructions, as JSON has them."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), store)
        compiled = compile_model(Inputs.of(config, load_targets()["host"]), config, run)
        float_file = Path(compiled.baseline.source.location)
        before, after = (outputs_of(each, compiled) for each in (float_file, compiled.quantized.tflite))
    samples = Samples.of(compiled.data, "test", compiled.prepared.preprocessing)
    task, inputs, target = compiled.data.tasks[0], samples.model_inputs()[0], samples.target(0)
    scores = [100 * (score_of(task, outputs, inputs, target) or 0.0) for outputs in (before, after)]
    gain = paired_gain(task, before, after, inputs, target)
    content = compiled.quantized.tflite.read_bytes()
    return {
        "format": compiled.quantized.format, "float": scores[0], "int8": scores[1],
        "gain": None if gain is None else list(gain),
        "float_bytes": float_file.stat().st_size,
        "size_bytes": len(content), "download_bytes": len(compress(content)),
        "instructions": {
            device: [instructions(file, device) for file in (float_file, compiled.quantized.tflite)]
            for device in devices
        },
        "seconds": round(time.monotonic() - began), "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }  # fmt: skip


def outputs_of(file: Path, compiled: Compiled) -> NDArray[Any]:
    """Return the first output of a file for all test samples, as real numbers."""
    samples = Samples.of(compiled.data, "test", compiled.prepared.preprocessing)
    with Session(host_runtime("litert"), file) as session:
        found = [run_real(session, chunk.model_inputs(), batches=True)[0] for chunk in samples.chunks()]
    return np.concatenate(found)


def instructions(file: Path, device: str) -> int:
    """Count the instructions of one inference on the emulated core of a device."""
    with Session(emulated_runtime(get_device(device)), file) as session:
        counted = count_emulated(session, ModelUnderTest.open(file), Golden(None, 4, 0)).instructions
    assert counted is not None, device
    return counted
