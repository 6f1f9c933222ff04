"""A model against another one, usually the last release: is it slower, larger or less accurate?

Instructions on emulated cores are the figure that a gate can stand on: two runs of the same file agree to far
less than the growth that matters. Times on the host, with their interval, are shown beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.runtimes.session import Session
from pipeline.tasks.comparison import Comparison  # noqa: TC001 - pydantic reads the annotations
from pipeline.validate.costs import EmulatedCost, count_emulated
from pipeline.validate.latency import LatencyComparison  # noqa: TC001
from pipeline.validate.model_under_test import ModelFile  # noqa: TC001

if TYPE_CHECKING:
    from pipeline.runtimes.runtime import Runtime
    from pipeline.validate.model_under_test import Golden, ModelUnderTest


@dataclass(frozen=True, kw_only=True)
class InstructionChange:
    """Emulated instructions of both models on one device.

    Attributes:
        ours: of the model that is judged.
        other: of the one that it is compared with, counted in the same worker.
    """

    ours: EmulatedCost
    other: EmulatedCost

    @property
    def growth(self) -> float:
        """Change of the instructions as a share of the other model's: 0.03 is 3 % more."""
        return self.ours.instructions / max(self.other.instructions, 1) - 1


@dataclass(frozen=True, kw_only=True)
class Against:
    """A model against another one.

    Attributes:
        other: the file compared with.
        other_name: its file name.
        ours: the file that is judged.
        devices: emulated ones; none where nothing was counted.
        accuracy: of each output on the same samples, the other model as "baseline" and ours as "quantized";
            none where there is no labelled data.
        latency: on the host, other / ours: above 1 ours is faster; None where it was not timed.
    """

    other_name: str
    other: ModelFile
    ours: ModelFile
    devices: tuple[InstructionChange, ...]
    accuracy: tuple[Comparison, ...] = ()
    latency: LatencyComparison | None = None


def count_both(
    runtime: Runtime, ours: ModelUnderTest, other: ModelUnderTest, golden: Golden
) -> InstructionChange:
    """Count both models on one emulated device, in one worker and with the same inputs.

    Raises:
        InputError: the runtime refuses one of them.
        StageError: one of them crashed or hung it.
    """
    with Session(runtime, ours.path) as session:
        return InstructionChange(
            ours=count_emulated(session, ours, golden), other=count_emulated(session, other, golden)
        )
