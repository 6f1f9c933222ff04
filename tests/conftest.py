"""What tests of several packages use: the command as a user runs it, and a report written by hand."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from progress_lines import without_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# How quickly examples are made says how busy the machine is, and nothing of the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    """Collect each folder's files together: pytest 9.1.1 loses the fixtures of one that is returned to
    (https://github.com/pytest-dev/pytest/issues/14964).
    """
    config.args.sort()


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store of all commands that name none: a user's own is none of the tests' business."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_PIPELINE_STORE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def state_of_random_numbers(request: pytest.FixtureRequest) -> Any:
    """The state of the module's RNG before its first test; None if there is none."""
    generator = getattr(request.module, "RNG", None)
    return None if generator is None else generator.bit_generator.state


@pytest.fixture(autouse=True)
def same_random_numbers(request: pytest.FixtureRequest, state_of_random_numbers: Any) -> None:
    """Let each test draw the same numbers from the module's RNG, whichever tests ran before it."""
    if state_of_random_numbers is not None:
        request.module.RNG.bit_generator.state = state_of_random_numbers


EXCERPT = re.compile(r"^ +\d+ \| .*\n +\| +\^+\n\Z", re.MULTILINE)
"""A line of a settings file, and carets below what is wrong in it."""


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """The lines on stderr besides those on progress."""
        return without_progress(self.err)

    @property
    def message(self) -> str:
        """The one line that an error is, after whatever progress there was, and before a line of a file."""
        err = EXCERPT.sub("", self.err)
        said = without_progress(err)
        assert len(said) == 1, f"not one line: {self.err}"
        assert err.endswith(f"{said[0]}\n"), f"not the last line: {self.err}"
        return said[0]


@pytest.fixture(scope="session")
def openssh() -> Path:
    """The folder of ssh, ssh-keygen and sshd of our own, which is on the PATH from now on."""
    from pipeline.emulation.provisioning import provision_openssh

    folder = provision_openssh()
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    return folder


@pytest.fixture(scope="session")
def proofs() -> None:
    """Have gcc, g++, cmake, make and systemd-analyze on the PATH: this machine's, or else our own."""
    from pipeline.emulation.provisioning import provision_proofs

    folder = provision_proofs()
    if folder is not None:
        os.environ["PATH"] += f":{folder}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without a window, for ``problems_of`` and ``visit`` of tests/support/browser.py."""
    from browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run ``pipeline ARGUMENTS`` in this process, its own streams included, and say how it ended."""
    from pipeline.cli import main

    def run(*arguments: Any) -> Ended:
        monkeypatch.setattr(sys, "argv", ["pipeline", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def report() -> Any:
    """A report of a build that all gates pass; tests change what they are about."""
    from pipeline.fault import Fault
    from pipeline.flatbuffer import FloatOperator
    from pipeline.layer_records import LayerTreatment
    from pipeline.runtimes.session import Node, Tensor
    from pipeline.tasks.comparison import ClassScores, Comparison, Flips, Metric, Scores
    from pipeline.validation.compatibility import Compatibility
    from pipeline.validation.costs import EmulatedCost
    from pipeline.validation.delegation import Delegation
    from pipeline.validation.latency import LatencyComparison, summarize
    from pipeline.validation.model_under_test import ModelFile
    from pipeline.validation.report import (
        DeviceResult,
        Report,
        RuntimeAccuracy,
        Verdict,
    )
    from pipeline.validation.stability import SoakResult, StabilityReport
    from pipeline.validation.trend import Trend

    def metric(name: str, unit: str, *values: float) -> Metric:
        baseline, quantized, difference, low, high = values
        return Metric(
            name=name,
            unit=unit,
            better="higher" if unit == "points" else "lower",
            baseline=baseline,
            quantized=quantized,
            difference=difference,
            low=low,
            high=high,
        )

    def f1(*values: float) -> Metric:
        return metric("F1", "points", *values)

    accuracy = Comparison(
        output="",
        task="classification",
        samples=2000,
        metrics=(
            metric("top-1", "points", 92.15, 92.05, -0.10, -0.45, 0.25),
            metric("macro F1", "points", 92.16, 92.04, -0.12, -0.47, 0.23),
            metric("loss", "nats", 0.2413, 0.2622, 0.0209, 0.0181, 0.0237),
        ),
        classes=(
            ClassScores(
                name="left",
                support=1010,
                baseline=Scores(recall=0.931, precision=0.915, f1=0.923),
                quantized=Scores(recall=0.927, precision=0.916, f1=0.921),
                flips=Flips(right_to_wrong=6, wrong_to_right=2, mcnemar_p=0.289),
                f1_change=f1(92.3, 92.1, -0.2, -0.6, 0.2),
            ),
            ClassScores(
                name="right",
                support=990,
                baseline=Scores(recall=0.912, precision=0.928, f1=0.920),
                quantized=Scores(recall=0.914, precision=0.925, f1=0.919),
                flips=Flips(right_to_wrong=1, wrong_to_right=3, mcnemar_p=0.625),
                f1_change=f1(92.0, 91.9, -0.1, -0.5, 0.3),
            ),
        ),
        flips=Flips(right_to_wrong=7, wrong_to_right=5, mcnemar_p=0.774),
        agreement=0.991,
        confidence_drift=0.0113,
        baseline_calibration_error=0.0204,
        quantized_calibration_error=0.0307,
    )
    nodes = (
        Node(0, "CONV_2D", ("int8",), ("int8",), "xnnpack-int8"),
        Node(1, "SOFTMAX", ("int8",), ("int8",), "builtin"),
    )
    work = {"builtin": 40, "xnnpack-int8": 960}

    def cost(device: str, instructions: int, load_bytes: int, store_bytes: int) -> EmulatedCost:
        return EmulatedCost(
            device=device,
            core=f"{device} core",
            runtime=f"{device} core",
            xnnpack_share=0.96,
            instructions=instructions,
            load_bytes=load_bytes,
            store_bytes=store_bytes,
            inferences=5,
        )

    devices = tuple(
        DeviceResult(
            device=name,
            title=f"{name} core",
            kind="emulated",
            golden_samples=64,
            differing_samples=0,
            largest_difference=0.0,
            quantized=cost(name, instructions, 2_000_111, 300_222),
            baseline=cost(name, 4_600_777, 9_000_111, 800_222),
        )
        for name, instructions in (("rpi4", 4_100_321), ("rpi5", 1_500_654))
    )
    soaks = tuple(
        SoakResult(
            runtime="host",
            threads=threads,
            inferences=1000,
            seconds=0.8,
            changed_outputs=0,
            output_sha256="5e" * 32,
            growth=Trend(value=8.192, low=-2.0, high=20.0),
            latency=Trend(value=0.004, low=-0.01, high=0.02) if threads == 1 else None,
            control=Trend(value=0.001, low=-0.02, high=0.02) if threads == 1 else None,
            leaked_files=0,
        )
        for threads in (1, 2)
    )
    stability = StabilityReport(
        soaks=soaks,
        faults=(
            Fault(environment="host", action="random inputs", outcome="the same outputs twice", passed=True),
        ),
    )
    return Report(
        name="tiny-1.0-arm64",
        target="arm64",
        runtime="litert",
        tools={"numpy": "1.26.4"},
        quantized=ModelFile(
            sha256="1a" * 32,
            size_bytes=95_712,
            compressed_bytes=32_993,
            sparsity=0.803,
            float_operators=(),
            integer_io=True,
        ),
        baseline=ModelFile(
            sha256="2b" * 32,
            size_bytes=318_004,
            compressed_bytes=290_217,
            sparsity=0.001,
            float_operators=(
                FloatOperator(subgraph=0, index=0, name="CONV_2D", dtype="float32", tensor="conv"),
            ),
            integer_io=False,
        ),
        inputs=(Tensor("image", (1, 8, 8, 1), "int8", 1 / 255, -128),),
        outputs=(Tensor("classes", (1, 2), "int8", 1 / 256, -128),),
        delegation=tuple(
            Delegation(runtime=where, nodes=nodes, partitions=1, multiply_accumulates=work)
            for where in ("host", "rpi4 core", "rpi5 core")
        ),
        accuracy=(accuracy,),
        runtimes=(
            RuntimeAccuracy(
                runtime="host",
                metric="top-1",
                value=92.05,
                samples=2000,
                golden_samples=64,
                differing_samples=0,
                largest_difference=0.0,
            ),
        ),
        devices=devices,
        stability=stability,
        shift=None,
        compatibility=Compatibility(
            operators=(),
            oldest={"litert": "1.0.1", "tflite-runtime": "2.14.0"},
            asked={"litert": ("1.0.1", "2.3.0"), "tflite-runtime": ("2.14.0", "2.14.0")},
        ),
        parity=(),
        against=None,
        operators=None,
        times=(),
        latency=LatencyComparison(
            pairs=9,
            speedup=2.14,
            low=2.01,
            high=2.33,
            control=1.0,
            control_low=0.99,
            control_high=1.02,
            verdict="faster",
            baseline=summarize([210.0, 214.0, 218.0]),
            quantized=summarize([99.0, 100.0, 101.0]),
        ),
        classes=("left", "right"),
        preprocessing="raw x 0.00392157 +0 (declared)",
        layers=(LayerTreatment(name="conv", kind="Conv2D", treatment="pruned, quantization-aware"),),
        verdicts=(Verdict(gate="size", outcome="passed", got="0.30 of float", allowed="0.50 of float"),),
    )
