"""``pipeline search``: find small and fast models that pass the gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build import model_options, set_option
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath
from pipeline.cli.stored import shared_store_option, store_at

if TYPE_CHECKING:
    from pipeline.searching.result import Found


@click.command(
    epilog=examples(
        "pipeline search --target arm64 --model model.keras --data data.npz --trials 50",
        "pipeline search --target arm64 --goal 'download <= 40k, drop <= 1' --out search",
        "pipeline search --target arm64 --scheduler tls://cluster:8786 --store s3://bucket/stages",
    )
)
@click.option("--target", required=True, help="Target to build for; see: pipeline device list.")
@click.option(
    "--goal",
    default="",
    metavar="LIMIT, LIMIT",
    help="Limits besides the gates, e.g. 'rpi4 instructions <= 1.5M, download <= 40k, drop <= 1'.",
)
@model_options
@click.option("--trials", type=click.IntRange(min=1), default=30, show_default=True, help="Trials to finish.")
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    help="Figure to improve: score, robustness, download, memory, 'DEVICE instructions'; default: all.",
)
@click.option(
    "--step",
    "steps",
    multiple=True,
    help="Compression step to vary; repeatable; default: all but distill, which trains a model from scratch.",
)
@click.option(
    "--sampler", default="tpe", show_default=True, help="How trials are chosen: tpe, nsga2 or random."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Processes on this machine; with --scheduler, workers that will come.",
)
@click.option("--scheduler", default="", metavar="ADDRESS", help="Use a Dask cluster: tls://HOST:PORT.")
@click.option(
    "--validate",
    "validated",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="At most so many of the best candidates are built and validated.",
)
@set_option
@click.option(
    "--out",
    type=UserPath(),
    default=Path("search"),
    show_default=True,
    help="Output folder; a search there is continued.",
)
@shared_store_option
@click.option(
    "--tracking",
    default="",
    metavar="mlflow:URI",
    help="Log every trial to MLflow, e.g. http://127.0.0.1:5000.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def search(
    target: str,
    config: Path | None,
    settings: tuple[str, ...],
    out: Path,
    store: Path | str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for small and fast models that pass the gates.

    Trials vary compression steps, their order and amounts, quantization and training. The best candidates
    are built and validated, and the settings of the chosen one are written. The same command continues a
    search that was interrupted.
    """
    from pipeline.command_settings import build_settings
    from pipeline.commands import require_search, run_search
    from pipeline.targets import get_target

    require_search(options["tracking"])
    devices = get_target(target)
    flags = {name: options.pop(name) for name in ("model", "data", "task", "labels", "seed")}
    chosen = build_settings(config, flags, settings)
    place = store if isinstance(store, str) else store_at(store)
    found = run_search(devices, chosen, out, place, options)
    if as_json:
        from pipeline.searching.report import to_dict

        click.echo(json.dumps(to_dict(found)))
    else:
        _show(found, target)
    _require_candidate(found)


def _show(found: Found, target: str) -> None:
    from pipeline.searching.report import search_parts
    from pipeline.terminal import print_parts

    print_parts(search_parts(found, target))


def _require_candidate(found: Found) -> None:
    """End with the exit code of a failed gate where nothing passed."""
    from pipeline.errors import GateFailed

    if found.chosen is None:
        reason = "; ".join(f"{each.number}: {each.problem}" for each in found.validated)
        msg = f"no candidate passes the gates ({reason or 'every trial is beyond a limit'})"
        raise GateFailed(msg)
