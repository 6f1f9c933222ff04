"""Which settings of a layer may be dropped: those that never matter, and those that have their usual value.

Every other setting that ``LAYERS`` does not list is refused: what is not read would be lost without a word.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from models.allowlist import CLASS_SYNONYMS, DO_NOTHING, MODELS
from models.errors import ModelError
from models.layer_rules import rule_of
from models.operations import operation_kind

HARMLESS = frozenset(
    {
        # of the layer object
        *("name", "trainable", "dtype", "dtype_policy", "autocast"),
        *("batch_input_shape", "batch_shape", "input_shape", "input_dtype", "input_length", "input_dim"),
        # only used before the weights were saved
        *("seed", "rng_type", "force_generator", "unit_forget_bias", "init_values", "projection_dim"),
        *("query_shape", "key_shape", "value_shape", "synchronized", "lora_rank", "lora_alpha"),
        # only implementation choices, or parts of a setting that is rejected
        *("implementation", "unroll", "fused", "renorm_clipping", "renorm_momentum", "flash_attention"),
        *(
            "power_iterations",
            "zero_output_for_mask",
            "softmax_robust_masking",
            "fill_mode",
            "fill_value",
            "noise_shape",
        ),
        # the layers that a wrapper holds, which are read by themselves
        *("layer", "backward_layer", "cell"),
    }
)
"""Settings that change nothing of what a layer with given weights computes at inference."""

_HARMLESS_ENDINGS = ("_initializer", "_regularizer", "_constraint")

USUAL: dict[str, tuple[object, ...]] = {
    "renorm": (None, False),
    "virtual_batch_size": (None,),
    "adjustment": (None,),
    "rms_scaling": (None, False),
    "return_state": (None, False),
    "stateful": (None, False),
    "time_major": (None, False),
    "data_format": (None, "channels_last"),
    "groups": (None, 1),
    "use_gate": (None, False),
    "sliding_window": (None,),
    "score_mode": (None, "dot"),
    "mask_value": (None, 0),
    "antialias": (None, False),
    "pad_to_aspect_ratio": (None, False),
    "quantization_config": (None,),
    "quantization_mode": (None,),
    "optional": (None, False),
}
"""Settings that change what a layer computes: accepted with one of these values, the usual one last."""


_ADVICE = {
    "data_format": "put a Permute before it and use channels_last",
    "time_major": "put a Permute before it and use time_major=False",
    "quantization_config": "save the model before model.quantize()",
    "quantization_mode": "save the model before model.quantize()",
}


def refuse_unread(name: str, kind: str, fields: dict[str, Any], read: tuple[str, ...]) -> None:
    """Refuse the settings of a layer that would be dropped although they may change its result.

    A setting of None is one that was never made.

    Args:
        name: the layer's name.
        kind: its class.
        fields: its configuration.
        read: the keys that the rule of its class lists.

    Raises:
        ModelError: there is such a setting.
    """
    for key, value in fields.items():
        if key in USUAL:
            if not takes_any(kind, key, read) and not any(
                value is usual or value == usual for usual in USUAL[key]
            ):
                how = _ADVICE.get(key, f"train the model with {key}={USUAL[key][-1]!r}")
                msg = f"layer {name!r} ({kind}): {key}={repr(value)[:80]} is not supported; {how}"
                raise ModelError(msg)
        elif value is not None and key not in read and not is_harmless(key):
            msg = (
                f"layer {name!r} ({kind}): unknown setting {key[:80]}={repr(value)[:80]}, which may "
                "change its result; build the layer without it, or save the model with Keras 3.15"
            )
            raise ModelError(msg)


class Dropped(NamedTuple):
    """Settings of a file's layers that are dropped and that users should know of.

    Each is in the form ``"layer 'name' (kernel_constraint=NonNeg)"``. Constraints, and penalties on weights
    or activations, change nothing at inference: further training runs without them. States are those of
    ``stateful=True``, which each sample now starts from zeros. An argmax is that at the end of a model.
    """

    constraints: list[str]
    penalties: list[str]
    states: list[str]
    argmax: list[str]


def dropped_settings(config: Any) -> Dropped:
    """Return what is dropped with a note from a model's configuration, nested models included."""
    found = Dropped([], [], [], [])

    def look(value: Any, layer: str) -> None:
        if isinstance(value, list):
            for one in value:
                look(one, layer)
        if not isinstance(value, dict):
            return
        fields = value.get("config")
        named = (one.get("name") for one in (fields, value) if isinstance(one, dict))
        layer = next((name for name in named if isinstance(name, str)), layer)
        if value.get("class_name") == "ActivityRegularization":
            found.penalties.append(f"layer {layer!r} (ActivityRegularization)")
        if isinstance(value.get("class_name"), str) and operation_kind(value) == "argmax":
            found.argmax.append(f"{layer!r}")
        for key, inner in value.items():
            if key == "stateful" and inner is True:
                found.states.append(f"layer {layer!r} (stateful=True)")
            elif not key.endswith(("_constraint", "_regularizer")):
                look(inner, layer)
            elif inner is not None:
                kind = inner.get("class_name") if isinstance(inner, dict) else inner
                of_kind = found.constraints if key.endswith("_constraint") else found.penalties
                of_kind.append(f"layer {layer!r} ({key}={str(kind)[:80]})")

    look(config, "")
    return found


def refuse_single_steps(name: str, kind: str, fields: dict[str, Any], steps: int | None) -> None:
    """Refuse a recurrent layer with ``stateful=True`` that is given one step at a time.

    Without its state, its result depends on that step alone. Of longer sequences each is a sample.

    Raises:
        ModelError: it is such a layer.
    """
    inner = fields.get("layer")
    inside = inner.get("config") if isinstance(inner, dict) else None
    if steps == 1 and any(isinstance(one, dict) and one.get("stateful") is True for one in (fields, inside)):
        msg = (
            f"layer {name!r} ({kind}): stateful=True over one step is not supported, because no state is "
            "kept between inferences; build the model again with the same weights and the states as inputs "
            "(initial_state=...) and outputs (return_state=True), or with the steps of a whole sequence"
        )
        raise ModelError(msg)


def differs_in_training(config: dict[str, Any]) -> bool:
    """Whether a layer, given its entry in a model's configuration, computes something else in training."""
    kind, fields = str(config.get("class_name")), config.get("config")
    fields = fields if isinstance(fields, dict) else {}
    inner = [
        value for key in ("layer", "backward_layer", "cell") if isinstance(value := fields.get(key), dict)
    ]
    if kind in MODELS or rule_of(CLASS_SYNONYMS.get(kind, kind)).differs_in_training:
        return True
    if kind in DO_NOTHING:
        return kind not in {"Identity", "ActivityRegularization"}
    rates = ("rate", "stddev", "dropout", "recurrent_dropout")
    return any(bool(fields.get(key)) for key in rates) or any(map(differs_in_training, inner))


def takes_any(kind: str, key: str, read: tuple[str, ...]) -> bool:
    """Return whether a class of layer takes a key of ``USUAL`` with any value."""
    recurs = key == "return_state" and (rule_of(kind).states > 0 or kind == "RNN")
    return key in read and (key in {"groups", "stateful"} or recurs)


def is_harmless(key: str) -> bool:
    """Return whether a setting changes nothing of what a layer with given weights computes at inference."""
    return key in HARMLESS or key.endswith(_HARMLESS_ENDINGS)
