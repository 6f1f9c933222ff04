"""What is done to a running model, and that a model which does not stand it is said not to."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from pipeline.runtimes.host import HostRuntime
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.faults import (
    FAULTS,
    Case,
    edge_case_inputs,
    inject_faults,
    make_case,
    recover_from_crash,
    run_concurrently,
)
from pipeline.validation.model_under_test import Golden, InputSpec, ModelUnderTest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.fault import Fault

LITERT = host_runtime("litert")
INPUTS = Golden(None, 16, 0).inputs


@dataclass(frozen=True)
class Fragile(HostRuntime):
    """LiteRT in a worker that dies of an input whose values are all 127."""

    def command(self) -> list[str]:
        code = (
            "import os\nfrom pipeline.runtimes import worker\nload = worker.load_arrays\n"
            "def fragile(paths):\n"
            "    arrays = load(paths)\n"
            "    if (arrays[0] == 127).all(): os.abort()\n"
            "    return arrays\n"
            "worker.load_arrays = fragile\nworker.main()"
        )
        return [sys.executable, "-P", "-c", code, self.package]


@pytest.fixture
def case(tiny_tflite: bytes, tmp_path: Path) -> Case:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return make_case(LITERT, path, INPUTS, 2, (1, 2))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sound_model_stands_each_fault(fault: Callable[[Case], tuple[Fault, ...]], case: Case) -> None:
    for entry in fault(case):
        assert entry.passed, entry
        assert entry.outcome


def test_a_kill_is_seen_and_the_next_process_answers_alike(case: Case) -> None:
    [entry] = recover_from_crash(case)
    assert entry.outcome.startswith("killed; after ")
    assert entry.outcome.endswith("the same outputs again")


@pytest.mark.parametrize("fault", [run_concurrently, recover_from_crash])
def test_other_outputs_are_no_success(fault: Callable[[Case], tuple[Fault, ...]], case: Case) -> None:
    assert not any(entry.passed for entry in fault(replace(case, output_sha256="0" * 64)))


def test_a_worker_that_dies_of_one_input_is_named_and_the_others_go_on(case: Case) -> None:
    entries = edge_case_inputs(replace(case, runtime=Fragile("litert", LITERT.version)))
    failed = [entry for entry in entries if not entry.passed]
    assert [entry.action for entry in failed] == ["all largest inputs"]
    assert "SIGABRT" in failed[0].outcome
    assert len(entries) == 6


def test_a_sound_model_stands_every_fault(tiny_tflite: bytes, tmp_path: Path) -> None:
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    model = ModelUnderTest.open(tmp_path / "tiny.tflite").source
    (out := tmp_path / "out").mkdir()
    found = inject_faults(
        model, data=None, inputs=InputSpec((), 16, 0), interpreters=2, threads=(1, 2), out=out
    ).found
    assert [fault for fault in found if not fault.passed] == []
    assert len(found) >= 12
