"""Layers in float beside int8: error, bytes, zeros, values, and instructions on each device."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.report.drawing import Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.validation.breakdown import Breakdown, EmulatedWhole, OperatorCost
    from pipeline.validation.graph import GraphNode
    from pipeline.validation.layer_errors import LayerError
    from pipeline.validation.layer_profile import LayerProfile, LayerProfiles
    from pipeline.validation.report import Report

FRAME = Frame.within(width=120, height=28, margin=3)
MAX_LAYERS = 400
CALL = "the call itself"


@dataclass(frozen=True)
class Outlines:
    """Two histograms on one scale: their outlines, that of float "" if it is unknown, and their range."""

    baseline: str
    quantized: str
    low: float
    high: float


@dataclass(frozen=True)
class LayerRow:
    """A layer of the model.

    Attributes:
        operators: kinds of its operators.
        baseline_bytes: of its constants in the float file; None if that has no such layer.
        zeros: share of its kernels' weights, 0..1; None without a kernel.
        error: None if nothing that it gives to others is in steps, or it was not measured.
        share: length of its error's bar in per cent; that of the worst layer is 100.
    """

    layer: str
    operators: str
    baseline_bytes: int | None
    constant_bytes: int
    zeros: float | None
    error: LayerError | None
    share: float
    weights: Outlines | None
    activations: Outlines | None


@dataclass(frozen=True)
class CostRow:
    """Instructions of a layer; None where none of its operators can run alone, or there is no such layer."""

    layer: str
    baseline: int | None
    quantized: int | None
    baseline_percent: float
    quantized_percent: float


@dataclass(frozen=True)
class DeviceCosts:
    """Instructions by layer on one emulated device.

    Attributes:
        shares: how much of float and of int8 the rows add up to, 0..1; None of a float model not counted.
    """

    device: str
    rows: tuple[CostRow, ...]
    shares: tuple[float | None, float]


def layer_rows(report: Report) -> list[LayerRow]:
    """Return the layers in the order of execution; none of a report without the graph."""
    by_layer, of_float = _grouped(report.graph), _grouped(report.baseline_graph)
    profiles = {each.layer: each for each in report.profile.layers} if report.profile else {}
    errors = [each.error.output.sqnr_db for each in profiles.values() if each.error]
    worst = min((value for value in errors if value is not None), default=0.0)
    rows = []
    for layer, nodes in list(by_layer.items())[:MAX_LAYERS]:
        profile = profiles.get(layer)
        weights, error = sum(node.weights for node in nodes), profile.error if profile else None
        before = of_float.get(layer)
        rows.append(
            LayerRow(
                layer=layer,
                operators=", ".join(dict.fromkeys(node.op for node in nodes)),
                baseline_bytes=None if before is None else sum(node.constant_bytes for node in before),
                constant_bytes=sum(node.constant_bytes for node in nodes),
                zeros=sum(node.zeros for node in nodes) / weights if weights else None,
                error=error,
                share=_noise_share(error, worst),
                weights=_weights(profile) if profile else None,
                activations=_activations(error) if error else None,
            )
        )
    return rows


def _grouped(nodes: Iterable[GraphNode]) -> dict[str, list[GraphNode]]:
    found: dict[str, list[GraphNode]] = defaultdict(list)
    for node in nodes:
        found[node.layer or f"{node.index} {node.op}"].append(node)
    return found


def _noise_share(error: LayerError | None, worst: float) -> float:
    """Return the length of a bar in per cent: 100 for the worst layer, 0 from 60 dB better on."""
    if error is None or error.output.sqnr_db is None:
        return 0.0
    return round(max(100 * (1 - (error.output.sqnr_db - worst) / 60), 2), 1)


def _weights(profile: LayerProfile) -> Outlines | None:
    after, before = profile.weights, profile.float_weights
    if after is None:
        return None
    return _outlines(before.counts if before else (), after.counts, after.low, after.high)


def _activations(error: LayerError) -> Outlines | None:
    output = error.output
    if not output.int8_counts:
        return None
    return _outlines(output.counts, output.int8_counts, output.int8_low, output.int8_high)


def _outlines(baseline: Sequence[int], quantized: Sequence[int], low: float, high: float) -> Outlines:
    most = max(*baseline, *quantized)
    return Outlines(FRAME.steps(baseline, most) if baseline else "", FRAME.steps(quantized, most), low, high)


def unnamed_inputs(profiles: LayerProfiles, rows: Sequence[LayerRow]) -> list[LayerProfile]:
    """Return the profiles of the model's inputs, which are no layers."""
    names = {row.layer for row in rows}
    return [each for each in profiles.layers if each.layer not in names and each.error]


def device_costs(found: Breakdown | None) -> list[DeviceCosts]:
    """Return the instructions of each layer by device; none if they were not counted."""
    if found is None:
        return []
    wholes = {whole.device: whole for whole in found.baseline_devices}
    return [_costs(found, whole, wholes.get(whole.device)) for whole in found.devices]


def _costs(found: Breakdown, whole: EmulatedWhole, baseline: EmulatedWhole | None) -> DeviceCosts:
    after, before = _instructions(found.operators, whole.device), _instructions(found.baseline, whole.device)
    after[CALL] = whole.invoke
    if baseline is not None:
        before[CALL] = baseline.invoke
    order = [*(name for name in after if name != CALL), *(name for name in before if name not in after), CALL]
    most = max((value or 0 for each in (before, after) for value in each.values()), default=0) or 1
    rows = tuple(
        CostRow(
            layer=name,
            baseline=before.get(name),
            quantized=after.get(name),
            baseline_percent=round(100 * (before.get(name) or 0) / most, 1),
            quantized_percent=round(100 * (after.get(name) or 0) / most, 1),
        )
        for name in order[:MAX_LAYERS]
    )
    return DeviceCosts(whole.device, rows, (baseline.share if baseline else None, whole.share))


def _instructions(operators: Iterable[OperatorCost], device: str) -> dict[str, int | None]:
    """Return the sum of each layer's operators, in the order of execution."""
    found: dict[str, int | None] = {}
    for row in operators:
        name, count = row.layer or f"{row.index} {row.op}", row.instructions.get(device)
        found[name] = (found.get(name) or 0) + count if count is not None else found.get(name)
    return found
