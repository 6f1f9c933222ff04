"""Latency of the int8 model against its float baseline, as a ratio measured side by side.

A shared machine's speed drifts by more than the models differ, so absolute times are not compared. Each
round times the float model, the int8 model and the float model again in fresh processes and in random
order: float/int8 is the figure, float/float the control that says what the machine's noise amounts to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.errors import ConfigError, StageError
from pipeline.progress import track
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Source
    from pipeline.runtimes.runtime import Runtime
    from pipeline.validation.model_under_test import Golden, InputSpec

Verdict = Literal["faster", "slower", "within noise", "inconclusive"]

MIN_PAIRS = 9
# A ratio of 1 to within this much is no difference; a control outside of it discredits the run.
NOISE_BAND = 0.05
# Samples that a percentile needs before it is stable: MLPerf's early-stopping floors.
PERCENTILE_FLOORS = {50: 1, 90: 64, 99: 662}
MAX_RANKED = 101


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Steady-state latencies of one model, of all processes, in microseconds.

    Attributes:
        std: of the population, as ``benchmark_model`` prints it.
        p90: None below 64 samples.
        p99: None below 662 samples.
        ranked: up to 101 of the latencies, the lowest first, at equal distances in the order of their sizes.
    """

    count: int
    first: float
    curr: float
    min: float
    max: float
    avg: float
    std: float
    p50: float
    p90: float | None
    p99: float | None
    ranked: tuple[float, ...] = ()

    def __str__(self) -> str:
        """Return the line that TFLite's ``benchmark_model`` prints."""
        ends = f"first={self.first:.0f} curr={self.curr:.0f} min={self.min:.0f} max={self.max:.0f}"
        return f"Timings (microseconds): count={self.count} {ends} avg={self.avg:g} std={self.std:.0f}"


@dataclass(frozen=True, kw_only=True)
class LatencyComparison:
    """Paired latency of two models on one machine.

    Attributes:
        pairs: how many times both were measured side by side.
        speedup: median of float time / int8 time; above 1 int8 is faster.
        low: lower end of the speedup's bootstrap 95 % interval.
        high: upper end.
        control: the same of float / float, which is 1 on a quiet machine.
        verdict: "faster" or "slower" where the whole interval is beyond the noise band, "within noise" where
            all of it is inside, "inconclusive" otherwise or where the control left the band.
    """

    pairs: int
    speedup: float
    low: float
    high: float
    control: float
    control_low: float
    control_high: float
    verdict: Verdict
    baseline: Timings
    quantized: Timings
    kind: Literal["host"] = "host"


@dataclass(frozen=True, kw_only=True)
class PairedLatency(Artifact):
    """Host latency of two models, measured side by side."""

    found: LatencyComparison


def compare_latency(
    model: Source,
    reference: Source,
    *,
    data: Dataset | None,
    inputs: InputSpec,
    pairs: int,
    inferences: int,
    out: Path,
) -> PairedLatency:
    """Time another model and this one on one thread of this host, which nothing else may use meanwhile.

    Raises: as ``compare``.
    """
    golden = inputs.golden(data)
    with track("host latency, side by side", pairs * 3, "processes") as advance:
        files = {"baseline": ModelUnderTest.of(reference), "quantized": ModelUnderTest.of(model)}
        timed = time_fresh(host_runtime("litert"), files, golden, inferences=inferences, advance=advance)
        found = compare(timed, seed=golden.seed, pairs=pairs)
    return PairedLatency(folder=out, found=found)


