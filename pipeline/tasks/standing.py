"""Compare a model's outputs with the best constant answer.

The best constant answer is the most frequent class, the mean of the targets, or for anomalies an AUC of 0.5.
A model is only called better if the 95 % interval of the difference says so and the difference is not tiny.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    PredictClasses = Callable[[NDArray[Any], bool | None], NDArray[Any]]
    Floats = NDArray[np.float64]
    Gain = tuple[float, float]
    """The gain over the constant answer as a share of what is possible, and its lower bound."""

Standing = Literal["better", "unclear", "at chance"]

EXPLAINED = "explained variance"
AREA = "AUC"
R2 = "R2"
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


# Classes named by outputs, as a function of outputs (n, ...) and whether they are logits, inferred if
# None: ids (n, positions), or (n, labels) of 0 and 1.


def one_class(outputs: NDArray[Any], from_logits: bool | None = None) -> NDArray[Any]:
    """Return the class of each sample, (n, 1)."""
    if outputs.shape[-1] == 1:
        return each_label(outputs, from_logits)
    ids: NDArray[Any] = outputs.reshape(len(outputs), -1).argmax(axis=1)
    return ids[:, None]


def each_label(outputs: NDArray[Any], from_logits: bool | None = None) -> NDArray[Any]:
    """Return for each number whether it is more likely than not, (n, labels) of 0 and 1."""
    probabilities = outputs.min() >= 0 and outputs.max() <= 1 if from_logits is None else not from_logits
    return (outputs > (0.5 if probabilities else 0.0)).reshape(len(outputs), -1).astype(np.int64)


def each_position(outputs: NDArray[Any], from_logits: bool | None = None) -> NDArray[Any]:
    """Return the class of each position, (n, positions)."""
    if outputs.shape[-1] == 1:
        return each_label(outputs, from_logits)
    maps: NDArray[Any] = outputs.argmax(axis=-1)
    return maps.reshape(len(outputs), -1)


def compared(
    predict_classes: PredictClasses,
    outputs: NDArray[Any],
    target: NDArray[Any],
    from_logits: bool | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return what outputs name, and what is true: (n, positions or labels) each.

    A position of a mask without a class is replaced by another one of its sample, all of them about equally
    often; samples without any class are left out.
    """
    found = predict_classes(outputs, from_logits)
    labels = np.asarray(target).reshape(len(outputs), -1).astype(np.int64)
    hidden = labels < 0
    if not hidden.any():
        return found, labels
    kept = ~hidden.all(axis=1)
    places = np.empty((int(kept.sum()), labels.shape[1]), np.int64)
    for row, of_sample in enumerate(hidden[kept]):
        places[row] = np.resize(np.flatnonzero(~of_sample), len(of_sample))
    return np.take_along_axis(found[kept], places, axis=1), np.take_along_axis(labels[kept], places, axis=1)


# Scores, 1 is best: each a function of outputs (n, ...), the model's first input (n, ...) and the targets.


def share_right(
    predict_classes: PredictClasses, outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None
) -> float | None:
    if target is None:
        return None
    found, labels = compared(predict_classes, outputs, target)
    return float((found == labels).mean()) if len(labels) else None


def determination(outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None) -> float | None:
    """Return R2, the mean over the channels, each at least ``LOWEST_SCORE``."""
    if target is None:
        return None
    return float(np.maximum(_channel_gains(outputs, target).mean(axis=0), LOWEST_SCORE).mean())


def explained(outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None) -> float | None:
    """Return the share of the input's variance that a reconstruction explains."""
    return max(float(_explained(outputs.reshape(inputs.shape), inputs).mean()), LOWEST_SCORE)


# Standings: each a function of two outputs or more, the first input, the targets, and whether the outputs are
# logits; None if they cannot be compared.


def of_labels(
    outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None, from_logits: bool | None
) -> Standard | None:
    """Of any of several classes."""
    if target is None:
        return None
    found, labels = compared(each_label, outputs, target, from_logits)
    varied = (labels.min(axis=0) == 0) & (labels.max(axis=0) == 1)
    found, labels = found[:, varied], labels[:, varied]
    if len(labels) < 2 or not varied.any():
        return None
    shares = labels.mean(axis=0)
    constant, likely = (shares > 0.5).astype(np.int64), float(np.maximum(shares, 1 - shares).mean())
    keys = labels + 2 * np.arange(labels.shape[1])
    right = (found == labels).astype(np.float64)
    gains = _class_gains(right, (labels == constant).mean(axis=1), likely, keys, labels.shape[1])
    constant = "each label's most frequent value"
    return _standard("accuracy", outputs, float(right.mean()), likely, constant, _standing(gains))


