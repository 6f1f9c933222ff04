"""``pipeline config``: show the effective settings, explain a key, print the JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build import data_options, set_option
from pipeline.cli.groups import Group, examples
from pipeline.cli.paths import UserPath, UserSource

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.effective_settings import Effective, Layer
    from pipeline.setting_help import Setting


@click.group(cls=Group, epilog=examples("pipeline config explain quantize.method", "pipeline config show"))
def config() -> None:
    """Show the effective settings, explain a key, print the JSON Schema."""


@config.command(epilog=examples("pipeline config schema > pipeline.schema.json"))
def schema() -> None:
    """Print the JSON Schema of pipeline.toml, with which editors complete and check it.

    pipeline init writes it beside the settings; after an update, write it again:
    pipeline config schema > pipeline.schema.json
    """
    from pipeline.setting_help import schema_text

    click.echo(schema_text(), nl=False)


@config.command(epilog=examples("pipeline config explain", "pipeline config explain quantize.method"))
@click.argument("key", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of text.")
def explain(key: str | None, as_json: bool) -> None:
    """Explain a setting, such as quantize.method, or list a section; without KEY list all.

    KEY is written as --set takes it: gates.size_ratio, compress.0.sparsity, or compress.weights.sparsity
    for the key of one method.
    """
    from pipeline.setting_help import all_settings, find_settings
    from pipeline.terminal import print_parts

    found = all_settings() if key is None else find_settings(key)
    if as_json:
        click.echo(json.dumps([_plain(each) for each in found], ensure_ascii=False))
        return
    same = {each.key for each in found}
    print_parts([_explained(each) for each in _alike(found)] if len(same) == 1 else [_listed(found)])


def _plain(setting: Setting) -> dict[str, Any]:
    return {
        "key": setting.key,
        "method": setting.method or None,
        "meaning": setting.meaning,
        "default": setting.schema.get("default"),
        "allowed": setting.allowed,
        "schema": setting.schema,
    }


def _alike(settings: tuple[Setting, ...]) -> list[tuple[Setting, list[str]]]:
    """Return each different setting with the methods that have it."""
    found: list[tuple[Setting, list[str]]] = []
    for each in settings:
        for other, methods in found:
            if other.schema == each.schema:
                methods.append(each.method)
                break
        else:
            found.append((each, [each.method]))
    return found


def _explained(found: tuple[Setting, list[str]]) -> Table:
    """Return all that is known of a setting."""
    from rich.table import Table

    setting, methods = found
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("key", setting.where)
    if any(methods):
        table.add_row("of method", ", ".join(methods))
    table.add_row("meaning", setting.meaning)
    table.add_row("default", setting.default or "not set")
    table.add_row("allowed", setting.allowed)
    return table


def _listed(settings: tuple[Setting, ...]) -> Table:
    """Return a line for each setting: its key, its default, its meaning as far as it fits."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column("key", no_wrap=True, overflow="ellipsis", max_width=44)
    table.add_column("default", no_wrap=True, overflow="ellipsis", max_width=18)
    table.add_column("meaning", no_wrap=True, overflow="ellipsis", ratio=1)
    for each in settings:
        name = each.key if not each.method else each.key.replace(".", f".{each.method}.", 1)
        table.add_row(name, each.default, each.meaning)
    return table


@config.command(
    epilog=examples("pipeline config show", "pipeline config show --set quantize.method=ptq --json")
)
@click.argument("section", required=False)
@click.option(
    "--config",
    "file",
    type=UserPath(),
    help="Settings file; default: pipeline.toml here, else [tool.pipeline] of pyproject.toml.",
)
@click.option("--model", type=UserSource(), help="Keras model, or zoo:NAME, as for pipeline build.")
@data_options
@click.option("--method", help="Quantization method, as for pipeline build.")
@click.option("--recipe", metavar="STEP-STEP-METHOD8", help="Recipe, as for pipeline build.")
@set_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Random seed.")
@click.option("--changed", is_flag=True, help="Leave out what has its default.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of TOML.")
def show(
    section: str | None,
    file: Path | None,
    settings: tuple[str, ...],
    changed: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show the settings that a build would have, and where each comes from.

    SECTION limits it, such as gates or validate.shift.
    """
    from pipeline.command_settings import build_settings
    from pipeline.effective_settings import effective_settings

    chosen = build_settings(file, flags, settings)
    found = effective_settings(chosen, _layers(file, flags, settings))
    if section is not None:
        found = tuple(each for each in found if f"{each.key}.".startswith(f"{section.strip('[]')}."))
        _require_some(found, section)
    if changed:
        found = tuple(each for each in found if each.origin != "default")
    if as_json:
        values = {each.key: {"value": each.value, "from": each.origin} for each in found}
        click.echo(json.dumps(values, ensure_ascii=False))
    else:
        from pipeline.effective_settings import settings_lines

        click.echo("\n".join(settings_lines(found)))


def _layers(file: Path | None, flags: dict[str, Any], settings: tuple[str, ...]) -> list[Layer]:
    """Return what was given, in the order in which ``build_settings`` lays it over the defaults."""
    from pipeline.command_settings import FLAGS, base_settings, flag_of
    from pipeline.effective_settings import Layer
    from pipeline.events import Warned, withheld
    from pipeline.recipe import with_recipe
    from pipeline.setting_paths import ZOO
    from pipeline.settings import nested, parse_setting

    model = flags["model"]
    is_zoo = model is not None and model.startswith(ZOO) and not Path(model).exists()
    with withheld(Warned):  # given once, when the settings were made
        raw, where = base_settings(file, model, flags["data"], is_zoo)
        layers = [Layer(where, raw)]
        if flags["recipe"] is not None:
            steps = with_recipe(raw, flags["recipe"])
            layers.append(
                Layer("--recipe", {key: steps[key] for key in ("compress", "quantize") if key in steps})
            )
        given = {name: key for name, key in FLAGS.items() if not (is_zoo and name == "model")}
        layers += [Layer(flag_of(name), nested({key: flags.get(name)})) for name, key in given.items()]
        return layers + [Layer("--set", parse_setting(setting)) for setting in settings]


def _require_some(found: tuple[Effective, ...], section: str) -> None:
    """Refuse a section that there is not."""
    from pipeline.errors import ConfigError
    from pipeline.sections import advice
    from pipeline.setting_help import all_settings

    if not found:
        known = {each.key.partition(".")[0] for each in all_settings()}
        msg = f"no section {section!r}; {advice(section, known, 'sections')}"
        raise ConfigError(msg)
