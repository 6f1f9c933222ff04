"""What compression would buy on a target, before any training; and a recipe for a goal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pipeline.compress.steps import COMPRESS
from pipeline.costing.predict import cost_table, predict
from pipeline.errors import ConfigError, InputError, StageError, leaf_errors_mapped
from pipeline.flatbuffer import read_tflite
from pipeline.isolation.child import in_child
from pipeline.loading.load import load_model
from pipeline.planning.candidates import prepare_shapes, try_recipe
from pipeline.recipe import ENDINGS, with_recipe
from pipeline.sections import problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.artifacts import KerasModel, Source
    from pipeline.config import ModelConfig
    from pipeline.planning.candidates import Steps
    from pipeline.planning.goal import Goal
    from pipeline.run import Run
    from pipeline.targets import Target

PLAIN = "qat8"
"""The recipe that the others are compared with: int8 without compression."""
RECIPES = (
    *("weights75-qat8", "weights90-qat8", "cluster16-qat8", "bits4-qat8", "rank90-qat8"),
    *("layers1-qat8", "distill50-qat8"),
    *("channels75-qat8", "channels50-qat8", "channels25-qat8", "channels50-weights75-qat8"),
)
AT_ONCE = 2
"""Recipes that are applied side by side, each in a process with TensorFlow."""
CHANNELS = (None, 80, 65, 50, 40, 30, 20, 12, 6)
"""Shares of the multiply-accumulates to keep that are tried for a goal, per cent."""
TAILS = ("", "weights50", "weights75", "weights75-cluster16", "weights90-cluster16")
"""Steps that are tried after that: they change nothing but the download."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a recipe leaves, predicted.

    Attributes:
        recipe: as ``pipeline build --recipe`` takes it.
        parameters: of the Keras model.
        macs: multiply-accumulates of one inference.
        size_bytes: of the int8 file.
        download_bytes: of the int8 file, compressed.
        instructions: of one inference of the int8 file, by device.
        float_instructions: of the same model in float32.
    """

    recipe: str
    parameters: int
    macs: int
    size_bytes: int
    download_bytes: int
    instructions: dict[str, int]
    float_instructions: dict[str, int]

    def figures(self) -> dict[str, int]:
        """Return what a goal can limit, by name."""
        found = {f"{device} instructions": count for device, count in self.instructions.items()}
        return {**found, "download": self.download_bytes, "size": self.size_bytes}


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The first recipe tried that is within the limits of a goal; None if none is.

    Attributes:
        row: what is predicted of it.
        nearest: the row of the smallest recipe that was tried, if none is within the limits.
        missed: the limits that this one is above.
    """

    row: Row | None
    nearest: Row | None = None
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What compression would buy.

    Attributes:
        devices: of the target.
        runtimes: whose kernels' costs were measured, by device.
        plain: int8 without compression.
        rows: of the recipes.
        unknown: operators whose instructions are not known and are left out.
        refused: recipes that cannot be applied to this model, and why.
        recommendation: None without a goal.
    """

    target: str
    devices: tuple[str, ...]
    runtimes: dict[str, str]
    plain: Row
    rows: tuple[Row, ...]
    unknown: tuple[str, ...]
    refused: dict[str, str]
    recommendation: Recommendation | None = None


class Planner:
    """Applies recipes to one model, each once, and predicts what the result costs."""

    def __init__(self, model: KerasModel, target: Target, settings: dict[str, Any], run: Run) -> None:
        """Plan for a prepared model.

        Args:
            settings: plain settings whose ``[[compress]]`` has the other keys of the steps.
        """
        self.model, self.target, self.settings, self.run = model, target, settings, run
        self.tables = [cost_table(device.name) for device in target.devices]
        self.unknown: dict[str, None] = {}
        self._known: dict[str, Row] = {}

    def row(self, recipe: str) -> Row:
        """Return what a recipe leaves.

        Raises:
            ConfigError: a part of it is unknown, or cannot be planned.
            StageError: a step cannot be applied to this model.
        """
        if recipe not in self._known:
            self._known[recipe] = self._row(recipe)
        return self._known[recipe]

    def _row(self, recipe: str) -> Row:
        steps = steps_of(recipe, self.settings)
        files = [file for step in steps for file in COMPRESS[step.method].files(step)]
        made = self.run.step(in_child(try_recipe), self.model, *files, steps=steps)
        counts: list[dict[str, int]] = []
        for path in (made.int8, made.float32):
            flat = read_tflite(path)
            found = {table.device: predict(flat, table) for table in self.tables}
            self.unknown |= {name: None for each in found.values() for name in each.unknown}
            counts.append({device: each.instructions for device, each in found.items()})
        return Row(
            recipe=recipe,
            parameters=made.parameters,
            macs=made.macs,
            size_bytes=made.size_bytes,
            download_bytes=made.download_bytes,
            instructions=counts[0],
            float_instructions=counts[1],
        )

    def recommend(self, goal: Goal) -> Recommendation:
        """Return the first recipe within the limits, from the mildest to the hardest.

        Channels decide the instructions and the size; what comes after them only the download. Of each share
        of channels, the steps after it are tried only if the rest is within the limits.
        """
        row = self.row(PLAIN)
        for share in CHANNELS:
            for tail in TAILS:
                parts = filter(None, (f"channels{share}" if share else "", tail, PLAIN))
                row = self.row("-".join(parts))
                missed = goal.missed(row.figures())
                if not missed:
                    return Recommendation(row=row)
                if any(limit.what != "download" for limit in missed):
                    break
        return Recommendation(
            row=None, nearest=row, missed=tuple(limit.name for limit in goal.missed(row.figures()))
        )


def steps_of(recipe: str, settings: dict[str, Any]) -> Steps:
    """Return the settings of a recipe's steps.

    Raises:
        ConfigError: a part is not known, or the end is not int8.
    """
    if ENDINGS.get(recipe.rpartition("-")[2], "none") == "none":
        msg = f"--recipe {recipe}: a plan is for int8; let the recipe end with {PLAIN}, auto8 or ptq8"
        raise ConfigError(msg)
    made = with_recipe({"compress": settings.get("compress", [])}, recipe)
    try:
        return tuple(COMPRESS[table["method"]].config.model_validate(table) for table in made["compress"])
    except ValidationError as error:
        msg = f"--recipe {recipe}: {problem(error.errors()[0])}"
        raise ConfigError(msg) from error


def plan_model(
    source: Source,
    config: ModelConfig,
    target: Target,
    run: Run,
    *,
    settings: dict[str, Any],
    recipes: Iterable[str] = (),
    goal: Goal | None = None,
) -> Plan:
    """Predict what recipes leave of a model, without data and without training.

    Args:
        source: the Keras model, by content.
        target: on whose devices instructions are predicted.
        settings: plain settings, of whose steps the other keys are taken.
        recipes: to apply; those of ``RECIPES`` if there are none, without what the model has nothing for.
        goal: to recommend a recipe for.

    Raises:
        ConfigError: a recipe is not known, or a device has no table of costs.
        InputError: the model cannot be loaded or prepared.
        StageError: a step of a given recipe cannot be applied.
    """
    given = tuple(recipes)
    for recipe in given:
        steps_of(recipe, settings)
    for device in target.devices:
        cost_table(device.name)
    with leaf_errors_mapped():
        loaded = run.step(load_model, source, config=config)
        if loaded.opaque:
            msg = f"{config.path}: a model that runs its own code has no layers to plan with; leave out trust"
            raise InputError(msg)
        planner = Planner(run.step(in_child(prepare_shapes), loaded), target, settings, run)
        refused: dict[str, str] = {}
        plain, rows = planner.row(PLAIN), list[Row]()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting = {recipe: pool.submit(planner.row, recipe) for recipe in given or RECIPES}
        for recipe, done in waiting.items():
            try:
                rows.append(done.result())
            except StageError as error:
                if given:
                    raise
                refused[recipe] = error.cause
        recommendation = planner.recommend(goal) if goal is not None else None
    return Plan(
        target=target.name,
        devices=tuple(device.name for device in target.devices),
        runtimes={table.device: table.runtime for table in planner.tables},
        plain=plain,
        rows=tuple(rows),
        unknown=tuple(planner.unknown),
        refused=refused,
        recommendation=recommendation,
    )
