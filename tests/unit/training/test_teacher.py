"""The teacher is the given model, or the same fine-tuned on the labels where that is shown to be better."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.training.aims import DEFAULT_SHARE, Mixture
from pipeline.training.keras_io import open_model, save_model, start_tensorflow
from pipeline.training.teacher import FINE_TUNED_SHARE, TeacherConfig, choose_teacher
from pipeline.training_config import TrainingConfig

TRAINING = TrainingConfig(epochs=8, min_steps=1, batch_size=16, learning_rate=0.05)
SLOW = TrainingConfig(epochs=2, min_steps=1, batch_size=64, learning_rate=1e-3)
FAST = TrainingConfig(epochs=2, min_steps=1, batch_size=64, learning_rate=0.1)


@pytest.fixture(scope="module")
def teach(prepared_model):
    """Choose the teacher for a dense layer of two classes, whose kernel (n, 2) is given; returns both."""

    def of(folder, data, kernel, training, **config):
        start_tensorflow(0)
        import tf_keras

        network = tf_keras.Sequential(
            [tf_keras.layers.Input((len(kernel),)), tf_keras.layers.Dense(2, activation="softmax")]
        )
        network.set_weights([kernel, np.zeros(2)])
        save_model(network, folder / "keras/model")
        ports = {
            "inputs": (Port("in", (len(kernel),)),),
            "outputs": (Port("out", (2,), activation="softmax"),),
        }
        model = prepared_model(folder, **ports).keras
        (out := folder / "out").mkdir()
        config = TeacherConfig(**config)
        return choose_teacher(model, data, config=config, seed=0, out=out, training=training), network

    return of


@pytest.fixture(scope="module")
def choose(tmp_path_factory, store_dataset, teach):
    """Choose the teacher for a model of one of four numbers, whose sum decides between two classes."""

    def of(weight, samples=480, training=TRAINING, **config):
        folder = tmp_path_factory.mktemp("teacher")
        inputs = np.random.default_rng(0).normal(size=(samples + 100, 4)).astype(np.float32)
        data = store_dataset(folder / "data", inputs, (inputs.sum(axis=1) > 0).astype(np.int64), test=100)
        return teach(folder, data, np.stack([np.zeros(4), [weight, 0, 0, 0]], 1), training, **config)

    return of


@pytest.fixture(scope="module")
def choose_for(tmp_path_factory, store_dataset, teach):
    """Choose the teacher for a model of 60 numbers that knows the answers for the held-out samples by heart.

    ``skill`` is what it knows of all others, of which a share of ``noise`` has the other class.
    """

    def of(skill, tests=600, samples=500, noise=0.0, **config):
        folder = tmp_path_factory.mktemp("teacher")
        inputs = np.random.default_rng(0).normal(size=(samples + tests, 60)).astype(np.float32)
        flipped = np.random.default_rng(1).random(len(inputs)) < noise
        target = ((inputs.sum(axis=1) > 0) ^ flipped).astype(np.int64)
        data = store_dataset(folder / "data", inputs, target, test=tests)
        known = np.load(data.rows("held_out"))
        known = known if len(known) else np.arange(40)
        start = np.full(60, skill, np.float32)
        answers, right = inputs[known] @ start, np.where(target[known] > 0, 3, -3)
        missing = np.where(answers * right > 0, 0, right - answers)
        start += np.linalg.lstsq(inputs[known], missing, rcond=None)[0]
        teacher, _ = teach(folder, data, np.stack([-start, start], 1), TRAINING, **config)
        return teacher, data

    return of


def test_where_the_given_model_remembers_the_held_out_samples_test_samples_show_that_training_helps(
    choose_for,
):
    teacher, data = choose_for(skill=0)
    [finding] = teacher.findings

    assert teacher.fine_tuned
    assert teacher.sets_aside
    assert (teacher.baselines.set_aside, data.divided(set_aside=True).test_samples) == (200, 400)
    assert teacher.baselines.low > 10
    assert " by -" in finding
    assert "on 50 held-out samples and by +" in finding
    assert "on 200 test samples in 2 rounds; the fine-tuned model is the teacher" in finding
    assert finding.endswith("these test samples are held out from now on, and not tested on")


def test_all_test_samples_are_tested_on_where_they_show_no_gain_of_training(choose_for):
    teacher, _ = choose_for(skill=10)

    assert not teacher.fine_tuned
    assert not teacher.sets_aside
    assert "on 200 test samples; the given model is the teacher" in teacher.findings[0]


def test_where_the_given_model_remembers_the_held_out_samples_test_samples_make_all_later_choices(choose_for):
    teacher, data = choose_for(skill=10, noise=0.25)
    [finding] = teacher.findings

    assert not teacher.fine_tuned
    assert teacher.sets_aside
    assert (teacher.baselines.set_aside, data.divided(set_aside=True).test_samples) == (200, 400)
    assert teacher.baselines.held_out_gain < 0  # a search takes it off the float model's score
    assert "the teacher, which remembers the held-out samples (100.0 points against" in finding
    assert finding.endswith("these test samples are held out from now on, and not tested on")


def test_where_few_training_samples_leave_none_to_hold_out_test_samples_decide(choose_for):
    helped, _ = choose_for(skill=0, samples=300)
    not_helped, _ = choose_for(skill=10, samples=300)

    assert (helped.fine_tuned, helped.baselines.set_aside) == (True, 200)
    assert (not_helped.fine_tuned, not_helped.sets_aside) == (False, False)


@pytest.mark.parametrize("samples", [300, 500])
def test_no_test_sample_is_set_aside_where_the_user_decided(choose_for, samples):
    teacher, _ = choose_for(skill=0, samples=samples, fine_tune="always")

    assert teacher.fine_tuned
    assert not teacher.sets_aside


def test_few_test_samples_make_no_choice(choose_for):
    teacher, _ = choose_for(skill=0, tests=90)

    assert not teacher.fine_tuned
    assert "test samples" not in teacher.findings[0]


def weights(teacher):
    return open_model(teacher.model).get_weights()


def test_an_under_trained_model_is_fine_tuned_first_and_both_scores_are_reported(choose):
    teacher, given = choose(0.1)

    assert teacher.fine_tuned
    assert teacher.share == FINE_TUNED_SHARE
    assert not np.array_equal(weights(teacher)[0], given.get_weights()[0])
    assert teacher.baselines.low > 0
    assert teacher.baselines.fine_tuned > teacher.baselines.given + 3
    assert "fine-tuned model is the teacher" in teacher.findings[0]


def test_fine_tuning_goes_on_for_as_long_as_each_round_is_shown_to_help(choose):
    once, _ = choose(0.1, samples=2000, training=SLOW, rounds=1)
    twice, _ = choose(0.1, samples=2000, training=SLOW, rounds=2)

    assert (once.baselines.rounds, twice.baselines.rounds) == (1, 2)
    assert twice.baselines.held_out_gain > once.baselines.held_out_gain
    assert twice.baselines.fine_tuned > once.baselines.fine_tuned
    assert [history.name for history in twice.trainings] == [
        "float fine-tuning",
        "float fine-tuning, round 2",
    ]


def test_a_round_that_is_not_shown_to_help_is_undone(choose):
    one, _ = choose(0.1, samples=2000, training=FAST, rounds=1)
    four, _ = choose(0.1, samples=2000, training=FAST, rounds=4)

    assert four.baselines.rounds < 4
    assert len(four.trainings) == four.baselines.rounds + 1
    if four.baselines.rounds == 1:
        np.testing.assert_array_equal(weights(four)[0], weights(one)[0])


def test_fine_tuning_that_is_not_shown_to_gain_leaves_the_given_model(choose):
    teacher, given = choose(0.1, samples=100)  # too few to hold some out

    np.testing.assert_array_equal(weights(teacher)[0], given.get_weights()[0])
    assert (teacher.fine_tuned, teacher.share, teacher.baselines) == (False, DEFAULT_SHARE, None)


def test_the_given_model_is_kept_if_the_user_says_so(choose):
    teacher, given = choose(0.1, fine_tune="never")

    np.testing.assert_array_equal(weights(teacher)[0], given.get_weights()[0])
    assert not teacher.fine_tuned


def test_the_share_of_the_teacher_is_the_configured_one_or_the_one_chosen_with_it(choose):
    teacher, _ = choose(0.1, fine_tune="always", samples=100)

    assert Mixture.of(teacher, TrainingConfig()).share == FINE_TUNED_SHARE
    assert Mixture.of(teacher, TrainingConfig(distillation=0.25)).share == 0.25
