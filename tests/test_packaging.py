"""What the wheel holds, and what the command refuses to run beside."""

from __future__ import annotations

import os
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
def wheel(tmp_path_factory) -> zipfile.ZipFile:
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
    return zipfile.ZipFile(path)


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
