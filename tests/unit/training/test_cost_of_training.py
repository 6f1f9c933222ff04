"""What a training costs on samples that the model knows is not held against its compressed forms."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipeline.artifacts import Teacher
from pipeline.choices import Baselines
from pipeline.training.held_out import cost_of_training

GAIN = Baselines(metric="accuracy", given=93.1, fine_tuned=93.0, held_out_gain=-1.3, low=-2.3, high=-0.3)


def held_out(*, is_new=False):
    return SimpleNamespace(is_new=is_new)


@pytest.fixture
def teacher(tmp_path):
    return Teacher(
        folder=tmp_path, inputs=(), outputs=(), tasks=(), from_logits=(), preprocessing=(), layers=(),
        share=0.9, baselines=GAIN,
    )  # fmt: skip


def test_what_fine_tuning_alone_costs_does_not_count(teacher):
    assert cost_of_training(teacher, held_out()) == 1.3


@pytest.mark.parametrize(
    "changes",
    [
        {"baselines": None},
        {"fine_tuned": True},
        {"baselines": replace(GAIN, held_out_gain=0.4)},
    ],
)
def test_nothing_is_allowed_where_fine_tuning_was_not_tried_or_helped(teacher, changes):
    assert cost_of_training(replace(teacher, **changes), held_out()) == 0.0


def test_on_validation_samples_every_loss_counts(teacher):
    assert cost_of_training(teacher, held_out(is_new=True)) == 0.0
