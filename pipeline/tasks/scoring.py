"""How well a model's outputs fit the targets, against the best constant answer.

The best constant answer is the commonest class, the mean of the targets, or for anomalies an AUC of 0.5. A
model is only called better where the 95 % interval of the difference says so and the difference is not tiny.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.task_rules import Task

    Floats = NDArray[np.float64]
    Gain = tuple[float, float]
    """The gain over the constant answer as a share of what is possible, and its lower bound."""

Standing = Literal["better", "unclear", "at chance"]

METRICS: dict[Task, str] = {
    "classification": "accuracy",
    "binary": "accuracy",
    "multi-label": "accuracy",
    "segmentation": "pixel accuracy",
    "regression": "R2",
    "reconstruction": "explained variance",
    "anomaly": "AUC",
    "embedding": "score",
}
Z95 = 1.96
# A gain over the constant answer below this share of what is possible is tiny, however certain.
CLEAR_GAIN = 0.1
# Above this share of one class, a model that ranks well may rightly answer with that class alone.
RARE_OTHERS = 0.8
LOWEST_SCORE = -1.0


@dataclass(frozen=True, kw_only=True)
class Standard:
    """One output's score against the best constant answer.

    Attributes:
        of: which samples they are, "test " or "training ".
        score: 0..1 for shares; R2 and explained variance may be negative.
        chance: what the best constant answer has.
        constant: the best constant answer, in words.
        standing: "better" is shown to be better; "unclear" is above chance, but the samples are too few or
            the difference is tiny; "at chance" is everything else.
        hint: what the outputs suggest, or "".
    """

    output: str = ""
    metric: str
    samples: int
    of: str = "test "
    score: float
    chance: float
    constant: str
    standing: Standing
    hint: str = ""

    def __str__(self) -> str:
        of = f"output {self.output!r}: " if self.output else ""
        figures = f"{self.metric} {self.score:.1%} on {self.samples:,} {self.of}samples"
        return f"{of}{figures}, the best constant answer ({self.constant}) has {self.chance:.1%}"


def score_of(
    task: Task, outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None
) -> float | None:
    """Score outputs (n, ...): 1 is best. None where there are no targets to score them with.

    Args:
        task: of the output.
        outputs: real numbers, probabilities or logits.
        inputs: the first input of the model, (n, ...), which autoencoders are compared with.
        target: as ``models.task_rules`` says.
    """
    if task in {"reconstruction", "anomaly"}:
        gains = _explained(outputs.reshape(inputs.shape), inputs)
        return max(float(gains.mean()), LOWEST_SCORE)
    if target is None or task == "embedding":
        return None
    if task == "regression":
        gains = _channel_gains(outputs, target)
        return float(np.maximum(gains.mean(axis=0), LOWEST_SCORE).mean())
    found, labels = compared(task, outputs, target)
    return float((found == labels).mean()) if len(labels) else None


def against_chance(
    task: Task,
    outputs: NDArray[Any],
    inputs: NDArray[Any],
    target: NDArray[Any] | None,
    *,
    from_logits: bool | None = None,
) -> Standard | None:
    """Compare outputs with the best constant answer; None where nothing tells. Arguments as ``score_of``."""
    if len(outputs) < 2 or task == "embedding":
        return None
    if task == "anomaly" and target is not None and 0 < target.sum() < len(target):
        return _anomalies(outputs.reshape(inputs.shape), inputs, target)
    if task in {"reconstruction", "anomaly"}:
        gain = _gain(_explained(outputs.reshape(inputs.shape), inputs))
        return _standard("reconstruction", outputs, gain[0], 0.0, "the mean value", [gain])
    if target is None:
        return None
    if task == "regression":
        return _numbers(outputs, target)
    found, labels = compared(task, outputs, target, from_logits)
    return None if len(labels) < 2 else _classes(task, outputs, found, labels)


def answers(task: Task, outputs: NDArray[Any], from_logits: bool | None = None) -> NDArray[Any]:
    """Return the classes that outputs name: (n, positions) ids, or for multi-label (n, labels) of 0 and 1."""
    if task == "multi-label" or outputs.shape[-1] == 1:
        probabilities = outputs.min() >= 0 and outputs.max() <= 1 if from_logits is None else not from_logits
        return (outputs > (0.5 if probabilities else 0.0)).reshape(len(outputs), -1).astype(np.int64)
    if task in {"classification", "binary"}:
        ids: NDArray[Any] = outputs.reshape(len(outputs), -1).argmax(axis=1)
        return ids[:, None]
    maps: NDArray[Any] = outputs.argmax(axis=-1)
    return maps.reshape(len(outputs), -1)


def compared(
    task: Task, outputs: NDArray[Any], target: NDArray[Any], from_logits: bool | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the classes that outputs name, and the true ones: (n, positions or labels) each.

    A position of a mask without a class is replaced by another one of its sample, all of them about equally
    often; samples without any class are left out.
    """
    found, labels = answers(task, outputs, from_logits), _labels(task, outputs, target)
    hidden = labels < 0
    if task != "segmentation" or not hidden.any():
        return found, labels
    kept = ~hidden.all(axis=1)
    places = np.empty((int(kept.sum()), labels.shape[1]), np.int64)
    for row, of_sample in enumerate(hidden[kept]):
        places[row] = np.resize(np.flatnonzero(~of_sample), len(of_sample))
    return np.take_along_axis(found[kept], places, axis=1), np.take_along_axis(labels[kept], places, axis=1)


