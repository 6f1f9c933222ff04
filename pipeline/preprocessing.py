"""How raw samples become a model's input, where nobody says so."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Preprocessing
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.scaling import as_input, as_real
from pipeline.runtimes.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PROBE_SAMPLES = 512
# (scale, offset, what it does) of the input ranges that image models are usually trained on.
USUAL_RANGES = (
    (1 / 255, 0.0, "scaled to 0..1"),
    (1.0, 0.0, "as it is"),
    (1 / 127.5, -1.0, "scaled to -1..1"),
)


def usual_range(tflite: Path, raw: NDArray[Any], labels: NDArray[np.int64]) -> Preprocessing:
    """Choose the usual input range under which a classifier is best on labelled samples.

    Raw floats are what somebody prepared, and go in as they are. For raw integers, the ranges are tried on
    a seeded choice of samples.

    Args:
        tflite: a verified classifier.
        raw: (n, ...) samples.
        labels: int64 (n,) class ids.
    """
    if raw.dtype.kind == "f":
        return Preprocessing(scale=1.0, offset=0.0, reason="floats go in as they are")
    chosen = np.sort(np.random.default_rng(0).permutation(len(raw))[:PROBE_SAMPLES])
    candidates = [Preprocessing(scale=s, offset=offset, reason=what) for s, offset, what in USUAL_RANGES]
    with Session(host_runtime("litert"), tflite) as session:
        details = session.describe()
        taken = details.inputs[0]
        if taken.scale is None and not taken.dtype.startswith("float"):  # indices, not quantized numbers
            return Preprocessing(scale=1.0, offset=0.0, reason="the model takes integers")
        outputs = [
            as_real(
                session.run([as_input(candidate.apply(raw[chosen]), details.inputs[0])])[0],
                details.outputs[0],
            )
            for candidate in candidates
        ]
    accuracies = [float((_predicted(output) == labels[chosen]).mean()) for output in outputs]
    best = int(np.argmax(accuracies))
    others = " and ".join(f"{accuracy:.1%}" for i, accuracy in enumerate(accuracies) if i != best)
    evidence = f"accuracy {accuracies[best]:.1%} on {len(chosen)} samples, else {others}"
    return replace(candidates[best], reason=f"{candidates[best].reason}: {evidence}")


def _predicted(outputs: NDArray[Any]) -> NDArray[Any]:
    """Class ids; of one output, which of both sides of its middle a sample is on."""
    if outputs.shape[-1] > 1:
        return np.asarray(outputs.argmax(axis=-1))
    is_probability = outputs.min() >= 0 and outputs.max() <= 1
    return np.asarray(outputs[:, 0] > (0.5 if is_probability else 0.0), np.int64)
