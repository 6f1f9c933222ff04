"""``pipeline build``: a Keras model to a validated int8 release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath, UserSource
from pipeline.cli.stored import size_option, store_at, store_option
from pipeline.command_settings import FAST_SAMPLES, REPLACED, flag_of
from pipeline.console.reporter import ConsoleReporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.building import Built
    from pipeline.validation.report import Report

Command = TypeVar("Command", bound="Callable[..., Any]")

DATA_HELP = "Data: a file, a folder or module:function; see: pipeline help data."
LABELS_HELP = "Class names in the order of the model's outputs, comma-separated, or one per option."
ALLOW_CHANCE_HELP = (
    "Continue if the float model is at chance, or if another label order or preprocessing fits much better."
)


def split_labels(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels: comma-separated in one option, or one per option."""
    return tuple(given[0].split(",")) if len(given) == 1 else given


def set_option(command: Command) -> Command:
    """Add --set."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        help="Set any key of pipeline.toml; repeatable.",
    )(command)


def full_option(command: Command) -> Command:
    """Add --full."""
    return click.option("--full", is_flag=True, help="Print the whole report, not only its conclusions.")(
        command
    )


def data_options(command: Command) -> Command:
    """Add --data, --task and --labels, in this order."""
    options = (
        click.option("--data", type=UserSource(), help=DATA_HELP),
        click.option(
            "--task",
            multiple=True,
            help="Task of each output; repeatable; default: inferred from model and data.",
        ),
        click.option("--labels", multiple=True, metavar="A,B,C", callback=split_labels, help=LABELS_HELP),
    )
    return _with_options(command, options)


def model_options(command: Command) -> Command:
    """Add --config, --model and those of ``data_options``, in this order."""
    options = (
        click.option(
            "--config",
            type=UserPath(),
            help="Settings file; default, without --model: ./pipeline.toml, else the built-in model.",
        ),
        click.option(
            "--model",
            type=UserSource(),
            help="Trained Keras model: .keras, .h5, .json, a SavedModel, or zoo:NAME.",
        ),
    )
    return _with_options(data_options(command), options)


def _with_options(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    """Add options, which --help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def _replaced_options(command: Command) -> Command:
    for name in REPLACED:
        command = click.option(flag_of(name), hidden=True)(command)
    return command


@click.command(
    epilog=examples(
        "pipeline build --target arm64",
        "pipeline build --target arm64 --model model.keras --data data.npz",
        "pipeline build --target arm64 --model zoo:ds_cnn --method ptq --out build/ptq",
        "pipeline build --target arm64 --config pipeline.toml --set gates.size_ratio=0.3 --json",
    )
)
@click.option("--target", required=True, help="Target to build for; see: pipeline device list.")
@model_options
@click.option(
    "--method",
    help="Quantization method: auto (the best of qat and ptq), qat, ptq (no training), or none.",
)
@click.option(
    "--recipe",
    metavar="STEP-STEP-METHOD8",
    help="Compression steps with their amounts, and the quantization: weights75-cluster16-qat8.",
)
@click.option("--allow-chance", is_flag=True, help=ALLOW_CHANCE_HELP)
@click.option("--against", type=UserPath(), help="Reference model; fail if the new one is worse.")
@click.option("--trust-model", is_flag=True, help="Execute code from the model file, in a confined process.")
@click.option("--name", help="Release name; default: that of the settings, else of the model file.")
@click.option("--version", metavar="VERSION", help="Release version.")
@click.option(
    "--key",
    type=UserPath(),
    help="Private key to sign the release; default: EDGE_PIPELINE_SIGNING_KEY, if set.",
)
@set_option
@_replaced_options
@click.option(
    "--out",
    type=UserPath(),
    default=Path("build"),
    show_default=True,
    help="Output folder.",
)
@store_option
@size_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed.")
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Epochs of pruning and of quantization-aware training."
)
@click.option(
    "--fast",
    is_flag=True,
    help=f"Build quickly: {FAST_SAMPLES} training samples, one epoch, reduced sparsity.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@full_option
@click.option("-v", "--verbose", is_flag=True, help="Show the digest and folder of each stage.")
def build(
    target: str,
    config: Path | None,
    settings: tuple[str, ...],
    key: Path | None,
    out: Path,
    store: Path | None,
    cache_size: int,
    as_json: bool,
    full: bool,
    verbose: bool,
    **flags: Any,
) -> None:
    """Build a validated int8 release from a trained Keras model.

    Without --config and --model, build the built-in model: ResNet-8 on Fashion-MNIST.
    """
    from deploy.contents import SIGNATURE
    from pipeline.cli.command_line import command_line
    from pipeline.cli.keys import suggest_expiry
    from pipeline.cli.next_steps import after_failure, after_release
    from pipeline.command_settings import build_settings
    from pipeline.commands import run_build
    from pipeline.errors import GateFailed
    from pipeline.store import Store
    from pipeline.targets import get_target
    from pipeline.terminal import Terminal

    if reporter := click.get_current_context().find_object(ConsoleReporter):
        reporter.verbose = verbose
    devices = get_target(target)
    chosen = build_settings(config, flags, settings)
    try:
        with Store(store_at(store), cache_size) as opened:
            built = run_build(devices, chosen, out, opened, key, command_line())
    except GateFailed as error:
        if error.report is not None:
            ending = after_failure(out / "report" / error.report.name, out, Terminal().width)
            _show(error.report, None, ending, as_json, full)
        raise
    is_signed = (built.folder / SIGNATURE).exists()
    if is_signed:
        suggest_expiry(chosen.release.expires, "--set release.expires=")
    ending = after_release(built.folder, built.reproducible_digest, Terminal().width, is_signed=is_signed)
    _show(built.report, built, ending, as_json, full)


def _show(report: Report, built: Built | None, ending: str, as_json: bool, full: bool) -> None:
    """Print how a build ended; ``built`` is None if a gate failed."""
    if as_json:
        result = {
            "release": str(built.folder) if built else None,
            "reproducible_digest": built.reproducible_digest if built else None,
            "report": report.to_dict(),
        }
        click.echo(json.dumps(result))
        return
    from pipeline.report.gates import outcome_text
    from pipeline.report.text import report_parts
    from pipeline.terminal import print_parts

    print_parts((*report_parts(report, full=full), f"result   {outcome_text(report)}\n{ending}"))
