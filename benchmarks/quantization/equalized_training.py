"""Compare quantization-aware training from equalized weights with training from given ones.

Usage: python benchmarks/quantization/equalized_training.py [zoo:ds_cnn] [--octaves 6] [--steps 100]

The model is trained for a few steps towards the outputs of the float model, as given and with the scales of
the channels between two layers spread over 2^-6 to 2^6, which leaves the function unchanged. Prints a
Markdown table of the accuracy with fake quantization on 2,000 test images, and the scales of the
equalization. It equalizes in every case; a build does so only for scales of 2^6 and more.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Source
from pipeline.command_settings import build_settings
from pipeline.loading.load import model_digest, source_of
from pipeline.opening import open_inputs
from pipeline.quantize.keras_equalization import equalize, find_pairs, rescale
from pipeline.quantize.qat import fake_quantized, set_activation_ranges, share_pooling_ranges
from pipeline.run import Run
from pipeline.samples import Samples
from pipeline.store import Store, user_store
from pipeline.training.keras_io import open_model, start_tensorflow

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("channel scales", "equalized by up to", "float", "before training", "after")
TEST_SAMPLES, BATCH, CHUNK = 2000, 32, 500


def accuracy(model: Any, samples: Samples) -> float:
    """Return the accuracy in percent."""
    found = [
        model.predict_on_batch(chunk.model_inputs()[0]).argmax(axis=1) for chunk in samples.chunks(CHUNK)
    ]
    return float(100 * np.mean(np.concatenate(found) == samples.target(0)))


def spread(model: Any, octaves: float) -> None:
    """Spread the scales of the channels between layers, the function unchanged."""
    rng = np.random.default_rng(0)
    for pair in find_pairs(model):
        rescale(pair, np.exp2(rng.uniform(-octaves, octaves, pair.writer.output_shape[-1])))


def trained(model: Any, training: Samples, test: Samples, targets: NDArray[Any], steps: int) -> list[str]:
    """Return the accuracy with fake quantization before and after a short training."""
    import tf_keras

    student = fake_quantized(model)
    set_activation_ranges(student, model, training, 0, {})
    share_pooling_ranges(student)
    before = accuracy(student, test)
    schedule = tf_keras.optimizers.schedules.CosineDecay(1.5e-3, steps)
    student.compile(tf_keras.optimizers.Adam(schedule), loss="kl_divergence")
    rng = np.random.default_rng(1)
    for _ in range(steps):
        places = rng.integers(0, len(training), BATCH)
        student.train_on_batch(training.take(places).model_inputs()[0], targets[places])
    return [f"{before:.2f}", f"{accuracy(student, test):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="zoo:ds_cnn")
    parser.add_argument("--octaves", type=float, default=6.0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--store", type=Path, default=user_store())
    given = parser.parse_args()
    config = build_settings(None, {"model": given.model, "data": None})
    source = Source(location=str(config.model.path), digest=model_digest(config.model))
    with Store(given.store, 20 * 10**9) as store, tempfile.TemporaryDirectory() as folder:
        opened = open_inputs(source, source_of(config.data), None, config, Run(Path(folder), store))
    start_tensorflow(0)
    keras = opened.prepared.keras
    training = Samples.of(opened.data, "train", keras.preprocessing)
    test = Samples.of(opened.data, "test", keras.preprocessing).take(slice(0, TEST_SAMPLES))
    exact = open_model(keras.model)
    targets = np.concatenate(
        [exact.predict_on_batch(chunk.model_inputs()[0]) for chunk in training.chunks(CHUNK)]
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    for octaves in (given.octaves, 0.0):
        for equalized in (False, True):
            model = open_model(keras.model)
            spread(model, octaves)
            first = training.take(slice(0, 256)).model_inputs()
            scales = f"2^{equalize(model, first):.1f}" if equalized else "no"
            what = f"spread over 2^±{octaves:g}" if octaves else "as given"
            row = [what, scales, f"{accuracy(model, test):.2f}"]
            row += trained(model, training, test, targets, given.steps)
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
