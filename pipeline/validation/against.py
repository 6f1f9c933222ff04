"""Compare a candidate with a reference model, usually the last release: speed, size and accuracy.

The gate uses instructions on emulated cores: two runs of the same file differ by much less than a relevant
growth. Times on the host, with their interval, are reported in addition.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.artifacts import Preprocessing, Source  # noqa: TC001
from pipeline.tasks.comparison import Comparison  # noqa: TC001 - pydantic reads the annotations
from pipeline.validation.costs import EmulatedCost  # noqa: TC001
from pipeline.validation.latency import LatencyComparison  # noqa: TC001
from pipeline.validation.model_under_test import ModelFile  # noqa: TC001


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The model that a candidate is compared with, and how it gets its inputs.

    Attributes:
        file: the .tflite file.
        preprocessing: what makes its inputs of the raw samples; None if unknown, then without
            accuracy.
        note: what a reader of the comparison has to know of that; "" if it is the candidate's.
    """

    file: Source
    preprocessing: Preprocessing | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class InstructionChange:
    """Emulated instructions of both models on one device.

    Attributes:
        candidate: instructions of the model under test.
        reference: instructions of the reference model, counted in the same worker.
    """

    candidate: EmulatedCost
    reference: EmulatedCost

    @property
    def growth(self) -> float:
        """Change of the instructions as a share of the reference's: 0.03 is 3 % more."""
        return self.candidate.instructions / max(self.reference.instructions, 1) - 1


@dataclass(frozen=True, kw_only=True)
class Against:
    """A candidate against a reference model.

    Attributes:
        reference: the file compared with.
        reference_name: its file name.
        candidate: the model under test.
        devices: emulated ones; none where nothing was counted.
        accuracy: of each output on the same samples, reference as "baseline", candidate as "quantized";
            none where there is no labelled data, or the reference's preprocessing is unknown.
        latency: on the host, reference / candidate: above 1 the candidate is faster; None if not timed.
        note: how the reference gets its inputs, if not as the candidate, or why accuracy is not compared.
    """

    reference_name: str
    reference: ModelFile
    candidate: ModelFile
    devices: tuple[InstructionChange, ...]
    accuracy: tuple[Comparison, ...] = ()
    latency: LatencyComparison | None = None
    note: str = ""
