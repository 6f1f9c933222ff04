"""Benchmarks take hours and run rarely: what they import, and how they call it, is checked statically."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import building, compiling
from pipeline.recipe import recipe_of
from pipeline.settings import make_config

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = sorted({program.parent for program in (ROOT / "benchmarks").rglob("*.py")})
OPTIONS = ("--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--check-untyped-defs")
STALE = ("[attr-defined]", "[call-arg]", "[import-not-found]", "[name-defined]")


def test_every_case_of_the_recipes_is_a_build_with_that_recipe(tmp_path):
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "compression" / "recipes.py"))
    for name in benchmark["NETWORKS"]:
        (tmp_path / f"{name}.h5").touch()  # is trained otherwise
    (tmp_path / "mnist.npz").touch()

    for name, case in benchmark["CASES"].items():
        raw = benchmark["settings"](case, ["compress.0.max_drop_points=7"], tmp_path)
        config = make_config(raw, name)
        assert recipe_of(config) == case.recipe
        assert config.compress[0].max_drop_points == 7


def test_the_stages_between_which_a_build_is_measured_exist():
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "build.py"))

    assert benchmark["MODEL"] in vars(compiling)
    assert benchmark["REPORT"] in vars(building)


@pytest.mark.xdist_group("mypy")  # one cache for all folders
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_benchmarks_use_names_and_arguments_that_exist(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MYPYPATH", f"{ROOT}:{ROOT / 'benchmarks'}")
    command = [
        sys.executable,
        "-m",
        "mypy",
        *OPTIONS,
        "--cache-dir",
        tmp_path_factory.getbasetemp() / "mypy",
        *folder.glob("*.py"),
    ]

    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)

    assert run.returncode in (0, 1), run.stdout + run.stderr
    assert [line for line in run.stdout.splitlines() if line.endswith(STALE)] == []
