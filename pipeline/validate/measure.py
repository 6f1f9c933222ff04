"""Measure a .tflite file: on the host's runtimes, on each device of the target, against its baseline."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError, StageError
from pipeline.progress import track
from pipeline.runtimes.runtime import runtimes_for
from pipeline.runtimes.scaling import as_real
from pipeline.runtimes.session import Session
from pipeline.validate import latency
from pipeline.validate.accuracy import Judge
from pipeline.validate.delegation import list_placements
from pipeline.validate.report import DeviceResult, Report, RuntimeAccuracy, StabilityResult
from pipeline.validate.subject import Golden, Subject, tensor_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from models.ports import Port, Task
    from pipeline.config import ValidateConfig
    from pipeline.runtimes.runtime import Runtime
    from pipeline.runtimes.session import InstructionCount, ModelDetails
    from pipeline.samples import Samples
    from pipeline.targets import Target
    from pipeline.validate.comparison import Comparison
    from pipeline.validate.delegation import Delegation
    from pipeline.validate.latency import LatencyComparison

TOOLS = ("ai-edge-litert", "tflite-runtime", "numpy")


@dataclass(frozen=True)
class GoldenSet:
    """For each input and each output an array (golden_samples, ...) in the model's own dtype."""

    inputs: list[NDArray[Any]]
    outputs: list[NDArray[Any]]


@dataclass(frozen=True)
class Judging:
    """How outputs are judged: for each its task, its name ("" of a single one), whether it is of logits."""

    tasks: tuple[Task, ...]
    outputs: tuple[str, ...]
    from_logits: tuple[bool | None, ...]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnRuntime:
    """What one runtime did with the model: its own bits for the samples and for the golden set."""

    runtime: Runtime
    details: ModelDetails
    placed: Delegation
    golden: GoldenSet
    outputs: list[NDArray[Any]] | None = None
    quantized_count: InstructionCount | None = None
    baseline_count: InstructionCount | None = None

    def real(self, index: int, place: slice) -> NDArray[Any]:
        """One output of some samples as real numbers."""
        assert self.outputs is not None
        return as_real(self.outputs[index][place], self.details.outputs[index])


@dataclass(frozen=True)
class Refused:
    """A runtime that cannot run the model, and why."""

    runtime: Runtime
    reason: str


