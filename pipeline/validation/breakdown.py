"""Cost of each operator, run as a model of its own: emulated instructions and host time.

LiteRT's Python API has no profiler, so every operator is written to a file of its own and measured like any
model. What an invocation costs besides its operators is measured as well: two operators in one file cost one
invocation less than the same two in files of their own. Whether the parts add up to the whole is part of the
result; nothing is scaled to make them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Artifact
from pipeline.errors import InputError, StageError
from pipeline.flatbuffer.edit import extract, stands_alone
from pipeline.flatbuffer.layers import user_layers
from pipeline.runtimes.session import Node, Placement, Session
from pipeline.scratch import scratch
from pipeline.validation.delegation import multiply_accumulates
from pipeline.validation.model_under_test import Golden, ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.artifacts import Source
    from pipeline.flatbuffer import TfliteModel
    from pipeline.runtimes.runtime import Runtime

    Cost = NDArray[np.float64]

Figures = tuple[float, ...]
"""Counts: instructions, bytes loaded, bytes stored; or only microseconds."""

INPUTS = 2
PAIRS = 3
HOST_RUNS = 50


@dataclass(frozen=True, kw_only=True)
class OperatorCost:
    """Cost of one operator.

    Attributes:
        layer: its Keras layer; "" if unknown.
        placement: on the host's LiteRT; of a float model, on the first device.
        macs: multiply-accumulates of one inference.
        instructions: emulated, by device; a device is missing where the operator cannot run alone there.
        load_bytes: likewise.
        store_bytes: likewise.
        host_us: median on this machine; None if it was not timed.
    """

    index: int
    op: str
    layer: str
    placement: Placement
    macs: int
    instructions: dict[str, int]
    load_bytes: dict[str, int]
    store_bytes: dict[str, int]
    host_us: float | None


@dataclass(frozen=True, kw_only=True)
class EmulatedWhole:
    """The model as a whole on one emulated core.

    Attributes:
        instructions: of one inference.
        invoke: what of them no operator executes: the call itself, and handing over to the delegate.
        operators: sum of the operators'.
        partitions: that the delegate was given.
    """

    device: str
    core: str
    instructions: int
    invoke: int
    operators: int
    partitions: int

    @property
    def share(self) -> float:
        """How much of the whole the parts add up to; 1 if all is accounted for."""
        return (self.invoke + self.operators) / max(self.instructions, 1)


@dataclass(frozen=True, kw_only=True)
class HostWhole:
    """The model as a whole on this machine; medians in microseconds."""

    runtime: str
    total_us: float
    invoke_us: float
    operators_us: float
    partitions: int

    @property
    def share(self) -> float:
        """How much of the whole the parts add up to; 1 if all is accounted for."""
        return (self.invoke_us + self.operators_us) / self.total_us


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Operators in the order of the file, and the wholes that they are parts of.

    Attributes:
        baseline: the operators of the float model, on the emulated devices alone; empty if there is none.
        baseline_devices: the float model as a whole, likewise.
    """

    operators: tuple[OperatorCost, ...]
    devices: tuple[EmulatedWhole, ...]
    host: HostWhole | None
    baseline: tuple[OperatorCost, ...] = ()
    baseline_devices: tuple[EmulatedWhole, ...] = ()


@dataclass(frozen=True)
class Parts:
    """A model's operators as files: for each one its own or None, and files of two that follow each other."""

    under_test: ModelUnderTest
    singles: tuple[Path | None, ...]
    pairs: dict[tuple[int, int], Path]


@dataclass(frozen=True, kw_only=True)
class PartCosts(Artifact):
    """Costs with one runtime: the whole, each operator (None: it cannot run alone), and the call.

    Attributes:
        runtime: in words.
        device: name of an emulated device; "" of the host.
        core: of the device, by qemu's name.
    """

    runtime: str
    device: str
    core: str
    nodes: tuple[Node, ...]
    partitions: int
    whole: Figures
    operators: tuple[Figures | None, ...]
    invoke: Figures


def measure_operators(model: Source, *, runtime: Runtime, seed: int, out: Path) -> PartCosts:
    """Count each operator's instructions on an emulated device, or time it on this host.

    Nothing else may use the host while it is timed. Raises: as ``measure_parts``.
    """
    with scratch("operators") as folder:
        parts = write_parts(ModelUnderTest.of(model), folder)
        return replace(measure_parts(runtime, parts, seed=seed), folder=out)


