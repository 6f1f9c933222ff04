"""Costs in print: every row says its kind, percentiles without samples are not told."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from pipeline.report.against import against_tables
from pipeline.report.breakdown import breakdown_tables
from pipeline.report.costs import (
    device_lines,
    device_table,
    emulated_table,
    host_lines,
    host_table,
    ratio_table,
)
from pipeline.runtimes.machine import Machine
from pipeline.validation.against import Against, InstructionChange
from pipeline.validation.breakdown import Breakdown, EmulatedWhole, HostWhole, OperatorCost
from pipeline.validation.costs import DeviceLatency, EmulatedCost, HostLatency
from pipeline.validation.latency import summarize

MACHINE = Machine(cpu="Some Core", cores=4, governor="performance", load_average=0.5)
TIMED = {
    "runtime": "litert 2.3.0",
    "threads": 2,
    "xnnpack_share": 0.95,
    "cold_start_us": 200_000.0,
    "init_us": 1500.0,
    "first_us": 140.0,
    "steady": summarize(np.linspace(90, 110, 64)),
}
HOST = HostLatency(**TIMED, machine=MACHINE, processes=5, warmup=summarize([120.0, 130.0]))
EMULATED = EmulatedCost(
    device="rpi5",
    core="cortex-a76",
    runtime="litert 2.3.0, emulated cortex-a76",
    xnnpack_share=1.0,
    instructions=1_164_333,
    load_bytes=3_705_319,
    store_bytes=147_421,
    inferences=5,
)
DEVICE = DeviceLatency(**TIMED, device="kitchen", transport="ssh", machine=MACHINE)


def printed(*parts):
    stream = io.StringIO()
    console = Console(file=stream, width=110, color_system=None, highlight=False, markup=False)
    for part in parts:
        console.print(part)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("table", "row"),
    [(host_table, HOST), (emulated_table, EMULATED), (device_table, DEVICE)],
)
def test_a_row_begins_with_its_kind(table, row):
    lines = printed(table([row])).splitlines()

    assert lines[1].startswith("kind")
    assert lines[2].startswith(row.kind)


def test_only_times_are_called_latency():
    assert "no time" in printed(emulated_table([EMULATED]))
    assert "µs" not in printed(emulated_table([EMULATED]))
    assert "Virtual" not in printed(host_table([HOST]), device_table([DEVICE]))


def test_a_percentile_without_its_samples_is_a_dash():
    row = printed(host_table([HOST])).splitlines()[2].split()

    assert row == ["host", "2", "200,000", "1,500", "140", "100", "108", "-"]


def test_what_a_time_depends_on_is_said():
    text = " ".join(printed(host_table([HOST])).split())

    for fact in (
        "litert 2.3.0",
        "95.0% of the arithmetic in XNNPACK",
        "Some Core",
        "performance",
        "load 0.5",
    ):
        assert fact in text


def test_benchmark_models_lines_come_with_their_kind():
    timings, parts = host_lines(HOST)

    assert re.fullmatch(r"host, 2 threads: Timings \(microseconds\): count=64 first=90 curr=110 .*", timings)
    assert parts == (
        "host, 2 threads: Inference timings in us: Init: 1500, First inference: 140, Warmup (avg): 125, "
        "Inference (avg): 100"
    )


def test_the_lines_of_a_device_name_it():
    assert device_lines(DEVICE)[0].startswith("device kitchen, 2 threads: Timings (microseconds): count=64 ")


def test_a_device_says_what_it_is_and_runs():
    text = " ".join(printed(device_table([DEVICE])).split())

    assert "kitchen, 2 threads: litert 2.3.0, 95.0% of the arithmetic in XNNPACK; Some Core" in text


def test_a_ratio_stands_beside_its_control(report):
    lines = printed(ratio_table("Side by side", report.latency, names=("float", "this"))).splitlines()

    assert re.match(r"host +float / this, 9 pairs +2.140x .* faster", lines[2])
    assert re.match(r"host +control: float / float +1.000x", lines[3])


def test_another_model_is_compared_figure_by_figure(report):
    slower = EmulatedCost(**{**vars(EMULATED), "instructions": 1_200_000})
    found = Against(
        reference_name="v1[red].tflite",
        reference=report.baseline,
        candidate=report.quantized,
        devices=(InstructionChange(candidate=slower, reference=EMULATED),),
        accuracy=report.accuracy,
        latency=report.latency,
    )

    text = printed(*against_tables(found))

    assert "v1" in text
    assert re.search(
        r"emulated instructions  rpi5, cortex-a76: instructions +1,164,333 +1,200,000 +\+3.06%", text
    )
    assert re.search(r"file +size, bytes +318,004 +95,712 +-69.90%", text)
    assert "top-1, 2,000 samples" in text


def operator(index, op, layer, instructions, host_us):
    return OperatorCost(
        index=index,
        op=op,
        layer=layer,
        placement="xnnpack-int8",
        macs=100,
        instructions={} if instructions is None else {"rpi5": instructions},
        load_bytes={},
        store_bytes={},
        host_us=host_us,
    )


def test_operators_and_layers_are_sorted_by_cost_and_the_parts_add_up():
    found = Breakdown(
        operators=(
            operator(0, "ADD", "small", 200, 2.0),
            operator(1, "CONV_2D", "large", 600, 6.0),
            operator(2, "RELU", "small", 100, 1.0),
            operator(3, "CUSTOM", "", None, None),
        ),
        devices=(
            EmulatedWhole(
                device="rpi5", core="cortex-a76", instructions=1000, invoke=87, operators=900, partitions=1
            ),
        ),
        host=HostWhole(runtime="litert", total_us=10.0, invoke_us=0.5, operators_us=9.0, partitions=1),
    )

    operators, layers, sums = (printed(part) for part in breakdown_tables(found))

    assert [line.split()[0] for line in operators.splitlines()[4:]] == ["1", "0", "2", "3"]
    assert "60.0%" in operators.splitlines()[4]
    assert [line.split()[0] for line in layers.splitlines()[4:]] == ["large", "small", "unknown"]
    assert "30.0%" in layers.splitlines()[5]
    assert "parts add up to 98.7% (1 partition, 3 of 4 operators run alone)" in sums
    assert all(line.startswith(("host", "emulated instructions")) for line in sums.splitlines())
