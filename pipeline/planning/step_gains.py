"""What a compression step bought: the model before and after it, on the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.download import compress
from pipeline.artifacts import Artifact
from pipeline.choices import StepGain
from pipeline.costing.predict import cost_table, predict, tables
from pipeline.errors import StageError
from pipeline.events import Warned, emit
from pipeline.flatbuffer import read_tflite
from pipeline.isolation.child import in_child
from pipeline.quantize.tflite import untrained_files
from pipeline.training.held_out import HeldOut
from pipeline.training.keras_io import open_model, start_tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset, KerasModel
    from pipeline.run import Run
    from pipeline.targets import Target


@dataclass(frozen=True, kw_only=True)
class StepGains(Artifact):
    """The record of one step."""

    gain: StepGain


def measure_step(
    before: KerasModel,
    after: KerasModel,
    teacher: KerasModel,
    data: Dataset,
    *,
    step: str,
    devices: tuple[str, ...],
    out: Path,
) -> StepGains:
    """Compare the model before and after a step: sizes of its int8 file, instructions, held-out score.

    The files have no measured ranges, which changes neither sizes nor operators; the scores are of the float
    models.

    Args:
        step: as a recipe writes it.
        devices: those of the target; without a table of costs one is left out.

    Raises:
        StageError: a model does not convert to int8.
    """
    start_tensorflow(0)
    networks = [open_model(model.model) for model in (before, after)]
    files = [untrained_files(network)[1] for network in networks]
    flat = [read_tflite(content) for content in files]
    known = [cost_table(device) for device in devices if device in tables()]
    held_out = HeldOut.of(data, teacher)
    scores = [_score(held_out, network) for network in networks]
    return StepGains(
        gain=StepGain(
            step=step,
            parameters=_pair(network.count_params() for network in networks),
            size_bytes=_pair(map(len, files)),
            download_bytes=_pair(len(compress(content)) for content in files),
            instructions={
                table.device: _pair(predict(each, table).instructions for each in flat) for table in known
            },
            metric=held_out.metric,
            samples=len(held_out.samples),
            score=None if None in scores else (float(scores[0] or 0), float(scores[1] or 0)),
        )
    )


def _score(held_out: HeldOut, network: Any) -> float | None:
    return held_out.score(held_out.outputs(network)) if held_out.has_score else None


def _pair(values: Any) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def measure_steps(
    models: tuple[KerasModel, ...], data: Dataset, steps: tuple[str, ...], target: Target | None, run: Run
) -> tuple[StepGain, ...]:
    """Measure what each compression step bought; a step whose models do not convert to int8 is left out.

    Args:
        models: the teacher, and the model after each step; none if nothing was trained.
        steps: as a recipe writes them.
        target: on whose devices instructions are predicted.
    """
    devices = () if target is None else tuple(device.name for device in target.devices)
    gains = []
    for step, before, after in zip(steps, models, models[1:], strict=False):
        try:
            found = run.step(
                in_child(measure_step), before, after, models[0], data, step=step, devices=devices
            )
            gains.append(found.gain)
        except StageError as error:
            emit(Warned(text=f"what {step} bought is not in the report: {error}"))
    return tuple(gains)
