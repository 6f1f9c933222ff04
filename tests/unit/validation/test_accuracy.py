"""Comparing two models: any task, at once or in chunks, and what cannot be compared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from comparing import compare
from pydantic import TypeAdapter

from models.task_rules import Task
from pipeline.errors import InputError
from pipeline.tasks.comparison import Comparison
from pipeline.tasks.evidence import Chunk, merge
from pipeline.tasks.spec import TASKS
from pipeline.validation.accuracy import Evaluator


def drawn(task, samples=30, seed=5):
    """Outputs of two models that differ a little, targets and inputs."""
    rng = np.random.default_rng(seed)
    shapes = {"classification": (6,), "binary": (1,), "multi-label": (3,), "regression": (2,)}
    shapes |= {"segmentation": (4, 4, 3), "embedding": (8,)}
    logits = rng.normal(size=(samples, *shapes.get(task, (5, 5, 1))))
    near = logits + 0.3 * rng.normal(size=logits.shape)
    if task in {"classification", "embedding", "segmentation"}:
        targets = rng.integers(0, logits.shape[-1], logits.shape[:-1])
    elif task in {"binary", "anomaly"}:
        targets = np.arange(samples) % 2
    elif task == "multi-label":
        targets = (rng.random(logits.shape) < 0.4).astype(np.uint8)
    else:
        targets = logits + rng.normal(size=logits.shape) if task == "regression" else None
    inputs = logits + 0.5 * rng.normal(size=logits.shape)
    return logits, near, targets, inputs


@pytest.mark.parametrize("task", get_args(Task))
def test_every_task_gives_a_primary_metric_in_points_a_loss_and_json(task):
    baseline, quantized, targets, inputs = drawn(task)
    found = compare(task, baseline, quantized, targets, inputs=inputs, seed=0, output="out")

    assert (found.task, found.samples, found.output) == (task, 30, "out")
    assert found.primary.unit == "points"
    assert found.primary.low <= found.primary.difference <= found.primary.high
    assert any(metric.name.startswith("loss") for metric in found.metrics) or task == "embedding"
    adapter = TypeAdapter(Comparison)
    assert adapter.validate_json(adapter.dump_json(found)) == found


@pytest.mark.parametrize("task", get_args(Task))
def test_the_page_on_metrics_lists_every_metric_of_the_task_in_order(task):
    page = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {task.capitalize()}\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(.+?)`", section, re.MULTILINE)
    baseline, quantized, targets, inputs = drawn(task)
    found = compare(task, baseline, quantized, targets, inputs=inputs, seed=0, classes=("NAME", "other"))

    told = [metric.name for metric in found.metrics]
    assert [name for name in listed if name in told] == told


@pytest.mark.parametrize("task", get_args(Task))
def test_the_same_model_twice_does_not_differ(task):
    baseline, _, targets, inputs = drawn(task)
    found = compare(task, baseline, baseline, targets, inputs=inputs, seed=0)

    assert [metric.difference for metric in found.metrics] == pytest.approx(
        [0] * len(found.metrics), abs=1e-5
    )
    assert found.primary.low <= 0 <= found.primary.high or task == "embedding"


@pytest.mark.parametrize("task", get_args(Task))
def test_chunks_give_what_the_whole_gives(task):
    arrays = drawn(task)
    evaluator = Evaluator(task, seed=3, from_logits=True)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 30)):
        evaluator.add(*(None if array is None else array[rows] for array in arrays))
    parts = evaluator.finish()
    baseline, quantized, targets, inputs = arrays
    whole = compare(task, baseline, quantized, targets, inputs=inputs, seed=3, from_logits=True)

    for one, other in zip(parts.metrics, whole.metrics, strict=True):
        assert one.name == other.name
        assert (one.baseline, one.quantized) == pytest.approx((other.baseline, other.quantized))
        assert (one.low, one.high) == pytest.approx((other.low, other.high))
    assert (parts.classes, parts.flips, parts.note) == (whole.classes, whole.flips, whole.note)


@pytest.mark.parametrize("task", [task for task in get_args(Task) if task != "embedding"])
def test_an_influence_is_what_one_sample_more_does_to_the_difference(task):
    copies, samples = 300, 12
    arrays = drawn(task, samples)

    def estimates(extra):
        index = np.concatenate([np.tile(np.arange(samples), copies), extra]).astype(int)
        chunk = Chunk(*(None if array is None else array[index] for array in arrays), from_logits=True)
        spec = TASKS[task]
        return spec.evaluate(merge([spec.reduce(chunk)]), ()).estimates

    before = estimates([])
    after = estimates([4])
    for here, there in zip(before, after, strict=True):
        # The variance of R2 is taken as known, so that its influences are not quite its slopes.
        if here.influence is not None and not here.name.startswith(("R2", "explained")):
            rise = (there.quantized - there.baseline) - (here.quantized - here.baseline)
            told = here.influence[4] - here.influence.mean()
            assert told == pytest.approx(rise * samples * copies, rel=0.02, abs=1e-6), here.name


def test_the_same_seed_gives_the_same_comparison():
    baseline, quantized, targets, _ = drawn("classification")
    one, same, other = (compare("classification", baseline, quantized, targets, seed=s) for s in (1, 1, 2))

    assert one == same
    assert one != other


def test_what_cannot_be_paired_is_refused():
    good, _, labels, _ = drawn("classification", 4)
    for outputs, targets in ((good[:1], labels), (good, labels[:3]), (good[:, :2], labels)):
        with pytest.raises(InputError, match="do not pair up"):
            compare("classification", good, outputs, targets, seed=0)
    with pytest.raises(InputError, match="do not pair up"):
        compare("classification", good[:0], good[:0], labels[:0], seed=0)
    with pytest.raises(InputError, match="needs labels or targets, and there are none"):
        compare("classification", good, good, None, seed=0)
    with pytest.raises(InputError, match="needs the samples' inputs"):
        compare("reconstruction", good, good, None, seed=0)
    with pytest.raises(InputError, match="no samples to compare"):
        Evaluator("binary", seed=0).finish()


def test_a_label_that_names_no_class_is_refused_with_the_outputs_name():
    good, _, labels, _ = drawn("classification", 4)
    with pytest.raises(InputError, match=r"^output kind: labels run from 9 to 9 where the model has 6 class"):
        compare("classification", good, good, labels * 0 + 9, seed=0, output="kind")
    with pytest.raises(InputError, match=r"labels run from 0.5 to 0.5"):
        compare("classification", good, good, labels * 0 + 0.5, seed=0)
    with pytest.raises(InputError, match=r"labels run from -1 to -1 where the model has 2 classes"):
        compare("anomaly", good, good, labels * 0 - 1, seed=0, inputs=good)


@pytest.mark.parametrize(("what", "index"), [("float model's output", 0), ("int8 model's output", 1)])
def test_an_output_that_is_not_finite_is_named_by_its_sample(what, index):
    arrays = list(drawn("regression", 9))
    evaluator = Evaluator("regression", seed=0)
    evaluator.add(*arrays)
    arrays[index] = np.where(np.arange(9)[:, None] == 2, np.nan, arrays[index])

    with pytest.raises(InputError, match=f"the {what} for sample 11 is not finite"):
        evaluator.add(*arrays)


@pytest.mark.parametrize(
    ("task", "targets", "message"),
    [
        ("classification", np.zeros((2, 2)), "2 labels a sample where the task has one"),
        ("binary", np.zeros(2), "a binary classifier has one output a sample, this model 12"),
        ("multi-label", np.zeros((2, 5)), "do not fit 12 outputs"),
        ("multi-label", np.full((2, 12), 2), "targets run from 2 to 2; give 0 or 1"),
        ("regression", np.zeros((2, 5)), r"targets of \(5,\) a sample do not fit outputs of \(12,\)"),
        ("segmentation", np.zeros((2, 5), int), r"labels of \(5,\) a sample do not fit outputs of \(12,\)"),
    ],
)
def test_targets_of_another_task_are_refused_in_one_line(task, targets, message):
    outputs = np.linspace(0, 1, 24).reshape(2, 12)
    with pytest.raises(InputError, match=message) as refused:
        compare(task, outputs, outputs, targets, seed=0)
    assert "\n" not in str(refused.value)


def test_a_map_of_classes_is_no_classification():
    outputs = np.zeros((2, 4, 3))
    with pytest.raises(InputError, match='a class for each position is the task "segmentation"'):
        compare("classification", outputs, outputs, np.zeros(2, int), seed=0)


def test_dimensions_of_one_around_classes_do_not_matter():
    baseline, quantized, labels, _ = drawn("classification")
    flat = compare("classification", baseline, quantized, labels, seed=0)
    wide = compare(
        "classification", baseline[:, None, None], quantized[:, None, None], labels[:, None], seed=0
    )

    assert wide == flat


def test_logits_that_begin_like_probabilities_are_asked_about():
    evaluator = Evaluator("binary", seed=0)
    evaluator.add(np.array([[0.3]]), np.array([[0.3]]), np.array([1]))
    with pytest.raises(InputError, match="begin as probabilities and go on as logits"):
        evaluator.add(np.array([[4.0]]), np.array([[4.0]]), np.array([1]))
