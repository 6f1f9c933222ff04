"""Models that TF-MOT's wrappers are still in: the layers inside, under the wrappers' names."""

from __future__ import annotations

import re
from typing import Any

from models.configuration import Config, fields_of, kind_of
from models.errors import ModelError

WRAPPERS = frozenset(
    {"PruneLowMagnitude", "QuantizeAnnotate", "QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer"}
)
"""Wrappers whose layer is in the file with its arrays. QuantizeLayer stands for no layer."""

_OWN_ARRAYS = re.compile(r"(?:mask|threshold|pruning_step|optimizer_step|.*_(?:min|max))(?::\d+)?")
_MAX_DEPTH = 32


def unwrapped(config: Any, depth: int = 0) -> Any:
    """Return the configuration of a model with the layer inside each of TF-MOT's wrappers instead of it.

    The key ``wrapped_in`` of such a layer names the wrapper's class, under which its arrays are stored.

    Raises:
        ModelError: a wrapper is damaged.
    """
    layers = config.get("config") if isinstance(config, dict) else None
    layers = layers.get("layers") if isinstance(layers, dict) else layers
    if isinstance(layers, list) and depth < _MAX_DEPTH:
        inner = [unwrapped(layer, depth + 1) for layer in layers]
        fields = config["config"]
        return {**config, "config": inner if isinstance(fields, list) else {**fields, "layers": inner}}
    return _without_wrapper(config) if kind_of(config) in WRAPPERS else config


def is_own_array(name: str) -> bool:
    """Return whether an array with this name in an HDF5 file serves a wrapper and not the layer inside."""
    return _OWN_ARRAYS.fullmatch(name.rsplit("/", 1)[-1]) is not None


def _without_wrapper(config: Config) -> Config:
    kind, fields = kind_of(config), fields_of(config)
    own = {key: fields[key] for key in ("name", "batch_input_shape") if key in fields}
    if kind == "QuantizeLayer":
        identity = {"class_name": "Identity", "module": "keras.layers", "config": own}
        return {**config, **identity, "wrapped_in": kind}
    layer = fields.get("layer")
    if not isinstance(layer, dict) or not isinstance(layer.get("config"), dict):
        msg = f"layer {own.get('name')!r} ({kind}): damaged configuration; save the model again"
        raise ModelError(msg)
    inner = {**layer["config"], **own}
    if fields.get("trainable") is False:
        inner["trainable"] = False
    activation = inner.get("activation")
    if kind_of(activation) == "QuantizeAwareActivation":
        inner["activation"] = fields_of(activation).get("activation")
    if kind_of(inner.get("activation")) == "NoOpActivation":
        inner["activation"] = "linear"
    return {
        **config,
        "class_name": layer.get("class_name"),
        "module": layer.get("module"),
        "config": inner,
        "wrapped_in": kind,
    }