def write_parts(under_test: ModelUnderTest, folder: Path) -> Parts:
    """Write every operator that can run alone, and the pairs that tell what a call costs, to ``folder``."""
    flat = under_test.flat
    alone = [operator.index for operator in flat.operators if stands_alone(flat, operator)]
    singles = {index: folder / f"operator-{index}.tflite" for index in alone}
    pairs = {
        (index, index + 1): folder / f"operators-{index}-{index + 1}.tflite"
        for index in alone
        if index + 1 in singles and set(flat.operators[index].outputs) & set(flat.operators[index + 1].inputs)
    }
    files = {(index,): path for index, path in singles.items()} | pairs
    for path, content in zip(files.values(), extract(flat, files), strict=True):
        path.write_bytes(content)
    return Parts(under_test, tuple(singles.get(operator.index) for operator in flat.operators), pairs)


def measure_parts(runtime: Runtime, parts: Parts, *, seed: int = 0) -> PartCosts:
    """Count the instructions of every part on an emulated device, or time it on the host, on one thread.

    Args:
        runtime: an emulated one counts, any other is timed.
        parts: the files.
        seed: random seed of the inputs, which are noise.

    Raises:
        InputError: the runtime refuses the whole model.
        StageError: the whole model crashed or hung it.
    """
    golden = Golden(None, INPUTS, seed)
    with Session(runtime, parts.under_test.path) as session:
        details, whole = session.describe(), _measure(session, golden)
    operators = tuple(_each(runtime, parts.singles, golden))
    placements = [node.placement for node in details.nodes]
    chosen = choose_pairs(parts.under_test.flat, tuple(parts.pairs), operators, placements)
    together = _each(runtime, [parts.pairs[pair] for pair in chosen], golden)
    base, delegate = call_cost(dict(zip(chosen, together, strict=True)), operators, placements)
    net = tuple(
        None if cost is None else np.maximum(cost - base - (place != "builtin") * delegate, 0)
        for cost, place in zip(operators, placements, strict=True)
    )
    invoke = base + details.partitions * delegate
    emulated = runtime.device if runtime.capabilities.counts else None
    return PartCosts(
        runtime=runtime.title,
        device=emulated.name if emulated else "",
        core=emulated.cpu if emulated else "",
        nodes=details.nodes,
        partitions=details.partitions,
        whole=_figures(whole),
        operators=tuple(None if cost is None else _figures(cost) for cost in net),
        invoke=_figures(invoke),
    )


def choose_pairs(
    flat: TfliteModel,
    pairs: Sequence[tuple[int, int]],
    operators: Sequence[Cost | None],
    placements: Sequence[Placement],
) -> list[tuple[int, int]]:
    """Return the cheapest pairs of each kind: both operators delegated, and at most one."""
    measured = [pair for pair in pairs if all(operators[index] is not None for index in pair)]

    def elements(pair: tuple[int, int]) -> int:
        return sum(flat.tensors[index].elements for at in pair for index in flat.operators[at].outputs)

    measured.sort(key=elements)
    delegated = [pair for pair in measured if all(placements[index] != "builtin" for index in pair)]
    others = [pair for pair in measured if pair not in delegated]
    return [*delegated[:PAIRS], *others[:PAIRS]]


def call_cost(
    together: dict[tuple[int, int], Cost | None],
    operators: Sequence[Cost | None],
    placements: Sequence[Placement],
) -> tuple[Any, Any]:
    """Return the cost of a call, and of handing over to the delegate; 0 if no pair shows it."""
    saved: dict[bool, list[Cost]] = {True: [], False: []}
    for pair, cost in together.items():
        first, second = (operators[index] for index in pair)
        if cost is not None and first is not None and second is not None:
            delegated = all(placements[index] != "builtin" for index in pair)
            saved[delegated].append(first + second - cost)
    with_delegate = np.median(saved[True], axis=0) if saved[True] else None
    base = np.median(saved[False], axis=0) if saved[False] else with_delegate
    if base is None:
        return 0.0, 0.0
    return base, 0.0 if with_delegate is None else with_delegate - base


