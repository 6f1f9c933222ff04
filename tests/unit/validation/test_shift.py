"""The shift suite on models that are known: one that is worse in the dark is named, an honest one is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from pipeline.artifacts import Transform
from pipeline.config import GatesConfig, ShiftConfig
from pipeline.errors import ConfigError, InputError
from pipeline.runtimes.runtime import host_runtime
from pipeline.samples import Samples
from pipeline.validation.model_under_test import OutputSpec
from pipeline.validation.shift import both_models, evaluate_clean, measure_shift
from pipeline.validation.shift_results import ShiftReport

TO_UNIT = (Transform(scale=(1 / 255,)),)
CLASSES = OutputSpec(("classification",), ("",), (False,), ("a", "b", "c"))


def blobs(samples, size=16):
    """Bytes (n, size, size, 1) with a blob at one of three places, and which."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, samples)
    y, x = np.mgrid[0:size, 0:size]
    centres = np.array([(4, 4), (4, 11), (11, 8)])[labels] + rng.normal(0, 1.2, (samples, 2))
    squares = (y - centres[:, :1, None]) ** 2 + (x - centres[:, 1:, None]) ** 2
    images = 60 + 90 * np.exp(-squares / 8) + rng.normal(0, 18, (samples, size, size))
    return images.clip(0, 255).astype(np.uint8)[..., None], labels


def scores(images):
    """A classifier by three windows: probabilities (n, 3)."""
    windows = [images[:, 2:7, 2:7], images[:, 2:7, 9:14], images[:, 9:14, 6:11]]
    logits = 30 * np.stack([window.mean(axis=(1, 2, 3)) for window in windows], axis=1)
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def in_steps(probabilities):
    return np.round(probabilities * 256) / 256


def honest(inputs):
    return [scores(inputs[0])], [in_steps(scores(inputs[0]))]


def worse_where(condition):
    """An int8 model that says the wrong class for every third image of a kind."""

    def answer(inputs):
        found = in_steps(scores(inputs[0]))
        hit = condition(inputs[0]) & (np.arange(len(found)) % 3 == 0)
        found[hit] = np.roll(found[hit], 1, axis=1)
        return [scores(inputs[0])], [found]

    return answer


@pytest.fixture(scope="module")
def samples(tmp_path_factory, store_dataset):
    images, labels = blobs(400)
    data = store_dataset(tmp_path_factory.mktemp("blobs"), images, labels, test=399)
    return Samples.of(data, "test", TO_UNIT)


@pytest.fixture(scope="module")
def night(tmp_path_factory, store_dataset):
    images, labels = blobs(400)
    data = store_dataset(tmp_path_factory.mktemp("night"), (images * 0.4).astype(np.uint8), labels, test=399)
    return Samples.of(data, "test", TO_UNIT)


def measure(data, answer, judging=CLASSES, own=None, whole=None, **config):
    found = measure_shift(data, judging, answer, ShiftConfig(**config), seed=0, own=own, whole=whole)
    return found.with_verdicts(GatesConfig().shift_drop_points)


def named(report):
    return {shift.name: shift for shift in report.shifts}


def test_an_honest_model_is_not_blamed(samples, night):
    report = measure(samples, honest, own={"night": night})
    assert report.losing == ()
    assert {shift.source for shift in report.shifts} == {"corruption", "class prior", "own data"}
    assert len([shift for shift in report.shifts if shift.source == "corruption"]) == 18
    assert report.left_out == ("saturate: images of one channel have no saturation",)


def test_a_model_that_is_worse_on_dark_images_is_found_and_named(samples, night):
    answer = worse_where(lambda images: images.mean(axis=(1, 2, 3)) < 0.18)
    report = measure(samples, answer, own={"night": night}, shifts=("gaussian_noise", "brightness"))
    assert [shift.name for shift in report.losing] == ["night"]
    assert named(report)["night"].pooled.excess < -20


