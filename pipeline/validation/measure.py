"""Measure a .tflite file: on the host's runtimes, on each device, against its baseline and other files.

Each measurement is a step with a key of its own: it is made once, and builds and validations share it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, StageError
from pipeline.runtimes.capabilities import PACKAGES
from pipeline.runtimes.runtime import host_runtime, reference_kernels, reference_runtime, runtime_of
from pipeline.validation.breakdown import measure_operators
from pipeline.validation.costs import PROCESSES, time_model
from pipeline.validation.devices import run_on_device
from pipeline.validation.evaluate import evaluate
from pipeline.validation.exactness import differences
from pipeline.validation.faults import inject_faults
from pipeline.validation.inference import infer_test_set, run_golden_set
from pipeline.validation.jobs import run_parallel
from pipeline.validation.latency import compare_latency
from pipeline.validation.layer_profile import profile_layers
from pipeline.validation.model_under_test import InputSpec
from pipeline.validation.on_board import run_on_board
from pipeline.validation.parity import compare_counterpart, compare_runtimes
from pipeline.validation.shift import evaluate_shift
from pipeline.validation.stability import soak_model

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pipeline.artifacts import Dataset, Source
    from pipeline.config import ValidateConfig
    from pipeline.node_parity import Counterpart
    from pipeline.run import Run
    from pipeline.runtimes.runtime import Runtime
    from pipeline.targets import Device, Package
    from pipeline.validation.against import Reference
    from pipeline.validation.breakdown import PartCosts
    from pipeline.validation.costs import HostTimes
    from pipeline.validation.devices import DeviceRun
    from pipeline.validation.evaluate import Accuracy
    from pipeline.validation.faults import Faults
    from pipeline.validation.inference import GoldenRun, SampleOutputs
    from pipeline.validation.latency import PairedLatency
    from pipeline.validation.layer_profile import ProfiledLayers
    from pipeline.validation.model_under_test import OutputSpec
    from pipeline.validation.on_board import OnBoard
    from pipeline.validation.parity import Divergence
    from pipeline.validation.plan import Measurement
    from pipeline.validation.shift import Shifts
    from pipeline.validation.stability import Soaks

Jobs = dict[tuple[str, str], "Callable[[], Any]"]
Found = dict[tuple[str, str], Any]
ON_DEVICE = "accuracy on a device"


@dataclass(frozen=True)
class Timing:
    """Settings for timing a model.

    Attributes:
        runs: inferences timed for each thread count.
        warmup_runs: inferences before those.
        device_threads: thread counts on real devices.
        fresh: whether to time on this host now instead of taking earlier times from the store.
    """

    runs: int
    warmup_runs: int = 10
    device_threads: tuple[int, ...] = (1,)
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class ToMeasure:
    """Measurements to make, and their inputs.

    Attributes:
        model: the .tflite file.
        baseline: the float model that it came from, if there is one.
        against: an earlier file that it may not be worse than, with inputs by its own preprocessing.
        data: whose test samples to take; None for noise.
        shifted: the user's own data of other distributions, in the order of ``config.shift.sources``.
        package: the runtime that the target's devices carry.
        devices: those of the target.
        real: runtimes of real devices.
        board: whether to use the emulated board.
        plan: the measurements; those that something is missing for are left out.
        layers: the layer of the user's model by the name of each converted layer; empty if unknown.
        counterpart: the model with fake quantization that it was made of; None if there is none.
        expected: what that computes; None if unknown.
        original: the model in float, with its weights before they were rounded; None if unknown.
        timing: None for ``config.latency_inferences`` in each process.
    """

    model: Source
    inputs: InputSpec
    outputs: OutputSpec
    config: ValidateConfig
    plan: tuple[Measurement, ...]
    package: Package
    baseline: Source | None = None
    against: Reference | None = None
    data: Dataset | None = None
    shifted: tuple[Dataset, ...] = ()
    devices: tuple[Device, ...] = ()
    real: tuple[Runtime, ...] = ()
    board: bool = False
    layers: dict[str, str] = field(default_factory=dict)
    counterpart: Counterpart | None = None
    expected: Source | None = None
    original: Source | None = None
    timing: Timing | None = None


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Results of all measurements; None or empty if not measured.

    Attributes:
        golden: on the host's LiteRT.
        reference: on TFLite's reference kernels, whose bits devices with tflite-runtime have to return.
        accuracy: against the float model, or against itself where there is none.
        other: the golden set on the host's tflite-runtime.
        other_problem: why that cannot run the model.
        device_accuracy: by device, of those that are not bit-exact.
        parity: of the other runtimes and devices that are not bit-exact.
    """

    golden: GoldenRun
    reference: GoldenRun | None = None
    accuracy: Accuracy | None = None
    other: GoldenRun | None = None
    other_problem: str = ""
    other_accuracy: Accuracy | None = None
    devices: tuple[DeviceRun, ...] = ()
    device_accuracy: dict[str, Accuracy] = field(default_factory=dict)
    parity: tuple[Divergence, ...] = ()
    shift: Shifts | None = None
    soaks: Soaks | None = None
    faults: Faults | None = None
    operators: tuple[PartCosts, ...] = ()
    baseline_operators: tuple[PartCosts, ...] = ()
    layers: ProfiledLayers | None = None
    times: HostTimes | None = None
    latency: PairedLatency | None = None
    against_accuracy: Accuracy | None = None
    against_latency: PairedLatency | None = None
    board: OnBoard | None = None


