"""Where the nodes of a model begin to differ on another runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.node_parity import ONLY_READ, Counterpart, Parity
from pipeline.runtimes.parity import compare_nodes, compare_values
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.delegation import multiply_accumulates
from pipeline.validation.exactness import differing
from pipeline.validation.inference import GOLDEN_MACS, MIN_GOLDEN
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Source
    from pipeline.runtimes.runtime import Runtime
    from pipeline.validation.inference import GoldenRun


MAX_REFERENCE = 16
"""Samples for the reference kernels, which are slow."""


@dataclass(frozen=True, kw_only=True)
class Divergence(Artifact):
    """A comparison of two runtimes."""

    found: Parity


def compare_counterpart(
    model: Source,
    expected: Source | None = None,
    *,
    counterpart: Counterpart,
    layers: dict[str, str],
    out: Path,
) -> Divergence:
    """Compare the nodes of a model on the host's LiteRT with the model with fake quantization.

    Args:
        expected: what the latter computes, as ``quantize/fake_quantization.py`` writes it; None if unknown.
        layers: as for ``user_layers``.
    """
    arrays: dict[str, NDArray[Any]] = {}
    if expected is not None:
        with np.load(expected.location, allow_pickle=False) as stored:
            arrays = dict(stored)
    values = {int(name): array for name, array in arrays.items() if not name.startswith(ONLY_READ)}
    only_read = {
        int(name.removeprefix(ONLY_READ)): array
        for name, array in arrays.items()
        if name.startswith(ONLY_READ)
    }
    flat, host = ModelUnderTest.of(model).flat, host_runtime("litert")
    return Divergence(folder=out, found=compare_values(flat, values, counterpart, host, layers, only_read))


def compare_runtimes(
    model: Source,
    host: GoldenRun,
    other: GoldenRun | None = None,
    *,
    runtime: Runtime,
    layers: dict[str, str],
    out: Path,
) -> Divergence:
    """Compare the nodes of a model on a runtime with those on the host's LiteRT.

    Args:
        host: the golden set on the host's LiteRT.
        other: the same on the other runtime; samples whose outputs differ are compared first. None to compare
            the first few samples.
        runtime: the other one.
        layers: as for ``user_layers``.
    """
    flat = ModelUnderTest.of(model).flat
    if other is None:
        macs = sum(multiply_accumulates(operator, flat) for operator in flat.operators)
        count = min(MAX_REFERENCE, max(MIN_GOLDEN, GOLDEN_MACS // max(macs, 1)))
        inputs = [array[:count] for array in host.golden_inputs()]
    else:
        order = np.argsort(~differing(other.golden_outputs(), host.golden_outputs()), kind="stable")
        inputs = [array[order] for array in other.golden_inputs()]
    found = compare_nodes(flat, inputs, host_runtime("litert"), runtime, layers)
    return Divergence(folder=out, found=found)