def test_a_model_that_is_worse_on_bright_images_is_found_at_the_severities_where_it_is(samples):
    answer = worse_where(lambda images: images.mean(axis=(1, 2, 3)) > 0.41)
    report = measure(samples, answer, shifts=("brightness", "gaussian_blur"))
    assert [shift.name for shift in report.losing] == ["brightness"]
    levels = {level.severity: level.found.excess for level in named(report)["brightness"].severities}
    assert levels[5] < -20
    assert levels[1] > -5


def test_a_clean_loss_is_no_excess(samples):
    report = measure(samples, worse_where(lambda images: images.min(axis=(1, 2, 3)) >= 0))
    assert report.shifts[0].pooled.difference < -20
    assert report.losing == ()


def test_the_same_seed_gives_the_same_report(samples):
    assert measure(samples, honest, samples=100) == measure(samples, honest, samples=100)


def test_a_report_can_be_written_and_read(samples):
    report = measure(samples, honest, samples=50, shifts=("fog",))
    kept = TypeAdapter(ShiftReport)
    assert kept.validate_json(kept.dump_json(report)) == report


def test_only_the_shifts_and_severities_that_are_asked_for_are_measured(samples):
    report = measure(samples, honest, samples=60, shifts=("fog", "snow"), severities=(2, 4))
    assert [shift.name for shift in report.shifts if shift.source == "corruption"] == ["fog", "snow"]
    assert [level.severity for level in named(report)["fog"].severities] == [2, 4]
    assert {shift.samples for shift in report.shifts} == {60}


def test_class_priors_take_all_answers_where_there_are_more(samples):
    inputs = samples.model_inputs()
    whole = evaluate_clean(samples, CLASSES, *honest(inputs), seed=0)
    report = measure(samples, honest, whole=whole, samples=50, shifts=("fog",))
    assert {shift.source: shift.samples for shift in report.shifts} == {"corruption": 50, "class prior": 399}
    assert named(report)["b x5"].source == "class prior"


def test_an_output_that_is_not_finite_is_a_result_and_no_crash(samples):
    def answer(inputs):
        found = scores(inputs[0])
        return [found], [np.where(inputs[0].mean() > 0.45, np.nan, found)]

    report = measure(samples, answer, samples=50, shifts=("brightness",), severities=(1, 5))
    [shift] = [shift for shift in report.shifts if shift.name == "brightness"]
    assert "severity 5: the int8 model's output for sample 0 is not finite" in shift.note
    assert [level.severity for level in shift.severities] == [1]


def test_severities_at_which_float_itself_fails_are_not_judged(samples):
    def answer(inputs):
        useless = np.eye(3)[np.arange(len(inputs[0])) % 3]
        found = useless if inputs[0].mean() > 0.45 else scores(inputs[0])
        return [found], [found[:, ::-1] if inputs[0].mean() > 0.45 else found]

    report = measure(samples, answer, shifts=("brightness",))
    assert [level.informative for level in named(report)["brightness"].severities][::4] == [True, False]
    report = measure(samples, answer, shifts=("brightness",), severities=(5,))
    assert named(report)["brightness"].verdict == "skipped"
    assert "itself fails" in named(report)["brightness"].note


def test_a_reconstruction_is_held_to_the_input_that_it_was_given(samples):
    def answer(inputs):
        return [inputs[0]], [np.round(inputs[0] * 64) / 64]

    report = measure(
        samples, answer, OutputSpec(("reconstruction",), ("",), (None,)), shifts=("gaussian_noise",)
    )
    [shift] = report.shifts
    assert shift.metric == "explained variance"
    assert shift.pooled.baseline == 100


