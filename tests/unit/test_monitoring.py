"""The period that is judged: what changed today is not diluted by the days before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from counting import counted, draw

from deploy.device.totals import merge
from deploy.manifest import digest_of
from pipeline.cli import cli
from pipeline.errors import ConfigError, DeviceError, GateFailed
from pipeline.monitoring import monitor as watch


@pytest.fixture
def device(release, tmp_path, monkeypatch):
    """Lay out what a device counted, a day each: (samples, brightness), the last one today."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    state = tmp_path / "home/.local/share/edge-models/ripeness/state"
    (state / "days").mkdir(parents=True)

    def write(*days, today="2026-11-28"):
        dates = np.arange(np.datetime64(today) - len(days) + 1, np.datetime64(today) + 1).astype(str)
        total = None
        for seed, (date, (count, brightness)) in enumerate(zip(dates, days, strict=True)):
            one = counted(*draw(count, 100 + seed, brightness), digest_of(release), 900.0)
            one |= {"since": f"{date}T00:00:10Z", "until": f"{date}T23:59:50Z"}
            (state / "days" / f"{date}-{digest_of(release)[:8]}.json").write_text(
                json.dumps({"day": date} | one)
            )
            total = one if total is None else merge(total, one)
        (state / "statistics.json").write_text(json.dumps(total))

    return write


def of_device(release, *words):
    result = CliRunner().invoke(
        cli, ["monitor", str(release), "--from", "local://", "--json", *map(str, words)]
    )
    return json.loads(result.stdout), result.exception


QUIET = [(500, 0.0)] * 30


def test_drift_after_30_quiet_days_is_found_on_the_day_it_starts_with_500_samples(release, device):
    device(*QUIET, (500, 40.0))

    found, error = of_device(release)

    assert isinstance(error, GateFailed)
    assert (found["period"], found["samples"]) == ("2026-11-28", 500)
    whole, error = of_device(release, "--days", 0)
    assert (whole["verdict"], error) == ("same", None)
    assert (whole["period"], whole["samples"]) == ("since the installation", 31 * 500)


def test_quiet_days_do_not_drift(release, device):
    device(*QUIET)

    assert of_device(release)[0]["verdict"] == "same"


def test_days_of_few_samples_are_judged_together(release, device):
    device(*[(100, 0.0)] * 20, *[(100, 40.0)] * 6)

    found, error = of_device(release)

    assert isinstance(error, GateFailed)
    assert 400 <= found["samples"] <= 600
    assert found["period"].endswith(" to 2026-11-28")


def test_the_last_days_are_those_of_the_calendar(release, device):
    today = np.datetime64("today")
    device(*QUIET, (700, 40.0), today=str(today))

    found, _ = of_device(release, "--days", 2)

    assert (found["samples"], found["period"]) == (1200, f"{today - 1} to {today}")


def test_a_device_that_counted_nothing_in_the_last_days_is_said_to_be_silent(release, device):
    device(*QUIET, today="2020-01-31")

    with pytest.raises(
        DeviceError, match="nothing was counted in the last 3 days; the latest day is 2020-01-31"
    ):
        watch(release, ["local://"], days=3)


def test_since_takes_earlier_counts_off_device_by_device(release, seen, tmp_path):
    first, second = seen("a.json", seed=1), seen("b.json", seed=2, count=900)
    saved = tmp_path / "saved.json"
    watch(release, [first, second], save=saved)
    grown = merge(
        *(json.loads(Path(name).read_text()) for name in (first, seen("more.json", seed=3, brightness=40)))
    )
    Path(first).write_text(json.dumps(grown))

    found = watch(release, [first, second, seen("new.json", seed=4)], since=saved)

    assert [device.seen.observed for device in found.devices] == [600, 0, 600]
    assert [device.drift.verdict for device in found.devices] == ["drifted", "not enough samples", "same"]
    assert found.notes == (f"{tmp_path / 'new.json'}: is not in {saved}; all that it counted is judged",)


def test_a_device_that_began_anew_is_judged_on_all_that_it_counted(release, seen, tmp_path):
    saved = tmp_path / "saved.json"
    watch(release, [seen(count=900)], save=saved)

    found = watch(release, [seen(count=600)], since=saved)

    assert found.seen.observed == 600
    assert "statistics were restarted since" in found.notes[0]


def test_a_period_has_one_beginning(release, seen, tmp_path):
    result = CliRunner().invoke(
        cli, ["monitor", str(release), "--from", seen(), "--days", "1", "--since", str(tmp_path / "x")]
    )
    assert isinstance(result.exception, ConfigError)
