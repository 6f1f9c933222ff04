"""``pipeline doctor``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from pipeline.cli.doctor import doctor
from pipeline.errors import ToolchainError

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_problem_is_listed_with_its_remedy_and_ends_in_a_toolchain_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    result = CliRunner().invoke(doctor, ["--json"])
    assert isinstance(result.exception, ToolchainError)
    assert result.exception.exit_code == 4
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["emulator"]["remedy"] == "pipeline device provision"
    assert rows["numpy"]["problem"] is None
    assert {"python", "own packages", "cpu", "disk", "tensorflow", "tflite-runtime"} <= set(rows)


def test_the_table_says_ok(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == 0
    assert "tensorflow" in result.stdout
    assert "problem" not in result.stdout
