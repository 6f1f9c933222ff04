"""``pipeline build``: a Keras model to a validated int8 release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli.console import ConsoleReporter
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath, UserSource
from pipeline.cli.settings_file import find_settings_file
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.build_config import BuildConfig
    from pipeline.building import Built
    from pipeline.store import Store
    from pipeline.targets import Target
    from pipeline.validation.report import Report

Command = TypeVar("Command", bound="Callable[..., Any]")

DATA_HELP = "Data: a file, a folder or module:function; see: pipeline help data."
LABELS_HELP = "Class names in the order of the model's outputs, comma-separated, or one per option."
ALLOW_CHANCE_HELP = (
    "Continue if the float model is at chance, or if another label order or preprocessing fits much better."
)
FAST_SAMPLES = 2048
FAST_SPARSITY = 0.5
# Flags that are settings, and those that --set has replaced and that are still accepted.
FLAGS = {
    "name": "project.name",
    "version": "project.version",
    "model": "model.path",
    "trust_model": "model.trust",
    "data": "data.source",
    "task": "data.task",
    "labels": "data.labels",
    "method": "quantize.method",
    "allow_chance": "gates.allow_chance",
    "against": "validate.against",
    "seed": "seed",
}
REPLACED = {
    "weights": "model.weights",
    "custom_objects": "model.custom_objects",
    "counter": "release.counter",
    "expires": "release.expires",
    "recalibrate_from": "calibration.field_statistics",
}
# Small batches and steps: one epoch of few samples must still recover the accuracy after pruning.
FAST = {"epochs": 1, "min_steps": 256, "samples": FAST_SAMPLES, "batch_size": 16, "learning_rate": 1e-3}


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


def flag_of(name: str) -> str:
    """Return the flag of a parameter: "--trust-model" for "trust_model"."""
    return f"--{name.replace('_', '-')}"


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
    from pipeline.cli.next_steps import after_failure, after_release
    from pipeline.errors import GateFailed
    from pipeline.store import Store
    from pipeline.targets import get_target

    if reporter := click.get_current_context().find_object(ConsoleReporter):
        reporter.verbose = verbose
    devices = get_target(target)
    chosen = build_settings(config, flags, settings)
    try:
        with Store(store_at(store), cache_size) as opened:
            built = _build(devices, chosen, out, opened, key)
    except GateFailed as error:
        if error.report is not None:
            _show(error.report, None, after_failure(out / "report" / error.report.name, out), as_json, full)
        raise
    is_signed = (built.folder / SIGNATURE).exists()
    ending = after_release(built.folder, built.reproducible_digest, is_signed=is_signed)
    _show(built.report, built, ending, as_json, full)


def _build(target: Target, config: BuildConfig, out: Path, store: Store, key: Path | None) -> Built:
    """Run the build, and hide the private key from code of the user."""
    from deploy.keys import key_files
    from pipeline.building import build as run
    from pipeline.cli.keys import suggest_expiry
    from pipeline.isolation.sandbox import hiding
    from pipeline.run import Run

    signing, password = _signer(key)
    with hiding(*key_files(signing)):
        built = run(target, config, Run(out, store), signing, password)
    if signing is not None:
        suggest_expiry(config.release.expires, "--set release.expires=")
    return built


def _signer(key: Path | None) -> tuple[Path | str | None, str | None]:
    """Return the signing key, if any, and its password; an unusable one is an error before any work."""
    from deploy.keys import read_private, signer

    signing, password = signer(key)
    if signing is not None:
        read_private(signing, password)
    return signing, password


def build_settings(config: Path | None, flags: dict[str, Any], settings: Sequence[str] = ()) -> BuildConfig:
    """Return the settings of a file, the zoo or the default, overridden by flags and then by --set.

    Args:
        config: the settings file, if one is given.
        flags: values of options by their parameters' names; "model" and "data" at least.
        settings: values of --set.
    """
    from pipeline.errors import ConfigError
    from pipeline.events import Warned, emit
    from pipeline.recipe import with_recipe
    from pipeline.setting_paths import ZOO
    from pipeline.settings import choose_method, configure, nested, overlay, parse_setting

    if flags.get("method") is not None and flags.get("recipe") is not None:
        msg = "--method and --recipe exclude each other: the recipe's last part is the method"
        raise ConfigError(msg)
    model = flags["model"]
    is_zoo = model is not None and model.startswith(ZOO) and not Path(model).exists()
    raw, where = base_settings(config, model, flags["data"], is_zoo)
    if flags.get("method") is not None:
        raw = choose_method(raw, flags["method"])
    if flags.get("recipe") is not None:
        raw = with_recipe(raw, flags["recipe"])
    given = {FLAGS[name]: flags.get(name) for name in FLAGS if not (is_zoo and name == "model")}
    _overlay_training(raw, flags)
    raw = overlay(raw, nested(given))
    for name, key in REPLACED.items():
        if flags.get(name) is not None:
            emit(Warned(text=f"{flag_of(name)} is now --set {key}={flags[name]}; the flag will be removed"))
            raw = overlay(raw, parse_setting(f"{key}={flags[name]}"))
    used = {
        key: flag_of(name) for name, key in (FLAGS | REPLACED).items() if flags.get(name) not in (None, ())
    }
    if config is None and model is not None:
        used["project.name"] = "--name"  # the default is the name of the model's file
    if flags.get("recipe") is not None:
        used |= dict.fromkeys(("compress", "quantize"), f"--recipe {flags['recipe']}")
    return configure(raw, where, settings, used)


def base_settings(
    config: Path | None, model: str | None, data: str | None, is_zoo: bool
) -> tuple[dict[str, Any], str]:
    """Return the settings that the flags override, and their name for errors."""
    from pipeline.errors import ConfigError
    from pipeline.events import Warned, emit
    from pipeline.setting_paths import ZOO
    from pipeline.settings import read_toml, settings_name, zoo_settings

    here = find_settings_file() if config is None else None
    if model is not None and here is not None:
        emit(Warned(text=f"{here} is not read with --model; to use it, pass --config {here}"))
    if is_zoo and model is not None:
        own = zoo_settings(model.removeprefix(ZOO))
        return (own, model) if config is None else (_over(own, read_toml(config)), settings_name(config))
    if (model is None) != (data is None) and config is None:
        msg = "--model and --data go together: give both, or neither for the built-in model"
        raise ConfigError(msg)
    if config is None and model is not None:
        return {"project": {"name": Path(model).stem}}, "the flags"
    path = config or here
    if path is None:
        return zoo_settings(), "the built-in settings"
    return read_toml(path), settings_name(path)


def _over(own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a reference model with those of a file laid over them, but for the model.

    The other keys of [quantize] are those of a method, and go if the file chooses one.
    """
    from pipeline.settings import overlay

    if "method" in given.get("quantize", {}):
        own = {name: section for name, section in own.items() if name != "quantize"}
    return {**overlay(own, given), "model": own["model"]}


