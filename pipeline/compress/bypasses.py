"""Parts of a model that can be left out: branches of sums, and layers that keep the shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.rewrites.edit import Edit
from models.shape_inference import infer_shapes
from pipeline.costing.macs import kernels, multiply_accumulates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.graph import Graph

_SUM = "Add"


@dataclass(frozen=True)
class Block:
    """A part of a model that can be left out.

    Attributes:
        name: its last layer.
        layers: those that are not needed without it, in order.
        end: the call whose result is replaced.
        start: the call whose result takes its place.
        macs: multiply-accumulates that the model has for it.
    """

    name: str
    layers: tuple[str, ...]
    end: int
    start: int
    macs: int


def blocks_of(graph: Graph) -> list[Block]:
    """Return the blocks of a model that can be left out, each by itself.

    - Of a sum of two tensors, one is left: the one with fewer multiply-accumulates of its own, which is that
      of a plain or a projected shortcut (Veit et al., 2016, arXiv:1605.06431).
    - A layer with a kernel, and those that follow it up to the next one, if the output has the shape of the
      input; else as many of these together as have this.

    Layers that are called several times are never left out, and neither are outputs of the model.
    """
    costs, shapes = multiply_accumulates(graph), infer_shapes(graph)
    calls = Counter(call.layer for call in graph.calls)
    found: dict[int, Block] = {}
    for end, start in [*_sums(graph, costs), *_runs(graph)]:
        layers = _only_for(graph, end, start)
        alone = all(calls[name] == 1 for name in layers)
        macs = sum(costs.get(name, 0) for name in layers)
        if end not in found and alone and macs and shapes[end] == shapes[start] and end not in graph.outputs:
            found[end] = Block(graph.calls[end].layer, layers, end, start, macs)
    return [found[end] for end in sorted(found)]


def without_block(graph: Graph, block: Block) -> Graph:
    """Return the model with what goes into a block in place of what comes out of it."""
    edit = Edit(graph)
    for index, call in enumerate(graph.calls):
        edit.moved.append(edit.moved[block.start] if index == block.end else edit.keep(call))
    return edit.finish()


def _sums(graph: Graph, costs: dict[str, int]) -> Iterator[tuple[int, int]]:
    """Yield each sum of two tensors, and the one that is cheaper to compute."""
    for index, call in enumerate(graph.calls):
        if graph.layers[call.layer].kind == _SUM and len(set(call.inputs)) == 2:
            of_own = {
                other: sum(costs.get(name, 0) for name in _only_for(graph, index, kept))
                for kept, other in (call.inputs, call.inputs[::-1])
            }
            yield index, min(call.inputs, key=lambda tensor: of_own[tensor])


def _runs(graph: Graph) -> Iterator[tuple[int, int]]:
    """Yield the last call of each shortest chain of whole layers that keeps the shape, and what goes in.

    A whole branch of a sum with a plain shortcut is none: the sum would add its input to itself.
    """
    readers, shapes = graph.consumers(), infer_shapes(graph)
    for index, call in enumerate(graph.calls):
        if len(call.inputs) != 1 or not _has_kernel(graph, index):
            continue
        start, end = call.inputs[0], index
        while True:
            following = readers[end]
            is_chain = len(following) == 1 and end not in graph.outputs
            is_chain = is_chain and len(graph.calls[following[0]].inputs) == 1
            whole = not is_chain or _has_kernel(graph, following[0])
            if whole and shapes[end] == shapes[start]:
                if not any(start in graph.calls[reader].inputs for reader in following):
                    yield end, start
                break
            if not is_chain:
                break
            end = following[0]


def _has_kernel(graph: Graph, index: int) -> bool:
    return bool(kernels(graph.layers[graph.calls[index].layer]))


def _only_for(graph: Graph, end: int, start: int) -> tuple[str, ...]:
    """Return the layers that nothing needs once ``start`` takes the place of ``end``, in order."""
    kept = without_block(graph, Block("", (), end, start, 0)).layers
    return tuple(dict.fromkeys(call.layer for call in graph.calls if call.layer not in kept))
