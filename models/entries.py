"""The layers of a model's configuration, for finding their arrays; all refusals in one message."""

from __future__ import annotations

from models.allowlist import DO_NOTHING, MODELS
from models.configuration import Config, fields_of, input_of, kind_of, layers_of, model_inside, name_of
from models.errors import ModelError
from models.layout import with_channels_last
from models.operations import is_operation
from models.translate import class_of, weight_flags
from models.weights import Entry

_MAX_DEPTH = 16
_FAULTS_SHOWN = 4


def read_entries(config: Config) -> Entry:
    """Return the layers of a model, for finding their arrays.

    Raises:
        ModelError: a layer is not in the allowlist, or the configuration is damaged.
    """
    faults: list[str] = []
    entry = _entry(config, "model", faults, frozen=False, depth=0)
    if faults:
        raise ModelError(_all_faults(faults))
    if entry.kind == "Sequential":
        input_of(config)
    return entry


def _all_faults(faults: list[str]) -> str:
    """Return the first refusal whole, and of the others which layers they are of."""
    others = [fault.partition(": ")[0].partition(" is not")[0] for fault in faults[1:]]
    if not others:
        return faults[0]
    shown, left = ", ".join(others[:_FAULTS_SHOWN]), len(others) - _FAULTS_SHOWN
    return f"{faults[0]}; refused as well: {shown}" + (f" and {left} more" if left > 0 else "")


def _entry(config: Config, name: str, faults: list[str], *, frozen: bool, depth: int) -> Entry:
    """Read one layer; what refuses it is added to ``faults``."""
    if depth == 0 and kind_of(config) not in MODELS:
        msg = (
            f"{kind_of(config)[:80]!r} is a subclassed model, whose code is not in the file; rebuild it as "
            "keras.Model(inputs, outputs) or Sequential of built-in layers and save that"
        )
        raise ModelError(msg)
    try:
        kind = class_of(config, name)
        fields = fields_of(config)
        frozen = frozen or fields.get("trainable") is False
        if kind in DO_NOTHING or is_operation(config):
            return Entry(name, str(config.get("wrapped_in") or kind))
        if kind not in MODELS and model_inside(config) is None:
            own = with_channels_last(kind, fields)
            flags = tuple(flag and not frozen for flag in weight_flags(name, kind, own))
            stored = str(config.get("wrapped_in") or kind_of(config))
            return Entry(name, stored, flags)  # an archive files arrays under the class's own name
    except ModelError as error:
        faults.append(str(error))
        return Entry(name, "")
    inner = model_inside(config)
    if depth > _MAX_DEPTH:
        msg = f"model {name!r} is nested more than {_MAX_DEPTH} deep; flatten it"
        raise ModelError(msg)
    layers = [layer for layer in layers_of(inner or config) if kind_of(layer) != "InputLayer"]
    children = tuple(
        _entry(layer, name_of(layer), faults, frozen=frozen, depth=depth + 1) for layer in layers
    )
    if len({child.name for child in children}) != len(children):
        msg = f"model {name!r} has two layers of one name; save the model again"
        raise ModelError(msg)
    return Entry(name, kind, children=children, is_model=True)
