"""Choose the float model that training starts from and learns from, by evidence."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

from pipeline.artifacts import KerasModel, Teacher
from pipeline.choices import Baselines
from pipeline.samples import Samples
from pipeline.sections import Section
from pipeline.tasks.spec import TASKS
from pipeline.training.fine_tuning import DEFAULT_SHARE, fine_tune
from pipeline.training.held_out import HeldOut
from pipeline.training.keras_io import open_model, save_model, start_tensorflow

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.config import TrainingConfig

# Of a teacher that was itself trained on the labels a moment ago.
FINE_TUNED_SHARE = 0.5
MAX_TEST_SAMPLES = 10_000


class TeacherConfig(Section):
    """The float model that compression and quantization-aware training start from and learn from.

    Attributes:
        fine_tune: whether it is the given model or the same fine-tuned on the labels; "auto" takes the
            fine-tuned one if it is measurably better on the held-out samples.
    """

    fine_tune: Literal["auto", "always", "never"] = "auto"


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
    history = fine_tune("float fine-tuning", student, model, data, training.on_labels(), seed)
    gain = None
    if len(held_out.samples):
        gain = held_out.gain(held_out.outputs(given), held_out.outputs(student))
    taken = config.fine_tune == "always" or (gain is not None and gain.is_shown)
    save_model(student if taken else given, out / "model")
    share = FINE_TUNED_SHARE if taken else DEFAULT_SHARE
    teacher = replace(teacher, trainings=(history,), fine_tuned=taken, share=share)
    if gain is None:
        return teacher
    finding = (
        f"fine-tuning the float model on the labels changes its {held_out.metric} by {gain} on "
        f"{len(held_out.samples):,} held-out samples; the {'fine-tuned' if taken else 'given'} model is the "
        "teacher"
    )
    before, after = (_test_points(network, model, data) for network in (given, student))
    baselines = Baselines(
        metric=held_out.metric, given=before, fine_tuned=after, held_out_gain=gain.points,
        low=gain.low, high=gain.high,
    )  # fmt: skip
    return replace(teacher, baselines=baselines, findings=(finding,))


def _has_labels(model: KerasModel) -> bool:
    return all(TASKS[task].aim is not None for task in model.tasks)


def _test_points(network: Any, model: KerasModel, data: Dataset) -> float:
    """Score a model's first output on the test samples, in points; no choice depends on it."""
    test = HeldOut(Samples.of(data, "test", model.preprocessing).choose(MAX_TEST_SAMPLES, seed=0), model)
    return test.score(test.outputs(network)) or 0.0