@dataclass(frozen=True)
class _Other:
    """The host's tflite-runtime; ``problem`` says why it cannot run the model."""

    golden: GoldenRun | None = None
    outputs: SampleOutputs | None = None
    problem: str = ""


def measure(of: ToMeasure, run: Run, folder: Path) -> Measurements:
    """Make the measurements of a plan; all cores are kept busy, except while the host's latency is measured.

    Args:
        folder: for what is not kept in the store, such as the results of real devices.

    Raises:
        DeviceError: a real device is no longer reached.
        InputError: a runtime refuses the file, or the samples do not fit it.
        StageError: a runtime crashed or hung.
        ToolchainError: an emulator or the board is needed and not provisioned.
    """
    measuring = _Measuring(of, run, folder)
    inferred = _run("inference", measuring.inferences())
    found = _run("measurements", measuring.concurrent(inferred)) | measuring.exclusive()
    if "board" in of.plan and of.board:
        found["board", ""] = run.step(
            run_on_board, *measuring.models, data=of.data, inputs=of.inputs, outputs=of.outputs,
            config=of.config.board,
        )  # fmt: skip
    other: _Other = inferred.get(("other", ""), _Other())
    return Measurements(
        golden=inferred["golden", ""],
        reference=inferred.get(("reference", "")),
        other=other.golden,
        other_problem=other.problem,
        devices=_all("devices", inferred),
        device_accuracy={device: found[name, device] for name, device in found if name == ON_DEVICE},
        parity=_all("parity", found),
        operators=_all("operators", found),
        baseline_operators=_all("baseline_operators", found),
        **{name: artifact for (name, device), artifact in found.items() if not device},
    )


