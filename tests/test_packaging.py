"""What the wheel holds, and what the command refuses to run beside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "models", "calibration", "deploy")
COMMAND = Path(sys.executable).with_name("pipeline")


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory) -> Path:
    """The wheel, built without a network from a copy of the source, so that the source stays clean."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", target, source],
        check=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture
def wheel(wheel_file) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_file)


def test_an_installed_wheel_has_the_command_and_its_pages(wheel_file, tmp_path):
    offline = ["--no-index", "--no-deps", "--no-compile", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, "--target", tmp_path / "site", wheel_file],
        check=True,
    )
    run = subprocess.run(
        [tmp_path / "site" / "bin" / "pipeline", "help", "commands"],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == (ROOT / "docs" / "reference" / "commands.md").read_text()


def test_every_extra_for_users_has_its_size_on_the_installation_page():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs" / "reference" / "installation.md").read_text()
    sizes = page.split("<!-- extras -->", 1)[1].split("<!-- /extras -->", 1)[0]
    missing = {name for name in extras if f"| `[{name}]` adds |" not in sizes} - {"dev"}
    assert not missing, "run: python benchmarks/extras.py"


def test_all_stages_of_the_image_start_from_one_pinned_digest():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert {line.split()[1] for line in lines if line.startswith("FROM ")} == {"${BASE}"}
    (base,) = [line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE=")]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)


def test_every_stage_that_is_run_has_an_ordinary_user():
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    run = [stage for stage in stages if "\nCMD " in stage]
    assert len(run) == 2
    for stage in run:
        assert re.findall(r"^USER (.*)$", stage, re.MULTILINE)[-1:] == ["pipeline"]


def test_the_wheel_holds_four_packages_and_its_metadata_only(wheel):
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    assert len(top) == len(PACKAGES) + 1


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    files = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file()
    }
    shipped = {
        path.as_posix()
        for path in files
        if not any(part[0] == "." or part == "__pycache__" for part in path.parts)
    }
    assert shipped - set(wheel.namelist()) == set()


@pytest.mark.parametrize(
    "pattern",
    [
        *("pipeline/targets.toml", "pipeline/emulation/icount.c", "pipeline/help/data.md"),
        *("models/zoo/*.keras", "models/zoo/*.npz", "models/zoo/*.toml", "models/zoo/*_LICENSE"),
    ],
)
def test_the_wheel_holds_the_data_that_a_build_needs(wheel, pattern):
    assert [name for name in wheel.namelist() if Path(name).match(pattern)]


def test_the_wheel_holds_the_licences(wheel):
    licences = {Path(name).name for name in wheel.namelist() if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "FASHION_MNIST_LICENSE", "SERIES_LICENSE"}


def test_the_wheel_has_one_command(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    assert wheel.read(name).decode().split("\n")[:2] == ["[console_scripts]", "pipeline = pipeline.cli:main"]


def test_the_lock_satisfies_every_requirement_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
    ]
    entries = [line.split() for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    locked = dict(entry[0].split("==") for entry in entries)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("sibling", ["models", "calibration", "deploy"])
def test_the_command_refuses_a_package_of_the_same_name_from_elsewhere(tmp_path, sibling):
    (tmp_path / sibling).mkdir()
    (tmp_path / sibling / "__init__.py").touch()
    run = subprocess.run(
        [COMMAND, "--help"], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert run.returncode == 4
    assert run.stderr.count("\n") == 1
    assert str(tmp_path / sibling) in run.stderr
