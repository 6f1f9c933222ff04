"""A model and data that build in seconds, and the command as a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tiny_project import write_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = Path(sys.executable).with_name("pipeline")


@dataclass(frozen=True)
class Built:
    """A finished build: where its files are, and what it printed."""

    out: Path
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        return json.loads(self.stdout)

    @property
    def record(self) -> Path:
        """A folder with run.json and events.jsonl of this build; a later one in ``out`` writes its own."""
        return self.out.with_name(f"{self.out.name}-record")

    @property
    def release(self) -> Path:
        return Path(self.result["release"])


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``pipeline ARGUMENTS`` in a process group of its own; none outlives the tests."""
    started = []

    def run(*arguments: Any, cwd: Path, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *python, COMMAND, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def build(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Built]:
    """Run ``pipeline build --json`` to its successful end, with a store of its own in ``out``."""

    def run(out: Path, *arguments: Any, cwd: Path, python: tuple[str, ...] = ()) -> Built:
        command = ("build", "--target", "arm64", "--out", out, "--store", out / "store", "--json", *arguments)
        process = start(*command, cwd=cwd, python=python)
        stdout, stderr = process.communicate(timeout=1500)
        assert process.returncode == 0, stderr
        built = Built(out, stdout, stderr)
        if not built.record.exists():
            built.record.mkdir()
            for name in ("run.json", "events.jsonl"):
                shutil.copy(out / name, built.record)
        return built

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small trained convolutional network, its data and a pipeline.toml."""
    folder = tmp_path_factory.mktemp("tiny")
    write_project(folder)
    return folder


@pytest.fixture(scope="session")
def built(tiny: Path, build: Callable[..., Built], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The tiny model, built once without a disturbance."""
    return build(tmp_path_factory.mktemp("built"), cwd=tiny)
