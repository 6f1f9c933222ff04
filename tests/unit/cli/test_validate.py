"""The command on a real device, which is this machine behind a real sshd; refusals of devices."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

SETTINGS = """\
[validate]
threads = [1]
latency_inferences = 64
operators = false
[validate.stability]
faults = false
"""


@pytest.fixture
def tiny(tiny_tflite, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return path


def test_a_device_over_ssh_is_compared_with_the_host_and_timed(pipeline, tiny, ssh_device, tmp_path):
    settings = tmp_path / "pipeline.toml"
    settings.write_text(SETTINGS)

    ended = pipeline(
        "validate", tiny, "--target", "host", "--device", ssh_device.address, "--config", settings, "--json"
    )

    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    [device] = report["devices"]
    assert (device["device"], device["kind"]) == (ssh_device.address, "device")
    assert device["title"] == device["latency"]["runtime"]
    assert (device["golden_samples"], device["differing_samples"]) == (64, 0)
    assert (device["latency"]["kind"], device["latency"]["steady"]["count"]) == ("device", 320)
    verdicts = {(found["gate"], found["subject"]): found["outcome"] for found in report["verdicts"]}
    assert verdicts["bit-exactness", ssh_device.address] == "passed"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("adb://serial", "measured over ssh alone"),
        ("ssh://-oProxyCommand=touch", "not a valid host name"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_line(pipeline, tiny, address, message):
    ended = pipeline("validate", tiny, "--device", address)

    assert ended.code == 2
    assert message in ended.message


@pytest.mark.parametrize(
    ("device", "gate", "message"),
    [
        (
            "ssh://pi@host",
            "xnnpack",
            "--device ssh://pi@host: no enabled gate uses it; enable bit-exactness or ",
        ),
        (
            "rpi5",
            "faults",
            "enable bit-exactness or parity or instructions with --baseline or regression with --against",
        ),
        (
            "rpi5",
            "regression",
            "no enabled gate applies, so passing would show nothing; regression needs --against",
        ),
        ("rpi5,board", "bit-exactness", "--device board: no enabled gate uses it; enable board, or omit the"),
    ],
)
def test_a_device_that_no_enabled_gate_uses_is_refused_in_one_line(pipeline, tiny, device, gate, message):
    ended = pipeline("validate", tiny, "--device", device, "--gate", gate)

    assert ended.code == 2
    assert message in ended.message


def test_an_offset_without_a_scale_is_refused_in_one_line(pipeline, tiny):
    ended = pipeline("validate", tiny, "--offset", 5)

    assert ended.code == 2
    assert "--offset 5 needs --scale" in ended.message


def test_the_seed_of_the_settings_holds_where_no_flag_gives_one(pipeline, tiny, tmp_path):
    (settings := tmp_path / "pipeline.toml").write_text("seed = 7\n")

    def golden(*arguments):
        command = ("validate", tiny, "--target", "host", "--gate", "faults", "--store", tmp_path / "store")
        ended = pipeline(*command, *arguments)
        assert ended.code == 0, ended.err
        return {path.name for path in (tmp_path / "store").glob("run_golden_set-*")}

    of_file = golden("--config", settings)
    assert golden("--seed", 7) == of_file
    assert len(golden("--seed", 8)) == len(of_file) + 1


def test_a_device_that_is_not_known_is_refused_in_one_line(pipeline, tiny, ssh_device):
    ssh_device.known_hosts.write_text("")

    ended = pipeline("validate", tiny, "--target", "host", "--device", ssh_device.address)

    assert ended.code == 5
    assert "is not known" in ended.message


def test_a_release_is_judged_with_its_own_target_tasks_and_preprocessing(
    pipeline, signed_release, tiny, tmp_path
):
    (settings := tmp_path / "pipeline.toml").write_text(SETTINGS)
    release = signed_release()
    images = np.random.default_rng(0).integers(0, 256, (80, 4, 4, 1)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", x=images, y=np.arange(80) % 2)
    asked = ("--config", settings, "--device", "host", "--gate", "xnnpack", "--json")

    ended = pipeline("validate", release, "--data", tmp_path / "data.npz", *asked)

    assert ended.code == 0, ended.err
    report = json.loads(ended.out)
    assert (report["name"], report["target"]) == (f"{release.name}.tflite", "arm64")


def test_a_tampered_release_is_refused_before_anything_runs(pipeline, signed_release, tmp_path):
    release = shutil.copytree(signed_release(), tmp_path / "tiny-1.0.0-arm64")
    (release / f"{release.name}.tflite").write_bytes(b"another")

    for command in ("validate", "bench", "inspect"):
        ended = pipeline(command, release)
        assert ended.code == 6
        assert f"{release.name}.tflite: its bytes are not those in" in ended.message


def test_inspect_lists_the_model_of_a_release(pipeline, signed_release):
    release = signed_release()

    ended = pipeline("inspect", release, "--json")

    assert json.loads(ended.out)["file"] == str(release / f"{release.name}.tflite")
