"""A float model that is no better than chance, or whose labels are in another order, stops the build."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import FloatModel
from pipeline.choices import InputFinding
from pipeline.config import PreprocessingConfig
from pipeline.errors import InputError
from pipeline.preparation.float_check import Answered, check_float
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.convert import convert_float
from pipeline.training.keras_io import save_model, start_tensorflow

COUNT, TEST = 360, 120
LABELS = np.arange(COUNT) % 3


def points():
    """Three clouds of two coordinates."""
    centres = np.array([[0, 2], [2, -2], [-2, -2]])
    return (centres[LABELS] + np.random.default_rng(0).normal(0, 0.7, (COUNT, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, store_dataset):
    """A trained classifier of the clouds, prepared and as .tflite."""
    folder = tmp_path_factory.mktemp("classifier")
    start_tensorflow(0)
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([tf_keras.Input((2,)), layers.Dense(8, "relu"), layers.Dense(3, "softmax")])
    model.compile(tf_keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(points(), LABELS, epochs=15, verbose=0)
    save_model(model, folder / "loaded/model")
    loaded = FloatModel(
        folder=folder / "loaded",
        inputs=(Port("x", (2,)),),
        outputs=(Port("out", (3,), activation="softmax"),),
        from_logits=(False,),
    )
    data = store_dataset(folder / "data", points(), LABELS, test=TEST)
    (folder / "prepared").mkdir()
    prepared = prepare_model(loaded, data, config=PreprocessingConfig(), out=folder / "prepared")
    prepared = replace(prepared, folder=folder / "prepared")
    (folder / "float").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = convert_float(prepared, timeout_s=120, out=folder / "float")
    return prepared, replace(found, folder=folder / "float")


@pytest.fixture
def check(classifier, store_dataset, tmp_path):
    """Check the classifier with these labels of the clouds."""

    def run(labels, *, allow=False, text=False, task="classification", model=None, **changes):
        prepared, baseline = classifier
        prepared = model or prepared
        data = store_dataset(tmp_path / "data", points(), labels, test=TEST, task=task)
        data = replace(data, text_labels=text, **changes)
        return check_float(baseline, replace(prepared, tasks=(task,)), data, allow_chance=allow, out=tmp_path)

    return run


def test_a_trained_model_goes_on_and_its_score_is_a_finding(check):
    found = check(LABELS)

    assert found.notes == ()
    assert found.findings[0].startswith("float model: accuracy ")
    assert "on 120 test samples, the best constant answer (always class 0) has 33.3%" in found.findings[0]


def test_labels_that_have_nothing_to_do_with_the_samples_stop_the_build_with_what_was_tried(check):
    with pytest.raises(InputError, match="no better than chance") as stopped:
        check(np.random.default_rng(1).permutation(LABELS))

    assert "input 'x': floats are not rescaled" in str(stopped.value)
    assert "[preprocessing]" in str(stopped.value)
    assert "--allow-chance" in str(stopped.value)


def test_labels_that_have_nothing_to_do_with_the_samples_are_warned_about_where_that_is_allowed(check):
    found = check(np.random.default_rng(1).permutation(LABELS), allow=True)

    assert found.notes[0].startswith("the float model is no better than chance: accuracy ")


def test_text_labels_in_another_order_stop_the_build_with_the_line_that_orders_them(check):
    of_cloud = np.array([1, 2, 0])  # "b" is the first cloud, whose class the model calls 0
    with pytest.raises(InputError, match="in another order") as stopped:
        check(of_cloud[LABELS], text=True)

    assert 'set [data] labels = ["b", "c", "a"], or give --labels b,c,a' in str(stopped.value)
    assert "0.0% of 360 samples are right" in str(stopped.value)


def test_words_of_a_second_output_with_classes_are_numbered_since_labels_are_of_the_first():
    outputs = [np.eye(2)[LABELS % 2], np.eye(3)[LABELS]]
    data = SimpleNamespace(tasks=("classification",) * 2, classes=("a", "b", "w"), text_labels=True)
    targets = [LABELS % 2, np.array([1, 2, 0])[LABELS]]
    samples = SimpleNamespace(target=lambda index: targets[index], model_inputs=lambda: [LABELS])
    found = Answered(data, ("kind", "size"), (False, False), {"test": (samples, outputs)}).misordered()

    assert len(found) == 1
    assert found[0].startswith("output 'size': the labels are in another order")
    assert found[0].endswith("write its labels as numbers: b as 0, w as 1, a as 2")


def answered(said, labels):
    """What a classifier of three classes answered to so labelled samples."""
    data = SimpleNamespace(tasks=("classification",), classes=("a", "b", "c"), text_labels=True)
    samples = SimpleNamespace(target=lambda _: labels, model_inputs=lambda: [labels])
    return Answered(data, ("",), (False,), {"test": (samples, [np.eye(3)[said]])})


def test_another_order_that_may_be_luck_is_a_hint_where_the_model_is_at_chance():
    rng, order = np.random.default_rng(0), np.array([1, 2, 0])
    weak = answered(np.where(rng.random(COUNT) < 0.4, order[LABELS], rng.integers(0, 3, COUNT)), LABELS)

    assert weak.misordered() == ()
    [stopped] = weak.at_chance(("tried this",))
    assert stopped.startswith("the float model is no better than chance: ")
    assert "tried this; perhaps the labels are in another order than the model's classes: " in stopped
    assert 'set [data] labels = ["c", "a", "b"]' in stopped
    assert weak.perhaps_misordered()[0] in stopped


def test_an_order_that_no_luck_explains_is_no_mere_hint():
    found = answered(np.array([1, 2, 0])[LABELS], LABELS)

    assert len(found.misordered()) == 1
    assert found.perhaps_misordered() == ()


def test_numbered_labels_in_another_order_stop_the_build_with_their_right_numbers(check):
    with pytest.raises(InputError, match="in another order") as stopped:
        check(np.array([1, 0, 2])[LABELS])

    assert "renumber the labels: 0 -> 1, 1 -> 0;" in str(stopped.value)


def test_the_refusal_of_a_model_of_many_inputs_is_one_short_line(check, classifier):
    prepared, _ = classifier
    chosen = "floats are not rescaled (R2 -10.0% on 400 samples)"
    found = tuple(InputFinding(input=f"feature_{at}", chosen=chosen) for at in range(14))
    said = str(_stopped(check, replace(prepared, input_findings=found)))

    assert len(said) < 500
    assert "input 'feature_0' and 13 more: floats are not rescaled (R2" in said


def test_a_refusal_gives_settings_that_suit_the_model_instead_of_what_was_tried(check, classifier):
    prepared, _ = classifier
    notes = ("inputs run from 0 to 255; with -1 to 1 it has 100.0%: set [preprocessing] scale = 0.00784",)
    found = (InputFinding(input="x", chosen="as it is (3 %)"),)
    said = str(_stopped(check, replace(prepared, input_findings=found, better_settings=notes)))

    assert "with -1 to 1 it has 100.0%: set [preprocessing] scale = 0.00784" in said
    assert "as it is (3 %)" not in said


def test_preprocessing_that_other_settings_beat_by_far_stops_the_build_though_the_model_beats_chance(
    check, classifier
):
    prepared, _ = classifier
    notes = ("inputs run from 0 to 255; with -1 to 1 it has 100.0%: set [preprocessing] scale = 0.00784",)
    with pytest.raises(InputError, match="does not suit the model") as stopped:
        check(LABELS, model=replace(prepared, better_settings=notes))

    assert "set [preprocessing] scale = 0.00784; to build anyway, use --allow-chance" in str(stopped.value)
    assert check(LABELS, model=replace(prepared, better_settings=notes), allow=True).findings


def _stopped(check, prepared):
    with pytest.raises(InputError, match="no better than chance") as stopped:
        check(np.random.default_rng(1).permutation(LABELS), model=prepared)
    return stopped.value


def test_columns_of_labels_in_another_order_stop_the_build_with_the_right_order(check):
    columns = np.eye(3, dtype=np.int64)[LABELS][:, [1, 0, 2]]
    with pytest.raises(InputError, match="in another order") as stopped:
        check(columns, task="multi-label")

    assert "reorder the columns of targets: 0 -> 1, 1 -> 0;" in str(stopped.value)


def test_columns_of_numbers_in_another_order_stop_the_build_with_the_right_order(check):
    columns = np.eye(3, dtype=np.float32)[LABELS][:, [1, 0, 2]]
    with pytest.raises(InputError, match="the columns of the targets are in another order") as stopped:
        check(columns, task="regression")

    assert "reorder the columns of targets: 0 -> 1, 1 -> 0;" in str(stopped.value)


def test_a_weak_model_is_not_taken_for_one_of_another_order(check):
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(COUNT) < 0.6, rng.integers(0, 3, COUNT), LABELS)

    assert not any("order" in note for note in check(labels).notes)


def test_embeddings_without_labels_are_not_judged(classifier, store_dataset, tmp_path):
    prepared, baseline = classifier
    data = store_dataset(tmp_path / "data", points(), None, test=TEST, task="embedding")
    found = check_float(
        baseline, replace(prepared, tasks=("embedding",)), data, allow_chance=False, out=tmp_path
    )

    assert (found.notes, found.findings) == ((), ())
