"""Measure a .tflite file: on the host's runtimes, on each device, against its baseline and other files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

from pipeline.progress import track
from pipeline.runtimes.runtime import host_runtime, runtime_of
from pipeline.runtimes.session import Session
from pipeline.validate import latency
from pipeline.validate.accuracy import Judge
from pipeline.validate.on_runtime import (
    OnRuntime,
    Refused,
    answer,
    answer_and_count,
    answer_if_possible,
    count_not_finite,
    differences,
    infer_samples,
)
from pipeline.validate.report import DeviceResult, Report, RuntimeAccuracy
from pipeline.validate.shift import both_models, measure_shift
from pipeline.validate.stability import measure_stability
from pipeline.validate.subject import Golden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.ports import Port, Task
    from pipeline.config import ValidateConfig
    from pipeline.runtimes.runtime import Runtime
    from pipeline.samples import Samples
    from pipeline.targets import Device, Target
    from pipeline.validate.comparison import Comparison
    from pipeline.validate.latency import LatencyComparison
    from pipeline.validate.on_runtime import GoldenSet
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
class Measurement:
    """One validation: what is measured and with what.

    Attributes:
        baseline: the float model, if there is one.
        samples: of the test set, if there are any.
        devices: those that are measured.
        shifted: the user's own samples of other distributions, by name.
        against: an earlier file that it may not cost more than.
        board: whether to measure on the emulated board as well.
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

    @property
    def golden(self) -> Golden:
        return Golden(self.samples, self.config.golden_samples, self.seed)

    def run(self, name: str, **described: Any) -> tuple[Report, GoldenSet]:
        """Measure everything; all cores are kept busy, except while the host's latency is measured.

        Args:
            name: of the report.
            described: what else the report says: classes, layers, ...

        Raises:
            InputError: a runtime refuses the file, or the samples do not fit it.
            StageError: a runtime crashed or hung.
            ToolchainError: the emulator is not provisioned.
        """
        host, other = host_runtime("litert"), host_runtime("tflite-runtime")
        others = tuple(filter(None, (self.baseline, self.against)))
        devices = [runtime_of(device) for device in self.devices]
        devices = [device for device in dict.fromkeys(devices) if device != host]
        jobs: list[Callable[[], Any]] = [
            partial(answer_and_count, device, self.quantized, self.golden, others) for device in devices
        ]
        jobs += [partial(answer_if_possible, other, self.quantized, self.golden, self.samples)]
        jobs += [partial(self._on_host, host, subject) for subject in (self.quantized, self.baseline)]
        jobs += [partial(self._stability, host), partial(self._shift, host)]
        results = run_all("validate", jobs)
        on_devices: list[OnRuntime] = results[: len(devices)]
        on_other, on_host, on_baseline, stability, shift = results[len(devices) :]
        judged = [partial(self._device_result, found, on_host, on_other, on_baseline) for found in on_devices]
        report = Report(
            name=name,
            target=self.target.name,
            tools={tool: metadata.version(tool) for tool in TOOLS},
            quantized=self.quantized.facts,
            baseline=self.baseline.facts if self.baseline else None,
            inputs=on_host.details.inputs,
            outputs=on_host.details.outputs,
            delegation=tuple(
                found.placed for found in (on_host, on_other, *on_devices) if isinstance(found, OnRuntime)
            ),
            accuracy=self._compare(on_baseline, on_host),
            runtimes=tuple(self._accuracy(found, on_host) for found in (on_host, on_other)),
            devices=tuple(run_all("compare devices", judged)),
            stability=stability,
            shift=shift,
            not_finite=count_not_finite(on_host.golden.outputs),
            latency=self._latency(host),
            **described,
        )
        return report, on_host.golden

    def _on_host(self, host: Runtime, subject: Subject | None) -> OnRuntime | None:
        return None if subject is None else answer(host, subject, self.golden, self.samples)

    def _stability(self, host: Runtime) -> StabilityReport:
        config = self.config.stability
        return measure_stability(host, self.quantized.path, self.golden.inputs, config, self.config.threads)

    def _shift(self, host: Runtime) -> ShiftReport | None:
        if self.baseline is None or self.samples is None or not self.config.shift.samples:
            return None
        with both_models(host, self.baseline.path, self.quantized.path) as both:
            return measure_shift(
                self.samples,
                self.judging,
                both,
                self.config.shift,
                seed=self.seed,
                own=self.shifted,
            )

    def _compare(self, baseline: OnRuntime | None, quantized: OnRuntime) -> tuple[Comparison, ...]:
        """Compare what both returned, output by output; nothing where there are no samples or no baseline."""
        if self.samples is None or baseline is None or not baseline.outputs or not quantized.outputs:
            return ()
        judging, count = self.judging, len(quantized.outputs[0])
        judges = [
            Judge(task, seed=self.seed, output=name, from_logits=from_logits, classes=judging.classes)
            for task, name, from_logits in zip(
                judging.tasks, judging.outputs, judging.from_logits, strict=True
            )
        ]
        start = 0
        for chunk in self.samples.take(slice(0, count)).chunks():
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

    def _device_result(
        self,
        found: OnRuntime,
        host: OnRuntime,
        other: OnRuntime | Refused,
        baseline: OnRuntime | None,
    ) -> DeviceResult:
        """Compare bits with the same runtime's on the host; a device that differs is judged on its own."""
        reference = host
        if isinstance(other, OnRuntime) and other.runtime.package == found.runtime.package:
            reference = other
        differing, steps = differences(found.golden.outputs, reference.golden.outputs)
        compared: tuple[Comparison, ...] = ()
        if differing and self.samples is not None and baseline is not None:
            some = self.samples.take(slice(0, self.config.device_samples))
            outputs = infer_samples(found.runtime, self.quantized, some)
            compared = self._compare(baseline, replace(found, outputs=outputs))
        assert found.runtime.device is not None
        return DeviceResult(
            device=found.runtime.device.name,
            title=found.runtime.title,
            kind=found.runtime.kind,
            golden_samples=len(found.golden.outputs[0]),
            differing_samples=differing,
            largest_difference=steps,
            quantized=found.counts[0] if found.counts else None,
            baseline=found.counts[1] if found.counts[1:] and self.baseline else None,
            accuracy=compared,
        )

    def _latency(self, runtime: Runtime) -> LatencyComparison | None:
        """Host latency of both models on one thread, side by side in fresh processes."""
        if self.baseline is None:
            return None
        subjects = {"baseline": self.baseline, "quantized": self.quantized}
        with track("host latency", self.config.latency_pairs * 3, "runs") as advance:

            def measure(which: str) -> tuple[float, ...]:
                with Session(runtime, subjects[which].path) as session:
                    inputs = self.golden.inputs(session.describe())
                    taken = session.time(inputs, runs=self.config.latency_inferences).latencies_us
                advance()
                return taken

            return latency.compare(measure, seed=self.seed, pairs=self.config.latency_pairs)


def output_names(outputs: Sequence[Port]) -> tuple[str, ...]:
    """The outputs' names, which matter where there are several."""
    return tuple(port.name for port in outputs) if len(outputs) > 1 else ("",)


def run_all(name: str, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the jobs, as many at a time as there are cores; results come in the order of the jobs."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, track(name, len(jobs), "measurements") as advance:
        futures = [pool.submit(job) for job in jobs]
        for future in futures:
            future.add_done_callback(lambda _: advance())
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
