"""A key covers the code that a stage depends on, and nothing else."""

from __future__ import annotations

import ast
import shutil
import sys

import pytest

from pipeline.dependencies import ROOT, Dependencies
from pipeline.runtimes.machine import Machine

SOURCES = {
    "pipeline/__init__.py": "",
    "pipeline/stages/__init__.py": "",
    "pipeline/stages/train.py": """
from typing import TYPE_CHECKING
from pipeline.helper import help_out
if TYPE_CHECKING:
    from pipeline.typed import Kind

def train():
    from models.layers import known
    import needed_package
    return "page.html.j2", "runner.py"
""",
    "pipeline/helper.py": "import pipeline.deeper\ndef help_out(): ...",
    "pipeline/deeper.py": "",
    "pipeline/typed.py": "",
    "pipeline/unrelated.py": "import other_package",
    "pipeline/stages/page.html.j2": "named",
    "pipeline/stages/extra.sh": "in a folder of a module",
    "pipeline/report/__init__.py": "",
    "pipeline/report/other.sh": "elsewhere",
    "models/__init__.py": "",
    "models/layers.py": "known = 1",
    "deploy/__init__.py": "",
    "deploy/device/__init__.py": "",
    "deploy/device/runner.py": "print()",
}


@pytest.fixture
def project(tmp_path):
    """A project whose one stage imports, names and leaves alone a module of each kind."""
    for path, text in SOURCES.items():
        (tmp_path / "project" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / path).write_text(text)
    return tmp_path / "project"


def needs(project, module="pipeline.stages.train"):
    return Dependencies(project.parent / "sources.json", project).of(module)


@pytest.mark.parametrize(
    "path",
    [
        "pipeline/stages/train.py",
        "pipeline/helper.py",
        "pipeline/deeper.py",
        "pipeline/stages/__init__.py",
        "models/layers.py",
        "pipeline/stages/page.html.j2",
        "pipeline/stages/extra.sh",
        "deploy/device/runner.py",
    ],
)
def test_an_edit_of_what_a_stage_imports_or_names_changes_the_key(path, project):
    before = needs(project)
    (project / path).write_text(SOURCES[path] + "\n# another line")

    assert needs(project).digest != before.digest
    assert path in before.sources


@pytest.mark.parametrize("path", ["pipeline/unrelated.py", "pipeline/typed.py", "pipeline/report/other.sh"])
def test_an_edit_of_anything_else_does_not(path, project):
    before = needs(project)
    (project / path).write_text(SOURCES[path] + "\n# another line")

    assert needs(project).digest == before.digest


def test_an_edit_that_keeps_size_and_text_elsewhere_is_seen_by_the_next_build(project):
    before = needs(project)
    (project / "models/layers.py").write_text("known = 2")

    assert needs(project).digest != before.digest


def install(site, name, version, requires=(), module=None):
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    lines = [f"Requires-Dist: {each}\n" for each in requires]
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{''.join(lines)}"
    )
    (folder / "top_level.txt").write_text(module or name)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Installed packages: one that the stage imports, what that requires, and an unrelated one."""
    site = tmp_path / "site"
    install(site, "needed", "1.0", ["Deep_Down>=1", "never; python_version < '3'"], module="needed_package")
    install(site, "deep.down", "2.0")
    install(site, "other", "3.0", module="other_package")
    monkeypatch.setattr(sys, "path", [str(site)])
    return site


def test_packages_are_those_that_the_code_can_reach_with_their_versions(project, site):
    found = needs(project).packages

    assert found.pop("python").startswith("3.")
    assert found == {"needed": "1.0", "deep-down": "2.0"}


@pytest.mark.parametrize(("name", "changes"), [("needed", True), ("deep.down", True), ("other", False)])
def test_another_version_of_a_package_that_the_code_reaches_changes_the_key(name, changes, project, site):
    before = needs(project).digest
    [old] = site.glob(f"{name}-*.dist-info")
    new = old.rename(site / f"{name}-9.9.dist-info")
    text = (new / "METADATA").read_text()
    (new / "METADATA").write_text(
        text.replace("Version: 1.0", "Version: 9.9").replace("Version: 2.0", "Version: 9.9")
    )

    assert (needs(project).digest != before) == changes


def machine_of(project, text, monkeypatch, cpu="one", cores=2):
    (project / "pipeline/stages/train.py").write_text(text)
    monkeypatch.setattr("pipeline.dependencies.read_machine", lambda: Machine(cpu=cpu, cores=cores))
    return needs(project).machine


def test_the_processor_counts_for_what_computes_and_the_cores_for_what_measures_times(project, monkeypatch):
    assert machine_of(project, "import json", monkeypatch) == {}
    assert machine_of(project, "def f():\n    import tensorflow", monkeypatch).keys() == {"cpu", "features"}
    assert machine_of(project, "MODULE = 'tflite_runtime.interpreter'", monkeypatch)["cpu"] == "one"
    timing = "from pipeline.runtimes.machine import read_machine"
    assert machine_of(project, timing, monkeypatch, cores=4) == {"cores": 4}


def test_a_damaged_file_of_what_was_found_is_made_again(project):
    before = needs(project)
    for text in ("", "[]", "{"):
        (project.parent / "sources.json").write_text(text)
        assert needs(project) == before


def test_a_module_that_python_fails_to_parse_by_mistake_is_parsed_again(project, monkeypatch):
    expected = Dependencies(project / "expected.json", project).of("pipeline.stage")
    parse, failures = ast.parse, iter([True, True])

    def fails_at_first(content):
        if next(failures, False):
            raise SystemError("AST constructor recursion depth mismatch (before=48, after=68)")
        return parse(content)

    monkeypatch.setattr(ast, "parse", fails_at_first)
    assert Dependencies(project / "cache.json", project).of("pipeline.stage") == expected


def test_an_edit_of_a_helper_in_a_copy_of_this_project_changes_the_key_of_pruning_alone(tmp_path):
    for package in ("pipeline", "models", "calibration", "deploy"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.npz")
        )

    def digests():
        found = Dependencies(tmp_path / "sources.json", tmp_path)
        return [found.of(f"pipeline.{name}").digest for name in ("compress.weights", "quantize.metadata")]

    before = digests()
    with (tmp_path / "pipeline/tasks/scoring.py").open("a") as helper:
        helper.write("\n# another line\n")
    after = digests()

    assert before[0] != after[0]
    assert before[1] == after[1]
