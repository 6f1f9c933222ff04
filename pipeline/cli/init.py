"""``pipeline init``: settings for a model and its data, inferred and explained."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build import LABELS_HELP, set_option, split_labels
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath, UserSource
from pipeline.cli.stored import size_option, store_at, store_option
from pipeline.command_settings import flag_of
from pipeline.settings_file import DEFAULT_FILE, PYPROJECT, has_tool_table

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.initial_settings.inferring import Inferred

TARGET = "arm64"
FLAGS = {
    "name": "project.name",
    "version": "project.version",
    "trust_model": "model.trust",
    "task": "data.task",
    "labels": "data.labels",
}


@click.command(
    epilog=examples(
        "pipeline init",
        "pipeline init model.keras data.npz",
        "pipeline init ripeness.keras photos --labels green,ripe,rotten",
    )
)
@click.argument("model", type=UserSource(), required=False)
@click.argument("data", type=UserSource(), required=False)
@click.option("--task", multiple=True, help="Task of each output; repeatable; default: inferred.")
@click.option("--labels", multiple=True, metavar="A,B,C", callback=split_labels, help=LABELS_HELP)
@click.option("--trust-model", is_flag=True, help="Execute code from the model file, in a confined process.")
@click.option("--name", help="Release name; default: made of the model's file name.")
@click.option("--version", metavar="VERSION", help="Release version.")
@set_option
@click.option("--target", default=TARGET, show_default=True, help="Target to name in the next command.")
@click.option(
    "--out", type=UserPath(dir_okay=False), default=DEFAULT_FILE, show_default=True, help="File to write."
)
@click.option("--force", is_flag=True, help="Replace existing settings.")
@store_option
@size_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of text.")
def init(
    model: str | None,
    data: str | None,
    settings: tuple[str, ...],
    target: str,
    out: Path,
    force: bool,
    store: Path | None,
    cache_size: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write pipeline.toml for a model and its data, with what was inferred and why.

    MODEL and DATA are taken as pipeline build takes them; without them, this folder's only model and its only
    data set. The first stages of a build run, so the build that follows takes them from the store.
    """
    from pipeline.errors import InputError
    from pipeline.initial_settings.inferring import infer_settings
    from pipeline.run import Run
    from pipeline.scratch import scratch
    from pipeline.store import Store
    from pipeline.targets import get_target

    get_target(target)
    _require_free(out, force=force)
    given = _given(model, data, flags, settings)
    with Store(store_at(store), cache_size) as opened, scratch("init") as folder:
        inferred = infer_settings(given, Run(folder, opened))
    words = [
        "pipeline",
        "build",
        "--target",
        target,
        *(["--config", str(out)] if out != DEFAULT_FILE else []),
    ]
    command = shlex.join(words)
    _write(inferred, out, command)
    if as_json:
        click.echo(json.dumps(_plain(inferred, out, command), ensure_ascii=False))
    else:
        _show(inferred, out, command)
    if inferred.problem:
        msg = f"{out} is written, but a build with it stops: {inferred.problem}"
        raise InputError(msg)


def _require_free(out: Path, *, force: bool) -> None:
    """Refuse to replace settings, or to write some that would hide others."""
    from pipeline.errors import ConfigError
    from pipeline.setting_help import SCHEMA_NAME, TITLE

    if not out.parent.is_dir():
        msg = f"{out.parent}: no such folder; create it, or choose another file with --out"
        raise ConfigError(msg)
    if force:
        return
    if out.exists():
        msg = f"{out} exists already; keep it with --out FILE, or replace it with --force"
        raise ConfigError(msg)
    project, schema = out.parent / PYPROJECT, out.parent / SCHEMA_NAME
    if out.name == DEFAULT_FILE.name and has_tool_table(project):
        msg = f"{project} has settings in [tool.pipeline], which {out} would replace; add --force to write it"
        raise ConfigError(msg)
    if schema.exists() and TITLE not in schema.read_text(encoding="utf-8", errors="replace")[:200]:
        msg = f"{schema} exists and is not the schema of these settings; move it, or replace it with --force"
        raise ConfigError(msg)


def _given(
    model: str | None, data: str | None, flags: dict[str, Any], settings: tuple[str, ...]
) -> dict[str, Any]:
    """Return the given settings: model and data, perhaps found here, and those of flags and --set."""
    from pipeline.errors import ConfigError
    from pipeline.initial_settings.finding import find_data, find_model
    from pipeline.initial_settings.writing import project_name
    from pipeline.setting_paths import ZOO
    from pipeline.settings import configure, nested, overlay, parse_setting

    if model is not None and model.startswith(ZOO):
        msg = f"{model} comes with its settings; build it: pipeline build --target {TARGET} --model {model}"
        raise ConfigError(msg)
    path = model if model is not None else str(find_model(Path()))
    source = data if data is not None else str(find_data(Path(), Path(path)))
    raw: dict[str, Any] = {
        "project": {"name": project_name(path), "version": "0.1.0"},
        "model": {"path": path},
        "data": {"source": source},
    }
    raw = overlay(raw, nested({key: flags[name] for name, key in FLAGS.items()}))
    raw["data"] = {key: _plain_list(each) for key, each in raw["data"].items()}
    used = {key: flag_of(name) for name, key in FLAGS.items()}
    configure(raw, "the given settings", settings, used)
    for setting in settings:
        raw = overlay(raw, parse_setting(setting))
    return raw


def _plain_list(value: Any) -> Any:
    """Return several values as a list, and a single one by itself, as a user writes them."""
    if not isinstance(value, tuple):
        return value
    return value[0] if len(value) == 1 else list(value)


def _write(inferred: Inferred, out: Path, command: str) -> None:
    """Write the settings, and beside them the schema with which editors complete them."""
    from pipeline.content import write_whole
    from pipeline.initial_settings.writing import relative_paths, settings_text
    from pipeline.setting_help import SCHEMA_NAME, schema_text

    settings = relative_paths(inferred.settings, out.parent)
    mask = os.umask(0)
    os.umask(mask)
    for path, text in (
        (out.parent / SCHEMA_NAME, schema_text()),
        (out, settings_text(inferred, settings, command)),
    ):
        write_whole(path, text)
        path.chmod(0o666 & ~mask)  # as of any file that a user writes; a temporary file is private


def _plain(inferred: Inferred, out: Path, command: str) -> dict[str, Any]:
    return {
        "file": str(out),
        "settings": inferred.settings,
        "reasons": inferred.reasons,
        "warnings": inferred.warnings,
        "problem": inferred.problem or None,
        "next": command,
    }


def _show(inferred: Inferred, out: Path, command: str) -> None:
    """Print what was inferred, and the next command."""
    from pipeline.setting_help import SCHEMA_NAME
    from pipeline.terminal import console, print_parts

    print_parts([_found(inferred), f"wrote {out} and, for editors, {out.parent / SCHEMA_NAME}"])
    for warning in inferred.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    if not inferred.problem:
        click.echo(f"next: {command}")


def _found(inferred: Inferred) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    reasons = dict(inferred.reasons)
    checked = tuple(line.removeprefix("float model: ") for line in reasons.pop("", ()))
    if labels := inferred.settings["data"].get("labels"):
        reasons["data.labels"] = (", ".join(labels), *reasons.get("data.labels", ())[:1])
    rows = [(key.rpartition(".")[2], lines) for key, lines in reasons.items()]
    for name, lines in [*rows, ("float model", checked)]:
        for number, line in enumerate(lines):
            table.add_row("" if number else {"path": "model", "source": "data"}.get(name, name), line)
    return table
