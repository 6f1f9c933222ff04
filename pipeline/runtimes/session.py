"""A conversation with a worker that runs .tflite models, on any runtime, here or on a device.

The worker is another process, because a model may crash or hang the runtime that reads it. A session turns
that into an error that names the signal or the time-out, and leaves nothing running. ``WorkerHost``
decides where the worker runs and where its files are stored.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, StageError, StageKilledError, StageTimeoutError
from pipeline.runtimes.messages import (
    ConcurrentRun,
    InstructionCount,
    ModelDetails,
    Node,
    Placement,
    SoakBlock,
    Tensor,
    Timing,
    read_block,
    read_concurrent_run,
    read_details,
    read_reply,
    read_timing,
    settle_counts,
)
from pipeline.runtimes.worker_host import LOG, MARKERS, MODEL

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from pipeline.runtimes.runtime import Runtime

__all__ = [
    "ConcurrentRun",
    "InstructionCount",
    "ModelDetails",
    "Node",
    "Placement",
    "Session",
    "SoakBlock",
    "Tensor",
    "Timing",
]

GRACE_S = 2.0
"""Seconds that a worker has to end by itself once its input is closed."""

MAX_REPLY_BYTES = 64 << 20
"""More than the latencies of any run; what is longer is not a reply."""


class Session:
    """A model on ``runtime``, for the length of a ``with`` block.

    The model is only read, and is expected to have passed ``pipeline.flatbuffer``. A session belongs to the
    thread that opened it: the kernel ends the worker together with that thread.

    Args:
        runtime: where to run.
        model: a .tflite file.
        threads: how many the runtime may use.
        timeout_s: seconds without a heartbeat, which the worker sends between inferences, after which it
            counts as hung; by default that of the runtime.

    Raises:
        DeviceError: the device was not reached, or no longer is.
        InputError: the runtime refuses the model, or the arrays are not what it takes.
        StageError: the worker crashed, hung or could not do what was asked.
        ToolchainError: the emulator is not provisioned.
    """

    def __init__(
        self, runtime: Runtime, model: Path, *, threads: int = 1, timeout_s: float | None = None
    ) -> None:
        self.runtime = runtime
        self.timeout_s = runtime.capabilities.silence_s if timeout_s is None else timeout_s
        self._model, self._threads = model, threads

    def __enter__(self) -> Session:
        self._pending = b""
        self._host = self.runtime.launch()
        self._worker = self._host.process
        try:
            self._receive("start")
            self.load(self._model, threads=self._threads)
        except BaseException:
            self._end(grace_s=0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(grace_s=GRACE_S if kind is None else 0.0)

    def describe(self) -> ModelDetails:
        """Return what is in the model and where each node runs."""
        return self._details

    def load(self, model: Path, *, threads: int = 1) -> None:
        """Replace the model, in the same worker: to start another one takes seconds when emulated."""
        self._model, self._threads = model, threads
        self._host.put_model(model)
        reply = self._exchange("load", model=MODEL, threads=threads)
        if "error" in reply:
            message = (
                f"{self.runtime.title} cannot load {model}: {_one_line(reply['error'])}; convert it again"
            )
            raise InputError(message)
        with self._reading("load", reply):
            self._details = read_details(reply.get("ok"))

    def run(self, inputs: Sequence[NDArray[Any]], *, batches: bool = False) -> list[NDArray[Any]]:
        """Infer every sample, one at a time, as a device does.

        Args:
            inputs: for each of the model's inputs an array (n, ...) of its own dtype.
            batches: infer many at a time where model and runtime allow it: faster, and bit-exact.

        Returns:
            For each of the model's outputs an array (n, ...) of its own dtype.
        """
        outputs = [f"output-{index}.npy" for index in range(len(self._details.outputs))]
        batches = batches and self.runtime.capabilities.batches
        self._ask("run", inputs=self._written(inputs), outputs=outputs, batches=batches)
        return [self._host.fetch(name) for name in outputs]

    def time(self, inputs: Sequence[NDArray[Any]], *, runs: int = 100, warmup_runs: int = 10) -> Timing:
        """Time ``runs`` inferences after one first and ``warmup_runs`` more; ask it first.

        Not on emulated cores, whose times mean nothing.
        """
        if self.runtime.capabilities.times is None:
            stage, cause = "time", f"{self.runtime.title} is emulated and cannot be timed"
            raise StageError(stage, cause, "time the host or a real device")
        found = self._ask("time", inputs=self._written(inputs), runs=runs, warmup_runs=warmup_runs)
        with self._reading("time", found):
            return read_timing(found, self._details.init_us)

    def soak_blocks(self, inputs: Sequence[NDArray[Any]], sizes: Iterable[int]) -> Iterator[SoakBlock]:
        """Infer the samples round and round, block after block of ``sizes`` inferences; no other request
        with inputs in between.
        """
        names, start = self._written(inputs), 0
        for size in sizes:
            found = self._ask("soak", inputs=names, inferences=size, start=start)
            with self._reading("soak", found):
                block = read_block(found, size)
            yield block
            start += size

    def run_concurrent(
        self, inputs: Sequence[NDArray[Any]], *, interpreters: int, inferences: int
    ) -> ConcurrentRun:
        """Infer with several interpreters at the same time, each in a thread of the one worker."""
        names = self._written(inputs)
        found = self._ask("run_concurrent", inputs=names, inferences=inferences, interpreters=interpreters)
        with self._reading("run_concurrent", found):
            return read_concurrent_run(found)

    def limit(self, *, headroom_bytes: int | None = None, cores: int | None = None, nice: int = 0) -> None:
        """Limit the resources of the worker permanently.

        Args:
            headroom_bytes: of RLIMIT_DATA, beyond what the worker has now.
            cores: how many of its cores it keeps.
            nice: its niceness, up to 19.
        """
        worker = self._worker.pid
        if headroom_bytes is not None:
            status = Path(f"/proc/{worker}/status").read_text(encoding="utf-8")
            used = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData:"))
            most = used * 1024 + headroom_bytes
            resource.prlimit(worker, resource.RLIMIT_DATA, (most, most))
        if cores is not None:
            os.sched_setaffinity(worker, sorted(os.sched_getaffinity(worker))[:cores])
        if nice:
            os.setpriority(os.PRIO_PROCESS, worker, nice)

    def alive(self) -> bool:
        """Return whether the worker has not ended."""
        return self._worker.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker; from another thread than the one that waits for it."""
        self._worker.send_signal(number)

    def count_instructions(
        self, inputs: Sequence[NDArray[Any]], *, runs: int = 5, warmup_runs: int = 3
    ) -> InstructionCount:
        """Count what ``runs`` warm inferences execute, where the runtime can count, on one thread.

        The same model, inputs and emulator give the same counts, within about a millionth.
        """
        if not self.runtime.capabilities.counts or self._threads != 1:
            stage = "count instructions"
            cause = f"{self.runtime.title} with {self._threads} threads cannot count"
            raise StageError(stage, cause, "use an emulated device and one thread")
        markers = self._host.folder / MARKERS
        markers.write_bytes(b"")
        self._ask("mark", inputs=self._written(inputs), runs=runs, warmup_runs=warmup_runs)
        lines = markers.read_text(encoding="ascii").splitlines()
        return settle_counts([json.loads(line) for line in lines])

    def _written(self, inputs: Sequence[NDArray[Any]]) -> list[str]:
        """Put the arrays where the worker finds them, if they are what the model takes."""
        expected = self._details.inputs
        fits = len(inputs) == len(expected) and all(
            array.dtype.name == tensor.dtype
            and array.shape[1:] == tensor.shape[1:]
            and len(array) == len(inputs[0]) > 0
            for array, tensor in zip(inputs, expected, strict=True)
        )
        if not fits:
            takes = ", ".join(_signature(tensor.dtype, tensor.shape[1:]) for tensor in expected)
            given = ", ".join(_signature(array.dtype.name, array.shape[1:]) for array in inputs)
            message = f"{self._model.name} takes {takes}, not {given}; inspect it with: pipeline inspect"
            raise InputError(message)
        names = [f"input-{index}.npy" for index in range(len(inputs))]
        for name, array in zip(names, inputs, strict=True):
            self._host.put(name, array)
        return names

    def _ask(self, do: str, **arguments: Any) -> Any:
        reply = self._exchange(do, **arguments)
        if "error" in reply:
            cause = f"{self.runtime.title}: {_one_line(reply['error'])} in {self._model.name}"
            raise StageError(do, cause, "check the model with: pipeline inspect")
        return reply.get("ok")

    def _exchange(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._worker.stdin.flush()
        except BrokenPipeError:
            raise self._death(do) from None
        return self._receive(do)

    def _receive(self, do: str) -> dict[str, Any]:
        """Return the worker's next reply; signs of life only move the deadline."""
        while True:
            line = self._next_line(do)
            with self._reading(do, line):
                reply = read_reply(line)
            if "alive" not in reply:
                return reply

    @contextlib.contextmanager
    def _reading(self, do: str, output: Any) -> Iterator[None]:
        """Turn a ValueError into one that quotes the worker's unreadable output.

        Raises:
            DeviceError: it comes from a device.
            StageError: it comes from a worker on this machine.
        """
        try:
            yield
        except ValueError:
            what = repr(output if isinstance(output, bytes) else json.dumps(output).encode())[1:61]
            cause = f"{self.runtime.title} says {what} where the worker answers"
            raise self._host.unreadable(do, cause) from None

    def _next_line(self, do: str) -> bytes:
        assert self._worker.stdout is not None
        deadline = time.monotonic() + self.timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._worker.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    cause = f"{self.runtime.title} gave no answer in {self.timeout_s:.0f} s"
                    raise StageTimeoutError(do, cause, "allow more time, or use a smaller model")
                chunk = os.read(self._worker.stdout.fileno(), 65536)
                if not chunk:
                    raise self._death(do)
                self._pending += chunk
                if len(self._pending) > MAX_REPLY_BYTES:
                    with self._reading(do, self._pending[:60]):
                        raise ValueError
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _death(self, do: str) -> StageError:
        """Return how the worker ended."""
        try:
            code = self._worker.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return StageError(do, f"{self.runtime.title} closed its replies", "run: pipeline doctor")
        signal_name = self._host.termination_cause(code)
        if signal_name is not None:
            cause = f"{self.runtime.title} was killed by {signal_name} on {self._model.name}"
            if signal_name == "SIGKILL":
                return StageKilledError(do, cause, "if memory ran out: free some, or use a smaller model")
            return StageError(do, cause, "check the model with: pipeline inspect")
        log = (self._host.folder / LOG).read_text(encoding="utf-8", errors="replace")
        last = _one_line(log.strip().rpartition("\n")[2])
        return StageError(
            do, f"{self.runtime.title} ended with exit code {code}: {last}", "run: pipeline doctor"
        )

    def _end(self, grace_s: float) -> None:
        """Leave no process and no file behind."""
        worker = self._worker
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.close()
            worker.wait(grace_s)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
            self._host.remove()


def _signature(dtype: str, sample_shape: tuple[int, ...]) -> str:
    return f"{dtype} ({', '.join(map(str, ('n', *sample_shape)))})"


def _one_line(text: str) -> str:
    return " ".join(text.split())
