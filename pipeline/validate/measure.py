"""Measure a .tflite file: on the host's runtimes, on each device, against its baseline and other files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.progress import track
from pipeline.runtimes.capabilities import PACKAGES
from pipeline.runtimes.runtime import host_runtime, reference_runtime, runtime_of
from pipeline.validate.accuracy import Judge
from pipeline.validate.against import Against, InstructionChange
from pipeline.validate.breakdown import assemble, measure_parts, write_parts
from pipeline.validate.compatibility import check_compatibility
from pipeline.validate.costs import PROCESSES, measure_host
from pipeline.validate.jobs import run_all
from pipeline.validate.latency import compare_side_by_side
from pipeline.validate.on_board import measure_on_board
from pipeline.validate.on_runtime import (
    OnRuntime,
    Refused,
    answer,
    answer_and_count,
    answer_and_time,
    answer_if_possible,
    count_not_finite,
    differences,
    differing,
    infer_samples,
)
from pipeline.validate.parity import first_difference
from pipeline.validate.report import DeviceResult, Report, RuntimeAccuracy
from pipeline.validate.shift import both_models, judge_clean, measure_shift
from pipeline.validate.stability import measure_stability
from pipeline.validate.subject import Golden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from models.ports import Port
    from models.task_rules import Task
    from pipeline.config import ValidateConfig
    from pipeline.runtimes.runtime import Runtime
    from pipeline.samples import Samples
    from pipeline.targets import Device, Package, Target
    from pipeline.tasks.comparison import Comparison
    from pipeline.validate.breakdown import PartCosts, Parts
    from pipeline.validate.costs import HostLatency
    from pipeline.validate.latency import LatencyComparison
    from pipeline.validate.on_board import BoardResult
    from pipeline.validate.on_runtime import GoldenSet
    from pipeline.validate.parity import Parity
    from pipeline.validate.shift_results import ShiftReport
    from pipeline.validate.stability import StabilityReport
    from pipeline.validate.subject import Subject

TOOLS = ("ai-edge-litert", "tflite-runtime", "numpy")


@dataclass(frozen=True)
class Judging:
    """How outputs are judged: for each its task, its name ("" of a single one), whether it is of logits."""

    tasks: tuple[Task, ...]
    outputs: tuple[str, ...]
    from_logits: tuple[bool | None, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Measured:
    """What was measured side by side."""

    devices: tuple[OnRuntime, ...]
    other: OnRuntime | Refused
    host: OnRuntime
    baseline: OnRuntime | None
    against: OnRuntime | None
    stability: StabilityReport
    shift: ShiftReport | None
    parts: tuple[PartCosts, ...]


@dataclass(frozen=True)
class _Latency:
    """Times on the host: for each count of threads, against the float model, against the other file."""

    times: tuple[HostLatency, ...]
    ratio: LatencyComparison | None
    against: LatencyComparison | None
    parts: tuple[PartCosts, ...]


@dataclass(frozen=True)
class Measurement:
    """One validation: what is measured and with what.

    Attributes:
        baseline: the float model, if there is one.
        samples: of the test set, if there are any.
        devices: those that are measured.
        shifted: the user's own samples of other distributions, by name.
        against: an earlier file that it may not cost more than.
        board: whether to measure on the emulated board as well.
        real: runtimes of real devices, measured as well.
    """

    quantized: Subject
    baseline: Subject | None
    samples: Samples | None
    judging: Judging
    target: Target
    devices: tuple[Device, ...]
    config: ValidateConfig
    seed: int
    shifted: Mapping[str, Samples] = field(default_factory=dict)
    against: Subject | None = None
    board: bool = False
    real: tuple[Runtime, ...] = ()

    @property
    def golden(self) -> Golden:
        return Golden(self.samples, self.config.golden_samples, self.seed)

    def run(self, name: str, **described: Any) -> tuple[Report, GoldenSet]:
        """Measure everything; all cores are kept busy, except while the host's latency is measured.

        Returns the report, and the golden samples with the outputs that the target's devices have to return.

        Args:
            name: of the report.
            described: what else the report says: classes, layers, ...

        Raises:
            DeviceError: a real device is no longer reached.
            InputError: a runtime refuses the file, or the samples do not fit it.
            StageError: a runtime crashed or hung.
            ToolchainError: the emulator is not provisioned.
        """
        host, other = host_runtime("litert"), host_runtime("tflite-runtime")
        devices = [found for found in dict.fromkeys(map(runtime_of, self.devices)) if found != host]
        with TemporaryDirectory(prefix="edge-operators-") as folder:
            parts = write_parts(self.quantized, Path(folder)) if self.config.operators else None
            measured = self._side_by_side(host, other, devices, parts)
            latency = self._latency(host, parts)
        on_host = measured.host
        report = Report(
            name=name,
            target=self.target.name,
            runtime=self.target.runtime,
            tools={tool: metadata.version(tool) for tool in TOOLS},
            quantized=self.quantized.facts,
            baseline=self.baseline.facts if self.baseline else None,
            inputs=on_host.details.inputs,
            outputs=on_host.details.outputs,
            delegation=tuple(
                found.placed
                for found in (on_host, measured.other, *measured.devices)
                if isinstance(found, OnRuntime)
            ),
            accuracy=self._compare(measured.baseline, on_host),
            runtimes=tuple(self._accuracy(found, on_host) for found in (on_host, measured.other)),
            devices=self._devices(measured),
            stability=measured.stability,
            shift=measured.shift,
            compatibility=check_compatibility(self.quantized.flat),
            parity=self._parity(measured),
            against=self._against(measured, latency.against),
            operators=assemble(self.quantized, (*measured.parts, *latency.parts)) if parts else None,
            times=latency.times,
            latency=latency.ratio,
            not_finite=count_not_finite(on_host.golden.outputs),
            board=self._board(host, on_host) if self.board else None,
            **described,
        )
        return report, self._right(self.target.runtime, on_host).golden

    def _side_by_side(
        self, host: Runtime, other: Runtime, devices: list[Runtime], parts: Parts | None
    ) -> _Measured:
        """Run the measurements that tolerate concurrent load."""
        others = tuple(filter(None, (self.baseline, self.against)))
        jobs: list[Callable[[], Any]] = [
            partial(answer_and_count, device, self.quantized, self.golden, others) for device in devices
        ]
        runs = PROCESSES * self.config.latency_inferences
        jobs += [
            partial(answer_and_time, device, self.quantized, self.golden, runs=runs) for device in self.real
        ]
        jobs += [partial(answer_if_possible, other, self.quantized, self.golden, self.samples)]
        subjects = (self.quantized, self.baseline, self.against)
        jobs += [partial(self._on_host, host, subject) for subject in subjects]
        found, count = run_all("validate", jobs), len(devices) + len(self.real)
        on_other, on_host, on_baseline, on_against = found[count:]
        more: list[Callable[[], Any]] = [partial(self._shift, host, on_baseline, on_host)]
        more += [partial(self._stability, host)]
        if parts is not None:
            emulated = [device for device in devices if device.capabilities.counts]
            more += [partial(measure_parts, device, parts, seed=self.seed) for device in emulated]
        shift, stability, *counted = run_all("shift, stability, operators", more)
        return _Measured(
            devices=tuple(found[:count]),
            other=on_other,
            host=on_host,
            baseline=on_baseline,
            against=on_against,
            stability=stability,
            shift=shift,
            parts=tuple(counted),
        )

    def _on_host(self, host: Runtime, subject: Subject | None) -> OnRuntime | None:
        return None if subject is None else answer(host, subject, self.golden, self.samples)

    def _stability(self, host: Runtime) -> StabilityReport:
        config = self.config.stability
        return measure_stability(host, self.quantized.path, self.golden.inputs, config, self.config.threads)

    def _shift(self, host: Runtime, on_baseline: OnRuntime | None, on_host: OnRuntime) -> ShiftReport | None:
        if self.baseline is None or self.samples is None or not self.config.shift.samples:
            return None
        assert on_baseline is not None
        count = range(len(self.judging.tasks))
        before, after = ([found.real(i, slice(None)) for i in count] for found in (on_baseline, on_host))
        with both_models(host, self.baseline.path, self.quantized.path) as both:
            return measure_shift(
                self.samples,
                self.judging,
                both,
                self.config.shift,
                seed=self.seed,
                own=self.shifted,
                whole=judge_clean(self.samples, self.judging, before, after, seed=self.seed),
            )

    def _board(self, host: Runtime, on_host: OnRuntime) -> BoardResult:
        def judge(samples: Samples, outputs: list[NDArray[Any]]) -> tuple[Comparison, ...]:
            if self.baseline is None:
                return ()
            expected = answer(host, self.baseline, self.golden, samples)
            return self._compare(expected, replace(on_host, outputs=outputs), samples)

        config = self.config.board
        return measure_on_board(host, self.quantized, self.golden, self.samples, config, judge)

    def _compare(
        self, baseline: OnRuntime | None, quantized: OnRuntime, samples: Samples | None = None
    ) -> tuple[Comparison, ...]:
        """Compare what both returned, output by output; nothing where there are no samples or no baseline."""
        samples = samples or self.samples
        if samples is None or baseline is None or not baseline.outputs or not quantized.outputs:
            return ()
        judging, count = self.judging, len(quantized.outputs[0])
        judges = [
            Judge(task, seed=self.seed, output=name, from_logits=from_logits, classes=judging.classes)
            for task, name, from_logits in zip(
                judging.tasks, judging.outputs, judging.from_logits, strict=True
            )
        ]
        start = 0
        for chunk in samples.take(slice(0, count)).chunks():
            place = slice(start, start + len(chunk))
            start += len(chunk)
            inputs = chunk.model_inputs()[0]
            for index, judge in enumerate(judges):
                judge.add(
                    baseline.real(index, place), quantized.real(index, place), chunk.target(index), inputs
                )
        return tuple(judge.finish() for judge in judges)

    def _accuracy(self, found: OnRuntime | Refused, host: OnRuntime) -> RuntimeAccuracy:
        if isinstance(found, Refused):
            return RuntimeAccuracy(runtime=found.runtime.title, problem=found.reason)
        differing, steps = differences(found.golden.outputs, host.golden.outputs)
        compared = self._compare(host, found)
        return RuntimeAccuracy(
            runtime=found.runtime.title,
            metric=compared[0].metrics[0].name if compared else "",
            value=compared[0].metrics[0].quantized if compared else None,
            samples=compared[0].samples if compared else 0,
            golden_samples=len(found.golden.outputs[0]),
            differing_samples=differing,
            largest_difference=steps,
        )

    def _devices(self, measured: _Measured) -> tuple[DeviceResult, ...]:
        jobs = [partial(self._device, found, measured) for found in measured.devices]
        return tuple(run_all("compare devices", jobs))

    def _device(self, found: OnRuntime, measured: _Measured) -> DeviceResult:
        """Compare bits with what they should be; a device that differs is judged on its own outputs."""
        reference = self._right(found.runtime.package, measured.host)
        differing, steps = differences(found.golden.outputs, reference.golden.outputs)
        compared: tuple[Comparison, ...] = ()
        if differing and self.samples is not None and measured.baseline is not None:
            some = self.samples.take(slice(0, self.config.device_samples))
            outputs = infer_samples(found.runtime, self.quantized, some)
            compared = self._compare(measured.baseline, replace(found, outputs=outputs))
        assert found.runtime.device is not None
        return DeviceResult(
            device=found.runtime.device.name,
            title=found.runtime.title,
            kind=found.runtime.kind,
            golden_samples=len(found.golden.outputs[0]),
            differing_samples=differing,
            largest_difference=steps,
            quantized=found.costs[0] if found.costs else None,
            baseline=found.costs[1] if found.costs and self.baseline else None,
            accuracy=compared,
            latency=found.latency,
        )

    def _right(self, package: Package, host: OnRuntime) -> OnRuntime:
        """The run whose bits a device with ``package`` has to return.

        LiteRT gives the host's bits. tflite-runtime's kernels for 32-bit Arm give those of the reference
        kernels, and its kernels for this host need not.
        """
        if PACKAGES[package].reference_bits:
            return answer(reference_runtime(), self.quantized, self.golden, None)
        return host

    def _parity(self, measured: _Measured) -> tuple[Parity, ...]:
        """Of each runtime with bits of its own, where they come from."""
        host, flat, jobs = measured.host, self.quantized.flat, []
        for found in (measured.other, *measured.devices):
            if isinstance(found, Refused):
                continue
            rows = differing(found.golden.outputs, host.golden.outputs)
            if rows.any():
                order = np.argsort(~rows, kind="stable")
                inputs = [array[order] for array in found.golden.inputs]
                jobs.append(partial(first_difference, flat, inputs, host.runtime, found.runtime))
        return tuple(run_all("compare nodes", jobs)) if jobs else ()

    def _against(self, measured: _Measured, latency: LatencyComparison | None) -> Against | None:
        if self.against is None:
            return None
        return Against(
            other_name=self.against.path.name,
            other=self.against.facts,
            ours=self.quantized.facts,
            devices=tuple(
                InstructionChange(ours=found.costs[0], other=found.costs[-1])
                for found in measured.devices
                if found.costs
            ),
            accuracy=self._compare(measured.against, measured.host),
            latency=latency,
        )

    def _latency(self, host: Runtime, parts: Parts | None) -> _Latency:
        """Times on the host, while nothing else runs."""
        config = self.config
        with track("host latency", PROCESSES * len(config.threads), "processes") as advance:
            times = tuple(
                measure_host(
                    host,
                    self.quantized,
                    self.golden,
                    threads=threads,
                    runs=PROCESSES * config.latency_inferences,
                    advance=advance,
                )
                for threads in config.threads
            )
        return _Latency(
            times=times,
            ratio=self._ratio(host, self.baseline),
            against=self._ratio(host, self.against),
            parts=(measure_parts(host, parts, seed=self.seed),) if parts else (),
        )

    def _ratio(self, host: Runtime, other: Subject | None) -> LatencyComparison | None:
        """Host latency of another model and ours on one thread, side by side in fresh processes."""
        if other is None:
            return None
        return compare_side_by_side(
            host,
            other,
            self.quantized,
            self.golden,
            pairs=self.config.latency_pairs,
            inferences=self.config.latency_inferences,
        )


def output_names(outputs: Sequence[Port]) -> tuple[str, ...]:
    """The outputs' names, which matter where there are several."""
    return tuple(port.name for port in outputs) if len(outputs) > 1 else ("",)
