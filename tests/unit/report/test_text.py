"""The report for people: it says what report.json says, number for number."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pipeline.choices import Precision, TriedLayer, TriedWidth
from pipeline.config import GatesConfig
from pipeline.report.text import report_text
from pipeline.validation.gates import evaluate_gates

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?")


@pytest.fixture
def judged(report):
    return replace(report, verdicts=evaluate_gates(report, GatesConfig()))


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def row(text, start):
    """The cells of the first line that starts so."""
    line = next(line for line in text.splitlines() if line.startswith(start))
    return re.split(r" {2,}", line.strip())


def test_every_printed_number_is_one_of_the_report_or_a_ratio_that_it_names(judged):
    text = report_text(judged)
    found = list(leaves(judged.to_dict()))
    for said in sorted((leaf for leaf in found if leaf and isinstance(leaf, str)), key=len, reverse=True):
        text = text.replace(said, " ")
    int8, baseline = judged.quantized, judged.baseline
    known = [leaf for leaf in found if isinstance(leaf, int | float)]
    known += [100 * value for value in known]
    known += [device.instruction_ratio for device in judged.devices]
    known += [
        baseline.size_bytes / int8.size_bytes,
        baseline.compressed_bytes / int8.compressed_bytes,
        baseline.size_bytes / int8.compressed_bytes,
        *(100 * place.share("xnnpack-int8") for place in judged.delegation),
        *(8, 95),  # of "int8" and of "95 % interval"
    ]

    def is_known(number):
        digits = len(number.partition(".")[2])
        printed = float(number.replace(",", ""))
        return any(abs(abs(value) - abs(printed)) <= 0.501 * 10**-digits for value in known)

    numbers = NUMBER.findall(text)
    assert len(numbers) > 40
    assert [number for number in numbers if not is_known(number)] == []


def test_float_stands_beside_int8(judged):
    text = report_text(judged)

    assert "\nClassification on 2,000 samples\n" in text
    assert row(text, "top-1 ")[1:] == ["92.15%", "92.05%", "-0.10 points [-0.45, +0.25]"]
    assert row(text, "loss, nats ")[1:] == ["0.2413", "0.2622", "+0.0209 [+0.0181, +0.0237]"]
    assert row(text, "size, bytes")[1:] == ["318,004", "95,712", "3.3x smaller"]
    assert row(text, "compressed, bytes")[1:] == ["290,217", "32,993", "8.8x smaller"]
    assert row(text, "weights that are zero")[1:] == ["0.1%", "80.3%"]
    assert row(text, "emulated instructions, rpi4")[1:] == ["4,600,777", "4,100,321", "1.12x fewer"]


def test_instructions_are_called_emulated_and_never_a_time(judged):
    lines = [line for line in report_text(judged).splitlines() if line.startswith("emulated instructions")]

    assert len(lines) == 2
    assert not any(re.search(r"\b(ms|µs|s)\b", line) for line in lines)


def test_more_instructions_than_float_read_as_more(judged):
    device = judged.devices[0]
    costly = replace(device, quantized=replace(device.quantized, instructions=9_201_554))
    text = report_text(replace(judged, devices=(costly,)))

    assert row(text, "emulated instructions, rpi4")[-1] == "2.00x more"


def test_every_gate_is_there_with_its_outcome(judged):
    text = report_text(judged)

    assert text.startswith("tiny-1.0-arm64: passed\n")
    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    for verdict in judged.verdicts:
        cells = [verdict.gate, verdict.subject, verdict.outcome] if verdict.subject else [verdict.gate]
        assert [cells] == [found[: len(cells)] for found in rows if found[: len(cells)] == cells]


def test_a_failed_gate_is_the_first_thing_said(report):
    failed = replace(report, verdicts=evaluate_gates(report, GatesConfig(size_ratio=0.1)))

    assert report_text(failed).startswith("tiny-1.0-arm64: FAILED\n")


def test_layers_nodes_and_classes_are_listed(judged):
    text = report_text(judged)

    assert row(text, "conv ") == ["conv", "Conv2D", "pruned, quantization-aware"]
    assert row(text, "0  ") == ["0", "CONV_2D", *["xnnpack-int8"] * 3]
    assert row(text, "left ") == ["left", "1,010", "93.1%", "92.7%", "91.5%", "91.6%", "92.3%", "92.1%"]


def test_a_number_has_the_digits_that_its_size_has_meaning_for(judged):
    metric = judged.accuracy[0].metric("loss")

    def printed(baseline, quantized, low, high):
        changed = replace(
            metric,
            baseline=baseline,
            quantized=quantized,
            difference=quantized - baseline,
            low=low,
            high=high,
        )
        return row(report_text(with_metrics(judged, changed)), "loss, nats ")[1:]

    assert printed(0.000123, 0.000124, 0.0, 0.000002) == [
        "0.0001230",
        "0.0001240",
        "+0.0000010 [+0.0000000, +0.0000020]",
    ]
    assert printed(51234.5, 51230.5, -9.0, 1.0) == ["51,234", "51,230", "-4 [-9, +1]"]
    assert printed(0.0, 0.0, None, None) == ["0", "0", "+0"]


def with_metrics(report, *metrics):
    found = report.accuracy[0]
    return replace(report, accuracy=(replace(found, metrics=(found.primary, *metrics)),))


def test_several_outputs_have_tables_of_their_own(judged):
    one = judged.accuracy[0]
    text = report_text(
        replace(judged, accuracy=(replace(one, output="kind"), replace(one, output="age", note="weak")))
    )

    for line in ("kind: classification on 2,000 samples", "age: Classes", "age: note: weak"):
        assert f"\n{line}\n" in text


def test_of_many_classes_those_that_lose_most_recall_are_shown(judged):
    found, good = judged.accuracy[0], judged.accuracy[0].classes[0]
    many = [replace(good, name=f"class {index}") for index in range(300)]
    many[250] = replace(many[250], quantized=replace(good.quantized, recall=0.1))
    text = report_text(replace(judged, accuracy=(replace(found, classes=tuple(many)),)))

    assert "The 50 of 300 classes that lose most recall" in text
    assert row(text, "class 250")[2:4] == ["93.1%", "10.0%"]
    assert len(re.findall(r"^class \d", text, re.MULTILINE)) == 50


def test_a_model_that_could_not_become_int8_is_called_what_it_is(judged):
    text = report_text(replace(judged, format="float16", format_reason="a loop"))

    assert "\nFloat beside float16\n" in text
    assert "multiply-accumulates in XNNPACK float " in text


def test_names_of_others_drive_neither_colours_nor_the_terminal(judged):
    found = judged.accuracy[0]
    named = zip(found.classes, ("[bold]a[/bold]", "[link=x]b"), strict=True)
    classes = tuple(replace(scores, name=name) for scores, name in named)
    accuracy = (replace(found, classes=classes, output="[blink]out"),)
    text = report_text(replace(judged, accuracy=accuracy, preprocessing="[red]raw"))

    assert "[bold]a[/bold]" in text
    assert "[link=x]b" in text
    assert "[blink]out: Classes" in text
    assert "preprocessing: [red]raw" in text
    assert "\x1b" not in text


def test_a_model_without_baseline_data_or_devices_has_a_report_too(judged):
    bare = replace(
        judged,
        baseline=None,
        accuracy=(),
        latency=None,
        devices=(),
        layers=(),
        classes=(),
        preprocessing="",
    )
    text = report_text(replace(bare, verdicts=evaluate_gates(bare, GatesConfig())))

    assert row(text, "size, bytes")[1] == "95,712"
    assert row(text, "accuracy ")[1] == "skipped"


def test_layers_in_a_wider_format_are_listed_with_what_each_gains_and_costs(judged):
    found = Precision(
        layers=("head",), width="float16", searched=True, reason="found", samples=500, metric="top-1",
        int8_sqnr_db=10.2, int8_change=-6.5, cost_unit="instructions", device="rpi4", int8_cost=2000.0,
        int8_size_bytes=9000, sets=7,
        tried=(TriedLayer(layer="head", sqnr_db=30.4, change=-0.1, cost=100.0, chosen=True),),
        widths=(
            TriedWidth(width="float16", problem="", change=-0.1, cost=2100.0, size_bytes=9900, chosen=True),
            TriedWidth(width="int16", problem="wrong on rpi4"),
        ),
    )  # fmt: skip

    text = report_text(replace(judged, precision=found))

    assert row(text, "int8 throughout") == ["int8 throughout", "10.2", "-6.50"]
    assert row(text, "head  ") == ["head", "30.4", "-0.10", "+5.00%", "chosen"]
    assert row(text, "head in float16") == ["head in float16", "-0.10", "+5.00%", "released"]
    assert row(text, "head in int16") == ["head in int16", "wrong on rpi4"]
