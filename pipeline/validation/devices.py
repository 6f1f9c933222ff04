"""Run a model on the target's devices: their output bits, and the cost of an inference."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

from pipeline.runtimes.session import Session
from pipeline.targets import Package  # noqa: TC001 - pydantic reads the annotations
from pipeline.validation.costs import DeviceLatency, EmulatedCost, count_emulated, measure_device
from pipeline.validation.inference import GOLDEN_MACS, GoldenRun, record_golden
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.artifacts import Dataset, Source
    from pipeline.runtimes.runtime import Runtime
    from pipeline.validation.model_under_test import InputSpec


@dataclass(frozen=True, kw_only=True)
class DeviceRun(GoldenRun):
    """The golden set on one device.

    Attributes:
        device: its name.
        kind: how the model ran: "emulated" (qemu-user), "native" or "device".
        package: the runtime on the device.
        costs: first of the model, then of the others to count; emulated cores only.
        latencies: for each thread count; real devices only.
    """

    device: str
    kind: str
    package: Package
    costs: tuple[EmulatedCost, ...] = ()
    latencies: tuple[DeviceLatency, ...] = ()


def run_on_device(
    model: Source,
    *others: Source,
    data: Dataset | None,
    inputs: InputSpec,
    runtime: Runtime,
    runs: int = 0,
    warmup_runs: int = 10,
    threads: tuple[int, ...] = (1,),
    out: Path,
) -> DeviceRun:
    """Run the golden set on a device; on an emulated core count instructions, on a real one time the model.

    Args:
        others: models whose instructions are counted as well.
        data: whose test samples to take; None for noise.
        runtime: of a device.
        runs: inferences that are timed on a real device, for each thread count.
        warmup_runs: inferences before those.
        threads: the thread counts.

    Raises:
        DeviceError: a real device was not reached, or no longer is.
        InputError: the runtime refuses a file, or the samples do not fit it.
        StageError: it crashed or hung.
        ToolchainError: the emulator is not provisioned.
    """
    under_test, golden = ModelUnderTest.of(model), inputs.golden(data)
    is_emulated, is_real = runtime.capabilities.counts, runtime.capabilities.times == "device"
    with Session(runtime, under_test.path) as session:
        run = record_golden(session, under_test, golden, out, None if is_real else GOLDEN_MACS)
        models = (under_test, *map(ModelUnderTest.of, others)) if is_emulated else ()
        costs = tuple(count_emulated(session, each, golden) for each in models)
    time_with = partial(measure_device, runtime, under_test, golden, runs=runs, warmup_runs=warmup_runs)
    latencies = tuple(time_with(threads=count) for count in threads) if is_real else ()
    assert runtime.device is not None
    return DeviceRun(
        **{field.name: getattr(run, field.name) for field in fields(run)},
        device=runtime.device.name,
        kind=runtime.kind,
        package=runtime.package,
        costs=costs,
        latencies=latencies,
    )