def of_classes(
    predict_classes: PredictClasses,
    metric: str,
    outputs: NDArray[Any],
    inputs: NDArray[Any],
    target: NDArray[Any] | None,
    from_logits: bool | None,
) -> Standard | None:
    """Of classes that exclude each other, of each sample or each position."""
    if target is None:
        return None
    found, labels = compared(predict_classes, outputs, target, from_logits)
    if len(labels) < 2:
        return None
    right = (found == labels).astype(np.float64)
    constant = np.bincount(labels.ravel()).argmax()
    likely = float((labels == constant).mean())
    if likely == 1.0:
        return None  # one class: not comparable
    standing = _standing(_class_gains(right, (labels == constant).mean(axis=1), likely, labels, 1))
    hint, flat = "", outputs.reshape(len(outputs), -1)
    two = labels.shape[1] == 1 and flat.shape[1] <= 2
    if standing == "at chance" and two and len(np.unique(labels)) == 2:
        area, low = _area(flat[:, -1] - (flat[:, 0] if flat.shape[1] == 2 else 0), labels[:, 0])
        if low > 0 and likely >= RARE_OTHERS and (found == constant).mean() > 0.95:
            standing = "unclear"
        if low > 0:
            hint = f"it ranks the samples with an AUC of {area:.1%}, but its answers do not follow"
    return _standard(metric, outputs, float(right.mean()), likely, f"always class {constant}", standing, hint)


def _class_gains(
    right: Floats, constant_right: Floats, likely: float, keys: NDArray[np.int64], groups: int
) -> list[Gain]:
    """Return the gains over the constant answer in accuracy and in balanced accuracy."""
    return [_gain((right.mean(axis=1) - constant_right) / (1 - likely)), _balanced(right, keys, groups)]


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


def of_numbers(
    outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None, from_logits: bool | None
) -> Standard | None:
    if target is None:
        return None
    gains = _channel_gains(outputs, target)
    if not gains.shape[1]:
        return None
    each = [_gain(gains[:, channel]) for channel in range(gains.shape[1])]
    middle = (float(np.median([share for share, _ in each])), float(np.median([low for _, low in each])))
    hint = ""
    found, expected = outputs.ravel(), np.asarray(target, np.float64).ravel()
    if _standing([middle]) == "at chance" and found.std() > 0:
        together = float(np.corrcoef(found, expected)[0, 1])
        if abs(together) > 0.5:
            hint = (
                f"its outputs ({found.min():.4g} to {found.max():.4g}) follow the targets "
                f"({expected.min():.4g} to {expected.max():.4g}) with a correlation of {together:.2f}: "
                "are the targets in another unit?"
            )
    of = "the mean" if gains.shape[1] == 1 else "the mean, median over the channels"
    standing = _standing([middle])
    return _standard(R2, outputs, middle[0], 0.0, of, standing, hint)


def _channel_gains(outputs: NDArray[Any], target: NDArray[Any]) -> Floats:
    """By how much each sample raises the R2 of each channel of the last axis: their mean is R2."""
    channels = outputs.shape[-1] if outputs.ndim > 1 else 1
    found = outputs.reshape(len(outputs), -1, channels).astype(np.float64)
    expected = np.asarray(target, np.float64).reshape(found.shape)
    spread = expected - expected.mean(axis=(0, 1))
    variance = (spread**2).mean(axis=(0, 1))
    there = variance > 1e-12
    gains: Floats = (spread**2 - (found - expected) ** 2).mean(axis=1)[:, there] / variance[there]
    return gains


def _explained(found: NDArray[Any], expected: NDArray[Any]) -> Floats:
    """By how much each sample raises the explained share of the variance: their mean is that share."""
    found, expected = (values.reshape(len(values), -1).astype(np.float64) for values in (found, expected))
    spread = (expected - expected.mean()) ** 2
    gains: Floats = (spread - (found - expected) ** 2).mean(axis=1) / max(float(spread.mean()), 1e-12)
    return gains


def of_reconstruction(
    outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None, from_logits: bool | None
) -> Standard | None:
    gain = _gain(_explained(outputs.reshape(inputs.shape), inputs))
    return _standard(EXPLAINED, outputs, gain[0], 0.0, "the mean value", _standing([gain]))


def of_anomalies(
    outputs: NDArray[Any], inputs: NDArray[Any], target: NDArray[Any] | None, from_logits: bool | None
) -> Standard | None:
    """By the order of the reconstruction errors; of normal samples alone, as any reconstruction."""
    if target is None or not 0 < target.sum() < len(target):
        return of_reconstruction(outputs, inputs, target, from_logits)
    found = outputs.reshape(inputs.shape)
    errors = ((found.astype(np.float64) - inputs) ** 2).reshape(len(found), -1).mean(axis=1)
    area, low = _area(errors, target)
    share = 2 * area - 1
    below = 2 * share - low < 0  # the upper bound
    hint = (
        "normal samples are rebuilt worse than anomalies: are the labels 0 and 1 exchanged?" if below else ""
    )
    return _standard(AREA, found, area, 0.5, "any", _standing([(share, low)]), hint)


def _area(scores: NDArray[Any], positive: NDArray[Any]) -> tuple[float, float]:
    """AUC, and the lower bound of its gain over 0.5 as a share of what is possible (Mann-Whitney)."""
    from scipy.stats import rankdata

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
    metric: str,
    outputs: NDArray[Any],
    score: float,
    chance: float,
    constant: str,
    standing: Standing,
    hint: str = "",
) -> Standard:
    return Standard(
        metric=metric,
        samples=len(outputs),
        score=score,
        chance=chance,
        constant=constant,
        standing=standing,
        hint=hint,
    )
