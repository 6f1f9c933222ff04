"""A search on a cluster that stands: a scheduler and two workers of Dask on loopback, with TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.errors import ConfigError
from pipeline.searching.cluster import connected

pytestmark = pytest.mark.xdist_group("search")
SUPPORT = Path(__file__).parents[2] / "support"
TRIALS = 8


def certified(folder):
    """Write one certificate for scheduler, workers and driver, and the authority that signed it: itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "search")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    paths = {"CA_FILE": folder / "certificate.pem"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        paths |= {f"{role}__CERT": folder / "certificate.pem", f"{role}__KEY": folder / "key.pem"}
    return {f"DASK_DISTRIBUTED__COMM__TLS__{name}": str(path) for name, path in paths.items()}


class Cluster:
    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.environment = {
            **os.environ,
            **certified(folder),
            "PYTHONPATH": str(SUPPORT),
            "TRIAL_SECONDS": "0.4",
        }
        self.start("scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.address = self.wait_for("scheduler.json", lambda text: json.loads(text)["address"])
        for _ in range(2):
            self.start("worker", "--nthreads", "1", "--no-dashboard", "--resources", "memory=4e9 cores=1")

    def start(self, what, *options):
        place = str(self.folder / "scheduler.json")
        command = [sys.executable, "-m", "distributed.cli." + f"dask_{what}", "--scheduler-file", place]
        with (self.folder / f"{what}{len(self.processes)}.log").open("w") as log:
            self.processes.append(
                subprocess.Popen([*command, *options], env=self.environment, stderr=log, stdout=log)
            )

    def wait_for(self, name, read):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                return read((self.folder / name).read_text())
            except (OSError, ValueError, KeyError):
                time.sleep(0.1)
        raise AssertionError(name)

    def search(self, out, **options):
        model, data = self.folder / "model.keras", self.folder / "data.npz"
        model.write_bytes(b"model")
        np.savez(data, x_train=np.zeros(1))
        options = {"trials": TRIALS, "lag": 3, "scheduler": self.address} | options
        command = [sys.executable, str(SUPPORT / "run_search.py"), str(out), model.name, data.name]
        return subprocess.Popen(
            [*command, json.dumps(options)],
            env=self.environment,
            cwd=self.folder,  # the workers run in another one
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes:
            process.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.end()


def wait_for_trials(folder, count, process):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("trials/[0-9]*"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_worker_and_a_silent_network_cost_no_trial(cluster, tmp_path):
    process = cluster.search(tmp_path)
    wait_for_trials(tmp_path, 3, process)
    newest = max(tmp_path.glob("trials/*/runs"), key=lambda path: path.stat().st_mtime)
    os.kill(int(newest.read_text().split()[-1]), signal.SIGKILL)  # Dask starts another one
    wait_for_trials(tmp_path, 5, process)
    cluster.processes[0].send_signal(signal.SIGSTOP)
    time.sleep(3)
    cluster.processes[0].send_signal(signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["trials"] == TRIALS


def test_a_driver_without_a_certificate_is_refused_in_one_line(cluster, tmp_path):
    environment, cluster.environment = cluster.environment, os.environ | {"PYTHONPATH": str(SUPPORT)}
    process = cluster.search(tmp_path)
    cluster.environment = environment
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    last = stderr.strip().splitlines()[-1]
    assert "ConfigError" in last
    assert "--scheduler tls://" in last


def test_a_scheduler_that_is_not_there_is_one_line_inside_an_event_loop_too():
    async def cell():
        with connected(1, "tls://127.0.0.1:1"):
            pass

    with pytest.raises(ConfigError, match=r"^--scheduler tls://127.0.0.1:1: not reached: "):
        asyncio.run(cell())


def test_a_script_without_a_guard_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from pipeline.searching.cluster import connected\n"
        "print('the script runs')\n"
        "with connected(1, '') as client:\n"
        "    print(client.submit(os.getpid).result() != os.getpid())\n"
        "import __main__\n"
        "print(__main__.__file__ == __file__)\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (run.stdout.splitlines(), run.returncode) == (["the script runs", "True", "True"], 0), run.stderr
