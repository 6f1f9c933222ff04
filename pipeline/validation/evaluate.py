"""Accuracy: two models' outputs for the same test samples, compared by the metrics of each task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.artifacts import Artifact
from pipeline.tasks.comparison import Comparison  # noqa: TC001 - pydantic reads the annotations
from pipeline.validation.accuracy import Evaluator
from pipeline.validation.pictures import with_pictures

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset
    from pipeline.samples import Samples
    from pipeline.validation.inference import SampleOutputs
    from pipeline.validation.model_under_test import InputSpec, OutputSpec


@dataclass(frozen=True, kw_only=True)
class Accuracy(Artifact):
    """The comparison of each output."""

    found: tuple[Comparison, ...]


def evaluate(
    candidate: SampleOutputs,
    reference: SampleOutputs,
    data: Dataset,
    *,
    inputs: InputSpec,
    outputs: OutputSpec,
    out: Path,
) -> Accuracy:
    """Compare outputs for the first ``candidate.samples`` test samples with those of a reference.

    Raises:
        InputError: the targets do not fit the outputs.
    """
    samples = inputs.samples(data).take(slice(0, candidate.samples))
    found = compare_outputs(candidate, reference, samples, outputs, inputs.seed)
    return Accuracy(folder=out, found=tuple(with_pictures(each, samples) for each in found))


def compare_outputs(
    candidate: SampleOutputs, reference: SampleOutputs, samples: Samples, outputs: OutputSpec, seed: int
) -> tuple[Comparison, ...]:
    """Compare two models output by output, a chunk at a time; errors as ``evaluate``."""
    evaluators = [
        Evaluator(task, seed=seed, output=name, from_logits=from_logits, classes=outputs.classes)
        for task, name, from_logits in zip(outputs.tasks, outputs.names, outputs.from_logits, strict=True)
    ]
    start = 0
    for chunk in samples.chunks():
        place = slice(start, start + len(chunk))
        start += len(chunk)
        first_input = chunk.model_inputs()[0]
        for index, evaluator in enumerate(evaluators):
            evaluator.add(
                reference.real(index, place), candidate.real(index, place), chunk.target(index), first_input
            )
    return tuple(evaluator.finish() for evaluator in evaluators)
