"""Classes: which losses of one class fail, and which changes are no loss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.config import GatesConfig
from pipeline.validate.gates import judge
from pipeline.validate.probabilities import counted_flips

ALLOWED = GatesConfig()


def found(report, gate, allowed=ALLOWED):
    """The one verdict of that gate."""
    (verdict,) = [verdict for verdict in judge(report, allowed) if verdict.gate == gate]
    return verdict


def with_flips(report, index, lost, gained):
    """The class ``index`` of 1,000 samples, of which float alone and int8 alone have that many right."""
    (found,) = report.accuracy
    change = (gained - lost) / 1000
    score = replace(
        found.classes[index],
        support=1000,
        quantized=replace(
            found.classes[index].quantized, recall=found.classes[index].baseline.recall + change
        ),
        flips=counted_flips(lost, gained),
    )
    classes = (*found.classes[:index], score, *found.classes[index + 1 :])
    return replace(report, accuracy=(replace(found, classes=classes),))


@pytest.mark.parametrize(
    ("lost", "gained", "outcome"),
    [
        (17, 5, "passed"),
        (40, 5, "passed"),
        (90, 5, "failed"),
        (310, 248, "failed"),
        (400, 350, "inconclusive"),
    ],
)
def test_a_class_that_loses_recall_fails_where_its_flips_show_it(lost, gained, outcome, report):
    verdict = found(with_flips(report, 1, lost, gained), "class recall")

    assert verdict.outcome == outcome
    assert verdict.got.startswith(
        f"worst: right {(gained - lost) / 10:+.2f} points ({lost} lost, {gained} gained"
    )
