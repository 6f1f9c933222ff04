"""Runs .tflite models for a session: on this host, on an emulated core, or on a board.

One file, run as a script: the standard library, numpy and one runtime (``ai_edge_litert`` or
``tflite_runtime``), nothing of this project, so that the same file runs anywhere with Python 3.11.

It reads one JSON request a line from standard input and answers each with one JSON line: ``{"ok": ...}``, or
``{"error": "what went wrong"}`` where the runtime raised an exception. In between it prints
``{"alive": true}`` every half a second, which distinguishes a long job from a hung one. Arrays travel
as paths of ``.npy`` files.
What the runtimes print goes to standard error. The worker ends when its input does, or its parent.

Usage: ``worker.py litert|tflite-runtime[:reference]``, with TFLite's reference kernels.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import os
import resource
import signal
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

MODULES = {"litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}

REQUESTS = ("load", "run", "time", "soak", "mark", "run_concurrent")
PR_SET_PDEATHSIG = 1

# Markers for icount.c, which counts instructions between them.
MARK = 0x7ACE0000
DISARM, ARM, START, INFERENCE, NOTHING, WARM_UP = range(6)

# CPython specializes code after about eight runs, so it executes fewer instructions afterwards.
SETTLED_MARKS = 10
SLOW_S = 1.0
ALIVE_S = 0.5
# The samples of a batch, and the bytes that they may have.
BATCH_SAMPLES = 256
BATCH_BYTES = 1 << 18


class Worker:
    """One loaded model and the requests that can be made of it."""

    def __init__(self, package: str, report_alive: Callable[[], None] = lambda: None) -> None:
        self.package, self.report_alive, self.due = package, report_alive, 0.0
        name, _, kernels = package.partition(":")
        module = import_module(MODULES[name])
        self.make_interpreter: Callable[..., Any] = module.Interpreter
        if kernels == "reference":
            resolver = module.OpResolverType.BUILTIN_REF
            self.make_interpreter = partial(module.Interpreter, experimental_op_resolver_type=resolver)
        self.interpreter: Any = None
        self.input_indices: list[int] = []
        self.output_indices: list[int] = []
        self.model, self.threads = "", 1
        self.batched: Any = None
        self.may_batch = True
        self.stateful = False
        self.marked = 0
        self.soaked: list[NDArray[Any]] = []
        self.first: list[bytes] = []

    def load(self, model: str, threads: int) -> dict[str, Any]:
        """Load a model file; answers with its description and ``init_us``."""
        self.interpreter = self.batched = None
        self.first = []
        gc.collect()
        began = time.perf_counter_ns()
        self.model, self.threads = model, threads
        interpreter = self.interpreter = self.allocate()
        init_us = (time.perf_counter_ns() - began) / 1e3
        self.stateful = any(op["op_name"] == "VAR_HANDLE" for op in interpreter._get_ops_details())
        self.may_batch = not self.stateful
        self.input_indices = [detail["index"] for detail in interpreter.get_input_details()]
        self.output_indices = [detail["index"] for detail in interpreter.get_output_details()]
        return {"init_us": init_us, **describe(interpreter)}

    def allocate(self) -> Any:
        interpreter = self.make_interpreter(model_path=self.model, num_threads=self.threads)
        interpreter.allocate_tensors()
        return interpreter

    def reset_state(self) -> None:
        """Clear the state that the previous sample left; only a new interpreter clears resource variables."""
        if self.stateful:
            self.interpreter = self.allocate()
        else:
            self.interpreter.reset_all_variables()

    def run(self, inputs: list[str], outputs: list[str], batches: bool = False) -> dict[str, Any]:
        """Infer sample by sample, as a device does; writes each output as (n, ...).

        With ``batches`` several samples are inferred at a time, where that is faster and bit-exact.
        """
        import numpy as np

        samples = load_arrays(inputs)
        results = self.in_batches(samples) if batches else None
        for path, result in zip(outputs, results or self.one_by_one(samples), strict=True):
            np.save(path, result)
        return {}

    def one_by_one(self, samples: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Infer one sample at a time, with as little Python as possible between two inferences."""
        import numpy as np

        if self.stateful:
            found = [self.outputs() for _ in self.infer(samples, len(samples[0]))]
            return [np.concatenate(of_output) for of_output in zip(*found, strict=True)]
        reset, invoke = self.interpreter.reset_all_variables, self.interpreter.invoke
        set_tensor, get_tensor = self.interpreter.set_tensor, self.interpreter.get_tensor
        inputs = list(zip(self.input_indices, samples, strict=True))
        count = len(samples[0])
        results: list[tuple[int, NDArray[Any]]] = []
        for at in range(count):
            reset()
            for tensor, array in inputs:
                set_tensor(tensor, array[at : at + 1])
            invoke()
            if not results:
                for tensor in self.output_indices:
                    found = get_tensor(tensor)
                    results.append((tensor, np.empty((count, *found.shape[1:]), found.dtype)))
            for tensor, array in results:
                array[at] = get_tensor(tensor)[0]
            self.heartbeat()
        return [array for _, array in results]

    def in_batches(self, samples: list[NDArray[Any]]) -> list[NDArray[Any]] | None:
        """Infer all samples in batches; None if they are few, or batches are slower or not bit-exact.

        The first batch is inferred one by one as well, and a sample of every further one.
        """
        import numpy as np

        count, size = len(samples[0]), batch_size(samples)
        if not self.may_batch or size < 2 or count < 2 * size:
            return None
        results: list[list[NDArray[Any]]] = []
        try:
            if self.batched is None:
                self.prove_batches([array[:size] for array in samples])
            for place, begin in enumerate(range(0, count, size)):
                start, probe = min(begin, count - size), place * 37 % size
                found = self.infer_batch([array[start : start + size] for array in samples])
                alone = self.one_by_one([array[start + probe :][:1] for array in samples])
                require_identical([array[probe : probe + 1] for array in found], alone)
                results.append([array[begin - start :] for array in found])
        except (RuntimeError, ValueError):  # a fixed shape or a kernel forbids it, or it does not help
            self.may_batch, self.batched = False, None
            return None
        return [np.concatenate(of_output) for of_output in zip(*results, strict=True)]

    def prove_batches(self, head: list[NDArray[Any]]) -> None:
        """Make an interpreter for batches as large as ``head``, if that is faster and bit-exact."""
        began = time.perf_counter_ns()
        alone = self.one_by_one(head)
        alone_ns = time.perf_counter_ns() - began
        self.batched = self.make_interpreter(model_path=self.model, num_threads=self.threads)
        for tensor, array in zip(self.input_indices, head, strict=True):
            self.batched.resize_tensor_input(tensor, list(array.shape))
        self.batched.allocate_tensors()
        require_identical(self.infer_batch(head), alone)
        began = time.perf_counter_ns()
        self.infer_batch(head)
        if time.perf_counter_ns() - began >= alone_ns:
            message = "batches are slower"
            raise ValueError(message)

    def infer_batch(self, arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self.batched.reset_all_variables()
        for tensor, array in zip(self.input_indices, arrays, strict=True):
            self.batched.set_tensor(tensor, array)
        self.batched.invoke()
        self.heartbeat()
        return [self.batched.get_tensor(index) for index in self.output_indices]

    def time(self, inputs: list[str], runs: int, warmup_runs: int) -> dict[str, Any]:
        """Answer with ``first_us`` and ``latencies_us``, of ``invoke`` alone; the inputs go round."""
        samples = load_arrays(inputs)
        first, *latencies = (taken / 1e3 for taken in self.infer(samples, 1 + warmup_runs + runs))
        return {"first_us": first, "latencies_us": latencies[warmup_runs:]}

    def soak(self, inputs: list[str], inferences: int, start: int = 0) -> dict[str, Any]:
        """Infer over and over, going on from inference ``start`` of the same samples.

        Reports whether outputs stay the same, and the memory and open files of the process.
        """
        if start == 0:
            self.soaked, self.first = load_arrays(inputs), []
            return_free_memory()
        samples, cycle = self.soaked, len(self.soaked[0])
        mismatches, taken_ns = 0, []
        for index, taken in enumerate(self.infer(samples, inferences, start, time.thread_time_ns), start):
            taken_ns.append(taken)
            outputs = b"".join(array.tobytes() for array in self.outputs())
            if index < cycle:
                self.first.append(outputs)
            else:
                mismatches += outputs != self.first[index % cycle]
        return {
            "mismatches": mismatches,
            "output_sha256": hashlib.sha256(b"".join(self.first)).hexdigest(),
            "cpu_us": statistics.median(taken_ns) / 1e3,
            "memory_bytes": memory_bytes(),
            "open_files": count_open_files(),
        }

    def run_concurrent(self, inputs: list[str], inferences: int, interpreters: int) -> dict[str, Any]:
        """Infer with several interpreters at the same time, each in a thread of its own."""

        def infer(_: int) -> dict[str, Any]:
            worker = Worker(self.package, self.report_alive)
            worker.load(self.model, self.threads)
            return worker.soak(inputs, inferences)

        with ThreadPoolExecutor(interpreters) as pool:
            found = list(pool.map(infer, range(interpreters)))
        return {
            "mismatches": sum(each["mismatches"] for each in found),
            "output_sha256": [each["output_sha256"] for each in found],
        }

    def mark(self, inputs: list[str], runs: int, warmup_runs: int) -> dict[str, Any]:
        """Put markers around ``runs`` warm inferences, once their cost has settled, then around nothing."""
        samples = load_arrays(inputs)
        gc.disable()
        for index in range(max(warmup_runs, SETTLED_MARKS - self.marked)):
            began = time.monotonic()
            self.mark_inference(samples, index, WARM_UP)
            mark_nothing(WARM_UP)
            if index and time.monotonic() - began > SLOW_S:  # the cost of markers is negligible there
                runs = min(runs, 2)
                break
        mark(ARM)
        for index in range(runs):
            self.mark_inference(samples, index, INFERENCE)
        for _ in range(runs):
            mark_nothing(NOTHING)
        mark(DISARM)
        gc.enable()
        return {}

    def mark_inference(self, samples: list[NDArray[Any]], index: int, number: int) -> None:
        self.marked += 1
        if not self.stateful:  # a new interpreter is not warm
            self.reset_state()
        self.set_inputs(samples, index)
        mark(START)
        self.interpreter.invoke()
        mark(number)

    def infer(
        self, samples: list[NDArray[Any]], count: int, start: int = 0, clock: Callable[[], int] | None = None
    ) -> Iterator[int]:
        """Infer ``count`` times, going round the samples; yields the ns of each ``invoke`` by ``clock``."""
        clock = clock or time.perf_counter_ns
        for index in range(start, start + count):
            self.reset_state()
            self.set_inputs(samples, index)
            invoke = self.interpreter.invoke
            began = clock()
            invoke()
            taken = clock() - began
            self.heartbeat()
            yield taken

    def heartbeat(self) -> None:
        """Report that the worker is alive, at most every ``ALIVE_S`` seconds."""
        if time.monotonic() > self.due:
            self.due = time.monotonic() + ALIVE_S
            self.report_alive()

    def set_inputs(self, samples: list[NDArray[Any]], index: int) -> None:
        """Set a sample, going round them."""
        at = index % len(samples[0])
        for tensor, array in zip(self.input_indices, samples, strict=True):
            self.interpreter.set_tensor(tensor, array[at : at + 1])

    def outputs(self) -> list[NDArray[Any]]:
        return [self.interpreter.get_tensor(index) for index in self.output_indices]


def describe(interpreter: Any) -> dict[str, Any]:
    """Describe a model's inputs, outputs, operators with their tensors, and the tensors' dtypes."""
    import numpy as np

    dtypes = {detail["index"]: np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    return {
        "inputs": [describe_tensor(detail, dtypes) for detail in interpreter.get_input_details()],
        "outputs": [describe_tensor(detail, dtypes) for detail in interpreter.get_output_details()],
        "ops": [
            {"op": op["op_name"], **{side: [int(t) for t in op[side]] for side in ("inputs", "outputs")}}
            for op in interpreter._get_ops_details()
        ],
        "dtypes": dtypes,
    }


def describe_tensor(detail: dict[str, Any], dtypes: dict[int, str]) -> dict[str, Any]:
    scales = detail["quantization_parameters"]["scales"]
    zero_points = detail["quantization_parameters"]["zero_points"]
    return {
        "name": detail["name"],
        "shape": [int(size) for size in detail["shape"]],
        "dtype": dtypes[detail["index"]],
        "scale": float(scales[0]) if len(scales) else None,
        "zero_point": int(zero_points[0]) if len(zero_points) else None,
    }


def load_arrays(paths: list[str]) -> list[NDArray[Any]]:
    """Map the files: a sample is copied once, into the model's own memory."""
    import numpy as np

    return [np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) for path in paths]


def batch_size(samples: list[NDArray[Any]]) -> int:
    return min(BATCH_SAMPLES, BATCH_BYTES // max(sum(array[:1].nbytes for array in samples), 1))


def require_identical(left: list[NDArray[Any]], right: list[NDArray[Any]]) -> None:
    if any(a.shape != b.shape or a.tobytes() != b.tobytes() for a, b in zip(left, right, strict=True)):
        message = "outputs differ"
        raise ValueError(message)


def mark(number: int) -> None:
    with contextlib.suppress(OSError):
        os.close(MARK + number)


def mark_nothing(number: int) -> None:
    mark(START)
    mark(number)


def memory_bytes() -> int:
    """Return the anonymous memory in use, which a leak makes grow; code that is paged in does not count."""
    try:
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        # Off by up to 64 pages a thread: kernels count it in steps.
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
        return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Anonymous:")) * 1024


def return_free_memory() -> None:
    """Give what loading has left free back to the kernel: a leak that fills it would not show."""
    with contextlib.suppress(AttributeError):  # of the GNU C library alone
        ctypes.CDLL(None).malloc_trim(0)


def count_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends: a hung worker does not notice that."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    one_at_a_time = threading.Lock()

    def answer(reply: dict[str, Any]) -> None:
        with one_at_a_time:
            replies.write(json.dumps(reply) + "\n")
            replies.flush()

    worker = Worker(sys.argv[1], lambda: answer({"alive": True}))
    requests = {name: getattr(worker, name) for name in REQUESTS}
    answer({"ok": {"machine": os.uname().machine}})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer({"ok": requests[request.pop("do")](**request)})
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
