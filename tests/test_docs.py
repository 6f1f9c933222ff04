"""The documents agree with the code: commands, settings, exit codes, devices, links."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel

import pipeline
from pipeline import errors
from pipeline.api_reference import page as api_page
from pipeline.build_config import BuildConfig
from pipeline.cli import cli
from pipeline.cli.reference import page as command_page
from pipeline.compress.steps import COMPRESS
from pipeline.config import GateName, GatesConfig
from pipeline.corruptions.suite import NAMES as CORRUPTIONS
from pipeline.events import Event
from pipeline.quantize.methods import QUANTIZE
from pipeline.sections import Section
from pipeline.setting_help import SCHEMA_NAME, schema_text
from pipeline.setting_schema import schema_text as settings_schema_text
from pipeline.settings import make_config
from pipeline.targets import load_devices, load_targets
from pipeline.validation.report import report_schema

ROOT = Path(__file__).resolve().parents[1]
METHODS = {"compress": COMPRESS, "quantize": QUANTIZE}
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def _fenced(language: str) -> list[tuple[str, str]]:
    """Every fenced block in the language, with the page it is on."""
    block = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [
        (page.relative_to(ROOT).as_posix(), text)
        for page in PAGES
        for text in block.findall(page.read_text())
    ]


def _commands(program: str) -> list[tuple[str, str]]:
    """Every line of a shell block that runs the program, with the page it is on."""
    return [
        (page, line.partition("#")[0].strip())
        for page, text in _fenced("sh")
        for line in text.replace("\\\n", " ").splitlines()
        if line.removeprefix(".venv/bin/").split()[:1] == [program]
    ]


def _resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Follow group after group; return the command and the words that are left for it."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.get_command(click.Context(command), words[0]) or pytest.fail(f"no {words[0]}")
        words = words[1:]
    return command, words


def _leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    context = click.Context(command)
    names = command.list_commands(context)
    return [leaf for name in names for leaf in _leaves(command.get_command(context, name), (*path, name))]


def _table(page: Path, heading: str, level: str = "##") -> list[list[str]]:
    """The rows of the first table below the heading, backquotes removed."""
    section = page.read_text().split(f"\n{level} {heading}\n", 1)[1].split("\n##", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


def _settings(model: type[BaseModel], section: str = "") -> dict[tuple[str, str], str]:
    """Map (section, key) to the default as TOML writes it, "" where there is none."""
    found = {}
    for name, field in model.model_fields.items():
        if name in METHODS:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _settings(field.annotation, f"{section}.{field.alias or name}".lstrip("."))
        else:
            default = None if field.is_required() else field.default
            found[section, name] = "" if default is None else json.dumps(default)
    return found


def test_every_command_in_the_documents_exists_with_its_flags():
    commands = _commands("pipeline")
    assert commands
    for page, line in commands:
        command, words = _resolve(shlex.split(line.removeprefix(".venv/bin/"))[1:])
        if command.context_settings.get("allow_interspersed_args") is False:  # the rest is another command
            words = list(itertools.takewhile(lambda word: word.startswith("-"), words))
        known = {
            flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)
        }
        unknown = {word.partition("=")[0] for word in words if word.startswith("-")} - known - {"--help"}
        assert not unknown, f"{page}: {line}"


def test_every_make_target_in_the_documents_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, line in _commands("make"):
        wanted = {word for word in line.split()[1:] if "=" not in word and not word.startswith("-")}
        assert wanted <= targets, f"{page}: {line}"


@pytest.mark.parametrize("path", _leaves(cli), ids=" ".join)
def test_every_command_explains_itself(path):
    shown = CliRunner().invoke(cli, [*path, "--help"])
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) > 4


def _groups(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return []
    context = click.Context(command)
    names = command.list_commands(context)
    return [
        path,
        *(each for name in names for each in _groups(command.get_command(context, name), (*path, name))),
    ]


@pytest.mark.parametrize(
    "path", [*_groups(cli), *_leaves(cli)], ids=lambda path: " ".join(path) or "pipeline"
)
def test_the_help_of_every_command_ends_with_examples_that_exist(path):
    shown = CliRunner().invoke(cli, [*path, "--help"])
    _, _, text = shown.output.partition("\n  Examples:\n")
    examples = text.splitlines()
    assert examples
    for example in examples:
        words = shlex.split(re.sub(r'^eval "\$\((.*)\)"', r"\1", example.partition("#")[0].strip()))
        words = list(itertools.takewhile(lambda word: word not in "|>", words))
        assert words[: len(path) + 1] == ["pipeline", *path], example
        command, words = _resolve(words[1:])
        known = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, example


def test_the_command_page_is_made_of_the_help():
    command = "run: python -m pipeline.cli.reference > docs/reference/commands.md"
    assert (REFERENCE / "commands.md").read_text() == command_page(), command


def test_the_page_of_the_python_api_is_made_of_its_docstrings():
    command = "run: python -m pipeline.api_reference > docs/reference/python-api.md"
    assert (REFERENCE / "python-api.md").read_text() == api_page(), command


@pytest.mark.parametrize("path", _leaves(cli), ids=" ".join)
def test_every_command_has_its_section(path):
    assert f"\n## pipeline {' '.join(path)}\n" in (REFERENCE / "commands.md").read_text()


@pytest.mark.parametrize(("page", "text"), _fenced("toml"))
def test_every_configuration_in_the_documents_is_valid(page, text):
    make_config(tomllib.loads(text), page)


def test_the_configuration_page_lists_every_setting_and_its_default():
    page = REFERENCE / "configuration.md"
    sections = {section for section, _ in _settings(BuildConfig)}
    documented = {
        (section, row[0]): row[1]
        for section in sections
        for row in _table(page, f"`[{section}]`" if section else "Top level")
    }
    assert documented == _settings(BuildConfig)


def _method_settings(config: Section, prefix: str = "") -> dict[str, str]:
    """Map each key of a method to its default as TOML writes it; those of a table in it with a dot."""
    found = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Section):
            found |= _method_settings(value, f"{prefix}{name}.")
        elif name != "method":
            found[prefix + name] = "" if value is None else json.dumps(value)
    return found


@pytest.mark.parametrize("table", METHODS)
def test_the_configuration_page_lists_every_method_with_its_settings(table):
    page, heading = REFERENCE / "configuration.md", {"compress": "[[compress]]"}.get(table, f"[{table}]")
    [[key, _, meaning]] = _table(page, f"`{heading}`")
    assert key == "method"
    for name, row in METHODS[table].items():
        settings = _method_settings(row.config())
        assert f'"{name}"' in meaning
        if settings:
            start = f"### `{heading}` with `method = "
            titles = [
                line.removeprefix("### ")
                for line in page.read_text().splitlines()
                if line.startswith(start) and f'"{name}"' in line
            ]
            rows = [row for title in titles for row in _table(page, title, level="###")]
            assert {row[0]: row[1] for row in rows} == settings


def test_the_gate_page_lists_every_gate_in_the_order_in_which_they_are_asked():
    assert [row[0] for row in _table(REFERENCE / "gates.md", "All gates")] == list(get_args(GateName))


def test_the_gate_page_names_every_setting_of_a_gate():
    page = (REFERENCE / "gates.md").read_text()
    assert [key for key in GatesConfig.model_fields if f"`{key}`" not in page] == []


def test_the_published_schema_of_the_report_is_current():
    command = "run: python -m pipeline.validation.report > docs/reference/report.schema.json"
    assert json.loads((REFERENCE / "report.schema.json").read_text()) == report_schema(), command


def test_the_shipped_schema_of_the_settings_is_current():
    page = "docs/reference/configuration.md"
    command = f"run: python -m pipeline.setting_schema {page} > pipeline/{SCHEMA_NAME}"
    assert schema_text() == settings_schema_text((ROOT / page).read_text()), command


def test_the_shift_page_names_every_corruption():
    page = (REFERENCE / "shift.md").read_text()
    assert [name for name in CORRUPTIONS if f"`{name}`" not in page] == []


def test_every_gate_in_the_documents_exists():
    for page, line in _commands("pipeline"):
        words = shlex.split(line)
        asked = {after for word, after in itertools.pairwise(words) if word == "--gate"}
        assert asked <= set(get_args(GateName)), f"{page}: {line}"


def test_the_event_page_lists_every_event_with_its_fields():
    rows = (REFERENCE / "events.md").read_text().split("| event | further fields |", 1)[1].split("\n\n", 1)[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", rows, re.MULTILINE))
    assert listed.keys() == {kind.kind for kind in Event.__subclasses__()}
    for kind in Event.__subclasses__():
        missing = {field.name for field in fields(kind) if f"`{field.name}`" not in listed[kind.kind]}
        assert not missing, kind.kind


def test_the_exit_code_page_lists_every_error():
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.PipelineError)
    ]
    expected = {(str(kind.exit_code), kind.__name__) for kind in kinds}
    expected |= {("0", ""), (str(errors.INTERRUPTED_EXIT_CODE), "")}
    assert {(row[0], row[1]) for row in _table(REFERENCE / "exit-codes.md", "Codes")} == expected


def test_the_device_page_lists_every_device():
    expected = [
        [
            device.name,
            device.title,
            *(
                ["its own"] * 4
                if device.is_host
                else [
                    device.arch,
                    device.cpu,
                    str(device.memory_mib),
                    "yes" if device.has_dot_product else "no",
                ]
            ),
            device.runtime,
            ", ".join(name for name, target in load_targets().items() if device in target.devices),
        ]
        for device in load_devices().values()
    ]
    assert _table(REFERENCE / "devices.md", "Devices") == expected


def test_the_device_page_lists_every_target():
    expected = [
        [target.name, target.title, ", ".join(device.name for device in target.devices), target.runtime]
        for target in load_targets().values()
    ]
    assert _table(REFERENCE / "devices.md", "Targets") == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_site_lists_every_page_but_decisions():
    listed = re.findall(r"- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]

    assert sorted(listed) == sorted(page for page in pages if not page.startswith("adr/"))


def _calls(text: str) -> list[tuple[str, list[str]]]:
    """The calls of functions of the Python API in a program, with the names of their arguments."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [
        (node.func.id, [keyword.arg for keyword in node.keywords])
        for node in nodes
        if isinstance(node.func, ast.Name) and node.func.id in pipeline.__all__
    ]


@pytest.mark.parametrize(
    ("page", "text"), [each for each in _fenced("python") if "from pipeline import" in each[1]]
)
def test_every_python_example_is_valid_and_gives_arguments_that_exist(page, text):
    for name, arguments in _calls(text):
        known = inspect.signature(getattr(pipeline, name)).parameters
        assert set(arguments) <= set(known), f"{page}: {name}"


def test_the_page_on_python_calls_every_function():
    texts = [text for page, text in _fenced("python") if "use-from-python" in page]
    assert {name for text in texts for name, _ in _calls(text)} == set(pipeline.__all__)
