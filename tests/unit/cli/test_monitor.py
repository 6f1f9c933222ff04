"""``pipeline monitor`` on a real release and on what its devices counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.errors import TransportError
from deploy.monitor.collect import collect
from deploy.monitor.statistics import MAX_BYTES, read_saved
from deploy.transports.local import LocalTransport
from pipeline.cli import cli
from pipeline.errors import (
    DeviceError,
    GateFailed,
    InputError,
    IntegrityError,
    PipelineError,
    leaf_errors_mapped,
)


def run(*words):
    """Run the command; what it raises goes on as the command's caller sees it."""
    result = CliRunner().invoke(cli, ["monitor", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        with leaf_errors_mapped():
            raise result.exception
    return result


def test_the_same_ends_with_0_and_says_to_go_on(release, seen):
    result = run(release, "--from", seen())

    assert result.exit_code == 0
    assert "image" in result.output
    assert "no relevant change" in result.output
    assert "drifted" not in result.output


def test_the_board_has_to_be_up(release, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    with pytest.raises(DeviceError, match="pipeline device up"):
        run(release, "--from", "board")


def test_drift_ends_as_a_gate_does_and_names_what_moved_and_what_to_do(release, seen):
    with pytest.raises(GateFailed, match=r"ripeness-1.0.0-arm64: drifted: .*image means.*to do: recalibrate"):
        run(release, "--from", seen(brightness=40))


def test_the_table_fits_110_columns(release, seen, monkeypatch):
    source = Path(seen())
    monkeypatch.chdir(source.parent)  # an address is never broken, however long it is
    result = CliRunner(env={"COLUMNS": "110"}).invoke(cli, ["monitor", str(release), "--from", source.name])

    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 110
    row = next(line for line in lines if "means" in line)
    assert row.split()[:3] == ["input", "image", "means"]
    assert sum(letter in "▁▂▃▄▅▆▇█" for letter in row) > 8


def test_several_devices_are_taken_together_and_timed_apart(release, seen):
    files = [seen(f"{n}.json", count=300, seed=n, latency_us=1000.0 * n) for n in (1, 2)]
    result = run(release, "--from", files[0], "--from", files[1], "--json")
    found = json.loads(result.output)

    assert (found["samples"], found["verdict"]) == (600, "same")
    assert [device["samples"] for device in found["devices"]] == [300, 300]
    assert "2.0" in run(release, "--from", files[0], "--from", files[1]).output


def test_one_of_many_devices_that_drifted_is_named_though_all_together_did_not(release, seen):
    files = [seen(f"{n}.json", count=600, seed=n) for n in range(1, 10)]
    files.append(seen("dark.json", count=100, brightness=-60))
    result = CliRunner().invoke(
        cli, ["monitor", str(release), *(word for file in files for word in ("--from", file)), "--json"]
    )

    assert isinstance(result.exception, GateFailed)
    assert "dark.json: image" in str(result.exception)
    found = json.loads(result.stdout)
    assert {item["verdict"] for item in found["items"]} == {"same"}
    assert [device["verdict"] for device in found["devices"]].count("drifted") == 1
    assert found["devices"][-1]["advice"]


def test_json_says_all_that_the_tables_say(release, seen):
    found = json.loads(run(release, "--from", seen(count=30, seed=3), "--json").output)

    assert found["verdict"] == "not enough samples"
    assert found["needed"] > 30
    assert {item["what"] for item in found["items"]} >= {"values", "means", "confidence", "classes"}
    assert [one["action"] for one in found["advice"]] == ["wait"]
    assert found["estimated_accuracy"][0]["tested"] == 0.9


def test_slower_than_before_is_drift(release, seen):
    before, now = seen("before.json", latency_us=900.0), seen("now.json", latency_us=1400.0)

    with pytest.raises(GateFailed, match="latency p50"):
        run(release, "--from", now, "--before", before)


def test_statistics_of_another_release_are_left_out_and_named(release, seen):
    good, other = seen("good.json"), seen("other.json", digest="f" * 64, version="0.9.0")

    with pytest.raises(DeviceError, match=r"nothing is known of .*other\.json"):
        run(release, "--from", good, "--from", other)
    with pytest.raises(
        DeviceError, match=r"are of ripeness-0\.9\.0-arm64 \(f{16}\), not of ripeness-1\.0\.0"
    ):
        run(release, "--from", other)


def test_drift_on_one_device_is_told_though_another_gave_nothing(release, seen):
    files = seen("good.json", brightness=40), seen("other.json", digest=None)

    with pytest.raises(GateFailed, match="image means"):
        run(release, "--from", files[0], "--from", files[1])


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 1, "inputs": 3}'])
def test_damaged_statistics_are_refused_in_one_line(release, tmp_path, text):
    (tmp_path / "bad.json").write_text(text)

    with pytest.raises(InputError, match=r"bad\.json: damaged statistics") as caught:
        run(release, "--from", tmp_path / "bad.json", "--save", tmp_path / "saved.json")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "saved.json").exists()


def test_a_device_that_counts_in_other_bins_is_named(release, seen):
    latency = {"lowest": 2.0, "ratio": 1.5, "counts": [1, 2, 3]}

    with pytest.raises(InputError, match=r"odd\.json: of other inputs, outputs or bins"):
        run(release, "--from", seen(), "--from", seen("odd.json", changes={"latency_us": latency}))


def test_counts_that_no_sum_can_hold_are_refused(release, seen):
    files = [seen(f"{n}.json", inferences=2**53 - 1) for n in (1, 2)]

    with pytest.raises(InputError, match="all devices together"):
        run(release, "--from", files[0], "--from", files[1])


def test_a_missing_file_is_named(release):
    with pytest.raises(InputError, match=r"nowhere\.json: No such file"):
        run(release, "--from", "nowhere.json")


def test_a_folder_that_is_no_release_is_refused(tmp_path, seen):
    with pytest.raises(InputError, match="release"):
        run(tmp_path, "--from", seen())


def test_a_baseline_that_was_not_released_is_refused(release, seen, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "manifest.json").write_bytes((release / "manifest.json").read_bytes())
    (copy / "baseline.json").write_bytes((release / "baseline.json").read_bytes() + b" ")

    with pytest.raises(IntegrityError, match="not the one that was released"):
        run(copy, "--from", seen())


def test_what_was_saved_is_whole_and_can_be_asked_again(release, seen, tmp_path):
    saved = tmp_path / "saved.json"
    run(release, "--from", seen("a.json", seed=1), "--from", seen("b.json", seed=2), "--save", saved)
    found = read_saved(saved.read_bytes(), "saved")

    assert found.observed == 1200
    assert found.baseline.observed == 3000
    assert found.contract.inputs[0].scale == pytest.approx(1 / 255)
    assert run(release, "--from", saved).exit_code == 0
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_saving_where_nothing_can_be_written_is_told(release, seen, tmp_path):
    with pytest.raises(InputError, match="save into a folder"):
        run(release, "--from", seen(), "--save", tmp_path / "missing" / "saved.json")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """This machine as a device, with a home of its own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home/.local/share/edge-models"


def put(root, text):
    (state := root / "ripeness/state").mkdir(parents=True)
    (state / "statistics.json").write_text(text)


def test_a_device_is_asked(release, seen, home):
    put(home, Path(seen()).read_text())

    found = json.loads(run(release, "--from", "local://", "--json").output)
    assert [(one["address"], one["samples"]) for one in found["devices"]] == [("local://", 600)]


def test_a_device_that_does_not_answer_is_reported_and_the_rest_goes_on(release, seen, home):
    result = CliRunner().invoke(
        cli, ["monitor", str(release), "--from", "local://", "--from", seen(), "--json"]
    )

    assert isinstance(result.exception, DeviceError)
    assert "local://" in json.loads(result.stdout)["problems"]
    assert json.loads(result.stdout)["verdict"] == "same"
    assert result.stderr.startswith("local://: no statistics of ripeness")


def test_what_several_runners_of_one_device_saw_is_added_up(release, seen, home, tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.monitor.collect.SERVICE", str(tmp_path / "var"))
    put(home, Path(seen(seed=1)).read_text())
    (tmp_path / "var/ripeness").mkdir(parents=True)
    file = tmp_path / "var/ripeness/statistics.json"

    file.write_text(Path(seen(seed=2)).read_text())
    assert json.loads(run(release, "--from", "local://", "--json").output)["samples"] == 1200
    file.write_text(Path(seen(digest="0" * 64)).read_text())
    assert json.loads(run(release, "--from", "local://", "--json").output)["samples"] == 600


def test_a_device_with_damaged_statistics_is_named(release, home):
    put(home, "{")

    with pytest.raises(InputError, match="local://: damaged statistics"):
        run(release, "--from", "local://")


@pytest.mark.parametrize("address", ["ssh://-oProxyCommand=x", "ftp://host", "adb://a;b"])
def test_what_is_no_address_is_refused(release, address):
    with pytest.raises(PipelineError) as caught:
        run(release, "--from", address)
    assert caught.value.exit_code in {2, 3, 5}


def test_statistics_are_found_below_a_root_that_is_named(tmp_path):
    put(tmp_path, "counted")

    assert collect(LocalTransport(), "ripeness", root=f"{tmp_path}/") == (b"counted",)


def test_a_device_cannot_send_without_end(home):
    put(home, "x" * (MAX_BYTES + 100))

    assert [len(one) for one in collect(LocalTransport(), "ripeness")] == [MAX_BYTES + 1]


def test_a_name_is_no_program(tmp_path):
    with pytest.raises(TransportError):
        collect(LocalTransport(), f"$(touch {tmp_path}/owned)`touch {tmp_path}/owned`;touch {tmp_path}/owned")
    assert list(tmp_path.iterdir()) == []
