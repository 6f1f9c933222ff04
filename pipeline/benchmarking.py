"""Measure the cost of an inference of a .tflite file, with the same steps as builds and validations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import leaf_errors_mapped
from pipeline.run import Run
from pipeline.runtimes.remote import RemoteRuntime
from pipeline.runtimes.runtime import runtime_of
from pipeline.scratch import scratch
from pipeline.validation import breakdown
from pipeline.validation.against import Against, Reference
from pipeline.validation.assemble import assemble_against
from pipeline.validation.breakdown import Breakdown  # noqa: TC001
from pipeline.validation.costs import DeviceLatency, EmulatedCost, HostLatency  # noqa: TC001
from pipeline.validation.latency import LatencyComparison  # noqa: TC001
from pipeline.validation.measure import Timing, ToMeasure, measure
from pipeline.validation.model_under_test import InputSpec, ModelUnderTest, OutputSpec

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.transports.ssh import SshAddress
    from pipeline.build_config import BuildConfig
    from pipeline.store import Store
    from pipeline.targets import Device
    from pipeline.validation.measure import Measurements
    from pipeline.validation.plan import Measurement

INPUTS = 8
"""Number of inputs, which are noise; every inference takes the next one."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The measurements.

    Attributes:
        sha256: of the file.
        host: for each thread count.
        devices: real ones, for each thread count.
        emulated: one for each emulated device.
        operators: None if that was not asked.
        against: likewise.
        ratio: against the float model; None if there is none.
    """

    sha256: str
    host: tuple[HostLatency, ...]
    devices: tuple[DeviceLatency, ...]
    emulated: tuple[EmulatedCost, ...]
    operators: Breakdown | None
    against: Against | None
    ratio: LatencyComparison | None


def benchmark_file(
    file: Path,
    *,
    devices: tuple[Device, ...],
    addresses: tuple[SshAddress, ...],
    config: BuildConfig,
    store: Store,
    runs: int,
    warmup_runs: int,
    operators: bool,
    baseline: Path | None = None,
    against: Path | None = None,
) -> Costs:
    """Time a .tflite file now, and count its instructions unless the store has them.

    Args:
        devices: those to count on.
        addresses: of real devices to time on.
        config: its thread counts, pairs and seed.
        store: where counts are kept, those of builds and validations as well.
        runs: inferences timed for each thread count.
        warmup_runs: inferences before those.
        operators: whether to measure each operator as well.
        baseline: the float model to time side by side.
        against: a reference model to compare with.

    Raises:
        DeviceError: a real device is not reached, or lacks something.
        InputError: a file is damaged, or a runtime refuses it.
        StageError: a runtime crashed or hung.
        ToolchainError: something that is needed is not installed or provisioned.
    """
    under_test = ModelUnderTest.open(file)
    float_model = ModelUnderTest.open(baseline) if baseline else None
    reference = Reference(file=ModelUnderTest.open(against).source) if against else None
    counting = tuple(device for device in devices if _counts(device))
    with leaf_errors_mapped(), scratch("bench") as folder:
        to_measure = ToMeasure(
            model=under_test.source,
            baseline=float_model.source if float_model else None,
            against=reference,
            inputs=InputSpec((), INPUTS, config.seed),
            outputs=OutputSpec(),
            package="litert",
            devices=counting,
            real=tuple(map(RemoteRuntime.of, addresses)),
            config=config.validation,
            plan=_plan(operators=operators),
            timing=Timing(runs, warmup_runs, config.validation.threads, fresh=True),
        )
        (outputs := folder / "outputs").mkdir()
        found = measure(to_measure, Run(folder, store), outputs)
    return _joined(under_test, reference, found)


def _plan(*, operators: bool) -> tuple[Measurement, ...]:
    always: tuple[Measurement, ...] = ("devices", "latency", "regression", "times")
    return (*always, "operators") if operators else always


def _counts(device: Device) -> bool:
    """Return whether instructions are counted on a device, which then has to be provisioned.

    Raises:
        ToolchainError: the emulator is not provisioned, or does not emulate the device.
    """
    runtime = runtime_of(device)
    runtime.require()
    return runtime.capabilities.counts


def _joined(under_test: ModelUnderTest, reference: Reference | None, found: Measurements) -> Costs:
    return Costs(
        sha256=under_test.flat.sha256,
        host=found.times.found if found.times else (),
        devices=tuple(latency for run in found.devices for latency in run.latencies),
        emulated=tuple(run.costs[0] for run in found.devices if run.costs),
        operators=breakdown.assemble(under_test, found.operators) if found.operators else None,
        against=assemble_against(under_test, reference, found) if reference else None,
        ratio=found.latency.found if found.latency else None,
    )
