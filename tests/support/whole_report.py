"""A report with every section, of a model whose operators, costs and values are made up."""

from __future__ import annotations

import math
from dataclasses import replace

from pipeline.runtimes.session import Node
from pipeline.tasks.comparison import Confidences, Confusion, FlippedSample
from pipeline.training_history import Curve, Histogram, TrainingHistory
from pipeline.validation.breakdown import Breakdown, EmulatedWhole, OperatorCost
from pipeline.validation.delegation import Delegation
from pipeline.validation.graph import GraphNode
from pipeline.validation.latency import summarize
from pipeline.validation.layer_errors import LayerError, SignalError
from pipeline.validation.layer_profile import LayerProfile, LayerProfiles
from pipeline.validation.provenance import Provenance
from pipeline.validation.report import Verdict
from pipeline.validation.stability import SoakPoint

BLOCK = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD")
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def graph_node(index, op="CONV_2D", reads=None, **changes):
    """An operator that reads the one before it."""
    facts = {
        "index": index, "op": op, "layer": f"layer_{index}",
        "reads": (index - 1,) if reads is None else reads,
        "shape": (1, 8, 8, 16), "dtype": "int8", "constant_bytes": 640, "weights": 576, "zeros": 288,
    }  # fmt: skip
    return GraphNode(**(facts | changes))


def residual_graph(blocks):
    """Blocks whose input is added to their output, then a softmax."""
    nodes = [graph_node(0)]
    for _ in range(blocks):
        first = len(nodes)
        nodes += [graph_node(first + place, op) for place, op in enumerate(BLOCK)]
        nodes[-1] = graph_node(first + 3, "ADD", (first + 2, first - 1), weights=0, zeros=0, constant_bytes=0)
    return (*nodes, graph_node(len(nodes), "SOFTMAX", weights=0, zeros=0, constant_bytes=0))


def delegation(runtime, graph, *builtin):
    """All operators in XNNPACK, but those of these kinds."""
    nodes = tuple(
        Node(node.index, node.op, ("int8",), ("int8",), "builtin" if node.op in builtin else "xnnpack-int8")
        for node in graph
    )
    return Delegation(runtime=runtime, nodes=nodes, partitions=1, multiply_accumulates={"xnnpack-int8": 1})


def operator_costs(graph, instructions):
    return tuple(
        OperatorCost(
            index=node.index, op=node.op, layer=node.layer, placement="xnnpack-int8", macs=576,
            instructions={"rpi4": instructions, "rpi5": instructions // 2}, load_bytes={}, store_bytes={},
            host_us=None,
        )
        for node in graph
    )  # fmt: skip


def wholes(graph, instructions):
    return tuple(
        EmulatedWhole(
            device=device, core=f"{device} core", instructions=len(graph) * each + 500, invoke=500,
            operators=len(graph) * each, partitions=1,
        )
        for device, each in (("rpi4", instructions), ("rpi5", instructions // 2))
    )  # fmt: skip


def layer_error(decibels):
    counts = tuple(round(100 * math.exp(-(((place - 9) / 4) ** 2))) for place in range(32))
    output = SignalError(
        sqnr_db=decibels, channel_sqnr_db=decibels, low=-0.1, high=2.0, int8_low=-0.2, int8_high=2.2,
        saturated=0.01, counts=counts, int8_counts=counts[::-1],
    )  # fmt: skip
    return LayerError(output=output, input_sqnr_db=None, added_sqnr_db=decibels + 3)


def weights(name):
    return Histogram(layer=name, of="weights", low=-1.0, high=1.0, counts=tuple(range(32)))


def training(graph):
    seen = tuple(weights(node.layer) for node in graph if node.weights)
    curves = (Curve(name="loss", values=(0.5, 0.25, 0.125)),)
    return TrainingHistory(name="prune", curves=curves, ranges=(), before=seen, after=seen)


def profile_of(graph):
    layers = tuple(
        LayerProfile(
            layer=node.layer, error=layer_error(30.0 + node.index % 7),
            weights=weights(node.layer) if node.weights else None,
            float_weights=weights(node.layer) if node.weights else None,
        )
        for node in graph
    )  # fmt: skip
    given = LayerProfile(layer="image", error=layer_error(48.0))
    return LayerProfiles(samples=64, exact_weights=True, layers=(given, *layers))


def soak_curve(threads):
    return tuple(
        SoakPoint(
            inferences=20 * place, memory_bytes=(40 << 20) + 4096 * place, cpu_us=90 + place % 3,
            fresh_cpu_us=91.0 if threads == 1 else None,
        )
        for place in range(1, 51)
    )  # fmt: skip


def whole_report(report, blocks=6):
    """Return the report with what it lacks."""
    graph = residual_graph(blocks)
    confusion = Confusion(baseline=((9, 1), (0, 10)), quantized=((7, 3), (1, 9)))
    flips = (
        FlippedSample(
            sample=7, label="left", baseline=("left", 0.9), quantized=("right", 0.6), picture=PICTURE
        ),
        FlippedSample(
            sample=8,
            label="right",
            baseline=("left", 0.9),
            quantized=("right", 0.6),
            series=((0.0, 2.0, 1.0),),
        ),
    )
    accuracy = replace(
        report.accuracy[0], confusion=confusion, flipped=flips,
        confidences=Confidences(baseline=(0, 1, 4), quantized=(1, 2, 2)),
    )  # fmt: skip
    soaks = tuple(replace(run, curve=soak_curve(run.threads)) for run in report.stability.soaks)
    timed = [100.0 + place**1.5 for place in range(300)]
    return replace(
        report,
        accuracy=(accuracy,),
        graph=graph,
        baseline_graph=tuple(replace(node, constant_bytes=4 * node.constant_bytes) for node in graph),
        delegation=(delegation("host", graph, "SOFTMAX"), delegation("rpi4 core", graph, "SOFTMAX", "ADD")),
        operators=Breakdown(
            operators=operator_costs(graph, 3000), devices=wholes(graph, 3000), host=None,
            baseline=operator_costs(graph, 9000), baseline_devices=wholes(graph, 9000),
        ),
        profile=profile_of(graph),
        stability=replace(report.stability, soaks=soaks),
        latency=replace(
            report.latency, baseline=summarize([2 * each for each in timed]), quantized=summarize(timed)
        ),
        trainings=(training(graph),),
        verdicts=tuple(
            Verdict(gate="stability", subject=outcome, outcome=outcome, got="1", allowed="2")
            for outcome in ("passed", "warning", "failed", "skipped", "inconclusive")
        ),
        created="2026-01-02T03:04:05+00:00",
        provenance=Provenance(
            command="pipeline build --target arm64", version="1.0", commit="ab" * 20, model_sha256="c1" * 32,
            data_sha256="d2" * 32, settings_sha256="e3" * 32, tools={"tensorflow": "2.15.1"},
        ),
    )  # fmt: skip