@dataclass(frozen=True)
class _Measuring:
    """The steps of a plan, by name and by the device's, which is "" if there is one such step."""

    of: ToMeasure
    run: Run
    folder: Path

    @property
    def reference(self) -> Source | None:
        """The file of ``against``."""
        return self.of.against.file if self.of.against else None

    @property
    def models(self) -> tuple[Source, ...]:
        """The model, and its baseline if there is one."""
        return (self.of.model, *filter(None, [self.of.baseline]))

    def inferences(self) -> Jobs:
        """Return the jobs that run the models on each runtime; other measurements use their outputs."""
        of, plan = self.of, set(self.of.plan)
        jobs: Jobs = {}
        if "devices" in plan:
            others = [each for each in (of.baseline, self.reference) if each is not None]
            for runtime in self._on_devices:
                jobs["devices", _name(runtime)] = partial(
                    self._step_on(runtime), run_on_device, of.model, *others, data=of.data, inputs=of.inputs,
                    runtime=runtime, **self._device_timing(runtime),
                )  # fmt: skip
        packages = {of.package, *(runtime.package for runtime in self._on_devices)}
        if any(PACKAGES[package].reference_bits for package in packages):
            jobs["reference", ""] = partial(self._golden, reference_runtime())
        jobs["golden", ""] = partial(self._golden, host_runtime("litert"))
        if "cross-runtime" in plan:
            jobs["other", ""] = self._other
        if of.data is not None:
            needs = {"model": {"accuracy", "shift", "regression"}, "baseline": {"accuracy", "shift"}}
            for name, measurements in needs.items():
                model = getattr(of, name)
                if model is not None and plan & measurements:
                    jobs[name, ""] = partial(self._outputs, model, host_runtime("litert"))
            if of.against is not None and of.against.preprocessing is not None and "regression" in plan:
                inputs = InputSpec.of(of.against.preprocessing, of.inputs.golden_samples, of.inputs.seed)
                jobs["against", ""] = partial(
                    self._outputs, of.against.file, host_runtime("litert"), inputs=inputs
                )
        return jobs

    def concurrent(self, inferred: Found) -> Jobs:
        """Measurements that tolerate concurrent load, the longest first."""
        of, step, stability = self.of, self.run.step, self.of.config.stability
        given = partial(partial, data=of.data, inputs=of.inputs)
        jobs: Jobs = {}
        if "shift" in of.plan and ("baseline", "") in inferred and of.config.shift.samples:
            both = [inferred[name, ""] for name in ("model", "baseline")]
            jobs["shift", ""] = partial(
                step, evaluate_shift, *self.models, *both, *filter(None, [of.data]), *of.shifted,
                inputs=of.inputs, outputs=of.outputs, config=of.config.shift,
            )  # fmt: skip
        if "stability" in of.plan:
            jobs["soaks", ""] = given(
                step, soak_model, of.model, inferences=stability.inferences, minutes=stability.minutes,
                threads=of.config.threads,
            )  # fmt: skip
        if "faults" in of.plan and stability.faults:
            jobs["faults", ""] = given(
                step, inject_faults, of.model, interpreters=stability.interpreters, threads=of.config.threads
            )
        if "operators" in of.plan and of.config.operators:
            for runtime in self._on_devices:
                if runtime.capabilities.counts:
                    jobs["operators", _name(runtime)] = partial(self._operators, of.model, runtime, step)
                    if of.baseline is not None:
                        jobs["baseline_operators", _name(runtime)] = partial(
                            self._operators, of.baseline, runtime, step
                        )
        if "layers" in of.plan and of.data is not None:
            jobs["layers", ""] = partial(
                step, profile_layers, of.model, of.data, *filter(None, [of.original]),
                inputs=of.inputs, layers=of.layers,
            )  # fmt: skip
        return jobs | self._accuracies(inferred) | self._differing(inferred)

    def exclusive(self) -> Found:
        """Times on the host, one after the other, while nothing else runs."""
        of, timing = self.of, self._timing
        step = self._without_store if timing.fresh else self.run.step
        host, found = partial(step, data=of.data, inputs=of.inputs), Found()
        pairs = {"pairs": of.config.latency_pairs, "inferences": of.config.latency_inferences}
        if "times" in of.plan:
            found["times", ""] = host(
                time_model, of.model, threads=of.config.threads, runs=timing.runs,
                warmup_runs=timing.warmup_runs,
            )  # fmt: skip
        if "latency" in of.plan and of.baseline is not None:
            found["latency", ""] = host(compare_latency, of.model, of.baseline, **pairs)
        if "regression" in of.plan and self.reference is not None:
            found["against_latency", ""] = host(compare_latency, of.model, self.reference, **pairs)
        if "operators" in of.plan and of.config.operators:
            found["operators", "host"] = self._operators(of.model, host_runtime("litert"), step)
        return found

    def _accuracies(self, inferred: Found) -> Jobs:
        """Comparisons of what was inferred on the host."""
        jobs: Jobs = {}
        of_model, of_baseline, of_against = (
            inferred.get((name, "")) for name in ("model", "baseline", "against")
        )
        other: _Other = inferred.get(("other", ""), _Other())
        if of_model is None:
            return jobs
        if "accuracy" in self.of.plan:
            jobs["accuracy", ""] = partial(self._evaluate, of_model, of_baseline or of_model)
        if other.outputs is not None:
            jobs["other_accuracy", ""] = partial(self._evaluate, other.outputs, of_model)
        if of_against is not None:
            jobs["against_accuracy", ""] = partial(self._evaluate, of_model, of_against)
        return jobs

    def _differing(self, inferred: Found) -> Jobs:
        """Return the jobs for runtimes that are not bit-exact: the first divergence, and the accuracy."""
        host, jobs, of_baseline = inferred["golden", ""], Jobs(), inferred.get(("baseline", ""))
        runs = {runtime: inferred.get(("devices", _name(runtime))) for runtime in self._on_devices}
        for runtime, run in runs.items():
            if run is None:
                continue
            right = inferred["reference", ""] if PACKAGES[run.package].reference_bits else host
            if not is_exact(run, right) and self.of.data is not None and self.of.baseline is not None:
                jobs[ON_DEVICE, run.device] = partial(self._accuracy_on, runtime, of_baseline)
        if "parity" in self.of.plan:
            if (counterpart := self.of.counterpart) is not None:
                jobs["parity", counterpart.title] = partial(
                    self.run.step, compare_counterpart, self.of.model, *filter(None, [self.of.expected]),
                    counterpart=counterpart, layers=self.of.layers,
                )  # fmt: skip
            other: _Other = inferred.get(("other", ""), _Other())
            for runtime, run in {host_runtime("tflite-runtime"): other.golden, **runs}.items():
                if run is not None and not is_exact(run, host):
                    jobs["parity", runtime.title] = self._parity(runtime, host, run)
            kernels = reference_kernels()
            jobs["parity", kernels.title] = self._parity(kernels, host)
        return jobs

    def _parity(self, runtime: Runtime, *runs: GoldenRun) -> Callable[[], Divergence]:
        """Return the job that compares the nodes on a runtime with those on the host's LiteRT."""
        return partial(
            self._step_on(runtime), compare_runtimes, self.of.model, *runs,
            runtime=runtime, layers=self.of.layers,
        )  # fmt: skip

    @cached_property
    def _on_devices(self) -> tuple[Runtime, ...]:
        """The runtimes of all devices that are not this host's LiteRT, each once."""
        found = dict.fromkeys((*map(runtime_of, self.of.devices), *self.of.real))
        return tuple(runtime for runtime in found if runtime != host_runtime("litert"))

    def _step_on(self, runtime: Runtime) -> Callable[..., Any]:
        """Return the function that runs a step on a runtime; results of real devices are not cached."""
        return self._without_store if runtime in self.of.real else self.run.step

    def _without_store(self, stage: Callable[..., Any], *inputs: Any, **settings: Any) -> Any:
        return stage(*inputs, **settings, out=Path(tempfile.mkdtemp(dir=self.folder)))

    @cached_property
    def _timing(self) -> Timing:
        return self.of.timing or Timing(PROCESSES * self.of.config.latency_inferences)

    def _device_timing(self, runtime: Runtime) -> dict[str, Any]:
        """Return the timing settings of a device; none for an emulated one."""
        timing = self._timing
        settings = {
            "runs": timing.runs, "warmup_runs": timing.warmup_runs, "threads": timing.device_threads
        }  # fmt: skip
        return settings if runtime in self.of.real else {}

    def _golden(self, runtime: Runtime) -> GoldenRun:
        of = self.of
        return self.run.step(run_golden_set, of.model, data=of.data, inputs=of.inputs, runtime=runtime)

    def _outputs(
        self,
        model: Source,
        runtime: Runtime,
        max_samples: int | None = None,
        inputs: InputSpec | None = None,
    ) -> SampleOutputs:
        found: SampleOutputs = self._step_on(runtime)(
            infer_test_set, model, self.of.data, inputs=inputs or self.of.inputs, runtime=runtime,
            max_samples=max_samples,
        )  # fmt: skip
        return found

    def _other(self) -> _Other:
        """Run the host's tflite-runtime, which the target may not need: where it cannot, that is a result."""
        runtime, outputs = host_runtime("tflite-runtime"), None
        try:
            golden = self._golden(runtime)
            if self.of.data is not None:
                outputs = self._outputs(self.of.model, runtime)
        except (InputError, StageError) as error:
            return _Other(problem=str(error))
        return _Other(golden, outputs)

    def _accuracy_on(self, runtime: Runtime, reference: SampleOutputs | None) -> Accuracy:
        """Evaluate a device on its own outputs, against the float model's on the host."""
        of = self.of
        assert of.baseline is not None
        if reference is None:
            reference = self._outputs(of.baseline, host_runtime("litert"))
        return self._evaluate(self._outputs(of.model, runtime, of.config.device_samples), reference)

    def _evaluate(self, candidate: SampleOutputs, reference: SampleOutputs) -> Accuracy:
        of = self.of
        assert of.data is not None
        return self.run.step(evaluate, candidate, reference, of.data, inputs=of.inputs, outputs=of.outputs)

    def _operators(self, model: Source, runtime: Runtime, step: Callable[..., Any]) -> PartCosts:
        found: PartCosts = step(measure_operators, model, runtime=runtime, seed=self.of.inputs.seed)
        return found


def needs_devices(plan: Collection[Measurement]) -> bool:
    """Return whether a plan runs anything on the target's devices."""
    return not {"devices", "operators"}.isdisjoint(plan)


def is_exact(run: GoldenRun, reference: GoldenRun) -> bool:
    """Return whether a run has the reference's bits."""
    return not differences(run.golden_outputs(), reference.golden_outputs())[0]


def _name(runtime: Runtime) -> str:
    return runtime.device.name if runtime.device else runtime.title


def _run(name: str, jobs: Jobs) -> Found:
    return dict(zip(jobs, run_parallel(name, list(jobs.values())), strict=True))


def _all(name: str, found: Found) -> tuple[Any, ...]:
    return tuple(artifact for (each, _), artifact in found.items() if each == name)
