"""Check that outputs, speed and memory stay constant: in a long run, concurrently, after faults.

Speed is processor time, which other processes take nothing of, set against fresh interpreters. Between two
blocks of inferences the model is loaded again in two other processes: what slows all of them is the
machine, and what slows one fresh interpreter against the other is noise. Only what slows the old one beyond
that is ageing.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.fault import Fault  # noqa: TC001 - pydantic reads the annotations
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validation.jobs import run_parallel
from pipeline.validation.model_under_test import ModelUnderTest
from pipeline.validation.trend import Trend, trend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Source
    from pipeline.runtimes.runtime import Runtime
    from pipeline.runtimes.session import ModelDetails, SoakBlock
    from pipeline.validation.model_under_test import InputSpec

BLOCKS = 50
"""Number of blocks of the first inferences of a soak; further minutes add at least as many."""

SETTLED = 0.2
"""Share of the run in which caches fill and the allocator takes what it needs: no part of a slope."""


MAX_POINTS = 100


@dataclass(frozen=True, kw_only=True)
class SoakPoint:
    """The state after a block of inferences.

    Attributes:
        inferences: since the start.
        memory_bytes: anonymous memory of the process.
        cpu_us: median processor time of an inference of the block.
        fresh_cpu_us: of a fresh interpreter at the same time; None with several threads.
    """

    inferences: int
    memory_bytes: int
    cpu_us: float
    fresh_cpu_us: float | None


@dataclass(frozen=True, kw_only=True)
class SoakResult:
    """Repeated inference of the same samples in one process.

    Attributes:
        seconds: that it took, the fresh interpreters' inferences included.
        changed_outputs: inferences whose output was not the first one of the same sample.
        growth: anonymous memory, in bytes for each inference; None if the run was too short.
        latency: growth of an inference's processor time over the whole run against a fresh interpreter's, as
            a share: 0.01 is one per cent slower at the end. On one thread alone: several wait for each other.
        control: the same of a second fresh interpreter against the first: 0 but for noise.
        leaked_files: descriptors that are open at the end and were not at the start.
        curve: the run in up to ``MAX_POINTS`` points.
    """

    runtime: str
    threads: int
    inferences: int
    seconds: float
    changed_outputs: int
    output_sha256: str
    growth: Trend | None
    latency: Trend | None
    control: Trend | None
    leaked_files: int
    curve: tuple[SoakPoint, ...] = ()

    @property
    def growth_bytes_per_inference(self) -> float:
        return self.growth.value if self.growth else 0.0

    @property
    def growth_bytes(self) -> float:
        """Growth of the memory over the whole run, by its slope once it has settled."""
        return self.growth_bytes_per_inference * self.inferences

    @property
    def control_reach(self) -> float:
        """How far the machine's noise alone may move the latency, as a share; 0 if there is no control."""
        return max(abs(self.control.low), abs(self.control.high)) if self.control else 0.0

    @property
    def leak_bytes_per_inference(self) -> float:
        """Return the proven memory growth: the lower end of the trend's interval, or 0."""
        return max(self.growth.low, 0.0) if self.growth else 0.0