def _labels(task: Task, outputs: NDArray[Any], target: NDArray[Any]) -> NDArray[np.int64]:
    """Targets (n, positions or labels), as ``answers`` gives them."""
    return np.asarray(target).reshape(len(outputs), -1).astype(np.int64)


def _classes(
    task: Task, outputs: NDArray[Any], found: NDArray[Any], labels: NDArray[np.int64]
) -> Standard | None:
    if task == "multi-label":
        told = (labels.min(axis=0) == 0) & (labels.max(axis=0) == 1)
        found, labels = found[:, told], labels[:, told]
        if not told.any():
            return None
    right = (found == labels).astype(np.float64)
    if task == "multi-label":
        shares = labels.mean(axis=0)
        constant, likely = (shares > 0.5).astype(np.int64), float(np.maximum(shares, 1 - shares).mean())
        keys, said = labels + 2 * np.arange(labels.shape[1]), "each label's commonest value"
    else:
        constant = np.bincount(labels.ravel()).argmax()
        likely, keys, said = float((labels == constant).mean()), labels, f"always class {constant}"
    if likely == 1.0:
        return None  # one class: nothing tells
    beyond = right.mean(axis=1) - (labels == constant).mean(axis=1)
    groups = labels.shape[1] if task == "multi-label" else 1
    gains = [_gain(beyond / (1 - likely)), _balanced(right, keys, groups)]
    standing, hint = _standing(gains), ""
    two = task == "binary" or (task == "classification" and outputs.shape[-1] == 2)
    if standing == "at chance" and two and len(np.unique(labels)) == 2:
        flat = outputs.reshape(len(outputs), -1)
        area, low = _area(flat[:, -1] - (flat[:, 0] if flat.shape[1] == 2 else 0), labels[:, 0])
        if low > 0 and likely >= RARE_OTHERS and (found == constant).mean() > 0.95:
            standing = "unclear"
        if low > 0:
            hint = f"it ranks the samples with an AUC of {area:.1%}, but its answers do not follow"
    return _standard(task, outputs, float(right.mean()), likely, said, standing, hint)


def _balanced(right: Floats, keys: NDArray[np.int64], groups: int) -> Gain:
    """Mean recall of the classes that are there, against 1/classes; for each label of two values, 1/2."""
    samples, counts = len(right), int(keys.max()) + 1
    rows = np.repeat(np.arange(samples), keys.shape[1])
    cells = rows * counts + keys.ravel()
    support = np.bincount(cells, minlength=samples * counts).reshape(samples, counts).astype(np.float64)
    hits = np.bincount(cells, weights=right.ravel(), minlength=samples * counts).reshape(samples, counts)
    there = support.sum(axis=0) > 0
    support, hits = support[:, there], hits[:, there]
    recall = hits.sum(axis=0) / support.sum(axis=0)
    chance = groups / len(recall)
    if chance >= 1:
        return 0.0, -1.0
    influence = ((hits - recall * support) / support.mean(axis=0)).mean(axis=1)
    having = (support > 0).sum(axis=0)
    smooth = (recall * having + 1) / (having + 2)
    variance = max(
        float((influence**2).sum()) / samples**2,
        float((smooth * (1 - smooth) / having).sum()) / len(recall) ** 2,
    )
    share = (float(recall.mean()) - chance) / (1 - chance)
    return share, share - Z95 * float(np.sqrt(variance)) / (1 - chance)


