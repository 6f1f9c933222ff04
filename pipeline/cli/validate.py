"""``pipeline validate``: judge any .tflite file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from models.ports import Port
    from pipeline.config import BuildConfig
    from pipeline.samples import Samples
    from pipeline.validate.measure import Judging
    from pipeline.validate.report import Report
    from pipeline.validate.subject import Subject


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", default="arm64", show_default=True, help="What to validate for.")
@click.option("--data", help="The data: a file, a folder or module:function; see docs/reference/data.md.")
@click.option("--task", multiple=True, help="What each output is for; default: told by model and data.")
@click.option("--baseline", type=click.Path(path_type=Path), help="The float .tflite to compare with.")
@click.option(
    "--scale",
    type=float,
    help="The model's input is raw x scale + offset; default: the usual range that fits.",
)
@click.option("--offset", type=float, default=0.0, show_default=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="A pipeline.toml whose [data], [preprocessing], [validate] and [gates] to use.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def validate(
    file: Path,
    target: str,
    data: str | None,
    task: tuple[str, ...],
    baseline: Path | None,
    scale: float | None,
    offset: float,
    config: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure FILE on every runtime of the target and ask the gates; without data all but accuracy."""
    from dataclasses import replace
    from tempfile import TemporaryDirectory

    from pipeline.config import read_validation
    from pipeline.errors import GateFailed
    from pipeline.runtimes.environment import check_environment
    from pipeline.targets import get_target
    from pipeline.validate.gates import judge
    from pipeline.validate.measure import Measurement
    from pipeline.validate.subject import Subject

    chosen = get_target(target)
    settings = read_validation(config, data, task, scale, offset)
    check_environment()
    subject = Subject.open(file)
    against = Subject.open(baseline) if baseline else None
    with TemporaryDirectory(prefix="edge-validate-") as folder:
        samples, judging, notes = _samples(subject, settings, seed, Path(folder))
        measurement = Measurement(subject, against, samples, judging, chosen, settings.validation, seed)
        report, _ = measurement.run(file.name, classes=judging.classes, notes=notes)
    report = replace(report, verdicts=judge(report, settings.gates))
    _show(report, as_json)
    if not report.passed:
        failed = ", ".join(verdict.gate for verdict in report.verdicts if verdict.outcome == "failed")
        msg = f"{file}: {failed} not passed"
        raise GateFailed(msg)


def _samples(
    subject: Subject, settings: BuildConfig, seed: int, folder: Path
) -> tuple[Samples | None, Judging, tuple[str, ...]]:
    """Test samples, or all where the source has no split, and how outputs are judged with them."""
    from models.data.sources import load_data
    from pipeline.intake import data_options, stored_dataset
    from pipeline.preparation import declared_transforms
    from pipeline.preprocessing import PROBE_SAMPLES, usual_range
    from pipeline.runtimes.runtime import host_runtime
    from pipeline.runtimes.scaling import as_input, as_real
    from pipeline.runtimes.session import Session
    from pipeline.samples import Samples
    from pipeline.validate.measure import Judging, output_names

    if not settings.data.source:
        return None, Judging((), (), ()), ()
    inputs, outputs = subject.ports()
    options = data_options(settings.data)
    found = load_data(
        settings.data.source, folder, inputs=inputs, outputs=outputs, options=options, seed=seed
    )
    data = stored_dataset(found, folder, len(inputs), outputs)
    transforms = declared_transforms(inputs, settings.preprocessing)
    notes = data.notes
    if len(inputs) == 1 and settings.preprocessing.scale == "auto" and not transforms[0].indices:
        probe = Samples.of(data, "test", transforms).choose(PROBE_SAMPLES, seed=0)
        with Session(host_runtime("litert"), subject.path) as session:
            details = session.describe()

            def predict(values: Any) -> Any:
                found = session.run([as_input(values, details.inputs[0])])[0]
                return as_real(found, details.outputs[0])

            chosen, warning = usual_range(predict, probe.raw(0), probe.target(0), data.tasks[0])
        transforms, notes = (chosen,), (*notes, *filter(None, (warning,)))
    judging = Judging(
        data.tasks, output_names(outputs), tuple(_is_logits(port) for port in outputs), data.classes
    )
    return Samples.of(data, "test", transforms), judging, notes


def _is_logits(port: Port) -> bool | None:
    """What the last operator tells; a linear one may give anything."""
    return False if port.activation in {"softmax", "sigmoid"} else None


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
