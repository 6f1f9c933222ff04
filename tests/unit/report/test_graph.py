"""The drawing of a graph: boxes apart, connections that pass no box, one drawing for each way to run it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from pages import HOSTILE, Page, text_of
from whole_report import delegation, graph_node, residual_graph, whole_report

from pipeline.report.graph import HEIGHT, MAX_OPERATORS, WIDTH, drawings
from pipeline.report.html import report_html


def drawn(report, graph):
    (found,) = drawings(replace(report, graph=graph, delegation=(delegation("host", graph),)))
    return found


def test_boxes_are_below_what_they_read_and_apart(report):
    graph = residual_graph(40)
    found = drawn(report, graph)

    assert len(found.boxes) == len(graph) == 162
    for node, box in zip(graph, found.boxes, strict=True):
        assert all(found.boxes[index].y + HEIGHT < box.y for index in node.reads if index >= 0)
        assert 0 <= box.x <= found.width - WIDTH
        assert 0 <= box.y <= found.height - HEIGHT
    corners = {(box.x, box.y) for box in found.boxes}
    assert len(corners) == len(graph)


def test_a_connection_that_skips_rows_passes_all_boxes_at_their_right(report):
    found = drawn(report, residual_graph(3))
    around = [path for path in found.paths if "V" in path]

    assert len(around) == 3
    right = max(box.x for box in found.boxes) + WIDTH
    for path in around:
        start, lane, end = (float(re.search(rf"{name}([\d.]+)", path)[1]) for name in ("M", "H", "V"))
        assert start < right < lane
        assert end > 0
        assert lane < found.width


def test_branches_stand_side_by_side(report):
    graph = (
        graph_node(0, reads=(-1,)), graph_node(1, reads=(0,)), graph_node(2, reads=(0,)),
        graph_node(3, "ADD", (1, 2)),
    )  # fmt: skip
    boxes = drawn(report, graph).boxes

    assert boxes[1].y == boxes[2].y
    assert boxes[1].x + WIDTH < boxes[2].x
    assert boxes[3].x == boxes[1].x


def test_runtimes_that_place_operators_alike_share_a_drawing(report):
    first, second = drawings(whole_report(report))

    assert first.runtimes == ("host",)
    assert second.runtimes == ("rpi4 core",)
    assert first.counts == (("xnnpack-int8", "XNNPACK, int8", 25), ("builtin", "builtin kernels", 1))
    assert second.counts == (("xnnpack-int8", "XNNPACK, int8", 19), ("builtin", "builtin kernels", 7))


@pytest.mark.parametrize("graph", [(), (graph_node(0),)])
def test_without_the_graph_or_with_another_one_there_is_no_drawing(report, graph):
    assert drawings(replace(report, graph=graph)) == []


def test_a_large_graph_is_drawn_in_part_and_the_page_says_so(report):
    graph = tuple(graph_node(index, reads=(index - 1,)) for index in range(MAX_OPERATORS + 5))
    of = replace(report, graph=graph, delegation=(delegation("host", graph),))

    assert len(drawings(of)[0].boxes) == MAX_OPERATORS
    assert f"The first {MAX_OPERATORS} of {MAX_OPERATORS + 5} operators" in text_of(Page(report_html(of)))


def test_names_in_the_graph_are_escaped(report):
    graph = (graph_node(0, reads=(-1,), layer=HOSTILE, op=HOSTILE),)
    of = replace(report, graph=graph, delegation=(delegation("host", graph),))

    assert f"0 {HOSTILE}" in Page(report_html(of)).words
