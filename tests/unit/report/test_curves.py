"""Soaks and latencies as charts: one line for each thread count, and for each model."""

from __future__ import annotations

from dataclasses import replace

from whole_report import whole_report

from pipeline.report.curves import latency_charts, soak_charts


def test_a_soak_has_a_line_for_each_thread_count_and_for_the_fresh_interpreter(report):
    memory, times = soak_charts(whole_report(report).stability.soaks)

    assert [line.name for line in memory.lines] == ["1 thread", "2 threads"]
    assert [line.name for line in times.lines] == ["1 thread", "fresh interpreter", "2 threads"]
    assert "1 thread, 1,000 inferences: 40.20 MiB" in [dot.title for dot in memory.dots]


def test_latencies_rise_from_none_to_all_inferences(report):
    (found,) = latency_charts(whole_report(report))

    assert [line.name for line in found.lines] == ["float", "int8"]
    heights = [float(place.split(",")[1]) for place in found.lines[1].places.split()]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 101


def test_reports_without_the_curves_have_no_charts(report):
    old = replace(report.latency.quantized, ranked=())

    assert soak_charts(report.stability.soaks) == []
    assert latency_charts(replace(report, latency=replace(report.latency, quantized=old))) == []
    assert latency_charts(replace(report, latency=None)) == []
