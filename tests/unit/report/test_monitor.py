"""Drift on a terminal: bars of one scale, and nothing that a name could do to it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from deploy.monitor.advice import Advice
from deploy.monitor.compare import AccuracyEstimate, Drift, Item
from deploy.monitor.statistics import InputCounts, Latency, OutputCounts, Statistics
from pipeline.monitoring import Device
from pipeline.report.monitor import device_table, drift_lines, drift_table, sparklines

BINS = (0,) * 63 + (10,)
LATENCY = Latency(lowest=1.0, ratio=2 ** (1 / 8), counts=(0,) * 80 + (10,) + (0,) * 175)


def statistics(name="image"):
    return Statistics(
        schema_version=1,
        inferences=10,
        observed=10,
        inputs=(InputCounts(name=name, values=BINS, means=BINS, spreads=BINS, channels=(BINS, BINS)),),
        outputs=(OutputCounts(name="class", values=BINS, confidence=BINS, classes=(4, 6)),),
        latency_us=LATENCY,
    )


def item(**changes):
    given = {
        "tensor": "image",
        "side": "input",
        "what": "means",
        "measure": "KS",
        "size": 0.3,
        "floor": 0.085,
        "large": 0.25,
        "p_value": 1e-9,
        "significant": True,
        "samples": 10,
        "needed": 500,
    }
    return Item(**given | changes)


def shown(*parts):
    stream = io.StringIO()
    console = Console(file=stream, width=110, highlight=False, markup=False)
    for part in parts:
        console.print(part)
    return stream.getvalue()


def drift(*items, estimates=()):
    return Drift(10, 5000, 0.01, items, estimates)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "large drift"),
        ({"size": 0.1}, "drifted"),
        ({"size": 0.01, "samples": 900}, "same"),
        ({"significant": False}, "needs 500"),
        ({"significant": False, "needed": None}, "test set too small"),
    ],
)
def test_each_verdict_is_said_in_words(changes, said):
    assert said in shown(drift_table(drift(item(**changes)), statistics(), statistics()))


def test_every_kind_of_comparison_has_its_bars():
    items = [
        item(what=what, tensor=tensor, side=side)
        for side, tensor, whats in (
            ("input", "image", ("values", "means", "spreads", "channel 1")),
            ("output", "class", ("values", "confidence", "classes")),
        )
        for what in whats
    ]
    table = shown(drift_table(drift(*items), statistics(), statistics()))

    rows = [line for line in table.splitlines() if "KS" in line]
    assert all(row.count("█") >= 2 for row in rows)
    assert len(rows) == 7


def test_bars_have_one_scale_and_an_empty_bin_has_none():
    first, second = sparklines([100, 0], [25, 75])

    assert first == "█ "
    assert second == "▄▇"


def test_latencies_are_shown_for_each_device():
    ratio = item(side="latency", measure="ratio", p_value=None, size=2.0, low=1.9, high=2.1)
    text = shown(
        device_table(
            [
                Device("ssh://one", statistics(), None, (), None),
                Device("ssh://two", statistics(), drift(item()), (), ratio),
            ]
        )
    )

    assert "1,069" in text
    assert "2.00 (1.90 to 2.10)" in text
    assert "drifted" in text.splitlines()[-1]


def test_a_name_is_text_and_no_markup():
    text = shown(
        drift_table(
            drift(item(tensor="[red]x[/red]")), statistics("[red]x[/red]"), statistics("[red]x[/red]")
        )
    )

    assert "[red]x[/red]" in text


def test_an_estimate_is_called_one_and_a_broken_sensor_has_none():
    found = drift(item(), estimates=(AccuracyEstimate("class", 0.93, 0.85, 0.88),))

    text = shown(drift_lines(found, (Advice("retrain", "inputs moved", "label some"),)))
    assert "estimated from the confidence, without labels: 85.0% to 88.0% now" in text
    assert "retrain: inputs moved. Next: label some." in text
    assert "estimated" not in shown(drift_lines(found, (Advice("check the sensor", "it is dead", "look"),)))
