"""Trials of a search that take milliseconds: measured costs of recipes, and an analytic accuracy.

Costs are those of ``costs.json``, which ``costs.py`` measured on the model before training: those of the
plain model, times the ratio that each step leaves of it. The product is an approximation; the ratios are
not. ``python benchmarks/search/surrogate.py`` prints how far it is from recipes of several steps.

The accuracy is **analytic**, not measured: each step costs more the harder it is, steps after others a
little more, longer training regains some, and every recipe has normal noise of its own, which follows
from its parameters. One constant is fitted: ``channels25`` costs ResNet-8 0.64 points
(docs/explanation/recipes.md). Trials are stopped after their compression by the rules of a search, and
recipes whose row has no costs are refused.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.compress.steps import COMPRESS
from pipeline.searching.halving import goes_on, may_stop
from pipeline.searching.objectives import Figures, Limits, Outcome
from pipeline.searching.space import AMOUNTS, EPOCHS, METHOD, ORDER, RATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.searching.space import Params

TABLE = Path(__file__).resolve().parents[1] / "results" / "search" / "costs.json"
FLOAT_SCORE, FLOAT_ROBUSTNESS, FLOAT_BYTES = 93.1, 70.0, 315_008
NOISE_POINTS = 0.12
"""Standard deviation of a score over repeated trainings."""
LAYERS_POINTS = {None: 0.0, 1: 0.15, 2: 0.5, 3: 1.4}
CLUSTERS_POINTS = {None: 0.0, 64: 0.02, 32: 0.06, 16: 0.2, 8: 0.9}
BITS_POINTS = {None: 0.0, 4: 0.35, 3: 1.5}
OWN: dict[str, Any] = {"weights": 0.5, METHOD: "qat", ORDER: "channels first", RATE: 1.0, EPOCHS: 1}
"""The user's own settings: zeros that cost nothing, as the default recipe has them."""


def lost_points(params: Mapping[str, Any], where: str = "quantized") -> float:
    """Return the points that a recipe costs: analytic, with noise that follows from the parameters.

    Args:
        where: in the trial; each place has noise of its own.
    """
    amount = params.get
    kept, energy, zeros = amount("channels") or 1.0, amount("low_rank") or 1.0, amount("weights") or 0.0
    parts = [
        1.5 * (1 - kept) ** 3,
        LAYERS_POINTS[amount("layers")],
        12 * (1 - energy) ** 1.5,
        25 * max(zeros - 0.65, 0) ** 2,
        CLUSTERS_POINTS[amount("clusters") if amount("low_bit") is None else None],
        BITS_POINTS[amount("low_bit")],
    ]
    lost = sum(parts) * (1 + 0.1 * (sum(part > 0 for part in parts) - 1))
    if params[METHOD] == "ptq":  # nothing trains after the last step
        lost = 0.15 + 1.3 * lost
    lost *= 0.85 ** np.log2(params[EPOCHS])
    lost += {1.0: 0.0, 0.5: 0.05, 2.0: 0.1}[params[RATE]] * (1 + lost)
    lost += 0.1 * (params[ORDER] != "channels first" and bool(amount("layers")))
    return float(lost + NOISE_POINTS * _normal(params, f"score {where}"))


def _normal(params: Mapping[str, Any], what: str) -> float:
    digest = hashlib.sha256(f"{what} {sorted(params.items(), key=str)}".encode()).digest()
    return float(np.random.default_rng(int.from_bytes(digest[:8], "big")).normal())


def figures_of(params: Mapping[str, Any]) -> Figures | None:
    """Return the figures of a recipe; None if it does not suit the model."""
    costs = costs_of(params)
    if costs is None:
        return None
    lost = lost_points(params)
    shift = 1.4 * lost + 2 * NOISE_POINTS * _normal(params, "shift")
    return Figures(
        metric="accuracy",
        score=FLOAT_SCORE - lost,
        drop=lost,
        robustness=FLOAT_ROBUSTNESS - shift,
        worst=max(1.5 * shift, 0.0),
        size_bytes=round(costs["size"]),
        size_ratio=costs["size"] / FLOAT_BYTES,
        download_bytes=round(costs["download"]),
        memory_bytes=round(costs["memory"]),
        instructions={
            name.removesuffix(" instructions"): round(value)
            for name, value in costs.items()
            if name.endswith(" instructions")
        },
    )


def costs_of(params: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the costs of a recipe: those of the plain model, times the ratio of each step."""
    rows = rows_by_amounts()
    plain = rows[_key({})]
    found: dict[str, float] = dict(plain)
    amounts = {step: params[step] for step in AMOUNTS if params.get(step) is not None}
    if "low_bit" in amounts:
        amounts.pop("clusters", None)  # as in a search
    for step, amount in amounts.items():
        row = rows[_key({step: amount})]
        if not row:
            return None
        found = {name: found[name] * row[name] / plain[name] for name in found}
    return found


def _key(amounts: Mapping[str, Any]) -> str:
    return json.dumps(amounts, sort_keys=True)


@cache
def rows_by_amounts() -> dict[str, dict[str, float]]:
    """Return the measured costs by the amounts of the recipe."""
    return {
        _key(row["amounts"]): {name: value for name, value in row.items() if name != "amounts"}
        for row in json.loads(TABLE.read_text())["rows"]
    }


def surrogate_trial(
    number: int, params: Params, earlier: Mapping[int, Outcome], limits: Limits, is_known: bool = False
) -> Outcome:
    """Run a trial as a worker would: with early stops, by comparison with earlier trials.

    Args:
        earlier: outcomes that it may be compared with.
        is_known: a known recipe is not stopped.
    """
    costs = costs_of(params)
    if costs is None:
        return Outcome(state="refused", recipe=str(number), seconds=0.0, reason="does not suit the model")
    compressed: tuple[float, ...] = ()
    devices = [value for name, value in costs.items() if name.endswith(" instructions")]
    if any(params.get(step) is not None for step in AMOUNTS):
        compressed = (lost_points(params, "compressed") - FLOAT_SCORE, costs["download"], *devices)
        others = [each.compressed for each in earlier.values() if each.compressed]
        if not is_known and may_stop(number) and not goes_on(compressed, others):
            return Outcome(
                state="stopped", recipe=str(number), seconds=0.0, reason="stopped", compressed=compressed
            )
    figures = figures_of(params)
    assert figures is not None
    return Outcome(
        state="complete", recipe=str(number), seconds=0.0, figures=figures,
        missed=limits.missed(figures), compressed=compressed,
    )  # fmt: skip


def params_of(settings: Mapping[str, Any]) -> Params:
    """Return the parameters that plain settings came from, with the default schedule of the training."""
    amounts = {
        table["method"]: table.get(COMPRESS[table["method"]].notation.key) for table in settings["compress"]
    }
    known = {step: amount for step, amount in amounts.items() if not isinstance(amount, str)}
    return OWN | {"weights": None} | known | {METHOD: settings["quantize"]["method"]}


def main() -> None:
    """Print the relative errors of the product of ratios."""
    errors: dict[str, list[float]] = {}
    for key, row in rows_by_amounts().items():
        amounts = json.loads(key)
        found = costs_of(amounts) if len(amounts) > 1 and row else None
        for name in found or {}:
            errors.setdefault(name, []).append(abs(found[name] / row[name] - 1))
    for name, each in errors.items():
        print(f"{name}: median {np.median(each):.0%}, largest {max(each):.0%} of {len(each)} recipes")


if __name__ == "__main__":
    main()
