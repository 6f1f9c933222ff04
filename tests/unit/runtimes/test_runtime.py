"""Which runtimes a target is validated on."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

from pipeline.runtimes.runtime import emulated_runtime, host_runtime, runtime_of
from pipeline.targets import get_device, get_target

if TYPE_CHECKING:
    import pytest


def test_another_architecture_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    runtimes = [runtime_of(device) for device in get_target("arm64").devices]
    assert [(runtime.name, runtime.kind) for runtime in runtimes] == [
        ("litert-rpi4", "emulated"),
        ("litert-rpi5", "emulated"),
    ]
    assert runtimes[0].title == f"litert {version('ai-edge-litert')}, emulated cortex-a72"


def test_an_arm64_host_runs_natively_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    native = runtime_of(get_target("arm64").devices[-1])
    assert (native.name, native.kind) == ("litert-native", "native")
    assert "native" in native.title


def test_a_32_bit_device_carries_the_old_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = runtime_of(get_target("armv7").devices[-1])
    assert (found.name, found.kind) == ("tflite-runtime-armv7", "emulated")
    assert found.title == f"tflite-runtime {version('tflite-runtime')}, emulated cortex-a7"


def test_a_32_bit_device_is_emulated_on_an_arm64_host_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert runtime_of(get_device("armv7")).kind == "emulated"


def test_the_host_is_a_device_that_is_not_emulated() -> None:
    assert runtime_of(get_device("host")) == host_runtime("litert")


def test_devices_run_the_version_that_the_host_runs() -> None:
    assert emulated_runtime(get_device("rpi4")).version == version("ai-edge-litert")
