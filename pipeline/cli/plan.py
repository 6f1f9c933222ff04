"""``pipeline plan``: what compression would buy on a target, before any training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pipeline.cli.build import set_option
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath, UserSource
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.planning.plan import Plan


@click.command(
    epilog=examples(
        "pipeline plan --target arm64 --model model.keras",
        "pipeline plan --target arm64 --recipe weights75-qat8 --recipe channels50-qat8",
        "pipeline plan --target arm64 --goal 'rpi4 instructions <= 1.5M, download <= 40k'",
    )
)
@click.option("--target", required=True, help="Target to plan for; see: pipeline device list.")
@click.option(
    "--config",
    type=UserPath(),
    help="Settings file; default, without --model: ./pipeline.toml, else the built-in model.",
)
@click.option(
    "--model",
    type=UserSource(),
    help="Keras model: .keras, .h5, .json or zoo:NAME; it needs no data and no training.",
)
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="STEP-STEP-METHOD8",
    help="Recipe to predict, in place of the usual ones; repeatable.",
)
@click.option(
    "--goal",
    metavar="LIMIT, LIMIT",
    help="Recommend a recipe for limits, e.g. 'rpi4 instructions <= 1.5M, download <= 40k, drop <= 1'.",
)
@set_option
@store_option
@size_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of tables.")
def plan(
    target: str,
    config: Path | None,
    model: str | None,
    recipes: tuple[str, ...],
    goal: str | None,
    settings: tuple[str, ...],
    store: Path | None,
    cache_size: int,
    as_json: bool,
) -> None:
    """Predict what compression steps would buy on a target, and what they would not.

    Applies each recipe without its trainings, and predicts instructions from shapes and measured costs of
    kernels. The accuracy is known only after a build.
    """
    from pipeline.command_settings import build_command, build_settings
    from pipeline.commands import run_plan
    from pipeline.planning.goal import read_goal
    from pipeline.store import Store
    from pipeline.targets import get_target

    devices = get_target(target)
    limits = read_goal(goal, devices) if goal is not None else None
    flags = {"model": model, "data": None if model is None else ""}
    chosen = build_settings(config, flags, settings)
    with Store(store_at(store), cache_size) as opened:
        found = run_plan(devices, chosen, recipes, limits, opened)
    if as_json:
        from pydantic import TypeAdapter

        from pipeline.planning.plan import Plan

        click.echo(json.dumps(TypeAdapter(Plan).dump_python(found, mode="json")))
    else:
        from pipeline.report.plan import plan_parts
        from pipeline.terminal import print_parts

        print_parts(plan_parts(found, limits, build_command(target, config, model, settings)))
    _require_reached(found)


def _require_reached(found: Plan) -> None:
    from pipeline.errors import GateFailed

    if found.recommendation is not None and found.recommendation.row is None:
        msg = f"goal: no recipe that was tried reaches {', '.join(found.recommendation.missed)}"
        raise GateFailed(msg)