def assemble(
    under_test: ModelUnderTest,
    found: Sequence[PartCosts],
    *,
    baseline: ModelUnderTest | None = None,
    of_baseline: Sequence[PartCosts] = (),
    layers: Mapping[str, str] | None = None,
) -> Breakdown:
    """Join what runtimes took for the parts of a model, and of its float model.

    Args:
        found: placements are the host's, if it is among them.
        of_baseline: the same of the float model, on emulated devices.
        layers: as for ``user_layers``.
    """
    host = next((costs for costs in found if not costs.device), None)
    is_compared = baseline is not None and of_baseline
    return Breakdown(
        operators=_rows(under_test, found, host, layers or {}),
        devices=tuple(_emulated_whole(costs) for costs in found if costs.device),
        host=None if host is None else _host_whole(host),
        baseline=_rows(baseline, of_baseline, None, layers or {}) if baseline and is_compared else (),
        baseline_devices=tuple(map(_emulated_whole, of_baseline)) if is_compared else (),
    )


def _rows(
    under_test: ModelUnderTest,
    found: Sequence[PartCosts],
    host: PartCosts | None,
    layers: Mapping[str, str],
) -> tuple[OperatorCost, ...]:
    emulated = {costs.device: costs for costs in found if costs.device}
    nodes, names = (host or found[0]).nodes, user_layers(under_test.flat, layers)
    return tuple(
        OperatorCost(
            index=index,
            op=operator.name,
            layer=names[index],
            placement=nodes[index].placement,
            macs=multiply_accumulates(operator, under_test.flat) if operator.outputs else 0,
            instructions=_by_device(emulated, index, 0),
            load_bytes=_by_device(emulated, index, 1),
            store_bytes=_by_device(emulated, index, 2),
            host_us=None if host is None else _microseconds(host.operators[index]),
        )
        for index, operator in enumerate(under_test.flat.operators)
    )


def _each(runtime: Runtime, files: Sequence[Path | None], golden: Golden) -> Iterator[Cost | None]:
    """Measure file after file in one worker, and in another one after a file that ends it."""
    waiting = [(at, file) for at, file in enumerate(files) if file is not None]
    costs: list[Cost | None] = [None] * len(files)
    while waiting:
        at, file = waiting[0]
        try:
            with Session(runtime, file) as session:
                while waiting:
                    at, file = waiting.pop(0)
                    costs[at] = _try(session, file, golden)
        except (InputError, StageError):  # the runtime refuses the first file, or crashed on this one
            waiting = [entry for entry in waiting if entry[0] != at]
    yield from costs


def _try(session: Session, file: Path, golden: Golden) -> Cost | None:
    try:
        session.load(file)
        return _measure(session, golden)
    except InputError:  # it cannot run alone, or cannot be given inputs one sample at a time
        return None


def _measure(session: Session, golden: Golden) -> Cost:
    inputs = golden.inputs(session.describe())
    if session.runtime.capabilities.counts:
        count = session.count_instructions(inputs, runs=2, warmup_runs=1)
        return np.array([count.instructions, count.load_bytes, count.store_bytes], np.float64)
    return np.array([np.median(session.time(inputs, runs=HOST_RUNS, warmup_runs=5).latencies_us)])


def _by_device(emulated: dict[str, PartCosts], index: int, column: int) -> dict[str, int]:
    rows = {device: costs.operators[index] for device, costs in emulated.items()}
    return {device: round(row[column]) for device, row in rows.items() if row is not None}


def _microseconds(cost: Figures | None) -> float | None:
    return None if cost is None else cost[0]


def _emulated_whole(costs: PartCosts) -> EmulatedWhole:
    return EmulatedWhole(
        device=costs.device,
        core=costs.core,
        instructions=int(costs.whole[0]),
        invoke=round(costs.invoke[0]),
        operators=round(sum(cost[0] for cost in costs.operators if cost is not None)),
        partitions=costs.partitions,
    )


def _host_whole(costs: PartCosts) -> HostWhole:
    return HostWhole(
        runtime=costs.runtime,
        total_us=costs.whole[0],
        invoke_us=costs.invoke[0],
        operators_us=sum(cost[0] for cost in costs.operators if cost is not None),
        partitions=costs.partitions,
    )


def _figures(cost: Any) -> Figures:
    """Return the numbers of a cost, a single 0 if nothing told it."""
    return tuple(map(float, np.atleast_1d(cost)))
