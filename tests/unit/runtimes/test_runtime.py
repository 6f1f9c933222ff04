"""Which runtimes a target is validated on."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from pipeline.runtimes.runtime import emulated_runtime, read_host_device, runtimes_for
from pipeline.targets import get_device, get_target

if TYPE_CHECKING:
    import pytest


def test_another_architecture_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    runtimes = runtimes_for(get_target("arm64"))
    assert [(runtime.name, runtime.kind) for runtime in runtimes] == [
        ("litert", "host"),
        ("tflite-runtime", "host"),
        ("litert-rpi4", "emulated"),
        ("litert-rpi5", "emulated"),
    ]
    assert runtimes[2].title == f"litert {version('ai-edge-litert')}, emulated cortex-a72"


def test_an_arm64_host_runs_natively_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    native = runtimes_for(get_target("arm64"))[-1]
    assert (native.name, native.kind) == ("litert-native", "native")
    assert "native" in native.title


def test_the_host_device_is_read_from_its_cpuinfo() -> None:
    rpi5 = get_device("rpi5")
    assert read_host_device(rpi5.cpuinfo_text()).cpuinfo == rpi5.cpuinfo


def test_devices_run_the_version_that_the_host_runs() -> None:
    assert emulated_runtime(get_device("rpi4")).version == version("ai-edge-litert")