def _overlay_training(raw: dict[str, Any], flags: dict[str, Any]) -> None:
    """Lay --epochs and --fast over every step that trains."""
    from pipeline.build_config import BuildConfig
    from pipeline.compress.steps import COMPRESS
    from pipeline.quantize.methods import QUANTIZE

    training = dict(FAST) if flags.get("fast") else {}
    if flags.get("epochs") is not None:
        training |= {"epochs": flags["epochs"], "min_steps": 1}
    if not training:
        return
    defaults = BuildConfig.model_fields
    quantize = raw.setdefault("quantize", {})
    quantization = {"method": defaults["quantize"].default.method} | quantize
    default = [{"method": step.method} for step in defaults["compress"].default]
    trains = (row := QUANTIZE.get(quantization["method"])) is not None and row.train is not None
    steps = raw.setdefault("compress", default) if trains else raw.get("compress", [])
    methods = [COMPRESS.get(table.get("method")) for table in steps]
    for table, method in zip(
        [*steps, quantize], [*methods, QUANTIZE.get(quantization["method"])], strict=True
    ):
        if method is None:
            continue  # refused when the settings are made
        fields = method.config.model_fields
        if "training" in fields and isinstance(given := table.get("training", {}), dict):
            table["training"] = given | training
        if flags.get("fast") and "sparsity" in fields:
            table["sparsity"] = FAST_SPARSITY


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
