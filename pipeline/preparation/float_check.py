"""Check that the float model is better than the best constant answer.

All later steps compare with the float model. If labels, preprocessing or data differ from those that it was
trained with, a build would otherwise train and release a broken model.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import FloatCheck
from pipeline.errors import InputError
from pipeline.progress import track
from pipeline.runtimes.evaluation import infer_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.samples import Samples
from pipeline.tasks.label_order import has_columns, is_beyond_luck, label_order, put_in_order
from pipeline.tasks.scoring import against_chance, compared, score_of
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.task_rules import Task
    from pipeline.artifacts import Baseline, Dataset, PreparedModel, Preprocessing
    from pipeline.choices import InputFinding
    from pipeline.tasks.standing import Standard

CHECKED_SAMPLES = 1000  # of each split
MAX_VALUES = 20_000_000  # per output, over all these samples
# With fewer test samples a good model may look bad by chance: training samples are added.
FEW_TEST_SAMPLES = 50
MANY_TEST_SAMPLES = 200
MAX_TRIED = 2  # lines
MAX_RENUMBERED = 20
ALLOW = "to build anyway, use --allow-chance or [gates] allow_chance = true"


def check_float(
    baseline: Baseline, model: PreparedModel, data: Dataset, *, allow_chance: bool, out: Path
) -> FloatCheck:
    """Compare the float model with the best constant answer, and its classes with the labels' order.

    Args:
        allow_chance: warn instead of stopping the build.

    Raises:
        InputError: an output is no better than chance, or another order of the labels or other preprocessing
            fits far better; the message names what was tried and what to do.
    """
    names = tuple(port.name if len(model.outputs) > 1 else "" for port in model.outputs)
    with track("check_float"):
        answered = Answered.of(baseline.tflite, data, model.preprocessing, names, model.from_logits)
        problems = (*answered.misordered(), *answered.at_chance(_tried(model)))
        problems = problems or unsuitable(model.better_settings)
    if problems and not allow_chance:
        msg = f"{problems[0]}; {ALLOW}"
        raise InputError(msg)
    standards = answered.standards()
    return FloatCheck(
        notes=(
            *problems,
            *answered.perhaps_misordered(),
            *(doubt(found) for found in standards if found.standing == "unclear"),
        ),
        findings=tuple(f"float model: {found}" for found in standards if found.standing == "better"),
    )


def _tried(model: PreparedModel) -> tuple[str, ...]:
    """Return what was tried for the inputs: settings that fit the model, else the findings, each once."""
    if model.better_settings:
        return model.better_settings[:MAX_TRIED]
    inputs: dict[tuple[str, str], list[InputFinding]] = {}
    for found in model.input_findings:
        inputs.setdefault((found.chosen, found.tried), []).append(found)
    return tuple(
        f"input {found.input!r} and {len(others)} more: {found.chosen}" if others else str(found)
        for found, *others in list(inputs.values())[:MAX_TRIED]
    )


def unsuitable(better: Sequence[str]) -> tuple[str, ...]:
    """Return a message for each setting that fits the model far better than the chosen preprocessing."""
    return tuple(f"the preprocessing does not suit the model: {line}" for line in better)


def doubt(found: Standard) -> str:
    """Return a warning that a score is hardly above chance."""
    hint = f": {found.hint}" if found.hint else ""
    return f"the float model is hardly better than chance: {found}{hint}"


class Answered:
    """Outputs of a .tflite file for samples of both splits.

    Args:
        data: the data set of the samples.
        names: of the outputs; "" if there is only one.
        from_logits: whether each output gives logits; None if unknown.
        splits: for "test" and "train" the samples and the outputs as real numbers.
    """

    def __init__(
        self,
        data: Dataset,
        names: tuple[str, ...],
        from_logits: tuple[bool | None, ...],
        splits: dict[str, tuple[Samples, list[NDArray[Any]]]],
    ) -> None:
        self.data, self.names, self.from_logits, self._splits = data, names, from_logits, splits

    @classmethod
    def of(
        cls,
        file: Path,
        data: Dataset,
        preprocessing: Preprocessing,
        names: tuple[str, ...],
        from_logits: tuple[bool | None, ...],
    ) -> Answered:
        """Run at most ``CHECKED_SAMPLES`` samples of each split on the host's LiteRT.

        Raises:
            InputError: the runtime refuses the file.
            StageError: the runtime crashed or hung.
        """
        splits = {}
        for split in ("test", "train"):
            samples = Samples.of(data, split, preprocessing).choose(_count(data), seed=0)
            if len(samples):
                splits[split] = (samples, _answers(file, samples))
        return cls(data, names, from_logits, splits)

    def standards(self) -> tuple[Standard, ...]:
        """Return each output's standing on test samples, and on training samples if those are few."""
        return tuple(found for found in map(self._standard, range(len(self.names))) if found is not None)

    def at_chance(self, tried: tuple[str, ...]) -> tuple[str, ...]:
        """Return a message for each output that is no better than chance, with what was tried."""
        advice = (
            "set [preprocessing] as in training (scale, mean, std, channel_order), and check that the labels "
            "are right and in the model's order ([data] labels)"
        )
        lines = []
        for index in range(len(self.names)):
            found = self._standard(index)
            if found is not None and found.standing == "at chance":
                maybe = [line for line, is_sure in (self._orders[index],) if line and not is_sure]
                reason = "; ".join(filter(None, (str(found), found.hint, *tried, *maybe)))
                lines.append(f"the float model is no better than chance: {reason}; {advice}")
        return tuple(lines)

    def misordered(self) -> tuple[str, ...]:
        """Return a message with the right order for each output that surely fits another label order."""
        return tuple(line for line, is_sure in self._orders if line and is_sure)

    def perhaps_misordered(self) -> tuple[str, ...]:
        """Return a message for each output that perhaps fits another label order."""
        return tuple(line for line, is_sure in self._orders if line and not is_sure)

    def labels_in_order(self) -> tuple[str, ...]:
        """Return the class names in the model's order, if that of the labels is surely another; else ()."""
        for index, (line, is_sure) in enumerate(self._orders):
            found = self._answers_and_targets(index)
            if not (line and is_sure and found):
                continue
            order = label_order(self.data.tasks[index], *found, from_logits=self.from_logits[index])
            if order is not None and self._can_be_named(index, len(order)):
                return self._names_in(order)
        return ()

    @cached_property
    def _orders(self) -> tuple[tuple[str, bool], ...]:
        """The message about another label order for each output ("" if none), and whether it is sure."""
        return tuple(map(self._misordered, range(len(self.names))))

    def _standard(self, index: int) -> Standard | None:
        found = {split: self._on(split, index) for split in self._splits}
        test, train = found.get("test"), found.get("train")
        if test is None or train is None:
            return test or train
        if test.standing == "unclear" and test.samples < MANY_TEST_SAMPLES and train.standing == "at chance":
            return replace(test, standing="at chance")
        if test.standing == "at chance" and test.samples < FEW_TEST_SAMPLES and train.standing == "better":
            return replace(test, standing="unclear", hint=f"on training samples it has {train.score:.1%}")
        if test.standing == "at chance" and train.standing == "better":
            return replace(test, hint=test.hint or f"on training samples it has {train.score:.1%}")
        return test

    def _on(self, split: str, index: int) -> Standard | None:
        samples, outputs = self._splits[split]
        if not np.isfinite(outputs[index]).all():
            return None  # the gate "finite outputs" reports this
        inputs, task = samples.model_inputs()[0], self.data.tasks[index]
        found = against_chance(
            task, outputs[index], inputs, samples.target(index), from_logits=self.from_logits[index]
        )
        if found is None:
            return None
        return replace(found, output=self.names[index], of="test " if split == "test" else "training ")

    def _misordered(self, index: int) -> tuple[str, bool]:
        task = self.data.tasks[index]
        found = self._answers_and_targets(index)
        if found is None:
            return "", False
        outputs, target = found
        logits = self.from_logits[index]
        order = label_order(task, outputs, target, from_logits=logits)
        if order is None:
            return "", False
        standard = self._standard(index)
        works = standard is not None and standard.standing != "at chance"
        is_sure = is_beyond_luck(task, outputs, target, order, works=works, from_logits=logits)
        perhaps = "" if is_sure else "perhaps "
        before, after = (
            _right(task, outputs, labels, logits) for labels in (target, put_in_order(task, target, order))
        )
        of = f"output {self.names[index]!r}: " if self.names[index] else ""
        if TASKS[task].predict_classes is None:
            scores = (
                f"as they are, R2 is {before:.1%} on {len(outputs):,} samples, in another order {after:.1%}"
            )
            what = f"the columns of the targets are in another order than the model's outputs: {scores}"
        else:
            what = (
                "the labels are in another order than the model's classes: as they are numbered, "
                f"{before:.1%} of {len(outputs):,} samples are right, in another order {after:.1%}"
            )
        return f"{of}{perhaps}{what}; {self._advice(index, order)}", is_sure

    def _answers_and_targets(self, index: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return all outputs and targets of an output; None if there are none that are finite."""
        pairs = [(outputs[index], samples.target(index)) for samples, outputs in self._splits.values()]
        given = [
            (found, target) for found, target in pairs if target is not None and np.isfinite(found).all()
        ]
        if not given:
            return None
        outputs, target = (np.concatenate(parts) for parts in zip(*given, strict=True))
        return outputs, target

    def _can_be_named(self, index: int, count: int) -> bool:
        """Return whether ``labels`` can put the classes of an output in another order."""
        return self._has_text(index, count) and not self._follows_classes(index)

    def _has_text(self, index: int, count: int) -> bool:
        by_column = has_columns(self.data.tasks[index])
        return self.data.text_labels and not by_column and self._named(index, count)

    def _follows_classes(self, index: int) -> bool:
        """Return whether an earlier output has the labels."""
        return any(TASKS[task].of_classes for task in self.data.tasks[:index])

    def _names_in(self, order: tuple[int, ...]) -> tuple[str, ...]:
        names = [f"class {at}" for at in range(len(order))]
        for name, place in zip(self.data.classes, order, strict=False):
            names[place] = name
        return tuple(names)

    def _advice(self, index: int, order: tuple[int, ...]) -> str:
        by_column = has_columns(self.data.tasks[index])
        if self._has_text(index, len(order)):
            names = self._names_in(order)
            if self._follows_classes(index):
                numbered = ", ".join(f"{name} as {at}" for at, name in enumerate(names))
                return f"write its labels as numbers: {numbered}"
            listed = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
            flag = f", or give --labels {shlex.quote(','.join(names))}"
            flag = flag if all(name.isprintable() and "," not in name for name in names) else ""
            return f"set [data] labels = [{listed}]{flag}"
        moved = [f"{label} -> {place}" for label, place in enumerate(order) if label != place]
        what = "reorder the columns of targets" if by_column else "renumber the labels"
        some = ", ..." if len(moved) > MAX_RENUMBERED else ""
        return f"{what}: {', '.join(moved[:MAX_RENUMBERED])}{some}"

    def _named(self, index: int, count: int) -> bool:
        """Return whether the class names belong to this output: the first with that number of classes."""
        _, outputs = next(iter(self._splits.values()))
        of_classes = [at for at, task in enumerate(self.data.tasks) if TASKS[task].of_classes]
        same = [at for at in of_classes if max(outputs[at].shape[-1], 2) == len(self.data.classes)]
        return len(self.data.classes) <= count and index == (same or of_classes)[0]


def _right(task: Task, outputs: NDArray[Any], target: NDArray[Any], from_logits: bool | None) -> float:
    if TASKS[task].predict_classes is None:
        return score_of(task, outputs, outputs, target) or 0.0
    return float(np.equal(*compared(task, outputs, target, from_logits)).mean())


def _count(data: Dataset) -> int:
    targets = [data.target(index) for index in range(len(data.tasks))]
    shapes = [np.load(path, mmap_mode="r").shape[1:] for path in targets if path.exists()]
    values = max([int(np.prod(shape)) for shape in (*shapes, *data.shapes)], default=1)
    return max(2, min(CHECKED_SAMPLES, MAX_VALUES // max(values, 1)))


def _answers(file: Path, samples: Samples) -> list[NDArray[Any]]:
    chunks = (chunk.model_inputs() for chunk in samples.chunks())
    return infer_real(host_runtime("litert"), file, chunks)
