"""Choose the float model that training starts from and learns from, by evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

    import numpy as np
    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset
    from pipeline.tasks.scoring import Gain
    from pipeline.training_config import TrainingConfig
    from pipeline.training_history import TrainingHistory

# Of a teacher that was itself trained on the labels a moment ago.
FINE_TUNED_SHARE = 0.5
MAX_TEST_SAMPLES = 10_000
CHANCE = 2.0
"""Standard errors that two scores may differ by."""
NAME = "float fine-tuning"


class TeacherConfig(Section):
    """The float model that compression and quantization-aware training start from and learn from.

    Attributes:
        fine_tune: whether it is the given model or the same fine-tuned on the labels; "auto" takes the
            fine-tuned one if it is measurably better on the held-out samples, or else on a third of the test
            samples. These are held out then instead of the others, also where that model remembers those.
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
    judges = [data] if config.fine_tune == "always" else [data, data.divided(set_aside=True)]
    judges = [each for each in judges if each.count("held_out")]
    no_evidence = config.fine_tune == "auto" and not judges
    if config.fine_tune == "never" or no_evidence or not _has_labels(model):
        save_model(given, out / "model")
        return teacher
    student = open_model(model.model)
    trainings = [fine_tune(NAME, student, model, data, training.on_labels(), seed)]
    found = _judged(judges, model, given, student)
    if found:
        trainings += _more_rounds(student, model, found[-1], config.rounds, training.on_labels(), seed)
    taken = config.fine_tune == "always" or (len(found) > 0 and found[-1].gain.is_shown)
    save_model(student if taken else given, out / "model")
    teacher = replace(
        teacher, trainings=tuple(trainings), fine_tuned=taken,
        share=FINE_TUNED_SHARE if taken else DEFAULT_SHARE,
    )  # fmt: skip
    if not found:
        return teacher
    remembers = not taken and len(found) > 1 and _remembers(*found)
    tested = found[-1].data if taken or remembers else data
    before, after = (_test_points(network, model, tested) for network in (given, student))
    baselines = _baselines(found[-1 if taken else 0], before, after, tested)
    return replace(teacher, baselines=baselines, findings=(_finding(found, taken, remembers),))


@dataclass
class _Judged:
    """A student beside the given model on the samples that one data set holds out.

    Attributes:
        given: the given model's outputs (n, ...).
        student: those of the student after the last round that counts.
        gain: of the student over the given model.
        rounds: how many of its trainings count.
    """

    data: Dataset
    held_out: HeldOut
    given: NDArray[np.float32]
    student: NDArray[np.float32]
    gain: Gain
    rounds: int = 1

    @property
    def given_points(self) -> float:
        """The given model's score; there is one where there is a gain."""
        return self.held_out.score(self.given) or 0.0


def _judged(judges: list[Dataset], model: KerasModel, given: Any, student: Any) -> list[_Judged]:
    """Compare both models on one kind of held-out samples after another, until one shows a gain.

    The given model was usually trained on the samples that are held out of its training data. A gain that
    they show is real; where they show none, test samples decide.
    """
    found: list[_Judged] = []
    for data in judges:
        held_out = HeldOut.of(data, model)
        before, after = held_out.outputs(given), held_out.outputs(student)
        gain = held_out.gain(before, after)
        if gain is None:
            break
        found.append(_Judged(data, held_out, before, after, gain))
        if gain.is_shown:
            break
    return found


def _more_rounds(
    student: Any, model: KerasModel, judged: _Judged, rounds: int, training: TrainingConfig, seed: int
) -> list[TrainingHistory]:
    """Train the student once more for as long as each round helps; the last one is undone if it does not."""
    trainings: list[TrainingHistory] = []
    if not judged.gain.is_shown:
        return trainings
    while judged.rounds < rounds:
        weights = student.get_weights()
        name = f"{NAME}, round {judged.rounds + 1}"
        trainings.append(fine_tune(name, student, model, judged.data, training, seed + judged.rounds))
        outputs = judged.held_out.outputs(student)
        more = judged.held_out.gain(judged.student, outputs)
        if more is None or not more.is_shown:
            student.set_weights(weights)
            break
        judged.gain = judged.held_out.gain(judged.given, outputs) or judged.gain
        judged.student, judged.rounds = outputs, judged.rounds + 1
    return trainings


def _baselines(judged: _Judged, given: float, fine_tuned: float, tested: Dataset) -> Baselines:
    gain = judged.gain
    return Baselines(
        metric=judged.held_out.metric, given=given, fine_tuned=fine_tuned, held_out_gain=gain.points,
        low=gain.low, high=gain.high, rounds=judged.rounds,
        set_aside=tested.count("held_out") if tested.is_set_aside else 0,
    )  # fmt: skip


def _remembers(judged: _Judged, fresh: _Judged) -> bool:
    """Return whether the given model makes less than half as many errors where it was trained.

    Where it knows the held-out samples so well, anything that is trained further seems worse on them.
    """
    if not TASKS[judged.held_out.model.tasks[0]].of_classes:  # other scores are no shares of right answers
        return False
    errors = [1 - each.given_points / 100 for each in (judged, fresh)]
    counts = [len(each.held_out.samples) for each in (judged, fresh)]
    spread = math.sqrt(sum(p * (1 - p) / count for p, count in zip(errors, counts, strict=True)))
    return errors[0] < errors[1] / 2 and errors[1] - errors[0] > CHANCE * spread


def _finding(found: list[_Judged], taken: bool, remembers: bool) -> str:
    last = found[-1]
    changes = [
        f"by {each.gain} on {each.data.count('held_out'):,} "
        f"{'test' if each.data.is_set_aside else 'held-out'} samples"
        for each in found
    ]
    times = "" if last.rounds == 1 else f" in {last.rounds} rounds"
    if len(found) > 1:
        changes[-1], times = changes[-1] + times, ""
    end = ""
    if remembers:
        known, fresh = (each.given_points for each in found)
        end = f", which remembers the held-out samples ({known:.1f} points against {fresh:.1f})"
    if remembers or (taken and last.data.is_set_aside):
        end += "; these test samples are held out from now on, and not tested on"
    return (
        f"fine-tuning the float model on the labels{times} changes its {last.held_out.metric} "
        f"{' and '.join(changes)}; the {'fine-tuned' if taken else 'given'} model is the teacher{end}"
    )


def _has_labels(model: KerasModel) -> bool:
    return all(TASKS[task].aim is not None for task in model.tasks)


def _test_points(network: Any, model: KerasModel, data: Dataset) -> float:
    """Score a model's first output on the test samples, in points; no choice depends on it."""
    test = HeldOut(Samples.of(data, "test", model.preprocessing).choose(MAX_TEST_SAMPLES, seed=0), model)
    return test.score(test.outputs(network)) or 0.0
