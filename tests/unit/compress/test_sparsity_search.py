"""What a training costs on samples that the model knows is not held against zeros."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipeline.artifacts import Teacher
from pipeline.choices import Baselines
from pipeline.compress.sparsity_search import _cost_of_training

GAIN = Baselines(metric="accuracy", given=93.1, fine_tuned=93.0, held_out_gain=-1.3, low=-2.3, high=-0.3)


def evidence(*, is_new=False):
    return SimpleNamespace(held_out=SimpleNamespace(is_new=is_new))


@pytest.fixture
def teacher(tmp_path):
    return Teacher(
        folder=tmp_path, inputs=(), outputs=(), tasks=(), from_logits=(), preprocessing=(), layers=(),
        share=0.9, baselines=GAIN,
    )  # fmt: skip


def test_what_fine_tuning_alone_costs_does_not_count(teacher):
    assert _cost_of_training(teacher, evidence()) == 1.3


@pytest.mark.parametrize(
    "changes",
    [
        {"baselines": None},
        {"fine_tuned": True},
        {"baselines": replace(GAIN, held_out_gain=0.4)},
    ],
)
def test_nothing_is_allowed_where_fine_tuning_was_not_tried_or_helped(teacher, changes):
    assert _cost_of_training(replace(teacher, **changes), evidence()) == 0.0


def test_on_validation_samples_every_loss_counts(teacher):
    assert _cost_of_training(teacher, evidence(is_new=True)) == 0.0
