"""Distributions other than the test set's: where does int8 lose more than float does?

Both models answer the same corrupted samples, the clean ones under other class priors, and the user's own
shifted data. What is judged is the excess over what int8 loses on clean samples.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Artifact
from pipeline.corruptions import suite
from pipeline.errors import InputError
from pipeline.progress import track
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.samples import Samples
from pipeline.validation.excess import PrimaryEvaluator
from pipeline.validation.shift_results import EvaluationState, Evidence, ShiftReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Source
    from pipeline.config import ShiftConfig
    from pipeline.runtimes.runtime import Runtime
    from pipeline.validation.inference import SampleOutputs
    from pipeline.validation.model_under_test import InputSpec, OutputSpec

    Outputs = Sequence[NDArray[Any]]
    Answer = Callable[[Sequence[NDArray[Any]]], tuple[Outputs, Outputs]]
    """Maps model inputs (n, ...) to the real outputs (n, ...) of the float and the int8 model."""

    Step = tuple[str, int]
    """A corruption and its severity; "" is the clean samples."""

CHUNK = 500
CLEAN = ("", 0)


@dataclass(frozen=True, kw_only=True)
class Shifts(Artifact):
    """Measure the excess degradation of int8 under every shift."""

    found: ShiftReport


def evaluate_shift(
    model: Source,
    baseline: Source,
    model_outputs: SampleOutputs,
    baseline_outputs: SampleOutputs,
    data: Dataset,
    *shifted: Dataset,
    inputs: InputSpec,
    outputs: OutputSpec,
    config: ShiftConfig,
    out: Path,
) -> Shifts:
    """Compare a model with its float baseline under every shift.

    Args:
        model_outputs: of the model for the whole test set.
        baseline_outputs: of the float model likewise.
        shifted: the user's own data of other distributions, in the order of ``config.sources``.

    Raises: as ``measure_shift``.
    """
    samples, seed = inputs.samples(data), inputs.seed
    before, after = (
        [found.real(index) for index in range(len(outputs.tasks))]
        for found in (baseline_outputs, model_outputs)
    )
    with both_models(host_runtime("litert"), Path(baseline.location), Path(model.location)) as both:
        found = measure_shift(
            samples,
            outputs,
            both,
            config,
            seed=seed,
            own={
                name: Samples.every(other, inputs.preprocessing)
                for name, other in zip(config.sources, shifted, strict=True)
            },
            whole=evaluate_clean(samples, outputs, before, after, seed=seed),
        )
    return Shifts(folder=out, found=found)


@contextmanager
def both_models(runtime: Runtime, baseline: Path, quantized: Path) -> Iterator[Answer]:
    """Open both models, each in a worker of its own, and yield what lets both answer at the same time.

    Raises:
        InputError: the runtime refuses a model, or samples do not fit it.
        StageError: a worker crashed or hung.
    """
    with (
        Session(runtime, baseline) as of_float,
        Session(runtime, quantized) as of_int8,
        ThreadPoolExecutor(2) as both,
    ):

        def answer(inputs: Sequence[NDArray[Any]]) -> tuple[Outputs, Outputs]:
            futures = [both.submit(run_real, session, inputs) for session in (of_float, of_int8)]
            before, after = (future.result() for future in futures)
            return before, after

        yield answer


def measure_shift(
    samples: Samples,
    output_spec: OutputSpec,
    answer: Answer,
    config: ShiftConfig,
    *,
    seed: int,
    own: Mapping[str, Samples] | None = None,
    whole: EvaluationState | None = None,
) -> ShiftReport:
    """Measure both models under every shift; ``ShiftReport.with_verdicts`` gives the verdicts.

    Args:
        samples: the test set; at most ``config.samples`` of it are chosen by ``seed``.
        output_spec: how each output is judged.
        answer: what lets both models answer, as ``both_models`` gives it.
        config: which shifts and severities.
        seed: of the choice, the corruptions and the intervals.
        own: the user's shifted data, by name.
        whole: of ``evaluate_clean``, where more than the chosen samples were answered: class priors take it.

    Raises:
        ConfigError: a shift's name is not known.
        InputError: there are no clean samples or they cannot be judged, or own data does not fit the model.
        StageError: a worker crashed or hung.
    """
    chosen, own = samples.choose(config.samples, seed), own or {}
    if not len(chosen):
        message = "no samples to shift; give at least one test sample"
        raise InputError(message)
    given = suite.describe(_raws(next(chosen.chunks(CHUNK))), chosen.preprocessing)
    names, left_out = suite.choose(given, output_spec.tasks, config.shifts)
    severities = sorted(set(config.severities))
    corrupted = {
        name: {level: EvaluationState(_evaluators(output_spec, seed)) for level in severities}
        for name in names
    }
    steps = [CLEAN, *((name, level) for name in names for level in severities)]
    clean = EvaluationState(_evaluators(output_spec, seed))
    judged_own = {name: EvaluationState(_evaluators(output_spec, seed)) for name in own}
    total = len(steps) * len(chosen) + sum(map(len, own.values()))
    with track("shift", total, "samples") as advance:
        for (name, level), chunk, inputs in _ahead(_corrupted(chosen, given, steps, seed)):
            state = corrupted[name][level] if name else clean
            _add(state, answer, chunk, inputs, logits_from=clean if name else None)
            clean.raise_problem()
            advance(len(chunk), name.replace("_", " "))
        for name, shifted in own.items():
            for chunk in shifted.chunks(CHUNK):
                _add(judged_own[name], answer, chunk, chunk.model_inputs(), logits_from=clean)
                advance(len(chunk), name)
    evidence = Evidence(clean, whole or clean, corrupted, judged_own)
    return evidence.report(seed=seed, left_out=left_out)


def evaluate_clean(
    samples: Samples, output_spec: OutputSpec, baseline: Outputs, quantized: Outputs, *, seed: int
) -> EvaluationState:
    """Count answers that both models gave before.

    Args:
        samples: that were answered.
        output_spec: how each output is judged.
        baseline: for each output of the float model its real values (n, ...).
        quantized: of the int8 model likewise.
        seed: of the intervals.

    Raises:
        InputError: they cannot be judged.
    """
    state, start = EvaluationState(_evaluators(output_spec, seed)), 0
    for chunk in samples.chunks():
        place = slice(start, start + len(chunk))
        before, after = ([values[place] for values in outputs] for outputs in (baseline, quantized))
        _count(state, chunk, chunk.model_inputs()[0], before, after)
        start += len(chunk)
    state.raise_problem()
    return state


def _evaluators(output_spec: OutputSpec, seed: int) -> list[PrimaryEvaluator]:
    settings = zip(output_spec.tasks, output_spec.names, output_spec.from_logits, strict=True)
    return [
        PrimaryEvaluator(task, seed=seed, output=name, from_logits=from_logits, classes=output_spec.classes)
        for task, name, from_logits in settings
    ]


def _add(
    state: EvaluationState,
    answer: Answer,
    chunk: Samples,
    inputs: list[NDArray[Any]],
    logits_from: EvaluationState | None,
) -> None:
    """Run both models on a chunk and count it; ``logits_from`` says which outputs are logits."""
    if state.problem:
        return
    for index, evaluator in enumerate(state.evaluators):
        if logits_from is not None:
            evaluator.set_logits(logits_from.evaluators[index].is_logits)
    _count(state, chunk, inputs[0], *answer(inputs))


def _count(
    state: EvaluationState, chunk: Samples, inputs: NDArray[Any], baseline: Outputs, quantized: Outputs
) -> None:
    for index, evaluator in enumerate(state.evaluators):
        try:
            evaluator.add(baseline[index], quantized[index], chunk.target(index), inputs)
        except InputError as error:
            state.problem = str(error)
    state.samples += len(chunk)


def _raws(chunk: Samples) -> list[NDArray[Any]]:
    return [chunk.raw(index) for index in range(len(chunk.inputs))]


def _corrupted(
    chosen: Samples, given: Sequence[suite.Given], steps: Sequence[Step], seed: int
) -> Iterator[tuple[Step, Samples, list[NDArray[Any]]]]:
    """Yield of every chunk and step the samples, and what the models take of them."""
    start = 0
    for chunk in chosen.chunks(CHUNK):
        raws = _raws(chunk)
        for name, level in steps:
            shifted = suite.corrupt(raws, given, name, level, (seed, start)) if name else raws
            pairs = zip(chosen.preprocessing, shifted, strict=True)
            yield (name, level), chunk, [transform.apply(raw) for transform, raw in pairs]
        start += len(chunk)


def _ahead(
    items: Iterator[tuple[Step, Samples, list[NDArray[Any]]]],
) -> Iterator[tuple[Step, Samples, list[NDArray[Any]]]]:
    """Make the next item in a thread while this one is worked on."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item