def _numbers(outputs: NDArray[Any], target: NDArray[Any]) -> Standard | None:
    gains = _channel_gains(outputs, target)
    if not gains.shape[1]:
        return None
    each = [_gain(gains[:, channel]) for channel in range(gains.shape[1])]
    middle = (float(np.median([share for share, _ in each])), float(np.median([low for _, low in each])))
    hint = ""
    found, wanted = outputs.ravel(), np.asarray(target, np.float64).ravel()
    if _standing([middle]) == "at chance" and found.std() > 0:
        together = float(np.corrcoef(found, wanted)[0, 1])
        if abs(together) > 0.5:
            hint = (
                f"its outputs ({found.min():.4g} to {found.max():.4g}) follow the targets "
                f"({wanted.min():.4g} to {wanted.max():.4g}) with a correlation of {together:.2f}: "
                "are the targets in another unit?"
            )
    of = "the mean" if gains.shape[1] == 1 else "the mean, median over the channels"
    standing = _standing([middle])
    return _standard("regression", outputs, middle[0], 0.0, of, standing, hint)


def _channel_gains(outputs: NDArray[Any], target: NDArray[Any]) -> Floats:
    """By how much each sample raises the R2 of each channel of the last axis: their mean is R2."""
    channels = outputs.shape[-1] if outputs.ndim > 1 else 1
    found = outputs.reshape(len(outputs), -1, channels).astype(np.float64)
    wanted = np.asarray(target, np.float64).reshape(found.shape)
    spread = wanted - wanted.mean(axis=(0, 1))
    variance = (spread**2).mean(axis=(0, 1))
    there = variance > 1e-12
    gains: Floats = (spread**2 - (found - wanted) ** 2).mean(axis=1)[:, there] / variance[there]
    return gains


def _explained(found: NDArray[Any], wanted: NDArray[Any]) -> Floats:
    """By how much each sample raises the explained share of the variance: their mean is that share."""
    found, wanted = (values.reshape(len(values), -1).astype(np.float64) for values in (found, wanted))
    spread = (wanted - wanted.mean()) ** 2
    gains: Floats = (spread - (found - wanted) ** 2).mean(axis=1) / max(float(spread.mean()), 1e-12)
    return gains


def _anomalies(found: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any]) -> Standard:
    errors = ((found.astype(np.float64) - inputs) ** 2).reshape(len(found), -1).mean(axis=1)
    area, low = _area(errors, target)
    share = 2 * area - 1
    below = 2 * share - low < 0  # the upper bound
    hint = (
        "normal samples are rebuilt worse than anomalies: are the labels 0 and 1 exchanged?" if below else ""
    )
    return _standard("anomaly", found, area, 0.5, "any", _standing([(share, low)]), hint)


def _area(scores: NDArray[Any], positive: NDArray[Any]) -> tuple[float, float]:
    """AUC, and the lower bound of its gain over 0.5 as a share of what is possible (Mann-Whitney)."""
    count = int(positive.sum())
    others = len(positive) - count
    ranks = rankdata(scores)[positive == 1].sum() - count * (count + 1) / 2
    area = float(ranks / (count * others))
    error = float(np.sqrt((count + others + 1) / (12 * count * others)))
    return area, 2 * (area - Z95 * error) - 1


def _gain(gains: Floats) -> Gain:
    error = max(float(gains.std(ddof=1)), 0.5 / np.sqrt(len(gains))) / np.sqrt(len(gains))
    return float(gains.mean()), float(gains.mean()) - Z95 * float(error)


def _standing(gains: list[Gain]) -> Standing:
    if any(low > 0 and share >= CLEAR_GAIN for share, low in gains):
        return "better"
    return "unclear" if any(low > 0 or share >= CLEAR_GAIN for share, low in gains) else "at chance"


def _standard(
    task: Task,
    outputs: NDArray[Any],
    score: float,
    chance: float,
    constant: str,
    standing: Any,
    hint: str = "",
) -> Standard:
    return Standard(
        metric=METRICS[task],
        samples=len(outputs),
        score=score,
        chance=chance,
        constant=constant,
        standing=_standing(standing) if isinstance(standing, list) else standing,
        hint=hint,
    )
