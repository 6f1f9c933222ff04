"""Soaks of real workers: a sound one, and ones that leak, age, change their mind or leave files open."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from pydantic import TypeAdapter

from pipeline.runtimes.host import HostRuntime
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.model_under_test import Golden, InputSpec, ModelUnderTest
from pipeline.validation.stability import Soaks, soak, soak_model

if TYPE_CHECKING:
    from pathlib import Path

LITERT = host_runtime("litert")
INPUTS = Golden(None, 16, 0).inputs
COUNT = 1000


@dataclass(frozen=True)
class Sabotaged(HostRuntime):
    """LiteRT in a worker with some lines of Python before its first request."""

    code: str = ""

    def command(self) -> list[str]:
        start = "from pipeline.runtimes import worker\nfrom pipeline.runtimes.worker import Worker\n"
        return [sys.executable, "-P", "-c", f"{start}{self.code}\nworker.main()", self.package]


def sabotaged(code: str) -> Sabotaged:
    return Sabotaged("litert", LITERT.version, code=code)


LEAK = """
kept, infer = [], Worker.infer
def leaky(self, *arguments):
    for taken in infer(self, *arguments):
        kept.append(bytearray(b"x" * 1024))
        yield taken
Worker.infer = leaky
"""
AGE = """
infer = Worker.infer
def ageing(self, *arguments):
    for taken in infer(self, *arguments):
        self.age = getattr(self, "age", 0) + 1
        yield int(taken * 2 ** (self.age / 200))
load = Worker.load
def reborn(self, **arguments):
    self.age = 0
    return load(self, **arguments)
Worker.infer, Worker.load = ageing, reborn
"""
CHANGE = """
outputs = Worker.outputs
def changing(self):
    self.count = getattr(self, "count", 0) + 1
    return [array + (self.count == 500) for array in outputs(self)]
Worker.outputs = changing
"""
FILES = """
kept, infer = [], Worker.infer
def hoarding(self, *arguments):
    for index, taken in enumerate(infer(self, *arguments)):
        if index == 0:
            kept.append(open("/dev/null"))
        yield taken
Worker.infer = hoarding
"""


@pytest.fixture
def tiny(tiny_tflite: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return path


def test_a_sound_model_keeps_outputs_memory_and_files(tiny: Path) -> None:
    found = soak(LITERT, tiny, INPUTS, COUNT)
    assert (found.inferences, found.changed_outputs, found.leaked_files) == (1000, 0, 0)
    assert found.growth is not None
    assert found.latency is not None
    assert found.leak_bytes_per_inference < 64
    assert [point.inferences for point in found.curve] == list(range(20, 1001, 20))
    assert all(point.memory_bytes > 0 and point.cpu_us > 0 for point in found.curve)
    assert all(point.fresh_cpu_us is not None for point in found.curve)


def test_a_memory_leak_in_a_custom_runner_is_found(tiny: Path) -> None:
    found = soak(sabotaged(LEAK), tiny, INPUTS, COUNT)
    assert 900 < found.leak_bytes_per_inference < 1200


def test_an_ageing_runner_is_found_against_a_fresh_one(tiny: Path) -> None:
    found = soak(sabotaged(AGE), tiny, INPUTS, COUNT)
    assert found.latency is not None
    assert found.latency.low > 0.5


def test_an_output_that_changes_is_counted(tiny: Path) -> None:
    assert soak(sabotaged(CHANGE), tiny, INPUTS, COUNT).changed_outputs == 1


def test_files_that_are_left_open_are_counted(tiny: Path) -> None:
    assert soak(sabotaged(FILES), tiny, INPUTS, COUNT).leaked_files > 10


def test_minutes_prolong_a_soak(tiny: Path) -> None:
    found = soak(LITERT, tiny, INPUTS, COUNT, 0.03, threads=2)
    assert found.inferences > 1000
    assert found.seconds > 1.8
    assert found.changed_outputs == 0
    assert found.latency is None


def test_each_thread_count_is_soaked_and_the_record_survives_json(tiny: Path, tmp_path: Path) -> None:
    found = soak_model(
        ModelUnderTest.open(tiny).source, data=None, inputs=InputSpec((), 16, 0), inferences=COUNT,
        minutes=0.0, threads=(1, 2), out=tmp_path,
    )  # fmt: skip
    assert [run.threads for run in found.found] == [1, 2]
    assert {run.output_sha256 for run in found.found} == {found.found[0].output_sha256}
    adapter = TypeAdapter(Soaks)
    assert adapter.validate_json(adapter.dump_json(found)) == found
