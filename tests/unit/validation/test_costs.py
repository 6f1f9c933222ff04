"""Costs of four kinds: what is told apart in a measurement, and that the kinds share nothing."""

from __future__ import annotations

from itertools import combinations

import pytest
from pydantic import TypeAdapter

from pipeline.errors import ConfigError
from pipeline.runtimes.runtime import host_runtime
from pipeline.validation.costs import BoardLatency, DeviceLatency, EmulatedCost, HostLatency, measure_host
from pipeline.validation.model_under_test import Golden, ModelUnderTest

KINDS = (HostLatency, EmulatedCost, BoardLatency, DeviceLatency)


@pytest.fixture
def tiny(tiny_tflite, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return ModelUnderTest.open(path)


def test_no_kind_is_another_or_has_a_base_in_common():
    for one, other in combinations(KINDS, 2):
        assert not issubclass(one, other)
        assert not issubclass(other, one)
    assert all(kind.__mro__ == (kind, object) for kind in KINDS)


def test_no_kind_is_read_back_as_another(tiny):
    host = measure_host(
        host_runtime("litert"), tiny, Golden(None, 2, 0), threads=1, runs=10, warmup_runs=0, processes=1
    )
    text = TypeAdapter(HostLatency).dump_json(host)

    assert TypeAdapter(HostLatency).validate_json(text) == host
    for kind in KINDS[1:]:
        with pytest.raises(ValueError, match="kind"):
            TypeAdapter(kind).validate_json(text)


def test_cold_start_initialisation_first_and_steady_state_are_apart(tiny):
    steps = []
    found = measure_host(
        host_runtime("litert"),
        tiny,
        Golden(None, 2, 0),
        threads=2,
        runs=65,
        warmup_runs=4,
        processes=2,
        advance=lambda: steps.append(1),
    )

    assert found.kind == "host"
    assert (found.threads, found.processes, len(steps)) == (2, 2, 2)
    assert found.cold_start_us > found.init_us + found.first_us > 0
    assert (found.warmup.count, found.steady.count) == (8, 65)
    assert found.steady.p90 is not None
    assert found.steady.p99 is None
    assert 0 <= found.xnnpack_share <= 1
    assert "litert" in found.runtime
    assert found.machine.cores >= 1


def test_fewer_runs_than_processes_are_refused(tiny):
    with pytest.raises(ConfigError, match="ask for at least 5"):
        measure_host(host_runtime("litert"), tiny, Golden(None, 2, 0), threads=1, runs=4)
