"""``pipeline validate``: judge any .tflite file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipeline.validate.report import Report
    from pipeline.validate.subject import Samples, Subject


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", default="arm64", show_default=True, help="What to validate for.")
@click.option("--data", help="Labelled data: .npz, a folder of class folders of images, or module:function.")
@click.option("--baseline", type=click.Path(path_type=Path), help="The float .tflite to compare with.")
@click.option(
    "--scale",
    type=float,
    help="The model's input is raw x scale + offset; default: the usual range that fits.",
)
@click.option("--offset", type=float, default=0.0, show_default=True)
@click.option(
    "--config", type=click.Path(path_type=Path), help="A pipeline.toml whose [validate] and [gates] to use."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def validate(
    file: Path,
    target: str,
    data: str | None,
    baseline: Path | None,
    scale: float | None,
    offset: float,
    config: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure FILE on every runtime of the target and ask the gates; without data all but accuracy."""
    from dataclasses import replace

    from pipeline.config import read_validation
    from pipeline.errors import GateFailed
    from pipeline.runtimes.environment import check_environment
    from pipeline.targets import get_target
    from pipeline.validate.gates import judge
    from pipeline.validate.measure import Measurement
    from pipeline.validate.subject import Subject

    chosen = get_target(target)
    settings, gates = read_validation(config)
    check_environment()
    subject = Subject.open(file)
    samples = _samples(subject, data, scale, offset, seed) if data else None
    against = Subject.open(baseline) if baseline else None
    report, _ = Measurement(subject, against, samples, chosen, settings, seed).run(file.name)
    report = replace(report, verdicts=judge(report, gates))
    _show(report, as_json)
    if not report.passed:
        failed = ", ".join(verdict.gate for verdict in report.verdicts if verdict.outcome == "failed")
        msg = f"{file}: {failed} not passed"
        raise GateFailed(msg)


def _samples(subject: Subject, source: str, scale: float | None, offset: float, seed: int) -> Samples:
    """Test samples, or all where the source has no split."""
    from models.data.dataset import check_data
    from models.data.sources import load_data
    from pipeline.artifacts import Preprocessing
    from pipeline.preprocessing import usual_range
    from pipeline.validate.subject import Samples

    shape = subject.flat.inputs[0].shape[1:]
    data = load_data(source, input_shape=shape, seed=seed)
    check_data(data, shape, max(subject.flat.outputs[0].shape[-1], 2))
    raw, labels = data.test_inputs, data.test_labels
    preprocessing = (
        usual_range(subject.path, raw, labels)
        if scale is None
        else Preprocessing(scale=scale, offset=offset, reason="declared")
    )
    return Samples(raw, labels, preprocessing)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.plain()))
        return
    from rich.console import Console

    from pipeline.report.text import details, summary

    console = Console(highlight=False, markup=False)
    for part in (*summary(report), *details(report)):
        console.print(part)
        console.print()
