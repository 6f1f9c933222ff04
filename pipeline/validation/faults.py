"""Faults during a run: edge-case inputs, concurrent interpreters, a kill, a memory limit, fewer cores.

Each function makes a few entries of the report's table of faults. On the host without root: the limits are
RLIMIT_DATA, the affinity mask, niceness and bursts of SIGSTOP, and the entries say so. Real cgroups and
real out-of-memory kills belong to the emulated board.
"""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.errors import InputError, StageError
from pipeline.fault import Fault
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validation.edge_case_inputs import make_edge_cases
from pipeline.validation.jobs import run_parallel
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Dataset, Source
    from pipeline.runtimes.runtime import Runtime
    from pipeline.runtimes.session import ModelDetails
    from pipeline.validation.model_under_test import InputSpec

SAME, OTHER = "the same outputs", "other outputs"
BURST_S = 0.01
LONG_US = 400_000
"""Duration of a run that is long enough to inject a fault."""
ENDLESS = 10**9
HEADROOM_BYTES = 1 << 20
STARVED = 10
"""Times as long may an answer take at the lowest priority."""


@dataclass(frozen=True)
class Case:
    """A model that runs well, and the outputs that it has to keep.

    Attributes:
        inputs: given what the model takes, ordinary samples.
        output_sha256: of their outputs, before anything was done.
        cpu_us: processor time of one inference.
    """

    runtime: Runtime
    model: Path
    inputs: Callable[[ModelDetails], list[NDArray[Any]]]
    interpreters: int
    threads: tuple[int, ...]
    output_sha256: str
    cpu_us: float

    @property
    def where(self) -> str:
        return self.runtime.kind


@dataclass(frozen=True, kw_only=True)
class Faults(Artifact):
    """All faults that were injected, and their outcomes."""

    found: tuple[Fault, ...]


def inject_faults(
    model: Source,
    *,
    data: Dataset | None,
    inputs: InputSpec,
    interpreters: int,
    threads: tuple[int, ...],
    out: Path,
) -> Faults:
    """Do everything in ``FAULTS`` to a model on this host; a fault's bad end is an entry, not an error.

    Args:
        interpreters: how many run at the same time.
        threads: thread counts that must give the same bits.

    Raises:
        InputError: the runtime refuses the model.
        StageError: the worker crashed or hung before anything was done to it.
    """
    under_test, golden = ModelUnderTest.of(model), inputs.golden(data)
    case = make_case(host_runtime("litert"), under_test.path, golden.inputs, interpreters, threads)
    entries = run_parallel("faults", [partial(fault, case) for fault in FAULTS])
    return Faults(folder=out, found=tuple(entry for made in entries for entry in made))


def make_case(
    runtime: Runtime,
    model: Path,
    inputs: Callable[[ModelDetails], list[NDArray[Any]]],
    interpreters: int,
    threads: tuple[int, ...],
) -> Case:
    """Run the model undisturbed.

    Raises:
        InputError: the runtime refuses the model.
        StageError: the worker crashed or hung.
    """
    with Session(runtime, model) as session:
        samples = inputs(session.describe())
        block = next(session.soak_blocks(samples, [len(samples[0])]))
    return Case(runtime, model, inputs, interpreters, threads, block.output_sha256, block.cpu_us)


def thread_counts(case: Case) -> tuple[Fault, ...]:
    """Run with each thread count in turn: the outputs must be bit-exact."""
    named = ", ".join(map(str, case.threads))
    action = f"{named} threads in turn"

    def attempt() -> tuple[str, bool]:
        with Session(case.runtime, case.model) as session:
            hashes = []
            for count in case.threads:
                session.load(case.model, threads=count)
                hashes.append(_hash(session, case))
        return _same(hashes, case)

    return (_entry(case.where, action, attempt),)


def run_concurrently(case: Case) -> tuple[Fault, ...]:
    """Interpreters at the same time: in threads of one process, then in processes of their own."""

    def in_threads() -> tuple[str, bool]:
        with Session(case.runtime, case.model) as session:
            samples = case.inputs(session.describe())
            found = session.run_concurrent(
                samples, interpreters=case.interpreters, inferences=2 * len(samples[0])
            )
        return (OTHER, False) if found.mismatches else _same(found.output_sha256, case)

    def in_process(_: int) -> str:
        with Session(case.runtime, case.model) as session:
            return _hash(session, case)

    def in_processes() -> tuple[str, bool]:
        with ThreadPoolExecutor(case.interpreters) as pool:
            return _same(list(pool.map(in_process, range(case.interpreters))), case)

    return (
        _entry(case.where, f"{case.interpreters} interpreters in threads of one process", in_threads),
        _entry(case.where, f"{case.interpreters} processes at the same time", in_processes),
    )


def recover_from_crash(case: Case) -> tuple[Fault, ...]:
    """SIGKILL in the middle of a run; the next process answers as before."""

    def attempt() -> tuple[str, bool]:
        seen = "not killed"
        try:
            with Session(case.runtime, case.model) as session:
                timer = threading.Timer(0.1, session.signal, [signal.SIGKILL])
                timer.start()
                for _ in session.soak_blocks(case.inputs(session.describe()), [ENDLESS]):
                    pass
        except StageError as error:
            seen = "killed" if "SIGKILL" in error.cause else error.cause
        began = time.monotonic()
        with Session(case.runtime, case.model) as session:
            found, passed = _same([_hash(session, case)], case)
        return f"{seen}; after {time.monotonic() - began:.1f} s {found} again", passed and seen == "killed"

    return (_entry(case.where, "SIGKILL during inference, then a new process", attempt),)


