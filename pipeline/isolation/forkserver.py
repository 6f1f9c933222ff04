"""A process that has imported TensorFlow, of which children are forked: each starts in milliseconds.

Measured with TensorFlow 2.21: the import takes 4.4 s of processor time, and a build starts about ten
children. The server makes no tensors and runs no kernels, so its only other threads are those of OpenBLAS,
which ends and starts them itself around a fork.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from importlib import import_module
from typing import Any

from pipeline.isolation.confinement import Keeper, die_with_parent, outlive_parent

# By name, as they are above this module: what children need, and the function that imports TensorFlow.
_STAGES, _TFMOT, _IMPORT = "pipeline.building", "pipeline.training.tfmot", "tensorflow_model_optimization"
# Read while libraries are imported: a server that was started with others is replaced.
_READ_AT_IMPORT = ("TF_", "KERAS_", "OMP_", "OPENBLAS_", "LD_", "PYTHON")
_NEEDED = ("PATH", "HOME", "LANG", "LC_ALL")  # the others come with each request
_START = "import sys; sys.path[:] = {}; from pipeline.isolation.forkserver import serve; serve({}, {})"
MAX_MESSAGE = 1 << 20

_lock = threading.Lock()
_server: _Server | None = None


class Forked:
    """A forked process, with those methods of ``subprocess.Popen`` that are needed here."""

    def __init__(self, process: int, stdin: int) -> None:
        self._process = process  # a pidfd
        self.stdin = os.fdopen(stdin, "wb", 0)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it runs on after ``timeout`` seconds.
        """
        if not select.select([self._process], [], [], timeout)[0]:
            command = "a forked process"
            raise subprocess.TimeoutExpired(command, timeout or 0.0)
        os.close(self._process)

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, number)


class _Server:
    def __init__(self, settings: dict[str, str], environment: dict[str, str]) -> None:
        self.settings, self.owner = settings, os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START.format(sys.path, theirs.fileno(), self.owner)],
                env={name: environment[name] for name in _NEEDED if name in environment} | settings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for this process
            )

    def fork(self, request: dict[str, Any], descriptors: list[int]) -> int | None:
        """Return a pidfd of the new process, or None if the server does not answer."""
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
            answer, received, _, _ = socket.recv_fds(self._control, 1, 1)
        except OSError:
            return None
        return received[0] if answer else None

    def stop(self) -> None:
        self._control.close()
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()


def fork(options: dict[str, Any], environment: dict[str, str], pipes: dict[str, int]) -> Forked | None:
    """Start a keeper (``pipeline.isolation.confinement``) in a fork of the server, which starts if need be.

    Args:
        options: the keeper's, without the descriptors.
        environment: of the new process.
        pipes: the descriptors for its ``status``, ``result`` and ``log``.

    Returns:
        None if there can be no server, for example because TensorFlow cannot be imported.
    """
    if not _has_pidfds():
        return None
    stdin, ours = os.pipe()
    request = {"options": options, "environment": environment, "folder": os.getcwd()}  # noqa: PTH109
    try:
        with _lock:
            process = _running(environment).fork(
                request, [stdin, pipes["status"], pipes["result"], pipes["log"]]
            )
            if process is None:
                stop()
    except BaseException:  # the answer may be under way: it belongs to no one else
        os.close(ours)
        stop()
        raise
    finally:
        os.close(stdin)
    if process is None:
        os.close(ours)
        return None
    return Forked(process, ours)


@cache
def _has_pidfds() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # an old kernel, or a container that forbids it
        return False
    return True


def _running(environment: dict[str, str]) -> _Server:
    global _server
    settings = {name: value for name, value in environment.items() if name.startswith(_READ_AT_IMPORT)}
    if _server is not None and (_server.settings != settings or _server.owner != os.getpid()):
        stop()
    if _server is None:
        _server = _Server(settings, environment)
    return _server


@atexit.register
def stop() -> None:
    """End the server, and with it every process that it forked."""
    global _server
    server, _server = _server, None
    if server is not None:
        server.stop()


def serve(control: int, parent: int) -> None:
    """Import TensorFlow, then fork a keeper for each request until the other side is closed."""
    die_with_parent(parent)
    import_module(_STAGES)
    getattr(import_module(_TFMOT), _IMPORT)()
    outlive_parent()  # the kernel means the thread that started this; from here on the socket says it
    gc.collect()
    gc.freeze()  # so that a child's collections do not copy the memory that it shares
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no one waits for them by number
    with socket.socket(fileno=control) as requests:
        while True:
            message, descriptors, _, _ = socket.recv_fds(requests, MAX_MESSAGE, 4)
            if not message:
                return
            server = os.getpid()
            child = os.fork()
            if child == 0:
                requests.close()
                _keep(json.loads(message), server, descriptors)
            process = os.pidfd_open(child)
            socket.send_fds(requests, [b"f"], [process])
            for descriptor in (*descriptors, process):
                os.close(descriptor)


def _keep(request: dict[str, Any], parent: int, descriptors: list[int]) -> None:
    """Become the keeper of a worker; does not return."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stdin, status, result, log = descriptors
        for descriptor, number in ((stdin, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, number)
        os.environ.clear()
        os.environ.update(request["environment"])
        tempfile.tempdir = None  # it may have been looked up
        os.chdir(request["folder"])
        given = {"parent": parent, "status": status, "result": result, "imported": True}
        Keeper(request["options"] | given).run()
    finally:
        os._exit(1)
