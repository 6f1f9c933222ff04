"""The command on a real file, on the host: tables, benchmark_model's lines, JSON, refusals."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest


@pytest.fixture
def tiny(tiny_tflite, tmp_path):
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite)
    return path


def test_latency_is_told_for_each_number_of_threads(pipeline, tiny):
    ended = pipeline("bench", tiny, "--num_threads", "1,2", "--num_runs", 70, "--warmup_runs", 2)

    assert ended.code == 0
    lines = re.findall(r"^host, (\d) threads?: Timings \(microseconds\): count=70 ", ended.out, re.MULTILINE)
    assert lines == ["1", "2"]
    assert ended.out.count("Inference timings in us: Init: ") == 2


def test_json_holds_all_that_was_asked_for(pipeline, tiny):
    ended = pipeline("bench", tiny, "--threads", 1, "--runs", 5, "--baseline", tiny, "--operators", "--json")

    found = json.loads(ended.out)
    assert [row["kind"] for row in found["host"]] == ["host"]
    assert found["ratio"]["kind"] == "host"
    assert found["operators"]["operators"][0]["op"] == "CONV_2D"
    assert found["emulated"] == []
    assert found["against"] is None
    assert list(found) == ["file", "sha256", "host", "devices", "emulated", "operators", "against", "ratio"]


def test_settings_are_laid_over_the_options(pipeline, tiny):
    chosen = ("--set", "validate.threads=[2]", "--set", "validate.latency_pairs=11")
    ended = pipeline("bench", tiny, "--runs", 5, "--baseline", tiny, *chosen, "--json")

    found = json.loads(ended.out)
    assert [row["threads"] for row in found["host"]] == [2]
    assert found["ratio"]["pairs"] == 11


def test_an_unknown_setting_is_refused_in_one_line(pipeline, tiny):
    ended = pipeline("bench", tiny, "--set", "validate.thread=[1]")

    assert ended.code == 2
    assert "did you mean 'threads'" in ended.message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "one"], "not counts of threads"),
        (["--threads", "0"], "not counts of threads"),
        (["--device", "rpi55"], "did you mean 'rpi5'"),
        (["--target", "arm65"], "did you mean 'arm64'"),
        (["--device", "adb://serial"], "measured over ssh alone"),
        (["--device", "ssh://-oProxyCommand=touch"], "not a valid host name"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(pipeline, tiny, arguments, message):
    ended = pipeline("bench", tiny, *arguments)

    assert ended.code == 2
    assert message in ended.message


def test_a_device_is_timed_over_ssh_and_called_so(pipeline, tiny, ssh_device):
    arguments = ("bench", tiny, "--device", ssh_device.address, "--threads", 1, "--runs", 70)

    ended, found = pipeline(*arguments), json.loads(pipeline(*arguments, "--json").out)

    assert ended.code == 0
    assert f"device {ssh_device.address}, 1 thread: Timings (microseconds): count=70 " in ended.out
    assert "Latency on real devices" in ended.out
    assert [(row["kind"], row["transport"]) for row in found["devices"]] == [("device", "ssh")]


def test_a_device_that_is_not_known_is_refused_in_one_line(pipeline, tiny, ssh_device):
    ssh_device.known_hosts.write_text("")

    ended = pipeline("bench", tiny, "--device", ssh_device.address)

    assert ended.code == 5
    assert "is not known" in ended.message


def test_a_damaged_file_is_refused_in_one_line(pipeline, tmp_path):
    path = tmp_path / "damaged.tflite"
    path.write_bytes(b"\x18\0\0\0TFL3" + bytes(40))

    ended = pipeline("bench", path)

    assert ended.code == 3
    assert str(path) in ended.message


def test_nothing_of_tensorflow_is_imported(tiny):
    program = (
        "import sys; sys.argv = ['pipeline', 'bench', sys.argv[1], '--threads', '1', '--runs', '5']\n"
        "from pipeline.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        "assert not {'tensorflow', 'tf_keras', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tiny)], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
