"""The messages of a worker to its session, as records; any other message is a ValueError."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, TypeVar

from pydantic import TypeAdapter

Record = TypeVar("Record")
Placement = Literal["xnnpack-int8", "xnnpack-float", "builtin"]

INFERENCE, NOTHING = 3, 4
"""The marks that worker.py makes after an inference, and after nothing."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model; ``scale`` and ``zero_point`` are None if it is not quantized."""

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
class SoakBlock:
    """A batch of inferences in a soak, and the state of the process after them.

    Attributes:
        inferences: of this block.
        mismatches: of them, those whose output was not the first one of the same sample.
        output_sha256: of the first outputs of all samples so far.
        cpu_us: median processor time of an inference, in the thread that asked for it.
        memory_bytes: anonymous memory of the process.
    """

    inferences: int
    mismatches: int
    output_sha256: str
    cpu_us: float
    memory_bytes: int
    open_files: int


@dataclass(frozen=True)
class ConcurrentRun:
    """Results of several interpreters in threads of one process: the SHA-256 of each one's outputs."""

    mismatches: int
    output_sha256: tuple[str, ...]


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


def read_reply(line: bytes) -> dict[str, Any]:
    """Read a worker's line: an object with what was asked for as "ok", with an "error", or "alive".

    Raises:
        ValueError: it is another one.
    """
    try:
        reply = json.loads(line)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error
    is_one = isinstance(reply, dict) and reply.keys() & {"ok", "error", "alive"}
    if not is_one or not isinstance(reply.get("error", ""), str):
        msg = "not a reply of a worker"
        raise ValueError(msg)
    found: dict[str, Any] = reply
    return found


def read_timing(found: Any, init_us: float) -> Timing:
    """Read the latencies of ``time``.

    Raises:
        ValueError: there are none.
    """
    return _read(Timing, found, init_us=init_us)


def read_block(found: Any, inferences: int) -> SoakBlock:
    """Read what a block of a soak did; errors as ``read_timing``."""
    return _read(SoakBlock, found, inferences=inferences)


def read_concurrent_run(found: Any) -> ConcurrentRun:
    """Read what interpreters in threads gave; errors as ``read_timing``."""
    return _read(ConcurrentRun, found)


def _read(kind: type[Record], found: Any, **more: Any) -> Record:
    if not isinstance(found, dict):
        msg = f"not an object with the fields of {kind.__name__}"
        raise ValueError(msg)
    return TypeAdapter(kind).validate_python(found | more)


def read_details(found: Any) -> ModelDetails:
    """Read a worker's description of a model.

    Raises:
        ValueError: it is none.
    """
    try:
        return _details(found)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        msg = "not a description of a model"
        raise ValueError(msg) from error


def _details(found: dict[str, Any]) -> ModelDetails:
    dtypes = {int(tensor): dtype for tensor, dtype in found["dtypes"].items()}
    nodes, partitions = place_nodes(found["ops"], dtypes)
    return ModelDetails(
        inputs=tuple(read_tensor(row) for row in found["inputs"]),
        outputs=tuple(read_tensor(row) for row in found["outputs"]),
        nodes=nodes,
        partitions=partitions,
        init_us=float(found["init_us"]),
    )


def read_tensor(row: dict[str, Any]) -> Tensor:
    return _read(Tensor, row)


def place_nodes(ops: list[dict[str, Any]], dtypes: dict[int, str]) -> tuple[tuple[Node, ...], int]:
    """Return which nodes the delegate runs, and its number of partitions.

    Delegates are listed after the nodes of the file, which stay in the list. A delegate covers what lies
    between its inputs and its outputs, so its nodes are found by walking back from the latter to the former.

    Args:
        ops: name, and the indices of the tensors that go in and out, of every operator.
        dtypes: of every tensor.
    """
    nodes = [op for op in ops if op["op"] != "DELEGATE"]
    delegates = [op for op in ops if op["op"] == "DELEGATE"]
    producer = {tensor: index for index, op in enumerate(nodes) for tensor in op["outputs"]}
    delegated: set[int] = set()
    for delegate in delegates:
        seen, waiting = set(delegate["inputs"]), list(delegate["outputs"])
        while waiting:
            tensor = waiting.pop()
            if tensor in seen or tensor not in producer:
                continue
            seen.add(tensor)
            delegated.add(producer[tensor])
            waiting.extend(nodes[producer[tensor]]["inputs"])

    def place(index: int, op: dict[str, Any]) -> Node:
        # An optional input that is not given has the index -1.
        inputs, outputs = (
            tuple(dtypes[tensor] for tensor in op[side] if tensor in dtypes) for side in ("inputs", "outputs")
        )
        is_float = any(name.startswith("float") for name in outputs)
        where: Placement = "xnnpack-float" if is_float else "xnnpack-int8"
        return Node(index, op["op"], inputs, outputs, where if index in delegated else "builtin")

    return tuple(place(index, op) for index, op in enumerate(nodes)), len(delegates)


def settle_counts(lines: list[Counts]) -> InstructionCount:
    """Subtract the cost of a marker from each inference, and return the median."""
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
