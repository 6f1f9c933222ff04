"""Layers in float beside int8: joined by name, with what only one of the models has."""

from __future__ import annotations

from dataclasses import replace

from pages import Page, text_of
from whole_report import graph_node, operator_costs, whole_report, wholes

from pipeline.report.html import report_html
from pipeline.report.layers import CALL, device_costs, layer_rows
from pipeline.validation.breakdown import Breakdown
from pipeline.validation.layer_profile import LayerProfiles


def test_operators_of_a_layer_are_added_up(report):
    graph = (
        graph_node(0, layer="conv", constant_bytes=100, weights=10, zeros=5),
        graph_node(1, "RELU", layer="conv", constant_bytes=0, weights=0, zeros=0),
        graph_node(2, "FULLY_CONNECTED", layer="", constant_bytes=7, weights=0, zeros=0),
    )
    before = (graph_node(0, layer="conv", constant_bytes=400),)
    first, second = layer_rows(replace(report, graph=graph, baseline_graph=before))

    assert (first.layer, first.operators) == ("conv", "CONV_2D, RELU")
    assert (first.baseline_bytes, first.constant_bytes, first.zeros) == (400, 100, 0.5)
    assert (second.layer, second.baseline_bytes, second.zeros) == ("2 FULLY_CONNECTED", None, None)


def test_the_worst_layer_has_the_longest_bar(report):
    rows = layer_rows(whole_report(report))
    worst = min(rows, key=lambda row: row.error.output.sqnr_db)

    assert worst.share == max(row.share for row in rows) == 100
    assert [row.share for row in rows[:7]] == sorted((row.share for row in rows[:7]), reverse=True)


def test_instructions_of_both_models_are_joined_by_layer_on_each_device():
    ours = (graph_node(0, layer="conv"), graph_node(1, layer="conv"), graph_node(2, layer="only int8"))
    theirs = (graph_node(0, layer="conv"), graph_node(1, layer="only float"))
    found = Breakdown(
        operators=operator_costs(ours, 3000), devices=wholes(ours, 3000), host=None,
        baseline=operator_costs(theirs, 9000), baseline_devices=wholes(theirs, 9000),
    )  # fmt: skip
    first, second = device_costs(found)

    assert (first.device, second.device) == ("rpi4", "rpi5")
    assert [(row.layer, row.baseline, row.quantized) for row in first.rows] == [
        ("conv", 9000, 6000),
        ("only int8", None, 3000),
        ("only float", 9000, None),
        (CALL, 500, 500),
    ]
    assert [row.quantized for row in second.rows][:2] == [3000, 1500]
    assert first.shares == (1.0, 1.0)


def test_an_operator_that_cannot_run_alone_leaves_its_layer_without_a_figure():
    (node,) = operator_costs((graph_node(0, layer="custom"),), 1)
    found = Breakdown(operators=(replace(node, instructions={}),), devices=wholes((), 1), host=None)

    row = device_costs(found)[0].rows[0]
    assert (row.layer, row.baseline, row.quantized) == ("custom", None, None)
    assert device_costs(None) == []


def test_the_page_has_a_row_for_each_layer_and_each_device(report):
    text = text_of(Page(report_html(whole_report(report, blocks=1))))

    assert "layer_0 CONV_2D 30.0 33.0 2,560 640 50.0%" in text
    assert "layer_0 9,000 3,000 3.00" in text
    assert "layer_0 4,500 1,500 3.00" in text
    assert "Input image: SQNR 48.0 dB" in text
    assert "The rows add up to 100.0% of the float model and 100.0% of the int8 model" in text


def test_the_page_says_why_no_errors_were_measured(report):
    found = replace(whole_report(report), profile=LayerProfiles(problem="it has no quantized activations"))

    assert "errors of layers were not measured: it has no quantized" in text_of(Page(report_html(found)))


def test_reports_of_earlier_versions_have_no_such_section(report):
    headings = Page(report_html(report)).headings

    assert not {"Layers: error, bytes and values", "Instructions by layer", "Graph and delegation"} & {
        *headings
    }
