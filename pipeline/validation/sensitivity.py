"""Which layers of an int8 model lose accuracy: each layer's error, and the model's with it alone rounded.

The int8 file is compared with the same operators in float, tensor by tensor. What a single layer does to the
model's outputs is simulated: a float file in which only this layer rounds its weights and outputs, and one
in which all layers do but this one (``pipeline.flatbuffer.simulation``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.flatbuffer.layers import merged_layers, user_layers
from pipeline.flatbuffer.simulation import exact_constants, require_simulated, simulate
from pipeline.progress import track
from pipeline.runtimes.evaluation import infer_files
from pipeline.runtimes.runtime import host_runtime
from pipeline.tasks.comparison import Metric  # noqa: TC001 - pydantic reads the annotations
from pipeline.tasks.spec import TASKS
from pipeline.validation.accuracy import Evaluator
from pipeline.validation.delegation import multiply_accumulates
from pipeline.validation.layer_errors import LayerError, grouped, layer_errors, to_db
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Source
    from pipeline.flatbuffer import TfliteModel
    from pipeline.samples import Samples
    from pipeline.validation.layer_errors import Group
    from pipeline.validation.model_under_test import InputSpec, OutputSpec

    Arrays = list[NDArray[Any]]
    Values = Mapping[int, NDArray[np.float32]]

MAX_SAMPLES = 512
MIN_SAMPLES = 32
MAX_MACS = 2_000_000_000_000
"""Multiply-accumulates of all simulated inferences: large models are run on fewer samples."""
MAX_INPUT_BYTES = 256 << 20
BOOTSTRAP = 500


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What the model's outputs lose.

    Attributes:
        sqnr_db: signal-to-quantization-noise ratio of the outputs, in dB; None if they are equal to float.
        metrics: the primary metric of each output, float against this; empty without targets.
    """

    sqnr_db: float | None
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """One layer.

    Attributes:
        layer: the Keras layer of the user's model; of an input, its name.
        place: its place in the order of execution.
        is_input: whether it is one of the model's inputs.
        operators: names of the operators that it became.
        merged: other layers of the user's model that the converter merged into these operators.
        error: of its output and inputs; None if nothing that it gives to others is in steps.
        only_rounded: the model in float, but this layer.
        only_float: the model in int8, but this layer.
    """

    layer: str
    place: int
    is_input: bool
    operators: tuple[str, ...]
    merged: tuple[str, ...]
    error: LayerError | None
    only_rounded: Effect
    only_float: Effect


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Artifact):
    """All layers, those first that alone cost the outputs most.

    Attributes:
        sha256: of the int8 file.
        samples: on which all was measured.
        float_weights: how many constants were known before they were rounded; of the others, the error
            of the weights themselves is left out.
        int8: the int8 file.
        simulated: the float file in which every layer rounds.
        equal: share of the outputs in which the simulation and the int8 file agree.
        largest_steps: their largest difference, in steps of the output.
    """

    sha256: str
    samples: int
    float_weights: int
    int8: Effect
    simulated: Effect
    equal: float
    largest_steps: float
    layers: tuple[LayerSensitivity, ...]


@dataclass(frozen=True)
class Given:
    """What the layers are measured on.

    Attributes:
        values: for each input real numbers (n, ...), or indices.
        evaluate: compares float outputs with others, each (n, ...); gives a metric for each output.
    """

    values: Arrays
    evaluate: Callable[[Arrays, Arrays], tuple[Metric, ...]] = lambda _, __: ()


def measure_sensitivity(
    model: Source,
    data: Dataset,
    original: Source | None = None,
    *,
    inputs: InputSpec,
    outputs: OutputSpec,
    layers: dict[str, str],
    samples: int | None,
    out: Path,
) -> Sensitivity:
    """Measure every layer of an int8 file on test samples.

    Args:
        original: the float file that it was quantized from, if known.
        layers: as for ``user_layers``.
        samples: how many; None for up to ``MAX_SAMPLES``, fewer of a large model.

    Raises:
        InputError: the file cannot be simulated, or the float file is of another model.
        StageError: a runtime crashed or hung.
    """
    flat = ModelUnderTest.of(model).flat
    require_simulated(flat, model.location)
    groups = grouped(flat, user_layers(flat, layers))
    exact = exact_constants(flat, ModelUnderTest.of(original).flat) if original else {}
    chosen = inputs.samples(data).choose(samples or affordable(flat, len(groups)), inputs.seed)
    return sensitivity_of(flat, exact, groups, given_samples(chosen, outputs, inputs.seed), layers, out)


