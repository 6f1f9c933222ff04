"""Remove channels of architectures of keras.applications, and compare with the masked models.

Usage: python benchmarks/compression/channels.py [NAME ...] [--macs 0.5] [--size 32]

Each is built in tf_keras with random weights and statistics, since only the structure matters. Channels with
the smallest filters are removed within the budget; then as many at random of each group, not in blocks, which
a wrong coupling would not survive by luck. Prints a Markdown table: groups, parameters and MACs before and
after, and the largest difference between the outputs of the smaller and the masked model, relative to the
largest output; for comparison how far the random removal moves the outputs from those of the full model.
Fails if a smaller model differs by more than 1e-5.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from models.graph import build_model
from models.prepare import graph_of
from pipeline.compress.channel_budget import Cost, full_counts, within_budget
from pipeline.compress.channel_criteria import scores_of
from pipeline.compress.channel_graph import ChannelGraph
from pipeline.compress.channel_removal import TOLERANCE, masked, without
from pipeline.training.keras_io import start_tensorflow

NAMES = ("MobileNetV2", "ResNet50V2", "DenseNet121", "EfficientNetB0")
COLUMNS = ("architecture", "groups", "parameters", "million MACs", "l1", "random", "moved by", "seconds")
CLASSES, SAMPLES = 10, 4


def build(name: str, size: int, rng: np.random.Generator) -> Any:
    """Build an architecture with logits of order 1, whose batch normalizations have statistics."""
    import tf_keras

    application = getattr(tf_keras.applications, name)
    model = application(
        weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            for weight in layer.weights:
                is_factor = "gamma" in weight.name or "variance" in weight.name
                low, high = (0.5, 1.5) if is_factor else (-0.5, 0.5)
                weight.assign(rng.uniform(low, high, weight.shape))
    return model


def outputs(model: Any, x: Any) -> Any:
    """Return the logits (n, classes)."""
    return model(x, training=False).numpy()


def difference(channels: ChannelGraph, removed: Any, hidden: Any, x: Any) -> float:
    """Return how far the model without ``removed`` channels is from that with ``hidden`` ones masked.

    Relative to the largest output.
    """
    small = outputs(build_model(without(channels, removed)), x)
    large = outputs(build_model(masked(channels, hidden)), x)
    return float(np.abs(small - large).max() / np.abs(large).max())


def at_random(channels: ChannelGraph, rng: np.random.Generator) -> Any:
    """Mark some channels of each group, at least one is left."""
    removed = np.zeros(channels.channels, np.bool_)
    for group in channels.groups:
        if not group.kept:
            count = int(rng.integers(0, len(group.channels)))
            removed[rng.permutation(group.channels)[:count]] = True
    return removed


def measure(name: str, macs: float, size: int) -> dict[str, Any]:
    """Return a row of the table."""
    start_tensorflow(0)
    rng, started = np.random.default_rng(0), time.monotonic()
    model = build(name, size, rng)
    channels = ChannelGraph.of(graph_of(model))
    x = rng.uniform(-1, 1, (SAMPLES, size, size, 3)).astype(np.float32)
    full = Cost(channels).of(full_counts(channels))
    choice = within_budget(channels, np.nan_to_num(scores_of(channels, "l1")), macs * full, 8)
    random = at_random(channels, rng)
    nothing = np.zeros_like(random)
    found = {
        "l1": difference(channels, choice.removed, choice.removed, x),
        "random": difference(channels, random, random, x),
        "moved by": difference(channels, nothing, random, x),
    }
    left = build_model(without(channels, choice.removed)).count_params()
    free = sum(not group.kept for group in channels.groups)
    return {
        "architecture": name,
        "groups": f"{free} of {len(channels.groups)}",
        "parameters": f"{model.count_params():,} -> {left:,}",
        "million MACs": f"{choice.cost[0] / 1e6:.1f} -> {choice.cost[1] / 1e6:.1f}",
        **found,
        "seconds": round(time.monotonic() - started),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, help="of tf_keras.applications")
    parser.add_argument("--macs", type=float, default=0.5, help="share of multiply-accumulates to keep")
    parser.add_argument("--size", type=int, default=32, help="height and width of the input")
    given = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
    worst = 0.0
    for name in given.names:
        row = measure(name, given.macs, given.size)
        worst = max(worst, row["l1"], row["random"])
        cells = (f"{row[key]:.1e}" if isinstance(row[key], float) else str(row[key]) for key in COLUMNS)
        print("| " + " | ".join(cells) + " |", flush=True)
    if not worst <= TOLERANCE:
        msg = f"a smaller model differs by {worst:.1e} from the masked one"
        raise SystemExit(msg)


if __name__ == "__main__":
    main()
