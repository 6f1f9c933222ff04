"""Choose the float model that training starts from and learns from, by evidence."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

from pipeline.artifacts import KerasModel, Teacher
from pipeline.choices import Baselines
from pipeline.samples import Samples
from pipeline.sections import Section
from pipeline.tasks.spec import TASKS
from pipeline.training.aims import DEFAULT_SHARE
from pipeline.training.fine_tuning import fine_tune
from pipeline.training.held_out import HeldOut
from pipeline.training.keras_io import open_model, save_model, start_tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.tasks.scoring import Gain
    from pipeline.training_config import TrainingConfig
    from pipeline.training_history import TrainingHistory

# Of a teacher that was itself trained on the labels a moment ago.
FINE_TUNED_SHARE = 0.5
MAX_TEST_SAMPLES = 10_000
NAME = "float fine-tuning"


class TeacherConfig(Section):
    """The float model that compression and quantization-aware training start from and learn from.

    Attributes:
        fine_tune: whether it is the given model or the same fine-tuned on the labels; "auto" takes the
            fine-tuned one if it is measurably better on the held-out samples.
        rounds: at most so many trainings, one after another; each must be measurably better than the one
            before, or it is the last and is undone.
    """

    fine_tune: Literal["auto", "always", "never"] = "auto"
    rounds: Annotated[int, Field(ge=1)] = 4


def choose_teacher(
    model: KerasModel,
    data: Dataset,
    *,
    config: TeacherConfig,
    training: TrainingConfig,
    seed: int,
    out: Path,
) -> Teacher:
    """Fine-tune the float model on the labels, and take the better one of the two as the teacher.

    A model that is not at its optimum would otherwise hold its student at its own level. The fine-tuned model
    is also the baseline that shows what of a gain is due to quantization-aware training.

    Args:
        training: that the quantized model will get, so that both are trained alike.

    Raises:
        ToolchainError: TF-MOT cannot run in this process.
    """
    start_tensorflow(seed)
    given = open_model(model.model)
    described = {field.name: getattr(model, field.name) for field in fields(KerasModel)}
    teacher = Teacher(**{**described, "folder": out, "digest": "", "notes": ()}, share=DEFAULT_SHARE)
    held_out = HeldOut.of(data, model)
    no_evidence = config.fine_tune == "auto" and not len(held_out.samples)
    if config.fine_tune == "never" or no_evidence or not _has_labels(model):
        save_model(given, out / "model")
        return teacher
    student = open_model(model.model)
    tuned = _fine_tune(student, given, model, data, held_out, config.rounds, training.on_labels(), seed)
    taken = config.fine_tune == "always" or (tuned.gain is not None and tuned.gain.is_shown)
    save_model(student if taken else given, out / "model")
    share = FINE_TUNED_SHARE if taken else DEFAULT_SHARE
    teacher = replace(teacher, trainings=tuned.trainings, fine_tuned=taken, share=share)
    if tuned.gain is None:
        return teacher
    times = "" if tuned.rounds == 1 else f" in {tuned.rounds} rounds"
    finding = (
        f"fine-tuning the float model on the labels{times} changes its {held_out.metric} by {tuned.gain} on "
        f"{len(held_out.samples):,} held-out samples; the {'fine-tuned' if taken else 'given'} model is the "
        "teacher"
    )
    before, after = (_test_points(network, model, data) for network in (given, student))
    baselines = Baselines(
        metric=held_out.metric, given=before, fine_tuned=after, held_out_gain=tuned.gain.points,
        low=tuned.gain.low, high=tuned.gain.high, rounds=tuned.rounds,
    )  # fmt: skip
    return replace(teacher, baselines=baselines, findings=(finding,))


class _Tuned(NamedTuple):
    """Trainings of the float model, how many of them count, and what these gain on held-out samples."""

    trainings: tuple[TrainingHistory, ...]
    rounds: int
    gain: Gain | None


def _fine_tune(
    student: Any,
    given: Any,
    model: KerasModel,
    data: Dataset,
    held_out: HeldOut,
    rounds: int,
    training: TrainingConfig,
    seed: int,
) -> _Tuned:
    """Train ``student``, which has the weights of ``given``, in rounds for as long as each one helps.

    Without held-out samples there is one round.
    """
    trainings = [fine_tune(NAME, student, model, data, training, seed)]
    if not len(held_out.samples):
        return _Tuned(tuple(trainings), 1, None)
    first, best = held_out.outputs(given), held_out.outputs(student)
    gain, counted = held_out.gain(first, best), 1
    helps = gain is not None and gain.is_shown
    while helps and counted < rounds:
        weights = student.get_weights()
        name = f"{NAME}, round {counted + 1}"
        trainings.append(fine_tune(name, student, model, data, training, seed + counted))
        outputs = held_out.outputs(student)
        more = held_out.gain(best, outputs)
        helps = more is not None and more.is_shown
        if helps:
            best, gain, counted = outputs, held_out.gain(first, outputs), counted + 1
        else:
            student.set_weights(weights)
    return _Tuned(tuple(trainings), counted, gain)


def _has_labels(model: KerasModel) -> bool:
    return all(TASKS[task].aim is not None for task in model.tasks)


def _test_points(network: Any, model: KerasModel, data: Dataset) -> float:
    """Score a model's first output on the test samples, in points; no choice depends on it."""
    test = HeldOut(Samples.of(data, "test", model.preprocessing).choose(MAX_TEST_SAMPLES, seed=0), model)
    return test.score(test.outputs(network)) or 0.0