def compare(
    measure: Callable[[str], Sequence[float]], *, seed: int, pairs: int = MIN_PAIRS, bootstrap: int = 2000
) -> LatencyComparison:
    """Measure both models side by side.

    Args:
        measure: times ``"baseline"`` or ``"quantized"`` in a fresh process and returns the latencies of its
            inferences in microseconds, without initialisation and warm-up.
        seed: of the order and the bootstrap.
        pairs: how many rounds.
        bootstrap: how many resamples the intervals are made of.

    Raises:
        ConfigError: if fewer than nine pairs are asked for.
        StageError: if a process returned no latency, or one that is not positive.
    """
    if pairs < MIN_PAIRS:
        message = f"{pairs} pairs of latencies tell nothing; ask for at least {MIN_PAIRS}"
        raise ConfigError(message)
    stage, rng = "validate", np.random.default_rng(seed)
    runs: dict[str, list[NDArray[np.float64]]] = {"baseline": [], "quantized": [], "control": []}
    for _ in range(pairs):
        for name in rng.permutation(list(runs)):
            latencies = np.asarray(measure("baseline" if name == "control" else str(name)), np.float64)
            if not latencies.size or not (latencies > 0).all():
                cause = f"timing the {name} model returned no usable latency"
                hint = "run it again, with fewer processes on the machine"
                raise StageError(stage, cause, hint)
            runs[name].append(latencies)

    medians = {name: np.array([np.median(run) for run in series]) for name, series in runs.items()}
    speedup, low, high = _median_ratio(medians["baseline"] / medians["quantized"], rng, bootstrap)
    control, control_low, control_high = _median_ratio(
        medians["baseline"] / medians["control"], rng, bootstrap
    )
    return LatencyComparison(
        pairs=pairs,
        speedup=speedup,
        low=low,
        high=high,
        control=control,
        control_low=control_low,
        control_high=control_high,
        verdict=judge(low, high, control),
        baseline=summarize(np.concatenate(runs["baseline"] + runs["control"])),
        quantized=summarize(np.concatenate(runs["quantized"])),
    )


def time_fresh(
    runtime: Runtime,
    files: Mapping[str, ModelUnderTest],
    golden: Golden,
    *,
    inferences: int = 100,
    advance: Callable[[], None] = lambda: None,
) -> Callable[[str], tuple[float, ...]]:
    """Return what ``compare`` measures with: each call times a model in a fresh process, on one thread.

    Args:
        runtime: one of the host's.
        files: ``"baseline"`` and ``"quantized"``.
        golden: the inputs, which go round.
        inferences: timed in each process, after ten that are not.
        advance: called after each process.
    """

    def measure(which: str) -> tuple[float, ...]:
        with Session(runtime, files[which].path) as session:
            taken = session.time(golden.inputs(session.describe()), runs=inferences).latencies_us
        advance()
        return taken

    return measure


def judge(low: float, high: float, control: float) -> Verdict:
    """Return what the speedup's interval shows, given the control's median ratio."""
    slow_edge, fast_edge = 1 / (1 + NOISE_BAND), 1 + NOISE_BAND
    if not slow_edge <= control <= fast_edge:
        return "inconclusive"
    if low > fast_edge:
        return "faster"
    if high < slow_edge:
        return "slower"
    return "within noise" if slow_edge <= low and high <= fast_edge else "inconclusive"


def summarize(latencies: Sequence[float] | NDArray[Any]) -> Timings:
    """Summarise latencies in microseconds, in the order they were measured; at least one."""
    values = np.asarray(latencies, np.float64)
    percentiles = {
        percent: float(np.percentile(values, percent)) if len(values) >= floor else None
        for percent, floor in PERCENTILE_FLOORS.items()
    }
    return Timings(
        count=len(values),
        first=float(values[0]),
        curr=float(values[-1]),
        min=float(values.min()),
        max=float(values.max()),
        avg=float(values.mean()),
        std=float(values.std()),
        p50=float(np.median(values)),
        p90=percentiles[90],
        p99=percentiles[99],
        ranked=_ranked(values),
    )


def _ranked(values: NDArray[np.float64]) -> tuple[float, ...]:
    places = np.linspace(0, len(values) - 1, min(len(values), MAX_RANKED)).round().astype(int)
    return tuple(np.sort(values)[places].round(3).tolist())


def _median_ratio(
    ratios: NDArray[np.float64], rng: np.random.Generator, bootstrap: int
) -> tuple[float, float, float]:
    """Return the median of paired ratios (pairs,) and the ends of its bootstrap 95 % interval."""
    resamples = rng.choice(ratios, (bootstrap, len(ratios)))
    low, high = np.percentile(np.median(resamples, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)
