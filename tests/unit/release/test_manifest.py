"""What the manifest is made of: counter, dates, machine, runtimes, ranges."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version

import pytest

from pipeline.errors import ConfigError
from pipeline.release import manifest
from pipeline.release.manifest import counter_of, created_at, machine_of
from pipeline.targets import get_device, get_target


@pytest.mark.parametrize(
    ("said", "counter"),
    [
        ("1.2.3", 1_002_003_500),
        ("0.1.0", 1_000_500),
        ("v2", 2_000_000_500),
        ("1.0", 1_000_000_500),
        ("1.2.3-rc1", 1_002_003_401),
        ("1.0.0.7", 1_000_000_507),
        ("2026.11.24", 2_026_011_024_500),
        ("2026-11-24", 2_026_011_024_500),
        ("20261124", 20_261_124_000_000_500),
        ("9223372035.999.999.499", 9_223_372_035_999_999_999),
    ],
)
def test_the_counter_is_made_of_the_version(said, counter):
    assert counter_of(said) == counter


ORDERED = (
    "0.9.999", "1.0.dev0", "1.0-dev.7", "1.0a1", "1.0-alpha2", "1.0-beta", "1.0b1", "1.0.0-rc1", "1.0.0-rc.2",
    "1.0rc99", "1.0", "1.0.0.1", "1.0.0.499", "1.0.1-dev1", "1.0.1", "1.1.0-rc1", "1.1", "2", "2026.1.5-rc1",
    "2026.1.5",
)  # fmt: skip


def test_every_version_has_a_counter_of_its_own_and_a_pre_release_one_below_its_release():
    counters = [counter_of(version) for version in ORDERED]

    assert counters == sorted(set(counters))


@pytest.mark.parametrize("version", ORDERED)
def test_no_counter_is_below_one_that_an_earlier_pipeline_gave_to_an_earlier_version(version):
    earlier = ORDERED[: ORDERED.index(version) + 1]
    thousands = max(counter_of(one) // 1000 for one in earlier)  # those were the first three numbers alone

    assert counter_of(version) >= thousands


@pytest.mark.parametrize("same", [("1.0", "1.0.0", "v1"), ("1.2-rc1", "1.2.0rc1", "1.2.0-RC.1", "1.2.0.c1")])
def test_spellings_of_one_version_have_one_counter(same):
    assert len({counter_of(version) for version in same}) == 1


@pytest.mark.parametrize(
    "said",
    [
        "beta",
        "nightly",
        "1.2-3",
        "1.2.0-3",
        "1.0.0.7rc1",
        "1.0rc1.dev2",
        "1.0-SNAPSHOT",
        "1.0.post1",
        "1.2.3.4.5",
    ],
)
def test_a_version_without_a_known_place_among_others_asks_for_a_counter(said):
    with pytest.raises(ConfigError, match=r"cannot be ordered .* write it as 1\.2\.3.*\[release\] counter"):
        counter_of(said)


@pytest.mark.parametrize(
    "said",
    ["1.1000.0", "1.0.1000", "1.0.0.500", "1.0rc100", "1.0.dev20261124", "9223372036.999.0", "9" * 60],
)
def test_a_version_whose_counter_would_not_rise_with_it_asks_for_one(said):
    with pytest.raises(ConfigError, match=r"too large: .* with \[release\] counter"):
        counter_of(said)


def test_the_date_is_that_of_the_environment_or_none(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert created_at() is None
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    assert created_at() == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize("seconds", ["today", "1.5", "9" * 40, "-1e9"])
def test_a_date_that_is_no_number_of_seconds_is_refused(seconds, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", seconds)
    with pytest.raises(ConfigError, match=r"SOURCE_DATE_EPOCH: .* is not a number of seconds"):
        created_at()


def test_the_machine_is_the_devices_own_and_any_of_several():
    assert machine_of(get_target("arm64")) == "aarch64"
    assert machine_of(get_target("armv7")) == "armv7l"
    assert machine_of(get_target("host")) == platform.machine()
    both = replace(get_target("arm64"), devices=(get_device("rpi4"), get_device("armv7")))
    assert machine_of(both) == "any"


def needs(report, target, **oldest):
    found = replace(report.compatibility, oldest={name.replace("_", "-"): at for name, at in oldest.items()})
    runtimes = manifest.runtimes_of(replace(report, compatibility=found), get_target(target))
    return [(need.package, need.least) for need in runtimes]


def test_a_runtime_without_the_operators_is_left_out_and_the_targets_own_comes_first(report):
    litert, tflite = ("ai-edge-litert", "1.0.1"), ("tflite-runtime", "2.14.0")

    assert needs(report, "arm64", litert="1.0.1", tflite_runtime="2.14.0") == [litert, tflite]
    assert needs(report, "armv7", litert="1.0.1", tflite_runtime="2.14.0") == [tflite, litert]
    assert needs(report, "arm64", litert="1.0.1", tflite_runtime="") == [litert]
    assert needs(report, "arm64", litert="", tflite_runtime="") == [
        ("ai-edge-litert", version("ai-edge-litert"))
    ]
