"""One trial of a search: a model compressed and quantized like any build's, and judged on held-out samples.

A trial is a function of what it is given, so that it can run on any machine with the same store, and again
after its machine died.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.download import compress
from pipeline.artifacts import Artifact, Teacher
from pipeline.compiling import compile_model
from pipeline.content import write_whole
from pipeline.costing.memory import live_bytes
from pipeline.costing.predict import cost_table, predict, tables
from pipeline.errors import ConfigError, InputError, StageError
from pipeline.flatbuffer import read_tflite
from pipeline.isolation.child import in_child
from pipeline.quantize.candidates import answers_of
from pipeline.recipe import recipe_of
from pipeline.run import Run
from pipeline.searching.halving import goes_on
from pipeline.searching.objectives import Figures, Limits, Outcome
from pipeline.searching.written import settings_text
from pipeline.settings import make_config
from pipeline.shared_store import open_store
from pipeline.targets import get_target
from pipeline.training.evidence import Evidence
from pipeline.training.held_out import cost_of_training
from pipeline.training.keras_io import open_model, start_tensorflow
from pipeline.training.keras_io import predict as predict_keras

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset, KerasModel, QuantizedModel
    from pipeline.choices import StepGain
    from pipeline.compiling import Compiled, Inputs
    from pipeline.training.held_out import HeldOut

SETTINGS = "pipeline.toml"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything that a trial depends on.

    Attributes:
        number: of the trial.
        settings: plain, as in ``pipeline.toml``.
        inputs: the user's files, by content, which a worker reads only if their stages are not in the store.
        target: its name.
        limits: that a candidate has to keep.
        folder: for its settings and the record of its run.
        store: the folder of the store, or the URL of a shared one; the worker's own store is then a cache.
        may_stop: whether it is stopped after its compression if earlier trials were better.
        others: ``Outcome.compressed`` of these.
    """

    number: int
    settings: dict[str, Any]
    inputs: Inputs
    target: str
    limits: Limits
    folder: Path
    store: Path | str
    may_stop: bool = False
    others: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class OnHeldOut(Artifact):
    """A quantized model on the held-out samples, beside the float model.

    Attributes:
        metric: what the scores are.
        score: of the quantized model, in points; None for a task without one.
        float_score: of the float model, less what training alone costs on samples that it remembers.
        robustness: mean score under all corruptions; None where none suits.
        worst: points lost against float under the corruption that costs the most, if measurably.
    """

    metric: str
    score: float | None
    float_score: float | None
    robustness: float | None
    worst: float


def judge_on_held_out(
    data: Dataset, model: KerasModel, teacher: KerasModel, quantized: QuantizedModel, *, out: Path
) -> OnHeldOut:
    """Score a quantized model on held-out samples, as they are and corrupted.

    Args:
        model: the float model that it was made of.
        teacher: that training started from; the same model if nothing was trained.
    """
    start_tensorflow(0)
    evidence = Evidence.of(data, model)
    network = open_model(model.model)
    given = evidence.answers(lambda inputs: predict_keras(network, inputs)[0])
    found = answers_of(quantized, evidence)
    worst = evidence.worst(given, found)
    lost = -worst[0].points if worst is not None and worst[0].high < 0 else 0.0
    return OnHeldOut(
        metric=evidence.held_out.metric,
        score=evidence.held_out.score(found.clean),
        float_score=_float_score(evidence.held_out, evidence.held_out.score(given.clean), teacher),
        robustness=evidence.corrupted_points(found),
        worst=lost,
    )


def _float_score(held_out: HeldOut, given: float | None, teacher: KerasModel) -> float | None:
    """Return the points that a candidate is compared with, from those of the given model."""
    if given is None:
        return None
    if isinstance(teacher, Teacher) and teacher.fine_tuned:
        tuned = held_out.score(held_out.outputs(open_model(teacher.model)))
        return given if tuned is None else min(given, tuned)
    return given - cost_of_training(teacher, held_out)


