"""The way back: calibration samples like those that devices saw."""

from __future__ import annotations

import json

import counting
import numpy as np
import pytest

from calibration.errors import CalibrationError
from deploy.device.observe import Observer
from pipeline.artifacts import Dataset
from pipeline.config import CalibrationConfig
from pipeline.errors import InputError, leaf_errors_mapped
from pipeline.loading.calibration_set import choose_calibration
from pipeline.loading.field_calibration import field_statistics

INPUT = counting.INPUT | {"range": None}
OUTPUT = counting.OUTPUT | {"range": None}
RNG = np.random.default_rng(0)
LABELS = np.arange(3000) % 3


def images(mean):
    """uint8 (3000, 4, 4, 1): dark on the whole, and each with a brightness of its own."""
    each = RNG.normal(mean, 30, (3000, 1, 1, 1)) + RNG.normal(0, 10, (3000, 4, 4, 1))
    return np.clip(each, 0, 255).astype(np.uint8)


RAW = images(90)


@pytest.fixture
def data(tmp_path):
    np.save(tmp_path / "input_0.npy", RAW)
    np.save(tmp_path / "target_0.npy", LABELS)
    np.save(tmp_path / "train.npy", np.arange(0, 3000, 2))
    np.save(tmp_path / "test.npy", np.arange(1, 3000, 2))
    return Dataset(
        folder=tmp_path,
        tasks=("classification",),
        classes=("a", "b", "c"),
        shapes=((4, 4, 1),),
        train_samples=1500,
        test_samples=1500,
    )


def counted(raw, labels, contract):
    observer = Observer({"name": "m", "version": "1", "target": "t", **contract})
    for image, label in zip(raw, labels, strict=True):
        answer = np.full((1, 3), -120, np.int8)
        answer[0, label] = 100
        observer.see([(image.astype(np.int16) - 128).astype(np.int8)[None]], [answer])
    return observer.statistics()


@pytest.fixture
def field(tmp_path):
    """Write what ``pipeline monitor --save`` writes, and return the source."""

    def write(raw, labels=LABELS, **changes):
        contract = {"inputs": [INPUT], "outputs": [OUTPUT]}
        saved = counted(raw, labels, contract) | {
            "contract": contract,
            "baseline": counted(RAW[1::2], LABELS[1::2], contract),
        }
        file = tmp_path / "field.json"
        file.write_text(json.dumps(saved | changes))
        return field_statistics(CalibrationConfig(field_statistics=file))

    return write


def choose(data, source, name="chosen", seed=0):
    (out := data.folder / name).mkdir()
    with leaf_errors_mapped():
        return choose_calibration(
            data, config=CalibrationConfig(samples=200), field=source, seed=seed, out=out
        )


def chosen_rows(data, chosen):
    return np.load(data.rows("train"))[np.load(chosen.indices)]


def test_a_brighter_field_chooses_brighter_samples_and_moves_the_range(data, field):
    plain = choose(data, None, "plain")
    chosen = choose(data, field(images(125)))

    assert chosen.samples == 200
    assert RAW[chosen_rows(data, plain)].mean() == pytest.approx(90, abs=6)
    assert RAW[chosen_rows(data, chosen)].mean() == pytest.approx(125, abs=8)
    before, after = (json.loads(one.manifest.read_text())["ranges"][0] for one in (plain, chosen))
    assert after[0] >= before[0]
    assert after != before


def test_a_field_beyond_the_training_samples_is_told_with_its_share(data, field):
    chosen = choose(data, field(images(250)))

    assert RAW[chosen_rows(data, chosen)].mean() > 120
    assert any("image means" in note and "collect" in note for note in chosen.notes)


def test_a_field_within_the_training_samples_needs_no_note(data, field):
    assert choose(data, field(RAW)).notes == ()


def test_classes_that_come_more_often_are_chosen_more_often(data, field):
    often = np.array([0] * 2400 + [1, 2] * 300)
    chosen = choose(data, field(RAW, often))

    rates = np.bincount(LABELS[chosen_rows(data, chosen)], minlength=3) / 200
    assert rates == pytest.approx([0.8, 0.1, 0.1], abs=0.08)


def test_the_same_statistics_and_seed_choose_the_same(data, field):
    source = field(images(130))
    found = [
        np.load(choose(data, source, f"out{n}", seed).indices).tolist() for n, seed in enumerate((1, 1, 2))
    ]

    assert found[0] == found[1] != found[2]


def test_other_statistics_are_another_source(field):
    assert field(images(130)).digest != field(images(120)).digest


def test_no_field_is_no_source():
    assert field_statistics(CalibrationConfig()) is None


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match="pipeline monitor RELEASE"):
        field_statistics(CalibrationConfig(field_statistics=tmp_path / "nothing.json"))


DAMAGE = {
    "damaged": ({"inputs": 7}, "damaged statistics"),
    "a device's own": ({"contract": None}, "contract"),
    "of other inputs": (
        {"contract": {"inputs": [INPUT | {"shape": [1, 5, 5, 1]}], "outputs": [OUTPUT]}},
        "other inputs",
    ),
}


@pytest.mark.parametrize(("changes", "said"), DAMAGE.values(), ids=DAMAGE)
def test_statistics_that_cannot_be_used_are_refused_in_one_line(data, field, changes, said):
    with pytest.raises(InputError, match=said) as caught:
        choose(data, field(RAW, **changes))
    assert "field.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_observed_is_refused(data, field):
    with pytest.raises((InputError, CalibrationError), match="nothing was observed"):
        choose(data, field(RAW[:0], LABELS[:0]))
