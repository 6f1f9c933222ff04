"""Which steps a plan takes, what they share, and what a measurement of one gate leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest

from pipeline.artifacts import Transform
from pipeline.config import GateName, StabilityConfig, ValidateConfig
from pipeline.loading.load import load_data, source_of
from pipeline.run import Run
from pipeline.runtimes import session
from pipeline.settings import make_config
from pipeline.store import Store
from pipeline.targets import get_device
from pipeline.validation.assemble import assemble_report
from pipeline.validation.gates import GATES, plan
from pipeline.validation.measure import ToMeasure, measure, needs_devices
from pipeline.validation.model_under_test import InputSpec, ModelUnderTest, OutputSpec
from pipeline.validation.plan import Measurement
from pipeline.validation.report import read_report

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ValidateConfig(threads=(1,), latency_inferences=64, operators=False)


def test_every_gate_has_a_row_and_every_gate_together_ask_for_every_measurement():
    assert set(GATES) == set(get_args(GateName))
    assert plan(get_args(GateName)) == get_args(Measurement)


@pytest.mark.parametrize(
    ("asked", "measurements"),
    [
        (("accuracy",), ("accuracy",)),
        (("per-class recall", "accuracy"), ("accuracy",)),
        (("size", "full integer", "xnnpack", "finite outputs", "compatibility"), ()),
        (("faults", "shift"), ("shift", "faults")),
        (("bit-exactness",), ("devices", "parity")),
        (("parity",), ("cross-runtime", "devices", "parity")),
        (("regression",), ("devices", "regression")),
    ],
)
def test_the_plan_is_the_union_of_what_the_asked_gates_need(asked, measurements):
    assert plan(asked) == measurements


def test_the_devices_are_needed_for_bits_and_instructions_alone():
    assert [name for name in GATES if needs_devices(plan([name]))] == [
        "bit-exactness",
        "parity",
        "instructions",
        "regression",
    ]


@pytest.fixture
def to_measure(tmp_path, tiny_tflite):
    """The tiny model against itself on 100 images, for these gates."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (120, 4, 4, 1)).astype(np.uint8)
    np.savez(
        tmp_path / "data.npz",
        x_train=images[100:], y_train=np.arange(20) % 3, x_test=images[:100], y_test=np.arange(100) % 3,
    )  # fmt: skip
    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite)
    under_test = ModelUnderTest.open(tmp_path / "tiny.tflite")
    inputs, outputs = under_test.ports()
    config = make_config({"model": {"path": ""}, "data": {"source": str(tmp_path / "data.npz")}}, "x").data
    run = Run(tmp_path, Store(tmp_path / "data"))
    data = run.step(load_data, source_of(config), inputs=inputs, outputs=outputs, config=config, seed=0)

    def make(*gates, config=QUICK, devices=("rpi4", "rpi5"), **given):
        return ToMeasure(
            model=under_test.source,
            baseline=under_test.source,
            data=data,
            inputs=InputSpec((Transform(scale=(1 / 255,)),), 64, 0),
            outputs=OutputSpec(data.tasks, ("",), (False,), data.classes),
            package="litert",
            devices=tuple(map(get_device, devices)),
            config=config,
            plan=plan(gates or get_args(GateName)),
            **given,
        )

    return make


@pytest.fixture
def workers(monkeypatch):
    """The kinds of runtime of every worker that was started."""
    started = []
    enter = session.Session.__enter__

    def record(self):
        started.append(self.runtime.kind)
        return enter(self)

    monkeypatch.setattr(session.Session, "__enter__", record)
    return started


def opened(folder: Path) -> Run:
    """A run over the one store of this folder."""
    return Run(folder / "out", Store(folder / "store"))


def steps(run: Run) -> dict[str, list[bool]]:
    """The steps that were taken, and of each whether it was cached."""
    found: dict[str, list[bool]] = {}
    for step in run.steps:
        found.setdefault(step["stage"], []).append(step["cached"])
    return found


def test_the_gate_of_accuracy_starts_no_emulator_and_no_soak(to_measure, workers, tmp_path):
    run = opened(tmp_path)
    found = measure(to_measure("accuracy"), run, tmp_path)

    assert set(steps(run)) == {"run_golden_set", "infer_test_set", "evaluate"}
    assert set(workers) == {"host"}
    assert found.accuracy.found[0].samples == 100
    assert (found.soaks, found.faults, found.devices, found.times) == (None, None, (), None)


def test_the_board_is_started_only_where_that_is_asked_for(to_measure, workers, tmp_path):
    run = opened(tmp_path)
    found = measure(to_measure("board"), run, tmp_path)

    assert set(steps(run)) == {"run_golden_set"}
    assert found.board is None


def test_a_setting_of_one_measurement_repeats_no_other(to_measure, workers, tmp_path):
    gates = ("accuracy", "stability")
    measure(to_measure(*gates), opened(tmp_path), tmp_path)
    longer = QUICK.model_copy(update={"stability": StabilityConfig(inferences=1100)})
    again = opened(tmp_path)
    measure(to_measure(*gates, config=longer), again, tmp_path)

    cached = steps(again)
    assert cached.pop("soak_model") == [False]
    assert all(all(of_step) for of_step in cached.values()), cached


def test_measurements_of_one_gate_are_shared_with_those_of_others(to_measure, workers, tmp_path):
    measure(to_measure("accuracy"), opened(tmp_path), tmp_path)
    both = opened(tmp_path)
    measure(to_measure("accuracy", "latency"), both, tmp_path)

    assert steps(both)["evaluate"] == [True]
    assert steps(both)["compare_latency"] == [False]


def test_sections_that_are_not_measured_are_absent_from_the_report(to_measure, tmp_path):
    asked = to_measure("size", "xnnpack")
    run = opened(tmp_path)
    found = measure(asked, run, tmp_path)
    measured = run.step(
        assemble_report,
        asked.model,
        name="tiny",
        baseline=asked.baseline,
        against=None,
        found=found,
        described={"target": "arm64", "runtime": "litert"},
        known_layers={},
    )
    report = read_report(measured.report)

    assert (report.accuracy, report.devices, report.times, report.parity) == ((), (), (), ())
    assert (report.stability, report.shift, report.latency, report.board) == (None, None, None, None)
    assert report.delegation[0].nodes
    assert report.runtimes[0].golden_samples == 64
    assert [len(np.load(path)) for path in (measured.golden_input(0), measured.golden_output(0))] == [64, 64]