def affordable(flat: TfliteModel, layers: int, most: int = MAX_SAMPLES) -> int:
    """Return how many samples to measure, at most ``most``, by the arithmetic and the memory they need."""
    macs = sum(multiply_accumulates(operator, flat) for operator in flat.operators)
    size = sum(4 * tensor.elements for tensor in flat.inputs)
    within = min(MAX_MACS // max(macs * 2 * layers, 1), MAX_INPUT_BYTES // max(size, 1))
    return min(most, max(MIN_SAMPLES, within))


def given_samples(samples: Samples, outputs: OutputSpec, seed: int) -> Given:
    """Return samples, and how outputs for them are evaluated."""
    targets = [samples.target(index) for index in range(len(outputs.tasks))]
    values = samples.model_inputs()
    rows = list(zip(outputs.tasks, outputs.names, outputs.from_logits, targets, strict=True))

    def evaluate(right: Arrays, found: Arrays) -> tuple[Metric, ...]:
        metrics = []
        for index, (task, name, from_logits, target) in enumerate(rows):
            if target is None and TASKS[task].needs_targets:
                continue
            evaluator = Evaluator(
                task, seed=seed, output=name, from_logits=from_logits, bootstrap=BOOTSTRAP,
                classes=outputs.classes,
            )  # fmt: skip
            evaluator.add(right[index], found[index], target, values[0])
            metrics.append(evaluator.finish().primary)
        return tuple(metrics)

    return Given(values, evaluate)


def sensitivity_of(
    flat: TfliteModel,
    exact: Values,
    groups: tuple[Group, ...],
    given: Given,
    layers: Mapping[str, str],
    out: Path,
) -> Sensitivity:
    """Measure every group of an int8 file.

    Args:
        flat: a file that passes ``require_simulated``.
        exact: its constants before they were rounded.
        groups: its layers and inputs.
        layers: as for ``user_layers``.

    Raises:
        StageError: a runtime crashed or hung.
    """
    errors = layer_errors(flat, exact, groups, given.values)
    whole: dict[str, Arrays] = {}
    models = {
        "int8": lambda: flat.content,
        "float": _rounding(flat, exact, ()),
        "simulated": _rounding(flat, exact, groups),
    }
    infer_files(host_runtime("litert"), models, given.values, whole.__setitem__)
    effects = _effects(flat, exact, groups, given, whole["float"])
    rows = [
        LayerSensitivity(
            layer=group.layer,
            place=place,
            is_input=group.is_input,
            operators=tuple(dict.fromkeys(flat.operators[at].name for at in group.operators)),
            merged=_merged(flat, group, layers),
            error=error,
            only_rounded=effects["rounded", place],
            only_float=effects["float", place],
        )
        for place, (group, error) in enumerate(zip(groups, errors, strict=True))
    ]
    equal, steps = _difference(flat, whole["int8"], whole["simulated"])
    return Sensitivity(
        folder=out,
        sha256=flat.sha256,
        samples=len(given.values[0]),
        float_weights=len(exact),
        int8=_effect(whole["float"], whole["int8"], given),
        simulated=_effect(whole["float"], whole["simulated"], given),
        equal=equal,
        largest_steps=steps,
        layers=tuple(sorted(rows, key=_rank)),
    )


def _merged(flat: TfliteModel, group: Group, layers: Mapping[str, str]) -> tuple[str, ...]:
    found = (merged_layers(flat, flat.operators[at], layers) for at in group.operators)
    return tuple(dict.fromkeys(name for names in found for name in names if name != group.layer))


def _rank(row: LayerSensitivity) -> float:
    return math.inf if row.only_rounded.sqnr_db is None else row.only_rounded.sqnr_db


def _effects(
    flat: TfliteModel, exact: Values, groups: tuple[Group, ...], given: Given, right: Arrays
) -> dict[tuple[str, int], Effect]:
    """Return what the outputs lose if a group alone rounds, and if it alone does not, by its place."""
    files: dict[tuple[str, int], Callable[[], bytes]] = {}
    for place, group in enumerate(groups):
        files["rounded", place] = _rounding(flat, exact, [group])
        files["float", place] = _rounding(flat, exact, [each for each in groups if each is not group])
    found: dict[tuple[str, int], Effect] = {}
    with track("sensitivity", len(files), "models") as advance:

        def keep(key: tuple[str, int], outputs: Arrays) -> None:
            found[key] = _effect(right, outputs, given)
            advance()

        infer_files(host_runtime("litert"), files, given.values, keep)
    return found


def _rounding(flat: TfliteModel, exact: Values, groups: Sequence[Group]) -> Callable[[], bytes]:
    """Return a function that writes the float file in which these groups round."""
    operators = {index for group in groups for index in group.operators}
    inputs = {index for group in groups for index in group.inputs}
    return partial(simulate, flat, exact, operators, inputs=inputs)


def _effect(right: Arrays, found: Arrays, given: Given) -> Effect:
    pairs = [
        (ours.astype(np.float64), theirs.astype(np.float64))
        for ours, theirs in zip(right, found, strict=True)
    ]
    ratios = [float(((a - b) ** 2).sum() / max((a**2).sum(), 1e-30)) for a, b in pairs]
    return Effect(sqnr_db=to_db(1.0, float(np.mean(ratios))), metrics=given.evaluate(right, found))


def _difference(flat: TfliteModel, int8: Arrays, simulated: Arrays) -> tuple[float, float]:
    """Return the share of outputs in which both agree, and their largest difference in steps."""
    gaps = []
    for tensor, ours, theirs in zip(flat.outputs, int8, simulated, strict=True):
        step = tensor.scales[0] if tensor.scales else float(np.ptp(ours)) / 255 or 1.0
        gaps.append(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).ravel() / step)
    every = np.concatenate(gaps)
    return float((every < 0.5).mean()), float(every.max(initial=0.0))  # half a step
