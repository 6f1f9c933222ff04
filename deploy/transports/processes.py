"""Local programs that carry commands and files, for a bounded time and with a bounded output."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from threading import Thread
from typing import IO, TYPE_CHECKING

from deploy.errors import TransportError
from deploy.transports.transport import CommandResult

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ANSWER_BYTES = 64 << 20
"""Maximum output of a device, which may never stop printing."""
MAX_FILE_BYTES = 4 << 30
CHUNK_BYTES = 1 << 16


def finish(
    command: Sequence[str],
    device: str,
    timeout_s: float,
    *,
    stdin: bytes | IO[bytes] = b"",
    file: IO[bytes] | None = None,
) -> CommandResult:
    """Run a program to its end.

    Args:
        command: runs in a session of its own, so that all of it can be ended.
        device: that it reaches, for errors.
        timeout_s: after which it is killed.
        stdin: what it reads.
        file: takes what it prints, in place of ``CommandResult.out``.

    Raises:
        TransportError: it takes too long, prints too much, or cannot be run.
        OSError: ``file`` cannot be written.
    """
    process = _started(command, device, stdin)
    assert process.stdout is not None
    assert process.stderr is not None
    readers = (
        _Reader(process, process.stdout, MAX_FILE_BYTES if file else MAX_ANSWER_BYTES, file),
        _Reader(process, process.stderr, MAX_ANSWER_BYTES, None),
    )
    deadline = time.monotonic() + timeout_s
    try:
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        process.wait(max(0.001, deadline - time.monotonic()))
        if any(reader.is_alive() for reader in readers):  # its child processes still hold the output open
            raise subprocess.TimeoutExpired(command, timeout_s)
    except BaseException as error:
        _kill(process)
        process.wait()  # not for the readers: a shared connection keeps their pipes open
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        message = f"{device} gave no answer in {timeout_s:.0f} s; is it still there?"
        raise TransportError(message) from None
    out, err = readers
    if out.is_too_much or err.is_too_much:
        most = (out if out.is_too_much else err).most >> 20
        message = f"{device} answered with more than {most} MiB; is it sound?"
        raise TransportError(message)
    if out.error is not None:
        raise out.error
    return CommandResult(process.returncode, bytes(out.content), err.content.decode(errors="replace"))


def _started(command: Sequence[str], device: str, stdin: bytes | IO[bytes]) -> subprocess.Popen[bytes]:
    source, given = _source(stdin)
    try:
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        message = f"cannot run {command[0]} for {device}: {error.strerror or error}"
        raise TransportError(message) from error
    finally:
        if given:
            os.close(source)
    return process


def _source(stdin: bytes | IO[bytes]) -> tuple[int, bool]:
    """Return what a program reads as a file's number, and whether that is to be closed here."""
    if not isinstance(stdin, bytes):
        return stdin.fileno(), False
    if not stdin:
        return subprocess.DEVNULL, False
    handle = os.memfd_create("stdin")
    with os.fdopen(os.dup(handle), "wb") as stream:
        stream.write(stdin)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle, True


class _Reader(Thread):
    """Takes what a program prints into memory or a file; one that prints too much is killed."""

    def __init__(
        self, process: subprocess.Popen[bytes], pipe: IO[bytes], most: int, file: IO[bytes] | None
    ) -> None:
        super().__init__(daemon=True)
        self._process, self._pipe, self._file, self.most = process, pipe, file, most
        self.content = bytearray()
        self.is_too_much = False
        self.error: OSError | None = None

    def run(self) -> None:
        with self._pipe:
            try:
                self._take()
            except OSError as error:
                self.error = error
        if self.is_too_much or self.error is not None:
            _kill(self._process)

    def _take(self) -> None:
        count = 0
        while chunk := os.read(self._pipe.fileno(), CHUNK_BYTES):
            count += len(chunk)
            self.is_too_much = count > self.most
            if self.is_too_much:
                return
            if self._file is None:
                self.content += chunk
            else:
                self._file.write(chunk)


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
