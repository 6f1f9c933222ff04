"""Many samples through a model, or through many: a worker for each core, which take parts in turn."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pipeline.errors import InputError
from pipeline.runtimes.quantization import real_outputs, run_real, tensor_inputs
from pipeline.runtimes.session import Session
from pipeline.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.runtimes.runtime import Runtime
    from pipeline.runtimes.session import ModelDetails

Key = TypeVar("Key")

PART_BYTES = 1 << 20
MIN_SAMPLES = 32
"""Minimum samples per part: small enough to balance the cores, large enough to hand over cheaply."""


def infer_all(
    runtime: Runtime,
    model: Path,
    inputs: Callable[[ModelDetails], Iterable[Sequence[NDArray[Any]]]],
    *,
    workers: int | None = None,
) -> list[NDArray[Any]]:
    """Infer all samples, with the bits that one at a time gives.

    Args:
        runtime: where to run.
        model: a .tflite file.
        inputs: given what the model takes, the samples in chunks: for each of the model's inputs an array
            (n, ...) of its own dtype. Drawn from one thread at a time, as the samples are needed.
        workers: how many processes, each on one thread; by default one for each core, or as many
            as the runtime allows.

    Returns:
        For each of the model's outputs an array (n, ...) of its own dtype, in the order of the samples.

    Raises:
        InputError: the runtime refuses the model, or the arrays are not what it takes.
        StageError: a worker crashed or hung.
        ToolchainError: the emulator is not provisioned.
    """
    count = workers or runtime.capabilities.workers or len(os.sched_getaffinity(0))
    parts: Iterator[tuple[int, list[NDArray[Any]]]] | None = None
    done: dict[int, list[NDArray[Any]]] = {}
    drawing, ended = threading.Lock(), threading.Event()

    def draw(details: ModelDetails) -> tuple[int, list[NDArray[Any]]] | None:
        nonlocal parts
        with drawing:
            if parts is None:
                parts = enumerate(_parts(inputs(details)))
            return None if ended.is_set() else next(parts, None)

    def work() -> None:
        try:
            with Session(runtime, model) as session:
                while (part := draw(session.describe())) is not None:
                    done[part[0]] = session.run(part[1], batches=True)
        except BaseException:
            ended.set()
            raise

    with ThreadPoolExecutor(count) as pool:
        try:
            for future in [pool.submit(work) for _ in range(count)]:
                future.result()
        finally:
            ended.set()
    if not done:
        message = f"there are no samples for {model.name}; give at least one"
        raise InputError(message)
    ordered = [done[index] for index in range(len(done))]
    return [np.concatenate(of_output) for of_output in zip(*ordered, strict=True)]


def infer_real(runtime: Runtime, model: Path, chunks: Iterable[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Infer all samples as ``infer_all``, from real numbers or indices (n, ...), and return real outputs."""
    described: list[ModelDetails] = []

    def inputs(details: ModelDetails) -> Iterator[Sequence[NDArray[Any]]]:
        described.append(details)
        return (tensor_inputs(chunk, details) for chunk in chunks)

    outputs = infer_all(runtime, model, inputs)
    return real_outputs(outputs, described[0])


def infer_files(
    runtime: Runtime,
    files: Mapping[Key, Callable[[], bytes]],
    values: Sequence[NDArray[Any]],
    keep: Callable[[Key, list[NDArray[Any]]], None],
) -> None:
    """Run many models on the same samples, a model at a time on each core.

    Args:
        runtime: where to run.
        files: for each model a function that returns its .tflite file.
        values: for each of the models' inputs real numbers (n, ...), or indices.
        keep: takes a model's outputs, real numbers (n, ...) each; in any thread.

    Raises:
        InputError: the runtime refuses a model, or the arrays are not what it takes.
        StageError: a worker crashed or hung.
    """
    waiting = iter(list(files.items()))
    drawing, ended = threading.Lock(), threading.Event()

    def draw() -> tuple[Key, Callable[[], bytes]] | None:
        with drawing:
            return None if ended.is_set() else next(waiting, None)

    def work() -> None:
        try:
            with ExitStack() as stack:
                path = stack.enter_context(scratch("infer")) / "model.tflite"
                session: Session | None = None
                while (item := draw()) is not None:
                    path.write_bytes(item[1]())
                    if session is None:
                        session = stack.enter_context(Session(runtime, path))
                    else:
                        session.load(path)
                    keep(item[0], run_real(session, values, batches=True))
        except BaseException:
            ended.set()
            raise

    count = min(len(files), runtime.capabilities.workers or len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(max(1, count)) as pool:
        for future in [pool.submit(copy_context().run, work) for _ in range(count)]:
            future.result()


def _parts(chunks: Iterable[Sequence[NDArray[Any]]]) -> Iterator[list[NDArray[Any]]]:
    """Cut chunks into parts."""
    for chunk in chunks:
        arrays = list(chunk)
        sample_bytes = max(1, sum(array[:1].nbytes for array in arrays))
        size = max(MIN_SAMPLES, PART_BYTES // sample_bytes)
        for start in range(0, len(arrays[0]) if arrays else 1, size):
            yield [array[start : start + size] for array in arrays]
