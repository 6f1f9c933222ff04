"""What a comparison says of itself: which way is better, and whether int8 is worse than a margin."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from pipeline.tasks.comparison import Comparison, Metric, non_inferior


def metric(difference, low, high, better="higher"):
    return Metric(
        name="AUC",
        unit="points",
        better=better,
        baseline=90.0,
        quantized=90.0 + difference,
        difference=difference,
        low=low,
        high=high,
    )


@pytest.mark.parametrize(
    ("low", "high", "answer"), [(-0.9, 2.0, True), (-1.0, 0.5, None), (-3.0, -1.0, False), (-9.0, 9.0, None)]
)
def test_non_inferiority_is_told_from_the_whole_interval(low, high, answer):
    assert non_inferior(metric((low + high) / 2, low, high), 1.0) is answer
    assert non_inferior(metric(-(low + high) / 2, -high, -low, "lower"), 1.0) is answer


def test_a_gain_is_above_zero_where_int8_is_better():
    assert metric(2.0, 1.0, 3.0).gain == (2.0, 1.0, 3.0)
    assert metric(2.0, 1.0, 3.0, "lower").gain == (-2.0, -3.0, -1.0)
    assert metric(2.0, None, None).gain == (2.0, 2.0, 2.0)


def test_the_primary_metric_is_gated_and_an_auc_beside_it():
    area = metric(0, 0, 0)
    other = replace(area, name="accuracy")

    for metrics, gated in (((area,), 1), ((other, area), 2), ((other, other), 1)):
        assert len(Comparison(output="", task="binary", samples=9, metrics=metrics).gated) == gated


def test_a_comparison_survives_json(report):
    (found,) = report.accuracy
    adapter = TypeAdapter(Comparison)

    assert adapter.validate_json(adapter.dump_json(found)) == found
    assert found.metric("loss").unit == "nats"
    assert found.metric("AUC") is None
