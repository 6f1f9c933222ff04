"""Cost of an inference, in four kinds that must not be mixed.

========================  ========================================================  ==================
kind                      what it is                                                unit
========================  ========================================================  ==================
``host``                  LiteRT on this machine                                    microseconds
``emulated instructions`` what an emulated core executes; not a time                instructions, bytes
``board``                 virtual time of an emulated machine that counts           virtual microseconds
                          instructions as its clock
``device``                real hardware, reached over ssh or adb                    microseconds
========================  ========================================================  ==================

Each kind is a separate type without a common number, so that code that prints or compares one kind
cannot be given another.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.emulation.board.bench import BoardLatency as BoardLatency
from pipeline.errors import ConfigError
from pipeline.progress import track
from pipeline.runtimes.machine import Machine  # noqa: TC001 - pydantic reads the annotations
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validation.delegation import multiply_accumulates
from pipeline.validation.latency import Timings, summarize
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.artifacts import Dataset, Source
    from pipeline.runtimes.runtime import Runtime
    from pipeline.runtimes.session import ModelDetails
    from pipeline.validation.model_under_test import Golden, InputSpec

# Each process gives one cold start; the median needs several.
PROCESSES = 5


@dataclass(frozen=True, kw_only=True)
class HostLatency:
    """Times on this machine; comparable only with what was measured beside it.

    Attributes:
        runtime: in words, with its version.
        threads: that the runtime may use.
        xnnpack_share: share of the multiply-accumulates that run in XNNPACK, 0..1.
        machine: as it was when the measurement ended.
        processes: fresh ones, of which the next three are the medians.
        cold_start_us: from the start of the process to the answer of its first inference, the interpreter of
            Python and the import of the runtime included.
        init_us: loading the model and allocating its tensors.
        first_us: the first ``invoke``.
        warmup: the next ones; None if there are none.
        steady: those after the warm-up, of all processes.
    """

    runtime: str
    threads: int
    xnnpack_share: float
    machine: Machine
    processes: int
    cold_start_us: float
    init_us: float
    first_us: float
    warmup: Timings | None
    steady: Timings
    kind: Literal["host"] = "host"


@dataclass(frozen=True, kw_only=True)
class EmulatedCost:
    """Instructions of one warm inference on an emulated core, on one thread; not a time.

    Attributes:
        device: its name in ``pipeline device list``.
        core: by qemu's name.
        runtime: in words, with its version.
        xnnpack_share: share of the multiply-accumulates that run in XNNPACK, 0..1.
        instructions: median of the inferences counted.
        load_bytes: likewise.
        store_bytes: likewise.
        inferences: how many were counted.
    """

    device: str
    core: str
    runtime: str
    xnnpack_share: float
    instructions: int
    load_bytes: int
    store_bytes: int
    inferences: int
    kind: Literal["emulated instructions"] = "emulated instructions"


@dataclass(frozen=True, kw_only=True)
class DeviceLatency:
    """Times on real hardware.

    Attributes:
        device: the name that the user gave it.
        transport: how it was reached.
        runtime: in words, with its version.
        xnnpack_share: share of the multiply-accumulates that run in XNNPACK, 0..1.
        machine: as it said it was when the measurement ended.
        cold_start_us: from the start of the process to its first answer; None if not measured.
    """

    device: str
    transport: Literal["ssh", "adb"]
    runtime: str
    threads: int
    xnnpack_share: float
    machine: Machine
    cold_start_us: float | None
    init_us: float
    first_us: float
    steady: Timings
    kind: Literal["device"] = "device"


@dataclass(frozen=True, kw_only=True)
class HostTimes(Artifact):
    """Times on this machine for each thread count."""

    found: tuple[HostLatency, ...]


def time_model(
    model: Source,
    *,
    data: Dataset | None,
    inputs: InputSpec,
    threads: tuple[int, ...],
    runs: int,
    warmup_runs: int = 10,
    out: Path,
) -> HostTimes:
    """Time a model on this machine, which nothing else may use meanwhile; errors as ``measure_host``."""
    under_test, golden, host = ModelUnderTest.of(model), inputs.golden(data), host_runtime("litert")
    with track("host latency", PROCESSES * len(threads), "processes") as advance:
        found = tuple(
            measure_host(
                host, under_test, golden, threads=count, runs=runs, warmup_runs=warmup_runs, advance=advance
            )
            for count in threads
        )
    return HostTimes(folder=out, found=found)


def measure_host(
    runtime: Runtime,
    under_test: ModelUnderTest,
    golden: Golden,
    *,
    threads: int,
    runs: int,
    warmup_runs: int = 10,
    processes: int = PROCESSES,
    advance: Callable[[], None] = lambda: None,
) -> HostLatency:
    """Time a model on this machine: cold start, initialisation, first inference and steady state apart.

    Args:
        runtime: one of the host's.
        under_test: the model.
        golden: the inputs, which go round.
        threads: that the runtime may use.
        runs: inferences timed in all, spread over the processes.
        warmup_runs: inferences before those, in each process.
        processes: fresh ones.
        advance: called after each.

    Raises:
        ConfigError: there are fewer runs than processes.
        InputError: the runtime refuses the model.
        StageError: it crashed or hung.
    """
    if runs < processes:
        message = f"{runs} runs cannot be spread over {processes} processes; ask for at least {processes}"
        raise ConfigError(message)
    starts: list[tuple[float, float, float]] = []
    warmup: list[float] = []
    steady: list[float] = []
    for index in range(processes):
        began = time.perf_counter_ns()
        with Session(runtime, under_test.path, threads=threads) as session:
            details = session.describe()
            inputs = golden.inputs(details)
            first = session.time(inputs, runs=0, warmup_runs=0)
            starts.append(((time.perf_counter_ns() - began) / 1e3, first.init_us, first.first_us))
            if warmup_runs:
                before = session.time(inputs, runs=warmup_runs - 1, warmup_runs=0)
                warmup += [before.first_us, *before.latencies_us]
            share = runs // processes + (index < runs % processes)
            timed = session.time(inputs, runs=share - 1, warmup_runs=0)
            steady += [timed.first_us, *timed.latencies_us]
        advance()
    cold_start_us, init_us, first_us = np.median(np.array(starts), axis=0)
    return HostLatency(
        runtime=runtime.title,
        threads=threads,
        xnnpack_share=xnnpack_share(details, under_test),
        machine=runtime.machine(),
        processes=processes,
        cold_start_us=float(cold_start_us),
        init_us=float(init_us),
        first_us=float(first_us),
        warmup=summarize(warmup) if warmup else None,
        steady=summarize(steady),
    )


def measure_device(
    runtime: Runtime,
    under_test: ModelUnderTest,
    golden: Golden,
    *,
    threads: int,
    runs: int,
    warmup_runs: int = 10,
) -> DeviceLatency:
    """Time a model on a device, in one fresh process of it; the connection is in none of the times.

    Args:
        runtime: of a device.
        under_test: the model.
        golden: the inputs, which go round.
        threads: that the runtime may use.
        runs: inferences timed.
        warmup_runs: inferences before those, after the first.

    Raises:
        DeviceError: the device was not reached, or no longer is.
        InputError: the runtime refuses the model.
        StageError: it crashed or hung.
    """
    assert runtime.device is not None
    with Session(runtime, under_test.path, threads=threads) as session:
        details = session.describe()
        timed = session.time(golden.inputs(details), runs=runs, warmup_runs=warmup_runs)
    return DeviceLatency(
        device=runtime.device.name,
        transport="ssh",
        runtime=runtime.title,
        threads=threads,
        xnnpack_share=xnnpack_share(details, under_test),
        machine=runtime.machine(),
        cold_start_us=None,
        init_us=timed.init_us,
        first_us=timed.first_us,
        steady=summarize(timed.latencies_us),
    )


def count_emulated(
    session: Session, under_test: ModelUnderTest, golden: Golden, *, runs: int = 5
) -> EmulatedCost:
    """Count what one inference of ``under_test`` executes in a session of an emulated device, on one thread.

    The model is loaded into the session, whichever was there before: starting another worker takes seconds.

    Raises:
        InputError: the runtime refuses the model.
        StageError: it crashed or hung, or the session is not of an emulated device.
    """
    session.load(under_test.path)
    details, device = session.describe(), session.runtime.device
    count = session.count_instructions(golden.inputs(details), runs=runs)
    assert device is not None
    return EmulatedCost(
        device=device.name,
        core=device.cpu,
        runtime=session.runtime.title,
        xnnpack_share=xnnpack_share(details, under_test),
        instructions=count.instructions,
        load_bytes=count.load_bytes,
        store_bytes=count.store_bytes,
        inferences=len(count.samples),
    )


def xnnpack_share(details: ModelDetails, under_test: ModelUnderTest) -> float:
    """Share of the multiply-accumulates that run in XNNPACK, of any type; of the nodes if there are none."""
    work: Counter[bool] = Counter()
    for node, operator in zip(details.nodes, under_test.flat.operators, strict=True):
        is_work = bool(operator.outputs) and multiply_accumulates(operator, under_test.flat)
        work[node.placement != "builtin"] += is_work or 0
    if not sum(work.values()):
        work = Counter(node.placement != "builtin" for node in details.nodes)
    return work[True] / max(sum(work.values()), 1)
