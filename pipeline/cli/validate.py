"""``pipeline validate``: validate any .tflite file."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build import (
    ALLOW_CHANCE_HELP,
    LABELS_HELP,
    full_option,
    set_option,
    split_labels,
)
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath, UserSource
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.validation.report import Report


@click.command(
    epilog=examples(
        "pipeline validate model.tflite --data data.npz --baseline float.tflite --out report",
        "pipeline validate build/release/ripeness-1.0-arm64 --data photos --full",
        "pipeline validate new.tflite --against old.tflite --device rpi4,rpi5 --gate regression",
    )
)
@click.argument("file", type=UserPath())
@click.option("--target", help="Target to validate for; default: that of the release, else arm64.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="Devices to measure on, comma-separated names or ssh://user@host; default: those of the target.",
)
@click.option(
    "--data",
    type=UserSource(),
    help="Data: a file, a folder or module:function; see: pipeline help data.",
)
@click.option(
    "--shifted",
    multiple=True,
    metavar="NAME=SOURCE",
    help="Shifted data, in the formats of --data; repeatable.",
)
@click.option(
    "--task", multiple=True, help="Task of each output; repeatable; default: inferred from model and data."
)
@click.option("--labels", multiple=True, metavar="A,B,C", callback=split_labels, help=LABELS_HELP)
@click.option("--allow-chance", is_flag=True, help=ALLOW_CHANCE_HELP)
@click.option("--baseline", type=UserPath(), help="Float model to compare with.")
@click.option("--against", type=UserPath(), help="Reference model or release; fail if FILE is worse.")
@click.option(
    "--scale",
    type=float,
    help="Scale of raw values; the model's input is raw x scale + offset; default: detected.",
)
@click.option("--offset", type=float, help="Offset of raw values, with --scale; default: 0.")
@click.option(
    "--config",
    type=UserPath(),
    help="Settings file; uses [data], [preprocessing], [validate] and [gates].",
)
@click.option("--gate", "gates", multiple=True, help="Gate to evaluate; repeatable; default: all.")
@set_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed; default: that of the settings.")
@click.option(
    "--out",
    type=UserPath(file_okay=False),
    help="Folder for report.json, report.txt, report.html and junit.xml.",
)
@store_option
@size_option
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@full_option
def validate(
    file: Path,
    target: str | None,
    devices: tuple[str, ...],
    config: Path | None,
    settings: tuple[str, ...],
    shifted: tuple[str, ...],
    baseline: Path | None,
    against: Path | None,
    out: Path | None,
    store: Path | None,
    cache_size: int,
    as_json: bool,
    full: bool,
    **flags: Any,
) -> None:
    """Validate FILE on the devices of a target and evaluate the gates; without data, skip accuracy.

    FILE is a .tflite file, or a release folder with its preprocessing, tasks and labels.
    """
    from pipeline.commands import run_validation
    from pipeline.store import Store

    with Store(store_at(store), cache_size) as opened:
        report = run_validation(
            file,
            target=target,
            devices=[name for given in devices for name in given.split(",")],
            config=config,
            settings=settings,
            shifted=shifted,
            baseline=baseline,
            against=against,
            store=opened,
            flags=flags,
        )
    _write(report, out)
    _show(report, as_json, full)
    _require_passed(file, report)


def _require_passed(file: Path, report: Report) -> None:
    from pipeline.errors import GateFailed

    if not report.passed:
        msg = f"{file}: gates not passed: {', '.join(map(shlex.quote, report.failed_gates))}"
        raise GateFailed(msg)


def _write(report: Report, out: Path | None) -> None:
    """Write the report and its views, if ``--out`` names a folder."""
    if out is not None:
        from pipeline.report.views import write_views

        write_views(report, out)


def _show(report: Report, as_json: bool, full: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    from pipeline.report.text import report_parts
    from pipeline.terminal import print_parts

    print_parts(report_parts(report, full=full))
