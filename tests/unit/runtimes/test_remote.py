"""Sessions on a device over ssh, which is this machine behind a real sshd."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.errors import TransportError
from deploy.transports.ssh import parse_address
from pipeline.errors import DeviceError, InputError, StageError
from pipeline.runtimes.evaluation import infer_all
from pipeline.runtimes.machine import Machine
from pipeline.runtimes.remote import Probed, RemoteRuntime, _choose, _clean
from pipeline.runtimes.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = np.arange(12, dtype=np.int8).reshape(3, 4)
SUMS = SAMPLES + np.array([1, 2, 3, 4], np.int8)


@pytest.fixture
def runtime(ssh_device):
    return RemoteRuntime.of(parse_address(ssh_device.address))


@contextmanager
def python_of(device, script: str) -> Iterator[None]:
    """Have the device's python3 be a shell script."""
    python = device.folder / "device" / "python3"
    kept = python.read_text()
    python.write_text(f"#!/bin/sh\n{script}\n")
    try:
        yield
    finally:
        python.write_text(kept)


def worker_in(folder: str) -> Path:
    """The /proc folder of the process that runs in ``folder``."""
    [found] = [process for process in Path("/proc").glob("[0-9]*") if runs_in(process, folder)]
    return found


def runs_in(process: Path, folder: str) -> bool:
    try:
        return str((process / "cwd").readlink()) == folder
    except OSError:
        return False


def ends(process: Path) -> bool:
    """Whether a process is gone within a minute."""
    deadline = time.monotonic() + 60
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not process.exists()


def test_a_device_tells_its_runtime_and_its_machine(runtime, ssh_device):
    assert (runtime.kind, runtime.package) == ("device", "litert")
    assert runtime.title.startswith(f"litert {runtime.version}, device over ssh, ")
    assert runtime.device.name == ssh_device.address
    assert runtime.machine().cores == runtime.device.cores > 0


def test_a_session_does_there_what_it_does_here_and_leaves_nothing(runtime, addition):
    with Session(runtime, addition) as session:
        assert session.describe().inputs[0].shape == (1, 4)
        np.testing.assert_array_equal(session.run([SAMPLES])[0], SUMS)
        assert len(session.time([SAMPLES], runs=5, warmup_runs=2).latencies_us) == 5
        assert next(session.soak_blocks([SAMPLES], [60])).mismatches == 0
        assert session.run_concurrent([SAMPLES], interpreters=2, inferences=9).mismatches == 0
        session.load(addition, threads=2)
        np.testing.assert_array_equal(session.run([SAMPLES])[0], SUMS)
        folders = [session._host.folder, Path(session._host.there)]
        assert [folder.exists() for folder in folders] == [True, True]
    assert [folder.exists() for folder in folders] == [False, False]


