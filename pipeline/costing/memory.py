"""The memory that a .tflite file needs at least, from its tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.flatbuffer import TfliteModel
    from pipeline.flatbuffer.model import Tensor


def live_bytes(flat: TfliteModel) -> int:
    """Return the most bytes of values that are needed at once during an inference, of the main subgraph.

    A tensor is needed from the operator that computes it to the last one that reads it; inputs from the
    start, outputs to the end. A runtime's arena has at least this size, and XNNPACK copies weights besides.
    """
    main = flat.subgraphs[0]
    end = len(main.operators)
    first = dict.fromkeys(main.inputs, 0)
    last = dict.fromkeys(main.outputs, end)
    for place, operator in enumerate(main.operators):
        for index in operator.outputs:
            first.setdefault(index, place)
            last.setdefault(index, place)
        for index in operator.inputs:
            last[index] = max(last.get(index, 0), place)
    needed = np.zeros(end + 1, np.int64)
    for index, start in first.items():
        tensor = main.tensors[index]
        if not tensor.is_constant:
            needed[start : last.get(index, start) + 1] += _bytes(tensor)
    return int(needed.max(initial=0))


def _bytes(tensor: Tensor) -> int:
    try:
        return tensor.elements * np.dtype(tensor.dtype).itemsize
    except TypeError:  # e.g. int4 and string
        return tensor.elements
