"""Every task's row holds together, and a task is added by one row for its data and one for the pipeline."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from models.data import target_forms
from models.data.options import DataOptions
from models.data.sources import load_data
from models.ports import Port
from models.task_rules import TASK_RULES, TaskRule
from pipeline.tasks import losses, standing
from pipeline.tasks.label_order import label_order
from pipeline.tasks.regression import evaluate_regression, reduce_regression
from pipeline.tasks.scoring import against_chance, score_of
from pipeline.tasks.spec import TASKS, TaskSpec
from pipeline.training import aims
from pipeline.training.keras_io import start_tensorflow
from pipeline.validation.accuracy import Evaluator

# Raw targets of twelve samples, the activation and shape of an output, the task's targets as they are stored.
IDS = np.arange(12) % 3
DRAWN = {
    "classification": (IDS, "softmax", (3,), IDS),
    "binary": (IDS % 2, "sigmoid", (1,), IDS % 2),
    "multi-label": (np.eye(3)[IDS] + np.eye(3)[::-1][IDS] > 0, "sigmoid", (3,), None),
    "regression": (IDS / 7, "linear", (1,), (IDS / 7)[:, None]),
    "reconstruction": (None, "linear", (4,), None),
    "anomaly": (IDS % 2, "linear", (4,), IDS % 2),
    "segmentation": (np.stack([IDS, IDS[::-1]], axis=1), "softmax", (2, 3), None),
    "embedding": (None, "linear", (3,), None),
}
INPUTS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


class _Samples:
    def __init__(self, target, count=12):
        self._target, self._count = target, count

    def __len__(self):
        return self._count

    def target(self, index):
        return self._target


def model_of(task, shape, activation):
    return SimpleNamespace(
        outputs=(Port("output", shape, activation=activation),), tasks=(task,), from_logits=(False,)
    )


def test_every_task_whose_data_can_be_read_can_be_trained_and_judged():
    assert TASKS.keys() == TASK_RULES.keys() == DRAWN.keys()
    assert all(isinstance(TASKS[task], TaskSpec) for task in TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_the_rows_of_a_task_agree(task):
    spec, rule = TASKS[task], TASK_RULES[task]

    assert {name: getattr(spec, name) for name in vars(rule)} == vars(rule)
    assert (spec.predict_classes is not None) == spec.of_classes
    assert spec.class_ids <= spec.of_classes
    assert spec.has_positions <= spec.class_ids
    assert (spec.loss is losses.cross_entropy) == spec.of_classes
    assert (spec.score is None) == (spec.against_chance is None) == (spec.aim is None)
    assert spec.stored is not None or not spec.needs_targets


@pytest.mark.parametrize("task", TASKS)
def test_data_of_every_task_are_read_trained_and_scored_by_its_row(task, tmp_path):
    raw, activation, shape, stored = DRAWN[task]
    arrays = {"x": INPUTS} | ({} if raw is None else {"y": raw})
    np.savez(tmp_path / "data.npz", **arrays)
    port = Port("output", shape, activation=activation)
    (tmp_path / "stored").mkdir()

    found = load_data(
        tmp_path / "data.npz",
        tmp_path / "stored",
        inputs=(Port("input", (4,)),),
        outputs=(port,),
        options=DataOptions(tasks=(task,)),
        seed=0,
    )

    assert found.tasks == (task,)
    file = tmp_path / "stored" / "target_0.npy"
    assert file.exists() == (raw is not None and TASKS[task].stored is not None)
    target = np.load(file) if file.exists() else None
    if stored is not None:
        np.testing.assert_allclose(target, stored, atol=1e-6)
    start_tensorflow(0)
    model = model_of(task, shape, activation)
    outputs = np.random.default_rng(1).random((12, *shape)).astype(np.float32)
    [loss] = aims.losses(model)
    [aim] = aims.mixed(model, _Samples(target), [INPUTS], [outputs], aims.Mixture(0.0))
    assert aim.shape == outputs.shape
    assert np.isfinite(float(loss(aim, outputs)))
    score = score_of(task, outputs, INPUTS, target)
    assert (score is None) == (TASKS[task].score is None)


@pytest.fixture
def counts(monkeypatch):
    """A task that the pipeline does not have: how often something happens, with a Poisson loss."""

    def recognizes(facts, output, is_input):
        fits = facts.integral and facts.low >= 0 and output.activation == "exponential"
        return "whole numbers for an exponential output" if fits else ""

    def poisson(sigmoid, from_logits):
        import tf_keras

        return tf_keras.losses.Poisson()

    def half(outputs, inputs, target):
        return 0.5

    rule = TaskRule(stored=target_forms.numbers, strata="means", recognizes=recognizes)
    spec = TaskSpec(
        **vars(rule),
        metric="deviance",
        score=half,
        against_chance=standing.of_numbers,
        ordered="numbers",
        loss=poisson,
        aim=losses.as_stored,
        reduce=reduce_regression,
        evaluate=evaluate_regression,
    )
    monkeypatch.setitem(TASK_RULES, "counts", rule)
    monkeypatch.setitem(TASKS, "counts", spec)
    return "counts"


@pytest.mark.parametrize("given", [(), ("counts",)])
def test_data_of_an_added_task_are_recognized_and_read(counts, given, tmp_path):
    seen = np.random.default_rng(0).poisson(4.0, size=(40, 1))
    np.savez(tmp_path / "data.npz", x=np.repeat(INPUTS, 4, axis=0)[:40], y=seen)
    (tmp_path / "stored").mkdir()

    found = load_data(
        tmp_path / "data.npz",
        tmp_path / "stored",
        inputs=(Port("input", (4,)),),
        outputs=(Port("rate", (1,), activation="exponential"),),
        options=DataOptions(tasks=given),
        seed=0,
    )

    assert found.tasks == (counts,)
    target = np.load(tmp_path / "stored" / "target_0.npy")
    assert target.dtype == np.float32
    np.testing.assert_array_equal(target, seen)
    if not given:
        assert "task: counts (whole numbers for an exponential output)" in found.findings


def test_an_added_task_is_trained_scored_and_judged_by_its_row(counts):
    start_tensorflow(0)
    rng = np.random.default_rng(0)
    target = rng.poisson(9.0, size=(200, 1)).astype(np.float32)
    outputs = target + rng.normal(size=target.shape)
    model = model_of(counts, (1,), "exponential")

    assert type(aims.losses(model)[0]).__name__ == "Poisson"
    [aim] = aims.mixed(model, _Samples(target, 200), [INPUTS], None, aims.Mixture(0.0))
    np.testing.assert_array_equal(aim, target)
    assert score_of(counts, outputs, target, target) == 0.5
    assert against_chance(counts, outputs, target, target).standing == "better"
    assert label_order(counts, outputs, target) is None  # one column has one order

    evaluator = Evaluator(counts, seed=0)
    evaluator.add(outputs, outputs + 0.1, target)
    found = evaluator.finish()
    assert (found.task, found.samples, found.primary.name) == (counts, 200, "R2")
