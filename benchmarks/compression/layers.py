"""Blocks of known architectures that can be left out, and the exactness of merged layers.

Usage: python benchmarks/compression/layers.py [NAME ...] [--size 32]

Reference models have their weights, architectures of keras.applications random ones and random statistics of
batch normalizations, since only the structure matters there. Prints a Markdown table: the blocks that can be
left out, those of sums among them, the multiply-accumulates of all of these, how many layers disappear when
linear layers are merged and batch normalizations are folded, and how far the logits are then from those
before, relative to the largest output. Each block of a sum is left out once, and the rest has to compute.
Fails if the outputs differ by more than 1e-5.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from channels import build, outputs

import models.zoo
from models.graph import build_model
from models.load import load_model
from models.prepare import graph_of
from models.zoo.catalogue import ZOO
from pipeline.compress.bypasses import blocks_of, without_block
from pipeline.compress.channel_removal import TOLERANCE
from pipeline.compress.collapsing import collapse
from pipeline.costing.macs import multiply_accumulates
from pipeline.training.keras_io import start_tensorflow

if TYPE_CHECKING:
    from models.graph import Graph

NAMES = ("resnet8", "mobilenet_v2_micro", "autoencoder", "ResNet50V2", "MobileNetV2")
COLUMNS = ("model", "blocks", "of sums", "million MACs", "in sums", "layers", "difference")
SAMPLES = 4


def with_logits(graph: Graph) -> Graph:
    """Return the model without the activation of its outputs, which would hide differences."""
    layers = dict(graph.layers)
    for tensor in graph.outputs:
        layer = layers[graph.calls[tensor].layer]
        if layer.kind == "Dense":
            layers[layer.name] = replace(layer, config=layer.config | {"activation": "linear"})
    return replace(graph, layers=layers)


def measure(name: str, size: int) -> dict[str, Any]:
    """Return a row of the table."""
    start_tensorflow(0)
    rng = np.random.default_rng(0)
    if name in ZOO:
        model = load_model(Path(models.zoo.__path__[0]) / f"{name}.keras")
    else:
        model = build(name, size, rng)
    graph, x = with_logits(graph_of(model)), rng.uniform(-1, 1, (SAMPLES, *model.input_shape[1:]))
    x = x.astype(np.float32)
    blocks = blocks_of(graph)
    sums = [block for block in blocks if graph.layers[block.name].kind == "Add"]
    for block in sums:
        small = outputs(build_model(without_block(graph, block)), x)
        assert small.shape[1:] == model.output_shape[1:], block.name
        assert np.isfinite(small).all(), block.name
    merged = collapse(graph, fold_norms=True).graph
    expected, found = outputs(build_model(graph), x), outputs(build_model(merged), x)
    return {
        "model": name,
        "blocks": len(blocks),
        "of sums": len(sums),
        "million MACs": f"{sum(multiply_accumulates(graph).values()) / 1e6:.1f}",
        "in sums": f"{sum(block.macs for block in sums) / 1e6:.1f}",
        "layers": f"{len(graph.layers)} -> {len(merged.layers)}",
        "difference": float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max())),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, help="reference models, or tf_keras.applications")
    parser.add_argument("--size", type=int, default=32, help="height and width of the input of the latter")
    given = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
    worst = 0.0
    for name in given.names:
        row = measure(name, given.size)
        worst = max(worst, row["difference"])
        cells = (f"{row[key]:.1e}" if isinstance(row[key], float) else str(row[key]) for key in COLUMNS)
        print("| " + " | ".join(cells) + " |", flush=True)
    if not worst <= TOLERANCE:
        msg = f"a model with merged layers differs by {worst:.1e}"
        raise SystemExit(msg)


if __name__ == "__main__":
    main()