@dataclass(frozen=True)
class Measurement:
    """One validation: what is measured and with what; ``baseline`` and ``samples`` may be missing."""

    quantized: Subject
    baseline: Subject | None
    samples: Samples | None
    judging: Judging
    target: Target
    config: ValidateConfig
    seed: int

    @property
    def golden(self) -> Golden:
        return Golden(self.samples, self.config.golden_samples, self.seed)

    def run(self, name: str, **described: Any) -> tuple[Report, GoldenSet]:
        """Measure everything; all cores are kept busy, except while latency is measured.

        Args:
            name: of the report.
            described: what else the report says: classes, layers, ...

        Raises:
            InputError: a runtime refuses the file, or the samples do not fit it.
            StageError: a runtime crashed or hung.
            ToolchainError: the emulator is not provisioned.
        """
        host, other, *devices = runtimes_for(self.target)
        jobs: list[Callable[[], Any]] = [partial(self._on_device, device) for device in devices]
        jobs += [partial(self._tried, other)]
        jobs += [partial(self._on_host, host, subject) for subject in (self.quantized, self.baseline)]
        jobs += [partial(self._soak, host, threads) for threads in self.config.threads]
        results = run_all("validate", jobs)
        on_devices: list[OnRuntime] = results[: len(devices)]
        on_other, on_host, on_baseline = results[len(devices) : len(devices) + 3]
        judged = [partial(self._device_result, found, on_host, on_baseline) for found in on_devices]
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
            stability=tuple(results[len(devices) + 3 :]),
            latency=self._latency(host),
            **described,
        )
        return report, on_host.golden

    def _on_host(self, runtime: Runtime, subject: Subject | None) -> OnRuntime | None:
        """Answer the golden set and all samples."""
        if subject is None:
            return None
        with Session(runtime, subject.path) as session:
            found = self._start(session, subject)
            return OnRuntime(**{**vars(found), "outputs": self._outputs(session, self.samples)})

    def _tried(self, runtime: Runtime) -> OnRuntime | Refused:
        """Answer on a runtime that the target does not need: where it cannot, that is a result."""
        try:
            return self._on_host(runtime, self.quantized) or Refused(runtime, "")
        except (InputError, StageError) as error:
            return Refused(runtime, str(error))

    def _on_device(self, runtime: Runtime) -> OnRuntime:
        """Answer the golden set and, on an emulated core, count the instructions of both models."""
        with Session(runtime, self.quantized.path) as session:
            found = self._start(session, self.quantized)
            counts = {"quantized_count": self._count(session)}
            if self.baseline is not None:
                session.load(self.baseline.path)
                counts["baseline_count"] = self._count(session)
        return OnRuntime(**{**vars(found), **counts})

    def _start(self, session: Session, subject: Subject) -> OnRuntime:
        details = session.describe()
        inputs = self.golden.inputs(details)
        placed = list_placements(session.runtime.title, details, subject.flat)
        return OnRuntime(session.runtime, details, placed, GoldenSet(inputs, session.run(inputs)))

    def _outputs(self, session: Session, samples: Samples | None) -> list[NDArray[Any]] | None:
        """For each output an array (n, ...) of its own dtype, for all samples."""
        if samples is None:
            return None
        chunks = [session.run(tensor_inputs(chunk, session.describe())) for chunk in samples.chunks()]
        return [np.concatenate(of_output) for of_output in zip(*chunks, strict=True)]

    def _count(self, session: Session) -> InstructionCount | None:
        if session.runtime.kind != "emulated":
            return None
        return session.count_instructions(self.golden.inputs(session.describe()))

    def _soak(self, runtime: Runtime, threads: int) -> StabilityResult:
        with Session(runtime, self.quantized.path, threads=threads) as session:
            inputs = self.golden.inputs(session.describe())
            soak = session.soak(inputs, inferences=self.config.stability.inferences)
        return StabilityResult(
            runtime=runtime.title,
            threads=threads,
            inferences=soak.inferences,
            changed_outputs=soak.mismatches,
            output_sha256=soak.output_sha256,
            growth_bytes_per_inference=soak.growth_bytes_per_inference,
            leaked_files=max(soak.open_files_end - soak.open_files_start, 0),
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

    def _device_result(self, found: OnRuntime, host: OnRuntime, baseline: OnRuntime | None) -> DeviceResult:
        """Compare bits with the host's; where they differ, the device is judged on its own outputs."""
        differing, steps = differences(found.golden.outputs, host.golden.outputs)
        compared: tuple[Comparison, ...] = ()
        if differing and self.samples is not None and baseline is not None:
            with Session(found.runtime, self.quantized.path) as session:
                outputs = self._outputs(session, self.samples.take(slice(0, self.config.device_samples)))
            compared = self._compare(baseline, replace(found, outputs=outputs))
        assert found.runtime.device is not None
        return DeviceResult(
            device=found.runtime.device.name,
            title=found.runtime.title,
            kind=found.runtime.kind,
            golden_samples=len(found.golden.outputs[0]),
            differing_samples=differing,
            largest_difference=steps,
            quantized=found.quantized_count,
            baseline=found.baseline_count,
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


def differences(outputs: list[NDArray[Any]], reference: list[NDArray[Any]]) -> tuple[int, float]:
    """How many samples differ in any bit, and the largest difference: in steps, of integer outputs."""
    gaps = [
        np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).reshape(len(ours), -1).max(axis=1)
        for ours, theirs in zip(outputs, reference, strict=True)
    ]
    gap = np.max(gaps, axis=0)
    return int(np.count_nonzero(gap)), float(gap.max())


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