@dataclass(frozen=True, kw_only=True)
class StabilityReport:
    """The soaks, and what was done to the model; each is empty if it was not measured."""

    soaks: tuple[SoakResult, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Soaks(Artifact):
    """A soak for each thread count."""

    found: tuple[SoakResult, ...]


def soak_model(
    model: Source,
    *,
    data: Dataset | None,
    inputs: InputSpec,
    inferences: int,
    minutes: float,
    threads: tuple[int, ...],
    out: Path,
) -> Soaks:
    """Soak a model on this host with each thread count, as many at a time as there are cores.

    Raises:
        InputError: the runtime refuses the model.
        StageError: a worker crashed or hung.
    """
    under_test, golden = ModelUnderTest.of(model), inputs.golden(data)
    jobs = [
        partial(
            soak, host_runtime("litert"), under_test.path, golden.inputs, inferences, minutes, threads=count
        )
        for count in threads
    ]
    return Soaks(folder=out, found=tuple(run_parallel("soak", jobs)))


def soak(
    runtime: Runtime,
    model: Path,
    inputs: Callable[[ModelDetails], list[NDArray[Any]]],
    inferences: int,
    minutes: float = 0.0,
    *,
    threads: int = 1,
) -> SoakResult:
    """Infer over and over in one process, so many times and for so many minutes, whichever is longer.

    Args:
        runtime: where to run.
        model: a .tflite file.
        inputs: given what the model takes, ordinary samples: for each input an array (n, ...) of its dtype.

    Raises: as ``soak_model``.
    """
    began = time.monotonic()
    blocks: list[SoakBlock] = []
    ratios: list[tuple[float, float]] = []
    fresh_us: list[float] = []
    with ExitStack() as stack:
        aged = stack.enter_context(Session(runtime, model, threads=threads))
        fresh = [stack.enter_context(Session(runtime, model)) for _ in range(2)] if threads == 1 else []
        samples = inputs(aged.describe())
        few = [array[:4] for array in samples]
        for block in aged.soak_blocks(samples, _sizes(inferences, minutes, blocks)):
            blocks.append(block)
            if fresh:
                first, second = (_fresh_cpu_us(each, model, few, block.cpu_us) for each in fresh)
                ratios.append((block.cpu_us / first, second / first))
                fresh_us.append(first)
    at = np.cumsum([block.inferences for block in blocks]).astype(np.float64)
    settled = at > at[-1] * SETTLED
    memory = np.array([block.memory_bytes for block in blocks], np.float64)
    latency, control = (
        (trend(at[settled], np.log(of)[settled]) for of in zip(*ratios, strict=True))
        if ratios
        else (None, None)
    )
    return SoakResult(
        runtime=runtime.title,
        threads=threads,
        inferences=int(at[-1]),
        seconds=time.monotonic() - began,
        changed_outputs=sum(block.mismatches for block in blocks),
        output_sha256=blocks[-1].output_sha256,
        growth=trend(at[settled], memory[settled]),
        latency=latency.times(float(at[-1])) if latency else None,
        control=control.times(float(at[-1])) if control else None,
        leaked_files=max(blocks[-1].open_files - blocks[0].open_files, 0),
        curve=_curve(blocks, fresh_us),
    )


def _curve(blocks: Sequence[SoakBlock], fresh_us: Sequence[float]) -> tuple[SoakPoint, ...]:
    """Return blocks at equal distances, the first and the last among them."""
    done = np.cumsum([block.inferences for block in blocks])
    places = np.linspace(0, len(blocks) - 1, min(len(blocks), MAX_POINTS)).round().astype(int)
    return tuple(
        SoakPoint(
            inferences=int(done[place]),
            memory_bytes=blocks[place].memory_bytes,
            cpu_us=round(blocks[place].cpu_us, 3),
            fresh_cpu_us=round(fresh_us[place], 3) if fresh_us else None,
        )
        for place in places
    )


def _fresh_cpu_us(session: Session, model: Path, samples: list[NDArray[Any]], cpu_us: float) -> float:
    """Median processor time of an inference in a new interpreter, after three that warm it up.

    There are enough inferences for a median within 20 ms, if that is many.
    """
    session.load(model)
    runs = min(50, max(5, int(20_000 / max(cpu_us, 1.0))))
    *_, block = session.soak_blocks(samples, [3, runs])
    return block.cpu_us


def _sizes(inferences: int, minutes: float, blocks: list[SoakBlock]) -> Iterator[int]:
    """Sizes of blocks until the inferences are done and the minutes over; ``blocks`` are those done."""
    size, rest = max(1, inferences // BLOCKS), inferences
    began = time.monotonic()
    while rest > 0:
        yield min(size, rest)
        rest -= size
    over = began + minutes * 60
    while (left := over - time.monotonic()) > 0:
        # Blocks of a four-hundredth of the time: a fresh interpreter takes no more than the other half.
        latency_s = blocks[-1].cpu_us / 1e6
        target_s = min(left, minutes * 60 / (8 * BLOCKS))
        yield max(size, int(target_s / max(latency_s, 1e-7)))
