"""What is called drift, what the same, and what cannot be said yet."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deploy.device.observe import Observer
from deploy.errors import DeployError
from deploy.monitor.advice import advise
from deploy.monitor.compare import FALSE_ALARMS, compare
from deploy.monitor.measures import null_of
from deploy.monitor.statistics import read_statistics

SIDE, CLASSES = 6, 4
IMAGE = {
    "name": "image",
    "shape": [1, SIDE, SIDE, 3],
    "dtype": "int8",
    "scale": 1 / 255,
    "zero_point": -128,
    "range": None,
}
ANSWER = {
    "name": "class",
    "shape": [1, CLASSES],
    "dtype": "float32",
    "scale": None,
    "zero_point": 0,
    "range": [0.0, 1.0],
    "task": "classification",
    "logits": False,
}
CONTRACT = {"name": "m", "version": "1", "target": "t", "inputs": [IMAGE], "outputs": [ANSWER]}


def draw(count, seed, *, brightness=0.0, classes=None, sure=4.0):
    """Images int8 (n, ...) of one colour each with noise, and the answers to them, float32 (n, 4)."""
    rng = np.random.default_rng(seed)
    colour = rng.normal([-20, 0, 30], 25, (count, 1, 1, 3)) + brightness
    images = np.clip(colour + rng.normal(0, 20, (count, SIDE, SIDE, 3)), -128, 127).astype(np.int8)
    logits = rng.normal(size=(count, CLASSES))
    logits[np.arange(count), rng.choice(CLASSES, count, p=classes)] += sure
    answers = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return images, answers.astype(np.float32)


def count(images, answers, latency_us=None):
    observer = Observer(CONTRACT)
    for image, answer in zip(images, answers, strict=True):
        observer.see([image[None]], [answer[None]], latency_us)
    return observer.statistics()


def baseline_of(images, answers):
    """As a build makes it."""
    parts = [
        count(images[at], answers[at]) for at in np.array_split(np.arange(len(images)), min(100, len(images)))
    ]
    sizes = [part["observed"] for part in parts]
    null = {
        side: [null_of([part[side][0]["values"] for part in parts], sizes)] for side in ("inputs", "outputs")
    }
    null["outputs"][0]["accuracy"] = 0.9
    return read(count(images, answers) | {"null": null})


def read(plain):
    return read_statistics(json.dumps(plain).encode(), "test")


@pytest.fixture(scope="module")
def baseline():
    return baseline_of(*draw(3000, 0))


def seen(images, answers, latency_us=None):
    return read(count(images, answers, latency_us))


def drifted(found):
    return {f"{item.tensor} {item.what}" for item in found.items if item.verdict == "drifted"}


def actions(baseline, now):
    return [one.action for one in advise(baseline, now, compare(baseline, now))]


def test_everything_is_compared_and_the_false_alarms_are_shared(baseline):
    found = compare(baseline, seen(*draw(500, 1)))

    assert [f"{item.tensor} {item.what}" for item in found.items] == [
        "image values",
        "image means",
        "image spreads",
        "image channel 0",
        "image channel 1",
        "image channel 2",
        "class values",
        "class confidence",
        "class classes",
    ]
    assert found.alpha == pytest.approx(FALSE_ALARMS / 9)


def test_samples_of_the_same_kind_are_the_same(baseline):
    now = seen(*draw(600, 1))
    found = compare(baseline, now)

    assert found.verdict == "same", found.items
    assert actions(baseline, now) == ["nothing"]


def test_there_are_few_false_alarms(baseline):
    """60 runs: at 5 % each, more than 8 alarms come once in a thousand times."""
    alarms = [compare(baseline, seen(*draw(500, seed))) for seed in range(100, 160)]

    assert sum(found.verdict == "drifted" for found in alarms) <= 8
    assert sum(any(item.significant for item in found.items) for found in alarms) <= 8


SHIFTS = {
    "brighter": {"brightness": 25},
    "other classes": {"classes": [0.55, 0.15, 0.15, 0.15]},
    "less sure": {"sure": 3.0},
}


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
def test_shifts_are_found_with_500_samples(baseline, shift):
    found = [compare(baseline, seen(*draw(500, seed, **shift))).verdict for seed in range(20)]

    assert found.count("drifted") >= 19


def test_swapped_channels_are_found_where_the_whole_image_is_the_same(baseline):
    images, answers = draw(500, 1)
    found = compare(baseline, seen(images[..., ::-1], answers))

    assert drifted(found) == {"image channel 0", "image channel 2"}


def test_few_samples_cannot_show_that_nothing_moved(baseline):
    now = seen(*draw(40, 1))
    found = compare(baseline, now)

    assert found.verdict == "not enough samples"
    assert 300 < found.needed < 600
    assert str(found.needed) in advise(baseline, now, found)[0].why


def test_a_few_samples_can_show_a_large_move(baseline):
    assert compare(baseline, seen(*draw(40, 1, brightness=80))).verdict == "drifted"


def test_a_move_too_small_to_matter_is_the_same_however_sure_it_is(baseline):
    large = baseline_of(*draw(12_000, 0))
    found = compare(large, seen(*draw(12_000, 1, brightness=2)))
    means = next(item for item in found.items if item.what == "means")

    assert means.significant
    assert means.verdict == "same"


def test_a_small_baseline_is_said_to_be_too_small():
    small = baseline_of(*draw(60, 0))
    now = seen(*draw(500, 1))
    found = compare(small, now)

    assert found.needed is None
    assert "test samples" in advise(small, now, found)[0].then


def test_nothing_seen_is_not_the_same(baseline):
    now = read(Observer(CONTRACT).statistics())
    found = compare(baseline, now)

    assert (found.verdict, found.items) == ("not enough samples", ())
    assert advise(baseline, now, found)[0].action == "wait"


def test_statistics_of_another_model_are_refused(baseline):
    other = Observer({**CONTRACT, "inputs": [IMAGE | {"name": "picture"}]}).statistics()

    with pytest.raises(DeployError, match="other inputs or outputs"):
        compare(baseline, read(other))


def test_slower_inferences_are_found_beside_earlier_ones(baseline):
    before, slower = (seen(*draw(500, 1), latency_us) for latency_us in (1000.0, 1500.0))

    assert drifted(compare(baseline, slower, before)) == {"latency p50", "latency p95"}
    assert drifted(compare(baseline, before, slower)) == set()
    assert [one.action for one in advise(baseline, slower, compare(baseline, slower, before))] == [
        "check the device"
    ]


def test_without_earlier_statistics_nothing_is_said_of_latency(baseline):
    found = compare(baseline, seen(*draw(500, 1), 1e6))

    assert {item.side for item in found.items} == {"input", "output"}


def test_accuracy_is_estimated_from_confidence(baseline):
    same, unsure = (compare(baseline, seen(*draw(500, 1, sure=sure))).estimates[0] for sure in (4.0, 2.0))

    assert same.tested == 0.9
    assert same.thresholded == pytest.approx(0.9, abs=0.04)
    assert same.averaged == pytest.approx(0.9, abs=0.04)
    assert unsure.thresholded < 0.75
    assert unsure.averaged < 0.8


def test_moved_inputs_with_the_same_answers_ask_for_calibration(baseline):
    assert actions(baseline, seen(*draw(500, 1, brightness=30))) == ["recalibrate"]


def test_moved_inputs_and_answers_ask_for_training(baseline):
    assert actions(baseline, seen(*draw(500, 1, brightness=30, sure=1.0)))[0] == "retrain"


def test_inputs_cut_off_at_their_range_are_named(baseline):
    now = seen(*draw(500, 1, brightness=120))

    assert "at the high end of its range" in advise(baseline, now, compare(baseline, now))[0].why


def test_other_rates_of_classes_alone_ask_for_a_look(baseline):
    assert actions(baseline, seen(*draw(500, 1, classes=[0.7, 0.1, 0.1, 0.1]))) == ["look"]


@pytest.mark.parametrize("value", [-128, 0])
def test_a_dead_sensor_is_called_one(baseline, value):
    images, answers = draw(100, 1)

    assert actions(baseline, seen(np.full_like(images, value), answers))[0] == "check the sensor"


def test_a_sensor_that_shows_the_same_again_and_again_is_called_one(baseline):
    images, answers = draw(100, 1)

    assert actions(baseline, seen(np.repeat(images[:1], 100, axis=0), answers))[0] == "check the sensor"
