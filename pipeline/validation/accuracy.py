"""Accuracy of the int8 model against its float baseline, on the same samples.

Both models run every sample, and the comparison is paired, which is much more precise than comparing two
scores. No runtime is needed here; the input is the outputs of both models.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.tasks.comparison import Channel, Comparison
from pipeline.tasks.evidence import Accumulator, Chunk, merge
from pipeline.tasks.probabilities import are_probabilities
from pipeline.tasks.spec import TASKS
from pipeline.validation.resampling import f1_changes, with_intervals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from models.task_rules import Task

BOOTSTRAP = 2000

# The parts of a comparison that have intervals.
DRAWN = {"estimates", "classes", "class_counts", "channels"}


class Evaluator:
    """Compares two models on samples that come in chunks; keeps only the counts of each chunk.

    Args:
        task: task of the output.
        seed: of the bootstrap.
        output: its name; "" if the model has one output.
        from_logits: whether outputs are logits; if None, inferred from the float model's first chunk.
        bootstrap: number of resamples for the intervals.
        classes: names of the classes, labels or numbers that the output has.
    """

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        output: str = "",
        from_logits: bool | None = None,
        bootstrap: int = BOOTSTRAP,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.task, self.output, self.classes = task, output, classes
        self.spec = TASKS[task]
        self.seed, self.bootstrap = seed, bootstrap
        self._from_logits, self._told = from_logits, from_logits is not None
        self._kept: list[Accumulator] = []
        self._samples = 0

    def add(
        self,
        baseline: NDArray[Any],
        quantized: NDArray[Any],
        targets: NDArray[Any] | None = None,
        inputs: NDArray[Any] | None = None,
    ) -> None:
        """Count a chunk.

        Args:
            baseline: the float model's outputs (n, *output_shape).
            quantized: the int8 model's, dequantized, of the same shape.
            targets: as ``models.task_rules`` says for the task; None if it has none.
            inputs: the models' float input (n, ...); needed where the output is held to it.

        Raises:
            InputError: if shapes disagree, values are not finite, or labels name no class.
        """
        with _named(self.output):
            chunk = self._checked(baseline, quantized, targets, inputs)
            self._kept.append(self.spec.reduce(chunk))
        self._samples += len(baseline)

    def finish(self) -> Comparison:
        """Evaluate all counted chunks.

        Raises:
            InputError: there are no samples, or none that the task can be evaluated on.
        """
        if not self._kept:
            message = "no samples to compare the models on; give at least one"
            raise InputError(message)
        with _named(self.output):
            found = self.spec.evaluate(merge(self._kept), self.classes)
        drawn = {"seed": self.seed, "bootstrap": self.bootstrap}
        of_channels = tuple(channel.explained for channel in found.channels)
        metrics = with_intervals((*found.estimates, *of_channels), **drawn)
        count, classes = len(found.estimates), found.classes
        if found.class_counts is not None:
            changes = f1_changes(found.class_counts, self._samples, **drawn)
            classes = tuple(replace(score, f1_change=f1) for score, f1 in zip(classes, changes, strict=True))
        described = {name: value for name, value in vars(found).items() if name not in DRAWN}
        return Comparison(
            output=self.output,
            task=self.task,
            samples=self._samples,
            metrics=metrics[:count],
            classes=classes,
            channels=tuple(
                Channel(name=metric.name, spread=channel.spread, explained=metric)
                for metric, channel in zip(metrics[count:], found.channels, strict=True)
            ),
            **described,
        )

    def _checked(
        self,
        baseline: NDArray[Any],
        quantized: NDArray[Any],
        targets: NDArray[Any] | None,
        inputs: NDArray[Any] | None,
    ) -> Chunk:
        samples = len(baseline)
        targets = None if targets is None else np.asarray(targets)
        if targets is None and self.spec.needs_targets:
            message = f'the task "{self.task}" needs labels or targets, and there are none'
            raise InputError(message)
        paired = baseline.shape == quantized.shape and samples > 0 and baseline.size > 0
        for other in (targets, inputs):
            paired = paired and (other is None or len(other) == samples)
        if not paired:
            shapes = f"float {baseline.shape}, int8 {quantized.shape}"
            shapes += "" if targets is None else f", {len(targets)} labels"
            message = (
                f"outputs and labels do not pair up: {shapes}; give both models the same labelled samples"
            )
            raise InputError(message)
        self._check_finite("float model's output", baseline)
        self._check_finite("int8 model's output", quantized)
        if targets is not None:
            self._check_finite("target", targets)
        if inputs is not None:
            self._check_finite("input", inputs)
        if self.spec.of_classes and not self.spec.has_positions:
            baseline, quantized = _vectors(baseline), _vectors(quantized)
            targets = targets if targets is None else _vectors(targets)
            if targets is not None and self.spec.class_ids:
                targets = _labels(targets)
        if self.spec.only_normal:
            targets = None if targets is None else _labels(_vectors(targets))
        return Chunk(baseline, quantized, targets, inputs, self._are_logits(baseline, targets))

    def _check_finite(self, what: str, values: NDArray[Any]) -> None:
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            row = self._samples + int(np.argmin(finite))
            message = f"the {what} for sample {row} is not finite; check the sample and the model"
            raise InputError(message)

    def _are_logits(self, baseline: NDArray[Any], targets: NDArray[Any] | None) -> bool:
        if not self.spec.of_classes:
            return False
        exclusive = not self.spec.independent and baseline.shape[-1] > 1
        if targets is not None and self.spec.has_positions and baseline.shape == targets.shape:
            exclusive = False
        logits = not are_probabilities(baseline, exclusive=exclusive)
        if self._from_logits is None:
            self._from_logits = logits
        if logits and not self._from_logits and not self._told:
            message = "outputs begin as probabilities and go on as logits; say which of them the model gives"
            raise InputError(message)
        return self._from_logits


@contextmanager
def _named(output: str) -> Iterator[None]:
    """Put the output's name before an error, if it has one."""
    try:
        yield
    except InputError as error:
        message = f"output {output}: {error}" if output else str(error)
        raise InputError(message) from None


def _vectors(values: NDArray[Any]) -> NDArray[Any]:
    """Return vectors with extra dimensions of 1 as (n, elements)."""
    if sum(size > 1 for size in values.shape[1:]) > 1:
        message = f"outputs or labels of {values.shape[1:]} a sample are more than one list; "
        raise InputError(message + 'a class for each position is the task "segmentation"')
    return values.reshape(len(values), -1)


def _labels(values: NDArray[Any]) -> NDArray[Any]:
    """Return labels (n,)."""
    if values.shape[1] != 1:
        message = f"{values.shape[1]} labels a sample where the task has one; give class ids"
        raise InputError(message)
    return values[:, 0]
