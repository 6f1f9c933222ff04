"""``pipeline debug``: which layers of an int8 model lose accuracy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipeline.cli.build import (
    ALLOW_CHANCE_HELP,
    data_options,
    set_option,
)
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath, UserSource
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.debugging import Debugged
    from pipeline.store import Store

RECORD = "run.json"


@click.command(
    epilog=examples(
        "pipeline debug build",
        "pipeline debug model.tflite --baseline float.tflite --data data.npz --out ranked",
    )
)
@click.argument("path", type=UserPath(), required=False)
@click.option(
    "--config",
    type=UserPath(),
    help="Settings file; default, without PATH and --model: ./pipeline.toml, else the built-in model.",
)
@click.option("--model", type=UserSource(), help="Trained Keras model, built as `pipeline build` does.")
@data_options
@click.option("--allow-chance", is_flag=True, help=ALLOW_CHANCE_HELP)
@click.option("--trust-model", is_flag=True, help="Execute code from the model file, in a confined process.")
@click.option("--method", help="Quantization method, as of `pipeline build`.")
@click.option(
    "--baseline", type=UserPath(), help="Float .tflite file with the weights of PATH before quantization."
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Test samples to measure on; default: up to 512, fewer of a large model.",
)
@set_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed; default: that of the settings.")
@click.option(
    "--out",
    type=UserPath(file_okay=False),
    help="Folder for sensitivity.json, with the ranked plot in .html.",
)
@store_option
@size_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of tables.")
def debug(
    path: Path | None,
    baseline: Path | None,
    samples: int | None,
    out: Path | None,
    store: Path | None,
    cache_size: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Rank the layers of an int8 model by what quantization costs in each.

    PATH is the output folder of a build, a release or a .tflite file. Without it, a model is built first; its
    stages come from the store if the same build was made before.
    """
    from pipeline.run import recorded_store
    from pipeline.store import Store

    asked = click.get_current_context().get_parameter_source("store") is ParameterSource.COMMANDLINE
    if path is not None and _is_build(path) and not asked:
        store = recorded_store(path)
    with Store(store_at(store), cache_size) as opened:
        found = _debugged(path, baseline, samples, opened, flags)
    if out is not None:
        _write(found, out)
    if as_json:
        click.echo(json.dumps(_plain(found)))
        return
    from pipeline.report.sensitivity import sensitivity_parts
    from pipeline.terminal import print_parts

    print_parts(sensitivity_parts(found.name, found.sensitivity))


def _is_build(path: Path) -> bool:
    """Return whether a path is the output folder of a build."""
    return (path / RECORD).is_file()


def _debugged(
    path: Path | None, baseline: Path | None, samples: int | None, store: Store, flags: dict[str, Any]
) -> Debugged:
    from pipeline.command_settings import FLAGS, build_settings, flag_of
    from pipeline.debugging import debug_build, debug_file, debug_model
    from pipeline.errors import ConfigError
    from pipeline.release.released import is_folder, open_release
    from pipeline.settings import read_validation

    config, settings = flags.pop("config"), flags.pop("settings")
    is_build = path is not None and _is_build(path)
    if baseline is not None and (path is None or is_build):
        msg = "--baseline is for .tflite files and releases; a build has the float file itself"
        raise ConfigError(msg)
    if path is None:
        return debug_model(build_settings(config, flags, settings), store, samples)
    used = [flag_of(name) for name in ("model", "trust_model", "method") if flags.pop(name)]
    if is_build:
        seed = flags.pop("seed") or 0
        used += [flag_of(name) for name, value in flags.items() if value]
    if used:
        msg = f"{used[0]} does not apply to {path}, which is {'a build' if is_build else 'built'} already"
        raise ConfigError(msg)
    if is_build:
        return debug_build(path, store, seed, samples)
    released = open_release(path) if is_folder(path) else None
    validation = read_validation(
        config,
        {FLAGS[name]: value for name, value in flags.items()},
        settings,
        recorded=released.data_settings if released else None,
        flags={key: flag_of(name) for name, key in FLAGS.items()},
    )
    file = released.model if released else path
    return debug_file(
        file, config=validation, store=store, samples=samples, baseline=baseline, released=released
    )


def _plain(found: Debugged) -> dict[str, Any]:
    from pydantic import TypeAdapter

    from pipeline.validation.sensitivity import Sensitivity

    exclude = {"folder", "digest", "notes", "findings"}
    plain = TypeAdapter(Sensitivity).dump_python(found.sensitivity, mode="json", exclude=exclude)
    return {"name": found.name, **plain, "rewrites": found.rewrites}


def _write(found: Debugged, out: Path) -> None:
    from pipeline.report.sensitivity import sensitivity_html

    out.mkdir(parents=True, exist_ok=True)
    page = sensitivity_html(found.name, found.sensitivity, found.rewrites)
    (out / "sensitivity.html").write_text(page, encoding="utf-8")
    (out / "sensitivity.json").write_text(json.dumps(_plain(found), indent=1), encoding="utf-8")
