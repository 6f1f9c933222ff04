"""A compression step of the tests; a child process imports it by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.artifacts import KerasModel  # noqa: TC001 - the store reads the annotation
from pipeline.sections import MethodSection
from pipeline.training.keras_io import open_model, save_model, start_tensorflow


class HalveConfig(MethodSection):
    method: str = "halve"
    share: float = 0.5


def halve(model, teacher, data, *, config, seed, out) -> KerasModel:
    """Zero a share of every Dense kernel."""
    start_tensorflow(seed)
    network, layers = open_model(model.model), []
    for record in model.layers:
        if record.kind == "Dense":
            kernel = network.get_layer(record.name).kernel
            kept = np.arange(kernel.shape.num_elements()) >= config.share * kernel.shape.num_elements()
            kernel.assign(kernel * kept.reshape(kernel.shape))
            sparsity = float(np.mean(kernel.numpy() == 0))
            operations = (*record.operations, "halved")
            record = replace(record, operations=operations, weights=kept.size, sparsity=sparsity)
        layers.append(record)
    save_model(network, out / "model")
    return replace(model, folder=out, digest="", layers=tuple(layers))
