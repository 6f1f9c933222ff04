"""Records of choices that a build makes, on held-out samples for the most part, with their evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.formats import WrittenFormat


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Scores of the float model as it was given and fine-tuned alike, in points.

    Attributes:
        metric: what they are, e.g. "accuracy".
        given: of the model as it was given, on the test samples.
        fine_tuned: of the same model after training on the labels, without quantization.
        held_out_gain: what fine-tuning gains on the held-out samples.
        low: lower end of its paired 95 % interval.
        high: upper end.
        rounds: of this training, each with the settings that the quantized model gets.
        set_aside: how many test samples are held out, because the given model remembers the others; none of
            them is tested on.
    """

    metric: str
    given: float
    fine_tuned: float
    held_out_gain: float
    low: float
    high: float
    rounds: int = 1
    set_aside: int = 0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One of several quantized models that were compared.

    Attributes:
        name: how it was made, e.g. "qat".
        download_bytes: of the file compressed with Zstandard, as a release has it.
        metric: what the score is, e.g. "accuracy".
        samples: how many it was measured on.
        score: in points; None for a task without a score.
        difference: score minus the best one's, with the ends of its paired 95 % interval, in points.
        within_limits: whether it is full-integer int8 and within the limits of file and download.
        chosen: whether it is the one to release.
        held_out: whether the samples are held out; training samples stand in where there are few.
        corrupted: like the difference, on some of the samples under every corruption that suits them; None
            if none does.
        worst: points under the corruption that costs the most against the float model, and its name; None
            if none suits.
        reason: the limit that it misses, or why it is worse than the best one; "" if it is as good.
    """

    name: str
    format: WrittenFormat
    size_bytes: int
    download_bytes: int
    metric: str
    samples: int
    score: float | None
    difference: tuple[float, float, float] | None
    within_limits: bool
    chosen: bool
    held_out: bool = True
    corrupted: tuple[float, float, float] | None = None
    worst: tuple[float, str] | None = None
    reason: str = ""


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


@dataclass(frozen=True, kw_only=True)
class TriedLayer:
    """The int8 model with one layer in a wider format, on the samples of the search.

    Attributes:
        layer: its name in the user's model.
        sqnr_db: signal-to-quantization-noise ratio of the outputs, in dB.
        change: of the metric against float, in points; None without targets.
        cost: what the layer adds to an inference, in the unit of ``Precision.cost_unit``; None: not measured.
        chosen: whether it is in the wider format in the file.
    """

    layer: str
    sqnr_db: float
    change: float | None
    cost: float | None
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class TriedWidth:
    """The chosen layers in one format.

    Attributes:
        width: the format, e.g. "float16".
        problem: why it was not taken, such as the runtime that computes it wrong; "" if it could be.
        change: as for ``TriedLayer``.
        cost: of an inference of the whole model; None if there is no such file.
        size_bytes: of the file; 0 if there is none.
        chosen: whether it was taken.
    """

    width: str
    problem: str
    change: float | None = None
    cost: float | None = None
    size_bytes: int = 0
    chosen: bool = False


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Which layers compute in a wider format than int8, and what that was decided on.

    Attributes:
        layers: the layers; empty if the model is int8 throughout.
        width: their format; "" without layers.
        searched: whether they were found by a search, not named by the user.
        reason: what the search found, in words.
        samples: training samples on which the models were compared.
        metric: of ``change``, e.g. "top-1"; "" without targets.
        int8_sqnr_db: of the model with int8 throughout.
        int8_change: its change of the metric against float, in points.
        cost_unit: "instructions", counted on the emulated ``device``; or "estimated operations".
        device: the name of the device; "" for estimates.
        int8_cost: of an inference of the int8 model.
        int8_size_bytes: of its file.
        tried: single layers, those first that gain most.
        widths: the formats tried for the chosen layers.
        sets: how many files were measured.
    """

    layers: tuple[str, ...]
    width: str
    searched: bool
    reason: str
    samples: int
    metric: str
    int8_sqnr_db: float
    int8_change: float | None
    cost_unit: str
    device: str
    int8_cost: float
    int8_size_bytes: int
    tried: tuple[TriedLayer, ...] = ()
    widths: tuple[TriedWidth, ...] = ()
    sets: int = 0


@dataclass(frozen=True, kw_only=True)
class StepGain:
    """What one compression step bought: each figure before it and after.

    Attributes:
        step: as a recipe writes it, e.g. "weights75".
        parameters: of the Keras model.
        size_bytes: of the int8 file.
        download_bytes: of that file compressed with Zstandard.
        instructions: of an inference of that file, predicted, by device.
        metric: what the score is, e.g. "accuracy".
        samples: how many held-out samples it was measured on.
        score: of the float model, in points; None without held-out samples, or for a task without a score.
    """

    step: str
    parameters: tuple[int, int]
    size_bytes: tuple[int, int]
    download_bytes: tuple[int, int]
    instructions: dict[str, tuple[int, int]]
    metric: str
    samples: int
    score: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class InputFinding:
    """How the preprocessing of one input was chosen.

    Attributes:
        input: its name.
        chosen: what was chosen, with its evidence.
        tried: what was tried instead, where the model is no better than chance; else "".
        settings: the keys of ``[preprocessing]`` that declare it; none if the values are used as they are.
        better: those of another preprocessing that suits the model far better; none if there is none.
    """

    input: str
    chosen: str
    tried: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    better: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"input {self.input!r}: {'; '.join(filter(None, (self.chosen, self.tried)))}"
