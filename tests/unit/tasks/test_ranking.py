"""Ranking: areas and precisions against their definitions, with the ties that int8 makes."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tasks.ranking import auc, average_precision, chance_area, estimate, has_both


def weighted_auc(scores, positive, weights):
    """Pairs in the right order, one after another."""
    pairs = right = 0.0
    for here in np.flatnonzero(positive):
        for there in np.flatnonzero(~positive):
            weight = weights[here] * weights[there]
            pairs += weight
            right += weight * ((scores[here] > scores[there]) + (scores[here] == scores[there]) / 2)
    return right / pairs


def weighted_average_precision(scores, positive, weights):
    """Precision at each threshold, weighted by the recall that it adds."""
    total, recall, value = weights[positive].sum(), 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        said = scores >= threshold
        found = weights[said & positive].sum()
        value += (found / total - recall) * found / weights[said].sum()
        recall = found / total
    return value


@pytest.fixture(params=[2, 6, 1000], ids=lambda levels: f"{levels} levels")
def scored(request):
    rng = np.random.default_rng(request.param)
    positive = rng.random(60) < 0.3
    return np.round((rng.random(60) + 0.3 * positive) * request.param) / request.param, positive


@pytest.mark.parametrize(
    ("ranking", "defined"), [(auc, weighted_auc), (average_precision, weighted_average_precision)]
)
def test_a_ranking_is_what_its_definition_says_and_influences_are_its_slopes(ranking, defined, scored):
    value, influence = ranking(*scored)
    ones, step = np.ones(60), 1e-6

    assert value == pytest.approx(defined(*scored, ones))
    slopes = [(defined(*scored, ones + step * row) - value) / step for row in np.eye(60)]
    assert influence == pytest.approx(60 * np.array(slopes), abs=1e-3)
    assert influence.sum() == pytest.approx(0, abs=1e-9)


def test_scores_without_skill_have_half_the_area_and_perfect_ones_all_of_it():
    positive = np.arange(10) % 2 == 0

    assert auc(np.zeros(10), positive)[0] == 0.5
    assert auc(positive * 1.0, positive)[0] == average_precision(positive * 1.0, positive)[0] == 1
    assert auc(-1.0 * positive, positive)[0] == 0


def test_chance_stays_below_its_limit_as_often_as_it_says():
    rng = np.random.default_rng(0)
    positive = np.arange(200) < 50
    below = sum(auc(rng.random(200), positive)[0] <= chance_area(positive) for _ in range(400))

    assert 0.95 <= below / 400 <= 1


def test_a_figure_is_in_points_and_reaches_further_the_rarer_the_positives():
    scores, rare, common = np.arange(100.0), np.arange(100) > 97, np.arange(100) > 50

    assert estimate("AUC", auc, scores, -scores, rare).quantized == 0
    assert (
        estimate("AUC", auc, scores, scores, rare).reach > estimate("AUC", auc, scores, scores, common).reach
    )
    assert (has_both(rare), has_both(rare[:90]), has_both(rare[98:])) == (True, False, False)
