"""The settings of a command, from its options: those of the command line, or of the Python API."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.settings_file import find_settings_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.build_config import BuildConfig

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


def flag_of(name: str) -> str:
    """Return the flag of a parameter: "--trust-model" for "trust_model"."""
    return f"--{name.replace('_', '-')}"


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


def build_command(target: str, config: Path | None, model: str | None, settings: Sequence[str]) -> str:
    """Return the ``pipeline build`` of the same model and settings, to which a recipe can be appended."""
    words = ["pipeline", "build", "--target", target]
    words += ["--config", str(config)] if config else []
    words += ["--model", model] if model else []
    words += ["--data", "DATA"] if model and not model.startswith("zoo:") else []
    return shlex.join([*words, *(word for setting in settings for word in ("--set", setting))])
