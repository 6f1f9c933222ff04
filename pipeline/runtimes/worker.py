"""Runs .tflite models for a session: on this host, on an emulated core, or on a board.

One file, run as a script: the standard library, numpy and one runtime (``ai_edge_litert`` or
``tflite_runtime``), nothing of this project, so that the same file runs anywhere with Python 3.11.

It reads one JSON request a line from standard input and answers each with one JSON line: ``{"ok": ...}``, or
``{"error": "what went wrong"}`` where the runtime raised an exception. Arrays travel as paths of ``.npy``
files. What the runtimes print goes to standard error. The worker ends when its input does, or its parent.

Usage: ``worker.py PACKAGE`` with PACKAGE ``litert`` or ``tflite-runtime``.
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
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

MODULES = {"litert": "ai_edge_litert.interpreter", "tflite-runtime": "tflite_runtime.interpreter"}

PR_SET_PDEATHSIG = 1

# Marks for icount.c, which counts instructions between them.
MARK = 0x7ACE0000
DISARM, ARM, START, INFERENCE, NOTHING, WARM_UP = range(6)

# CPython makes code faster that has run some eight times; what it counts before is not what it counts after.
SETTLED_MARKS = 10


class Worker:
    """One loaded model and the requests that can be made of it."""

    def __init__(self, package: str) -> None:
        self.make_interpreter: Callable[..., Any] = import_module(MODULES[package]).Interpreter
        self.interpreter: Any = None
        self.input_indices: list[int] = []
        self.output_indices: list[int] = []
        self.marked = 0

    def load(self, model: str, threads: int) -> dict[str, Any]:
        """Load a model file; answers with its description and ``init_us``."""
        self.interpreter = None
        gc.collect()
        began = time.perf_counter_ns()
        interpreter = self.make_interpreter(model_path=model, num_threads=threads)
        interpreter.allocate_tensors()
        init_us = (time.perf_counter_ns() - began) / 1e3
        self.interpreter = interpreter
        self.input_indices = [detail["index"] for detail in interpreter.get_input_details()]
        self.output_indices = [detail["index"] for detail in interpreter.get_output_details()]
        return {"init_us": init_us, **describe(interpreter)}

    def run(self, inputs: list[str], outputs: list[str]) -> dict[str, Any]:
        """Infer sample by sample, as a device does; writes each output as (n, ...)."""
        import numpy as np

        samples = load_arrays(inputs)
        count = len(samples[0])
        results: list[NDArray[Any]] = []
        for index, _ in enumerate(self.infer(samples, count)):
            found = self.outputs()
            if not results:
                results = [np.empty((count, *array.shape[1:]), array.dtype) for array in found]
            for result, array in zip(results, found, strict=True):
                result[index] = array[0]
        for path, result in zip(outputs, results, strict=True):
            np.save(path, result)
        return {}

    def time(self, inputs: list[str], runs: int, warmup_runs: int) -> dict[str, Any]:
        """Answer with ``first_us`` and ``latencies_us``, of ``invoke`` alone; the inputs go round."""
        samples = load_arrays(inputs)
        first, *latencies = (taken / 1e3 for taken in self.infer(samples, 1 + warmup_runs + runs))
        return {"first_us": first, "latencies_us": latencies[warmup_runs:]}

    def soak(self, inputs: list[str], inferences: int) -> dict[str, Any]:
        """Infer over and over: do a sample's outputs stay the same, does memory grow, do files stay open?"""
        samples = load_arrays(inputs)
        cycle = len(samples[0])
        first: list[bytes] = []
        mismatches = 0
        memory: list[tuple[int, int]] = []
        open_files = count_open_files()
        for index, _ in enumerate(self.infer(samples, inferences)):
            digest = hashlib.sha256(b"".join(array.tobytes() for array in self.outputs())).digest()
            if index < cycle:
                first.append(digest)
            else:
                mismatches += digest != first[index % cycle]
            if index % max(1, inferences // 100) == 0:
                memory.append((index, resident_bytes()))
        return {
            "mismatches": mismatches,
            "output_sha256": hashlib.sha256(b"".join(first)).hexdigest(),
            "resident_bytes": memory,
            "open_files": [open_files, count_open_files()],
        }

    def mark(self, inputs: list[str], runs: int, warmup_runs: int) -> dict[str, Any]:
        """Make marks around ``runs`` warm inferences, then as often around nothing.

        The first time in a process there are more inferences before, until the marks' own cost has settled.
        """
        samples = load_arrays(inputs)
        gc.disable()
        for index in range(max(warmup_runs, SETTLED_MARKS - self.marked)):
            self.mark_inference(samples, index, WARM_UP)
            mark_nothing(WARM_UP)
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
        self.set_inputs(samples, index)
        mark(START)
        self.interpreter.invoke()
        mark(number)

    def infer(self, samples: list[NDArray[Any]], count: int) -> Iterator[int]:
        """Infer ``count`` times, going round the samples; yields how long each ``invoke`` took, in ns."""
        invoke, clock = self.interpreter.invoke, time.perf_counter_ns
        for index in range(count):
            self.set_inputs(samples, index)
            began = clock()
            invoke()
            yield clock() - began

    def set_inputs(self, samples: list[NDArray[Any]], index: int) -> None:
        """Set a sample, going round them, and clear what a recurrent layer remembers of the one before."""
        self.interpreter.reset_all_variables()
        at = index % len(samples[0])
        for tensor, array in zip(self.input_indices, samples, strict=True):
            self.interpreter.set_tensor(tensor, array[at : at + 1])

    def outputs(self) -> list[NDArray[Any]]:
        return [self.interpreter.get_tensor(index) for index in self.output_indices]


def describe(interpreter: Any) -> dict[str, Any]:
    """Describe a model's inputs, outputs and nodes, and where each node runs."""
    import numpy as np

    dtypes = {detail["index"]: np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    nodes, partitions = place_nodes(interpreter._get_ops_details(), dtypes)
    return {
        "inputs": [describe_tensor(detail, dtypes) for detail in interpreter.get_input_details()],
        "outputs": [describe_tensor(detail, dtypes) for detail in interpreter.get_output_details()],
        "nodes": nodes,
        "partitions": partitions,
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


def place_nodes(ops: list[dict[str, Any]], dtypes: dict[int, str]) -> tuple[list[dict[str, Any]], int]:
    """Say of each node whether the delegate took it, and count the partitions it was given.

    Delegates are listed after the nodes of the file, which stay in the list. A delegate covers what lies
    between its inputs and its outputs, so its nodes are found by walking back from the latter to the former.
    """
    nodes = [op for op in ops if op["op_name"] != "DELEGATE"]
    delegates = [op for op in ops if op["op_name"] == "DELEGATE"]
    producer = {int(tensor): index for index, op in enumerate(nodes) for tensor in op["outputs"]}
    delegated: set[int] = set()
    for delegate in delegates:
        seen = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            if tensor in seen or tensor not in producer:
                continue
            seen.add(tensor)
            delegated.add(producer[tensor])
            waiting.extend(int(source) for source in nodes[producer[tensor]]["inputs"])

    def describe_node(index: int, op: dict[str, Any]) -> dict[str, Any]:
        # An optional input that is not given has the index -1.
        inputs, outputs = (
            [dtypes[int(t)] for t in op[side] if int(t) in dtypes] for side in ("inputs", "outputs")
        )
        is_float = any(name.startswith("float") for name in outputs)
        placement = ("xnnpack-float" if is_float else "xnnpack-int8") if index in delegated else "builtin"
        return {
            "index": index,
            "op": op["op_name"],
            "inputs": inputs,
            "outputs": outputs,
            "placement": placement,
        }

    return [describe_node(index, op) for index, op in enumerate(nodes)], len(delegates)


def load_arrays(paths: list[str]) -> list[NDArray[Any]]:
    import numpy as np

    return [np.load(path, allow_pickle=False) for path in paths]


def mark(number: int) -> None:
    with contextlib.suppress(OSError):
        os.close(MARK + number)


def mark_nothing(number: int) -> None:
    mark(START)
    mark(number)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def count_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends: a hung worker cannot see its input end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    worker = Worker(sys.argv[1])
    requests: dict[str, Callable[..., dict[str, Any]]] = {
        "load": worker.load,
        "run": worker.run,
        "time": worker.time,
        "soak": worker.soak,
        "mark": worker.mark,
    }
    answer({"ok": {"machine": os.uname().machine}})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer({"ok": requests[request.pop("do")](**request)})
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
