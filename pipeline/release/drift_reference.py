"""Drift reference: statistics of inputs and outputs on the test samples, counted as on a device."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.progress import track
from pipeline.runtimes.quantization import as_real, tensor_inputs
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.samples import Samples
from pipeline.tasks.scoring import compared
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.ports import Port
    from models.task_rules import Task
    from pipeline.artifacts import Dataset, PreparedModel, QuantizedModel
    from pipeline.runtimes.session import ModelDetails, Tensor

MAX_SAMPLES = 5000
MAX_BYTES = 256 << 20
"""Maximum bytes of all samples: with large inputs, fewer than ``MAX_SAMPLES`` are used."""
PARTS = 200
"""Number of disjoint random parts; their differences show how much a histogram varies by chance."""


@dataclass(frozen=True, kw_only=True)
class DriftReference(Artifact):
    """``baseline.json``: what the release sees and answers on its test samples.

    Attributes:
        samples: that were counted.
        input_ranges: for each input the smallest and largest observed value, None if it is quantized.
        output_ranges: likewise.
        raw: for each input the dtype of the raw values, the lowest and the highest.
    """

    samples: int
    input_ranges: tuple[tuple[float, float] | None, ...]
    output_ranges: tuple[tuple[float, float] | None, ...]
    raw: tuple[tuple[str, float, float], ...]

    @property
    def baseline(self) -> Path:
        return self.folder / "baseline.json"


def make_drift_reference(
    quantized: QuantizedModel, prepared: PreparedModel, data: Dataset, *, seed: int, out: Path
) -> DriftReference:
    """Run the release's model on test samples and count what a device would count.

    The file has the form of a device's statistics, without latencies, which are of a device, and with
    ``null``: how much each histogram of elements varies by chance, and a classifier's accuracy.

    Raises:
        StageError: the runtime crashed or hung.
    """
    answered = answer(quantized.tflite, Samples.of(data, "test", prepared.preprocessing), seed=seed)
    contract = make_contract(answered, prepared, data.classes)
    accuracies = [
        _accuracy(task, as_real(values, tensor), answered.samples.target(index), bool(logits))
        for index, (task, values, tensor, logits) in enumerate(
            zip(
                prepared.tasks,
                answered.outputs,
                answered.details.outputs,
                prepared.from_logits,
                strict=True,
            )
        )
    ]
    found = DriftReference(
        folder=out,
        samples=len(answered.samples),
        input_ranges=tuple(one["range"] for one in contract["inputs"]),
        output_ranges=tuple(one["range"] for one in contract["outputs"]),
        raw=tuple(_raw(answered.samples.raw(index)) for index in range(len(answered.inputs))),
    )
    counted = count(contract, answered.inputs, answered.outputs, accuracies, seed=seed)
    found.baseline.write_text(json.dumps(counted, separators=(",", ":")) + "\n", encoding="utf-8")
    return found


@dataclass(frozen=True)
class Answered:
    """Samples with their inputs and outputs, for each tensor (n, ...) of its own dtype."""

    samples: Samples
    inputs: list[NDArray[Any]]
    outputs: list[NDArray[Any]]
    details: ModelDetails


def answer(tflite: Path, samples: Samples, *, seed: int, most: int = MAX_SAMPLES) -> Answered:
    """Run a model on at most ``most`` samples, and no more than ``MAX_BYTES`` hold; chosen by ``seed``."""
    with Session(host_runtime("litert"), tflite) as session:
        details = session.describe()
        tensors = (*details.inputs, *details.outputs)
        each = sum(math.prod(tensor.shape[1:]) * np.dtype(tensor.dtype).itemsize for tensor in tensors)
        chosen = samples.choose(max(1, min(most, MAX_BYTES // each)), seed)
        given, answers = [], []
        with track("drift reference", len(chosen), "samples") as advance:
            for chunk in chosen.chunks():
                given.append(tensor_inputs(chunk.model_inputs(), details))
                answers.append(session.run(given[-1], batches=True))
                advance(len(chunk))
    inputs, outputs = (
        [np.concatenate(arrays) for arrays in zip(*found, strict=True)] for found in (given, answers)
    )
    return Answered(chosen, inputs, outputs, details)


def make_contract(answered: Answered, prepared: PreparedModel, classes: Sequence[str]) -> dict[str, Any]:
    """Return what an observer needs to know about a model, in the form of a manifest."""
    outputs = _contracts(answered.outputs, answered.details.outputs, prepared.outputs)
    return {
        **dict.fromkeys(("name", "version", "target"), ""),  # a step's bytes depend on no name
        "labels": list(classes),
        "inputs": _contracts(answered.inputs, answered.details.inputs, prepared.inputs),
        "outputs": [
            one | {"task": task, "logits": bool(logits)}
            for one, task, logits in zip(outputs, prepared.tasks, prepared.from_logits, strict=True)
        ],
    }


def count(
    contract: dict[str, Any],
    inputs: Sequence[NDArray[Any]],
    outputs: Sequence[NDArray[Any]],
    accuracies: Sequence[float | None],
    *,
    seed: int,
) -> dict[str, Any]:
    """Count samples in disjoint random parts: all of them, and how much chance moves a histogram.

    Args:
        contract: of ``make_contract``.
        inputs: for each input (n, ...) of its own dtype.
        outputs: likewise.
        accuracies: of each output, where it has one.
        seed: of the parts.
    """
    from deploy.device.observe import Observer
    from deploy.device.totals import merge

    order = np.random.default_rng(seed).permutation(len(inputs[0]))
    parts = []
    for places in np.array_split(order, min(PARTS, len(order))):
        observer = Observer(contract)
        for place in places:
            one = slice(place, place + 1)
            observer.see([values[one] for values in inputs], [values[one] for values in outputs])
        parts.append(observer.statistics())
    return merge(*parts) | {"null": _null(contract, parts, accuracies)}


def _contracts(
    arrays: Sequence[NDArray[Any]], tensors: Sequence[Tensor], ports: Sequence[Port]
) -> list[dict[str, Any]]:
    return [
        {
            "name": port.name,
            "shape": [1, *tensor.shape[1:]],
            "dtype": tensor.dtype,
            "scale": tensor.scale,
            "zero_point": tensor.zero_point or 0,
            "range": _range(values) if tensor.scale is None else None,
        }
        for values, tensor, port in zip(arrays, tensors, ports, strict=True)
    ]


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and the largest finite value, widened if they are equal, as histograms need."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    room = max(abs(low) / 2, 0.5)
    return (low, high) if low < high else (low - room, high + room)


def _raw(values: NDArray[Any]) -> tuple[str, float, float]:
    return values.dtype.name, float(values.min()), float(values.max())


def _null(
    contract: dict[str, Any], parts: Sequence[dict[str, Any]], accuracies: Sequence[float | None]
) -> dict[str, Any]:
    """Return how much chance moves histograms of elements, and in which range the bins are."""
    from deploy.monitor.measures import null_of

    samples = [part["observed"] for part in parts]
    inputs, outputs = (
        [
            null_of([part[side][index]["values"] for part in parts], samples) | {"range": one["range"]}
            for index, one in enumerate(contract[side])
        ]
        for side in ("inputs", "outputs")
    )
    return {
        "inputs": inputs,
        "outputs": [one | {"accuracy": found} for one, found in zip(outputs, accuracies, strict=True)],
    }


def _accuracy(task: Task, answers: NDArray[Any], truth: NDArray[Any] | None, logits: bool) -> float | None:
    """Return the share of right answers of a classifier with one answer a sample, where there are labels."""
    if truth is None or not TASKS[task].one_class or truth.size != len(answers):
        return None
    return round(float(np.equal(*compared(task, answers, truth, logits)).mean()), 6)
