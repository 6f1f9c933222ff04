"""What the environment is checked for."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import ToolchainError
from pipeline.runtimes import environment
from pipeline.targets import get_device

if TYPE_CHECKING:
    from pathlib import Path


def pretend(monkeypatch: pytest.MonkeyPatch, distribution: str, installed: str | None) -> None:
    """Make one distribution look as if ``installed`` were its version."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name != distribution:
            return real(name)
        if installed is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_numpy_2_is_refused_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "numpy", "2.1.0")
    with pytest.raises(
        ToolchainError, match=r"numpy 2\.1\.0: .*run: python -m pip install 'numpy<2,>=1\.26'"
    ):
        environment.check_environment()


def test_a_missing_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "tflite-runtime", None)
    with pytest.raises(
        ToolchainError, match=r"tflite-runtime not installed: .*pip install 'tflite-runtime==2\.14\.0'"
    ):
        environment.check_environment()


def test_a_missing_emulator_is_refused_where_devices_are_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    environment.check_environment([])
    environment.check_environment([get_device("host")])
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(ToolchainError, match="run: pipeline device provision"):
        environment.check_environment()
    assert environment.check_emulator().remedy == "pipeline device provision"
    with pytest.raises(ToolchainError, match="run: pipeline device provision"):
        environment.check_environment([get_device("armv7")])


def test_the_emulator_of_32_bit_devices_is_no_problem_until_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    check = environment.check_emulator("armv7l")
    assert check.problem is None
    assert check.found == "not fetched; to have it: pipeline device provision armv7"


def test_an_arm64_host_needs_no_emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    environment.check_environment()
    assert environment.check_emulator().problem is None


def test_a_sibling_from_elsewhere_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "models", raising=False)
    check = environment.check_siblings()
    assert check.problem == "models is not the one beside pipeline"
    assert str(tmp_path) in check.found


def test_a_full_disk_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "FREE_BYTES", 10**18)
    assert environment.check_disk().problem is not None
