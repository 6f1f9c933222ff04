"""What a search tries first: recipes that are good for many models, and what the plan recommends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.compress.steps import COMPRESS
from pipeline.errors import ConfigError, InputError, StageError
from pipeline.events import Warned, emit
from pipeline.planning.goal import Goal, Limit
from pipeline.planning.plan import PLAIN, plan_model
from pipeline.recipe import with_recipe
from pipeline.run import Run
from pipeline.searching.space import AMOUNTS, METHOD
from pipeline.searching.written import plain_settings
from pipeline.shared_store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.artifacts import Source
    from pipeline.build_config import BuildConfig
    from pipeline.searching.objectives import Limits
    from pipeline.searching.space import Parameter, Params
    from pipeline.targets import Target

KNOWN: tuple[Params, ...] = (
    {METHOD: "ptq"},
    {"weights": 0.7},
    {"channels": 0.5},
    {"channels": 0.5, "weights": 0.6},
    {"channels": 0.3, "weights": 0.5},
    {"weights": 0.7, "clusters": 32},
)
"""Recipes that are good for many models."""


def starts_of(
    space: Mapping[str, Parameter],
    source: Source,
    config: BuildConfig,
    target: Target,
    limits: Limits,
    folder: Path,
    store: Path | str,
) -> list[Params]:
    """Return the first trials of a search: what the plan recommends for the limits, then known recipes.

    Args:
        space: of which steps trials consist; recipes with others are left out.
        source: the model, by content.
        folder: of the search, for a record of what was planned.
    """
    planned = recommended(source, config, target, limits, folder, store)
    recipes = [*(() if planned is None else [planned]), *(each for each in KNOWN if each != planned)]
    return [each for each in recipes if all(name in space for name in each)]


def recommended(
    source: Source, config: BuildConfig, target: Target, limits: Limits, folder: Path, store: Path | str
) -> Params | None:
    """Return what the plan recommends within the limits that it can predict; None if there are none.

    A model that cannot be planned, and limits that no planned recipe is within, are warnings: a search varies
    more than a plan does.
    """
    goal = _predictable(limits)
    if not goal.limits:
        return None
    settings = plain_settings(config)
    try:
        with open_store(store) as opened:
            found = plan_model(
                source, config.model, target, Run(folder / "plan", opened),
                settings=settings, recipes=[PLAIN], goal=goal,
            ).recommendation  # fmt: skip
    except (ConfigError, InputError, StageError) as error:
        emit(Warned(text=f"the search starts without the plan's recipe: {error}"))
        return None
    if found is None or found.row is None:
        missed = ", ".join(found.missed) if found is not None else ""
        emit(Warned(text=f"no recipe that was planned keeps the limit of {missed}"))
        return None
    return nearest(found.row.recipe)


def _predictable(limits: Limits) -> Goal:
    """Return the limits that follow from shapes alone."""
    most = dict(limits.goal)
    if limits.download_bytes is not None:
        most["download"] = min(most.get("download", limits.download_bytes), limits.download_bytes)
    return Goal(tuple(Limit(each.rpartition(" ")[2], most[each], each.rpartition(" ")[0]) for each in most))


def nearest(recipe: str) -> Params:
    """Return a recipe with the nearest amounts that trials have, none of them milder if there is one."""
    found: Params = {}
    for table in with_recipe({}, recipe)["compress"]:
        step, amount = table["method"], table[COMPRESS[table["method"]].notation.key]
        values = AMOUNTS[step].values[1:]
        is_rising = values[0] < values[-1]
        harder = (each for each in values if (each >= amount if is_rising else each <= amount))
        found[step] = next(harder, values[-1])
    return found
