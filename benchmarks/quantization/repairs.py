"""Compare post-training quantization with repairs to TFLiteConverter's, on given and on damaged models.

Usage: python benchmarks/quantization/repairs.py [zoo:NAME ...] [--octaves 6] [--store FOLDER]

The whole test set is scored. "given" is the model as it is: TFLiteConverter's own int8 file, and the one of
the stages find_ranges, repair_model and convert_quantized. "damaged" is the same model with the scales of
channels between two layers spread over 2^-6 to 2^6 in the float .tflite file, which computes the same: int8
with min-max ranges, and with repairs. The difference is paired, in points, with a 95 % interval. Seconds are
of find_ranges and repair_model; a stage from the store takes none. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Ranges, Source
from pipeline.command_settings import build_settings
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.edit import Weights, with_weights
from pipeline.loading.load import model_digest, source_of
from pipeline.opening import open_inputs
from pipeline.quantize.activations import run_file, statistics
from pipeline.quantize.backends import tflite_converter
from pipeline.quantize.convert import convert_quantized
from pipeline.quantize.ranges import find_ranges, read_ranges
from pipeline.quantize.repair import AUTO, repair_model
from pipeline.quantize.repairs.equalization import find_pairs
from pipeline.quantize.repairs.kernels import find_kernels
from pipeline.quantize.shared_scales import ranges_from
from pipeline.run import Run
from pipeline.samples import Samples
from pipeline.sections import Unkeyed
from pipeline.store import Store, user_store
from pipeline.tasks.scoring import paired_gain, score_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.opening import Opened

MODELS = ("zoo:resnet8", "zoo:ds_cnn", "zoo:mobilenet_v1_025", "zoo:lenet5")
COLUMNS = ("model", "", "float", "without repairs", "with repairs", "difference", "repairs", "seconds")


def spread(content: bytes, octaves: float, seed: int) -> bytes:
    """Return a float file that computes the same with channel scales from ``2^-octaves`` to ``2^octaves``."""
    model, rng = read_tflite(content), np.random.default_rng(seed)
    kernels = find_kernels(model)
    weights = {index: [each.weights.copy(), each.bias.copy()] for index, each in kernels.items()}
    for first, second in find_pairs(model):
        scales = np.exp2(rng.uniform(-octaves, octaves, len(kernels[first].bias))).astype(np.float32)
        ours, theirs = weights[first][0], weights[second][0]
        ours *= scales if kernels[first].is_depthwise else scales.reshape(-1, *[1] * (ours.ndim - 1))
        weights[first][1] *= scales
        along = np.repeat if kernels[second].is_depthwise else np.tile
        theirs /= along(scales, theirs.shape[-1] // len(scales))
    return with_weights(content, {index: Weights(*each) for index, each in weights.items()})


class Contest:
    """One model with its data, and the score of float and int8 files."""

    def __init__(self, opened: Opened) -> None:
        self.opened, self.task = opened, opened.data.tasks[0]
        self.model = opened.prepared.keras
        every = Samples.of(opened.data, "test", opened.prepared.preprocessing)
        self.samples, self.inputs, self.target = every, every.model_inputs(), every.target(0)

    def outputs(self, content: bytes) -> NDArray[Any]:
        return run_file(content, self.samples)[0]

    def row(self, what: str, float_: bytes, plain: bytes, repaired: Ranges, seconds: float) -> list[str]:
        int8 = tflite_converter.quantize(repaired.tflite.read_bytes(), read_ranges(repaired), "int8")
        exact, before, after = map(self.outputs, (float_, plain, int8))
        scores = [score_of(self.task, each, self.inputs[0], self.target) for each in (exact, before, after)]
        gain = paired_gain(self.task, before, after, self.inputs[0], self.target)
        difference = "" if gain is None else f"{gain.points:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]"
        done = "; ".join(str(each) for each in repaired.repairs if each.applied)
        points = ["" if score is None else f"{100 * score:.2f}" for score in scores]
        return [what, *points, difference, done or "none", f"{seconds:.0f}"]


def rows(model: str, octaves: float, store: Store, folder: Path) -> list[list[str]]:
    """Return the rows of one model."""
    config = build_settings(None, {"model": model, "data": None})
    source, run = (
        Source(location=str(config.model.path), digest=model_digest(config.model)),
        Run(folder, store),
    )
    opened = open_inputs(source, source_of(config.data), None, config, run)
    contest = Contest(opened)
    given = contest.model, opened.samples, opened.data
    timeout = Unkeyed(config.convert.timeout_s)
    plain = run.step(convert_quantized, *given, config=config.convert)
    began = time.perf_counter()
    ranges = run.step(find_ranges, *given, config=config.calibration, timeout_s=timeout)

    def repaired(of: Ranges, name: str) -> Ranges:
        (folder / name).mkdir()
        return repair_model(
            *given, of, repairs=(AUTO,), config=config.calibration, backend=config.convert.backend,
            timeout_s=config.convert.timeout_s, out=folder / name,
        )  # fmt: skip

    exact = ranges.tflite.read_bytes()
    found = [
        contest.row(
            "given", exact, plain.tflite.read_bytes(), repaired(ranges, "given"), time.perf_counter() - began
        )
    ]
    if not find_pairs(read_tflite(exact)):
        return found
    damaged = Ranges(folder=folder / "ranges")
    damaged.folder.mkdir()
    content = spread(exact, octaves, seed=0)
    calibration = Samples.of(opened.data, "train", contest.model.preprocessing)
    observed = statistics(content, calibration.take(np.load(opened.samples.indices)))
    table = ranges_from(content, observed, "min-max", 100.0)
    damaged.tflite.write_bytes(content)
    damaged.table.write_text(json.dumps({"ranges": [each._asdict() for each in table]}))
    began = time.perf_counter()
    fixed = repaired(damaged, "damaged")
    int8 = tflite_converter.quantize(content, table, "int8")
    return [*found, contest.row("damaged", content, int8, fixed, time.perf_counter() - began)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--octaves", type=float, default=6.0)
    parser.add_argument("--store", type=Path, default=user_store())
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    with Store(given.store, 20 * 10**9) as store:
        for model in given.models:
            with tempfile.TemporaryDirectory() as folder:
                for row in rows(model, given.octaves, store, Path(folder)):
                    print(f"| {model} | {' | '.join(row)} |", flush=True)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