def test_a_device_without_litert_runs_on_tflite_runtime(ssh_device, addition, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib import util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'ai_edge_litert' else find(name, *rest)\n"
    )
    with python_of(ssh_device, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"'):
        runtime = RemoteRuntime.of(parse_address(ssh_device.address))
        assert runtime.title.startswith("tflite-runtime 2.14.0, device over ssh, ")
        with Session(runtime, addition) as session:
            np.testing.assert_array_equal(session.run([SAMPLES])[0], SUMS)


@pytest.mark.parametrize(
    ("package", "numpy", "message"),
    [
        ("litert", None, "has no numpy for its python3; on it: python3 -m pip install numpy$"),
        ("tflite-runtime", None, "install 'numpy<2'"),
        (
            "tflite-runtime",
            "2.1.0",
            "has no numpy older than 2, which tflite-runtime needs, .* install 'numpy<2'",
        ),
    ],
)
def test_a_numpy_that_does_not_do_is_said(package, numpy, message):
    found = Probed(
        runtimes={package: "1"},
        numpy=numpy,
        arch="aarch64",
        model="",
        cpuinfo="",
        memory_mib=512,
        machine=Machine(cpu="a core", cores=4),
    )
    with pytest.raises(DeviceError, match=message):
        _choose(found, parse_address("ssh://board"))


def test_the_python_of_a_device_may_be_named(ssh_device, addition):
    with python_of(ssh_device, "exit 1"):
        runtime = RemoteRuntime.of(parse_address(f"{ssh_device.address}{sys.executable}"))
        with Session(runtime, addition) as session:
            np.testing.assert_array_equal(session.run([SAMPLES])[0], SUMS)


def test_many_samples_go_to_one_worker_on_a_device(runtime, addition):
    samples = np.tile(SAMPLES, (20, 1))
    found = infer_all(runtime, addition, lambda _: [[samples[:40]], [samples[40:]]], workers=1)
    np.testing.assert_array_equal(found[0], np.tile(SUMS, (20, 1)))


def test_a_model_that_the_device_refuses_is_an_input_error(runtime, tmp_path):
    text = tmp_path / "text.tflite"
    text.write_text("no model")
    session = Session(runtime, text)
    with (
        pytest.raises(InputError, match=r"device over ssh, .* cannot load .*text.tflite"),
        session,
    ):
        pass
    assert not Path(session._host.there).exists()


def test_a_worker_that_is_killed_is_told_from_a_device_that_is_gone(runtime, addition, ssh_device):
    script = "read line; kill -SEGV $$"
    with python_of(ssh_device, f"echo '{{\"ok\": {{}}}}'; {script}"):
        with pytest.raises(StageError, match="was killed by a signal"), Session(runtime, addition):
            pass
        ssh_device.known_hosts.write_text("")
        with pytest.raises(TransportError, match="is not known"), Session(runtime, addition):
            pass


def test_a_hung_worker_is_ended_on_the_device_too(runtime, addition):
    with Session(runtime, addition, timeout_s=30) as session:
        process = worker_in(session._host.there)
        os.kill(int(process.name), signal.SIGSTOP)
        with pytest.raises(StageError, match="gave no answer in 30 s"):
            session.time([SAMPLES])
    assert ends(process)


def test_a_cut_connection_ends_both_sides(runtime, addition):
    with Session(runtime, addition) as session:
        process = worker_in(session._host.there)
        status = (process / "status").read_text()
        connection = next(line for line in status.splitlines() if line.startswith("PPid:"))
        os.kill(int(connection.split()[1]), signal.SIGKILL)
        with pytest.raises(StageError, match="a cut link"):
            session.time([SAMPLES])
    assert ends(process)
    assert not Path(session._host.there).exists()


def test_login_scripts_that_chatter_are_named(runtime, addition, ssh_device):
    with (
        python_of(ssh_device, "echo Welcome; read line"),
        pytest.raises(DeviceError, match=r"Welcome.*silence its login scripts"),
        Session(runtime, addition),
    ):
        pass


@pytest.mark.parametrize(
    "answers",
    [
        "yes '[' | head -100000 | tr -d '\\n'; echo",
        "echo '{}'",
        "echo '[]'",
        """echo '{"ok": {}}'; echo '{"ok": {"dtypes": [], "ops": 3}}'""",
        """echo '{"ok": {}}'; echo '{"error": [1]}'""",
        """echo '{"ok": {}}'; echo '{"ok": '; yes 9 | head -5000 | tr -d '\\n'; echo '}'""",
    ],
    ids=["deep", "empty", "no object", "other fields", "an error that is not text", "many digits"],
)
def test_nonsense_of_a_device_is_the_devices_error(answers, runtime, addition, ssh_device):
    with (
        python_of(ssh_device, f"{answers}; while read line; do :; done"),
        pytest.raises(DeviceError, match="where the worker answers"),
        Session(runtime, addition),
    ):
        pass


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 127", "has no python3; on it: apt-get install python3"),
        ("echo old >&2; exit 1", "has no python3 of version 3.10 or newer that works: old"),
        ("echo Welcome to the board", "silence its login scripts"),
        (
            "exec REAL -I -S -c 'import sys; exec(sys.stdin.read())'",
            "pip install numpy ai-edge-litert",
        ),
    ],
)
def test_what_a_device_lacks_is_said_with_what_mends_it(ssh_device, script, message):
    with (
        python_of(ssh_device, script.replace("REAL", sys.executable)),
        pytest.raises(DeviceError, match=message),
    ):
        RemoteRuntime.of(parse_address(ssh_device.address))


def test_an_unknown_host_key_is_refused_and_not_learnt(ssh_device):
    ssh_device.known_hosts.write_text("")
    with pytest.raises(TransportError, match=r"host key of .* is not known"):
        RemoteRuntime.of(parse_address(ssh_device.address))
    assert ssh_device.known_hosts.read_text() == ""


def test_what_a_device_says_is_one_line_without_commands_for_a_terminal():
    assert _clean("Raspberry\x1b[2J Pi\0\n5\n") == "Raspberry [2J Pi 5"