TASKS = {
    "binary": (lambda x, y: scores(x)[:, :1], lambda y, images: (y == 0).astype(np.int64)),
    "multi-label": (lambda x, y: scores(x), lambda y, images: np.eye(3, dtype=np.uint8)[y]),
    "regression": (lambda x, y: scores(x), lambda y, images: np.eye(3, dtype=np.float32)[y]),
    "segmentation": (lambda x, y: x, lambda y, images: (images[..., 0] > 120).astype(np.int64)),
    "embedding": (lambda x, y: scores(x) + 0.1, lambda y, images: y),
    "anomaly": (lambda x, y: x.clip(0.2, 0.5), lambda y, images: (y == 2).astype(np.int64)),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_judged_by_its_primary_metric(tmp_path, store_dataset, task):
    model, target = TASKS[task]
    images, labels = blobs(120)
    data = store_dataset(tmp_path, images, target(labels, images), task=task)
    samples = Samples.of(data, "train", TO_UNIT)

    def answer(inputs):
        return [model(inputs[0], None)], [in_steps(model(inputs[0], None))]

    report = measure(
        samples, answer, OutputSpec((task,), ("",), (False,)), shifts=("gaussian_noise", "contrast")
    )
    corruptions = [shift for shift in report.shifts if shift.source == "corruption"]
    assert [shift.name for shift in corruptions] == ["gaussian_noise", "contrast"]
    assert corruptions[0].pooled is not None
    assert corruptions[0].verdict != "int8 loses more"
    assert bool([shift for shift in report.shifts if shift.source == "class prior"]) == (task == "binary")


def test_several_inputs_and_outputs_are_judged_together(tmp_path, store_dataset):
    images, labels = blobs(500)
    vectors = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    data = store_dataset(tmp_path, [images, vectors], labels)
    transforms = (*TO_UNIT, Transform())
    samples = Samples.of(data, "train", transforms)
    samples = replace(samples, targets=(samples.targets[0], samples.targets[0]))

    def answer(inputs):
        found = scores(inputs[0])
        worse = in_steps(found)
        hit = np.abs(inputs[1]).max(axis=1) > 2.5
        worse[hit] = np.roll(worse[hit], 1, axis=1)
        return [found, found], [in_steps(found), worse]

    judging = OutputSpec(("classification",) * 2, ("first", "second"), (False, False))
    report = measure(samples, answer, judging, shifts=("brightness", "noise", "offset"))
    assert {(shift.output, shift.name) for shift in report.losing} == {
        ("second", "noise"),
        ("second", "offset"),
    }
    assert report.tests == len([shift for shift in report.shifts if shift.pooled])


def test_own_data_of_another_number_of_inputs_is_refused(samples, tmp_path, tiny_tflite):
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_tflite)
    with (
        both_models(host_runtime("litert"), model, model) as answer,
        pytest.raises(InputError, match="the data has 2 inputs and the model 1"),
    ):
        answer([np.zeros((1, 4, 4, 1), np.float32)] * 2)


def test_two_workers_answer_a_suite(tmp_path, store_dataset, tiny_tflite):
    """The same model as float and as int8: real workers, no difference anywhere."""
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_tflite)
    rng = np.random.default_rng(0)
    data = store_dataset(tmp_path / "data", rng.integers(0, 256, (40, 4, 4, 1), np.uint8), np.arange(40) % 3)
    samples = Samples.of(data, "train", TO_UNIT)
    with both_models(host_runtime("litert"), model, model) as answer:
        report = measure(samples, answer, shifts=("fog", "jpeg_compression"), severities=(1, 3))
    assert {shift.pooled.excess for shift in report.shifts if shift.pooled} == {0.0}


def test_what_is_wrong_is_said_before_anything_runs(samples):
    with pytest.raises(ConfigError, match="unknown shift"):
        measure(samples, None, shifts=("rain",))
    with pytest.raises(InputError, match="no samples to shift"):
        measure(samples, None, samples=0)


def test_a_severity_at_which_float_is_at_chance_is_not_judged(samples):
    """Of two classes half of the score is less than chance."""
    first = replace(samples, rows=samples.rows[samples.target(0) < 2])

    def answer(inputs):
        found = scores(inputs[0])[:, :2]
        useless = np.full_like(found, 0.5) + [[0.1, -0.1]] * (np.arange(len(found)) % 2 * 2 - 1)[:, None]
        return [useless if inputs[0].mean() > 0.45 else found], [found]

    report = measure(first, answer, OutputSpec(("classification",), ("",), (False,)), shifts=("brightness",))
    levels = named(report)["brightness"].severities
    assert levels[0].informative
    assert not levels[4].informative
    assert "not measurably better than chance" in levels[4].note
