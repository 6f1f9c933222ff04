"""Compare the ways to choose calibration samples: errors of int8 tensors with min-max ranges on few samples.

Usage: python benchmarks/sampling.py [zoo:NAME ...] [--pool 2000] [--seeds 10] [--store FOLDER]

The float model runs once on a pool of training samples. Each method chooses samples from the pool with each
seed; their min-max ranges are judged on all values of the pool: error above that of the best ranges, in
decibels (mean of the tensors and seeds, and the interval that 90 % of the seeds are in), and width of the
ranges as a share of those of the whole pool. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from calibration.curve import excess_db
from calibration.extremes import Extremes, share_of
from calibration.histogram import Histogram
from calibration.sampling import SAMPLING, choose
from pipeline.artifacts import Source
from pipeline.calibration_check import write_extremes
from pipeline.command_settings import build_settings
from pipeline.isolation import sandbox
from pipeline.loading.calibration_set import training_pool
from pipeline.loading.load import model_digest, source_of
from pipeline.opening import open_inputs
from pipeline.run import Run
from pipeline.samples import Samples
from pipeline.store import Store, user_store

SIZES = (16, 64, 256)
MODELS = ("zoo:resnet8", "zoo:ds_cnn", "zoo:mobilenet_v1_025", "zoo:autoencoder")


def rows(model: str, size: int, seeds: int, store: Store, folder: Path) -> list[str]:
    """Return the lines of one model."""
    config = build_settings(None, {"model": model, "data": None})
    source = Source(location=str(config.model.path), digest=model_digest(config.model))
    opened = open_inputs(source, source_of(config.data), None, config, Run(folder, store))
    training = Samples.of(opened.data, "train", opened.prepared.preprocessing).choose(size, seed=0)
    sandbox.run("observe", write_extremes, opened.baseline.tflite, training, folder / "x.npz", timeout_s=3600)
    with np.load(folder / "x.npz") as kept:
        every = Extremes.of(kept["low"], kept["high"])
        ends = np.cumsum(kept["bins_per_tensor"])[:-1]
        parts = zip(np.split(kept["bins"], ends), np.split(kept["counts"], ends), strict=True)
        histograms = [Histogram(*part) for part in parts]
    pool = training_pool(opened.data, training, opened.loaded.inputs)
    found = []
    for method in SAMPLING:
        if method == "stratified" and not pool.strata:
            continue
        cells = []
        for count in SIZES:
            chosen = [every.take(choose(pool, count, seed, method).places) for seed in range(seeds)]
            low = np.stack([each.low.min(axis=0) for each in chosen])
            high = np.stack([each.high.max(axis=0) for each in chosen])
            errors = excess_db(histograms, low, high).mean(axis=1)
            ends = np.percentile(errors, (5, 95))
            width = share_of(high - low, np.broadcast_to(every.widths(), low.shape)).mean()
            cells.append(f"{errors.mean():.2f} [{ends[0]:.2f}, {ends[1]:.2f}], {width:.0%}")
        found.append(f"| {model} | {method} | {' | '.join(cells)} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--pool", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--store", type=Path, default=user_store())
    given = parser.parse_args()
    print(f"| model | sampling | {' | '.join(f'{size} samples' for size in SIZES)} |")
    print(f"|---|---|{'---|' * len(SIZES)}", flush=True)
    with Store(given.store, 20 * 10**9) as store:
        for model in given.models:
            with tempfile.TemporaryDirectory() as folder:
                lines = rows(model, given.pool, given.seeds, store, Path(folder))
            print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
