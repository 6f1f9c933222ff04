"""A conversation with a worker that runs .tflite models, on any runtime.

The worker is another process, because a model may crash or hang the runtime that reads it. Here that ends as
an error that names the signal or the time-out, and nothing is left running.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from pipeline.errors import InputError, StageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from pipeline.runtimes.runtime import Runtime

Placement = Literal["xnnpack-int8", "xnnpack-float", "builtin"]

WORKER = Path(__file__).with_name("worker.py")
GRACE_S = 2.0
"""Seconds that a worker has to end by itself once its input is closed."""

INFERENCE, NOTHING = 3, 4
"""The marks that worker.py makes after an inference, and after nothing."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model; ``scale`` and ``zero_point`` are None where it is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class Node:
    """An operator, the dtypes that it takes and gives, and what runs it."""

    index: int
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    placement: Placement


@dataclass(frozen=True)
class ModelDetails:
    """A loaded model as its runtime sees it; ``partitions`` were given to the delegate."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    partitions: int
    init_us: float


@dataclass(frozen=True)
class Timing:
    """Latencies of ``invoke`` in microseconds; the first inference and loading are kept apart."""

    init_us: float
    first_us: float
    latencies_us: tuple[float, ...]


@dataclass(frozen=True)
class Soak:
    """What many inferences in one process did.

    Attributes:
        mismatches: inferences whose output was not the first one of the same sample.
        output_sha256: of the first outputs of all samples.
        growth_bytes_per_inference: slope of the resident memory, without the first fifth of the run.
    """

    inferences: int
    mismatches: int
    output_sha256: str
    resident_start_bytes: int
    resident_end_bytes: int
    growth_bytes_per_inference: float
    open_files_start: int
    open_files_end: int


@dataclass(frozen=True)
class InstructionCount:
    """Guest instructions and bytes of one warm inference: medians over ``samples``, the marks' own cost off.

    Counts of an emulated core are no times: label them "emulated instructions".
    """

    instructions: int
    load_bytes: int
    store_bytes: int
    samples: tuple[int, ...]


class Counts(TypedDict):
    """A line that icount.c writes at a mark."""

    k: int
    instructions: int
    load_bytes: int
    store_bytes: int


class Session:
    """A model on ``runtime``, for the length of a ``with`` block.

    The model is only read, and is expected to have passed ``pipeline.flatbuffer``. A session belongs to the
    thread that opened it: the kernel ends the worker together with that thread.

    Args:
        runtime: where to run.
        model: a .tflite file.
        threads: how many the runtime may use.
        timeout_s: the seconds that any one request may take.

    Raises:
        InputError: the runtime refuses the model, or the arrays are not what it takes.
        StageError: the worker crashed, hung or could not do what was asked.
        ToolchainError: the emulator is not provisioned.
    """

    def __init__(self, runtime: Runtime, model: Path, *, threads: int = 1, timeout_s: float = 600.0) -> None:
        self.runtime, self.timeout_s = runtime, timeout_s
        self._model, self._threads = model, threads

    def __enter__(self) -> Session:
        self._folder = Path(tempfile.mkdtemp(prefix="edge-session-"))
        self._marks = self._folder / "marks.jsonl"
        self._pending = b""
        try:
            (self._folder / WORKER.name).symlink_to(WORKER)
            command = self.runtime.command(WORKER.name, self._marks.name)
            self._log = (self._folder / "log").open("w+b")
            self._worker = subprocess.Popen(
                command,
                env=self.runtime.environment(),
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,  # Ctrl-C is for this process, which ends the worker in __exit__
            )
        except BaseException:
            shutil.rmtree(self._folder)
            raise
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
        # The worker is given names in its own folder: where things lie must not show in instruction counts.
        link = self._folder / "model.tflite"
        link.unlink(missing_ok=True)
        link.symlink_to(model.resolve())
        reply = self._exchange("load", model=link.name, threads=threads)
        if "error" in reply:
            message = (
                f"{self.runtime.title} cannot load {model}: {_one_line(reply['error'])}; convert it again"
            )
            raise InputError(message)
        found = reply["ok"]
        self._details = ModelDetails(
            inputs=tuple(_tensor(row) for row in found["inputs"]),
            outputs=tuple(_tensor(row) for row in found["outputs"]),
            nodes=tuple(_node(row) for row in found["nodes"]),
            partitions=found["partitions"],
            init_us=found["init_us"],
        )

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Infer every sample, one at a time, as a device does.

        Args:
            inputs: for each of the model's inputs an array (n, ...) of its own dtype.

        Returns:
            For each of the model's outputs an array (n, ...) of its own dtype.
        """
        import numpy as np

        outputs = [f"output-{index}.npy" for index in range(len(self._details.outputs))]
        self._ask("run", inputs=self._written(inputs), outputs=outputs)
        return [np.load(self._folder / name, allow_pickle=False) for name in outputs]

    def time(self, inputs: Sequence[NDArray[Any]], *, runs: int = 100, warmup_runs: int = 10) -> Timing:
        """Time ``runs`` inferences after one first and ``warmup_runs`` more; ask it first."""
        found = self._ask("time", inputs=self._written(inputs), runs=runs, warmup_runs=warmup_runs)
        return Timing(self._details.init_us, found["first_us"], tuple(found["latencies_us"]))

    def soak(self, inputs: Sequence[NDArray[Any]], *, inferences: int = 1000) -> Soak:
        """Infer the samples round and round and watch outputs, memory and open files."""
        import numpy as np

        found = self._ask("soak", inputs=self._written(inputs), inferences=inferences)
        at, resident = np.array(found["resident_bytes"], np.float64).T
        settled = at >= inferences / 5
        slope = float(np.polyfit(at[settled], resident[settled], 1)[0]) if settled.sum() > 1 else 0.0
        return Soak(
            inferences=inferences,
            mismatches=found["mismatches"],
            output_sha256=found["output_sha256"],
            resident_start_bytes=int(resident[0]),
            resident_end_bytes=int(resident[-1]),
            growth_bytes_per_inference=slope,
            open_files_start=found["open_files"][0],
            open_files_end=found["open_files"][1],
        )

    def count_instructions(
        self, inputs: Sequence[NDArray[Any]], *, runs: int = 5, warmup_runs: int = 3
    ) -> InstructionCount:
        """Count what ``runs`` warm inferences execute; emulated runtimes only, one thread.

        The same model, inputs and emulator give the same counts, within about a millionth.
        """
        if self.runtime.kind != "emulated" or self._threads != 1:
            stage = "count instructions"
            cause = f"{self.runtime.title} with {self._threads} threads cannot count"
            raise StageError(stage, cause, "use an emulated device and one thread")
        self._marks.write_bytes(b"")
        self._ask("mark", inputs=self._written(inputs), runs=runs, warmup_runs=warmup_runs)
        lines = self._marks.read_text(encoding="ascii").splitlines()
        return _settle([json.loads(line) for line in lines])

    def _written(self, inputs: Sequence[NDArray[Any]]) -> list[str]:
        """Write the arrays where the worker finds them, if they are what the model takes."""
        import numpy as np

        wanted = self._details.inputs
        fits = len(inputs) == len(wanted) and all(
            array.dtype.name == tensor.dtype
            and array.shape[1:] == tensor.shape[1:]
            and len(array) == len(inputs[0]) > 0
            for array, tensor in zip(inputs, wanted, strict=True)
        )
        if not fits:
            takes = ", ".join(_signature(tensor.dtype, tensor.shape[1:]) for tensor in wanted)
            given = ", ".join(_signature(array.dtype.name, array.shape[1:]) for array in inputs)
            message = f"{self._model.name} takes {takes}, not {given}; inspect it with: pipeline inspect"
            raise InputError(message)
        names = [f"input-{index}.npy" for index in range(len(inputs))]
        for name, array in zip(names, inputs, strict=True):
            np.save(self._folder / name, array)
        return names

    def _ask(self, do: str, **arguments: Any) -> Any:
        reply = self._exchange(do, **arguments)
        if "error" in reply:
            cause = f"{self.runtime.title}: {_one_line(reply['error'])} in {self._model.name}"
            raise StageError(do, cause, "check the model with: pipeline inspect")
        return reply["ok"]

    def _exchange(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._worker.stdin.flush()
        except BrokenPipeError:
            raise self._death(do) from None
        return self._receive(do)

    def _receive(self, do: str) -> dict[str, Any]:
        """Return the worker's next reply."""
        assert self._worker.stdout is not None
        deadline = time.monotonic() + self.timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._worker.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    cause = f"{self.runtime.title} gave no answer in {self.timeout_s:.0f} s"
                    raise StageError(do, cause, "allow more time, or use a smaller model")
                chunk = os.read(self._worker.stdout.fileno(), 65536)
                if not chunk:
                    raise self._death(do)
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _death(self, do: str) -> StageError:
        """Say how the worker ended."""
        try:
            code = self._worker.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return StageError(do, f"{self.runtime.title} closed its replies", "run: pipeline doctor")
        if code < 0:
            cause = f"{self.runtime.title} was killed by {signal.Signals(-code).name} on {self._model.name}"
            return StageError(do, cause, "check the model with: pipeline inspect")
        self._log.seek(0)
        last = _one_line(self._log.read().decode(errors="replace").strip().rpartition("\n")[2])
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
            self._log.close()
            shutil.rmtree(self._folder)


def _tensor(row: dict[str, Any]) -> Tensor:
    return Tensor(**{**row, "shape": tuple(row["shape"])})


def _node(row: dict[str, Any]) -> Node:
    return Node(**{**row, "inputs": tuple(row["inputs"]), "outputs": tuple(row["outputs"])})


def _settle(lines: list[Counts]) -> InstructionCount:
    """Take what a mark itself costs off each inference, and the median of them."""
    inferences = [line for line in lines if line["k"] == INFERENCE]
    nothings = [line for line in lines if line["k"] == NOTHING]

    def net(key: Literal["instructions", "load_bytes", "store_bytes"]) -> list[int]:
        overhead = _median([line[key] for line in nothings])
        return [line[key] - overhead for line in inferences]

    samples = net("instructions")
    return InstructionCount(
        _median(samples), _median(net("load_bytes")), _median(net("store_bytes")), tuple(samples)
    )


def _median(values: list[int]) -> int:
    """Return the lower median: a value that was counted."""
    return sorted(values)[(len(values) - 1) // 2]


def _signature(dtype: str, sample_shape: tuple[int, ...]) -> str:
    return f"{dtype} ({', '.join(map(str, ('n', *sample_shape)))})"


def _one_line(text: str) -> str:
    return " ".join(text.split())
