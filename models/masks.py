"""Masks: which steps of a sequence later layers are to skip, as Embedding and Masking say.

No int8 op skips steps. A mask that no layer looks at is dropped; one that changes a result is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.errors import ModelError
from models.layer_rules import LAYERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.graph import Layer

OPERATIONS = frozenset({"not_equal", "any"})
"""Operations with which Keras 3 writes the computation of a mask into a model's graph."""


def mask_after(layer: Layer, masks: Sequence[str]) -> str:
    """Return the name of the layer whose mask the result carries, or ``""``.

    Args:
        layer: the layer that is called.
        masks: for each tensor that it is called on, the layer whose mask this carries, or ``""``.

    Raises:
        ModelError: the layer would skip what is masked.
    """
    source = next(filter(None, masks), "")
    kind = layer.kind
    if kind == "TimeDistributed" and layer.inner is not None and LAYERS[layer.inner.kind].mask == "uses":
        kind = layer.inner.kind
    if source and LAYERS[kind].mask == "uses":
        msg = (
            f"layer {layer.name!r} ({kind}) skips the steps that {source!r} masks, which no int8 op does; "
            "train without the mask (mask_zero=False, no Masking) on sequences padded to one length"
        )
        raise ModelError(msg)
    return source if LAYERS[kind].mask == "passes" else ""