class _StoppedError(Exception):
    """Earlier trials were better at this point."""


class _Look:
    """A look at a trial after its compression, at figures that every build measures there.

    The compressed float model is judged: quantization costs little beside what compression costs.
    """

    def __init__(self, spec: Spec, steps: int) -> None:
        self._spec, self._steps = spec, steps
        self.compressed: tuple[float, ...] = ()

    def __call__(self, gains: tuple[StepGain, ...]) -> None:
        """Keep the figures after the last of the steps, and stop a trial that others beat.

        Raises:
            _StoppedError: a third of the others were better.
        """
        if not gains or len(gains) < self._steps or gains[-1].score is None:  # one could not be measured
            return
        found, score = gains[-1], gains[-1].score[1]
        instructions = [after for _, after in found.instructions.values()]
        self.compressed = (-score, float(found.download_bytes[1]), *map(float, instructions))
        if self._spec.may_stop and not goes_on(self.compressed, self._spec.others):
            msg = "after its compression a third of the trials were better"
            raise _StoppedError(msg)


def run_trial(spec: Spec) -> Outcome:
    """Compress, quantize and judge one candidate; nothing of it is validated on the target yet.

    Raises:
        PipelineError: the inputs or the environment are at fault, not the recipe.
    """
    started = time.monotonic()
    config = make_config(spec.settings, f"trial {spec.number}")
    spec.folder.mkdir(parents=True, exist_ok=True)
    write_whole(spec.folder / SETTINGS, settings_text(spec.settings, spec.folder))
    with open_store(spec.store) as store:
        run = Run(spec.folder, store)
        target, inputs = get_target(spec.target), spec.inputs
        look = _Look(spec, len(config.compress))
        ended: dict[str, Any]
        with run.recording(inputs.name):
            try:
                compiled = compile_model(inputs, config, run, target, look)
                figures = _figures(compiled, spec, run)
                missed = spec.limits.missed(figures)
                if compiled.quantized.format != "int8":
                    missed["full integer"] = 1.0
                ended = {"state": "complete", "figures": figures, "missed": missed}
            except _StoppedError as stopped:
                ended = {"state": "stopped", "reason": str(stopped)}
            except (ConfigError, StageError) as error:
                ended = {"state": "refused", "reason": str(error)}
    return Outcome(
        recipe=recipe_of(config),
        compressed=look.compressed,
        steps=tuple({**step, "digest": ""} for step in run.steps),
        seconds=round(time.monotonic() - started, 3),
        worker=socket.gethostname(),
        **ended,
    )


def _figures(compiled: Compiled, spec: Spec, run: Run) -> Figures:
    """Judge what was compiled.

    Raises:
        InputError: the task has no score.
        PipelineError: a stage could not finish.
    """
    quantized = compiled.quantized
    # The same samples for all trials, whichever chose the teacher of one.
    data = compiled.data.divided(set_aside=False)
    model = compiled.prepared.keras
    judged = run.step(in_child(judge_on_held_out), data, model, compiled.teacher or model, quantized)
    if judged.score is None or judged.float_score is None:
        msg = f"the task {compiled.data.tasks[0]!r} has no score on held-out samples to search by"
        raise InputError(msg)
    flat = read_tflite(quantized.tflite)
    devices = [device.name for device in get_target(spec.target).devices]
    return Figures(
        metric=judged.metric,
        score=judged.score,
        drop=judged.float_score - judged.score,
        robustness=judged.score if judged.robustness is None else judged.robustness,
        worst=judged.worst,
        size_bytes=quantized.size_bytes,
        size_ratio=quantized.size_bytes / compiled.baseline.tflite.stat().st_size,
        download_bytes=len(compress(quantized.tflite.read_bytes())),
        memory_bytes=live_bytes(flat),
        instructions={
            name: predict(flat, cost_table(name)).instructions for name in devices if name in tables()
        },
    )
