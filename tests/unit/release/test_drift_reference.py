"""The baseline of drift: the same bytes each time, and the same counts as a device's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deploy.monitor.compare import compare
from deploy.monitor.statistics import read_statistics
from models.ports import Port
from pipeline.artifacts import Dataset, PreparedModel, QuantizedModel, Transform
from pipeline.release import drift_reference as baseline
from pipeline.release.drift_reference import MAX_SAMPLES, make_drift_reference

RNG = np.random.default_rng(0)


@pytest.fixture
def stages(tmp_path, tiny_tflite):
    """The artifacts of a classifier of 4x4x1 images with 700 test samples."""
    (tmp_path / "model.tflite").write_bytes(tiny_tflite)
    np.save(tmp_path / "input_0.npy", RNG.integers(0, 256, (1000, 4, 4, 1)).astype(np.uint8))
    np.save(tmp_path / "target_0.npy", RNG.integers(0, 3, 1000))
    np.save(tmp_path / "train.npy", np.arange(300))
    np.save(tmp_path / "test.npy", np.arange(300, 1000))
    quantized = QuantizedModel(
        folder=tmp_path, size_bytes=1, sha256="", sparsity=0.0, format="int8", reason="", layers=()
    )
    prepared = PreparedModel(
        inputs=(Port("image", (4, 4, 1)),),
        outputs=(Port("class", (3,)),),
        tasks=("classification",),
        from_logits=(False,),
        preprocessing=(Transform(scale=(1 / 255,)),),
    )
    data = Dataset(
        folder=tmp_path,
        tasks=("classification",),
        classes=("a", "b", "c"),
        shapes=((4, 4, 1),),
        train_samples=300,
        test_samples=700,
    )
    return quantized, prepared, data


def test_every_test_sample_is_counted_once(stages, tmp_path):
    found = make_drift_reference(*stages, seed=0, out=tmp_path)
    plain = json.loads(found.baseline.read_text())
    baseline = read_statistics(found.baseline.read_bytes(), "baseline")

    assert found.samples == baseline.observed == 700 <= MAX_SAMPLES
    assert sum(plain["inputs"][0]["values"]) == 700 * 16
    assert sum(plain["outputs"][0]["classes"]) == 700
    assert sum(plain["latency_us"]["counts"]) == 0
    assert (found.input_ranges, found.output_ranges) == ((None,), (None,))


def test_the_accuracy_is_that_of_the_labels(stages, tmp_path):
    from pipeline.runtimes.runtime import host_runtime
    from pipeline.runtimes.session import Session

    baseline = read_statistics(
        make_drift_reference(*stages, seed=0, out=tmp_path).baseline.read_bytes(), "baseline"
    )
    images = np.load(tmp_path / "input_0.npy")[300:].astype(np.int16) - 128
    with Session(host_runtime("litert"), tmp_path / "model.tflite") as session:
        answers = session.run([images.astype(np.int8)])[0].argmax(axis=1)

    right = (answers == np.load(tmp_path / "target_0.npy")[300:]).mean()
    assert baseline.null.outputs[0].accuracy == pytest.approx(right, abs=1e-6)
    assert list(baseline.outputs[0].classes) == np.bincount(answers, minlength=3).tolist()


def test_two_builds_have_the_same_bytes_and_the_seed_only_moves_chance(stages, tmp_path):
    texts = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        (tmp_path / name).mkdir()
        texts.append(make_drift_reference(*stages, seed=seed, out=tmp_path / name).baseline.read_bytes())

    assert texts[0] == texts[1] != texts[2]
    first, other = (json.loads(text) for text in texts[1:])
    assert first.pop("null") != other.pop("null")
    assert first == other


def test_a_release_did_not_drift_from_itself(stages, tmp_path):
    baseline = read_statistics(
        make_drift_reference(*stages, seed=0, out=tmp_path).baseline.read_bytes(), "baseline"
    )

    assert {item.size for item in compare(baseline, baseline).items} == {0.0}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1.5, 0, 2], (-1.5, 2.0)),
        ([np.nan, 1, np.inf, 3], (1.0, 3.0)),
        ([0, 0], (-0.5, 0.5)),
        ([8, 8], (4.0, 12.0)),
        ([1e30], (5e29, 1.5e30)),
        ([np.nan], (-0.5, 0.5)),
    ],
)
def test_the_range_is_finite_and_has_room_for_a_histogram(values, expected):
    assert baseline._range(np.array(values, np.float64)) == pytest.approx(expected)
