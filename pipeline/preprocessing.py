"""How raw samples become a model's input, where nobody says so, and whether what was said fits the model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Transform

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from models.ports import Task

    Predict = Callable[[NDArray[Any]], NDArray[Any]]

PROBE_SAMPLES = 512
# (scale, offset, what it does) of the input ranges that image models are usually trained on.
USUAL_RANGES = (
    (1 / 255, 0.0, "scaled to 0..1"),
    (1.0, 0.0, "as it is"),
    (1 / 127.5, -1.0, "scaled to -1..1"),
)
# Another range has to be better by this share of what is possible before a user is told.
CLEARLY_BETTER = 0.2


def usual_range(
    predict: Predict, raw: NDArray[Any], target: NDArray[Any] | None, task: Task
) -> tuple[Transform, str]:
    """Choose the usual input range under which a model is best on known samples.

    Raw floats are what somebody prepared, and go in as they are. For raw integers, the ranges are tried.

    Args:
        predict: the model, from preprocessed inputs (n, ...) to real outputs.
        raw: (n, ...) samples, few enough to be inferred at once.
        target: of the samples, in the form that ``task`` has.
        task: of the output.

    Returns:
        The transform, and a warning about it or "".
    """
    if raw.dtype.kind == "f":
        taken = Transform(reason="floats go in as they are")
        return taken, check_range(predict, raw, target, task, taken)
    candidates = _candidates()
    scores = [score_of(task, predict(c.apply(raw)), c.apply(raw), target) for c in candidates]
    if any(score is None for score in scores):
        return candidates[
            0
        ], f"nothing tells which input range the model was trained on; {candidates[0].reason}"
    found = [score for score in scores if score is not None]
    best = int(np.argmax(found))
    others = " and ".join(f"{score:.1%}" for i, score in enumerate(found) if i != best)
    evidence = f"{_NAMES[task]} {found[best]:.1%} on {len(raw)} samples, else {others}"
    return replace(candidates[best], reason=f"{candidates[best].reason}: {evidence}"), ""


def check_range(
    predict: Predict, raw: NDArray[Any], target: NDArray[Any] | None, task: Task, taken: Transform
) -> str:
    """Say in one line, with both ranges, where another usual range suits the model far better."""
    if raw.ndim < 4 and raw.dtype.kind == "f":
        return ""  # the usual ranges are those of images
    inputs = taken.apply(raw)
    score = score_of(task, predict(inputs), inputs, target)
    if score is None:
        return ""
    low, high = float(raw.min()), float(raw.max())
    for factor, offset, what in (*USUAL_RANGES, (255.0, 0.0, "scaled to 0..255")):
        other = Transform(scale=(factor,), offset=(offset,), reason=what)
        if np.ptp(raw) * factor > 300 or (other.scale, other.offset) == (taken.scale, taken.offset):
            continue
        seen = other.apply(raw)
        better = score_of(task, predict(seen), seen, target)
        if better is not None and better > score + CLEARLY_BETTER:
            return (
                f"inputs run from {inputs.min():.4g} to {inputs.max():.4g}, where the model has "
                f"{_NAMES[task]} {score:.1%}; with {seen.min():.4g} to {seen.max():.4g} it has {better:.1%}: "
                f"raw values run from {low:.4g} to {high:.4g}, so set [preprocessing] scale = {factor:.6g}, "
                f"offset = {offset:g}"
            )
    return ""


_NAMES: dict[Task, str] = {
    "classification": "accuracy",
    "binary": "accuracy",
    "multi-label": "accuracy",
    "segmentation": "pixel accuracy",
    "regression": "R2",
    "reconstruction": "explained variance",
    "anomaly": "explained variance",
    "embedding": "score",
}


def _candidates() -> list[Transform]:
    return [Transform(scale=(scale,), offset=(offset,), reason=what) for scale, offset, what in USUAL_RANGES]


def score_of(
    task: Task, outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None
) -> float | None:
    """How well outputs fit, 1 is best; None where nothing tells."""
    if task in {"reconstruction", "anomaly"}:
        return _explained(outputs.reshape(inputs.shape), inputs)
    if target is None or task == "embedding":
        return None
    if task == "regression":
        return _explained(outputs, np.asarray(target, np.float32).reshape(outputs.shape))
    if task == "multi-label" or outputs.shape[-1] == 1:
        is_probability = outputs.min() >= 0 and outputs.max() <= 1
        predicted = outputs > (0.5 if is_probability else 0.0)
        return float((predicted == np.asarray(target).reshape(outputs.shape)).mean())
    return float((outputs.argmax(axis=-1) == target).mean())


def _explained(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    spread = float(((wanted - wanted.mean()) ** 2).mean())
    return 1 - float(((found - wanted) ** 2).mean()) / max(spread, 1e-12)
