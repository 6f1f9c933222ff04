"""Choose the corruptions for a model's inputs, and apply them to all inputs at once."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.corruptions import images, measurements
from pipeline.errors import ConfigError
from pipeline.sections import advice
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.task_rules import Task
    from pipeline.artifacts import Preprocessing

Kind = Literal["image", "series", "vector", "indices", "other"]

NAMES = (*images.IMAGES, *measurements.MEASUREMENTS)
MIN_PLANE = 16
"""Bytes of two dimensions are a grey image where neither is shorter; otherwise they are a series."""

INFORMATIVE_SHARE = 0.5
"""Share of its clean score that the model compared with has to keep for a severity to be judged."""


@dataclass(frozen=True)
class Given:
    """Kind of one of the model's inputs in the data.

    Attributes:
        channels: of an image.
        limits: the values of black and white in an image.
        stats: mean and deviation of the features of a series or vector.
    """

    kind: Kind
    channels: int = 1
    limits: tuple[float, float] = (0.0, 1.0)
    stats: measurements.FeatureStats | None = None


def describe(raws: Sequence[NDArray[Any]], preprocessing: Preprocessing) -> tuple[Given, ...]:
    """Return the kind of each input, found from clean samples (n, ...)."""
    return tuple(
        _given(raw, indices=transform.indices) for raw, transform in zip(raws, preprocessing, strict=True)
    )


def check_names(names: Sequence[str]) -> None:
    """Check that every requested corruption exists.

    Raises:
        ConfigError: names the first that does not, and the nearest that does.
    """
    for name in names:
        if name not in NAMES:
            message = f"[validate.shift] shifts: unknown shift {name!r}; {advice(name, NAMES, 'shifts')}"
            raise ConfigError(message, key="validate.shift.shifts")


def choose(
    given: Sequence[Given], tasks: Sequence[Task], names: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose the corruptions that suit the inputs and the targets.

    Args:
        given: kind of each input.
        tasks: task of each output.
        names: requested corruptions; empty for all.

    Returns:
        Names, and one line for each omitted corruption that says why.

    Raises:
        ConfigError: a name is unknown.
    """
    check_names(names)
    reasons = {name: _unsuitable(name, given, tasks) for name in names or NAMES}
    foreign = {name for name, reason in reasons.items() if reason == FOREIGN and not names}
    left_out = [f"{name}: {reason}" for name, reason in reasons.items() if reason and name not in foreign]
    left_out += [
        f"input {index}: indices are no measurements, so that nothing is done to them"
        for index, one in enumerate(given)
        if one.kind == "indices"
    ]
    return tuple(name for name, reason in reasons.items() if not reason), tuple(left_out)


def corrupt(
    raws: Sequence[NDArray[Any]], given: Sequence[Given], name: str, severity: int, seed: Sequence[int]
) -> list[NDArray[Any]]:
    """Corrupt each input that the corruption applies to; leave the others unchanged.

    Args:
        raws: for each input (n, ...) as the source has it.
        given: kind of each input.
        name: name of the corruption.
        severity: 1 to 5.
        seed: integers; the same ones, name and samples give the same bits.
    """
    found = []
    for index, (raw, one) in enumerate(zip(raws, given, strict=True)):
        rng = np.random.default_rng([*seed, index, zlib.crc32(name.encode())])
        if not suits(name, one):
            found.append(raw)
        elif one.kind == "image":
            shaped = raw if raw.ndim == 4 else raw[..., None]
            found.append(images.corrupt_images(shaped, name, severity, one.limits, rng).reshape(raw.shape))
        else:
            assert one.stats is not None
            found.append(measurements.corrupt_readings(raw, name, severity, one.stats, rng))
    return found


def suits(name: str, one: Given) -> bool:
    """Return whether a corruption does anything to such an input."""
    if name in images.IMAGES:
        return one.kind == "image" and not (one.channels == 1 and name in images.OF_COLOUR)
    if one.kind == "vector":
        return name not in measurements.OF_SERIES
    return one.kind == "series"


FOREIGN = "no input of its kind"


def _given(raw: NDArray[Any], *, indices: bool) -> Given:
    if indices:
        return Given("indices")
    if raw.dtype.kind not in "iuf" or raw.ndim not in {2, 3, 4} or raw.size == 0:
        return Given("other")
    grey = raw.ndim == 3 and raw.dtype == np.uint8 and min(raw.shape[1:]) >= MIN_PLANE
    if grey or (raw.ndim == 4 and min(raw.shape[1:3]) >= images.MIN_SIDE):
        return Given("image", channels=1 if grey else raw.shape[3], limits=_limits(raw))
    if raw.ndim == 4:
        return Given("other")
    return Given("vector" if raw.ndim == 2 else "series", stats=measurements.FeatureStats.of(raw))


def _limits(raw: NDArray[Any]) -> tuple[float, float]:
    """Return the range that the values seem to have been made for."""
    if raw.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(raw.min()), float(raw.max())
    for stats in ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)):
        if stats[0] <= low and high <= stats[1]:
            return stats
    return low, max(high, low + 1e-6)


def _unsuitable(name: str, given: Sequence[Given], tasks: Sequence[Task]) -> str:
    """Return why a corruption is omitted, or ""."""
    if not any(suits(name, one) for one in given):
        kind_is_there = name in images.OF_COLOUR and any(one.kind == "image" for one in given)
        return "images of one channel have no saturation" if kind_is_there else FOREIGN
    placed = sorted(task for task in tasks if TASKS[task].located)
    if placed and name in images.MOVING | measurements.MOVING:
        return f"it moves objects, and the targets of a {placed[0]} may contain positions"
    return ""
