"""What every kind of runtime has in common, and which one a device gets."""

from __future__ import annotations

import platform
import signal
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

import numpy as np
import pytest

from pipeline.content import canonical_json
from pipeline.emulation.emulator import provision
from pipeline.errors import ConfigError, StageError
from pipeline.runtimes.capabilities import PACKAGES
from pipeline.runtimes.host import HostRuntime, NativeRuntime
from pipeline.runtimes.runtime import (
    RUNTIMES,
    emulated_runtime,
    host_runtime,
    open_runtime,
    reference_runtime,
    runtime_of,
)
from pipeline.runtimes.session import Session
from pipeline.runtimes.worker import MODULES
from pipeline.targets import get_device, get_target, load_devices

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.runtimes.runtime import Runtime

SAMPLES = np.arange(400, dtype=np.int64).reshape(100, 4).astype(np.int8)
SUMS = np.clip(np.array([1, 2, 3, 4]) + SAMPLES, -128, 127).astype(np.int8)


def runtime_in(kind: str, request: pytest.FixtureRequest) -> Runtime:
    """One runtime of each kind."""
    if kind == "native":  # open_runtime() gives it only where this machine is like a device
        return NativeRuntime.of("litert")
    if kind == "emulated":
        provision(get_device("rpi5").arch)
        return emulated_runtime(get_device("rpi5"))
    return open_runtime(request.getfixturevalue("ssh_device").address if kind == "device" else kind)


def assert_conforms(runtime: Runtime, model: Path) -> None:
    """Hold a runtime to the protocol and to its own capabilities, with a model of one ADD."""
    able = runtime.capabilities
    assert isinstance(runtime, RUNTIMES[runtime.kind])
    assert runtime.title.startswith(f"{runtime.package} {runtime.version}, ")
    assert len({runtime, runtime}) == 1
    runtime.require()
    assert runtime.machine().cores > 0
    with Session(runtime, model) as session:
        [node] = session.describe().nodes
        assert node.placement in {"builtin", *able.delegates}
        for batches in (False, True):
            np.testing.assert_array_equal(session.run([SAMPLES], batches=batches)[0], SUMS)
        if able.times is None:
            with pytest.raises(StageError, match="cannot be timed"):
                session.time([SAMPLES], runs=3)
        else:
            assert min(session.time([SAMPLES], runs=3).latencies_us) > 0
        if able.counts:
            assert session.count_instructions([SAMPLES], runs=2).instructions > 0
        else:
            with pytest.raises(StageError, match="cannot count"):
                session.count_instructions([SAMPLES])
        session.signal(signal.SIGKILL)
        with pytest.raises(StageError, match="was killed by"):
            session.run([SAMPLES])
        folder = session._host.folder
        assert folder.exists()
    assert not folder.exists()


@pytest.mark.parametrize("kind", RUNTIMES)
def test_every_kind_does_what_it_says_that_it_can(
    kind: str, request: pytest.FixtureRequest, addition: Path
) -> None:
    assert_conforms(runtime_in(kind, request), addition)


@dataclass(frozen=True)
class NicedRuntime(HostRuntime):
    """The host's package at a low priority."""

    kind: str = field(default="niced", init=False)

    @classmethod
    def open(cls, name: str) -> Self | None:
        return cls.of("tflite-runtime") if name == "niced" else None

    def command(self) -> list[str]:
        return ["nice", *super().command()]


def test_a_new_kind_is_one_class_and_one_row(addition: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNTIMES, "niced", NicedRuntime)
    assert_conforms(open_runtime("niced"), addition)


def test_each_runtime_has_a_cache_key_of_its_own() -> None:
    runtimes = [
        *(host_runtime(package) for package in PACKAGES),
        *(NativeRuntime.of(package) for package in PACKAGES),
        *(emulated_runtime(device) for device in load_devices().values() if not device.is_host),
        reference_runtime(),
    ]
    assert len({canonical_json(runtime) for runtime in runtimes}) == len(runtimes)


def test_the_worker_knows_every_package() -> None:
    assert MODULES.keys() == PACKAGES.keys()


def test_a_name_of_no_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown device 'rpi44'; did you mean 'rpi4'"):
        open_runtime("rpi44")


def test_another_architecture_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    runtimes = [runtime_of(device) for device in get_target("arm64").devices]
    assert runtimes == [emulated_runtime(get_device("rpi4")), emulated_runtime(get_device("rpi5"))]
    assert runtimes[0].title == f"litert {version('ai-edge-litert')}, emulated cortex-a72"


def test_an_arm64_host_runs_natively_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    native = runtime_of(get_target("arm64").devices[-1])
    assert native == NativeRuntime.of("litert") != host_runtime("litert")
    assert "native" in native.title


def test_a_32_bit_device_carries_the_old_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = runtime_of(get_device("armv7"))
    assert (found.kind, found.package, found.capabilities.delegates) == ("emulated", "tflite-runtime", ())
    assert found.title == f"tflite-runtime {version('tflite-runtime')}, emulated cortex-a7"


def test_a_32_bit_device_is_emulated_on_an_arm64_host_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert runtime_of(get_device("armv7")).kind == "emulated"


def test_the_host_is_a_device_that_is_not_emulated() -> None:
    assert runtime_of(get_device("host")) == host_runtime("litert")


def test_devices_run_the_version_that_the_host_runs() -> None:
    assert emulated_runtime(get_device("rpi4")).version == version("ai-edge-litert")
