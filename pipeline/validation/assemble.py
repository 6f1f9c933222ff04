"""Assemble the report from the measurements."""

from __future__ import annotations

import shutil
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Measured
from pipeline.runtimes.capabilities import PACKAGES
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation import breakdown
from pipeline.validation.against import Against, InstructionChange
from pipeline.validation.compatibility import check_compatibility
from pipeline.validation.exactness import count_not_finite, differences
from pipeline.validation.graph import graph_of
from pipeline.validation.model_under_test import ModelUnderTest
from pipeline.validation.report import DeviceResult, Report, RuntimeAccuracy, write_report
from pipeline.validation.stability import StabilityReport

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Source
    from pipeline.targets import Package
    from pipeline.validation.against import Reference
    from pipeline.validation.devices import DeviceRun
    from pipeline.validation.evaluate import Accuracy
    from pipeline.validation.inference import GoldenRun
    from pipeline.validation.measure import Measurements

TOOLS = ("ai-edge-litert", "tflite-runtime", "numpy")


def assemble_report(
    model: Source,
    *,
    name: str,
    baseline: Source,
    against: Reference | None,
    found: Measurements,
    described: dict[str, Any],
    known_layers: dict[str, str],
    out: Path,
) -> Measured:
    """Write the report of a build, and the golden set with the outputs that devices must return.

    Args:
        name: the model's file name.
        found: what was measured.
        described: what else the report says: target, classes, layers, ...
        known_layers: as for ``user_layers``.
    """
    report = make_report(
        model, found, name=name, baseline=baseline, against=against, known_layers=known_layers, **described
    )
    golden = right(found, described["runtime"])
    measured = Measured(
        folder=out, model_sha256=model.digest, inputs=len(golden.inputs), outputs=len(golden.outputs)
    )
    write_report(report, measured.report)
    for index in range(measured.inputs):
        shutil.copyfile(golden.golden_input(index), measured.golden_input(index))
    for index in range(measured.outputs):
        shutil.copyfile(golden.golden_output(index), measured.golden_output(index))
    return measured


def make_report(
    model: Source,
    found: Measurements,
    *,
    name: str,
    baseline: Source | None,
    against: Reference | None,
    known_layers: dict[str, str] | None = None,
    **described: Any,
) -> Report:
    """Join the measurements; sections that were not measured are empty or None.

    Args:
        known_layers: as for ``user_layers``.
        described: what else the report says: target, runtime, classes, layers, ...
    """
    under_test, golden = ModelUnderTest.of(model), found.golden
    float_model = ModelUnderTest.of(baseline) if baseline else None
    is_measured = found.soaks is not None or found.faults is not None
    return Report(
        name=name,
        tools={tool: metadata.version(tool) for tool in TOOLS},
        quantized=under_test.facts,
        baseline=float_model.facts if float_model else None,
        inputs=golden.inputs,
        outputs=golden.outputs,
        delegation=tuple(run.placed for run in (golden, found.other, *found.devices) if run is not None),
        accuracy=found.accuracy.found if found.accuracy and baseline else (),
        runtimes=tuple(_runtimes(found)),
        devices=tuple(_device(run, found, has_baseline=baseline is not None) for run in found.devices),
        stability=StabilityReport(
            soaks=found.soaks.found if found.soaks else (),
            faults=found.faults.found if found.faults else (),
        )
        if is_measured
        else None,
        shift=found.shift.found if found.shift else None,
        compatibility=check_compatibility(under_test.flat),
        parity=tuple(each.found for each in found.parity),
        against=assemble_against(under_test, against, found) if against else None,
        operators=_operators(under_test, float_model, found, known_layers),
        times=found.times.found if found.times else (),
        latency=found.latency.found if found.latency else None,
        not_finite=count_not_finite(golden.golden_outputs()),
        board=found.board.found if found.board else None,
        graph=graph_of(under_test.flat, known_layers),
        baseline_graph=graph_of(float_model.flat, known_layers) if float_model else (),
        profile=found.layers.found if found.layers else None,
        **described,
    )


def _operators(
    under_test: ModelUnderTest,
    float_model: ModelUnderTest | None,
    found: Measurements,
    known_layers: dict[str, str] | None,
) -> breakdown.Breakdown | None:
    if not found.operators:
        return None
    return breakdown.assemble(
        under_test,
        found.operators,
        baseline=float_model,
        of_baseline=found.baseline_operators,
        layers=known_layers,
    )


def right(found: Measurements, package: Package) -> GoldenRun:
    """Return the run whose bits a device with ``package`` has to return.

    LiteRT gives the host's bits. tflite-runtime's kernels for 32-bit Arm give those of the reference
    kernels, and its kernels for this host need not.
    """
    if PACKAGES[package].reference_bits and found.reference is not None:
        return found.reference
    return found.golden


def _runtimes(found: Measurements) -> list[RuntimeAccuracy]:
    """Return the host's runtimes: LiteRT, and tflite-runtime where it was measured."""
    runs = [_runtime(found.golden, found.golden, found.accuracy)]
    if found.other_problem:
        title = host_runtime("tflite-runtime").title
        runs.append(RuntimeAccuracy(runtime=title, problem=found.other_problem))
    elif found.other is not None:
        runs.append(_runtime(found.other, found.golden, found.other_accuracy))
    return runs


def _runtime(run: GoldenRun, host: GoldenRun, accuracy: Accuracy | None) -> RuntimeAccuracy:
    outputs = run.golden_outputs()
    differing, steps = differences(outputs, host.golden_outputs())
    compared = accuracy.found if accuracy else ()
    return RuntimeAccuracy(
        runtime=run.runtime,
        metric=compared[0].metrics[0].name if compared else "",
        value=compared[0].metrics[0].quantized if compared else None,
        samples=compared[0].samples if compared else 0,
        golden_samples=len(outputs[0]),
        differing_samples=differing,
        largest_difference=steps,
    )


def _device(run: DeviceRun, found: Measurements, *, has_baseline: bool) -> DeviceResult:
    """Compare bits with what they should be; a device that differs is judged on its own outputs."""
    outputs = run.golden_outputs()
    differing, steps = differences(outputs, right(found, run.package).golden_outputs())
    accuracy = found.device_accuracy.get(run.device)
    return DeviceResult(
        device=run.device,
        title=run.runtime,
        kind=run.kind,
        golden_samples=len(outputs[0]),
        differing_samples=differing,
        largest_difference=steps,
        quantized=run.costs[0] if run.costs else None,
        baseline=run.costs[1] if run.costs and has_baseline else None,
        accuracy=accuracy.found if accuracy else (),
        latency=run.latencies[0] if run.latencies else None,
    )


def assemble_against(under_test: ModelUnderTest, against: Reference, found: Measurements) -> Against:
    """Join what was measured of a model and its reference."""
    reference = ModelUnderTest.of(against.file)
    return Against(
        reference_name=reference.path.name,
        reference=reference.facts,
        candidate=under_test.facts,
        devices=tuple(
            InstructionChange(candidate=run.costs[0], reference=run.costs[-1])
            for run in found.devices
            if run.costs
        ),
        accuracy=found.against_accuracy.found if found.against_accuracy else (),
        latency=found.against_latency.found if found.against_latency else None,
        note=against.note,
    )
