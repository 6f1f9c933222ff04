"""``pipeline build``: a Keras model to a validated int8 release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.build import Built
    from pipeline.config import BuildConfig

FAST_SAMPLES = 2048
FAST_SPARSITY = 0.5
MARKS = {"done": ("✓", "green"), "cached": ("=", "dim")}
# Small batches and steps: one epoch of few samples must still heal what pruning and rounding did.
FAST = {"epochs": 1, "least_steps": 1, "samples": FAST_SAMPLES, "batch_size": 16, "learning_rate": 1e-3}


@click.command()
@click.option("--target", required=True, help="What to build for; see: pipeline device list.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings; default ./pipeline.toml, else the embedded default.",
)
@click.option("--model", type=click.Path(path_type=Path), help="Trained Keras model, .keras or .h5.")
@click.option("--data", help="Labelled data: .npz, a folder of class folders of images, or module:function.")
@click.option("--name", help="The release's name; default: the model file's.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build"),
    show_default=True,
    help="Where everything goes.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Of every random choice.")
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Of pruning and of quantization-aware training, each."
)
@click.option(
    "--fast",
    is_flag=True,
    help=f"Every stage on {FAST_SAMPLES} training samples, one epoch, half the sparsity.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Name each stage's digest and folder.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def build(
    target: str,
    config: Path | None,
    model: Path | None,
    data: str | None,
    name: str | None,
    out: Path,
    seed: int | None,
    epochs: int | None,
    fast: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Take a trained Keras model to a validated int8 release.

    With neither --config nor --model the embedded default is built: ResNet-8 on Fashion-MNIST.
    """
    from pipeline.build import build as run
    from pipeline.targets import get_target
    from pipeline.workspace import Workspace

    chosen = get_target(target)
    settings = _settings(config, model, data, {"name": name, "seed": seed, "epochs": epochs, "fast": fast})
    built = run(chosen, settings, Workspace(out, Narrator(verbose)))
    _show(built, as_json)


def _settings(
    config: Path | None, model: Path | None, data: str | None, flags: dict[str, Any]
) -> BuildConfig:
    """Settings from a file or the default, with the flags laid over them."""
    from pipeline.config import DEFAULT_FILE, default_settings, make_config, read_toml
    from pipeline.errors import ConfigError

    if (model is None) != (data is None) and config is None:
        msg = "--model and --data go together: give both, or neither for the embedded default"
        raise ConfigError(msg)
    raw: dict[str, Any]
    if config is None and model is None and not DEFAULT_FILE.exists():
        raw, where = default_settings(), "the embedded default"
    elif config is None and model is not None:
        raw, where = {"project": {"name": flags["name"] or model.stem}}, "--model"
    else:
        path = config or DEFAULT_FILE
        raw, where = read_toml(path), str(path)
    if model is not None:
        raw.setdefault("model", {})["path"] = str(model)
    if data is not None:
        raw.setdefault("data", {})["source"] = data
    _overlay(raw, flags)
    return make_config(raw, where)


def _overlay(raw: dict[str, Any], flags: dict[str, Any]) -> None:
    if flags["name"] is not None:
        raw.setdefault("project", {})["name"] = flags["name"]
    if flags["seed"] is not None:
        raw["seed"] = flags["seed"]
    training = [raw.setdefault("prune", {}), raw.setdefault("quantize", {})]
    for section in training:
        if flags["fast"]:
            section |= FAST
        if flags["epochs"] is not None:
            section |= {"epochs": flags["epochs"], "least_steps": 1}
    if flags["fast"]:
        training[0]["sparsity"] = FAST_SPARSITY


class Narrator:
    """Says on stderr what the build does: a line a stage on a terminal, elsewhere only warnings."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def __call__(self, level: str, text: str) -> None:
        from rich.text import Text

        from pipeline.progress import console

        if level == "warning":
            console.print(Text(f"warning: {text}", "yellow"))
        elif level == "detail" and self.verbose:
            console.print(Text(f"  {text}", "dim"), soft_wrap=True)
        elif level in MARKS and (console.is_terminal or self.verbose):
            console.print(Text.assemble(MARKS[level], f" {text}"))


def _show(built: Built, as_json: bool) -> None:
    if as_json:
        result = {
            "release": str(built.folder),
            "reproducible_digest": built.reproducible_digest,
            "report": built.report.plain(),
        }
        click.echo(json.dumps(result))
        return
    from rich.console import Console
    from rich.text import Text

    from pipeline.report.text import summary

    console = Console(highlight=False, markup=False)
    for part in summary(built.report):
        console.print(part)
        console.print()
    console.print(Text.assemble(("release ", "bold"), str(built.folder)), soft_wrap=True)
    console.print(Text.assemble(("digest  ", "bold"), built.reproducible_digest), soft_wrap=True)
