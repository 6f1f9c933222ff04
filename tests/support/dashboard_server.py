"""Run ``pipeline dashboard`` as a user does, and ask it."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit


@contextmanager
def started(folder, *options, **environment):
    """Run ``pipeline dashboard`` on a free port; yields the process, which says its address first."""
    program = Path(sys.executable).with_name("pipeline")
    process = subprocess.Popen(
        [program, "dashboard", folder, "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(address, path="/", **headers):
    """Return status, headers and text of an answer; no redirect is followed."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=300)
    try:
        connection.request("GET", path, headers={"Host": place.netloc} | headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()
