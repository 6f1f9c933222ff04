"""What shared values and low ranks make of the kernels of a reference model, before any training.

Usage: python benchmarks/quantization/kernels.py [zoo:resnet8] [--store FOLDER]

Prints two Markdown tables. The first has the int8 weights of the large kernels, with a scale per output
channel, compressed as a download, and the squared error of the shared values relative to the weights. The
second has the multiply-accumulates and the weights of all kernels after factorization.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.download import compress
from models.prepare import graph_of
from pipeline.artifacts import Source
from pipeline.command_settings import build_settings
from pipeline.compress.clusters import ClustersConfig, unclustered_layers
from pipeline.compress.codebooks import share_values
from pipeline.compress.low_rank import LowRankConfig, chosen, costed_layers
from pipeline.loading.load import model_digest, source_of
from pipeline.opening import open_inputs
from pipeline.run import Run
from pipeline.store import Store, user_store
from pipeline.training.keras_io import open_model, start_tensorflow
from pipeline.training.kernels import kernels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZEROS, CLUSTERS, ENERGIES = (0.0, 0.6), (16, 8), (0.7, 0.8, 0.9, 0.95)


def stored(columns: NDArray[np.float32]) -> bytes:
    """Return weights (n, channels) as int8, one channel after another."""
    scales = np.abs(columns).max(axis=0) / 127
    return np.rint(columns / np.where(scales > 0, scales, 1)).astype(np.int8).T.tobytes()


def pruned(columns: NDArray[np.float32], zeros: float) -> NDArray[np.float32]:
    """Return weights with the smallest ones zero."""
    return np.where(np.abs(columns) < np.quantile(np.abs(columns), zeros), np.float32(0), columns)


def print_clusters(model: Any) -> None:
    left_out = unclustered_layers(model, ClustersConfig(), max(CLUSTERS))
    layers = [layer for layer in model.layers if kernels_of(layer) and layer.name not in left_out]
    kernels = [kernels_of(layer)[0].columns() for layer in layers]
    print("| zeros | clusters | weights | int8, compressed, bytes | squared error |\n|---|---|---|---|---|")
    for zeros, (clusters, per_channel) in product(ZEROS, [(0, False), *product(CLUSTERS, (False, True))]):
        content, error, total = b"", 0.0, 0.0
        for given in kernels:
            columns = shared = pruned(given, zeros)
            if clusters:
                groups = columns if per_channel else columns.reshape(-1, 1)
                rng = np.random.default_rng(0)
                books = share_values(groups, clusters, "k-means++", bool(zeros), rng)
                shared = books.weights.reshape(columns.shape)
            content += stored(shared)
            error += float(np.square(shared - columns).sum())
            total += float(np.square(columns).sum())
        what = f"{clusters} per {'channel' if per_channel else 'kernel'}" if clusters else "none"
        size = len(compress(content))
        print(f"| {zeros:.0%} | {what} | {len(content):,} | {size:,} | {error / total:.1%} |")


def print_ranks(model: Any) -> None:
    costs = costed_layers(graph_of(model), LowRankConfig())
    macs, weights = (sum(getattr(each, what) for each in costs.values()) for what in ("macs", "weights"))
    print(f"\n{macs:,} multiply-accumulates, {weights:,} weights in {len(costs)} kernels\n")
    print("| energy | layers replaced | multiply-accumulates | weights |\n|---|---|---|---|")
    for energy in ENERGIES:
        choices = chosen(costs, energy)
        fewer = sum(each.macs_with(choices.get(name)) for name, each in costs.items())
        smaller = sum(each.weights_with(choices.get(name)) for name, each in costs.items())
        replaced = f"{len(choices)} of {len(costs)}"
        print(f"| {energy:g} | {replaced} | {fewer / macs:.0%} | {smaller / weights:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="zoo:resnet8")
    parser.add_argument("--store", type=Path, default=user_store())
    given = parser.parse_args()
    config = build_settings(None, {"model": given.model, "data": None})
    source = Source(location=str(config.model.path), digest=model_digest(config.model))
    with Store(given.store, 20 * 10**9) as store, tempfile.TemporaryDirectory() as folder:
        opened = open_inputs(source, source_of(config.data), None, config, Run(Path(folder), store))
        start_tensorflow(0)
        model = open_model(opened.prepared.keras.model)
    print_clusters(model)
    print_ranks(model)


if __name__ == "__main__":
    main()
