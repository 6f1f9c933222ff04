"""What a search varies: the compression steps, their amounts and order, the quantization, the training.

Every parameter is a place in a list of values from mild to hard, of which the first leaves the step out, so
that all trials have the same parameters and a sampler can learn from each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.compress.steps import COMPRESS
from pipeline.errors import ConfigError
from pipeline.quantize.methods import QUANTIZE
from pipeline.sections import advice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna.trial import BaseTrial

Params = dict[str, Any]
"""Values by the name of the parameter."""


class Parameter(NamedTuple):
    """One thing that a search varies.

    Attributes:
        values: from mild to hard; the first means that nothing is done.
        is_ordered: whether neighbours are alike.
    """

    values: tuple[Any, ...]
    is_ordered: bool = True


AMOUNTS = {
    "channels": Parameter((None, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)),
    "layers": Parameter((None, 1, 2, 3)),
    "low_rank": Parameter((None, 0.99, 0.97, 0.95, 0.9, 0.85, 0.8)),
    "distill": Parameter((None, 0.75, 0.5, 0.35, 0.25)),
    "weights": Parameter((None, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)),
    "clusters": Parameter((None, 64, 32, 16, 8)),
    "low_bit": Parameter((None, 4, 3)),
}
"""Amounts of each step, as its recipe has them; None leaves it out."""

STEPS = ("channels", "layers", "low_rank", "weights", "clusters", "low_bit")
"""The steps that are tried unless the user names others. A student of ``distill`` is trained from scratch."""

STRUCTURAL = {
    "channels first": ("distill", "channels", "layers", "low_rank"),
    "layers first": ("distill", "layers", "channels", "low_rank"),
    "low rank first": ("distill", "layers", "low_rank", "channels"),
}
"""Orders of the steps that change the network; those that change its weights come after them."""
ORDER, METHOD, RATE, EPOCHS = "order", "method", "learning rate", "epochs"
OTHERS = {
    ORDER: Parameter(tuple(STRUCTURAL), is_ordered=False),
    METHOD: Parameter(("qat", "ptq"), is_ordered=False),
    RATE: Parameter((1.0, 0.5, 2.0), is_ordered=False),
    EPOCHS: Parameter((1, 2)),
}
"""``RATE`` and ``EPOCHS`` are factors of the user's own settings."""


def space_of(steps: tuple[str, ...]) -> dict[str, Parameter]:
    """Return the parameters of a search over some steps.

    Raises:
        ConfigError: there is no such step.
    """
    for step in steps:
        if step not in AMOUNTS:
            msg = f"--steps: unknown step {step!r}; {advice(step, AMOUNTS, 'steps')}"
            raise ConfigError(msg)
    chosen = {step: AMOUNTS[step] for step in AMOUNTS if step in steps}
    orders = {order: tuple(each for each in STRUCTURAL[order] if each in steps) for order in STRUCTURAL}
    distinct = tuple({orders[order]: order for order in reversed(orders)}.values())[::-1]
    order = OTHERS[ORDER]._replace(values=distinct)
    return {**chosen, **{name: order if name == ORDER else OTHERS[name] for name in OTHERS}}


def suggest(trial: BaseTrial, space: Mapping[str, Parameter]) -> Params:
    """Let a trial of Optuna choose all parameters."""
    return {
        name: parameter.values[trial.suggest_int(name, 0, len(parameter.values) - 1)]
        if parameter.is_ordered
        else trial.suggest_categorical(name, parameter.values)
        for name, parameter in space.items()
    }


def places(params: Params, space: Mapping[str, Parameter]) -> Params:
    """Return parameters as ``Study.enqueue_trial`` takes them; those that are not given are the mildest."""
    found = {}
    for name, parameter in space.items():
        value = params.get(name, parameter.values[0])
        found[name] = parameter.values.index(value) if parameter.is_ordered else value
    return found


def settings_with(raw: dict[str, Any], params: Params) -> dict[str, Any]:
    """Return plain settings with the steps, the method and the training of a trial.

    Args:
        raw: settings as in ``pipeline.toml``; the keys of their steps, other than the amount, are kept.
        params: as ``suggest`` returned them.
    """
    given = {table["method"]: table for table in raw.get("compress", ())}
    tables = [
        given.get(step, {}) | {"method": step, COMPRESS[step].notation.key: params[step]}
        for step in _order(params)
        if params.get(step) is not None
    ]
    method = params[METHOD]
    quantize = raw.get("quantize", {})
    keys = QUANTIZE[method].config.model_fields
    made = {key: value for key, value in quantize.items() if key in keys} | {"method": method}
    trains = [COMPRESS[table["method"]].config for table in tables], QUANTIZE[method].config
    for table, config in zip([*tables, made], [*trains[0], trains[1]], strict=True):
        _scale_training(table, config, params)
    return raw | {"compress": tables, "quantize": made}


def _order(params: Params) -> list[str]:
    """Return the steps of a trial in their order.

    Few bits leave the weights few values already, so that there is nothing to cluster.
    """
    weights = ["weights", "clusters", "low_bit"]
    if params.get("low_bit") is not None:
        weights.remove("clusters")
    return [*STRUCTURAL[params[ORDER]], *weights]


def _scale_training(table: dict[str, Any], config: Any, params: Params) -> None:
    """Set epochs and learning rate of a table, in place, if its step trains."""
    field = config.model_fields.get("training")
    if field is None:
        return
    default, given = field.default, dict(table.get("training", {}))
    for key, factor in (("learning_rate", params[RATE]), ("epochs", params[EPOCHS])):
        if factor != 1:
            given[key] = factor * given.get(key, getattr(default, key))
    if given:
        table["training"] = given
