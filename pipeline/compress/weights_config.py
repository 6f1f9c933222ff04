"""Settings of magnitude pruning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.compress.amounts import MAX_SPARSITY, Amounts
from pipeline.sections import MethodSection, Section
from pipeline.training_config import TrainingConfig

# Pruning smaller kernels hardly shortens the download, and costs the most accuracy.
MIN_KERNEL_WEIGHTS = 1000
PATTERN = r"^(single|[1-9]\d?:[1-9]\d?|[1-9]\d?x[1-9]\d?)$"
AUTO: Literal["auto"] = "auto"
MOST_BY_ITSELF = 0.6
"""The highest sparsity of "auto"."""


class ScheduleConfig(Section):
    """How the zeros become more in the course of the training.

    Attributes:
        shape: "polynomial" from none to all, or "constant": all from the first step on.
        power: of the polynomial; the higher, the more of the zeros come early.
        end: share of the training after which all zeros are there; the rest recovers accuracy.
    """

    shape: Literal["polynomial", "constant"] = "polynomial"
    power: Annotated[float, Field(gt=0)] = 3.0
    end: Annotated[float, Field(gt=0, lt=1)] = 0.5


class WeightsConfig(MethodSection):
    """Magnitude pruning of single weights with TF-MOT.

    Attributes:
        sparsity: final share of zeros in the pruned kernels; "auto": the highest, at most
            ``MOST_BY_ITSELF``, that costs nothing measurable on held-out samples.
        amounts: "uniform": the same share in each of them; "global": the smallest of all weights, compared
            across layers; "sensitivity": more in the kernels that bear more, as measured.
        pattern: "single" weights; "N:M", such as "2:4": of M consecutive inputs of each output the N
            largest stay, which makes the sparsity 1 - N / M; "HxW", such as "1x4": whole blocks of H inputs
            and W outputs of dense layers, and single weights of the other layers.
        min_sparsity: with "auto", the least share of zeros, even if it costs something; a build sets it where
            ``[gates] download_bytes`` needs more.
        max_drop_points: of the score on held-out samples that a sparsity that is needed may cost.
        tries: trainings at most, where a model loses more: the highest sparsity is searched for that it
            bears, by bisection between 0 and ``sparsity``.
        min_weights: prune only models with at least this many weights in the kernels to prune: the
            download of smaller ones would shrink by a few kilobytes only, and they need all their weights.
            Kernels with fewer than ``MIN_KERNEL_WEIGHTS`` are never pruned and do not count.
    """

    method: str = "weights"
    sparsity: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = AUTO
    amounts: Amounts = "global"
    pattern: Annotated[str, Field(pattern=PATTERN)] = "single"
    schedule: ScheduleConfig = ScheduleConfig()
    min_sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_drop_points: Annotated[float, Field(gt=0)] = 3.0
    tries: Annotated[int, Field(ge=1)] = 3
    min_weights: Annotated[int, Field(ge=0)] = 16384
    training: TrainingConfig = TrainingConfig(epochs=4)

    @model_validator(mode="after")
    def _check_amounts(self) -> WeightsConfig:
        zeros, of = self.zeros_of
        if of and not 0 < zeros < of:
            msg = f"pattern {self.pattern!r}: the first number has to be smaller than the second, e.g. 2:4"
            raise ValueError(msg)
        if of and self.sparsity not in (AUTO, 0.0, zeros / of):
            msg = f"pattern {self.pattern!r} makes the sparsity {zeros / of:g}; leave sparsity out"
            raise ValueError(msg)
        if "amounts" in self.model_fields_set and self.amounts != "uniform" and self.is_uniform:
            most = "patterns N:M" if of else f"a sparsity above {MAX_SPARSITY:g}"
            msg = f'amounts "{self.amounts}" cannot have {most}; use "uniform"'
            raise ValueError(msg)
        if self.min_sparsity and not self.is_searched:
            msg = 'min_sparsity is for sparsity = "auto" and single weights; leave one out'
            raise ValueError(msg)
        return self

    @property
    def zeros_of(self) -> tuple[int, int]:
        """How many of how many weights the pattern "N:M" makes zero; (0, 0) for another pattern."""
        kept, colon, of = self.pattern.partition(":")
        return (int(of) - int(kept), int(of)) if colon else (0, 0)

    @property
    def block(self) -> tuple[int, int]:
        """Height and width of the pattern's blocks; (1, 1) if there are none."""
        height, by, width = self.pattern.partition("x")
        return (int(height), int(width)) if by else (1, 1)

    @property
    def most(self) -> float:
        """The highest sparsity to try: that which was asked for, or the limit of "auto"."""
        zeros, of = self.zeros_of
        if of and self.sparsity:
            return zeros / of
        return MOST_BY_ITSELF if self.sparsity == AUTO else self.sparsity

    @property
    def is_found(self) -> bool:
        """Whether the sparsity is neither a number nor that of a pattern N:M."""
        return self.sparsity == AUTO and not self.zeros_of[1]

    @property
    def is_searched(self) -> bool:
        """Whether the sparsity is found by what it costs, and single weights become zero."""
        return self.is_found and self.pattern == "single"

    @property
    def is_uniform(self) -> bool:
        """Whether every kernel gets the same share, as settings or the pattern ask."""
        return self.amounts == "uniform" or bool(self.zeros_of[1]) or self.most > MAX_SPARSITY
