"""Models are judged on held-out samples as they are, and corrupted."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.tasks.scoring import Gain
from pipeline.training.evidence import Evidence, Gains

SAMPLES, SIDE = 1000, 12


@pytest.fixture
def evidence(tmp_path, store_dataset, prepared_model):
    """Images with one bright half, the label, in a data set that holds a tenth of them out."""
    labels = np.arange(SAMPLES) % 2
    images = np.random.default_rng(0).integers(0, 60, (SAMPLES, SIDE, SIDE, 1))
    for image, label in zip(images, labels, strict=True):
        image[:, SIDE // 2 * label : SIDE // 2 * (label + 1)] += 120
    model = prepared_model(
        tmp_path,
        inputs=(Port("image", (SIDE, SIDE, 1)),),
        outputs=(Port("out", (2,), activation="softmax"),),
    ).keras
    return Evidence.of(store_dataset(tmp_path / "data", images.astype(np.uint8), labels), model)


def right(inputs):
    """Compare the halves."""
    left, other = inputs[0][:, :, : SIDE // 2].mean((1, 2, 3)), inputs[0][:, :, SIDE // 2 :].mean((1, 2, 3))
    return np.stack([left > other, other >= left], axis=1).astype(np.float32)


def test_a_model_that_fails_on_corrupted_samples_alone_is_worse(evidence):
    answers = evidence.answers(right)
    clean = evidence.held_out.samples.model_inputs()
    kept = {sample.tobytes() for sample in clean[0]}

    def memorizing(inputs):
        known = np.array([sample.tobytes() in kept for sample in inputs[0]])
        return np.where(known[:, None], right(inputs), right(inputs)[:, ::-1])

    gains = evidence.gains(answers, evidence.answers(memorizing))

    assert gains.clean.points == 0
    assert gains.corrupted.high < 0
    assert gains.worst[0].points < gains.corrupted.points
    assert gains.reason == "measurably worse on corrupted samples"


def test_a_model_compared_with_itself_loses_nothing(evidence):
    answers = evidence.answers(right)

    assert evidence.gains(answers, answers).costs_nothing()
    assert len(answers.corrupted) % len(evidence.corrupted[0]) == 0
    assert evidence.points(answers) > 90


@pytest.mark.parametrize(
    ("clean", "corrupted", "worst", "beyond", "costs_nothing"),
    [
        (Gain(-0.4, -0.9, 0.1), Gain(-0.9, -2.0, 0.1), Gain(-0.9, -1.5, -0.3), 0.0, True),
        (Gain(-0.4, -0.9, 0.1), Gain(-0.9, -2.0, 0.1), Gain(-1.1, -1.9, -0.3), 0.0, False),
        (Gain(-0.4, -0.9, 0.1), Gain(-0.9, -2.0, 0.1), Gain(-1.1, -2.4, 0.2), 0.0, True),  # not measurable
        (Gain(-0.6, -1.9, 0.7), None, None, 0.0, False),  # too much, though not measurable
        (Gain(-0.2, -0.3, -0.1), None, None, 0.0, False),
        (Gain(-0.8, -1.4, -0.2), None, None, 0.4, True),  # as much as a training alone costs
        (Gain(-0.8, -1.4, -0.5), None, None, 0.4, False),
        (Gain(0.1, 0.0, 0.2), Gain(-0.6, -1.0, -0.2), None, 0.0, False),
        (None, None, None, 0.0, True),
    ],
)
def test_what_costs_nothing_is_not_measurably_worse_and_loses_no_more_than_half_a_point(
    clean, corrupted, worst, beyond, costs_nothing
):
    gains = Gains(clean, corrupted, None if worst is None else (worst, "fog"))

    assert gains.costs_nothing(beyond) is costs_nothing


def test_where_the_first_model_fails_anyway_nothing_is_compared(evidence):
    def fails_if_corrupted(inputs):
        kept = {sample.tobytes() for sample in evidence.held_out.samples.model_inputs()[0]}
        known = np.array([sample.tobytes() in kept for sample in inputs[0]])
        return np.where(known[:, None], right(inputs), right(inputs)[:, ::-1])

    gains = evidence.gains(evidence.answers(fails_if_corrupted), evidence.answers(right))

    assert gains.clean.points == 0
    assert (gains.corrupted, gains.worst) == (None, None)


def test_inputs_that_no_corruption_suits_are_judged_as_they_are(tmp_path, store_dataset, prepared_model):
    data = store_dataset(
        tmp_path / "data", np.zeros((SAMPLES, 2, 2, 2, 1), np.float32), np.arange(SAMPLES) % 2
    )
    model = prepared_model(
        tmp_path, inputs=(Port("volume", (2, 2, 2, 1)),), outputs=(Port("out", (2,), activation="softmax"),)
    ).keras

    found = Evidence.of(data, model)

    assert found.corrupted == []
    assert found.answers(lambda inputs: np.zeros((len(inputs[0]), 2))).corrupted is None
