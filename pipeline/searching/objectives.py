"""What a search optimizes and what it must keep: figures of a trial, objectives and constraints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.config import SMALL_FILE_BYTES
from pipeline.errors import ConfigError
from pipeline.sections import advice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.config import GatesConfig
    from pipeline.planning.goal import Goal
    from pipeline.targets import Target

INSTRUCTIONS = "instructions"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is known of a model without its whole validation.

    Attributes:
        metric: what the scores are, e.g. "accuracy".
        score: on held-out samples, in points.
        drop: score of the float model minus this one's, in points.
        robustness: mean score under all corruptions in points; the score where none suits.
        worst: points that the model loses against float under the worst corruption; 0 if none suits.
        size_bytes: of the int8 file.
        size_ratio: as a share of the float file.
        download_bytes: of the file as a release compresses it.
        memory_bytes: values that are needed at once in an inference.
        instructions: of an inference, predicted, by device.
    """

    metric: str
    score: float
    drop: float
    robustness: float
    worst: float
    size_bytes: int
    size_ratio: float
    download_bytes: int
    memory_bytes: int
    instructions: dict[str, int]

    def of(self, objective: str) -> float:
        """Return the figure of an objective; of devices that have no costs it is 0."""
        if objective.endswith(f" {INSTRUCTIONS}"):
            return float(self.instructions.get(objective.removesuffix(f" {INSTRUCTIONS}"), 0))
        return float(getattr(self, OBJECTIVES[objective].attribute))


class Objective(NamedTuple):
    """A figure to improve.

    Attributes:
        attribute: of ``Figures``.
        is_maximized: whether more is better.
        unit: for tables.
    """

    attribute: str
    is_maximized: bool = False
    unit: str = "bytes"


OBJECTIVES = {
    "score": Objective("score", is_maximized=True, unit="points"),
    "robustness": Objective("robustness", is_maximized=True, unit="points"),
    "download": Objective("download_bytes"),
    "memory": Objective("memory_bytes"),
}
"""Besides these, each device of the target has ``DEVICE instructions``."""


def is_maximized(objective: str) -> bool:
    return objective in OBJECTIVES and OBJECTIVES[objective].is_maximized


def objectives_of(target: Target, chosen: tuple[str, ...]) -> tuple[str, ...]:
    """Return the objectives of a search: those chosen, or all.

    Raises:
        ConfigError: one does not exist.
    """
    known = (*OBJECTIVES, *(f"{device.name} {INSTRUCTIONS}" for device in target.devices))
    for name in chosen:
        if name not in known:
            msg = f"--objective: {name!r} is none for {target.name}; {advice(name, known, 'objectives')}"
            raise ConfigError(msg)
    return tuple(name for name in known if not chosen or name in chosen)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a candidate has to keep; each limit is missed by a share of itself, 0 or less if it is kept."""

    drop_points: float
    shift_points: float
    size_ratio: float
    download_bytes: int | None
    goal: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, gates: GatesConfig, goal: Goal | None) -> Limits:
        """Return the limits of the gates that can be judged early, and those of a goal."""
        drop = gates.accuracy_drop_points
        if goal is not None and goal.drop_points is not None:
            drop = min(drop, goal.drop_points)
        goals = () if goal is None else tuple((limit.name, limit.most) for limit in goal.limits)
        return cls(
            drop_points=drop,
            shift_points=gates.shift_drop_points,
            size_ratio=gates.size_ratio,
            download_bytes=gates.download_bytes,
            goal=goals,
        )

    def missed(self, figures: Figures) -> dict[str, float]:
        """Return by how much of itself each limit is missed."""
        found = {
            "drop": figures.drop / self.drop_points - 1,
            "shift": figures.worst / self.shift_points - 1,
            "size ratio": figures.size_ratio / self.size_ratio - 1,
        }
        if figures.size_bytes < SMALL_FILE_BYTES:
            found["size ratio"] = min(found["size ratio"], 0.0)
        if self.download_bytes is not None:
            found["download"] = figures.download_bytes / self.download_bytes - 1
        for name, most in self.goal:
            figure = figures.size_bytes if name == "size" else figures.of(name)
            found[f"goal {name}"] = figure / most - 1
        return found


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: "complete", "stopped" after its compression, or "refused": its recipe cannot be applied.
        reason: why it was stopped or refused; "" if it is complete.
        recipe: as ``pipeline build --recipe`` takes it.
        figures: None if it was refused.
        missed: by how much of itself each limit is missed; positive ones are missed.
        compressed: values of the float model after its compression, as ``halving`` compares them; none
            without one.
        steps: of its run: stage, key, whether it came from the store, seconds.
        seconds: wall-clock time.
        worker: where it ran.
    """

    state: str
    recipe: str
    seconds: float
    reason: str = ""
    figures: Figures | None = None
    missed: dict[str, float] = field(default_factory=dict)
    compressed: tuple[float, ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    worker: str = ""

    @property
    def is_feasible(self) -> bool:
        """Whether it is complete and keeps every limit."""
        return self.state == "complete" and all(value <= 0 for value in self.missed.values())

    def values(self, objectives: tuple[str, ...]) -> tuple[float, ...]:
        """Return the figures of the objectives."""
        assert self.figures is not None
        return tuple(self.figures.of(name) for name in objectives)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-like values, which share this object's tables: copies of all would take long."""
        return {**vars(self), "figures": self.figures and vars(self.figures)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Outcome:
        """Return what ``to_dict`` made, or that of a version with other values."""
        known = {each.name: raw[each.name] for each in fields(cls) if each.name in raw}
        figures = known["figures"]
        known["figures"] = None if figures is None else Figures(**figures)
        for name in ("compressed", "steps"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)


def dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Return whether values, all to be minimized, are nowhere worse and somewhere better."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def minimized(values: tuple[float, ...], objectives: tuple[str, ...]) -> tuple[float, ...]:
    """Return values such that less is better for each."""
    return tuple(
        -value if is_maximized(name) else value for name, value in zip(objectives, values, strict=True)
    )


def cost_ratio(figures: Figures, than: Figures, objectives: tuple[str, ...]) -> float:
    """Return the geometric mean of the costs, each as a share of another model's; 1 if none is known."""
    costs = [name for name in objectives if not is_maximized(name) and than.of(name) > 0]
    logs = [math.log(max(figures.of(name), 1.0) / than.of(name)) for name in costs]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0
