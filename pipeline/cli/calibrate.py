"""``pipeline calibrate``: check the calibration samples of a model and its data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build import model_options, set_option
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from calibration.diagnosis import Diagnosis


@click.command(
    epilog=examples(
        "pipeline calibrate --model model.keras --data data.npz",
        "pipeline calibrate --config pipeline.toml --strict --out diagnosis",
    )
)
@model_options
@click.option("--trust-model", is_flag=True, help="Execute code from the model file, in a confined process.")
@set_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed.")
@click.option("--strict", is_flag=True, help="Exit with code 1 if a check failed.")
@click.option(
    "--out",
    type=UserPath(file_okay=False),
    help="Folder for diagnosis.json, diagnosis.txt and diagnosis.html, with plots.",
)
@store_option
@size_option
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON on stdout.")
def calibrate(
    config: Path | None,
    settings: tuple[str, ...],
    strict: bool,
    out: Path | None,
    store: Path | None,
    cache_size: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Check the calibration samples of a model and its data, as a build would choose them.

    Checks the strata, values, duplicates and test samples among them, and the ranges of the float model's
    tensors: outliers, resolution, stability, and whether the samples are enough. Each finding has a fix.
    """
    from pipeline.calibration_check import check_calibration
    from pipeline.command_settings import build_settings
    from pipeline.store import Store

    chosen = build_settings(config, flags, settings)
    with Store(store_at(store), cache_size) as opened:
        found = check_calibration(chosen, opened)
    if out is not None:
        from pipeline.report.calibration_views import write_diagnosis

        write_diagnosis(found, out)
    _show(found, as_json)
    if strict:
        _require_passed(found)


def _require_passed(found: Diagnosis) -> None:
    from pipeline.errors import GateFailed

    if found.failed:
        msg = f"calibration samples: checks failed: {', '.join(found.failed)}"
        raise GateFailed(msg)


def _show(found: Diagnosis, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.to_dict()))
        return
    from pipeline.report.calibration import diagnosis_parts
    from pipeline.terminal import print_parts

    print_parts(diagnosis_parts(found))
