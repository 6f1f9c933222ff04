"""Results of devices, as commands print them, become a fleet and drift over time."""

from __future__ import annotations

import json

from library import add_devices

from pipeline.dashboard.devices import Devices
from pipeline.dashboard.folder import Library


def field_of(folder):
    library = Library(folder)
    return Devices(library).field(each for each in library.places().values() if each.kind == "devices")


def test_a_fleet_joins_health_with_the_newest_drift_of_each_device(tmp_path):
    add_devices(tmp_path / "field")
    fleet = {each.address: each for each in field_of(tmp_path).fleets["tiny"]}
    assert fleet["ssh://pi@garden"].healthy == ("yes", "passed")
    assert fleet["ssh://pi@garden"].verdict == "drifted"
    assert fleet["ssh://pi@garden"].samples == 1500
    assert fleet["ssh://pi@cellar"].why == "golden sample 3 differs"
    assert fleet["ssh://pi@attic"].healthy == ("no answer", "failed")


def test_drift_is_in_the_order_of_its_dates_with_its_strength(tmp_path):
    add_devices(tmp_path / "field")
    results = field_of(tmp_path).drifts["tiny-1.0-arm64"]
    assert [round(each.strength, 2) for each in results] == [0.2, 0.3, 0.5, 0.6, 1.4]
    assert results[-1].drifted == ("image means",)


def test_other_json_and_damaged_results_say_nothing(tmp_path):
    add_devices(tmp_path)
    whole = json.loads((tmp_path / "drift-10.json").read_text())
    for number, value in enumerate([[], 1, {}, whole | {"items": 3}, whole | {"devices": [{}]}, None]):
        (tmp_path / f"other-{number}.json").write_text(json.dumps(value))
    (tmp_path / "half.json").write_text(json.dumps(whole)[:200])
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert len(field_of(tmp_path).drifts["tiny-1.0-arm64"]) == 5
