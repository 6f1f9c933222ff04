"""The Python API: four functions with the options of the commands, and results that can be looked at."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from search_results import search_result

import pipeline
from pipeline import api
from pipeline.cli import cli
from pipeline.dependencies import Dependencies
from pipeline.errors import ConfigError, InputError
from pipeline.results import BuildResult, PlanResult, SearchResult, ValidationResult
from pipeline.searching.front import BASELINE
from pipeline.validation.report import Verdict

RETURNED = {
    "build": "BuildResult",
    "plan": "PlanResult",
    "search": "SearchResult",
    "validate": "ValidationResult",
}
NAMES = tuple(RETURNED)
SAME = {"as_json", "full", "verbose", "debug"}
"""Options that only say how a command prints."""
IN_PYTHON = {"settings": "settings", "validated": "validate"}


def test_importing_the_package_loads_nothing_of_it_until_a_function_is_asked_for():
    program = (
        "import json, sys, pipeline\n"
        "before = {name for name in sys.modules if name.partition('.')[0] in ('pipeline', 'numpy')}\n"
        "from pipeline import build, plan, search, validate\n"
        "print(json.dumps([sorted(before), 'tensorflow' in sys.modules, build.__module__]))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [["pipeline"], False, "pipeline.api"]


def test_the_package_lists_its_functions_and_has_no_others():
    assert set(NAMES) <= set(dir(pipeline))
    assert [getattr(pipeline, name) for name in pipeline.__all__] == [getattr(api, name) for name in NAMES]
    with pytest.raises(AttributeError, match="no attribute 'deploy_all'"):
        pipeline.deploy_all  # noqa: B018


def test_stages_do_not_depend_on_the_api(tmp_path):
    sources = Dependencies(tmp_path / "sources.json").of("pipeline.loading.load").sources
    assert "pipeline/__init__.py" in sources
    assert {"pipeline/api.py", "pipeline/cli/__init__.py", "pipeline/commands.py"}.isdisjoint(sources)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_annotated_and_explained(name):
    signature = inspect.signature(getattr(pipeline, name))
    assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values())
    assert signature.return_annotation == RETURNED[name]
    text = inspect.getdoc(getattr(pipeline, name)) or ""
    assert [each for each in signature.parameters if f"\n    {each}: " not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_function_has_the_options_of_its_command(name):
    command = cli.get_command(None, name)
    options = {each.name for each in command.params if not getattr(each, "hidden", False)} - SAME
    given = set(inspect.signature(getattr(pipeline, name)).parameters) - {"progress"}
    if name == "search":
        given.discard("cache_size")
    assert {IN_PYTHON.get(each, each) for each in options} == given


def test_the_package_is_marked_as_typed():
    assert [
        name
        for name in ("pipeline", "models", "calibration", "deploy")
        if not (Path(importlib.import_module(name).__file__).parent / "py.typed").is_file()
    ] == []


@pytest.mark.parametrize(
    ("call", "arguments", "kind"),
    [
        ("build", {"target": "arm65"}, ConfigError),
        ("build", {"target": "arm64", "model": "m.keras"}, ConfigError),
        ("build", {"target": "arm64", "model": "missing.keras", "data": "d.npz"}, InputError),
        ("build", {"target": "arm64", "settings": {"gates.size": 1}}, ConfigError),
        ("build", {"target": "arm64", "cache_size": "much"}, ConfigError),
        ("build", {"target": "arm64", "model": 3, "data": "d.npz"}, ConfigError),
        ("build", {"target": "arm64", "model": "m.keras", "data": 3}, ConfigError),
        ("plan", {"target": "arm64", "goal": "fast"}, ConfigError),
        ("plan", {"target": "arm64", "model": "zoo:resnet9"}, ConfigError),
        ("search", {"target": "arm64", "sampler": "luck"}, ConfigError),
        ("validate", {"file": "missing.tflite"}, InputError),
        ("validate", {"file": "missing.tflite", "offset": 1.0}, ConfigError),
    ],
)
def test_bad_input_is_an_error_of_the_pipeline_with_one_line(call, arguments, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as raised:
        getattr(pipeline, call)(**arguments, progress=False)
    assert "\n" not in str(raised.value)


def test_an_error_has_the_words_of_the_command(pipeline_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        pipeline.plan(target="arm64", recipes="weights75", progress=False)
    ended = pipeline_command("plan", "--target", "arm64", "--recipe", "weights75")
    assert ended.message == f"pipeline: {raised.value}"


@pytest.fixture
def pipeline_command(request):
    """The command itself; the name of its fixture is that of the package here."""
    return request.getfixturevalue("pipeline")


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({"gates.size_ratio": 0.3}, ["gates.size_ratio=0.3"]),
        ({"validate.operators": False}, ["validate.operators=false"]),
        ({"data.labels": ["a", 'b"']}, ['data.labels=["a", "b\\""]']),
        ({"model.weights": Path("w.h5")}, ['model.weights="w.h5"']),
        (None, []),
    ],
)
def test_settings_become_those_of_set(settings, texts):
    assert list(api._settings(settings)) == texts


def test_warnings_are_shown_unless_progress_is_not_wanted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.toml").write_text("seed = 1\n")
    arguments = {"model": "missing.keras", "data": "d.npz", "target": "arm64"}
    for progress in (True, False):
        with pytest.raises(InputError):
            pipeline.build(**arguments, progress=progress)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("pipeline.toml is not read with --model") == 1


@pytest.fixture
def failed(report):
    verdict = Verdict(gate="size", outcome="failed", got="0.60 of <float>", allowed="0.50 of float")
    return dataclasses.replace(report, name="<script>alert(1)</script>", verdicts=(verdict,))


def results(report, folder):
    return [
        BuildResult(passed=False, release=None, digest=None, report=report, report_folder=folder),
        ValidationResult(passed=False, report=report, report_folder=folder),
    ]


def test_a_failed_gate_comes_first_and_names_of_the_user_are_escaped(failed, tmp_path):
    for result in results(failed, tmp_path):
        html = result._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert html.index("FAILED") < html.index("0.60 of &lt;float&gt;") < html.index("size, bytes")
        assert str(tmp_path / "report.html") in html


def test_a_result_is_short_as_repr_and_has_the_words_of_the_command_as_text(failed, tmp_path):
    for result in results(failed, tmp_path):
        assert len(repr(result)) < 300
        assert str(result).splitlines()[0] == "<script>alert(1)</script>: FAILED"
        assert "\x1b" not in str(result)


def test_the_result_of_a_search_names_the_front_and_what_was_chosen(tmp_path):
    found = search_result(folder=tmp_path)
    result = SearchResult(passed=found.chosen is not None, folder=tmp_path, target="arm64", found=found)
    html = result._repr_html_()
    assert result.recipe == found.outcomes[found.chosen].recipe
    assert [each.recipe for each in result.front] == [found.outcomes[each].recipe for each in found.front]
    assert result.settings == tmp_path / "pipeline.toml"
    assert result.release in {each.folder for each in found.validated}
    assert f"Chosen: {result.recipe}" in html
    assert html.count("<tr>") == len({*found.front, BASELINE}) + 1  # the headings
    assert len(html) < 20_000


def test_a_search_without_a_candidate_has_no_settings_and_no_release(tmp_path):
    found = dataclasses.replace(search_result(folder=tmp_path), chosen=None)
    result = SearchResult(passed=False, folder=tmp_path, target="arm64", found=found)
    assert (result.recipe, result.settings, result.release) == (None, None, None)
    assert "No candidate passed every gate." in str(result)


def test_a_plan_is_shown_as_a_table(tmp_path):
    from pipeline.planning.plan import Plan, Row

    def row(recipe, instructions):
        counts = {"rpi5": instructions}
        return Row(
            recipe=recipe, parameters=1000, macs=5000, size_bytes=4000, download_bytes=3000,
            instructions=counts, float_instructions={"rpi5": 9000},
        )  # fmt: skip

    found = Plan(
        target="arm64", devices=("rpi5",), runtimes={"rpi5": "litert"}, plain=row("qat8", 6000),
        rows=(row("channels50-qat8", 3000),), unknown=(), refused={},
    )  # fmt: skip
    result = PlanResult(passed=True, recommended=None, plan=found, goal=None, command="pipeline build")
    assert "channels50-qat8: download as large, file as large, 2.0x fewer instructions on rpi5" in str(result)
    assert result._repr_html_().count("<tr>") == 4
