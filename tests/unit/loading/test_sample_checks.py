"""The stages that choose calibration samples, by every form of targets, and check them as data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import Dataset, PreparedModel, Transform
from pipeline.config import CalibrationConfig
from pipeline.loading.calibration_set import choose_calibration
from pipeline.loading.sample_checks import check_samples, fingerprint

RNG = np.random.default_rng(0)
TRAIN, TEST = 200, 50
IMAGES = RNG.integers(0, 256, (TRAIN + TEST, 8, 8, 3)).astype(np.uint8)


@pytest.fixture
def stored(tmp_path):
    """Store inputs, and the targets of each task, as the stage that loads data does."""

    def store(inputs=IMAGES, **targets):
        np.save(tmp_path / "input_0.npy", inputs)
        np.save(tmp_path / "train.npy", np.arange(TRAIN))
        np.save(tmp_path / "test.npy", np.arange(TRAIN, TRAIN + TEST))
        for index, values in enumerate(targets.values()):
            if values is not None:
                np.save(tmp_path / f"target_{index}.npy", values)
        return Dataset(
            folder=tmp_path,
            tasks=tuple(name.replace("_", "-") for name in targets),
            classes=("a", "b", "c"),
            shapes=(inputs.shape[1:],),
            train_samples=TRAIN,
            test_samples=TEST,
        )

    return store


def chosen(data, **settings):
    (out := data.folder / "chosen").mkdir()
    samples = choose_calibration(data, config=CalibrationConfig(**settings), seed=0, out=out)
    return samples, json.loads(samples.manifest.read_text())


def checked(data, transform=None, **settings):
    transform = transform or Transform(scale=(1 / 255,), reason="given")
    prepared = PreparedModel(
        inputs=(Port("image", data.shapes[0]),), outputs=(), tasks=data.tasks, from_logits=(),
        preprocessing=(transform,),
    )  # fmt: skip
    samples, _ = chosen(data, **settings)
    return check_samples(samples, data, prepared, out=data.folder).found


@pytest.mark.parametrize(
    ("task", "targets", "traits"),
    [
        ("classification", RNG.integers(0, 3, TRAIN + TEST), ["class"]),
        ("multi_label", RNG.integers(0, 2, (TRAIN + TEST, 3)).astype(np.uint8), ["label"]),
        ("regression", RNG.normal(size=(TRAIN + TEST, 2)).astype(np.float32), ["target 0", "target 1"]),
        ("segmentation", RNG.integers(-1, 3, (TRAIN + TEST, 4, 4)), ["class in mask"]),
        ("reconstruction", None, []),
        ("anomaly", np.zeros(TRAIN + TEST, np.int64), []),
    ],
)
def test_samples_are_stratified_by_the_targets_of_every_task(stored, task, targets, traits):
    samples, manifest = chosen(stored(**{task: targets}), samples=40)

    assert samples.sampling == manifest["sampling"] == ("stratified" if traits else "random")
    assert list(manifest["strata"]) == traits
    for strata in manifest["strata"].values():
        assert all(each["samples"] for each in strata.values())


def test_several_outputs_have_the_strata_of_all(stored):
    data = stored(classification=RNG.integers(0, 3, 250), regression=RNG.normal(size=(250, 1)))
    _, manifest = chosen(data, samples=40)

    assert list(manifest["strata"]) == ["class of output 0", "target of output 1"]
    assert list(manifest["strata"]["class of output 0"]) == ["a", "b", "c"]


def test_coverage_reads_the_raw_inputs(stored):
    images = np.full((TRAIN + TEST, 8, 8, 3), 100, np.uint8) + RNG.integers(0, 9, (250, 8, 8, 3)).astype("u1")
    images[17] = 250
    samples, manifest = chosen(stored(images, reconstruction=None), samples=20, sampling="coverage")

    assert manifest["sampling"] == "coverage"
    assert 17 in np.load(samples.indices)


def test_good_samples_have_no_findings_but_passed(stored):
    found = checked(stored(classification=np.arange(250) % 3), samples=60)

    assert {each.outcome for each in found.findings()} == {"passed"}
    assert (found.samples, found.training_samples, found.test_samples) == (60, 200, 50)
    assert [round(each.max, 6) for each in found.inputs[0].channels] == [1, 1, 1]


def test_test_samples_among_them_are_found_with_their_rows(stored):
    images = IMAGES.copy()
    images[3] = images[210]
    images[5] = np.clip(images[220].astype(int) + RNG.integers(-2, 3, (8, 8, 3)), 0, 255)
    found = checked(stored(images, classification=np.arange(250) % 3), samples=200)

    assert found.equal == ((3, 210),)
    assert found.near == ((5, 220),)


def test_equal_samples_are_found_with_their_rows(stored):
    images = IMAGES.copy()
    images[20:120] = images[20]
    found = checked(stored(images, classification=np.arange(250) % 3), samples=200)

    assert found.duplicates == (tuple(range(20, 120)),)
    assert [each.check for each in found.findings() if each.outcome == "failed"] == ["duplicates"]


def test_preprocessing_that_overflows_is_found(stored):
    data = stored(classification=np.arange(250) % 3)
    with np.errstate(over="ignore"):
        found = checked(data, Transform(scale=(3e38,), reason="given"), samples=60)

    assert len(found.inputs[0].non_finite) == 60


def test_the_fingerprint_is_of_what_preprocessing_does():
    one = Transform(scale=(1 / 255,), offset=(0.0,), reason="declared")
    same = Transform(scale=(0.00392156862745,), offset=(0.0,), reason="detected")

    assert fingerprint((one,)) == fingerprint((same,)) == "05f7a5085f4a"
    for other in ((one, one), (Transform(),), (Transform(scale=(1 / 255,), reverse_channels=True),)):
        assert fingerprint(other) != fingerprint((one,))
