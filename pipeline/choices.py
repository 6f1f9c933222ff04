"""Records of choices that a build makes on held-out samples, with their evidence."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.formats import Format


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Scores of the float model as it was given and fine-tuned alike, in points.

    Attributes:
        metric: what they are, e.g. "accuracy".
        given: of the model as it was given, on the test samples.
        fine_tuned: of the same model after the training that the quantized one gets, without quantization.
        held_out_gain: what fine-tuning gains on the held-out samples.
        low: lower end of its paired 95 % interval.
        high: upper end.
    """

    metric: str
    given: float
    fine_tuned: float
    held_out_gain: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of several quantized models that were compared on held-out samples.

    Attributes:
        name: how it was made, e.g. "qat".
        download_bytes: of the file compressed with Zstandard, as a release has it.
        metric: what the score is, e.g. "accuracy".
        samples: how many it was measured on.
        score: in points; None without held-out samples, or for a task without a score.
        difference: score minus the best one's, with the ends of its paired 95 % interval, in points.
        within_limits: whether it is full-integer int8 and within the limit of size.
        chosen: whether it is the one to release.
    """

    name: str
    format: Format
    size_bytes: int
    download_bytes: int
    metric: str
    samples: int
    score: float | None
    difference: tuple[float, float, float] | None
    within_limits: bool
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What a repair without training does for an int8 model, on held-out samples.

    Attributes:
        name: e.g. "bias-correction".
        before_db: signal-to-quantization-noise ratio (SQNR) of the outputs without it, in dB.
        after_db: with it; as before, if it was not tried.
        samples: how many it was measured on.
        applied: whether the model has it.
        reason: why not; "" if it has.
    """

    name: str
    before_db: float
    after_db: float
    samples: int
    applied: bool
    reason: str = ""

    def __str__(self) -> str:
        gain = f"{self.before_db:.1f} -> {self.after_db:.1f} dB"
        if self.applied:
            return f"{self.name} {gain}"
        tried = f" ({gain})" if self.after_db != self.before_db else ""
        return f"{self.name} not applied: {self.reason}{tried}"