def limit_memory(case: Case) -> tuple[Fault, ...]:
    """A loaded model runs on without more memory; to load it again there must end, in whichever way.

    No entry on an emulated core, where the limit would be the emulator's.
    """
    if not case.runtime.capabilities.limits:
        return ()
    environment = f"{case.where}, RLIMIT_DATA at what is in use and {HEADROOM_BYTES >> 20} MiB"

    def run() -> tuple[str, bool]:
        with Session(case.runtime, case.model) as session:
            session.limit(headroom_bytes=HEADROOM_BYTES)
            return _same([_hash(session, case)], case)

    def load() -> tuple[str, bool]:
        with Session(case.runtime, case.model) as session:
            session.limit(headroom_bytes=0)
            try:
                session.load(case.model, threads=8)
                return _same([_hash(session, case)], case)
            except InputError:
                return "refused by the runtime", True
            except StageError as error:
                return error.cause, "no answer" not in error.cause

    return (
        _entry(environment, "inference", run),
        _entry(f"{case.where}, RLIMIT_DATA at what is in use", "the model loaded once more", load),
    )


def throttle_cpu(case: Case) -> tuple[Fault, ...]:
    """One core at the lowest priority; half of the time, in bursts."""

    def one_core() -> tuple[str, bool]:
        with Session(case.runtime, case.model) as session:
            session.limit(cores=1, nice=19)
            session.timeout_s *= STARVED  # other work gets the core first
            session.load(case.model, threads=2)
            return _same([_hash(session, case)], case)

    def bursts() -> tuple[str, bool]:
        with Session(case.runtime, case.model) as session:
            ended = threading.Event()
            stopper = threading.Thread(target=_stop_in_bursts, args=(session, ended))
            samples = case.inputs(session.describe())
            stopper.start()
            try:
                inferences = max(len(samples[0]), int(LONG_US / max(case.cpu_us, 1.0)))
                [block] = session.soak_blocks(samples, [inferences])
            finally:
                ended.set()
                stopper.join()
        found, passed = _same([block.output_sha256], case)
        return f"{block.inferences:,} inferences, {found}", passed and not block.mismatches

    return (
        _entry(f"{case.where}, one core, nice 19", "inference on 2 threads", one_core),
        _entry(
            f"{case.where}, SIGSTOP for {BURST_S * 1e3:.0f} ms of every {2 * BURST_S * 1e3:.0f}",
            "inference",
            bursts,
        ),
    )


def edge_case_inputs(case: Case) -> tuple[Fault, ...]:
    """Inputs that no sample is like: outputs are finite, the same each time, and leave no trace."""
    entries: list[Fault] = []
    waiting: list[str] | None = None
    while waiting is None or waiting:
        with Session(case.runtime, case.model) as session:  # another one where the last did not live on
            details = session.describe()
            ordinary = case.inputs(details)
            kinds = make_edge_cases(ordinary, details)
            waiting = list(kinds) if waiting is None else waiting
            alive = True
            while waiting and alive:
                name = waiting.pop(0)
                entries.append(
                    _entry(case.where, f"{name} inputs", partial(_edge_case, session, case, kinds[name]))
                )
                alive = session.alive()
    return tuple(entries)


FAULTS: tuple[Callable[[Case], tuple[Fault, ...]], ...] = (
    edge_case_inputs,
    run_concurrently,
    thread_counts,
    recover_from_crash,
    limit_memory,
    throttle_cpu,
)


def _edge_case(session: Session, case: Case, made: list[NDArray[Any]]) -> tuple[str, bool]:
    first, again = session.run(made), session.run(made)
    if any(one.tobytes() != two.tobytes() for one, two in zip(first, again, strict=True)):
        return "other outputs the second time", False
    if _hash(session, case) != case.output_sha256:
        return "ordinary samples have other outputs after it", False
    if _finite(made) and not _finite(first):
        return "outputs that are not numbers", False
    values = "" if _finite(first) else ", which are not numbers"
    return f"the same outputs twice{values}; no trace", True


def _finite(arrays: Sequence[NDArray[Any]]) -> bool:
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays)


def _hash(session: Session, case: Case) -> str:
    samples = case.inputs(session.describe())
    return next(session.soak_blocks(samples, [len(samples[0])])).output_sha256


def _same(hashes: Sequence[str], case: Case) -> tuple[str, bool]:
    return (SAME, True) if set(hashes) == {case.output_sha256} else (OTHER, False)


def _entry(environment: str, action: str, attempt: Callable[[], tuple[str, bool]]) -> Fault:
    """Return the outcome of an attempt; an error is an outcome, too."""
    try:
        outcome, passed = attempt()
    except (InputError, StageError) as error:
        outcome, passed = error.cause if isinstance(error, StageError) else str(error), False
    return Fault(environment=environment, action=action, outcome=outcome, passed=passed)


def _stop_in_bursts(session: Session, ended: threading.Event) -> None:
    """Stop and go until ``ended``; it ends with a go."""
    while not ended.wait(BURST_S):
        session.signal(signal.SIGSTOP)
        ended.wait(BURST_S)
        session.signal(signal.SIGCONT)
